//! How fast pixels are counted and images resampled:
//! `cargo run --release -p seg-metrics --example speed`.
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::time::Instant;

use seg_metrics::stats::{Bootstrap, Run, compare};
use seg_metrics::{AbsentClass, ConfusionMatrix};

fn main() {
    println!("one thread, 2048×1024 pixels, median of 25");
    for classes in [19, 150] {
        for (kind, (truth, prediction)) in
            [("regions", regions(classes)), ("random", random(classes))]
        {
            let mut matrix = ConfusionMatrix::new(classes as usize);
            let mut times: Vec<f64> = (0..25)
                .map(|_| {
                    let start = Instant::now();
                    matrix.add(&truth, &prediction).expect("labels are classes");
                    start.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let seconds = times[times.len() / 2];
            let rate = truth.len() as f64 / seconds / 1e6;
            println!("confusion {classes} {kind}: {:.3} ms, {rate:.0} Mpixel/s", seconds * 1e3);
        }
    }
    for seeds in [1, 3] {
        for in_image in [12, 150] {
            bootstrap(seeds, in_image);
        }
    }
}

/// Compares arms of some seeds over 2,000 images of 150 classes, so many of them in an image.
fn bootstrap(seeds: u32, in_image: u32) {
    const CLASSES: u32 = 150;
    let network = |network: u32| -> Vec<Vec<(u32, u64)>> {
        let image = |image: u32| {
            let class = |nth: u32| match in_image {
                CLASSES => nth,
                _ => mix(image * 1000 + nth) % CLASSES,
            };
            let cell = |label: u32, prediction: u32| label * (CLASSES + 1) + prediction;
            let mut cells = Vec::new();
            for nth in 0..in_image {
                let missed = mix(mix(image * 1000 + nth) + network) % 500;
                cells.push((cell(class(nth), class(nth)), u64::from(1000 - missed)));
                cells.push((cell(class(nth), class((nth + 1) % in_image)), u64::from(missed)));
            }
            cells
        };
        (0..2000).map(image).collect()
    };
    let arms = [0, 100].map(|from| Vec::from_iter((from..from + seeds).map(network)));
    let runs = |arm: usize| -> Vec<Run<'_>> {
        (0..).zip(&arms[arm]).map(|(seed, images)| Run { seed, images }).collect()
    };
    let start = Instant::now();
    let bootstrap = Bootstrap::default();
    compare(CLASSES as usize, AbsentClass::Zero, &runs(0), &runs(1), &bootstrap)
        .expect("like runs");
    println!(
        "bootstrap 10000 × 2000 × 150, {seeds} seeds, {in_image} classes an image: {:.2} s",
        start.elapsed().as_secs_f64()
    );
}

const WIDTH: u32 = 2048;
const HEIGHT: u32 = 1024;

/// Labels and predictions without any pattern.
fn random(classes: u32) -> (Vec<u8>, Vec<u8>) {
    let of =
        |start: u32| (start..start + WIDTH * HEIGHT).map(|i| (mix(i) % classes) as u8).collect();
    (of(0), of(1 << 24))
}

/// Regions of about 64×64 pixels with crooked borders, a sixteenth ignored; the predictions are
/// moved by some pixels, and a tenth of them another class.
fn regions(classes: u32) -> (Vec<u8>, Vec<u8>) {
    let wave = |v: u32| (v * v / 97) % 17;
    let region = |y: u32, x: u32| mix((y + wave(x)) / 64 * 1000 + (x + wave(y)) / 64);
    let pixels = || (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (y, x)));
    let truth = pixels().map(|(y, x)| match region(y, x) {
        ignored if ignored % 16 == 3 => 255,
        region => (region / 16 % classes) as u8,
    });
    let prediction = pixels().map(|(y, x)| match region(y + 2, x + 3) {
        other if other % 10 == 0 => (other / 32 % classes) as u8,
        region => (region / 16 % classes) as u8,
    });
    (truth.collect(), prediction.collect())
}

/// Scatters an index over all numbers.
fn mix(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}
