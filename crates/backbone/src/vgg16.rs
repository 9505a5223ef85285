//! VGG-16 (Simonyan & Zisserman, *Very deep convolutional networks for large-scale image
//! recognition*, ICLR 2015, table 1, column D), with torchvision's names.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use grid_ops::{Activation, Pool, Rounding, relu_max_pool2d};

use crate::conv_bias::{ConvBias, ConvBiasSpec};
use crate::conv_norm::{ConvNorm, ConvNormSpec};
use crate::error::Result;
use crate::network::{
    Backbone, NormMode, Phase, Stage, check_image, load_statistics, statistics_of,
};
use crate::part::{self, Part};
use crate::pooling::max_pool;
use crate::striding::{Striding, output_stride};

/// Output stride of the network as published, its last pooling included.
const FULL_STRIDE: usize = 32;

/// Channels and number of the convolutions ahead of each pooling.
const GROUPS: [[usize; 2]; 5] = [[64, 2], [128, 2], [256, 3], [512, 3], [512, 3]];

/// The first group of which a stage is taken: the others have strides 1 and 2.
const FIRST_STAGE: usize = 2;

/// VGG-16, without its fully connected layers.
///
/// The stages are the last convolutions of strides 4 (256 channels), 8 (512) and 16 (512), and at
/// an output stride of 32 also the last pooling. With a finer output stride that pooling has no
/// layer behind it whose view it would widen, and is left out. Sizes are rounded down.
///
/// Inputs are RGB in 0–1, less the means .485 .456 .406, by the deviations .229 .224 .225, and not
/// smaller than the stride of the last stage.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vgg16Config {
    /// Whether convolutions are followed by a norm. Default: no.
    pub norm: VggNorm,
    /// Pixels between two units of the last stage: 8, 16 or 32; strides beyond it become dilation.
    /// Default: 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_stride: Option<usize>,
}

/// What follows the convolutions of a VGG-16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VggNorm {
    /// `"none"`: nothing, as published; torchvision's `vgg16`.
    #[default]
    None,
    /// `"batch"`: batch norm; torchvision's `vgg16_bn`.
    Batch,
}

impl Vgg16Config {
    pub(crate) fn check(&self) -> Result<usize> {
        output_stride(self.output_stride, FULL_STRIDE, &[8, 16, 32])
    }
}

pub(crate) struct Vgg16 {
    stages: Vec<Stage>,
    groups: Vec<Arc<Group>>,
}

struct Group {
    convs: Arc<Convs>,
    /// Behind them, if there is one.
    pool: Option<Pooling>,
}

/// A pooling of a stride.
#[derive(Clone, Copy)]
enum Pooling {
    Plain(usize),
    /// After a ReLU, which the group's last convolution lacks.
    WithRelu(usize),
}

/// The convolutions of a group.
struct Convs(Vec<Conv>);

enum Conv {
    Plain(ConvBias),
    Normed(ConvNorm),
}

