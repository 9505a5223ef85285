//! From a batch to the gradients of its loss.

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use grid_ops::backward;

use crate::clock::{Clock, Part};
use crate::data::Batch;
use crate::parser::{Parser, Phase};
use crate::vanishing::VanishingUnits;

/// The loss of a batch and its gradients.
pub struct Gradients {
    /// The cross-entropy, that of the auxiliary head and the lasso of vanishing units included with
    /// their weights.
    pub loss: f64,
    /// The gradient of each variable; none if the loss is not finite.
    pub of: Option<GradStore>,
}

/// What a step makes smaller, besides the images it sees.
pub struct Objective<'a> {
    /// Weights of the classes, if they do not all count alike.
    pub class_weights: Option<&'a [f64]>,
    /// Units that are to vanish.
    pub units: Option<&'a VanishingUnits>,
    /// [`Phase::Train`], or [`Phase::TrainRecomputing`] to keep less until the gradients are made.
    pub phase: Phase,
}

/// The gradients of a batch.
///
/// # Errors
///
/// Inputs that the network cannot take.
pub fn gradients(
    parser: &Parser,
    batch: &Batch,
    objective: &Objective<'_>,
    clock: &mut Clock,
) -> anyhow::Result<Gradients> {
    let maps = parser.maps(&batch.inputs, objective.phase)?;
    let logits = parser.logits_of(&maps, objective.phase)?;
    let auxiliary = parser.auxiliary_logits(&maps)?;
    // The graph has what it needs of them.
    drop(maps);
    clock.ran(Part::Forward);
    objective.gradients(&logits, auxiliary, &batch.labels, clock)
}

impl Objective<'_> {
    /// The gradients from the logits, and those of the auxiliary head with its weight.
    pub(crate) fn gradients(
        &self,
        logits: &Tensor,
        auxiliary: Option<(f64, Tensor)>,
        labels: &Tensor,
        clock: &mut Clock,
    ) -> anyhow::Result<Gradients> {
        let entropy =
            |logits| grid_ops::upsampled_cross_entropy(logits, labels, self.class_weights);
        let mut loss = entropy(logits)?;
        if let Some((weight, logits)) = &auxiliary {
            loss = (loss + (entropy(logits)? * *weight)?)?;
        }
        if let Some(units) = self.units {
            loss = (loss + units.loss()?)?;
        }
        let value = f64::from(loss.to_scalar::<f32>()?);
        clock.ran(Part::Loss);
        let of = if value.is_finite() { Some(backward(&loss)?) } else { None };
        clock.ran(Part::Backward);
        Ok(Gradients { loss: value, of })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use backbone::BackboneConfig;

    use super::*;
    use crate::config::{AuxiliaryConfig, ModelConfig};
    use crate::data::{Inputs, View};

    fn batch(pixels: &[usize], classes: u8) -> Batch {
        let count: usize = pixels.iter().product();
        let values: Vec<f32> = (0..count).map(|at| (at as f32 * 0.37).sin()).collect();
        let inputs = Inputs::Pixels(Tensor::from_vec(values, pixels, &Device::Cpu).unwrap());
        let (n, h, w) = (pixels[0], pixels[2], pixels[3]);
        let labels: Vec<u8> =
            (0..n * h * w).map(|at| (at / 7 % usize::from(classes)) as u8).collect();
        let labels = Tensor::from_vec(labels, (n, h, w), &Device::Cpu).unwrap();
        let picks = (0..n).map(|index| (index, View::Plain)).collect();
        Batch { inputs, labels, picks }
    }

    fn plain(phase: Phase) -> Objective<'static> {
        Objective { class_weights: None, units: None, phase }
    }

    #[test]
    fn the_auxiliary_head_adds_its_weighted_loss() {
        let loss = |weight: Option<f64>| {
            let stage = BackboneConfig::default().stages().unwrap()[1].name.clone();
            let auxiliary = weight.map(|weight| AuxiliaryConfig { stage, channels: 4, weight });
            let model = ModelConfig { auxiliary, ..ModelConfig::default() };
            let (parser, _) = Parser::build(&model, 3, 1, None, &Device::Cpu).unwrap();
            let batch = batch(&[1, 3, 32, 32], 3);
            gradients(&parser, &batch, &plain(Phase::Train), &mut Clock::start()).unwrap().loss
        };
        let (none, half, whole) = (loss(None), loss(Some(0.5)), loss(Some(1.0)));
        assert!(half > none && ((whole - none) - 2.0 * (half - none)).abs() < 1e-5);
    }

    /// Of every kind of backbone, with the running statistics that a step leaves behind.
    #[test]
    fn recomputing_blocks_changes_no_gradient() {
        let kinds =
            ["small-cnn", "vgg-16", "resnet-18", "resnet-50", "mobilenet-v2", "squeezenet-1.1"];
        for kind in kinds {
            let mut backbone: BackboneConfig =
                serde_json::from_value(serde_json::json!({ "kind": kind })).unwrap();
            if let BackboneConfig::Vgg16(vgg) = &mut backbone {
                vgg.norm = backbone::VggNorm::Batch;
            }
            let stages = backbone.stages().unwrap();
            let [finest, .., deepest] = stages.as_slice() else { panic!("{kind}") };
            // Where three operations see the skip's map, as in a residual network, its gradients are
            // summed in another order.
            let two = ["small-cnn", "vgg-16"].contains(&kind);
            let skip_stride = if two { finest.stride } else { 0 };
            let model = ModelConfig {
                backbone,
                context_stride: deepest.stride,
                skip_stride,
                adapter_channels: 8,
                ..ModelConfig::default()
            };
            let of = |phase| {
                let (parser, parameters) = Parser::build(&model, 3, 1, None, &Device::Cpu).unwrap();
                let batch = batch(&[2, 3, 65, 65], 3);
                let made = gradients(&parser, &batch, &plain(phase), &mut Clock::start()).unwrap();
                let grads = made.of.unwrap();
                let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let of_all: Vec<_> = parameters
                    .trainable()
                    .iter()
                    .map(|(name, var)| (name.clone(), grads.get(var).map(flat)))
                    .collect();
                let statistics = parser.running_statistics();
                let statistics: Vec<_> =
                    statistics.iter().map(|(name, t)| (name.clone(), flat(t))).collect();
                (made.loss, of_all, statistics)
            };
            let [kept, again] = [Phase::Train, Phase::TrainRecomputing].map(of);
            assert!(
                kept.1.iter().any(|(name, grad)| name.starts_with("backbone") && grad.is_some())
            );
            assert_eq!(kept, again, "{kind}");
        }
    }
}
