//! Features, gradients and shapes against torchvision's, on weights and images from a generator.
//!
//! `benches/peers/backbones.py golden` wrote `fixtures/torchvision.json`: of every stage's output
//! of `len` elements those at `i · len / 8`, the mean, and the mean of the magnitudes. The
//! generator is [`crate::drawn`] here and `drawn` there.

use std::path::Path;

use crate::common::{builder, flat};
use crate::drawn::{drawn, image, parameters};
use backbone::{BackboneConfig, NormMode, Phase, checked, find_weights, load_weights};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    config: BackboneConfig,
    phase: String,
    image: Vec<usize>,
    stages: Vec<Summary>,
    #[serde(default)]
    gradients: Vec<Summary>,
}

#[derive(serde::Deserialize)]
struct Summary {
    name: String,
    shape: Vec<usize>,
    mean: f64,
    mean_abs: f64,
    picks: Vec<f64>,
}

impl Summary {
    /// Panics unless `got` differs by at most `tolerance` times the mean magnitude.
    #[track_caller]
    fn check(&self, got: &Tensor, tolerance: f64, case: &str) {
        assert_eq!(got.dims(), self.shape, "{case} {}", self.name);
        let got = flat(got);
        let count = got.len() as f64;
        let mut all = vec![got.iter().sum::<f64>() / count];
        all.push(got.iter().map(|x| x.abs()).sum::<f64>() / count);
        all.extend((0..self.picks.len()).map(|i| got[i * got.len() / self.picks.len()]));
        let expected = [self.mean, self.mean_abs].into_iter().chain(self.picks.iter().copied());
        for (k, (got, expected)) in all.into_iter().zip(expected).enumerate() {
            let error = (got - expected).abs() / self.mean_abs;
            let near = error <= tolerance;
            assert!(near, "{case} {} [{k}]: {got}, expected {expected}: {error:.1e}", self.name);
        }
    }
}

fn cases(phase: &str) -> Vec<Case> {
    let golden: Golden = serde_json::from_str(include_str!("../fixtures/torchvision.json"))
        .expect("the script's format");
    let found: Vec<Case> = golden.cases.into_iter().filter(|case| case.phase == phase).collect();
    assert!(!found.is_empty(), "no cases of phase {phase}");
    found
}

fn title(config: &BackboneConfig) -> String {
    serde_json::to_string(config).expect("a configuration is data")
}

#[test]
fn features_are_torchvisions() {
    for case in cases("eval") {
        let vars = parameters(&case.config, DType::F32);
        let x = image(&case.image, DType::F32);
        for mode in [NormMode::Frozen, NormMode::Trained] {
            let network = case.config.build(builder(&vars), mode).unwrap();
            let maps = network.forward(&x, Phase::Eval).unwrap();
            assert_eq!(maps.len(), case.stages.len());
            let title = format!("{} {mode:?}", title(&case.config));
            for ((map, stage), golden) in maps.iter().zip(network.stages()).zip(&case.stages) {
                assert_eq!((&stage.name, stage.channels), (&golden.name, golden.shape[1]));
                golden.check(map, 1e-4, &title);
            }
        }
    }
}

#[test]
fn a_training_step_is_torchvisions() {
    for case in cases("train") {
        let vars = parameters(&case.config, DType::F64);
        let network = case.config.build(builder(&vars), NormMode::Trained).unwrap();
        let maps = network.forward(&image(&case.image, DType::F64), Phase::Train).unwrap();
        let title = title(&case.config);
        for (map, golden) in maps.iter().zip(&case.stages) {
            golden.check(map, 1e-6, &title);
        }
        let last = &maps[maps.len() - 1];
        let direction = drawn("direction", last.dims());
        let direction = Tensor::from_vec(direction, last.shape(), &Device::Cpu).unwrap();
        let gradients = (last * direction).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(!case.gradients.is_empty());
        for golden in &case.gradients {
            let gradient = gradients.get(vars[&golden.name].as_tensor()).unwrap();
            golden.check(gradient, 1e-5, &title);
        }
    }
}

#[test]
fn pretrained_features_are_torchvisions() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/weights");
    for case in cases("pretrained") {
        let title = title(&case.config);
        let Ok(file) = find_weights(&folder, &case.config) else {
            eprintln!("skipped: no weights of {title} in {}", folder.display());
            continue;
        };
        let tensors = checked(&load_weights(&file).unwrap(), &case.config).unwrap();
        let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, &Device::Cpu);
        let network = case.config.build(vb, NormMode::Frozen).unwrap();
        let maps = network.forward(&image(&case.image, DType::F32), Phase::Eval).unwrap();
        for (map, golden) in maps.iter().zip(&case.stages) {
            golden.check(map, 1e-4, &title);
        }
    }
}
