//! Made-up networks on made-up images, whose true difference is known exactly.
//!
//! A population is finite, some hundreds of images and some dozens of pairs of networks, and an
//! experiment draws images and pairs from it with replacement. So the truth, the difference of mIoU
//! to be expected of a drawn pair over all images, is a mean over all pairs and needs no estimate.

pub(crate) mod drives;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;
use seg_metrics::stats::{Bootstrap, Difference, Run, compare};
use seg_metrics::{AbsentClass, ConfusionMatrix};

const CLASSES: usize = 6;
const IMAGES: usize = 400;
const PAIRS: usize = 80;

/// What moves the share of pixels that a network finds; standard deviations in logits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effects {
    /// How much better the first arm is, in logits.
    pub(crate) advantage: f64,
    /// How an image suits an arm, whatever the seed.
    pub(crate) images: f64,
    /// How a network came out, whatever the image.
    pub(crate) seeds: f64,
    /// How a network came out for an image.
    pub(crate) interaction: f64,
}

type Image = Vec<(u32, u64)>;

/// All images as all networks see them.
pub(crate) struct Population {
    absent: AbsentClass,
    /// Of each pair: the first network's images, and the second's.
    pairs: Vec<[Vec<Image>; 2]>,
    truth: f64,
    truth_of_classes: Vec<f64>,
}

/// What some experiments found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Share of the intervals that held the truth.
    pub(crate) covered: f64,
    /// Share of the experiments in which all classes' intervals held theirs.
    pub(crate) all_classes_covered: f64,
    /// Share of the intervals from the images' variance alone that held the truth.
    pub(crate) covered_by_images: f64,
    /// Mean half width, in points.
    pub(crate) half_width: f64,
    /// Mean share of the seeds' variance in all.
    pub(crate) seed_share: f64,
}

impl Population {
    /// Draws a population; the same arguments give the same one.
    pub(crate) fn new(effects: Effects, absent: AbsentClass, seed: u64) -> Self {
        let mut draws = Draws(ChaCha8Rng::seed_from_u64(seed));
        let pixels: Vec<[u64; CLASSES]> = (0..IMAGES).map(|_| draws.image()).collect();
        // What is hard in an image is so for both arms; what suits one of them is its own.
        let hard = draws.normals(IMAGES, 1.0);
        let suits = [draws.normals(IMAGES, effects.images), draws.normals(IMAGES, effects.images)];
        let mut network = |arm: usize| -> Vec<Image> {
            let advantage = [effects.advantage, 0.0][arm];
            let of_class = draws.normals(CLASSES, effects.seeds);
            let of_network = effects.seeds * draws.normal();
            let image = |(image, pixels): (usize, &[u64; CLASSES])| {
                let logit = advantage + of_network + hard[image] + suits[arm][image];
                let shares = std::array::from_fn(|class| {
                    let fared = effects.interaction * draws.normal();
                    1.0 / (1.0 + (-(1.0 + logit + of_class[class] + fared)).exp())
                });
                counts(pixels, shares)
            };
            pixels.iter().enumerate().map(image).collect()
        };
        let pairs: Vec<_> = (0..PAIRS).map(|_| [network(0), network(1)]).collect();
        let matrices: Vec<_> = pairs.iter().map(|pair| pair.each_ref().map(matrix)).collect();
        let mean = |of: &dyn Fn(&ConfusionMatrix) -> Option<f64>| {
            let of = |matrix| of(matrix).expect("labelled pixels");
            matrices.iter().map(|[first, second]| of(first) - of(second)).sum::<f64>()
                / PAIRS as f64
        };
        let truth = mean(&|matrix| matrix.miou(absent));
        let of_class = |class| mean(&|matrix: &ConfusionMatrix| matrix.class_iou()[class]);
        let truth_of_classes = (0..CLASSES).map(of_class).collect();
        Self { absent, pairs, truth, truth_of_classes }
    }

