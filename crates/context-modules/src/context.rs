//! All modules by name.

use backbone::{ConvNorm, Phase};
use candle_core::{ModuleT, Tensor};
use candle_nn::VarBuilder;

use crate::{
    AtrousPyramid, AtrousPyramidConfig, CrissCross, CrissCrossConfig, GlobalAverage,
    GlobalAverageConfig, NonLocal, NonLocalConfig, PyramidPooling, PyramidPoolingConfig, Result,
};

/// The hyper-parameters of any of the modules, with its name as `kind`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ContextConfig {
    /// Of a [`GlobalAverage`].
    GlobalAverage(GlobalAverageConfig),
    /// Of a [`PyramidPooling`].
    PyramidPooling(PyramidPoolingConfig),
    /// Of an [`AtrousPyramid`].
    AtrousPyramid(AtrousPyramidConfig),
    /// Of a [`NonLocal`].
    NonLocal(NonLocalConfig),
    /// Of a [`CrissCross`].
    CrissCross(CrissCrossConfig),
}

impl ContextConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] naming the field.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::GlobalAverage(config) => config.check(),
            Self::PyramidPooling(config) => config.check(),
            Self::AtrousPyramid(config) => config.check(),
            Self::NonLocal(config) => config.check(),
            Self::CrissCross(config) => config.check(),
        }
    }

    /// Checks the values, then makes the module for maps of so many channels, with parameters under
    /// `vb`'s prefix.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] naming the field; [`crate::Error::Candle`] if `vb` lacks a
    /// parameter.
    pub fn build(&self, channels: usize, vb: VarBuilder<'_>) -> Result<Context> {
        Ok(match self {
            Self::GlobalAverage(config) => {
                Context::GlobalAverage(GlobalAverage::new(config, channels, vb)?)
            }
            Self::PyramidPooling(config) => {
                Context::PyramidPooling(PyramidPooling::new(config, channels, vb)?)
            }
            Self::AtrousPyramid(config) => {
                Context::AtrousPyramid(AtrousPyramid::new(config, channels, vb)?)
            }
            Self::NonLocal(config) => Context::NonLocal(NonLocal::new(config, channels, vb)?),
            Self::CrissCross(config) => Context::CrissCross(CrissCross::new(config, channels, vb)?),
        })
    }
}

/// Any of the modules.
#[allow(missing_docs, reason = "the names are those of the modules")]
pub enum Context {
    GlobalAverage(GlobalAverage),
    PyramidPooling(PyramidPooling),
    AtrousPyramid(AtrousPyramid),
    NonLocal(NonLocal),
    CrissCross(CrissCross),
}

impl Context {
    /// `o` of `x`; the phase matters to those with norms.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n, p, h, w]`
    /// - returns: the same
    ///
    /// # Errors
    ///
    /// As the module's own.
    pub fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        match self {
            Self::GlobalAverage(module) => module.forward(x),
            Self::PyramidPooling(module) => module.forward(x, phase),
            Self::AtrousPyramid(module) => module.forward(x, phase),
            Self::NonLocal(module) => module.forward(x),
            Self::CrissCross(module) => module.forward(x),
        }
    }

    /// Its blocks with norms, for [`backbone::statistics_of`] and [`backbone::load_statistics`].
    pub fn norms(&self) -> Vec<&ConvNorm> {
        match self {
            Self::PyramidPooling(module) => module.norms().collect(),
            Self::AtrousPyramid(module) => module.norms().collect(),
            Self::GlobalAverage(_) | Self::NonLocal(_) | Self::CrissCross(_) => Vec::new(),
        }
    }
}

impl ModuleT for Context {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.forward(x, phase_of(train))?)
    }
}

/// The phase that candle's modules are told of.
pub(crate) fn phase_of(train: bool) -> Phase {
    if train { Phase::Train } else { Phase::Eval }
}
