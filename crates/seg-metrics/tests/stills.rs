//! Comparisons on stills of drives: length of blocks, draws against a slow twin, what is refused.

mod networks;

use networks::{Draws, Image, miou, networks, runs, variance};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use seg_metrics::stats::{
    Bootstrap, Comparison, MANY_DRIVES, Sampling, block_length, compare, compare_stills,
};
use seg_metrics::{AbsentClass, Error};

fn compared(arms: &[Vec<Vec<Image>>; 2], drives: &[usize]) -> Result<Comparison, Error> {
    let bootstrap = Bootstrap { resamples: 130, seed: 5 };
    let [first, second] = arms.each_ref().map(|arm| runs(arm));
    compare_stills(4, AbsentClass::Skip, &first, &second, drives, &bootstrap)
}

/// Values each of which remembers a share of the last.
fn series(seed: u64, memory: f64, n: usize) -> Vec<f64> {
    let (mut draws, mut last) = (Draws(seed), 0.0);
    let next = |_| {
        last = memory * last + draws.below(1001) as f64 - 500.0;
        last
    };
    (0..n).map(next).collect()
}

#[test]
fn lengths_are_those_of_the_arch_package() {
    // Printed by `benches/peers/block_length.py` with arch 8.0.0; ours are rounded up.
    for (seed, memory, n, length) in ARCH {
        let values = series(seed, memory, n);
        let ours = block_length(&values, &[n]);
        assert_eq!(ours, length.ceil() as usize, "seed {seed}, memory {memory}, {n} values");
        // Where a value lies and in which unit it is told do not matter.
        let moved: Vec<f64> = values.iter().map(|value| 3.0 - 0.25 * value).collect();
        assert_eq!(block_length(&moved, &[n]), ours);
    }
}

const ARCH: [(u64, f64, usize, f64); 12] = [
    (1, 0.0, 233, 1.5899829549051803),
    (2, 0.0, 2000, 1.0656772300598931),
    (3, 0.3, 233, 4.38589924382976),
    (4, 0.5, 233, 8.073346463623109),
    (5, 0.7, 233, 9.357769597202928),
    (6, 0.9, 233, 20.31445638493828),
    (7, 0.95, 233, 21.757972788181),
    (8, 0.7, 2000, 27.60844493654163),
    (9, 0.9, 500, 31.577883546913665),
    (10, -0.5, 233, 16.122146898467165),
    (11, 0.5, 60, 6.010664733980189),
    (12, 0.8, 101, 8.017203425333967),
];

#[test]
fn only_values_of_one_run_are_neighbours() {
    // Each run is far from the others and without a memory of its own.
    let runs = [50, 70, 60];
    let level = [0.0, 9000.0, -9000.0];
    let values = series(2, 0.0, 180);
    let of_runs = level.iter().zip(runs).flat_map(|(level, run)| vec![*level; run]);
    let moved: Vec<f64> = of_runs.zip(&values).map(|(level, value)| level + value).collect();
    assert!(block_length(&moved, &[180]) > 10, "as one run");
    assert_eq!(block_length(&moved, &runs), block_length(&values, &runs));
    assert!(block_length(&moved, &runs) <= 3);
    assert_eq!(block_length(&[1.0; 9], &[9]), 1);
    assert_eq!(block_length(&[], &[]), 1);
}

/// The stills of a resample, drawn one after the other.
fn drawn(sampling: &Sampling, resample: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    rng.set_stream(resample);
    let mut below = |n: usize| ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize;
    let (mut images, mut start) = (Vec::new(), 0);
    match sampling {
        Sampling::Images => unreachable!("stills are not drawn one by one"),
        Sampling::Blocks { length, drives } => {
            for drive in drives {
                let length = &(*length).min(drive / 2).max(1);
                let mut of_drive = Vec::new();
                while of_drive.len() < *drive {
                    let first = below(*drive);
                    of_drive.extend((0..*length).map(|nth| start + (first + nth) % drive));
                }
                images.extend(&of_drive[..*drive]);
                start += drive;
            }
        }
        Sampling::Drives { drives } => {
            for _ in drives {
                let drive = below(drives.len());
                let start: usize = drives[..drive].iter().sum();
                images.extend(start..start + drives[drive]);
            }
        }
    }
    images
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn resampling_is_that_of_the_slow_twin(
        drives in prop_oneof![
            proptest::collection::vec(4usize..20, 1..4),
            proptest::collection::vec(1usize..5, MANY_DRIVES..15),
        ],
        seeds in 1usize..4, salt in 0u64..1 << 32,
    ) {
        let images: usize = drives.iter().sum();
        let arms = networks(4, seeds, images, salt);
        let found = compared(&arms, &drives).unwrap();
        prop_assert_eq!(found.sampling == Sampling::Drives { drives: drives.clone() },
            drives.len() >= MANY_DRIVES);
        let differences = |drawn: &[usize]| -> Vec<f64> {
            let of = |s: usize| {
                [&arms[0][s], &arms[1][s]].map(|on| miou(on, drawn, 4, AbsentClass::Skip))
            };
            (0..seeds).map(|s| of(s)[0] - of(s)[1]).collect()
        };
        let mean = |d: &Vec<f64>| d.iter().sum::<f64>() / seeds as f64;

        // As many pieces as blocks fit, less one a drive; or as many as drives, less one.
        let pieces = match &found.sampling {
            Sampling::Blocks { length, drives: of } => {
                prop_assert_eq!(of, &drives);
                let all = Vec::from_iter(0..images);
                let whole = mean(&differences(&all));
                let without = |image: usize| {
                    Vec::from_iter(all.iter().copied().filter(|other| *other != image))
                };
                let of_images = all.iter().map(|image| whole - mean(&differences(&without(*image))));
                let best = block_length(&Vec::from_iter(of_images), &drives);
                prop_assert_eq!(*length, if best == 1 { 1 } else { 2 * best });
                let blocks =
                    drives.iter().map(|drive| *drive as f64 / (*length).min(drive / 2) as f64);
                (blocks.sum::<f64>(), drives.len() as f64)
            }
            _ => (drives.len() as f64, 1.0),
        };
        let resampled: Vec<Vec<f64>> =
            (0..130).map(|resample| differences(&drawn(&found.sampling, resample))).collect();
        let of_seed = |s: usize| variance(&Vec::from_iter(resampled.iter().map(|d| d[s])));
        let mean_of_seeds = (0..seeds).map(of_seed).sum::<f64>() / seeds as f64;
        let of_mean = variance(&Vec::from_iter(resampled.iter().map(mean)));
        let s = seeds as f64;
        let shared = if seeds == 1 { of_mean } else {
            ((s * of_mean - mean_of_seeds) / (s - 1.0)).max(0.0)
        };
        let freedom = pieces.0 - pieces.1;
        let want = shared * pieces.0 / freedom;
        prop_assert!((found.miou.image_variance - want).abs() <= 1e-12, "{found:?}, want {want}");
        if seeds == 1 {
            prop_assert!((found.miou.degrees_of_freedom - freedom).abs() <= 1e-9, "{found:?}");
        }
    }
}

