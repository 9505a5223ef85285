//! Convolutions of several dilations side by side.

use backbone::{ConvNorm, Phase};
use candle_core::{ModuleT, Tensor};
use candle_nn::VarBuilder;
use grid_ops::{Conv2d, conv2d};

use crate::context::phase_of;
use crate::error::checked_channels;
use crate::pooled::Pooled;
use crate::pyramid_pooling::{joined, normed};
use crate::{Error, Result};

/// Hyper-parameters of an [`AtrousPyramid`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AtrousPyramidConfig {
    /// Distance of two taps of each 3×3, in units. Default: 6, 12 and 18, as in the paper for maps of
    /// stride 16; [`Self::at_stride`] has those for others.
    pub dilations: Vec<usize>,
    /// Channels of a branch. Default: those of the map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch_channels: Option<usize>,
}

impl Default for AtrousPyramidConfig {
    fn default() -> Self {
        Self { dilations: vec![6, 12, 18], branch_channels: None }
    }
}

impl AtrousPyramidConfig {
    /// The paper's dilations for maps of a stride of 16 or of one that divides it: the same
    /// distances in the image, doubled at stride 8.
    #[must_use]
    pub fn at_stride(stride: usize) -> Self {
        let factor = 16 / stride.clamp(1, 16);
        let dilations = Self::default().dilations.iter().map(|d| d * factor).collect();
        Self { dilations, ..Self::default() }
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field.
    pub fn check(&self) -> Result<()> {
        let dilations = &self.dilations;
        if dilations.len() > 16 || dilations.iter().any(|d| !(1..=4096).contains(d)) {
            let reason = "must be up to 16 numbers between 1 and 4096";
            let value = format!("{dilations:?}");
            return Err(Error::Config { field: "dilations", value, reason });
        }
        checked_channels("branch_channels", self.branch_channels)
    }
}

/// A 1×1, three 3×3 of growing dilations and the mean over the image with a 1×1, each with norm and
/// ReLU; side by side, 1×1, norm and ReLU.
///
/// Source: Chen et al., *Rethinking atrous convolution for semantic image segmentation* (DeepLabV3),
/// 2017. Adapted: the mean's branch has a bias and no norm, since a norm over the single value of an
/// image would leave its own bias alone and no gradient.
///
/// The mean's branch is the same at all units of an image. So, with one image a batch and batch
/// statistics, the last norm takes it out again, and it learns nothing from that step; from two
/// images on it does.
///
/// Parameters: `point.conv.weight` `[q, p, 1, 1]`, `point.norm.*`; by the place in `dilations`
/// `dilated{i}.conv.weight` `[q, p, 3, 3]`, `dilated{i}.norm.*`; `image.weight` `[q, p, 1, 1]`,
/// `image.bias`; `output.conv.weight` `[p, 5·q, 1, 1]`, `output.norm.*`.
pub struct AtrousPyramid {
    point: ConvNorm,
    dilated: Vec<(usize, ConvNorm)>,
    image: Pooled,
    output: ConvNorm,
}

impl AtrousPyramid {
    /// For maps of so many channels, with parameters under `vb`'s prefix.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field; [`Error::Candle`] if `vb` lacks a parameter.
    pub fn new(config: &AtrousPyramidConfig, channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        config.check()?;
        checked_channels("channels", Some(channels))?;
        let of_branch = config.branch_channels.unwrap_or(channels);
        let sizes = [channels, of_branch];
        let mut dilated = Vec::with_capacity(config.dilations.len());
        for (i, &dilation) in config.dilations.iter().enumerate() {
            dilated.push((dilation, normed(sizes, 3, &vb.pp(format!("dilated{i}")))?));
        }
        let all = (2 + dilated.len()) * of_branch;
        Ok(Self {
            point: normed(sizes, 1, &vb.pp("point"))?,
            dilated,
            image: Pooled::new(channels, of_branch, &vb.pp("image"))?,
            output: normed([all, channels], 1, &vb.pp("output"))?,
        })
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
    /// single unit of a single image, which is all that a norm would see.
    pub fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let mut maps = vec![self.point.forward(x, phase)?];
        for (dilation, block) in &self.dilated {
            // Farther taps all see zeros: they need not be looked for.
            let dilation = *dilation.min(&h.max(w));
            maps.push(block.forward_by(phase, |weight, bias, activation| {
                let padding = dilation;
                let config = Conv2d { padding, dilation, activation, ..Conv2d::default() };
                Ok(conv2d(x, weight, bias, &config)?)
            })?);
        }
        maps.push(self.image.forward(x)?);
        Ok(self.output.forward(&joined(&maps)?, phase)?)
    }

    /// Its blocks with norms, for [`backbone::statistics_of`] and [`backbone::load_statistics`].
    pub fn norms(&self) -> impl Iterator<Item = &ConvNorm> {
        let dilated = self.dilated.iter().map(|(_, block)| block);
        std::iter::once(&self.point).chain(dilated).chain([&self.output])
    }
}

impl ModuleT for AtrousPyramid {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.forward(x, phase_of(train))?)
    }
}
