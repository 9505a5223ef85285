//! The running statistics of norms: how they move, how they are saved and restored.

use std::collections::BTreeMap;

use crate::common::{builder, flat, image, relative_difference, sine_parameters};
use backbone::{BackboneConfig, ConvNorm, ConvNormSpec, Error, NormMode, Phase, SmallCnnConfig};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use grid_ops::{Activation, Conv2d, batch_norm_frozen, conv2d, relu};

fn config() -> BackboneConfig {
    BackboneConfig::SmallCnn(SmallCnnConfig { channels: vec![3, 4], ..SmallCnnConfig::default() })
}

/// One channel in and out, kernel 1×1 of weight 1, factor 1, offset 0.
fn pass_through() -> ConvNorm {
    let of = |name: &str, shape: &[usize], value: f64| {
        let tensor =
            Tensor::full(value, shape, &Device::Cpu).expect("a complete set of parameters");
        (name.to_owned(), tensor)
    };
    let tensors = [
        of("conv.weight", &[1, 1, 1, 1], 1.0),
        of("norm.weight", &[1], 1.0),
        of("norm.bias", &[1], 0.0),
        of("norm.running_mean", &[1], 2.0),
        of("norm.running_var", &[1], 5.0),
    ];
    let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F64, &Device::Cpu);
    let spec = ConvNormSpec {
        inputs: 1,
        outputs: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        groups: 1,
        activation: Activation::Identity,
    };
    ConvNorm::new(spec, vb.pp("conv"), vb.pp("norm"), NormMode::Trained)
        .expect("a complete set of parameters")
}

#[test]
fn a_step_moves_them_by_a_tenth_towards_the_unbiased_statistics() {
    let layer = pass_through();
    let x = Tensor::from_vec(vec![1.0, 2.0, 4.0, 9.0], (2, 1, 1, 2), &Device::Cpu).unwrap();
    layer.forward(&x, Phase::Train).unwrap();
    // Mean 4; squares of the differences 9 + 4 + 0 + 25 = 38, over 3.
    let statistics = backbone::statistics_of([&layer].into_iter());
    let names: Vec<&str> = statistics.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["norm.running_mean", "norm.running_var"]);
    let values: Vec<f64> = statistics.iter().flat_map(|(_, tensor)| flat(tensor)).collect();
    testkit::assert_close(&values, &[0.9 * 2.0 + 0.4, 0.9 * 5.0 + 3.8 / 3.0], 1e-12);
}

#[test]
fn evaluation_is_convolution_norm_and_activation() {
    let vars = sine_parameters(&config());
    let spec = ConvNormSpec {
        inputs: 3,
        outputs: 3,
        kernel: 3,
        stride: 2,
        dilation: 1,
        groups: 1,
        activation: Activation::Relu,
    };
    let vb = builder(&vars).pp("stages.0.0");
    let x = image([2, 3, 9, 12]);
    let of = |name: &str| vars[&format!("stages.0.0.{name}")].as_tensor();
    let plain = Conv2d { stride: 2, padding: 1, ..Conv2d::default() };
    let y = conv2d(&x, of("conv.weight"), None, &plain).unwrap();
    let [gamma, beta] = ["norm.weight", "norm.bias"].map(of);
    let [mean, var] = ["norm.running_mean", "norm.running_var"].map(of);
    let expected = relu(&batch_norm_frozen(&y, gamma, beta, mean, var, 1e-5).unwrap()).unwrap();
    for mode in [NormMode::Frozen, NormMode::Trained] {
        let layer = ConvNorm::new(spec, vb.pp("conv"), vb.pp("norm"), mode).unwrap();
        let got = layer.forward(&x, Phase::Eval).unwrap();
        assert!(relative_difference(&got, &expected) < 1e-12, "{mode:?}");
    }
}

#[test]
fn training_moves_them_evaluation_does_not_and_saved_ones_restore() {
    let network = config().build(builder(&sine_parameters(&config())), NormMode::Trained).unwrap();
    let x = image([2, 3, 16, 16]);
    let all = || -> Vec<f64> {
        network.running_statistics().iter().flat_map(|(_, tensor)| flat(tensor)).collect()
    };
    let (saved, before) = (network.running_statistics(), all());
    let features = network.forward(&x, Phase::Eval).unwrap();
    assert_eq!(all(), before);
    network.forward(&x, Phase::Train).unwrap();
    assert!(all().iter().zip(&before).all(|(now, old)| now != old));
    let moved = network.forward(&x, Phase::Eval).unwrap();
    assert!(relative_difference(&moved[1], &features[1]) > 1e-3);
    // Another network's names beside them do no harm.
    let mut map: BTreeMap<_, _> = saved.into_iter().collect();
    map.insert(
        "head.norm.running_mean".to_owned(),
        Tensor::zeros(1, DType::F64, x.device()).unwrap(),
    );
    network.load_running_statistics(&map).unwrap();
    assert_eq!(all(), before);
    let restored = network.forward(&x, Phase::Eval).unwrap();
    assert_eq!(flat(&restored[1]), flat(&features[1]));
}

#[test]
fn wrong_ones_are_refused_and_nothing_is_set() {
    let network = config().build(builder(&sine_parameters(&config())), NormMode::Trained).unwrap();
    let before: BTreeMap<_, _> = network.running_statistics().into_iter().collect();
    let last = "stages.1.1.norm.running_var";
    let mut wrong: BTreeMap<_, _> =
        before.iter().map(|(name, tensor)| (name.clone(), (tensor + 1.0).unwrap())).collect();
    wrong.insert(last.to_owned(), Tensor::ones(5, DType::F64, &Device::Cpu).unwrap());
    let error = network.load_running_statistics(&wrong).unwrap_err().to_string();
    assert_eq!(error, format!("running statistics {last}: expected [4], got [5]"));
    wrong.remove(last);
    let error = network.load_running_statistics(&wrong).unwrap_err().to_string();
    assert_eq!(error, format!("running statistics {last}: missing"));
    for (name, tensor) in network.running_statistics() {
        assert_eq!(flat(&tensor), flat(&before[&name]), "{name}");
    }
}

#[test]
fn a_frozen_network_has_none_and_takes_none() {
    let vars = sine_parameters(&config());
    let trained = config().build(builder(&vars), NormMode::Trained).unwrap();
    let frozen = config().build(builder(&vars), NormMode::Frozen).unwrap();
    assert!(frozen.running_statistics().is_empty());
    frozen.load_running_statistics(&BTreeMap::new()).unwrap();
    let theirs = trained.running_statistics().into_iter().collect();
    let error = frozen.load_running_statistics(&theirs).unwrap_err().to_string();
    assert!(error.contains("stages.0.0.norm.running_mean: the network is frozen"), "{error}");
}

#[test]
fn a_single_value_cannot_be_normalised_in_training() {
    let network = config().build(builder(&sine_parameters(&config())), NormMode::Trained).unwrap();
    let error = network.forward(&image([1, 3, 2, 2]), Phase::Train).unwrap_err();
    assert!(matches!(error, Error::SingleValue { .. }));
    let start = "stages.0.0.norm: a batch of [1, 3, 1, 1] has one value a channel";
    assert!(error.to_string().starts_with(start), "{error}");
    network.forward(&image([1, 3, 2, 2]), Phase::Eval).unwrap();
}
