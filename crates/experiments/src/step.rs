//! From a batch to the gradients of its loss.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::clock::{Clock, Part};
use crate::data::{Batch, Inputs};
use crate::parser::{Parser, Phase};

/// The loss of a batch and its gradients.
pub struct Gradients {
    /// The cross-entropy, that of the auxiliary head included with its weight.
    pub loss: f64,
    /// Where the gradient of each variable is, in one of these; empty if the loss is not finite.
    pub of: Vec<GradStore>,
}

/// The gradients, with everything between input and loss kept until they are made.
///
/// # Errors
///
/// Inputs that the network cannot take.
pub fn gradients(
    parser: &Parser,
    batch: &Batch,
    class_weights: Option<&[f64]>,
    clock: &mut Clock,
) -> anyhow::Result<Gradients> {
    let maps = parser.maps(&batch.inputs, Phase::Train)?;
    let (loss, value) = loss_of(parser, &maps, batch, class_weights, clock)?;
    let of = if value.is_finite() { vec![loss.backward()?] } else { Vec::new() };
    clock.ran(Part::Backward);
    Ok(Gradients { loss: value, of })
}

/// The same gradients with less memory and one more forward pass of the backbone: only the maps
/// between its stages are kept, and what lies within a stage is computed again when its gradients
/// are due (Chen et al., *Training deep nets with sublinear memory cost*, 2016).
///
/// # Errors
///
/// Inputs that the network cannot take.
pub fn gradients_by_stages(
    parser: &Parser,
    batch: &Batch,
    class_weights: Option<&[f64]>,
    clock: &mut Clock,
) -> anyhow::Result<Gradients> {
    let Inputs::Pixels(pixels) = &batch.inputs else {
        return gradients(parser, batch, class_weights, clock);
    };
    let backbone = parser.backbone();
    backbone.check_image(pixels)?;
    let mut maps: Vec<Var> = Vec::new();
    let before = |maps: &[Var], nth: usize| match nth {
        0 => pixels.clone(),
        _ => maps[nth - 1].as_tensor().clone(),
    };
    for nth in 0..backbone.stages().len() {
        let map = backbone.stage(nth, &before(&maps, nth), Phase::Train)?;
        // What the stage computed on the way is given back here.
        maps.push(Var::from_tensor(&map.detach())?);
    }
    let used = parser.used(&maps.iter().map(|map| map.as_tensor().clone()).collect::<Vec<_>>());
    let (loss, value) = loss_of(parser, &used, batch, class_weights, clock)?;
    if !value.is_finite() {
        return Ok(Gradients { loss: value, of: Vec::new() });
    }
    let mut of = vec![loss.backward()?];
    drop(loss);
    for nth in (0..maps.len()).rev() {
        let mut parts = of.iter_mut().filter_map(|grads| grads.remove(&maps[nth]));
        let Some(first) = parts.next() else { continue };
        let gradient = parts.try_fold(first, |sum, part| sum + part)?;
        let again = backbone.stage(nth, &before(&maps, nth), Phase::TrainAgain)?;
        of.push((again * gradient)?.sum_all()?.backward()?);
        maps.truncate(nth);
    }
    clock.ran(Part::Backward);
    Ok(Gradients { loss: value, of })
}

