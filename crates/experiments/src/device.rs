//! The device that a network runs on: chosen once, by who starts the program.

use anyhow::{Context, ensure};
use candle_core::utils::cuda_is_available;
use candle_core::{Device, DeviceLocation};
use run_record::DeviceChoice;
use standard_streams::message;

use crate::provenance;

/// The option for it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct OnDevice {
    /// Where the network runs: auto, cpu or cuda:N. auto is the first CUDA device, if this program
    /// was built with the feature `cuda` and there is one, else the CPU.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
}

/// Whether this program can open that device where there is one.
///
/// # Errors
///
/// A CUDA device, if the program was built for the CPU alone.
pub fn check(choice: DeviceChoice) -> anyhow::Result<()> {
    ensure!(
        cuda_is_available() || !matches!(choice, DeviceChoice::Cuda(_)),
        "--device {choice}: this program was built for the CPU alone; build it where there is a \
         CUDA toolkit with `cargo build --release --features cuda`, as `cargo xtask` does when it is \
         given that option"
    );
    Ok(())
}

/// Opens a device; says so where `auto` finds none that works.
///
/// # Errors
///
/// As [`check`]; a CUDA device that is not there.
pub fn open(choice: DeviceChoice) -> anyhow::Result<Device> {
    check(choice)?;
    match choice {
        DeviceChoice::Cuda(number) => Device::new_cuda(number)
            .with_context(|| format!("--device {choice}: it cannot be used")),
        DeviceChoice::Auto if cuda_is_available() => {
            Ok(Device::new_cuda(0).unwrap_or_else(|error| {
                message(format_args!("no CUDA device can be used ({error}), so the CPU is"));
                Device::Cpu
            }))
        }
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Device::Cpu),
    }
}

/// What records call it, as in `cuda:0 (NVIDIA H100 80GB HBM3)`; none for the CPU.
pub fn name(device: &Device) -> Option<String> {
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => Some(match model(device) {
            Some(model) => format!("cuda:{gpu_id} ({model})"),
            None => format!("cuda:{gpu_id}"),
        }),
        _ => None,
    }
}

/// What people are told of it: the CPU with its model and threads.
pub(crate) fn described(device: &Device) -> String {
    name(device).unwrap_or_else(|| {
        let threads = rayon::current_num_threads();
        let plural = if threads == 1 { "" } else { "s" };
        format!("the CPU ({}, {threads} thread{plural})", provenance::cpu())
    })
}

#[cfg(feature = "cuda")]
fn model(device: &Device) -> Option<String> {
    device.as_cuda_device().ok()?.cuda_stream().context().name().ok()
}

