//! The two kinds of residual block.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use grid_ops::{Activation, add};

use super::{Depth, StridePlace};
use crate::branch::{Branch, ScalePass};
use crate::conv_norm::{ConvNorm, ConvNormSpec};
use crate::error::Result;
use crate::network::{NormMode, Phase};
use crate::part;

/// `relu(shortcut(x) + branch(x))`.
pub(super) struct Block {
    /// Two 3×3 convolutions, or a 3×3 one between two of 1×1.
    convs: Vec<ConvNorm>,
    /// A 1×1 convolution where the shape changes; else the input itself.
    shortcut: Option<ConvNorm>,
    branch: Branch,
}

pub(super) struct BlockShape {
    pub(super) inputs: usize,
    /// Channels of the 3×3 convolutions.
    pub(super) width: usize,
    pub(super) stride: usize,
    /// Of 3×3 convolutions with the block's stride or ahead of it, and of those behind it.
    pub(super) dilations: [usize; 2],
    pub(super) place: StridePlace,
    /// Whether the shortcut is a convolution.
    pub(super) shortcut: Shortcut,
}

/// What joins the branch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortcut {
    Input,
    Convolution,
}

impl Block {
    pub(super) fn new(
        depth: Depth,
        shape: &BlockShape,
        branch: Branch,
        vb: &VarBuilder,
        mode: NormMode,
    ) -> Result<Self> {
        let &BlockShape { inputs, width, stride, dilations: [before, behind], .. } = shape;
        let vb = vb.pp(&branch.name);
        let spec = |[inputs, outputs]: [usize; 2], kernel, stride, dilation, activation| {
            ConvNormSpec { inputs, outputs, kernel, stride, dilation, groups: 1, activation }
        };
        let (relu, none) = (Activation::Relu, Activation::Identity);
        let specs = match (depth, shape.place) {
            (Depth::D18, _) => vec![
                spec([inputs, width], 3, stride, before, relu),
                spec([width, width], 3, 1, behind, none),
            ],
            (Depth::D50 | Depth::D101, StridePlace::Spatial) => vec![
                spec([inputs, width], 1, 1, 1, relu),
                spec([width, width], 3, stride, before, relu),
                spec([width, branch.channels], 1, 1, 1, none),
            ],
            (Depth::D50 | Depth::D101, StridePlace::Pointwise) => vec![
                spec([inputs, width], 1, stride, 1, relu),
                spec([width, width], 3, 1, behind, relu),
                spec([width, branch.channels], 1, 1, 1, none),
            ],
        };
        let conv = |(k, spec): (usize, ConvNormSpec)| {
            let nth = k + 1;
            ConvNorm::new(spec, vb.pp(format!("conv{nth}")), vb.pp(format!("bn{nth}")), mode)
        };
        let convs = specs.into_iter().enumerate().map(conv).collect::<Result<_>>()?;
        let shortcut = match shape.shortcut {
            Shortcut::Input => None,
            Shortcut::Convolution => {
                let vb = vb.pp("downsample");
                let spec = spec([inputs, branch.channels], 1, stride, 1, none);
                Some(ConvNorm::new(spec, vb.pp(0), vb.pp(1), mode)?)
            }
        };
        Ok(Self { convs, shortcut, branch })
    }

    pub(super) fn convs(&self) -> impl Iterator<Item = &ConvNorm> {
        self.convs.iter().chain(&self.shortcut)
    }

    pub(super) fn branch(&self) -> &Branch {
        &self.branch
    }
}

impl part::Block for Block {
    /// The block's output.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n, c, h, w]`
    /// - returns: `[n, k, ceil(h / stride), ceil(w / stride)]`
    fn forward(&self, x: &Tensor, phase: Phase, scales: &mut ScalePass) -> Result<Tensor> {
        let mut y = x.clone();
        for conv in &self.convs {
            y = conv.forward(&y, phase)?;
        }
        let y = scales.apply(&self.branch, y)?;
        let x = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, phase)?,
            None => x.clone(),
        };
        Ok(add(&x, &y, Activation::Relu)?)
    }
}
