//! One split, and the batches that are drawn from it.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail, ensure};
use candle_core::{Device, Tensor};
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use scene_data::Statistics;
use scene_data::loader::{Ahead, Ordered, examples};
use scene_data::{AugmentConfig, ClassWeights, Example, Sample, SampleStore, SceneDataset};
use scene_data::{IGNORE, IMAGENET_MEAN, IMAGENET_STD, Split, normalised_planes};

pub use scene_data::View;

use crate::config::Flip;
use crate::feature_files::{FeatureFiles, FeatureFolder};
use crate::interrupt;
use crate::parameters::generator;
use crate::parser::Parser;
use crate::progress::Progress;

/// Decoded samples of a split are kept in up to this much memory.
const CACHE_BYTES: u64 = 1 << 30;

/// Threads that decode and vary samples while a step runs.
const LOADER_THREADS: NonZeroUsize = NonZeroUsize::MIN;

/// Batches made ahead.
const BATCHES_AHEAD: usize = 2;

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
    /// Which samples of the split these are.
    pub picks: Vec<(usize, View)>,
}

/// The samples of one split, and with a frozen backbone their features.
pub struct Examples {
    store: Arc<SampleStore>,
    features: Features,
    sizes: OnceLock<Vec<[usize; 2]>>,
}

/// The features of a frozen backbone.
enum Features {
    /// None: the network starts from pixels.
    None,
    /// Per sample: those of the plain view and, if asked for, of the mirrored one.
    Kept(Vec<Vec<Vec<Tensor>>>),
    /// The same in files.
    Files(FeatureFiles),
}

/// How one epoch is drawn from a split.
pub struct Epoch<'a> {
    /// How images are varied.
    pub augment: &'a AugmentConfig,
    /// The run's seed.
    pub seed: u64,
    /// From 0.
    pub epoch: usize,
    /// The samples of each batch, in the order in which they are shown.
    pub batches: Vec<Vec<(usize, View)>>,
}

impl Examples {
    /// Takes a split; samples are decoded when they are needed and kept as far as memory goes.
    ///
    /// # Errors
    ///
    /// A split without images.
    pub fn new(dataset: Box<dyn SceneDataset>) -> anyhow::Result<Self> {
        ensure!(!dataset.is_empty(), "{}: the split holds no images", dataset.name());
        let store = Arc::new(SampleStore::new(dataset, CACHE_BYTES));
        Ok(Self { store, features: Features::None, sizes: OnceLock::new() })
    }

    /// Checks that there is a labelled pixel: without one nothing is learned, chosen or scored.
    ///
    /// # Errors
    ///
    /// A split without any, or a sample that cannot be read.
    pub fn check_labelled(&self, split: Split) -> anyhow::Result<()> {
        for index in 0..self.len() {
            if self.sample(index)?.labels.data.iter().any(|&label| label != IGNORE) {
                return Ok(());
            }
        }
        bail!(
            "{} {split}: no pixel of its {} images is labelled, so {}; `data verify` says more",
            self.store.dataset().name(),
            self.len(),
            match split {
                Split::Train => "there is nothing to learn from",
                Split::Val => "no epoch can be chosen by it",
                Split::Test => "there is nothing to score on",
            }
        )
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
        let all = (0..self.len()).map(|index| {
            progress.advance(1);
            self.features_of(index, parser, views)
        });
        self.features = Features::Kept(all.collect::<anyhow::Result<_>>()?);
        Ok(())
    }

    /// The same in files; `key` tells apart whatever would make other features.
    ///
    /// # Errors
    ///
    /// As there, and those of [`FeatureFiles::open`].
    pub fn cache_features_in(
        &mut self,
        folder: &FeatureFolder,
        key: &str,
        parser: &Parser,
        views: &[View],
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let files = FeatureFiles::open(folder, key, views, self.len(), &mut |index| {
            self.features_of(index, parser, views)
        })?;
        progress.advance(self.len() as u64);
        self.features = Features::Files(files);
        Ok(())
    }

    fn features_of(
        &self,
        index: usize,
        parser: &Parser,
        views: &[View],
    ) -> anyhow::Result<Vec<Vec<Tensor>>> {
        let sample = self.sample(index)?;
        let maps = views.iter().map(|&view| {
            interrupt::check()?;
            let pixels = pixels(&sample, view)?;
            parser.features(&pixels).context("computing the frozen backbone's features")
        });
        maps.collect()
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// True if there are none; [`Self::new`] never makes such.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// One sample.
    ///
    /// # Errors
    ///
    /// One that cannot be read.
    pub fn sample(&self, index: usize) -> anyhow::Result<Arc<Sample>> {
        Ok(self.store.get(index)?)
    }

    /// Columns and rows of every image, from its file's head; read once.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn sizes(&self) -> anyhow::Result<&[[usize; 2]]> {
        if let Some(sizes) = self.sizes.get() {
            return Ok(sizes);
        }
        let dataset = self.store.dataset();
        let of = |index| dataset.size(index);
        let sizes = (0..self.len()).into_par_iter().map(of).collect::<Result<_, _>>()?;
        Ok(self.sizes.get_or_init(|| sizes))
    }

    /// The weights of the classes in a loss, from how often they occur here; `None` where all
    /// count alike.
    ///
    /// # Errors
    ///
    /// A sample that cannot be read.
    pub fn class_weights(&self, rule: ClassWeights) -> anyhow::Result<Option<Vec<f64>>> {
        if rule == ClassWeights::None {
            return Ok(None);
        }
        let counted = Statistics::of(self.store.dataset(), &|| {})?;
        Ok(Some(rule.of(&counted)))
    }

