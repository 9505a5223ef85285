//! States at the borders of tiles, remembered from when they were last computed.
//!
//! Source: MPTT of Xu et al.: fetch, update, pass.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};

use crate::tensor_file::Tensors;

/// What is remembered of one border, by image: `μ` from the epochs before, and the mean and number
/// of what this epoch found.
#[derive(Debug, Clone, PartialEq)]
struct Head {
    /// Numbers of the largest image's state; smaller ones leave room behind theirs.
    len: usize,
    kept: Vec<f32>,
    mean: Vec<f32>,
    count: Vec<u32>,
}

/// States by the name of their border and by image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TileMemory {
    /// `δ`, the weight of what was remembered.
    smoothing: f32,
    images: usize,
    heads: BTreeMap<String, Head>,
}

impl TileMemory {
    /// An empty memory for so many images.
    pub(crate) fn new(images: usize, smoothing: f64) -> Self {
        Self { smoothing: smoothing as f32, images, heads: BTreeMap::new() }
    }

    /// The state at a border, `len` numbers: `μ`, or where this epoch has found some the mean of
    /// those and `δ` times `μ`; zeros at first.
    pub(crate) fn fetch(&self, head: &str, image: usize, len: usize) -> Vec<f32> {
        let Some(Head { len: room, kept, mean, count }) = self.heads.get(head) else {
            return vec![0.0; len];
        };
        let at = image * room..image * room + len;
        let pairs = kept[at.clone()].iter().zip(&mean[at]);
        match count[image] {
            0 => pairs.map(|(kept, _)| *kept).collect(),
            n => pairs.map(|(kept, mean)| self.joined(*kept, *mean, n)).collect(),
        }
    }

    /// Takes in a state that was found at a border, where the largest image's has `len` numbers.
    pub(crate) fn update(&mut self, head: &str, image: usize, state: &[f32], len: usize) {
        let images = self.images;
        let head = self.heads.entry(head.to_owned()).or_insert_with(|| Head {
            len,
            kept: vec![0.0; images * len],
            mean: vec![0.0; images * len],
            count: vec![0; images],
        });
        let n = head.count[image] as f32;
        for (mean, &state) in head.mean[image * len..(image + 1) * len].iter_mut().zip(state) {
            *mean = (n * *mean + state) / (n + 1.0);
        }
        head.count[image] += 1;
    }

    /// Ends an epoch: what was found more than once becomes what is remembered.
    pub(crate) fn pass(&mut self) {
        let smoothing = self.smoothing;
        for Head { len, kept, mean, count } in self.heads.values_mut() {
            let of_images = kept.chunks_exact_mut(*len).zip(mean.chunks_exact_mut(*len));
            for ((kept, mean), count) in of_images.zip(count) {
                if *count > 1 {
                    for (kept, mean) in kept.iter_mut().zip(mean) {
                        *kept = joined(smoothing, *kept, *mean, *count);
                        *mean = 0.0;
                    }
                    *count = 0;
                }
            }
        }
    }

    fn joined(&self, kept: f32, mean: f32, count: u32) -> f32 {
        joined(self.smoothing, kept, mean, count)
    }

    /// As tensors, to be gone on from with [`Self::resume`].
    pub(crate) fn state(&self) -> anyhow::Result<Tensors> {
        let mut tensors = Tensors::new();
        for (name, Head { len, kept, mean, count }) in &self.heads {
            let shape = (self.images, *len);
            let of = |values: &[f32]| Tensor::from_slice(values, shape, &Device::Cpu);
            tensors.insert(format!("{name}.kept"), of(kept)?);
            tensors.insert(format!("{name}.mean"), of(mean)?);
            tensors.insert(format!("{name}.count"), Tensor::new(count.as_slice(), &Device::Cpu)?);
        }
        Ok(tensors)
    }

