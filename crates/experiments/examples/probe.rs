//! How much a backbone's features tell a linear classifier: ridge regression from the units of one
//! stage to CamVid's classes, with pretrained and with random weights.
//!
//! ```sh
//! cargo run --release -p experiments --example probe -- PATH/TO/camvid PATH/TO/weights
//! ```
#![allow(clippy::print_stdout, reason = "what it measured")]

use std::path::Path;

use anyhow::Context;
use backbone::{Backbone, BackboneConfig, NormMode, Phase, ResNetConfig};
use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use experiments::data::pixels;
use experiments::parameters::Parameters;
use scene_data::{DatasetConfig, IGNORE, SceneDataset, Split, View};
use seg_metrics::{AbsentClass, ConfusionMatrix};

/// Every third photograph is fitted, every fourth test photograph scored.
const TRAIN_STEP: usize = 3;
const TEST_STEP: usize = 4;

/// The stage of stride 16 is probed.
const STRIDE: usize = 16;

/// Strength of the ridge, for features of unit deviation.
const RIDGE: f64 = 1.0;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = |what| args.next().with_context(|| format!("expected {what}"));
    let (root, weights) = (next("CamVid's folder")?, next("the folder of weights")?);
    let camvid: DatasetConfig = serde_json::from_str(r#"{ "kind": "camvid" }"#)?;
    let open = |split| camvid.open(Some(Path::new(&root)), split);
    let (train, test) = (open(Split::Train)?, open(Split::Test)?);
    let classes = train.classes().len();
    println!("| backbone | weights | mIoU % on the grid |\n|---|---|---|");
    for (name, config) in [
        ("MobileNetV2", BackboneConfig::MobileNetV2(Default::default())),
        ("ResNet-50 of half width", BackboneConfig::ResNet50(ResNetConfig::open_nsfw())),
    ] {
        let file = backbone::find_weights(Path::new(&weights), &config)?;
        let pretrained = backbone::checked(&backbone::load_weights(&file)?, &config)?;
        let loaded =
            VarBuilder::from_tensors(pretrained.into_iter().collect(), DType::F32, &Device::Cpu);
        let random = Parameters::new(0, Default::default(), &Device::Cpu).builder();
        for (kind, vb) in [("pretrained", loaded), ("random", random)] {
            let network = config.build(vb, NormMode::Frozen)?;
            let fitted = fit(&units(&*network, &*train, TRAIN_STEP)?, classes)?;
            let miou = fitted.score(&units(&*network, &*test, TEST_STEP)?, classes)?;
            println!("| {name} | {kind} | {:.1} |", 100.0 * miou);
        }
    }
    Ok(())
}

/// The features of units whose class is known.
struct Units {
    channels: usize,
    /// `[units, channels]`.
    features: Vec<f32>,
    labels: Vec<u8>,
}

fn units(network: &dyn Backbone, set: &dyn SceneDataset, step: usize) -> anyhow::Result<Units> {
    let stage = network.stages().iter().rposition(|stage| stage.stride == STRIDE);
    let stage = stage.context("a stage of that stride")?;
    let channels = network.stages()[stage].channels;
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for index in (0..set.len()).step_by(step) {
        let sample = set.sample(index)?;
        let map = network.forward(&pixels(&sample, View::Plain)?, Phase::Eval)?.swap_remove(stage);
        let (_, _, h, w) = map.dims4()?;
        let rows = map.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1::<f32>()?;
        let truth = &sample.labels;
        for (unit, row) in rows.chunks_exact(channels).enumerate() {
            // The label at the unit's centre.
            let y = (2 * (unit / w) + 1) * truth.height / (2 * h);
            let x = (2 * (unit % w) + 1) * truth.width / (2 * w);
            let label = truth.data[y * truth.width + x];
            if label != IGNORE {
                features.extend_from_slice(row);
                labels.push(label);
            }
        }
    }
    Ok(Units { channels, features, labels })
}

/// A linear classifier: a row of weights, the last one the bias, for each class.
struct Linear {
    mean: Vec<f64>,
    deviation: Vec<f64>,
    weights: Vec<Vec<f64>>,
}

fn fit(units: &Units, classes: usize) -> anyhow::Result<Linear> {
    let c = units.channels;
    let count = units.labels.len() as f64;
    let rows = || units.features.chunks_exact(c);
    let (mut mean, mut deviation) = (vec![0.0; c], vec![0.0; c]);
    for row in rows() {
        mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) / count);
    }
    for row in rows() {
        let both = deviation.iter_mut().zip(&mean).zip(row);
        both.for_each(|((sum, m), &x)| *sum += (f64::from(x) - m).powi(2) / count);
    }
    deviation.iter_mut().for_each(|d| *d = d.sqrt().max(1e-12));
    let mut linear = Linear { mean, deviation, weights: Vec::new() };
    let n = c + 1;
    let (mut gram, mut targets) = (vec![0.0; n * n], vec![vec![0.0; n]; classes]);
    for (row, &label) in rows().zip(&units.labels) {
        let x = linear.normalised(row);
        for (i, &xi) in x.iter().enumerate() {
            let to = &mut gram[i * n..=i * n + i];
            to.iter_mut().zip(&x).for_each(|(sum, &xj)| *sum += xi * xj);
        }
        targets[usize::from(label)].iter_mut().zip(&x).for_each(|(sum, &x)| *sum += x);
    }
    (0..c).for_each(|i| gram[i * n + i] += RIDGE);
    cholesky(&mut gram, n);
    linear.weights = targets.into_iter().map(|target| solve(&gram, n, target)).collect();
    Ok(linear)
}

impl Linear {
    fn normalised(&self, row: &[f32]) -> Vec<f64> {
        let scaled = row.iter().zip(&self.mean).zip(&self.deviation);
        scaled.map(|((&x, m), d)| (f64::from(x) - m) / d).chain([1.0]).collect()
    }

    fn score(&self, units: &Units, classes: usize) -> anyhow::Result<f64> {
        let predicted = units.features.chunks_exact(units.channels).map(|row| {
            let x = self.normalised(row);
            let score = |w: &Vec<f64>| w.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>();
            let scores: Vec<f64> = self.weights.iter().map(score).collect();
            let best = (0..classes).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            best.unwrap_or(0) as u8
        });
        let mut matrix = ConfusionMatrix::new(classes);
        matrix.add(&units.labels, &predicted.collect::<Vec<_>>())?;
        matrix.miou(AbsentClass::Skip).context("nothing is labelled")
    }
}

/// The lower triangle of a symmetric positive matrix becomes its Cholesky factor.
fn cholesky(a: &mut [f64], n: usize) {
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - dot;
            a[i * n + j] = if i == j { rest.sqrt() } else { rest / a[j * n + j] };
        }
    }
}

/// Solves `L Lᵀ x = b`.
fn solve(l: &[f64], n: usize, mut b: Vec<f64>) -> Vec<f64> {
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| l[i * n + k] * b[k]).sum();
        b[i] = (b[i] - dot) / l[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| l[k * n + i] * b[k]).sum();
        b[i] = (b[i] - dot) / l[i * n + i];
    }
    b
}
