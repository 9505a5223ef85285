//! A training image varied at random: scale, crop, mirror, colour.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::transform::planes::{Canvas, View, write_planes};
use crate::transform::resample::{Window, window_of_image, window_of_labels};
use crate::transform::{IMAGENET_MEAN, IMAGENET_STD, JitterConfig};
use crate::{Error, IGNORE, LabelMap, MAX_PIXELS, Sample};

/// How often a crop is drawn anew that shows too much of one class.
const TRIES: usize = 10;

/// How training images are varied, besides being mirrored; the default leaves them as they are.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Smallest and largest factor on the image's size, drawn uniformly. Default: 1 to 1.
    pub scale: [f64; 2],
    /// Columns and rows of a crop at a random place; images that are smaller are padded at the
    /// right and at the bottom, with the mean colour and ignored labels. 0, 0, the default: none.
    pub crop_px: [usize; 2],
    /// The largest share of a crop's labelled pixels that one class may have; up to ten crops are
    /// tried. Default: 1.
    pub max_class_share: f64,
    /// Photometric jitter. Default: none.
    pub jitter: JitterConfig,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        let jitter = JitterConfig::default();
        Self { scale: [1.0, 1.0], crop_px: [0, 0], max_class_share: 1.0, jitter }
    }
}

/// What a network takes of one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Normalised red, green and blue, `[3, height, width]`.
    pub planes: Vec<f32>,
    /// Class indices, `[height, width]`.
    pub labels: Vec<u8>,
}

/// The generator of one sample's variation: it depends on the run's seed, the epoch and the
/// sample's index alone, so that neither threads nor the order of loading matter.
pub fn sample_rng(seed: u64, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16..24].copy_from_slice(&index.to_le_bytes());
    key[24..].copy_from_slice(b"augment1");
    ChaCha8Rng::from_seed(key)
}

impl AugmentConfig {
    /// Whether images stay as they are.
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that images can be varied so.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the first value outside its range.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |field, value: String, expected: &str| {
            Err(Error::Config { config: "augment", field, value, expected: expected.to_owned() })
        };
        let [low, high] = self.scale;
        if !(low >= 0.1 && low <= high && high <= 10.0) {
            let expected = "two factors from 0.1 to 10, the smaller first";
            return refuse("scale", format!("{:?}", self.scale), expected);
        }
        let [columns, rows] = self.crop_px;
        if (columns == 0) != (rows == 0) || columns.max(rows) > 8192 {
            let expected = "columns and rows, both at most 8192, or 0, 0 for none";
            return refuse("crop_px", format!("{:?}", self.crop_px), expected);
        }
        if !(self.max_class_share > 0.0 && self.max_class_share <= 1.0) {
            let value = self.max_class_share.to_string();
            return refuse("max_class_share", value, "above 0, at most 1");
        }
        let JitterConfig { brightness, contrast, saturation, hue_degrees } = self.jitter;
        for (field, value, most) in [
            ("jitter.brightness", brightness, 1.0),
            ("jitter.contrast", contrast, 1.0),
            ("jitter.saturation", saturation, 1.0),
            ("jitter.hue_degrees", hue_degrees, 180.0),
        ] {
            if !(0.0..=most).contains(&value) {
                return refuse(field, value.to_string(), &format!("0 to {most}"));
            }
        }
        Ok(())
    }

    /// Columns and rows of an image of `source` columns and rows that is scaled by `factor`, before a
    /// crop is taken of it.
    pub fn full_size(&self, source: [usize; 2], factor: f64) -> [usize; 2] {
        source.map(|pixels| ((pixels as f64 * factor).round() as usize).max(1))
    }

    /// Draws a variation of a sample.
    ///
    /// # Errors
    ///
    /// Those of [`AugmentConfig::check`].
    pub fn apply(&self, sample: &Sample, view: View, rng: &mut impl Rng) -> Result<Example, Error> {
        self.check()?;
        let source = [sample.labels.width, sample.labels.height];
        let [low, high] = self.scale;
        // Drawn in any case, so that one option does not change what the others draw.
        let factor = low + (high - low) * rng.random::<f64>();
        let full = self.full_size(source, factor);
        let canvas = if self.crop_px == [0, 0] { full } else { self.crop_px };
        if canvas[0].saturating_mul(canvas[1]) as u64 > MAX_PIXELS {
            let [width, height] = canvas;
            let expected = format!(
                "images of at most {MAX_PIXELS} pixels, {} becomes one of {width}×{height}; crops \
                 (crop_px) or smaller factors",
                sample.id
            );
            let (config, value) = ("augment", format!("{:?}", self.scale));
            return Err(Error::Config { config, field: "scale", value, expected });
        }
        let size: [usize; 2] = std::array::from_fn(|axis| canvas[axis].min(full[axis]));
        let mut draw = || {
            let from = std::array::from_fn(|axis| rng.random_range(0..=full[axis] - size[axis]));
            let window = Window { full, from, size };
            (window, window_of_labels(&sample.labels, window))
        };
        let (mut window, mut labels) = draw();
        for _ in 1..TRIES {
            if self.max_class_share >= 1.0 || largest_share(&labels) <= self.max_class_share {
                break;
            }
            (window, labels) = draw();
        }
        let shift = (!self.jitter.is_off()).then(|| self.jitter.draw(rng));
        let image = window_of_image(&sample.image, window);
        let [width, height] = canvas;
        let mut planes = vec![0.0; 3 * width * height];
        let canvas = Canvas { width, height };
        write_planes(&image, view, shift, (IMAGENET_MEAN, IMAGENET_STD), canvas, &mut planes);
        let mut padded = vec![IGNORE; width * height];
        let rows = labels.data.chunks_exact(size[0].max(1));
        for (to, from) in padded.chunks_exact_mut(width.max(1)).zip(rows) {
            let to = &mut to[..from.len()];
            to.copy_from_slice(from);
            if view == View::Mirrored {
                to.reverse();
            }
        }
        Ok(Example { width, height, planes, labels: padded })
    }
}

/// The share of the labelled pixels that the most frequent class has; 0 where none is labelled.
fn largest_share(labels: &LabelMap) -> f64 {
    let mut counts = [0u32; 256];
    for &label in &labels.data {
        counts[usize::from(label)] += 1;
    }
    let classes = &counts[..usize::from(IGNORE)];
    let labelled: u32 = classes.iter().sum();
    let most = classes.iter().max().copied().unwrap_or(0);
    if labelled == 0 { 0.0 } else { f64::from(most) / f64::from(labelled) }
}
