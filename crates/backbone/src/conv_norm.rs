//! Convolution, batch norm and activation: the block that most networks here are made of.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_nn::init::DEFAULT_KAIMING_NORMAL;
use candle_nn::{Init, VarBuilder};
use grid_ops::{Activation, Conv2d, batch_norm, conv2d};

use crate::error::{Error, Result};
use crate::network::{NormMode, Phase};
use crate::part::Part;
use crate::running_stats::{self, RunningStats};

/// Added to variances, as in torchvision's networks.
pub(crate) const EPSILON: f64 = 1e-5;

/// The geometry of a [`ConvNorm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvNormSpec {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Rows and columns of the kernel, odd; padding keeps the size at stride 1.
    pub kernel: usize,
    /// Distance of two outputs, in inputs.
    pub stride: usize,
    /// Distance of two taps of the kernel, in inputs.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// What is applied to the normalised output.
    pub activation: Activation,
}

impl ConvNormSpec {
    /// One of stride 1 without dilation or groups.
    pub fn same([inputs, outputs]: [usize; 2], kernel: usize, activation: Activation) -> Self {
        Self { inputs, outputs, kernel, stride: 1, dilation: 1, groups: 1, activation }
    }

    fn check(&self) -> Result<()> {
        let Self { inputs, outputs, kernel, stride, dilation, groups, .. } = *self;
        let error = |field, value: usize, reason: &str| {
            Err(Error::Config { field, value: value.to_string(), reason: reason.to_owned() })
        };
        if kernel.is_multiple_of(2) {
            return error("kernel", kernel, "expected an odd number");
        }
        let all = [("inputs", inputs), ("outputs", outputs), ("stride", stride)];
        for (field, value) in all.into_iter().chain([("dilation", dilation), ("groups", groups)]) {
            if value == 0 {
                return error(field, value, "expected at least 1");
            }
        }
        if !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            return error("groups", groups, "expected a divisor of the channels in and out");
        }
        Ok(())
    }
}

/// Convolution, as a rule without bias → batch norm → activation.
///
/// With statistics that do not move it is a single operation: they and the factors are folded into
/// the convolution.
pub struct ConvNorm {
    spec: ConvNormSpec,
    weight: Tensor,
    /// Of the convolution. A norm by the batch takes it out again, so that it learns nothing.
    bias: Option<Tensor>,
    norm: Norm,
}

enum Norm {
    /// The statistics and factors are in the convolution's weight and in this bias.
    Folded {
        layer: String,
        bias: Tensor,
    },
    Learnt {
        gamma: Tensor,
        beta: Tensor,
        statistics: RunningStats,
        training: TrainBy,
    },
}

/// What a norm that learns normalises by in training.
#[derive(Clone, Copy)]
enum TrainBy {
    Batch,
    RunningStatistics,
}

impl ConvNorm {
    /// Takes the convolution's `weight` from `conv`; `weight`, `bias` and the statistics of the
    /// norm from `norm`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for sizes that cannot work, and what the builders report.
    pub fn new(
        spec: ConvNormSpec,
        conv: VarBuilder,
        norm: VarBuilder,
        mode: NormMode,
    ) -> Result<Self> {
        Self::build(spec, &conv, None, norm, mode)
    }

