//! The lower envelope of parabolas: the second half of an exact distance transform.

/// Finds, for places on a line, the nearest of points that lie off it.
///
/// Meijster, Roerdink and Hesselink, *A general algorithm for computing distance transforms in
/// linear time*, Mathematical Morphology and its Applications, 2000, the second phase: all in whole
/// numbers, so exact, and linear in the places.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    /// Parabolas of the envelope, left to right.
    parts: Vec<Part>,
}

/// A parabola of the envelope.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Where its lowest point is.
    at: i64,
    /// Square of its point's distance from the line.
    height: i64,
    /// First place where it is the lowest.
    from: i64,
}

impl Part {
    fn value(&self, x: i64) -> i64 {
        (x - self.at).pow(2) + self.height
    }
}

impl Envelope {
    /// Takes the points above the places `first..=last`, rising: how far off the line each is, or
    /// `None` where there is no point.
    pub(super) fn build(&mut self, first: usize, points: impl Iterator<Item = Option<u32>>) {
        self.parts.clear();
        for (at, distance) in (first as i64..).zip(points) {
            let Some(distance) = distance else { continue };
            let mut part = Part { at, height: i64::from(distance).pow(2), from: first as i64 };
            while let Some(last) = self.parts.last() {
                if last.value(last.from) <= part.value(last.from) {
                    let heights = part.height - last.height;
                    let crossing =
                        (part.at.pow(2) - last.at.pow(2) + heights) / (2 * (part.at - last.at));
                    part.from = crossing + 1;
                    break;
                }
                self.parts.pop();
            }
            self.parts.push(part);
        }
    }

    /// Hands over `places`, falling, each with the square of the distance to the nearest point;
    /// nothing if there is no point.
    pub(super) fn each_falling(
        &self,
        places: std::ops::Range<usize>,
        mut to: impl FnMut(usize, i64),
    ) {
        let Some(mut nth) = self.parts.len().checked_sub(1) else { return };
        for place in places.rev() {
            let x = place as i64;
            while nth > 0 && self.parts[nth].from > x {
                nth -= 1;
            }
            to(place, self.parts[nth].value(x));
        }
    }
}
