//! Random integers that are the same on every machine and with every release of `rand`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::Split;

/// The generator of one image.
pub(super) struct ImageRng(ChaCha8Rng);

impl ImageRng {
    /// Depends on these three values only, so images can be made in any order.
    pub(super) fn new(seed: u64, split: Split, index: usize) -> Self {
        let split = match split {
            Split::Train => 0u64,
            Split::Val => 1,
            Split::Test => 2,
        };
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&split.to_le_bytes());
        key[16..24].copy_from_slice(&(index as u64).to_le_bytes());
        // Another way of making images from the same draws must change this.
        key[24..].copy_from_slice(b"beacons2");
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `end`. Uniform but for 2⁻³² (multiply and shift, no rejection).
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.0.next_u32()) * end as u64) >> 32) as usize
    }

    /// A fair coin: 0 or 1.
    pub(super) fn coin(&mut self) -> usize {
        self.below(2)
    }

    /// A number from `-reach` to `reach`.
    pub(super) fn around_zero(&mut self, reach: i32) -> i32 {
        self.below(2 * reach as usize + 1) as i32 - reach
    }

    /// 32 random bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Puts a slice in random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
