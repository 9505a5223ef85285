//! To which network the names in a weights file belong.

use std::collections::BTreeMap;

use candle_core::Tensor;

/// A description such as "ResNet-50 (torchvision's names)", for error messages.
pub(super) fn network_of(tensors: &BTreeMap<&str, &Tensor>) -> String {
    let has = |name: &str| tensors.contains_key(name);
    // The number of blocks in ResNet's third layer tells the depth.
    let third = (0..).take_while(|k| has(&format!("layer3.{k}.conv1.weight"))).count();
    let known = if has("features.1.conv.0.0.weight") {
        "MobileNetV2"
    } else if has("features.1.block.0.0.weight") {
        "MobileNetV3"
    } else if tensors.keys().any(|name| name.contains(".squeeze.weight")) {
        "SqueezeNet"
    } else if has("layer1.0.conv3.weight") {
        match third {
            6 => "ResNet-50",
            23 => "ResNet-101",
            36 => "ResNet-152",
            _ => "a ResNet with bottlenecks",
        }
    } else if has("layer1.0.conv1.weight") {
        match third {
            2 => "ResNet-18",
            6 => "ResNet-34",
            _ => "a ResNet",
        }
    } else if has("features.0.weight") && (has("features.2.weight") || has("features.3.weight")) {
        "VGG"
    } else if has("stages.0.0.conv.weight") {
        "this crate's small-cnn"
    } else {
        let first: Vec<&str> = tensors.keys().take(3).copied().collect();
        return match first[..] {
            [] => "a file without tensors".to_owned(),
            _ => format!("an unknown network, with names such as {}", first.join(", ")),
        };
    };
    format!("{known} by its names")
}
