//! The beacons: a frame in the texture's colour around one of two shapes.

/// What is at a pixel of a beacon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// The texture's bright colour.
    Frame,
    /// White.
    Shape,
    /// Black.
    Ground,
}

/// The ink at column `x`, row `y` of a beacon of `size` pixels.
///
/// `which` = 0 is a filled plus (bright middle, dark corners), 1 a hollow ring (dark middle,
/// bright corners): opposites at every pixel that tells them apart, so that the shape survives
/// a few strides.
pub(super) fn ink(size: usize, which: usize, x: usize, y: usize) -> Ink {
    let frame = size.div_ceil(5); // 2 of 9 pixels
    let inner = size - 2 * frame;
    let (Some(x), Some(y)) = (x.checked_sub(frame), y.checked_sub(frame)) else {
        return Ink::Frame;
    };
    if x >= inner || y >= inner {
        return Ink::Frame;
    }
    let margin = inner.div_ceil(5); // 1 of 5 pixels
    let central = |at: usize| (margin..inner - margin).contains(&at);
    let filled = match which {
        0 => central(x) || central(y),
        _ => !(central(x) && central(y)),
    };
    if filled { Ink::Shape } else { Ink::Ground }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(size: usize, which: usize) -> Vec<String> {
        let letter = |x, y| match ink(size, which, x, y) {
            Ink::Frame => 'f',
            Ink::Shape => '#',
            Ink::Ground => '.',
        };
        (0..size).map(|y| (0..size).map(|x| letter(x, y)).collect()).collect()
    }

    #[test]
    fn shapes_are_a_plus_and_a_ring() {
        let plus = drawing(9, 0);
        assert_eq!(plus[2..7], ["ff.###.ff", "ff#####ff", "ff#####ff", "ff#####ff", "ff.###.ff"]);
        let ring = drawing(9, 1);
        assert_eq!(ring[2..7], ["ff#####ff", "ff#...#ff", "ff#...#ff", "ff#...#ff", "ff#####ff"]);
        assert_eq!(plus[0], "fffffffff");
        assert_eq!(ring[8], "fffffffff");
    }

    #[test]
    fn shapes_differ_at_every_allowed_size() {
        for size in (7..40).step_by(2) {
            assert_ne!(drawing(size, 0), drawing(size, 1));
            let middle = |which| ink(size, which, size / 2, size / 2);
            assert_eq!((middle(0), middle(1)), (Ink::Shape, Ink::Ground));
        }
    }
}
