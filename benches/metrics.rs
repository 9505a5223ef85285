//! Confusion matrices of one image, and resamples of many.

use anyhow::ensure;
use seg_metrics::stats::{Bootstrap, Run, compare};
use seg_metrics::{AbsentClass, ConfusionMatrix};

use crate::{Case, Pass, Task, Work};

const WIDTH: u32 = 2048;
const HEIGHT: u32 = 1024;

/// How labels lie in an image.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// In regions of about 64×64 pixels with crooked borders, a sixteenth of them ignored; the
    /// predictions are moved by some pixels, and a tenth of them are another class.
    Regions,
    /// Without any pattern.
    Random,
}

/// Cityscapes' size, with its number of classes and ADE20K's.
pub(crate) fn cases() -> Vec<Case> {
    let case = |k, name: &str, labels| Case {
        name: format!("confusion {k} {name}"),
        passes: vec![Pass::Forward],
        work: Work::Confusion { k, labels },
    };
    [19, 150]
        .into_iter()
        .flat_map(|k| [case(k, "regions", Labels::Regions), case(k, "random", Labels::Random)])
        .collect()
}

/// What nobody else offers: comparisons of two arms over ADE20K's validation images.
pub(crate) fn alone() -> Vec<Case> {
    let case = |seeds: u32| Case {
        name: format!("bootstrap 10000 × 2000 × 150, seeds {seeds}"),
        passes: vec![Pass::Forward],
        work: Work::Bootstrap { seeds, images: 2000, k: 150 },
    };
    vec![case(1), case(3)]
}

/// Counts the pixels of one image on one thread.
pub(crate) fn confusion_task(k: usize, labels: Labels) -> anyhow::Result<Task> {
    let classes = u32::try_from(k)?;
    let (truth, prediction) = match labels {
        Labels::Regions => regions(classes),
        Labels::Random => random(classes),
    };
    Ok(Box::new(move || {
        let mut matrix = ConfusionMatrix::new(k);
        matrix.add(&truth, &prediction)?;
        ensure!(matrix.total() > 0, "nothing was counted");
        Ok(())
    }))
}

/// Compares two arms by 10,000 resamples; twelve classes are labelled in an image.
pub(crate) fn bootstrap_task(seeds: u32, images: u32, k: u32) -> Task {
    let network = |network: u32| -> Vec<Vec<(u32, u64)>> {
        let image = |image: u32| {
            let class = |nth: u32| mix(image * 1000 + nth % 12) % k;
            let cell = |label: u32, prediction: u32| label * (k + 1) + prediction;
            let cells = |nth: u32| {
                let missed = mix(mix(image * 1000 + nth) + network) % 500;
                let hits = (cell(class(nth), class(nth)), u64::from(1000 - missed));
                [hits, (cell(class(nth), class(nth + 1)), u64::from(missed))]
            };
            (0..12).flat_map(cells).collect()
        };
        (0..images).map(image).collect()
    };
    let arms = [0, 100].map(|from| Vec::from_iter((from..from + seeds).map(network)));
    Box::new(move || {
        let [first, second] = arms.each_ref().map(|arm| {
            (0..).zip(arm).map(|(seed, images)| Run { seed, images }).collect::<Vec<_>>()
        });
        let found = compare(k as usize, AbsentClass::Zero, &first, &second, &Bootstrap::default())?;
        ensure!(found.miou.half_width > 0.0, "nothing varied");
        Ok(())
    })
}

// The other side, `peers/confusion.py`, makes the same pixels.

fn random(classes: u32) -> (Vec<u8>, Vec<u8>) {
    let pixels = |from: u32| (from..from + WIDTH * HEIGHT).map(|i| (mix(i) % classes) as u8);
    (pixels(0).collect(), pixels(1 << 24).collect())
}

fn regions(classes: u32) -> (Vec<u8>, Vec<u8>) {
    let wave = |v: u32| (v * v / 97) % 17;
    let region = |y: u32, x: u32| mix((y + wave(x)) / 64 * 1000 + (x + wave(y)) / 64);
    let pixels = || (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (y, x)));
    let truth = pixels().map(|(y, x)| match region(y, x) {
        ignored if ignored % 16 == 3 => seg_metrics::IGNORE,
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
