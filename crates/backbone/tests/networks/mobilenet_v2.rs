//! MobileNetV2 against torchvision's, at odd sizes and with dilation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::{builder, flat, image, relative_difference, sine_parameters};
use crate::torchvision;
use backbone::{
    Backbone, BackboneConfig, MobileNetV2Config, NormMode, Phase, checked, find_weights,
    load_safetensors,
};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

fn config(output_stride: Option<usize>) -> BackboneConfig {
    BackboneConfig::MobileNetV2(MobileNetV2Config { output_stride })
}

fn sine_network(output_stride: Option<usize>, mode: NormMode) -> Box<dyn Backbone> {
    let config = config(output_stride);
    config.build(builder(&sine_parameters(&config)), mode).expect("a complete set of parameters")
}

/// The elements at `i · len / parts`.
fn picked(x: &Tensor, parts: usize) -> Vec<f64> {
    let x = flat(x);
    (0..parts).map(|i| x[i * x.len() / parts]).collect()
}

#[track_caller]
fn assert_relative(got: &[f64], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    testkit::assert_close(got, expected, tolerance * largest);
}

#[test]
fn evaluation_agrees_with_torchvision() {
    let x = image([2, 3, 64, 96]);
    for mode in [NormMode::Frozen, NormMode::Trained] {
        let maps = sine_network(None, mode).forward(&x, Phase::Eval).unwrap();
        for (map, expected) in maps.iter().zip(&torchvision::EVAL) {
            assert_relative(&picked(map, 12), expected, 1e-9);
        }
    }
}

#[test]
fn a_training_step_agrees_with_torchvision() {
    let config = config(None);
    let vars = sine_parameters(&config);
    let network = config.build(builder(&vars), NormMode::Trained).unwrap();
    let maps = network.forward(&image([2, 3, 64, 96]), Phase::Train).unwrap();
    for (map, expected) in maps.iter().zip(&torchvision::TRAIN) {
        assert_relative(&picked(map, 12), expected, 1e-6);
    }
    let statistics: BTreeMap<_, _> = network.running_statistics().into_iter().collect();
    for (name, mean, var) in &torchvision::STATISTICS {
        let first = |kind: &str| flat(&statistics[&format!("{name}.{kind}")])[..4].to_vec();
        assert_relative(&first("running_mean"), mean, 1e-6);
        assert_relative(&first("running_var"), var, 1e-6);
    }
    let last = &maps[3];
    let shape: [usize; 4] = last.dims().try_into().unwrap();
    let gradients = (last * image(shape)).unwrap().sum_all().unwrap().backward().unwrap();
    for (name, expected) in &torchvision::GRADIENTS {
        let gradient = gradients.get(vars[*name].as_tensor()).unwrap();
        assert_relative(&picked(gradient, 12)[..6], expected, 1e-5);
    }
    for (name, var) in vars.iter().filter(|(name, _)| !name.contains("running_")) {
        let gradient = gradients.get(var.as_tensor()).unwrap_or_else(|| panic!("{name}: none"));
        assert!(flat(gradient).iter().any(|&g| g != 0.0), "{name}: all zero");
    }
}

#[test]
fn pretrained_features_agree_with_torchvision() {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/weights");
    let config = config(None);
    let Ok(file) = find_weights(&shared, &config) else {
        eprintln!("skipped: no pretrained weights in {}", shared.display());
        return;
    };
    let weights = load_safetensors(&file).unwrap();
    assert_eq!(weights.sha256.len(), 64);
    let tensors = checked(&weights, &config).unwrap().into_iter().collect();
    let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let x = image([1, 3, 64, 96]).to_dtype(DType::F32).unwrap();
    for mode in [NormMode::Frozen, NormMode::Trained] {
        let maps = config.build(vb.clone(), mode).unwrap().forward(&x, Phase::Eval).unwrap();
        for (map, expected) in maps.iter().zip(&torchvision::PRETRAINED) {
            assert_relative(&picked(map, 12), expected, 1e-4);
        }
    }
}

#[test]
fn stages_have_the_stated_shapes_at_odd_sizes() {
    for (output_stride, strides) in
        [(None, [4, 8, 16, 32]), (Some(16), [4, 8, 16, 16]), (Some(8), [4, 8, 8, 8])]
    {
        let network = sine_network(output_stride, NormMode::Frozen);
        let names = network.stages().iter().map(|stage| stage.name.as_str());
        assert!(names.eq(["features.3", "features.6", "features.13", "features.17"]));
        for [h, w] in [[33, 47], [1, 1], [65, 30]] {
            let maps = network.forward(&image([1, 3, h, w]), Phase::Eval).unwrap();
            for ((map, stage), stride) in maps.iter().zip(network.stages()).zip(strides) {
                assert_eq!(stage.stride, stride);
                let expected = [1, stage.channels, h.div_ceil(stride), w.div_ceil(stride)];
                assert_eq!(map.dims(), expected, "{}", stage.name);
            }
        }
    }
}

#[test]
fn every_second_unit_of_the_dilated_network_is_the_strided_one() {
    let x = image([1, 3, 70, 45]);
    let strided = sine_network(None, NormMode::Frozen).forward(&x, Phase::Eval).unwrap();
    for (output_stride, steps) in [(16, [1, 1, 1, 2]), (8, [1, 1, 2, 4])] {
        let network = sine_network(Some(output_stride), NormMode::Frozen);
        let dilated = network.forward(&x, Phase::Eval).unwrap();
        for ((strided, dilated), step) in strided.iter().zip(&dilated).zip(steps) {
            let (_, _, h, w) = strided.dims4().unwrap();
            let every = |count: usize| {
                let at = (0..count as u32).map(|i| i * step);
                Tensor::from_iter(at, &Device::Cpu).unwrap()
            };
            let rows = dilated.index_select(&every(h), 2).unwrap();
            let taken = rows.index_select(&every(w), 3).unwrap();
            assert!(relative_difference(&taken, strided) < 1e-12);
        }
    }
}

#[test]
fn other_output_strides_and_shapes_are_refused() {
    let error = config(Some(4)).check().unwrap_err().to_string();
    let expected = "output_stride = 4: expected one of [8, 16, 32]; the network's own is 32";
    assert_eq!(error, expected);
    let network = sine_network(None, NormMode::Frozen);
    for shape in [[1, 4, 8, 8], [1, 3, 0, 8]] {
        let error = network.forward(&image(shape), Phase::Eval).unwrap_err().to_string();
        let expected = format!("mobilenet-v2: expected [n, 3, h, w], none empty, got {shape:?}");
        assert_eq!(error, expected);
    }
}
