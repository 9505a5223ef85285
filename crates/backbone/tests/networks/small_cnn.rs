//! The small CNN: shapes, cost, gradients, configuration.

use crate::common::{builder, image, joined, relative_difference, sine_parameters};
use backbone::{Backbone, BackboneConfig, NormMode, Phase, SmallCnnConfig};
use candle_core::{Device, Tensor, Var};

fn config(channels: &[usize], output_stride: Option<usize>) -> BackboneConfig {
    let channels = channels.to_vec();
    BackboneConfig::SmallCnn(SmallCnnConfig {
        channels,
        output_stride,
        ..SmallCnnConfig::default()
    })
}

fn network(config: &BackboneConfig, mode: NormMode) -> Box<dyn Backbone> {
    config.build(builder(&sine_parameters(config)), mode).expect("a complete set of parameters")
}

#[test]
fn stages_have_the_stated_shapes_at_odd_sizes() {
    for (output_stride, strides) in [(None, [2, 4, 8]), (Some(4), [2, 4, 4]), (Some(2), [2; 3])] {
        let network = network(&config(&[4, 6, 5], output_stride), NormMode::Frozen);
        for [h, w] in [[33, 47], [1, 1], [16, 7]] {
            let maps = network.forward(&image([2, 3, h, w]), Phase::Eval).unwrap();
            assert_eq!(maps.len(), 3);
            for ((map, stage), stride) in maps.iter().zip(network.stages()).zip(strides) {
                assert_eq!(stage.stride, stride);
                assert_eq!(map.dims(), [2, stage.channels, h.div_ceil(stride), w.div_ceil(stride)]);
            }
        }
    }
}

#[test]
fn every_second_unit_of_the_dilated_network_is_the_strided_one() {
    let x = image([1, 3, 29, 22]);
    let run = |stride| {
        let network = network(&config(&[4, 6, 5], stride), NormMode::Frozen);
        network.forward(&x, Phase::Eval).unwrap().remove(2)
    };
    let (strided, dilated) = (run(None), run(Some(4)));
    let every =
        |count: usize| Tensor::from_iter((0..count as u32).map(|i| 2 * i), &Device::Cpu).unwrap();
    let (_, _, h, w) = strided.dims4().unwrap();
    let rows = dilated.index_select(&every(h), 2).unwrap();
    let taken = rows.index_select(&every(w), 3).unwrap();
    assert!(relative_difference(&taken, &strided) < 1e-12);
}

#[test]
fn the_default_costs_what_its_documentation_says() {
    let config = BackboneConfig::default();
    let stages = config.stages().unwrap();
    let multiply_adds = |(name, shape): (&String, &Vec<usize>)| {
        let stage = stages.iter().find(|s| name.starts_with(&format!("{}.", s.name))).unwrap();
        let units = (96 / stage.stride).pow(2);
        if shape.len() == 4 { units * shape.iter().product::<usize>() } else { 0 }
    };
    let total: usize = config.parameters().unwrap().iter().map(multiply_adds).sum();
    assert_eq!(total, 37_324_800);
}

#[test]
fn frozen_and_trained_networks_evaluate_alike() {
    let (config, x) = (config(&[4, 6, 5], None), image([2, 3, 19, 24]));
    let run = |mode| network(&config, mode).forward(&x, Phase::Eval).unwrap();
    for (frozen, trained) in run(NormMode::Frozen).iter().zip(run(NormMode::Trained)) {
        assert!(relative_difference(frozen, &trained) < 1e-12);
    }
}

#[test]
fn gradients_of_all_parameters_are_right() {
    let config = config(&[2, 3], None);
    let mut vars = sine_parameters(&config);
    let x = Var::from_tensor(&testkit::tensor(5, &[2, 3, 7, 5])).unwrap();
    for phase in [Phase::Train, Phase::Eval] {
        let network = config.build(builder(&vars), NormMode::Trained).unwrap();
        vars.retain(|name, _| !name.contains("running_"));
        let inputs: Vec<&Var> = vars.values().chain([&x]).collect();
        let result = testkit::check_gradients(&inputs, || Ok(joined(&network.forward(&x, phase)?)));
        result.unwrap_or_else(|error| panic!("{phase:?}: {error}"));
        vars = sine_parameters(&config);
    }
}

#[test]
fn a_frozen_network_passes_gradients_to_its_input_only() {
    let config = config(&[2, 3], None);
    let vars = sine_parameters(&config);
    let network = config.build(builder(&vars), NormMode::Frozen).unwrap();
    let x = Var::from_tensor(&image([1, 3, 6, 5])).unwrap();
    let maps = network.forward(&x, Phase::Train).unwrap();
    let gradients = joined(&maps).sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(x.as_tensor()).is_some());
    for (name, var) in &vars {
        assert!(gradients.get(var.as_tensor()).is_none(), "{name}");
    }
}

#[test]
fn configurations_that_cannot_work_say_why() {
    let message = |json: &str| {
        let config: SmallCnnConfig = serde_json::from_str(json).unwrap();
        BackboneConfig::SmallCnn(config).check().unwrap_err().to_string()
    };
    let cases = [
        (r#"{"channels": []}"#, "channels = []: expected one number a stage, 1 to 6 stages"),
        (r#"{"channels": [8, 0]}"#, "channels = [8, 0]: expected numbers from 1 to 4096"),
        (
            r#"{"channels": [8], "blocks_per_stage": [1, 2]}"#,
            "blocks_per_stage = [1, 2]: expected 1 to 1 numbers, for as many stages",
        ),
        (
            r#"{"output_stride": 16}"#,
            "output_stride = 16: expected one of [2, 4, 8]; the network's own is 8",
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(message(given), expected);
    }
}

#[test]
fn configurations_round_trip_and_know_their_keys() {
    let read = |text: &str| serde_json::from_str::<BackboneConfig>(text);
    assert_eq!(read(r#"{"kind": "small-cnn"}"#).unwrap(), BackboneConfig::default());
    assert_eq!(read(r#"{"kind": "mobilenet-v2"}"#).unwrap().kind(), "mobilenet-v2");
    for config in [BackboneConfig::default(), config(&[3, 4], Some(2))] {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(read(&text).unwrap(), config);
    }
    let error = read(r#"{"kind": "small-cnn", "chanels": [3]}"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `chanels`"), "{error}");
    let error = read(r#"{"kind": "mobilenet-v3"}"#).unwrap_err().to_string();
    assert!(error.contains("unknown variant `mobilenet-v3`"), "{error}");
}
