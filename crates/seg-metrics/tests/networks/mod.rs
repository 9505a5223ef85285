//! Networks whose counts are drawn, and what is computed of them the slow way.
#![allow(dead_code, reason = "each test file takes what it needs")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use seg_metrics::stats::{Run, sample_sd};
use seg_metrics::{AbsentClass, ConfusionMatrix};

pub(crate) type Image = Vec<(u32, u64)>;

/// Networks by arm and seed, all on the same labels; the first arm errs less often.
pub(crate) fn networks(
    classes: usize,
    seeds: usize,
    images: usize,
    salt: u64,
) -> [Vec<Vec<Image>>; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(salt);
    let mut below = |n: usize| rng.next_u32() as usize % n;
    let labels: Vec<Vec<u8>> = (0..images)
        .map(|_| (0..20 + below(60)).map(|_| below(classes).min(below(classes)) as u8).collect())
        .collect();
    [3, 4].map(|errors| {
        let network = |_| {
            let image = |labels: &Vec<u8>| {
                let predict = |label: &u8| match below(10) < errors {
                    true => below(classes + 1) as u8,
                    false => *label,
                };
                let predictions: Vec<u8> = labels.iter().map(predict).collect();
                let mut matrix = ConfusionMatrix::new(classes);
                matrix.add(labels, &predictions).expect("labels are classes");
                matrix.to_sparse()
            };
            labels.iter().map(image).collect()
        };
        Vec::from_iter((0..seeds).map(network))
    })
}

/// An arm's networks with seeds from 10 on.
pub(crate) fn runs(arm: &[Vec<Image>]) -> Vec<Run<'_>> {
    (10..).zip(arm).map(|(seed, images)| Run { seed, images }).collect()
}

/// mIoU of one network on drawn images, matrix by matrix.
pub(crate) fn miou(images: &[Image], drawn: &[usize], classes: usize, absent: AbsentClass) -> f64 {
    let mut matrix = ConfusionMatrix::new(classes);
    for image in drawn {
        matrix.add_sparse(&images[*image]).expect("cells of the classes");
    }
    matrix.miou(absent).expect("labelled pixels")
}

pub(crate) fn variance(values: &[f64]) -> f64 {
    sample_sd(values).expect("two values").powi(2)
}

/// Whole numbers as the scripts in `benches/peers` draw them.
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}
