//! Which backbone, as data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::error::Result;
use crate::mobilenet_v2::{MobileNetV2, MobileNetV2Config};
use crate::network::{Backbone, NormMode, Stage};
use crate::small_cnn::{SmallCnn, SmallCnnConfig};

/// Which network, told apart by the key `kind`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind")]
pub enum BackboneConfig {
    /// `kind = "small-cnn"`: a small network, trained from scratch. The default.
    #[serde(rename = "small-cnn")]
    SmallCnn(SmallCnnConfig),
    /// `kind = "mobilenet-v2"`: MobileNetV2 of width 1.
    #[serde(rename = "mobilenet-v2")]
    MobileNetV2(MobileNetV2Config),
}

impl Default for BackboneConfig {
    fn default() -> Self {
        Self::SmallCnn(SmallCnnConfig::default())
    }
}

impl BackboneConfig {
    /// Builds the network from the parameters of `vb`, under its own names.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] for values that cannot work, and what `vb` reports.
    pub fn build(&self, vb: VarBuilder, mode: NormMode) -> Result<Box<dyn Backbone>> {
        Ok(match self {
            Self::SmallCnn(config) => Box::new(SmallCnn::new(config, vb, mode)?),
            Self::MobileNetV2(config) => Box::new(MobileNetV2::new(config, vb, mode)?),
        })
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`], which names field, value and what would do.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::SmallCnn(config) => config.check()?,
            Self::MobileNetV2(config) => config.check()?,
        };
        Ok(())
    }

    /// The value of `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SmallCnn(_) => "small-cnn",
            Self::MobileNetV2(_) => "mobilenet-v2",
        }
    }

    /// The stages of the network this would build.
    ///
    /// # Errors
    ///
    /// As for [`Self::build`].
    pub fn stages(&self) -> Result<Vec<Stage>> {
        let vb = Requests::default().builder();
        Ok(self.build(vb, NormMode::Trained)?.stages().to_vec())
    }

    /// Names and shapes of everything the network asks for, running statistics included.
    ///
    /// # Errors
    ///
    /// As for [`Self::build`].
    pub fn parameters(&self) -> Result<BTreeMap<String, Vec<usize>>> {
        let requests = Requests::default();
        self.build(requests.builder(), NormMode::Trained)?;
        Ok(requests.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// A store that notes what is asked for and answers with zeros that take no memory.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<BTreeMap<String, Vec<usize>>>>);

impl Requests {
    fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, Device::Cpu)
    }
}

impl SimpleBackend for Requests {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("parameter {name}: its shape is not known")
    }

    fn contains_tensor(&self, _name: &str) -> bool {
        true
    }
}