/// Every still as often as the given number, one after the other: as alike as neighbours can be.
fn repeated(arms: &[Vec<Vec<Image>>; 2], times: usize) -> [Vec<Vec<Image>>; 2] {
    let of_network =
        |images: &Vec<Image>| images.iter().flat_map(|image| vec![image.clone(); times]).collect();
    arms.each_ref().map(|arm| arm.iter().map(of_network).collect())
}

#[test]
fn repeating_every_still_hardly_narrows_an_interval_of_stills() {
    let arms = networks(4, 1, 60, 6);
    let many = repeated(&arms, 8);
    let once = compared(&arms, &[60]).unwrap();
    let stills = compared(&many, &[480]).unwrap();
    let bootstrap = Bootstrap { resamples: 130, seed: 5 };
    let [first, second] = many.each_ref().map(|arm| runs(arm));
    let alone = compare(4, AbsentClass::Skip, &first, &second, &bootstrap).unwrap();
    assert_eq!(alone.miou.estimate, stills.miou.estimate);
    assert!(matches!(stills.sampling, Sampling::Blocks { length: 8.., .. }), "{stills:?}");
    let narrowed = |by: &Comparison| once.miou.half_width / by.miou.half_width;
    assert!(narrowed(&stills) < 1.4, "{once:?} and {stills:?}");
    assert!(narrowed(&alone) > 2.2, "{once:?} and {alone:?}");
}

#[test]
fn sentences_say_how_stills_were_drawn() {
    let arms = networks(4, 2, 40, 7);
    let found = compared(&arms, &[10, 30]).unwrap();
    let Sampling::Blocks { length, .. } = found.sampling else { panic!("{found:?}") };
    let sentence = found.sentence("dense", "dag");
    let words = format!(
        "(2 pairs of seeds, 40 images in blocks of {length}; other drives are not covered)"
    );
    assert!(sentence.contains(&words), "{sentence}");
    let found = compared(&arms, &[4; 10]).unwrap();
    let sentence = found.sentence("dense", "dag");
    assert!(sentence.contains("(2 pairs of seeds, 40 images of 10 drives)"), "{sentence}");
}

#[test]
fn a_class_of_few_blocks_is_not_compared() {
    // Labelled in one still of twenty, and that twelve times.
    let [mut first, mut second] = networks(3, 1, 20, 8);
    for images in [&mut first, &mut second].map(|arm| &mut arm[0]) {
        images[3].push((3 * 5 + 3, 7));
    }
    let arms = repeated(&[first, second], 12);
    // Matrices of three classes and of four have their cells at other places.
    let widened = arms.map(|arm| {
        let cell =
            |&(at, n): &(u32, u64)| if at >= 15 { (at, n) } else { (at / 4 * 5 + at % 4, n) };
        let image = |image: &Image| Vec::from_iter(image.iter().map(cell));
        Vec::from_iter(arm.iter().map(|images| Vec::from_iter(images.iter().map(image))))
    });
    let found = compared(&widened, &[240]).unwrap();
    let Sampling::Blocks { length, .. } = found.sampling else { panic!("{found:?}") };
    assert_eq!(found.classes[3].images, 12);
    assert_eq!(found.classes[3].difference, None);
    assert!(found.classes[0].difference.is_some());
    assert_eq!(
        found.class_sentence(3, "sign", "dense", "dag").unwrap(),
        format!(
            "IoU of sign: not compared, labelled in 12 of 240 images, fewer than 5 blocks of \
             {length}."
        )
    );
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let arms = networks(4, 1, 6, 9);
    let refused = |drives: &[usize]| compared(&arms, drives).unwrap_err().to_string();
    assert_eq!(
        refused(&[4, 3]),
        "drives of [4, 3] stills for 6 images; expected as many, each drive with one"
    );
    assert!(refused(&[6, 0]).starts_with("drives of [6, 0] stills"));
    assert!(refused(&[]).starts_with("drives of [] stills"));
    assert!(refused(&[usize::MAX, 7]).starts_with("drives of"));
    assert_eq!(
        refused(&[1, 1, 1, 1, 1, 1]),
        "6 drives of one still each; expected two stills of one of them at least, or ten drives, \
         to say how they vary"
    );
    // A drive of two stills is enough, others may have one.
    assert!(compared(&arms, &[2, 1, 1, 1, 1]).is_ok());
    assert!(compared(&networks(4, 1, 2, 9), &[2]).is_ok());
}