fn loss_of(
    parser: &Parser,
    maps: &[Tensor],
    batch: &Batch,
    class_weights: Option<&[f64]>,
    clock: &mut Clock,
) -> anyhow::Result<(Tensor, f64)> {
    let logits = parser.logits_of(maps, Phase::Train)?;
    let auxiliary = parser.auxiliary_logits(maps)?;
    clock.ran(Part::Forward);
    let entropy = |logits| grid_ops::upsampled_cross_entropy(logits, &batch.labels, class_weights);
    let mut loss = entropy(&logits)?;
    if let Some((weight, logits)) = auxiliary {
        loss = (loss + (entropy(&logits)? * weight)?)?;
    }
    let value = f64::from(loss.to_scalar::<f32>()?);
    clock.ran(Part::Loss);
    Ok((loss, value))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use backbone::BackboneConfig;

    use super::*;
    use crate::config::{AuxiliaryConfig, ModelConfig};

    fn batch(pixels: &[usize], classes: u8) -> Batch {
        let count: usize = pixels.iter().product();
        let values: Vec<f32> = (0..count).map(|at| (at as f32 * 0.37).sin()).collect();
        let inputs = Inputs::Pixels(Tensor::from_vec(values, pixels, &Device::Cpu).unwrap());
        let (n, h, w) = (pixels[0], pixels[2], pixels[3]);
        let labels: Vec<u8> =
            (0..n * h * w).map(|at| (at / 7 % usize::from(classes)) as u8).collect();
        Batch { inputs, labels: Tensor::from_vec(labels, (n, h, w), &Device::Cpu).unwrap() }
    }

    #[test]
    fn gradients_by_stages_are_the_same() {
        for backbone in [
            r#"{ "kind": "small-cnn", "channels": [4, 8, 8], "blocks_per_stage": [1, 2, 1] }"#,
            r#"{ "kind": "resnet-18", "width": 4, "output_stride": 8 }"#,
            r#"{ "kind": "squeezenet-1.1" }"#,
            r#"{ "kind": "vgg-16", "norm": "batch" }"#,
        ] {
            let backbone: serde_json::Value = serde_json::from_str(backbone).unwrap();
            let backbone: BackboneConfig = serde_json::from_value(backbone).unwrap();
            let stages = backbone.stages().unwrap();
            let auxiliary =
                AuxiliaryConfig { stage: stages[1].name.clone(), channels: 4, weight: 0.4 };
            let model = ModelConfig {
                backbone,
                context_stride: stages.last().unwrap().stride,
                skip_stride: stages[0].stride,
                adapter_channels: 4,
                skip_channels: 4,
                auxiliary: Some(auxiliary),
                ..ModelConfig::default()
            };
            let batch = batch(&[2, 3, 64, 72], 3);
            let of = |by_stages: bool| {
                let (parser, parameters) = Parser::build(&model, 3, 1, None).unwrap();
                let run = if by_stages { gradients_by_stages } else { gradients };
                let made = run(&parser, &batch, None, &mut Clock::start()).unwrap();
                let values =
                    |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let trainable = parameters.trainable().into_iter();
                let grads: Vec<(String, Vec<f32>)> = trainable
                    .map(|(name, var)| {
                        let found = made.of.iter().find_map(|grads| grads.get(&var));
                        let found = values(found.unwrap_or_else(|| panic!("{name}")));
                        (name, found)
                    })
                    .collect();
                let statistics: Vec<Vec<f32>> =
                    parser.running_statistics().values().map(values).collect();
                (made.loss, grads, statistics)
            };
            let (whole, parts) = (of(false), of(true));
            assert!(whole.0 > 0.0 && whole.0 == parts.0);
            assert!(whole.1.len() == parts.1.len() && whole.1.iter().any(|(_, g)| g[0] != 0.0));
            for (a, b) in whole.1.iter().zip(&parts.1) {
                // A map that several layers take sums their gradients in another order.
                let largest = a.1.iter().fold(0.0f32, |top, g| top.max(g.abs()));
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * largest;
                assert!(a.1.iter().zip(&b.1).all(close), "{}", a.0);
            }
            assert!(whole.2 == parts.2, "running statistics move once");
        }
    }

    #[test]
    fn the_auxiliary_head_adds_its_weighted_loss() {
        let loss = |weight: Option<f64>| {
            let stage = BackboneConfig::default().stages().unwrap()[1].name.clone();
            let auxiliary = weight.map(|weight| AuxiliaryConfig { stage, channels: 4, weight });
            let model = ModelConfig { auxiliary, ..ModelConfig::default() };
            let (parser, _) = Parser::build(&model, 3, 1, None).unwrap();
            gradients(&parser, &batch(&[1, 3, 32, 32], 3), None, &mut Clock::start()).unwrap().loss
        };
        let (none, half, whole) = (loss(None), loss(Some(0.5)), loss(Some(1.0)));
        assert!(half > none && ((whole - none) - 2.0 * (half - none)).abs() < 1e-5);
    }
}
