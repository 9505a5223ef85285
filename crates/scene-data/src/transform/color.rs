//! Photometric jitter as one affine map of a pixel's colour.

use rand::Rng;

/// How far colours are shifted at random; all 0, the default, leaves them.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct JitterConfig {
    /// Largest shift of all channels, as a share of white.
    pub brightness: f64,
    /// Contrast is multiplied by 1 ± this at most, around middle gray.
    pub contrast: f64,
    /// Distance from gray is multiplied by 1 ± this at most.
    pub saturation: f64,
    /// Largest rotation of the colour circle, in degrees.
    pub hue_degrees: f64,
}

/// `colour → matrix · colour + shift`, on a scale of 0 to 255.
///
/// Reconstruction: brightness, contrast and saturation are those of the usual photometric
/// distortions; hue is rotated about the gray axis of the RGB cube instead of in HSV, which makes
/// the whole of it one affine map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ColorShift {
    pub(crate) matrix: [[f32; 3]; 3],
    pub(crate) shift: [f32; 3],
}

/// Shares of red, green and blue in luma (ITU-R BT.601).
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

impl JitterConfig {
    /// Whether colours stay as they are.
    pub(crate) fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// Draws a shift. The four draws are made in any case, so that one option does not change what
    /// another one draws.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> ColorShift {
        let mut around_zero = |reach: f64| reach * (2.0 * rng.random::<f64>() - 1.0);
        let brightness = 255.0 * around_zero(self.brightness);
        let contrast = 1.0 + around_zero(self.contrast);
        let saturation = 1.0 + around_zero(self.saturation);
        let hue = around_zero(self.hue_degrees).to_radians();
        // Rodrigues' rotation about (1, 1, 1)/√3, after the distance from luma is stretched.
        let (sin, cos) = hue.sin_cos();
        let turn = |row: usize, column: usize| {
            let third = (1.0 - cos) / 3.0;
            let side = sin / 3f64.sqrt();
            match (3 + column - row) % 3 {
                0 => cos + third,
                1 => third - side,
                _ => third + side,
            }
        };
        let stretch = |row: usize, column: usize| {
            let same = if row == column { saturation } else { 0.0 };
            same + (1.0 - saturation) * LUMA[column]
        };
        let matrix = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let entry: f64 = (0..3).map(|k| turn(row, k) * stretch(k, column)).sum();
                (contrast * entry) as f32
            })
        });
        let shift = (brightness + 127.5 * (1.0 - contrast)) as f32;
        ColorShift { matrix, shift: [shift; 3] }
    }
}

impl ColorShift {
    /// The shifted colour, within 0 to 255.
    pub(crate) fn apply(&self, rgb: [u8; 3]) -> [f32; 3] {
        let [r, g, b] = rgb.map(f32::from);
        std::array::from_fn(|channel| {
            let [red, green, blue] = self.matrix[channel];
            (red * r + green * g + blue * b + self.shift[channel]).clamp(0.0, 255.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_rng;

    fn close(a: [f32; 3], b: [f32; 3]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.02)
    }

    #[test]
    fn gray_keeps_its_hue_and_saturation() {
        let jitter = JitterConfig { saturation: 0.9, hue_degrees: 180.0, ..Default::default() };
        for epoch in 0..20 {
            let shift = jitter.draw(&mut sample_rng(1, epoch, 0));
            assert!(close(shift.apply([90; 3]), [90.0; 3]), "{shift:?}");
        }
    }

    #[test]
    fn a_third_of_the_circle_turns_red_into_green() {
        let third = JitterConfig::default();
        let mut shift = third.draw(&mut sample_rng(0, 0, 0));
        assert_eq!(shift.apply([10, 20, 30]), [10.0, 20.0, 30.0], "no jitter is no change");
        // By hand: what `draw` makes of a hue of 120 degrees.
        let (sin, cos) = 120f64.to_radians().sin_cos();
        let (side, other) = (sin / 3f64.sqrt(), (1.0 - cos) / 3.0);
        let [a, b, c] = [cos + other, other - side, other + side].map(|v| v as f32);
        shift.matrix = [[a, b, c], [c, a, b], [b, c, a]];
        assert!(
            close(shift.apply([200, 0, 0]), [0.0, 200.0, 0.0]),
            "{:?}",
            shift.apply([200, 0, 0])
        );
    }

    #[test]
    fn draws_stay_within_reach_and_differ() {
        let jitter = JitterConfig { brightness: 0.1, contrast: 0.2, ..Default::default() };
        let mut seen = Vec::new();
        for epoch in 0..200 {
            let [value, ..] = jitter.draw(&mut sample_rng(3, epoch, 5)).apply([200, 200, 200]);
            let reach = 25.5 + 0.2 * 72.5;
            assert!((value - 200.0).abs() <= reach + 0.01, "{value}");
            seen.push(value);
        }
        seen.sort_by(f32::total_cmp);
        assert!(seen[0] < 180.0 && seen[199] > 220.0, "{} to {}", seen[0], seen[199]);
    }
}
