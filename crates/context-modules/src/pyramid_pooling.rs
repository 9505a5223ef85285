//! Means over few and over more bins of the grid.

use backbone::{ConvNorm, ConvNormSpec, NormMode, Phase};
use candle_core::{ModuleT, Tensor};
use candle_nn::VarBuilder;
use grid_ops::{Activation, Corners, adaptive_avg_pool2d, concat, resize_bilinear};

use crate::context::phase_of;
use crate::error::checked_channels;
use crate::pooled::Pooled;
use crate::{Error, Result};

/// Hyper-parameters of a [`PyramidPooling`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PyramidPoolingConfig {
    /// Bins along each axis, of each branch. Default: 1, 2, 3 and 6, as in the paper.
    pub bins: Vec<usize>,
    /// Channels of a branch. Default: those of the map, shared out among the branches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bin_channels: Option<usize>,
}

impl Default for PyramidPoolingConfig {
    fn default() -> Self {
        Self { bins: vec![1, 2, 3, 6], bin_channels: None }
    }
}

impl PyramidPoolingConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field.
    pub fn check(&self) -> Result<()> {
        let bins = &self.bins;
        if !(1..=16).contains(&bins.len()) || bins.iter().any(|bins| !(1..=64).contains(bins)) {
            let reason = "must be 1 to 16 numbers between 1 and 64";
            return Err(Error::Config { field: "bins", value: format!("{bins:?}"), reason });
        }
        checked_channels("bin_channels", self.bin_channels)
    }
}

/// Adaptive mean pooling to 1, 2, 3 and 6 bins along each axis, each with a 1×1, norm and ReLU,
/// resized to the grid (bilinear, half-pixel centres); `x` and the four side by side, 3×3, norm and
/// ReLU.
///
/// Source: Zhao et al., *Pyramid scene parsing network*, CVPR 2017. Adapted: a branch of one bin has
/// a bias and no norm, since a norm over the single value of an image would leave its own bias alone
/// and no gradient.
///
/// Parameters, by the place of a branch in `bins`: `branch{i}.conv.weight` `[q, p, 1, 1]`,
/// `branch{i}.norm.*`, or, of one bin, `branch{i}.weight` and `branch{i}.bias`;
/// `output.conv.weight` `[p, p + 4·q, 3, 3]`, `output.norm.*`.
pub struct PyramidPooling {
    branches: Vec<Branch>,
    output: ConvNorm,
}

enum Branch {
    One(Pooled),
    Several { bins: usize, block: ConvNorm },
}

impl PyramidPooling {
    /// For maps of so many channels, with parameters under `vb`'s prefix.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field; [`Error::Candle`] if `vb` lacks a parameter.
    pub fn new(config: &PyramidPoolingConfig, channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        config.check()?;
        checked_channels("channels", Some(channels))?;
        let count = config.bins.len();
        let of_branch = config.bin_channels.unwrap_or(channels / count);
        if of_branch == 0 {
            let reason = "more branches than the map has channels; set bin_channels";
            let value = format!("{:?}", config.bins);
            return Err(Error::Config { field: "bins", value, reason });
        }
        let mut branches = Vec::with_capacity(count);
        for (i, &bins) in config.bins.iter().enumerate() {
            let vb = vb.pp(format!("branch{i}"));
            branches.push(if bins == 1 {
                Branch::One(Pooled::new(channels, of_branch, &vb)?)
            } else {
                let block = normed([channels, of_branch], 1, &vb)?;
                Branch::Several { bins, block }
            });
        }
        let output = normed([channels + count * of_branch, channels], 3, &vb.pp("output"))?;
        Ok(Self { branches, output })
    }

    /// `o` of `x`.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n, p, h, w]`
    /// - returns: the same
    ///
    /// # Errors
    ///
    /// [`Error::Grid`] for an empty map or one of other channels; in training [`Error::Block`] for a
    /// single unit of a single image, which is all that the last norm would see.
    pub fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let mut maps = Vec::with_capacity(self.branches.len());
        for branch in &self.branches {
            maps.push(match branch {
                Branch::One(pooled) => pooled.forward(x)?,
                Branch::Several { bins, block } => {
                    let means = adaptive_avg_pool2d(x, *bins, *bins)?;
                    resize_bilinear(&block.forward(&means, phase)?, h, w, Corners::Centers)?
                }
            });
        }
        Ok(self.output.forward(&concat(x, &joined(&maps)?)?, phase)?)
    }

    /// Its blocks with norms, for [`backbone::statistics_of`] and [`backbone::load_statistics`].
    pub fn norms(&self) -> impl Iterator<Item = &ConvNorm> {
        let branches = self.branches.iter().filter_map(|branch| match branch {
            Branch::One(_) => None,
            Branch::Several { block, .. } => Some(block),
        });
        branches.chain([&self.output])
    }
}

/// The channels of all maps, one after another; there is at least one.
pub(crate) fn joined(maps: &[Tensor]) -> Result<Tensor> {
    match maps {
        [map] => Ok(map.clone()),
        // Halves, so that no map is copied more often than needs be.
        _ => {
            let (first, others) = maps.split_at(maps.len().div_ceil(2));
            Ok(concat(&joined(first)?, &joined(others)?)?)
        }
    }
}

/// Convolution of stride 1, norm and ReLU.
pub(crate) fn normed(channels: [usize; 2], kernel: usize, vb: &VarBuilder<'_>) -> Result<ConvNorm> {
    let spec = ConvNormSpec::same(channels, kernel, Activation::Relu);
    Ok(ConvNorm::new(spec, vb.pp("conv"), vb.pp("norm"), NormMode::Trained)?)
}

impl ModuleT for PyramidPooling {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.forward(x, phase_of(train))?)
    }
}