    /// The same with a bias between convolution and norm, `bias` of `conv`, as torchvision's VGG
    /// has it.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn with_bias(
        spec: ConvNormSpec,
        conv: VarBuilder,
        norm: VarBuilder,
        mode: NormMode,
    ) -> Result<Self> {
        spec.check()?;
        let bias = conv.get_with_hints(spec.outputs, "bias", Init::Const(0.0))?;
        Self::build(spec, &conv, Some(bias), norm, mode)
    }

    fn build(
        spec: ConvNormSpec,
        conv: &VarBuilder,
        bias: Option<Tensor>,
        norm: VarBuilder,
        mode: NormMode,
    ) -> Result<Self> {
        spec.check()?;
        let ConvNormSpec { inputs, outputs, kernel, groups, .. } = spec;
        let shape = (outputs, inputs / groups, kernel, kernel);
        let weight = conv.get_with_hints(shape, "weight", DEFAULT_KAIMING_NORMAL)?;
        let gamma = norm.get_with_hints(outputs, "weight", Init::Const(1.0))?;
        let beta = norm.get_with_hints(outputs, "bias", Init::Const(0.0))?;
        let learnt = |training| -> Result<Norm> {
            let statistics = RunningStats::new(outputs, &norm)?;
            Ok(Norm::Learnt { gamma: gamma.clone(), beta: beta.clone(), statistics, training })
        };
        let (weight, bias, norm) = match mode {
            NormMode::Frozen => {
                let statistics = running_stats::read(outputs, &norm)?;
                let factors = [&gamma, &beta];
                let (weight, folded) = fold(&weight, bias.as_ref(), factors, &statistics)?;
                let layer = norm.prefix();
                (weight.detach(), None, Norm::Folded { layer, bias: folded.detach() })
            }
            NormMode::Trained => (weight, bias, learnt(TrainBy::Batch)?),
            NormMode::Fixed => (weight, bias, learnt(TrainBy::RunningStatistics)?),
        };
        Ok(Self { spec, weight, bias, norm })
    }

    /// The block's output; in training it also updates the running statistics.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n, c, h, w]`
    /// - returns: `[n, k, ceil(h / stride), ceil(w / stride)]`
    ///
    /// # Errors
    ///
    /// What [`conv2d`] reports; in training [`Error::SingleValue`] for a batch with one value a
    /// channel.
    pub fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        self.forward_by(phase, |weight, bias, activation| {
            Ok(conv2d(x, weight, bias, &self.conv(activation))?)
        })
    }

    /// The same where the caller has the convolution another way: `conv` makes its activated result
    /// of a weight, a bias and the activation.
    ///
    /// # Errors
    ///
    /// As for [`Self::forward`].
    pub fn forward_by(
        &self,
        phase: Phase,
        conv: impl Fn(&Tensor, Option<&Tensor>, Activation) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let activation = self.spec.activation;
        match (&self.norm, phase) {
            (Norm::Folded { bias, .. }, _) => conv(&self.weight, Some(bias), activation),
            (
                Norm::Learnt { gamma, beta, statistics, training: TrainBy::Batch },
                Phase::Train | Phase::TrainRecomputing | Phase::TrainAgain,
            ) => {
                let y = conv(&self.weight, self.bias.as_ref(), Activation::Identity)?;
                let (n, _, h, w) = y.dims4()?;
                if n * h * w < 2 {
                    let layer = statistics.layer().to_owned();
                    return Err(Error::SingleValue { layer, got: y.dims().to_vec() });
                }
                let normed = batch_norm(&y, gamma, beta, EPSILON, activation)?;
                if phase != Phase::TrainAgain {
                    statistics.update(&normed.mean, &normed.var, n * h * w)?;
                }
                Ok(normed.y)
            }
            // Folding costs as much as the weights have elements: far less than another pass over
            // the grid. It is differentiable, should a gradient be wanted.
            (Norm::Learnt { gamma, beta, statistics, .. }, _) => {
                let factors = [gamma, beta];
                let (weight, bias) =
                    fold(&self.weight, self.bias.as_ref(), factors, &statistics.get())?;
                conv(&weight, Some(&bias), activation)
            }
        }
    }

    /// The running statistics, unless they are folded.
    pub(crate) fn statistics(&self) -> Option<&RunningStats> {
        match &self.norm {
            Norm::Folded { .. } => None,
            Norm::Learnt { statistics, .. } => Some(statistics),
        }
    }

    /// An error if `statistics` holds those of this folded norm, which cannot change any more.
    pub(crate) fn refuse(&self, statistics: &BTreeMap<String, Tensor>) -> Result<()> {
        let Norm::Folded { layer, .. } = &self.norm else { return Ok(()) };
        match running_stats::names(layer).into_iter().find(|name| statistics.contains_key(name)) {
            None => Ok(()),
            Some(name) => {
                let reason = "the network is frozen: its statistics are folded into the weights; \
                              build it from parameters that hold these";
                Err(Error::Statistics { name, reason: reason.to_owned() })
            }
        }
    }

    fn conv(&self, activation: Activation) -> Conv2d {
        let ConvNormSpec { kernel, stride, dilation, groups, .. } = self.spec;
        let padding = dilation * (kernel / 2);
        Conv2d { stride, padding, dilation, groups, activation }
    }
}

impl Part for ConvNorm {
    fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        self.forward(x, phase)
    }
}

/// The weight and bias of a convolution that does what convolution and norm do: with
/// s = γ / √(var + ε), they are `s · weight` and `β - s · (mean - bias)`.
fn fold(
    weight: &Tensor,
    bias: Option<&Tensor>,
    [gamma, beta]: [&Tensor; 2],
    [mean, var]: &[Tensor; 2],
) -> Result<(Tensor, Tensor)> {
    let mean = match bias {
        Some(bias) => (mean - bias)?,
        None => mean.clone(),
    };
    let scale = (gamma / (var + EPSILON)?.sqrt()?)?;
    let bias = (beta - (&scale * mean)?)?;
    let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?;
    Ok((weight, bias))
}
