//! Made-up networks on made-up drives, whose stills are like their neighbours.
//!
//! Everything about a still, what it shows, how hard it is, how it suits an arm and how each network
//! fares on it, remembers a share of the still before (an autoregression of first order). Both arms
//! are made alike, so the true difference is exactly 0; of a single pair of networks too, which have
//! nothing of their own but how they fare on a still.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use seg_metrics::AbsentClass;
use seg_metrics::stats::{Bootstrap, Comparison, Run, Sampling, compare, compare_stills};

use super::{CLASSES, Draws, Effects, Image, counts};

/// A class is there where a normal number exceeds this: the later, the rarer.
const THERE: [f64; CLASSES] = [f64::NEG_INFINITY, -0.43, 0.0, 0.25, 0.43, 0.57];

/// What some experiments found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Share of the intervals that held the truth, stills being drawn in blocks.
    pub(crate) covered: f64,
    /// Share of the experiments in which all classes' intervals did.
    pub(crate) all_classes_covered: f64,
    /// Share of the intervals that held the truth, stills being drawn one by one.
    pub(crate) covered_one_by_one: f64,
    /// Mean half width, in points, in blocks and one by one.
    pub(crate) half_widths: [f64; 2],
    /// Mean length of a block.
    pub(crate) length: f64,
}

/// What drives are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drives<'a> {
    /// Stills of each.
    pub(crate) stills: &'a [usize],
    /// What a still remembers of the one before.
    pub(crate) memory: f64,
    /// How networks differ; the advantage counts nothing.
    pub(crate) effects: Effects,
}

impl Drives<'_> {
    /// Runs experiments with so many seeds; the same arguments find the same.
    pub(crate) fn experiments(&self, seeds: usize, times: u64, resamples: u32) -> Found {
        let one = |nth| {
            let mut draws = Draws(ChaCha8Rng::seed_from_u64(2 << 32 | nth));
            let arms = self.arms(&mut draws, seeds);
            let [first, second] = arms.each_ref().map(|arm| -> Vec<Run<'_>> {
                (0..).zip(arm).map(|(seed, images)| Run { seed, images }).collect()
            });
            let bootstrap = Bootstrap { resamples, seed: nth };
            let absent = AbsentClass::Skip;
            let stills = compare_stills(CLASSES, absent, &first, &second, self.stills, &bootstrap);
            let stills = stills.expect("runs that can be compared");
            let alone = compare(CLASSES, absent, &first, &second, &bootstrap);
            let alone = alone.expect("runs that can be compared");
            let inside = |of: &Comparison| of.miou.estimate.abs() <= of.miou.half_width;
            let all_inside = stills.classes.iter().filter_map(|class| class.difference);
            let all_inside = all_inside.into_iter().all(|of| of.estimate.abs() <= of.half_width);
            let share = |inside: bool| f64::from(u8::from(inside));
            let length = match &stills.sampling {
                Sampling::Blocks { length, .. } => *length as f64,
                _ => f64::NAN,
            };
            Found {
                covered: share(inside(&stills)),
                all_classes_covered: share(all_inside),
                covered_one_by_one: share(inside(&alone)),
                half_widths: [&stills, &alone].map(|of| 100.0 * of.miou.half_width),
                length,
            }
        };
        let all: Vec<Found> = (0..times).into_par_iter().map(one).collect();
        let mean = |of: &dyn Fn(&Found) -> f64| all.iter().map(of).sum::<f64>() / times as f64;
        Found {
            covered: mean(&|found| found.covered),
            all_classes_covered: mean(&|found| found.all_classes_covered),
            covered_one_by_one: mean(&|found| found.covered_one_by_one),
            half_widths: [0, 1].map(|which| mean(&|found| found.half_widths[which])),
            length: mean(&|found| found.length),
        }
    }

    /// Networks of both arms on the same stills.
    fn arms(&self, draws: &mut Draws, seeds: usize) -> [Vec<Vec<Image>>; 2] {
        let Effects { images, seeds: of_seeds, interaction, .. } = self.effects;
        // One pair's interval speaks of these two networks, whose own difference is to be 0 then.
        let of_seeds = if seeds == 1 { 0.0 } else { of_seeds };
        let mut pixels = vec![[0; CLASSES]; self.stills.iter().sum()];
        for (class, least) in THERE.into_iter().enumerate() {
            let (there, size) = (self.walk(draws, 1.0), self.walk(draws, 0.8));
            for ((pixels, there), size) in pixels.iter_mut().zip(there).zip(size) {
                pixels[class] = if there > least { 1 + (1000.0 * size.exp()) as u64 } else { 0 };
            }
        }
        let hard = self.walk(draws, 1.0);
        [(); 2].map(|()| {
            let suits = self.walk(draws, images);
            let mut network = |_| -> Vec<Image> {
                let of_network = of_seeds * draws.normal();
                let of_class = draws.normals(CLASSES, of_seeds);
                let fared: Vec<Vec<f64>> =
                    (0..CLASSES).map(|_| self.walk(draws, interaction)).collect();
                let still = |(still, pixels): (usize, &[u64; CLASSES])| {
                    let logit = 1.0 + of_network + hard[still] + suits[still];
                    let share = |class: usize| {
                        let logit = logit + of_class[class] + fared[class][still];
                        1.0 / (1.0 + (-logit).exp())
                    };
                    counts(pixels, std::array::from_fn(share))
                };
                pixels.iter().enumerate().map(still).collect()
            };
            (0..seeds).map(&mut network).collect()
        })
    }

    /// A number of every still, of the given deviation; each drive begins anew.
    fn walk(&self, draws: &mut Draws, sd: f64) -> Vec<f64> {
        let mut walk = Vec::new();
        for stills in self.stills {
            let mut at = draws.normal();
            for _ in 0..*stills {
                walk.push(sd * at);
                at = self.memory * at + (1.0 - self.memory.powi(2)).sqrt() * draws.normal();
            }
        }
        walk
    }
}
