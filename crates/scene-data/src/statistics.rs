//! What a split is made of: classes, sizes, colours.

use rayon::prelude::*;

use crate::{Error, IGNORE, SceneDataset};

/// Counts over one split; exact, whatever the number of threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// Images.
    pub images: u64,
    /// Pixels of each class.
    pub class_pixels: Vec<u64>,
    /// Images in which each class occurs.
    pub class_images: Vec<u64>,
    /// Labelled pixels of the images in which each class occurs.
    pub class_image_pixels: Vec<u64>,
    /// Pixels of no class.
    pub ignored_pixels: u64,
    /// Width and height of every image, sorted.
    pub sizes: Vec<[u32; 2]>,
    /// Sum of red, green and blue over all pixels.
    channel_sums: [u64; 3],
    /// Sum of their squares.
    channel_squares: [u64; 3],
}

impl Statistics {
    /// Counts every pixel of a split; `progress` is called once for each image, in parallel.
    ///
    /// # Errors
    ///
    /// The first sample that cannot be read.
    pub fn of(dataset: &dyn SceneDataset, progress: &(dyn Fn() + Sync)) -> Result<Self, Error> {
        let classes = dataset.classes().len();
        let one = |index| {
            let sample = dataset.sample(index)?;
            let mut counts = [0u64; 256];
            for &label in &sample.labels.data {
                counts[usize::from(label)] += 1;
            }
            let mut part = Self::empty(classes);
            let labelled: u64 = counts[..classes].iter().sum();
            let occurs = |pixels: &u64| *pixels > 0;
            part.class_pixels = counts[..classes].to_vec();
            part.class_images = counts[..classes].iter().map(|n| u64::from(occurs(n))).collect();
            part.class_image_pixels =
                counts[..classes].iter().map(|n| if occurs(n) { labelled } else { 0 }).collect();
            part.images = 1;
            part.ignored_pixels = counts[usize::from(IGNORE)];
            part.sizes = vec![sample.image.dimensions().into()];
            for rgb in sample.image.as_raw().chunks_exact(3) {
                for (channel, &value) in rgb.iter().enumerate() {
                    part.channel_sums[channel] += u64::from(value);
                    part.channel_squares[channel] += u64::from(value) * u64::from(value);
                }
            }
            progress();
            Ok::<Self, Error>(part)
        };
        let parts = (0..dataset.len()).into_par_iter().map(one);
        let mut all = parts.try_reduce(|| Self::empty(classes), |a, b| Ok(a.plus(b)))?;
        all.sizes.sort_unstable();
        Ok(all)
    }

    /// Mean and standard deviation of red, green and blue, on a scale of 0 to 1; zeros of nothing.
    pub fn color(&self) -> [[f64; 3]; 2] {
        let pixels: u64 = self.sizes.iter().map(|[w, h]| u64::from(*w) * u64::from(*h)).sum();
        let pixels = (pixels as f64).max(1.0);
        let mean = self.channel_sums.map(|sum| sum as f64 / pixels / 255.0);
        let square = self.channel_squares.map(|sum| sum as f64 / pixels / (255.0 * 255.0));
        let sd = std::array::from_fn(|c| (square[c] - mean[c] * mean[c]).max(0.0).sqrt());
        [mean, sd]
    }

    /// The share of the labelled pixels that each class has; zeros where nothing is labelled.
    pub fn class_shares(&self) -> Vec<f64> {
        let labelled: u64 = self.class_pixels.iter().sum();
        let labelled = (labelled as f64).max(1.0);
        self.class_pixels.iter().map(|&pixels| pixels as f64 / labelled).collect()
    }

    fn empty(classes: usize) -> Self {
        Self {
            images: 0,
            class_pixels: vec![0; classes],
            class_images: vec![0; classes],
            class_image_pixels: vec![0; classes],
            ignored_pixels: 0,
            sizes: Vec::new(),
            channel_sums: [0; 3],
            channel_squares: [0; 3],
        }
    }

    fn plus(mut self, other: Self) -> Self {
        let add = |to: &mut [u64], from: &[u64]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        };
        self.images += other.images;
        self.ignored_pixels += other.ignored_pixels;
        add(&mut self.class_pixels, &other.class_pixels);
        add(&mut self.class_images, &other.class_images);
        add(&mut self.class_image_pixels, &other.class_image_pixels);
        add(&mut self.channel_sums, &other.channel_sums);
        add(&mut self.channel_squares, &other.channel_squares);
        self.sizes.extend(other.sizes);
        self
    }
}