    /// What the network starts from for one image as it is, batch of one.
    ///
    /// # Errors
    ///
    /// A sample that cannot be read.
    pub fn inputs(&self, index: usize) -> anyhow::Result<Inputs> {
        if matches!(self.features, Features::None) {
            Ok(Inputs::Pixels(pixels(&*self.sample(index)?, View::Plain)?))
        } else {
            Ok(Inputs::Features(self.cached(&[(index, View::Plain)])?))
        }
    }

    /// The batches of an epoch.
    pub fn batches(&self, epoch: Epoch<'_>) -> Batches<'_> {
        let Epoch { augment, seed, epoch, batches } = epoch;
        let stream = matches!(self.features, Features::None).then(|| {
            let largest = batches.iter().map(Vec::len).max().unwrap_or(0);
            let samples = NonZeroUsize::MIN.saturating_add(BATCHES_AHEAD * largest);
            let ahead = Ahead { threads: LOADER_THREADS, samples };
            examples(&self.store, augment, seed, epoch as u64, batches.concat(), ahead)
        });
        Batches { examples: self, stream, batches: batches.into_iter() }
    }

    fn cached(&self, picks: &[(usize, View)]) -> anyhow::Result<Vec<Tensor>> {
        let of = |&(index, view): &(usize, View)| match &self.features {
            Features::None => anyhow::bail!("no features were computed"),
            Features::Kept(all) => {
                let maps = all[index].get(if view == View::Plain { 0 } else { 1 });
                maps.cloned().context("the features of the mirrored view were not computed")
            }
            Features::Files(files) => files.get(index, view),
        };
        let maps = picks.iter().map(of).collect::<anyhow::Result<Vec<_>>>()?;
        let stage = |s: usize| Tensor::cat(&maps.iter().map(|m| &m[s]).collect::<Vec<_>>(), 0);
        Ok((0..maps[0].len()).map(stage).collect::<Result<_, _>>()?)
    }
}

/// The batches of one epoch.
pub struct Batches<'a> {
    examples: &'a Examples,
    /// Images made ahead; none where features are kept.
    stream: Option<Ordered<Result<Example, scene_data::Error>>>,
    batches: std::vec::IntoIter<Vec<(usize, View)>>,
}

impl Iterator for Batches<'_> {
    type Item = anyhow::Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let picks = self.batches.next()?;
        Some(match &mut self.stream {
            Some(stream) => {
                let part = stream.by_ref().take(picks.len()).collect::<Result<Vec<_>, _>>();
                part.map_err(Into::into).and_then(|part| of_pixels(self.examples, &picks, part))
            }
            None => of_features(self.examples, &picks),
        })
    }
}

fn of_pixels(
    examples: &Examples,
    picks: &[(usize, View)],
    part: Vec<Example>,
) -> anyhow::Result<Batch> {
    let (w, h) = (part[0].width, part[0].height);
    let (mut planes, mut labels) = (Vec::with_capacity(part.len()), Vec::new());
    for (example, (index, _)) in part.into_iter().zip(picks) {
        same_size(examples, picks[0].0, (w, h), *index, (example.width, example.height))?;
        planes.push(Tensor::from_vec(example.planes, (1, 3, h, w), &Device::Cpu)?);
        labels.extend(example.labels);
    }
    let labels = Tensor::from_vec(labels, (picks.len(), h, w), &Device::Cpu)?;
    Ok(Batch { inputs: Inputs::Pixels(Tensor::cat(&planes, 0)?), labels, picks: picks.to_vec() })
}

fn of_features(examples: &Examples, picks: &[(usize, View)]) -> anyhow::Result<Batch> {
    let mut labels = Vec::new();
    let mut size = None;
    for &(index, view) in picks {
        let sample = examples.sample(index)?;
        let own = (sample.labels.width, sample.labels.height);
        let first = *size.get_or_insert(own);
        same_size(examples, picks[0].0, first, index, own)?;
        for row in sample.labels.data.chunks_exact(own.0) {
            match view {
                View::Plain => labels.extend_from_slice(row),
                View::Mirrored => labels.extend(row.iter().rev()),
            }
        }
    }
    let (w, h) = size.context("a batch of nothing")?;
    let labels = Tensor::from_vec(labels, (picks.len(), h, w), &Device::Cpu)?;
    Ok(Batch { inputs: Inputs::Features(examples.cached(picks)?), labels, picks: picks.to_vec() })
}

fn same_size(
    examples: &Examples,
    first: usize,
    (w, h): (usize, usize),
    other: usize,
    size: (usize, usize),
) -> anyhow::Result<()> {
    let id = |index| examples.store.dataset().id(index);
    ensure!(
        size == (w, h),
        "{} is {}×{} in a batch with {} of {w}×{h}: when training began they were of one size; were \
         files changed meanwhile?",
        id(other),
        size.0,
        size.1,
        id(first),
    );
    Ok(())
}

/// Normalised pixels of one image, `[1, 3, h, w]`.
///
/// # Errors
///
/// None that a sample can cause.
pub fn pixels(sample: &Sample, view: View) -> anyhow::Result<Tensor> {
    let (w, h) = (sample.image.width() as usize, sample.image.height() as usize);
    let mut planes = normalised_planes(&sample.image, IMAGENET_MEAN, IMAGENET_STD);
    if view == View::Mirrored {
        planes.chunks_exact_mut(w.max(1)).for_each(<[f32]>::reverse);
    }
    Ok(Tensor::from_vec(planes, (1, 3, h, w), &Device::Cpu)?)
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
