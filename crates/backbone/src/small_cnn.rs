//! A small network for small images, trained from scratch.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use grid_ops::Activation;

use crate::conv_norm::{ConvNorm, ConvNormSpec};
use crate::error::{Error, Result};
use crate::network::{
    Backbone, NormMode, Phase, Stage, check_image, load_statistics, statistics_of,
};
use crate::part;
use crate::striding::{Striding, output_stride};

/// The deepest network: stride 64.
const MAX_STAGES: usize = 6;

/// More channels or blocks than this are taken for a slip.
const MAX_CHANNELS: usize = 4096;
const MAX_BLOCKS: usize = 64;

/// 3×3 convolutions with batch norm and ReLU: every stage begins with one of stride 2.
///
/// By default 37 million multiply-adds for an image of 96×96 (37,324,800), stride 8.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmallCnnConfig {
    /// Channels of each stage, finest first. Default: 24, 48, 96.
    pub channels: Vec<usize>,
    /// Blocks of each stage, the one of stride 2 included; the last number also holds for the
    /// stages after it. Default: 1, 2.
    pub blocks_per_stage: Vec<usize>,
    /// Pixels between two units of the last stage, a power of two; strides beyond it become
    /// dilation. Default: 2 to the power of the number of stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_stride: Option<usize>,
}

impl Default for SmallCnnConfig {
    fn default() -> Self {
        Self { channels: vec![24, 48, 96], blocks_per_stage: vec![1, 2], output_stride: None }
    }
}

impl SmallCnnConfig {
    pub(crate) fn check(&self) -> Result<usize> {
        let error = |field, values: &[usize], reason: String| {
            Err(Error::Config { field, value: format!("{values:?}"), reason })
        };
        let stages = self.channels.len();
        if stages == 0 || stages > MAX_STAGES {
            let reason = format!("expected one number a stage, 1 to {MAX_STAGES} stages");
            return error("channels", &self.channels, reason);
        }
        if self.channels.iter().any(|c| !(1..=MAX_CHANNELS).contains(c)) {
            let reason = format!("expected numbers from 1 to {MAX_CHANNELS}");
            return error("channels", &self.channels, reason);
        }
        let blocks = &self.blocks_per_stage;
        if blocks.is_empty() || blocks.len() > stages {
            let reason = format!("expected 1 to {stages} numbers, for as many stages");
            return error("blocks_per_stage", blocks, reason);
        }
        if blocks.iter().any(|b| !(1..=MAX_BLOCKS).contains(b)) {
            let reason = format!("expected numbers from 1 to {MAX_BLOCKS}");
            return error("blocks_per_stage", blocks, reason);
        }
        let choices: Vec<usize> = (1..=stages).map(|k| 1 << k).collect();
        output_stride(self.output_stride, 1 << stages, &choices)
    }
}

pub(crate) struct SmallCnn {
    stages: Vec<Stage>,
    /// The blocks of each stage.
    blocks: Vec<Vec<Arc<ConvNorm>>>,
}

impl SmallCnn {
    pub(crate) fn new(config: &SmallCnnConfig, vb: VarBuilder, mode: NormMode) -> Result<Self> {
        let mut striding = Striding::new(config.check()?);
        let counts = &config.blocks_per_stage;
        let mut inputs = 3;
        let (mut stages, mut blocks) = (Vec::new(), Vec::new());
        for (k, &channels) in config.channels.iter().enumerate() {
            let name = format!("stages.{k}");
            let count = counts[k.min(counts.len() - 1)];
            let mut stage = Vec::new();
            for block in 0..count {
                let (stride, dilation) = striding.next(if block == 0 { 2 } else { 1 });
                let vb = vb.pp(&name).pp(block);
                let spec = ConvNormSpec {
                    inputs,
                    outputs: channels,
                    kernel: 3,
                    stride,
                    dilation,
                    groups: 1,
                    activation: Activation::Relu,
                };
                stage.push(Arc::new(ConvNorm::new(spec, vb.pp("conv"), vb.pp("norm"), mode)?));
                inputs = channels;
            }
            blocks.push(stage);
            stages.push(Stage { name, channels, stride: striding.stride() });
        }
        Ok(Self { stages, blocks })
    }
}

impl Backbone for SmallCnn {
    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn check_image(&self, x: &Tensor) -> Result<()> {
        check_image("small-cnn", 1, x)
    }

    fn stage(&self, nth: usize, x: &Tensor, phase: Phase) -> Result<Tensor> {
        self.blocks[nth].iter().try_fold(x.clone(), |x, block| part::run(block, &x, phase))
    }

    fn running_statistics(&self) -> Vec<(String, Tensor)> {
        statistics_of(self.blocks.iter().flatten().map(Arc::as_ref))
    }

    fn load_running_statistics(&self, statistics: &BTreeMap<String, Tensor>) -> Result<()> {
        load_statistics(self.blocks.iter().flatten().map(Arc::as_ref), statistics)
    }
}
