//! ResNet-18, -50 and -101 (He et al., *Deep residual learning for image recognition*, CVPR 2016,
//! table 1), with torchvision's names.

mod block;
mod config;

use std::collections::BTreeMap;
use std::sync::Arc;

use block::{Block, BlockShape, Shortcut};
use candle_core::Tensor;
use candle_nn::VarBuilder;
pub use config::{ResNetConfig, StemPool, StridePlace};
use grid_ops::{Activation, Pool, Rounding, relu_max_pool2d};

use crate::branch::{Branch, Scale};
use crate::conv_norm::{ConvNorm, ConvNormSpec};
use crate::error::Result;
use crate::network::{
    Backbone, NormMode, Phase, Stage, check_image, load_statistics, statistics_of,
};
use crate::part::{self, Part};
use crate::striding::Striding;

/// Channels of the stem, at any width.
const STEM: usize = 64;

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    D18,
    D50,
    D101,
}

impl Depth {
    /// Blocks of `layer1` to `layer4`.
    pub(crate) fn blocks(self) -> [usize; 4] {
        match self {
            Self::D18 => [2, 2, 2, 2],
            Self::D50 => [3, 4, 6, 3],
            Self::D101 => [3, 4, 23, 3],
        }
    }

    /// The value of `kind`.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::D18 => "resnet-18",
            Self::D50 => "resnet-50",
            Self::D101 => "resnet-101",
        }
    }

    /// Channels of a block by those of its 3×3 convolutions.
    fn expansion(self) -> usize {
        match self {
            Self::D18 => 1,
            Self::D50 | Self::D101 => 4,
        }
    }
}

/// The 7×7 convolution with its norm, and the pooling behind it with the ReLU between them.
struct Stem {
    conv: ConvNorm,
    pool: Pool,
}

impl Part for Stem {
    fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        Ok(relu_max_pool2d(&self.conv.forward(x, phase)?, &self.pool)?)
    }
}

pub(crate) struct ResNet {
    depth: Depth,
    stages: Vec<Stage>,
    stem: Arc<Stem>,
    /// The blocks of `layer1` to `layer4`.
    layers: Vec<Vec<Arc<Block>>>,
    scale: Scale,
}

impl ResNet {
    pub(crate) fn new(
        config: &ResNetConfig,
        depth: Depth,
        vb: VarBuilder,
        mode: NormMode,
        scale: Scale,
    ) -> Result<Self> {
        let mut striding = Striding::new(config.check(depth)?);
        let (stride, dilation) = striding.next(2);
        let spec = ConvNormSpec {
            inputs: 3,
            outputs: STEM,
            kernel: 7,
            stride,
            dilation,
            groups: 1,
            activation: Activation::Identity,
        };
        let conv = ConvNorm::new(spec, vb.pp("conv1"), vb.pp("bn1"), mode)?;
        // The least output stride is 8, so that the pooling always has its own.
        let (stride, _) = striding.next(2);
        let (padding, rounding) = match config.stem_pool {
            StemPool::PaddedAround => (1, Rounding::Floor),
            // Windows that reach over the far edges end there.
            StemPool::PaddedAfter => (0, Rounding::Ceil),
        };
        let pool = Pool { kernel: 3, stride, padding, rounding };
        let stem = Arc::new(Stem { conv, pool });
        let mut inputs = STEM;
        let (mut stages, mut layers) = (Vec::new(), Vec::new());
        for (nth, count) in config.blocks(depth).into_iter().enumerate() {
            let name = format!("layer{}", nth + 1);
            let width = config.width << nth;
            let channels = width * depth.expansion();
            let mut blocks = Vec::new();
            for place in 0..count {
                let own_stride = if place == 0 && nth > 0 { 2 } else { 1 };
                let (stride, dilation_before) = striding.next(own_stride);
                let mut dilations = [dilation_before, striding.dilation()];
                if let (3, Some(grid)) = (nth, &config.multi_grid) {
                    dilations = [grid[place] * striding.dilation(); 2];
                }
                let branch =
                    Branch { name: format!("{name}.{place}"), group: nth, place, channels };
                let shape = BlockShape {
                    inputs,
                    width,
                    stride,
                    dilations,
                    place: config.stride_in,
                    // By the published stride, which dilation may have taken the place of.
                    shortcut: if own_stride != 1 || inputs != channels {
                        Shortcut::Convolution
                    } else {
                        Shortcut::Input
                    },
                };
                blocks.push(Arc::new(Block::new(depth, &shape, branch, &vb, mode)?));
                inputs = channels;
            }
            layers.push(blocks);
            stages.push(Stage { name, channels, stride: striding.stride() });
        }
        Ok(Self { depth, stages, stem, layers, scale })
    }

    fn convs(&self) -> impl Iterator<Item = &ConvNorm> {
        let blocks = self.layers.iter().flatten();
        std::iter::once(&self.stem.conv).chain(blocks.flat_map(|block| block.convs()))
    }
}

impl Backbone for ResNet {
    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn check_image(&self, x: &Tensor) -> Result<()> {
        let least = self.stages.iter().map(|stage| stage.stride).max().unwrap_or(1);
        check_image(self.depth.kind(), least, x)
    }

    fn stage(&self, nth: usize, x: &Tensor, phase: Phase) -> Result<Tensor> {
        let x = match nth {
            0 => part::run(&self.stem, x, phase)?,
            _ => x.clone(),
        };
        part::run_blocks(&self.layers[nth], x, phase, &self.scale)
    }

    fn running_statistics(&self) -> Vec<(String, Tensor)> {
        statistics_of(self.convs())
    }

    fn load_running_statistics(&self, statistics: &BTreeMap<String, Tensor>) -> Result<()> {
        load_statistics(self.convs(), statistics)
    }

    fn branches(&self) -> Vec<Branch> {
        self.layers.iter().flatten().map(|block| block.branch().clone()).collect()
    }
}
