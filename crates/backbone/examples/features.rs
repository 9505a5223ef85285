//! Writes the features of every stage to a file, for `benches/peers/backbones.py`.
//!
//! ```text
//! features '{"kind":"resnet-50"}' WEIGHTS IMAGE.safetensors FEATURES.safetensors
//! ```
//!
//! The image is the tensor `image`, `[n, 3, h, w]`, normalised; the features have the stages' names.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use backbone::{BackboneConfig, NormMode, Phase, checked, load_weights};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, weights, image, features] = arguments.as_slice() else {
        anyhow::bail!("usage: features CONFIG WEIGHTS IMAGE FEATURES");
    };
    let config: BackboneConfig = serde_json::from_str(config).context("the configuration")?;
    let tensors = checked(&load_weights(Path::new(weights))?, &config)?.into_iter().collect();
    let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let network = config.build(vb, NormMode::Frozen)?;
    let image = candle_core::safetensors::load(image, &Device::Cpu)?;
    let image = image.get("image").context("a file without `image`")?;
    let maps = network.forward(image, Phase::Eval)?;
    let stages = network.stages().iter().map(|stage| stage.name.clone());
    let named: HashMap<String, Tensor> = stages.zip(maps).collect();
    Ok(candle_core::safetensors::save(&named, features)?)
}
