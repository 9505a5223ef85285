//! Convolution with bias and activation: the block of the networks from before batch norm.

use candle_core::Tensor;
use candle_nn::init::DEFAULT_KAIMING_NORMAL;
use candle_nn::{Init, VarBuilder};
use grid_ops::{Activation, Conv2d, conv2d};

use crate::error::Result;
use crate::network::{NormMode, Phase};
use crate::part::Part;

/// The geometry of a [`ConvBias`].
#[derive(Clone, Copy)]
pub(crate) struct ConvBiasSpec {
    /// Channels in and out.
    pub(crate) channels: [usize; 2],
    /// Rows and columns of the kernel.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    pub(crate) activation: Activation,
}

impl ConvBiasSpec {
    /// One of an odd kernel that keeps the size, with a ReLU.
    pub(crate) fn same(channels: [usize; 2], kernel: usize, dilation: usize) -> Self {
        // A single tap has no distance to another.
        let dilation = if kernel == 1 { 1 } else { dilation };
        let padding = dilation * (kernel / 2);
        Self { channels, kernel, stride: 1, padding, dilation, activation: Activation::Relu }
    }
}

/// Convolution → bias → activation, a single operation.
pub(crate) struct ConvBias {
    config: Conv2d,
    weight: Tensor,
    bias: Tensor,
}

impl ConvBias {
    /// Takes `weight` and `bias` from `vb`. There are no statistics: of the modes only
    /// [`NormMode::Frozen`] differs.
    pub(crate) fn new(spec: ConvBiasSpec, vb: &VarBuilder, mode: NormMode) -> Result<Self> {
        let ConvBiasSpec {
            channels: [inputs, outputs],
            kernel,
            stride,
            padding,
            dilation,
            activation,
        } = spec;
        let shape = (outputs, inputs, kernel, kernel);
        let weight = vb.get_with_hints(shape, "weight", DEFAULT_KAIMING_NORMAL)?;
        let bias = vb.get_with_hints(outputs, "bias", Init::Const(0.0))?;
        let (weight, bias) = match mode {
            NormMode::Frozen => (weight.detach(), bias.detach()),
            NormMode::Trained | NormMode::Fixed => (weight, bias),
        };
        let config = Conv2d { stride, padding, dilation, groups: 1, activation };
        Ok(Self { config, weight, bias })
    }

    /// The block's output.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n, c, h, w]`
    /// - returns: `[n, k, h', w']`, as [`conv2d`]
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(conv2d(x, &self.weight, Some(&self.bias), &self.config)?)
    }
}

impl Part for ConvBias {
    fn forward(&self, x: &Tensor, _: Phase) -> Result<Tensor> {
        self.forward(x)
    }
}