impl Vgg16 {
    pub(crate) fn new(config: &Vgg16Config, vb: VarBuilder, mode: NormMode) -> Result<Self> {
        let limit = config.check()?;
        let mut striding = Striding::new(limit);
        let vb = vb.pp("features");
        let (mut stages, mut groups) = (Vec::new(), Vec::new());
        // The number of torchvision's next module.
        let (mut module, mut inputs) = (0, 3);
        for (nth, [channels, count]) in GROUPS.into_iter().enumerate() {
            let is_stage = nth >= FIRST_STAGE;
            let mut convs = Vec::new();
            for conv in 0..count {
                let dilation = striding.dilation();
                // Where nobody else sees it, the last ReLU of a group is the pooling's.
                let is_last_conv = conv + 1 == count;
                let activation =
                    if is_last_conv && !is_stage { Activation::Identity } else { Activation::Relu };
                convs.push(match config.norm {
                    VggNorm::None => {
                        let same = ConvBiasSpec::same([inputs, channels], 3, dilation);
                        let spec = ConvBiasSpec { activation, ..same };
                        module += 2;
                        Conv::Plain(ConvBias::new(spec, &vb.pp(module - 2), mode)?)
                    }
                    VggNorm::Batch => {
                        let spec = ConvNormSpec {
                            inputs,
                            outputs: channels,
                            kernel: 3,
                            stride: 1,
                            dilation,
                            groups: 1,
                            activation,
                        };
                        let (conv, norm) = (vb.pp(module), vb.pp(module + 1));
                        module += 3;
                        Conv::Normed(ConvNorm::with_bias(spec, conv, norm, mode)?)
                    }
                });
                inputs = channels;
            }
            if is_stage {
                let name = format!("features.{}", module - 1);
                stages.push(Stage { name, channels, stride: striding.stride() });
            }
            let is_last = nth + 1 == GROUPS.len();
            let pool_stride =
                if is_last && limit < FULL_STRIDE { None } else { Some(striding.next(2).0) };
            if is_last && pool_stride.is_some() {
                let name = format!("features.{module}");
                stages.push(Stage { name, channels, stride: striding.stride() });
            }
            module += 1;
            let convs = Arc::new(Convs(convs));
            let pooling = if is_stage { Pooling::Plain } else { Pooling::WithRelu };
            let pool = pool_stride.map(pooling);
            groups.push(Arc::new(Group { convs, pool }));
        }
        Ok(Self { stages, groups })
    }

    fn norms(&self) -> impl Iterator<Item = &ConvNorm> {
        self.groups.iter().flat_map(|group| &group.convs.0).filter_map(|conv| match conv {
            Conv::Plain(_) => None,
            Conv::Normed(conv) => Some(conv),
        })
    }
}

impl Part for Convs {
    fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        self.0.iter().try_fold(x.clone(), |x, conv| match conv {
            Conv::Plain(conv) => conv.forward(&x),
            Conv::Normed(conv) => conv.forward(&x, phase),
        })
    }
}

impl Part for Group {
    fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        pooled(self, self.convs.forward(x, phase)?)
    }
}

/// What follows the convolutions of a group.
fn pooled(group: &Group, x: Tensor) -> Result<Tensor> {
    let rounding = Rounding::Floor;
    Ok(match group.pool {
        Some(Pooling::Plain(stride)) => max_pool(&x, 2, stride, rounding)?,
        Some(Pooling::WithRelu(stride)) => {
            relu_max_pool2d(&x, &Pool { kernel: 2, stride, padding: 0, rounding })?
        }
        None => x,
    })
}

impl Backbone for Vgg16 {
    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn check_image(&self, x: &Tensor) -> Result<()> {
        let least = self.stages.iter().map(|stage| stage.stride).max().unwrap_or(1);
        check_image("vgg-16", least, x)
    }

    /// A stage ends before the pooling of its group, which is the first of the next; the last, if
    /// there is a stage more than groups with one, is a pooling alone.
    fn stage(&self, nth: usize, x: &Tensor, phase: Phase) -> Result<Tensor> {
        let last = FIRST_STAGE + nth;
        let first = if nth == 0 { 0 } else { last };
        let mut x = x.clone();
        if nth > 0 {
            x = pooled(&self.groups[last - 1], x)?;
        }
        for group in self.groups.get(first..last).unwrap_or_default() {
            x = part::run(group, &x, phase)?;
        }
        if let Some(group) = self.groups.get(last) {
            x = part::run(&group.convs, &x, phase)?;
        }
        Ok(x)
    }

    fn running_statistics(&self) -> Vec<(String, Tensor)> {
        statistics_of(self.norms())
    }

    fn load_running_statistics(&self, statistics: &BTreeMap<String, Tensor>) -> Result<()> {
        load_statistics(self.norms(), statistics)
    }
}
