//! The features of whole backbones: as at inference, and as in a training step.

use backbone::{
    BackboneConfig, MobileNetV2Config, NormMode, Phase, ResNetConfig, SqueezeNetConfig,
    Vgg16Config, VggNorm,
};
use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use grid_ops::backward;

use crate::{Case, Pass, Task, Work, var};

/// Which backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "networks by their names")]
pub enum Network {
    Vgg16,
    Vgg16Batch,
    Resnet18,
    Resnet50,
    /// Of half the width, as open_nsfw's.
    Resnet50Half,
    Resnet101,
    MobilenetV2,
    Squeezenet,
}

impl Network {
    fn config(self) -> BackboneConfig {
        match self {
            Self::Vgg16 => BackboneConfig::Vgg16(Vgg16Config::default()),
            Self::Vgg16Batch => BackboneConfig::Vgg16(Vgg16Config {
                norm: VggNorm::Batch,
                ..Vgg16Config::default()
            }),
            Self::Resnet18 => BackboneConfig::ResNet18(ResNetConfig::default()),
            Self::Resnet50 => BackboneConfig::ResNet50(ResNetConfig::default()),
            Self::Resnet50Half => BackboneConfig::ResNet50(ResNetConfig::open_nsfw()),
            Self::Resnet101 => BackboneConfig::ResNet101(ResNetConfig::default()),
            Self::MobilenetV2 => BackboneConfig::MobileNetV2(MobileNetV2Config::default()),
            Self::Squeezenet => BackboneConfig::SqueezeNet(SqueezeNetConfig::default()),
        }
    }
}

/// Every backbone at 360×480, in batches of 1 and 4.
pub(crate) fn cases() -> Vec<Case> {
    let networks = [
        (Network::Vgg16, "VGG-16"),
        (Network::Vgg16Batch, "VGG-16 with batch norm"),
        (Network::Resnet18, "ResNet-18"),
        (Network::Resnet50, "ResNet-50"),
        (Network::Resnet50Half, "ResNet-50 of half width"),
        (Network::Resnet101, "ResNet-101"),
        (Network::MobilenetV2, "MobileNetV2"),
        (Network::Squeezenet, "SqueezeNet 1.1"),
    ];
    let of = |n: usize| {
        networks.map(|(network, title)| Case {
            name: format!("backbone {title} {n}×3 360×480"),
            passes: Pass::ALL.to_vec(),
            work: Work::Backbone { network, n, h: 360, w: 480 },
        })
    };
    [1, 4].into_iter().flat_map(of).collect()
}

/// Forward: frozen, for inference. Forward and backward: trained, with batch statistics and the
/// gradients of all parameters from the last stage.
pub(crate) fn task(network: Network, [n, h, w]: [usize; 3], pass: Pass) -> anyhow::Result<Task> {
    let images = var(1, &[n, 3, h, w])?.as_detached_tensor();
    let store = VarMap::new();
    let vb = VarBuilder::from_varmap(&store, DType::F32, &Device::Cpu);
    let (mode, phase) = match pass {
        Pass::Forward => (NormMode::Frozen, Phase::Eval),
        Pass::ForwardBackward => (NormMode::Trained, Phase::Train),
    };
    let network = network.config().build(vb, mode)?;
    Ok(Box::new(move || {
        let maps = network.forward(&images, phase)?;
        if let (Pass::ForwardBackward, Some(last)) = (pass, maps.last()) {
            drop(backward(last)?);
        }
        Ok(())
    }))
}
