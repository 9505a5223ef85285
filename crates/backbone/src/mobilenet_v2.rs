//! MobileNetV2 (Sandler et al., *MobileNetV2: inverted residuals and linear bottlenecks*, CVPR
//! 2018, table 2), with torchvision's names.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use grid_ops::{Activation, add};

use crate::branch::{Branch, Scale, ScalePass};
use crate::conv_norm::{ConvNorm, ConvNormSpec};
use crate::error::Result;
use crate::network::{
    Backbone, NormMode, Phase, Stage, check_image, load_statistics, statistics_of,
};
use crate::part::{self, Block, run_blocks};
use crate::striding::{Striding, output_stride};

/// Output stride of the network as published.
const FULL_STRIDE: usize = 32;

/// Channels of `features.0`.
const STEM: usize = 32;

/// Expansion, channels, blocks, stride of the first block: the paper's t, c, n, s.
const GROUPS: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

/// The modules after which a stage is taken: the last of each stride from 4 on.
const STAGES: [usize; 4] = [3, 6, 13, 17];

/// MobileNetV2 of width 1, up to `features.17`.
///
/// The stages are `features.3` (24 channels, stride 4), `features.6` (32, 8), `features.13` (96,
/// 16) and `features.17` (320, 32). torchvision's last convolution, `features.18`, serves its
/// classifier and is neither asked for nor computed.
///
/// Inputs are RGB in 0–1, less the means .485 .456 .406, by the deviations .229 .224 .225.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MobileNetV2Config {
    /// Pixels between two units of the last stage: 8, 16 or 32; strides beyond it become dilation.
    /// Default: 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_stride: Option<usize>,
}

impl MobileNetV2Config {
    pub(crate) fn check(&self) -> Result<usize> {
        output_stride(self.output_stride, FULL_STRIDE, &[8, 16, 32])
    }
}

pub(crate) struct MobileNetV2 {
    stages: Vec<Stage>,
    stem: Arc<ConvNorm>,
    /// `features.1` to `features.17`.
    blocks: Vec<Arc<InvertedResidual>>,
    scale: Scale,
}

/// Expansion by a 1×1 convolution, a depthwise 3×3 one, projection by a 1×1 one.
struct InvertedResidual {
    layers: Vec<ConvNorm>,
    join: Join,
}

enum Join {
    /// The input is added.
    Residual(Branch),
    Plain,
}

impl MobileNetV2 {
    pub(crate) fn new(
        config: &MobileNetV2Config,
        vb: VarBuilder,
        mode: NormMode,
        scale: Scale,
    ) -> Result<Self> {
        let mut striding = Striding::new(config.check()?);
        let vb = vb.pp("features");
        let (stride, dilation) = striding.next(2);
        let spec = ConvNormSpec {
            inputs: 3,
            outputs: STEM,
            kernel: 3,
            stride,
            dilation,
            groups: 1,
            activation: Activation::Relu6,
        };
        let stem = Arc::new(ConvNorm::new(spec, vb.pp("0.0"), vb.pp("0.1"), mode)?);
        let (mut stages, mut blocks) = (Vec::new(), Vec::new());
        let mut inputs = STEM;
        for (group, [expansion, channels, count, first_stride]) in GROUPS.into_iter().enumerate() {
            for k in 0..count {
                let own_stride = if k == 0 { first_stride } else { 1 };
                let index = blocks.len() + 1;
                let (stride, dilation) = striding.next(own_stride);
                let shape = BlockShape { expansion, inputs, channels, stride, dilation };
                // The published stride decides, which dilation may have taken the place of. Only
                // the first block of a group changes the channels.
                let join = if own_stride == 1 && inputs == channels {
                    let name = format!("features.{index}");
                    Join::Residual(Branch { name, group, place: k - 1, channels })
                } else {
                    Join::Plain
                };
                blocks.push(Arc::new(InvertedResidual::new(
                    &shape,
                    vb.pp(index).pp("conv"),
                    mode,
                    join,
                )?));
                inputs = channels;
                if STAGES.contains(&index) {
                    let name = format!("features.{index}");
                    stages.push(Stage { name, channels, stride: striding.stride() });
                }
            }
        }
        Ok(Self { stages, stem, blocks, scale })
    }

    fn layers(&self) -> impl Iterator<Item = &ConvNorm> {
        std::iter::once(&*self.stem).chain(self.blocks.iter().flat_map(|block| &block.layers))
    }
}

impl Backbone for MobileNetV2 {
    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn check_image(&self, x: &Tensor) -> Result<()> {
        check_image("mobilenet-v2", 1, x)
    }

    fn stage(&self, nth: usize, x: &Tensor, phase: Phase) -> Result<Tensor> {
        let (x, first) = match nth {
            0 => (part::run(&self.stem, x, phase)?, 0),
            _ => (x.clone(), STAGES[nth - 1]),
        };
        run_blocks(&self.blocks[first..STAGES[nth]], x, phase, &self.scale)
    }

    fn running_statistics(&self) -> Vec<(String, Tensor)> {
        statistics_of(self.layers())
    }

    fn load_running_statistics(&self, statistics: &BTreeMap<String, Tensor>) -> Result<()> {
        load_statistics(self.layers(), statistics)
    }

    fn branches(&self) -> Vec<Branch> {
        let branch = |block: &Arc<InvertedResidual>| match &block.join {
            Join::Residual(branch) => Some(branch.clone()),
            Join::Plain => None,
        };
        self.blocks.iter().filter_map(branch).collect()
    }
}

struct BlockShape {
    expansion: usize,
    inputs: usize,
    channels: usize,
    stride: usize,
    dilation: usize,
}

impl InvertedResidual {
    fn new(shape: &BlockShape, vb: VarBuilder, mode: NormMode, join: Join) -> Result<Self> {
        let &BlockShape { expansion, inputs, channels, stride, dilation } = shape;
        let hidden = inputs * expansion;
        let pointwise =
            |inputs, outputs, activation| ConvNormSpec::same([inputs, outputs], 1, activation);
        let mut specs = Vec::new();
        if expansion != 1 {
            specs.push(pointwise(inputs, hidden, Activation::Relu6));
        }
        specs.push(ConvNormSpec {
            kernel: 3,
            stride,
            dilation,
            groups: hidden,
            ..pointwise(hidden, hidden, Activation::Relu6)
        });
        // torchvision keeps convolution and norm of the activated layers in one module (`0.0`,
        // `0.1`), but those of the projection side by side (`2`, `3`).
        let mut layers = Vec::new();
        for (k, spec) in specs.into_iter().enumerate() {
            let vb = vb.pp(k);
            layers.push(ConvNorm::new(spec, vb.pp(0), vb.pp(1), mode)?);
        }
        let projection = pointwise(hidden, channels, Activation::Identity);
        let k = layers.len();
        layers.push(ConvNorm::new(projection, vb.pp(k), vb.pp(k + 1), mode)?);
        Ok(Self { layers, join })
    }
}

impl Block for InvertedResidual {
    fn forward(&self, x: &Tensor, phase: Phase, scales: &mut ScalePass) -> Result<Tensor> {
        let mut y = x.clone();
        for layer in &self.layers {
            y = layer.forward(&y, phase)?;
        }
        Ok(match &self.join {
            Join::Residual(branch) => add(x, &scales.apply(branch, y)?, Activation::Identity)?,
            Join::Plain => y,
        })
    }
}
