//! The whole network: backbone, adapter, context module, decoder.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use backbone::{Backbone, BackboneConfig, NormMode};
pub use backbone::Phase;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};
use dense_rnn::DenseRnn;
use grid_ops::{Activation, Conv2d, Corners, conv2d, resize_bilinear};

use crate::config::{BackboneMode, ModelConfig};
use crate::data::Inputs;
use crate::parameters::Parameters;

/// Pretrained weights of a backbone, read and checked.
pub struct Pretrained {
    /// By the backbone's own (torchvision's) names.
    tensors: BTreeMap<String, Tensor>,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Pretrained {
    /// Finds and reads the weights of `config` at `path`, a file or a folder; `None` for a network
    /// that has no pretrained weights.
    ///
    /// # Errors
    ///
    /// No such file, or one that holds another network.
    pub fn find(path: &Path, config: &BackboneConfig) -> anyhow::Result<Option<Self>> {
        if matches!(config, BackboneConfig::SmallCnn { .. }) {
            return Ok(None);
        }
        let file = backbone::find_weights(path, config)?;
        let weights = backbone::load_safetensors(&file)?;
        let tensors = backbone::checked(&weights, config)?;
        Ok(Some(Self { tensors, sha256: weights.sha256 }))
    }
}

/// Image → backbone → stages of the context stride and coarser, joined → 1×1 adapter → context
/// module, added to the adapter's output → resized to the skip stage and joined with it → 1×1
/// fusion → 1×1 classifier → logits at the skip's stride (the context's without one).
///
/// Reconstruction: the paper's decoder was not at hand.
pub struct Parser {
    backbone: Box<dyn Backbone>,
    frozen_parameters: usize,
    /// Indices of the stages that are used, finest first; the first is the skip, if any.
    stages: Vec<usize>,
    has_skip: bool,
    adapter: NormedConv,
    context: Option<DenseRnn>,
    skip: Option<NormedConv>,
    fusion: NormedConv,
    classifier: [Tensor; 2],
}