    /// Goes on from a [`Self::state`].
    ///
    /// # Errors
    ///
    /// The state of another memory.
    pub(crate) fn resume(&mut self, state: &Tensors) -> anyhow::Result<()> {
        let mut heads = BTreeMap::new();
        for (key, count) in state {
            let Some(name) = key.strip_suffix(".count") else { continue };
            let of = |part: &str| {
                let key = format!("{name}.{part}");
                state.get(&key).with_context(|| format!("{key} is missing"))
            };
            let (kept, count) = (of("kept")?, count.to_vec1::<u32>()?);
            let (images, len) = kept.dims2()?;
            ensure!(
                images == self.images && count.len() == images,
                "{name} is of {images} images, not of {}",
                self.images
            );
            let values = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
            let (kept, mean) = (values(kept)?, values(of("mean")?)?);
            ensure!(mean.len() == kept.len(), "{name}.mean holds {} numbers", mean.len());
            heads.insert(name.to_owned(), Head { len, kept, mean, count });
        }
        self.heads = heads;
        Ok(())
    }
}

/// `(δ μ + n mean) / (δ + n)`.
fn joined(smoothing: f32, kept: f32, mean: f32, count: u32) -> f32 {
    let n = count as f32;
    (smoothing * kept + n * mean) / (smoothing + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads 0, 2, 4 and 6; a sample `b` finds the states of those within four steps behind it.
    fn epoch(memory: &mut TileMemory, order: &[usize]) {
        for &b in order {
            for h in [0, 2, 4, 6].into_iter().filter(|h| (b + 1..=b + 4).contains(h)) {
                let state = 10f32.powi(b as i32 / 2) * (h - b) as f32;
                memory.update(&h.to_string(), 0, &[state], 1);
            }
        }
    }

    fn of(memory: &TileMemory, head: usize) -> (f32, f32, u32) {
        let head = &memory.heads[&head.to_string()];
        (head.kept[0], head.mean[0], head.count[0])
    }

    #[test]
    fn a_trace_is_that_worked_out_by_hand() {
        let mut memory = TileMemory::new(1, 1.0);
        epoch(&mut memory, &[4, 0, 2, 6]);
        assert_eq!([2, 4, 6].map(|h| of(&memory, h)), [(0., 2., 1), (0., 12., 2), (0., 120., 2)]);
        memory.pass();
        assert_eq!([2, 4, 6].map(|h| of(&memory, h)), [(0., 2., 1), (8., 0., 0), (80., 0., 0)]);
        assert_eq!([0, 2, 4, 6].map(|h| memory.fetch(&h.to_string(), 0, 1)[0]), [0., 1., 8., 80.]);
    }

    /// The borders of a small image's tiles, between those of larger ones.
    #[test]
    fn images_of_several_sizes_keep_to_their_places() {
        let mut memory = TileMemory::new(3, 1.0);
        for _ in 0..2 {
            memory.update("a", 1, &[5.0], 3);
            memory.update("a", 0, &[1.0, 2.0, 3.0], 3);
            memory.update("a", 2, &[6.0, 7.0], 3);
        }
        let third = |values: &[f32]| values.iter().map(|x| x * 2.0 / 3.0).collect::<Vec<_>>();
        for passes in 0..2 {
            assert_eq!(memory.fetch("a", 0, 3), third(&[1.0, 2.0, 3.0]), "{passes}");
            assert_eq!(memory.fetch("a", 1, 1), third(&[5.0]), "{passes}");
            assert_eq!(memory.fetch("a", 2, 2), third(&[6.0, 7.0]), "{passes}");
            memory.pass();
        }
    }

    #[test]
    fn a_memory_goes_on_from_its_state() {
        let mut memory = TileMemory::new(2, 0.5);
        memory.update("a", 1, &[1.0, 2.0], 2);
        memory.update("a", 1, &[3.0, 2.0], 2);
        memory.update("b", 0, &[7.0], 1);
        memory.pass();
        memory.update("a", 0, &[5.0, 6.0], 2);
        let mut other = TileMemory::new(2, 0.5);
        other.resume(&memory.state().unwrap()).unwrap();
        assert_eq!(other, memory);
        assert_eq!(other.fetch("a", 1, 2), [4.0 / 2.5, 4.0 / 2.5]);
        let message = TileMemory::new(3, 0.5).resume(&memory.state().unwrap()).unwrap_err();
        assert_eq!(message.to_string(), "a is of 2 images, not of 3");
    }
}
