//! Decoded samples, kept as long as there is room for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::{Error, Sample, SceneDataset};

/// One split whose samples are decoded once, as far as a budget of memory goes; the others are
/// decoded whenever they are asked for.
pub struct SampleStore {
    dataset: Box<dyn SceneDataset>,
    kept: Vec<OnceLock<Arc<Sample>>>,
    bytes_left: AtomicU64,
}

impl SampleStore {
    /// Keeps samples of `dataset` in up to `cache_bytes` of memory.
    pub fn new(dataset: Box<dyn SceneDataset>, cache_bytes: u64) -> Self {
        let kept = (0..dataset.len()).map(|_| OnceLock::new()).collect();
        Self { dataset, kept, bytes_left: AtomicU64::new(cache_bytes) }
    }

    /// The dataset itself.
    pub fn dataset(&self) -> &dyn SceneDataset {
        &*self.dataset
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// One sample, decoded now or before.
    ///
    /// # Errors
    ///
    /// Those of [`SceneDataset::sample`].
    pub fn get(&self, index: usize) -> Result<Arc<Sample>, Error> {
        let place = self.kept.get(index);
        if let Some(sample) = place.and_then(OnceLock::get) {
            return Ok(sample.clone());
        }
        let sample = Arc::new(self.dataset.sample(index)?);
        let bytes = bytes_of(&sample);
        let take = |left: u64| left.checked_sub(bytes);
        let room = self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if room
            && let Some(place) = place
            && place.set(sample.clone()).is_err()
        {
            // Another thread has just kept the same one.
            self.bytes_left.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(sample)
    }
}

fn bytes_of(sample: &Sample) -> u64 {
    let distances = sample.beacon_distance_px.as_ref().map_or(0, |distances| 2 * distances.len());
    (sample.image.as_raw().len() + sample.labels.data.len() + distances) as u64
}
