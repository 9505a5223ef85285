//! Convolutional backbones that turn a photograph into feature grids.
//!
//! A [`BackboneConfig`] says which network; [`BackboneConfig::build`] makes a [`Backbone`] from the
//! parameters of a candle `VarBuilder`, which may draw them or hold pretrained ones:
//!
//! ```no_run
//! use backbone::{BackboneConfig, MobileNetV2Config, NormMode, Phase};
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::VarBuilder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = BackboneConfig::MobileNetV2(MobileNetV2Config { output_stride: Some(16) });
//! let file = backbone::find_weights("weights".as_ref(), &config)?;
//! let tensors = backbone::checked(&backbone::load_weights(&file)?, &config)?;
//! let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, &Device::Cpu);
//! let network = config.build(vb, NormMode::Frozen)?;
//! let photograph = Tensor::zeros((1, 3, 240, 320), DType::F32, &Device::Cpu)?;
//! for (stage, grid) in network.stages().iter().zip(network.forward(&photograph, Phase::Eval)?) {
//!     assert_eq!(grid.dims4()?.1, stage.channels);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Letters of shapes: `n` images, `c` channels in, `k` channels out, `h w` grid.
//!
//! Not here: heads, losses, training, the draw of initial values.

mod branch;
mod config;
mod conv_bias;
mod conv_norm;
mod error;
mod mobilenet_v2;
mod network;
mod part;
mod pooling;
mod resnet;
mod running_stats;
mod small_cnn;
mod squeezenet;
mod striding;
mod vgg16;
mod weights;

pub use branch::{Branch, BranchScale};
pub use config::BackboneConfig;
pub use conv_norm::{ConvNorm, ConvNormSpec};
pub use error::{Error, Result};
pub use mobilenet_v2::MobileNetV2Config;
pub use network::{Backbone, NormMode, Phase, Stage, load_statistics, statistics_of};
pub use part::forward_part;
pub use resnet::{ResNetConfig, StemPool, StridePlace};
pub use small_cnn::SmallCnnConfig;
pub use squeezenet::SqueezeNetConfig;
pub use vgg16::{Vgg16Config, VggNorm};
pub use weights::{Weights, checked, find_weights, load_pth, load_safetensors, load_weights};
