//! Says what is in a photograph, by SqueezeNet 1.1 with its classifier.
//!
//! ```text
//! cargo run --release -p backbone --example classify -- squeezenet1_1.safetensors cat.jpg [NAMES]
//! ```
//!
//! NAMES is a text file with the name of ImageNet's class k in line k + 1; without it, indices are
//! printed. Wrong names on plain photographs mean wrong channels or a wrong normalisation.
#![allow(clippy::print_stdout, reason = "standard output is where its answer goes")]

use std::path::{Path, PathBuf};

use anyhow::Context;
use backbone::{BackboneConfig, NormMode, Phase, SqueezeNetConfig, checked, load_weights};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use grid_ops::{Activation, Conv2d, conv2d, global_avg_pool};
use image::imageops::FilterType;

/// Pixels of the shorter side and of the square in the middle that the network sees, as torchvision
/// evaluates its classifiers.
const SHORT: u32 = 256;
const SQUARE: u32 = 224;

/// Classes that are printed.
const TOP: usize = 5;

const MEANS: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATIONS: [f32; 3] = [0.229, 0.224, 0.225];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (weights, photograph, names) = match arguments.as_slice() {
        [weights, photograph] => (weights, photograph, None),
        [weights, photograph, names] => (weights, photograph, Some(names)),
        _ => anyhow::bail!("usage: classify WEIGHTS PHOTOGRAPH [NAMES]"),
    };
    let names = match names {
        None => Vec::new(),
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| file.display().to_string())?;
            text.lines().map(str::to_owned).collect()
        }
    };
    let mut ranked: Vec<(usize, f32)> =
        probabilities(weights, &pixels(photograph)?)?.into_iter().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (class, probability) in ranked.into_iter().take(TOP) {
        let name = names.get(class).map_or("", String::as_str);
        println!("{:5.1} %  {class:4}  {name}", 100.0 * probability);
    }
    Ok(())
}

/// The probability of every class, of an image `[1, 3, h, w]`.
fn probabilities(file: &Path, pixels: &Tensor) -> anyhow::Result<Vec<f32>> {
    let config = BackboneConfig::SqueezeNet(SqueezeNetConfig::default());
    let weights = load_weights(file)?;
    let tensors = checked(&weights, &config)?.into_iter().collect();
    let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let network = config.build(vb, NormMode::Frozen)?;
    let features =
        network.forward(pixels, Phase::Eval)?.pop().context("a network without stages")?;
    let of_classifier = |name: &str| {
        let tensor = weights.tensors.get(&format!("classifier.1.{name}"));
        tensor.context("weights without a classifier")
    };
    let relu = Conv2d { activation: Activation::Relu, ..Conv2d::default() };
    let (weight, bias) = (of_classifier("weight")?, of_classifier("bias")?);
    let scores = conv2d(&features, weight, Some(bias), &relu)?; //  [1, k, h, w]
    let scores = global_avg_pool(&scores)?.flatten_all()?; //       [k]
    Ok(candle_nn::ops::softmax(&scores, 0)?.to_vec1()?)
}

/// The middle of a photograph, normalised, `[1, 3, h, w]`.
fn pixels(file: &Path) -> anyhow::Result<Tensor> {
    let photograph = image::open(file).with_context(|| file.display().to_string())?.into_rgb8();
    let (w, h) = photograph.dimensions();
    let scaled = |side: u32| (side * SHORT).div_ceil(w.min(h)).max(SHORT);
    let resized = image::imageops::resize(&photograph, scaled(w), scaled(h), FilterType::Triangle);
    let (left, top) = ((resized.width() - SQUARE) / 2, (resized.height() - SQUARE) / 2);
    let square = image::imageops::crop_imm(&resized, left, top, SQUARE, SQUARE).to_image();
    let plane = |c: usize| {
        let values = square.pixels().map(move |pixel| f32::from(pixel.0[c]) / 255.0);
        values.map(move |x| (x - MEANS[c]) / DEVIATIONS[c])
    };
    let values: Vec<f32> = (0..3).flat_map(plane).collect();
    Ok(Tensor::from_vec(values, (1, 3, SQUARE as usize, SQUARE as usize), &Device::Cpu)?)
}
