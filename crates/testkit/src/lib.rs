//! Seeded values, closeness and gradient checks for tests.
//!
//! A dev-dependency only. The feature `tensors` adds what needs candle.
//!
//! Not here: datasets on disk (`scene-data`'s synthetic writer makes those).

#[cfg(feature = "tensors")]
mod gradients;

#[cfg(feature = "tensors")]
pub use gradients::{check_gradients, tensor, var};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `len` numbers in (-1, 1), the same for the same seed on every machine.
pub fn values(seed: u64, len: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// `scale · sin(offset + 1 + flat index)` for every element of `shape`: values that another
/// program can make as well.
pub fn fill(shape: &[usize], scale: f64, offset: f64) -> Vec<f64> {
    let len: usize = shape.iter().product();
    (0..len).map(|flat| scale * (offset + 1.0 + flat as f64).sin()).collect()
}

/// Panics unless all elements differ by at most `tolerance`; NaN is close to nothing.
#[track_caller]
pub fn assert_close(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "lengths");
    let far = |i: &usize| {
        let near = (got[*i] - expected[*i]).abs() <= tolerance;
        !near
    };
    if let Some(first) = (0..got.len()).find(far) {
        let count = (0..got.len()).filter(far).count();
        panic!(
            "{count} of {} elements differ by more than {tolerance:e}; the first is [{first}]: \
             got {}, expected {}",
            got.len(),
            got[first],
            expected[first]
        );
    }
}
