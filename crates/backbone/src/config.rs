//! Which backbone, as data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::branch::{Branch, BranchScale, Scale};
use crate::error::{Error, Result};
use crate::mobilenet_v2::{MobileNetV2, MobileNetV2Config};
use crate::network::{Backbone, NormMode, Stage};
use crate::resnet::{Depth, ResNet, ResNetConfig};
use crate::small_cnn::{SmallCnn, SmallCnnConfig};
use crate::squeezenet::{SqueezeNet, SqueezeNetConfig};
use crate::vgg16::{Vgg16, Vgg16Config};

/// Which network, told apart by the key `kind`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind")]
pub enum BackboneConfig {
    /// `kind = "small-cnn"`: a small network, trained from scratch. The default.
    #[serde(rename = "small-cnn")]
    SmallCnn(SmallCnnConfig),
    /// `kind = "vgg-16"`: VGG-16, with or without batch norm.
    #[serde(rename = "vgg-16")]
    Vgg16(Vgg16Config),
    /// `kind = "resnet-18"`: ResNet-18, of blocks of two convolutions.
    #[serde(rename = "resnet-18")]
    ResNet18(ResNetConfig),
    /// `kind = "resnet-50"`: ResNet-50, of bottlenecks.
    #[serde(rename = "resnet-50")]
    ResNet50(ResNetConfig),
    /// `kind = "resnet-101"`: ResNet-101, of bottlenecks.
    #[serde(rename = "resnet-101")]
    ResNet101(ResNetConfig),
    /// `kind = "mobilenet-v2"`: MobileNetV2 of width 1.
    #[serde(rename = "mobilenet-v2")]
    MobileNetV2(MobileNetV2Config),
    /// `kind = "squeezenet-1.1"`: SqueezeNet 1.1.
    #[serde(rename = "squeezenet-1.1")]
    SqueezeNet(SqueezeNetConfig),
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
        self.build_with(vb, mode, None)
    }

    /// The same with the branches of its residual blocks scaled by `scale`, in any mode.
    ///
    /// # Errors
    ///
    /// As for [`Self::build`], and for a network without residual blocks.
    pub fn build_scaled(
        &self,
        vb: VarBuilder,
        mode: NormMode,
        scale: Arc<dyn BranchScale>,
    ) -> Result<Box<dyn Backbone>> {
        let network = self.build_with(vb, mode, Some(scale))?;
        if network.branches().is_empty() {
            let reason = "it has no residual blocks whose branches could be scaled".to_owned();
            return Err(Error::Config { field: "kind", value: self.kind().to_owned(), reason });
        }
        Ok(network)
    }

    fn build_with(
        &self,
        vb: VarBuilder,
        mode: NormMode,
        scale: Scale,
    ) -> Result<Box<dyn Backbone>> {
        Ok(match self {
            Self::SmallCnn(config) => Box::new(SmallCnn::new(config, vb, mode)?),
            Self::Vgg16(config) => Box::new(Vgg16::new(config, vb, mode)?),
            Self::ResNet18(config) => Box::new(ResNet::new(config, Depth::D18, vb, mode, scale)?),
            Self::ResNet50(config) => Box::new(ResNet::new(config, Depth::D50, vb, mode, scale)?),
            Self::ResNet101(config) => Box::new(ResNet::new(config, Depth::D101, vb, mode, scale)?),
            Self::MobileNetV2(config) => Box::new(MobileNetV2::new(config, vb, mode, scale)?),
            Self::SqueezeNet(config) => Box::new(SqueezeNet::new(config, vb, mode)?),
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
            Self::Vgg16(config) => config.check()?,
            Self::ResNet18(config) => config.check(Depth::D18)?,
            Self::ResNet50(config) => config.check(Depth::D50)?,
            Self::ResNet101(config) => config.check(Depth::D101)?,
            Self::MobileNetV2(config) => config.check()?,
            Self::SqueezeNet(config) => config.check()?,
        };
        Ok(())
    }

    /// The value of `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SmallCnn(_) => "small-cnn",
            Self::Vgg16(_) => "vgg-16",
            Self::ResNet18(_) => Depth::D18.kind(),
            Self::ResNet50(_) => Depth::D50.kind(),
            Self::ResNet101(_) => Depth::D101.kind(),
            Self::MobileNetV2(_) => "mobilenet-v2",
            Self::SqueezeNet(_) => "squeezenet-1.1",
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

    /// The branches of the residual blocks of the network this would build.
    ///
    /// # Errors
    ///
    /// As for [`Self::build`].
    pub fn branches(&self) -> Result<Vec<Branch>> {
        Ok(self.build(Requests::default().builder(), NormMode::Trained)?.branches())
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
