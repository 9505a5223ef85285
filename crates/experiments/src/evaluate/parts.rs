//! Photographs that would take too much memory at once, seen in parts.

use anyhow::ensure;
use image::{RgbImage, imageops};

use crate::config::EvaluationConfig;
use crate::evaluate::views::{is_plain, predict_views};
use crate::memory::{self, VALUE};
use crate::parser::Parser;

/// The most that seeing a photograph at once may take, by the estimate of [`bytes`]; the same on every
/// machine, so that predictions do not depend on it.
const AT_ONCE: u64 = 4 << 30;

/// What a part sees of the photograph around it, in pixels.
const MARGIN: usize = 128;

/// How a photograph is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    size: [usize; 2],
    /// Columns and rows of parts.
    grid: [usize; 2],
    /// What all at once and what one part takes, in bytes.
    takes: [u64; 2],
}

impl Parts {
    /// The fewest parts, as square as can be, of a photograph of these columns and rows that each
    /// take no more than [`AT_ONCE`], or are smaller than their margins; one if it is small enough.
    pub(crate) fn of(parser: &Parser, config: &EvaluationConfig, size: [usize; 2]) -> Self {
        Self::within(AT_ONCE, size, |size| bytes(parser, config, size))
    }

    fn within(limit: u64, size: [usize; 2], bytes: impl Fn([usize; 2]) -> u64) -> Self {
        let mut parts = Self { size, grid: [1, 1], takes: [bytes(size); 2] };
        while parts.takes[1] > limit && parts.part().into_iter().any(|side| side > MARGIN) {
            let part = parts.part();
            parts.grid[usize::from(part[1] > part[0])] += 1;
            let seen = [0, 1].map(|axis| {
                let margins = if parts.grid[axis] > 1 { 2 * MARGIN } else { 0 };
                (parts.part()[axis] + margins).min(size[axis])
            });
            parts.takes[1] = bytes(seen);
        }
        parts
    }

    /// Columns and rows of a part, margins aside.
    fn part(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.size[axis].div_ceil(self.grid[axis]))
    }

    /// Whether it is seen at once.
    pub(crate) fn is_whole(&self) -> bool {
        self.grid == [1, 1]
    }

    /// What it takes, for people.
    pub(crate) fn in_words(&self) -> String {
        let ([width, height], [columns, rows]) = (self.size, self.grid);
        let [whole, part] = self.takes.map(memory::in_words);
        format!(
            "{width}×{height} pixels take about {whole} at once, so they are seen in \
             {columns}×{rows} parts with {MARGIN} pixels around each, about {part} each"
        )
    }

    /// The predicted class of every pixel, row-major: of a whole photograph as [`predict_views`]
    /// has it, of parts that of each part with what lies around it.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn predict(
        &self,
        parser: &Parser,
        image: &RgbImage,
        config: &EvaluationConfig,
    ) -> anyhow::Result<Vec<u8>> {
        self.predict_with(image, &|part| predict_views(parser, part, config))
    }

    fn predict_with(
        &self,
        image: &RgbImage,
        predict: &dyn Fn(&RgbImage) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Vec<u8>> {
        let [width, height] = self.size;
        ensure!(
            [image.width() as usize, image.height() as usize] == self.size,
            "an image of another size than {width}×{height}"
        );
        if self.is_whole() {
            return predict(image);
        }
        let mut all = vec![0; width * height];
        let [step_x, step_y] = self.part();
        for top in (0..height).step_by(step_y) {
            for left in (0..width).step_by(step_x) {
                let (x, columns) = seen(left, step_x, width);
                let (y, rows) = seen(top, step_y, height);
                let view =
                    imageops::crop_imm(image, x as u32, y as u32, columns as u32, rows as u32);
                let labels = predict(&view.to_image())?;
                let right = (left + step_x).min(width);
                for row in top..(top + step_y).min(height) {
                    let from = (row - y) * columns + left - x;
                    all[row * width + left..row * width + right]
                        .copy_from_slice(&labels[from..from + right - left]);
                }
            }
        }
        Ok(all)
    }
}

/// First pixel and length of what a part sees that begins at `start`.
fn seen(start: usize, length: usize, whole: usize) -> (usize, usize) {
    let first = start.saturating_sub(MARGIN);
    (first, (start + length + MARGIN).min(whole) - first)
}

/// About how many bytes it takes to see an image of these columns and rows.
///
/// Counted are the copies of the image, of the widest map of the backbone and of the probabilities
/// that are held at the same time.
pub(crate) fn bytes(parser: &Parser, config: &EvaluationConfig, size: [usize; 2]) -> u64 {
    let largest = config.scales.iter().fold(1.0, |largest: f64, scale| largest.max(*scale));
    let pixels = size[0] as f64 * size[1] as f64 * largest.powi(2);
    let per_pixel = 12.0 + 3.0 * parser.widest_per_pixel() + 6.0 * parser.classes() as f64;
    (pixels * per_pixel) as u64 * VALUE
}

/// What it takes at least: the image and the widest map, or what the average of several views is made
/// from.
pub(super) fn least_bytes(parser: &Parser, config: &EvaluationConfig, size: [usize; 2]) -> u64 {
    let values = match is_plain(config) {
        true => parser.widest_per_pixel(),
        false => 2.0 * parser.classes() as f64,
    };
    (size[0] as f64 * size[1] as f64 * (3.0 + values)) as u64 * VALUE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte a pixel, and a class that tells where the pixel lies.
    fn predicted(size: [usize; 2], limit: u64) -> (Parts, Vec<u8>) {
        let parts = Parts::within(limit, size, |[w, h]| (w * h) as u64);
        let of = |x: u32, y: u32| ((x * 7 + y * 13) % 251) as u8;
        let image =
            RgbImage::from_fn(size[0] as u32, size[1] as u32, |x, y| image::Rgb([of(x, y); 3]));
        let red = |part: &RgbImage| Ok(part.pixels().map(|pixel| pixel.0[0]).collect());
        let labels = parts.predict_with(&image, &red).unwrap();
        assert!(image.pixels().map(|pixel| pixel.0[0]).eq(labels.iter().copied()), "{parts:?}");
        (parts, labels)
    }

    #[test]
    fn parts_cover_every_pixel_once_and_stay_within_the_limit() {
        assert!(predicted([300, 200], 60_000).0.is_whole());
        for (size, limit) in [([1000, 700], 500_000), ([2000, 40], 40_000), ([41, 1999], 40_000)] {
            let (parts, _) = predicted(size, limit);
            assert!(!parts.is_whole() && parts.takes[1] <= limit, "{parts:?}");
        }
        assert_eq!(predicted([1000, 700], 500_000).0.grid, [2, 2]);
        // Margins alone may take more than a limit.
        assert_eq!(predicted([600, 600], 10).0.grid, [5, 5]);
    }
}
