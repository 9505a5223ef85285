//! One split in memory, and the batches that are drawn from it.

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use scene_data::{IMAGENET_MEAN, IMAGENET_STD, Sample, SceneDataset, normalised_planes};

use crate::config::Flip;
use crate::interrupt;
use crate::parameters::generator;
use crate::parser::Parser;
use crate::progress::Progress;

/// How an image is shown to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As it is.
    Plain,
    /// Left and right exchanged.
    Mirrored,
}

/// What the network starts from.
pub enum Inputs {
    /// Normalised images, `[n, 3, h, w]`.
    Pixels(Tensor),
    /// The feature maps of a frozen backbone, finest first, each `[n, c, h', w']`.
    Features(Vec<Tensor>),
}

/// A batch: inputs and labels `[n, h, w]` (`u8`).
pub struct Batch {
    /// What the network starts from.
    pub inputs: Inputs,
    /// Class indices, 255 for ignored pixels.
    pub labels: Tensor,
}

/// All samples of one split, decoded; with a frozen backbone also their features.
pub struct Examples {
    samples: Vec<Sample>,
    /// Per sample: the features of the plain view and, if asked for, of the mirrored one.
    features: Vec<Vec<Vec<Tensor>>>,
}

impl Examples {
    /// Decodes every sample of `dataset`.
    ///
    /// # Errors
    ///
    /// The first bad sample, or an interrupt.
    pub fn load(dataset: &dyn SceneDataset) -> anyhow::Result<Self> {
        let samples = (0..dataset.len())
            .into_par_iter()
            .map(|index| {
                interrupt::check()?;
                Ok(dataset.sample(index)?)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(!samples.is_empty(), "{}: the split holds no images", dataset.name());
        Ok(Self { samples, features: Vec::new() })
    }

    /// Computes the frozen backbone's features once for each view.
    ///
    /// # Errors
    ///
    /// An image that the backbone cannot take, or an interrupt.
    pub fn cache_features(
        &mut self,
        parser: &Parser,
        views: &[View],
        progress: &Progress,
    ) -> anyhow::Result<()> {
        self.features.clear();
        for index in 0..self.samples.len() {
            let maps = views.iter().map(|&view| {
                interrupt::check()?;
                let pixels = self.pixels(&[(index, view)])?;
                parser.features(&pixels).context("computing the frozen backbone's features")
            });
            let maps = maps.collect::<anyhow::Result<Vec<_>>>()?;
            self.features.push(maps);
            progress.advance(1);
        }
        Ok(())
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True if there are none; [`Self::load`] never makes such.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The samples themselves.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The samples of `picks` as one batch.
    ///
    /// # Errors
    ///
    /// Images of different sizes in one batch.
    pub fn batch(&self, picks: &[(usize, View)]) -> anyhow::Result<Batch> {
        let first = &self.samples[picks[0].0];
        let (w, h) = (first.labels.width, first.labels.height);
        let mut labels = Vec::with_capacity(picks.len() * w * h);
        for &(index, view) in picks {
            let sample = &self.samples[index];
            let size = (sample.labels.width, sample.labels.height);
            ensure!(
                size == (w, h),
                "{} is {}×{}, {} is {w}×{h}: a batch needs images of one size; \
                 use training.batch_size = 1",
                sample.id,
                size.0,
                size.1,
                first.id,
            );
            for row in sample.labels.data.chunks_exact(w) {
                match view {
                    View::Plain => labels.extend_from_slice(row),
                    View::Mirrored => labels.extend(row.iter().rev()),
                }
            }
        }
        let labels = Tensor::from_vec(labels, (picks.len(), h, w), &Device::Cpu)?;
        let inputs = if self.features.is_empty() {
            Inputs::Pixels(self.pixels(picks)?)
        } else {
            Inputs::Features(self.cached(picks)?)
        };
        Ok(Batch { inputs, labels })
    }

    /// Normalised pixels of `picks`, `[n, 3, h, w]`, whether or not features are cached.
    ///
    /// # Errors
    ///
    /// Images of different sizes.
    pub fn pixels(&self, picks: &[(usize, View)]) -> anyhow::Result<Tensor> {
        let planes: Vec<Tensor> = picks
            .par_iter()
            .map(|&(index, view)| {
                let image = &self.samples[index].image;
                let (w, h) = (image.width() as usize, image.height() as usize);
                let mut planes = normalised_planes(image, IMAGENET_MEAN, IMAGENET_STD);
                if view == View::Mirrored {
                    planes.chunks_exact_mut(w).for_each(<[f32]>::reverse);
                }
                Tensor::from_vec(planes, (1, 3, h, w), &Device::Cpu)
            })
            .collect::<Result<_, _>>()?;
        Ok(Tensor::cat(&planes, 0)?)
    }

    fn cached(&self, picks: &[(usize, View)]) -> anyhow::Result<Vec<Tensor>> {
        let of = |&(index, view): &(usize, View)| -> anyhow::Result<&Vec<Tensor>> {
            let views = &self.features[index];
            let at = if view == View::Plain { 0 } else { 1 };
            views.get(at).context("the features of the mirrored view were not computed")
        };
        let maps = picks.iter().map(of).collect::<anyhow::Result<Vec<_>>>()?;
        let stage = |s: usize| Tensor::cat(&maps.iter().map(|m| &m[s]).collect::<Vec<_>>(), 0);
        Ok((0..maps[0].len()).map(stage).collect::<Result<_, _>>()?)
    }
}

/// The order and views in which an epoch shows `count` samples: a draw of `(seed, epoch)` alone.
pub fn epoch_order(seed: u64, epoch: usize, count: usize, flip: Flip) -> Vec<(usize, View)> {
    let mut rng = generator(seed, &format!("epoch/{epoch}"));
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rng);
    let mut view = |_| match flip {
        Flip::Random if rng.random() => View::Mirrored,
        _ => View::Plain,
    };
    order.into_iter().map(|index| (index, view(index))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_shows_every_sample_once_and_differs_from_the_next() {
        let order = epoch_order(1, 0, 100, Flip::Random);
        let mut seen: Vec<usize> = order.iter().map(|pick| pick.0).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        let mirrored = order.iter().filter(|pick| pick.1 == View::Mirrored).count();
        assert!((30..70).contains(&mirrored));
        assert_ne!(order, epoch_order(1, 1, 100, Flip::Random));
        assert_ne!(order, epoch_order(2, 0, 100, Flip::Random));
        assert_eq!(order, epoch_order(1, 0, 100, Flip::Random));
        assert!(epoch_order(1, 0, 9, Flip::Off).iter().all(|pick| pick.1 == View::Plain));
    }
}