#[cfg(not(feature = "cuda"))]
fn model(_: &Device) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use backbone::Phase;
    use candle_core::Tensor;
    use grid_ops::composing;
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Clock;
    use crate::config::ModelConfig;
    use crate::data::{Batch, Inputs, View};
    use crate::parser::Parser;
    use crate::step::{Objective, gradients};

    #[test]
    fn the_cpu_is_there_and_goes_without_saying() {
        let device = open(DeviceChoice::Cpu).unwrap();
        assert!(device.is_cpu());
        assert_eq!(name(&device), None);
    }

    fn flat(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// What a network gives for images, and in training its loss and the gradients of all that it
    /// learns.
    fn all(model: &ModelConfig, phase: Phase) -> Vec<(String, Vec<f32>)> {
        // With weights of other seeds some unit of a deep network lies so near the bend of its ReLU
        // that rounding moves it over, which shows in the first layers' gradients.
        let (parser, parameters) = Parser::build(model, 3, 3, None, &Device::Cpu).unwrap();
        let values = (0..2 * 3 * 33 * 35).map(|at| (at as f32 * 0.37).sin()).collect();
        let pixels = Tensor::from_vec(values, (2, 3, 33, 35), &Device::Cpu).unwrap();
        let labels = (0..2 * 33 * 35).map(|at| (at / 7 % 3) as u8).collect();
        let labels = Tensor::from_vec(labels, (2, 33, 35), &Device::Cpu).unwrap();
        let picks = vec![(0, View::Plain), (1, View::Plain)];
        let batch = Batch { inputs: Inputs::Pixels(pixels), labels, picks };
        let logits = flat(&parser.logits(&batch.inputs, Phase::Eval).unwrap());
        let objective = Objective { class_weights: None, units: None, phase };
        let made = gradients(&parser, &batch, &objective, &mut Clock::start()).unwrap();
        let grads = made.of.unwrap();
        let mut all =
            vec![("logits".to_owned(), logits), ("loss".to_owned(), vec![made.loss as f32])];
        let of = |(name, var): (String, candle_core::Var)| (name, flat(grads.get(&var).unwrap()));
        all.extend(parameters.trainable().into_iter().map(of));
        let statistics = parser.running_statistics();
        all.extend(statistics.iter().map(|(name, values)| (name.clone(), flat(values))));
        all
    }

    fn scan(graph: &str, aggregation: Value) -> Value {
        json!({ "kind": "scan", "graph": graph, "aggregation": aggregation })
    }

    fn backbones() -> [Value; 5] {
        [
            json!({ "kind": "vgg-16", "norm": "batch" }),
            json!({ "kind": "resnet-18", "width": 8 }),
            json!({ "kind": "resnet-50", "width": 8, "output_stride": 8 }),
            json!({ "kind": "mobilenet-v2" }),
            json!({ "kind": "squeezenet-1.1" }),
        ]
    }

    fn tiny(backbone: &Value, context: &Value) -> ModelConfig {
        let mut context = context.clone();
        context["hidden_channels"] = json!(8);
        context["attention_channels"] = json!(4);
        let model = json!({
            "backbone": backbone, "context_stride": 8, "skip_stride": 4, "adapter_channels": 8,
            "skip_channels": 4, "context": context,
        });
        serde_json::from_value(model).unwrap()
    }

    /// Every kind of backbone and of context, as they run off the CPU.
    #[test]
    fn networks_of_compositions_are_the_same() {
        let tanh = json!({ "attention": "tanh-additive" });
        let contexts = [
            json!({ "cell": scan("dense", tanh.clone()), "join": "dia" }),
            json!({ "cell": scan("dag8", json!("mean")), "recurrent_weight": "both" }),
            json!({ "cell": scan("dense", json!("mean")), "recurrent_weight": "eigenvalue-normalised" }),
            json!({ "cell": { "kind": "hippo", "order": 4 } }),
            json!({ "cell": { "kind": "quadrant-attention" } }),
        ];
        let (small, backbones) = (json!({ "kind": "small-cnn" }), backbones());
        let with = |context: &serde_json::Value| (small.clone(), context.clone());
        let on = |backbone: &serde_json::Value| (backbone.clone(), contexts[0].clone());
        for (backbone, context) in contexts.iter().map(with).chain(backbones.iter().map(on)) {
            let model = tiny(&backbone, &context);
            let kernels = all(&model, Phase::Train);
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
            let learns = kernels.iter().filter(|(name, _)| !name.contains(".running_"));
            let whole = norm(&mut learns.skip(2).flat_map(|(_, values)| values.iter().copied()));
            for phase in [Phase::Train, Phase::TrainRecomputing] {
                let composed = composing(|| all(&model, phase));
                for ((name, expected), (again, found)) in kernels.iter().zip(&composed) {
                    assert_eq!((name, expected.len()), (again, found.len()));
                    let size = norm(&mut expected.iter().copied());
                    let far = norm(&mut expected.iter().zip(found).map(|(a, b)| a - b));
                    // Rounding moves units over the bends of ReLUs, whose share of a small gradient
                    // may be large; of the whole it is not.
                    assert!(
                        far <= 1e-2 * size + 1e-3 * whole,
                        "{name} of {backbone} {context}: {far} {size} {whole}"
                    );
                }
                assert_eq!(kernels.len(), composed.len());
            }
        }
    }

    /// A network that has diverged somewhere says so: one number of an image that is NaN makes the
    /// loss NaN, with statistics of the batch and with those that were kept.
    #[test]
    fn nan_in_an_image_is_in_the_loss() {
        let attention = |score: &str| json!({ "attention": score });
        let quadrant =
            |score: &str| json!({ "cell": { "kind": "quadrant-attention", "score": score } });
        let scores = ["tanh-additive", "scaled-dot", "linear-additive"];
        let aggregations = [json!("sum"), json!("mean")].into_iter().chain(scores.map(attention));
        let graphs = ["dag4", "dag8", "dense"];
        let mut contexts = vec![
            json!({ "cell": { "kind": "none" } }),
            json!({ "cell": { "kind": "pointwise" } }),
            json!({ "cell": { "kind": "hippo", "order": 4 } }),
            json!({ "cell": { "kind": "pointwise" }, "join": "dia" }),
            json!({ "cell": scan("dense", json!("mean")), "activation": "tanh" }),
        ];
        for aggregation in aggregations {
            // A sum over the dense graph needs a bounded weight.
            let fit = graphs.iter().filter(|graph| aggregation != "sum" || **graph != "dense");
            contexts.extend(fit.map(|graph| json!({ "cell": scan(graph, aggregation.clone()) })));
        }
        contexts.extend(scores.map(quadrant));
        for kind in ["eigenvalue-normalised", "orthogonal", "both"] {
            contexts.push(json!({ "cell": scan("dag8", json!("mean")), "recurrent_weight": kind }));
        }
        let small = json!({ "kind": "small-cnn" });
        let mut models: Vec<_> = contexts.iter().map(|context| tiny(&small, context)).collect();
        models.extend(backbones().iter().map(|backbone| tiny(backbone, &contexts[0])));
        let mut weighed = tiny(&backbones()[1], &contexts[0]);
        weighed.branch_scale = serde_json::from_value(json!("dia")).unwrap();
        models.push(weighed);
        let labels = Tensor::zeros((1, 33, 35), candle_core::DType::U8, &Device::Cpu).unwrap();
        for model in &models {
            for at in [0, 17 * 35 + 18, 33 * 35 - 1] {
                // Anew each time: training leaves NaN in the running statistics.
                let (parser, _) = Parser::build(model, 3, 1, None, &Device::Cpu).unwrap();
                let mut values: Vec<f32> =
                    (0..3 * 33 * 35).map(|at| (at as f32 * 0.37).sin()).collect();
                values[at] = f32::NAN;
                let pixels = Tensor::from_vec(values, (1, 3, 33, 35), &Device::Cpu).unwrap();
                let inputs = Inputs::Pixels(pixels);
                let loss = |phase| {
                    let logits = parser.logits(&inputs, phase).unwrap();
                    let loss = grid_ops::upsampled_cross_entropy(&logits, &labels, None).unwrap();
                    loss.to_scalar::<f32>().unwrap()
                };
                for phase in [Phase::Eval, Phase::Train] {
                    let (kernels, composed) = (loss(phase), composing(|| loss(phase)));
                    assert!(kernels.is_nan(), "{model:?}, {phase:?}, {at}: {kernels}");
                    assert!(composed.is_nan(), "{model:?}, {phase:?}, {at}, composed: {composed}");
                }
            }
        }
    }
}