    /// Runs experiments with so many seeds and images each; the same arguments find the same.
    pub(crate) fn experiments(
        &self,
        seeds: usize,
        images: usize,
        times: u64,
        resamples: u32,
    ) -> Found {
        let one = |nth| {
            let mut draws = Draws(ChaCha8Rng::seed_from_u64(1 << 32 | nth));
            let drawn: Vec<usize> = (0..images).map(|_| draws.below(IMAGES)).collect();
            let pairs: Vec<[Vec<Image>; 2]> = (0..seeds)
                .map(|_| &self.pairs[draws.below(PAIRS)])
                .map(|pair| {
                    pair.each_ref().map(|of| drawn.iter().map(|i| of[*i].clone()).collect())
                })
                .collect();
            let runs = |arm: usize| -> Vec<Run<'_>> {
                (0..).zip(&pairs).map(|(seed, pair)| Run { seed, images: &pair[arm] }).collect()
            };
            let bootstrap = Bootstrap { resamples, seed: nth };
            let found = compare(CLASSES, self.absent, &runs(0), &runs(1), &bootstrap);
            let found = found.expect("runs that can be compared");
            let seed_variance = found.miou.seed_variance.unwrap_or(0.0);
            let error = (found.miou.estimate - self.truth).abs();
            let classes = found.classes.iter().zip(&self.truth_of_classes);
            let all_inside = classes.into_iter().all(|(class, truth)| {
                let inside = |of: Difference| (of.estimate - truth).abs() <= of.half_width;
                class.difference.is_none_or(inside)
            });
            let share = |inside: bool| f64::from(u8::from(inside));
            Found {
                covered: share(error <= found.miou.half_width),
                all_classes_covered: share(all_inside),
                covered_by_images: share(error <= 1.96 * found.miou.image_variance.sqrt()),
                half_width: 100.0 * found.miou.half_width,
                seed_share: seed_variance / (seed_variance + found.miou.image_variance),
            }
        };
        let all: Vec<Found> = (0..times).into_par_iter().map(one).collect();
        let mean = |of: fn(&Found) -> f64| all.iter().map(of).sum::<f64>() / times as f64;
        Found {
            covered: mean(|found| found.covered),
            all_classes_covered: mean(|found| found.all_classes_covered),
            covered_by_images: mean(|found| found.covered_by_images),
            half_width: mean(|found| found.half_width),
            seed_share: mean(|found| found.seed_share),
        }
    }

    /// The true difference, in points.
    pub(crate) fn truth(&self) -> f64 {
        100.0 * self.truth
    }
}

/// An image's cells: the given shares of its pixels found, the others taken for the next two
/// classes.
fn counts(pixels: &[u64; CLASSES], shares: [f64; CLASSES]) -> Image {
    let mut cells = Vec::new();
    for (label, (&pixels, share)) in pixels.iter().zip(shares).enumerate() {
        let hits = (pixels as f64 * share).round() as u64;
        let next = (pixels - hits) / 3 * 2;
        let after = pixels - hits - next;
        for (prediction, pixels) in [(label, hits), (label + 1, next), (label + 2, after)] {
            let cell = label * (CLASSES + 1) + prediction % CLASSES;
            cells.push((cell as u32, pixels));
        }
    }
    cells.retain(|(_, pixels)| *pixels > 0);
    cells
}

fn matrix(images: &Vec<Image>) -> ConfusionMatrix {
    let mut matrix = ConfusionMatrix::new(CLASSES);
    for image in images {
        matrix.add_sparse(image).expect("cells of the classes");
    }
    matrix
}

/// Random numbers of one seed.
struct Draws(ChaCha8Rng);

impl Draws {
    fn uniform(&mut self) -> f64 {
        // In (0, 1], so that its logarithm is finite.
        (f64::from(self.0.next_u32()) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }

    fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    /// Box and Muller's transform.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    fn normals(&mut self, n: usize, sd: f64) -> Vec<f64> {
        (0..n).map(|_| sd * self.normal()).collect()
    }

    /// Pixels of each class: the later, the rarer, and regions of very different sizes.
    fn image(&mut self) -> [u64; CLASSES] {
        std::array::from_fn(|class| {
            let is_there = class == 0 || self.uniform() < 1.0 / (1.0 + class as f64 / 2.0);
            let size = 1000.0 * (0.8 * self.normal()).exp();
            if is_there { 1 + size as u64 } else { 0 }
        })
    }
}
