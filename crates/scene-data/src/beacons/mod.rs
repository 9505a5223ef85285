//! The synthetic set "beacons": scenes that cannot be parsed without distant context.
//!
//! An image is cut into regions of a few textures. Every texture stands for one of two classes
//! that look exactly the same locally; which of the two holds in the whole image is told only by
//! that texture's *beacon*, a small emblem anywhere in the image: its frame has the texture's
//! colour, and the shape inside (a filled plus for the first class, a hollow ring for the second)
//! tells the class. The beacons of all textures are always there, also of those that no region
//! has. Beyond its receptive field a network can only guess; to do better it must carry the right
//! beacon's message across the image, past the others.
//!
//! Texture `t` stands for the classes `2t` (plus) and `2t + 1` (ring). A beacon's own pixels have the
//! class that it tells, so that its two shapes can be learnt on the spot; they are not ambiguous and
//! have no distance. Each image depends on the seed, the split and its index only and is
//! computed with integers, so it is the same on every machine and in any order.

mod config;
mod emblem;
mod rng;
mod scene;
mod texture;

pub use config::BeaconsConfig;

use crate::{Class, Error, FingerprintCache, Sample, SceneDataset, Split, fingerprint};

/// One split of the synthetic set; images are made when they are asked for.
#[derive(Debug)]
pub struct Beacons {
    config: BeaconsConfig,
    split: Split,
    classes: Vec<Class>,
    ids: Vec<String>,
}

impl Beacons {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// Those of [`BeaconsConfig::check`].
    pub fn new(config: &BeaconsConfig, split: Split) -> Result<Self, Error> {
        config.check()?;
        let ids = (0..config.images(split)).map(|index| format!("{split}_{index:06}"));
        let (config, ids) = (config.clone(), ids.collect());
        Ok(Self { classes: classes(config.textures), config, split, ids })
    }
}

impl SceneDataset for Beacons {
    fn name(&self) -> &str {
        "beacons"
    }

    fn classes(&self) -> &[Class] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.ids.len()
    }

    fn id(&self, index: usize) -> &str {
        &self.ids[index]
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let Some(id) = self.ids.get(index) else {
            return Err(Error::Index { dataset: "beacons".to_owned(), index, len: self.len() });
        };
        Ok(scene::generate(&self.config, self.split, index, id.clone()))
    }

    /// All images follow from the configuration and the program, of which the first and the last
    /// are witnesses.
    fn fingerprint_in(&self, cache: &FingerprintCache) -> Result<String, Error> {
        let Some(last) = self.len().checked_sub(1) else { return fingerprint::of_samples(self) };
        let [first, last] = [0, last].map(|index| fingerprint::of_sample(self, index));
        let (config, split) = (&self.config, self.split);
        let key = format!("beacons {config:?} {split} {} {}", first?.hex(), last?.hex());
        cache.remembered(&key, || fingerprint::of_samples(self))
    }

    fn size(&self, _index: usize) -> Result<[usize; 2], Error> {
        Ok([self.config.size_px; 2])
    }
}

/// A bright and a dark shade of each texture's colour.
pub(crate) fn classes(textures: usize) -> Vec<Class> {
    let pair = |texture: usize| {
        let bright = texture::bright(texture);
        [
            Class { name: format!("texture {texture} plus"), color: bright },
            Class { name: format!("texture {texture} ring"), color: bright.map(|v| v / 2) },
        ]
    };
    (0..textures).flat_map(pair).collect()
}
