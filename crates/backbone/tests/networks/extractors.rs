//! What all pretrained networks have in common: shapes, dilation, gradients, limits.

use crate::common::{builder, flat, image, relative_difference, sine_parameters};
use crate::drawn::{self, drawn};
use backbone::{
    Backbone, BackboneConfig, MobileNetV2Config, NormMode, Phase, ResNetConfig, SqueezeNetConfig,
    Vgg16Config, VggNorm,
};
use candle_core::{DType, Device, Tensor};

fn parsed(text: &str) -> BackboneConfig {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn photograph(shape: [usize; 4]) -> Tensor {
    drawn::image(&shape, DType::F32)
}

fn network(config: &BackboneConfig, mode: NormMode) -> Box<dyn Backbone> {
    config
        .build(builder(&drawn::parameters(config, DType::F32)), mode)
        .expect("a complete set of parameters")
}

#[test]
fn stages_have_the_stated_shapes() {
    // Configuration, image, channels and stride and size of every stage.
    type Stated = (usize, usize, [usize; 2]);
    let cases: [(&str, [usize; 2], &[Stated]); 8] = [
        (
            r#"{"kind":"vgg-16"}"#,
            [65, 97],
            &[(256, 4, [16, 24]), (512, 8, [8, 12]), (512, 16, [4, 6]), (512, 32, [2, 3])],
        ),
        (
            r#"{"kind":"vgg-16","norm":"batch","output_stride":16}"#,
            [65, 97],
            &[(256, 4, [16, 24]), (512, 8, [8, 12]), (512, 16, [4, 6])],
        ),
        (
            r#"{"kind":"vgg-16","output_stride":8}"#,
            [65, 97],
            &[(256, 4, [16, 24]), (512, 8, [8, 12]), (512, 8, [8, 12])],
        ),
        (
            r#"{"kind":"resnet-18"}"#,
            [65, 97],
            &[(64, 4, [17, 25]), (128, 8, [9, 13]), (256, 16, [5, 7]), (512, 32, [3, 4])],
        ),
        (
            r#"{"kind":"resnet-50","output_stride":8,"multi_grid":[1,2,4]}"#,
            [33, 47],
            &[(256, 4, [9, 12]), (512, 8, [5, 6]), (1024, 8, [5, 6]), (2048, 8, [5, 6])],
        ),
        (
            r#"{"kind":"resnet-50","width":32,"stride_in":"1x1","stem_pool":"after"}"#,
            [65, 97],
            &[(128, 4, [16, 24]), (256, 8, [8, 12]), (512, 16, [4, 6]), (1024, 32, [2, 3])],
        ),
        (
            r#"{"kind":"squeezenet-1.1"}"#,
            [65, 97],
            &[(128, 4, [16, 24]), (256, 8, [8, 12]), (512, 16, [4, 6])],
        ),
        (
            r#"{"kind":"squeezenet-1.1","output_stride":8}"#,
            [65, 97],
            &[(128, 4, [16, 24]), (256, 8, [8, 12]), (512, 8, [8, 12])],
        ),
    ];
    for (text, [h, w], stated) in cases {
        let network = network(&parsed(text), NormMode::Frozen);
        let maps = network.forward(&photograph([1, 3, h, w]), Phase::Eval).unwrap();
        assert_eq!((network.stages().len(), maps.len()), (stated.len(), stated.len()), "{text}");
        for ((stage, map), &(channels, stride, [h, w])) in
            network.stages().iter().zip(&maps).zip(stated)
        {
            assert_eq!((stage.channels, stage.stride), (channels, stride), "{text}");
            assert_eq!(map.dims(), [1, channels, h, w], "{text} {}", stage.name);
        }
    }
}

#[test]
fn every_second_unit_of_a_dilated_network_is_the_strided_one() {
    // Kind, finest output stride, how much coarser each stage of the published network is.
    let cases: [(&str, usize, &[usize]); 6] = [
        (r#""kind":"resnet-18""#, 8, &[1, 1, 2, 4]),
        (r#""kind":"resnet-50","width":16"#, 16, &[1, 1, 1, 2]),
        (r#""kind":"resnet-50","stride_in":"1x1","width":16"#, 8, &[1, 1, 2, 4]),
        (r#""kind":"vgg-16""#, 8, &[1, 1, 2]),
        (r#""kind":"vgg-16","norm":"batch""#, 8, &[1, 1, 2]),
        (r#""kind":"squeezenet-1.1""#, 8, &[1, 1, 2]),
    ];
    // Poolings see the same units at the far edges where the sizes ahead of them are even.
    let x = photograph([1, 3, 65, 97]);
    for (text, stride, steps) in cases {
        let config = |stride: &str| parsed(&format!("{{{text}{stride}}}"));
        let run = |config| network(&config, NormMode::Frozen).forward(&x, Phase::Eval).unwrap();
        let strided = run(config(""));
        let dilated = run(config(&format!(r#","output_stride":{stride}"#)));
        assert_eq!(dilated.len(), steps.len(), "{text}");
        for ((strided, dilated), &step) in strided.iter().zip(&dilated).zip(steps) {
            let (_, _, h, w) = strided.dims4().unwrap();
            let every = |count: usize| {
                Tensor::from_iter((0..count).map(|i| (i * step) as u32), &Device::Cpu).unwrap()
            };
            let taken = dilated.index_select(&every(h), 2).unwrap();
            let taken = taken.index_select(&every(w), 3).unwrap();
            assert!(relative_difference(&taken, strided) < 1e-5, "{text}");
        }
    }
}

#[test]
fn every_parameter_has_a_gradient() {
    let narrow = ResNetConfig { width: 16, ..ResNetConfig::default() };
    let dilated = ResNetConfig { output_stride: Some(8), ..narrow.clone() };
    let tried = [
        (BackboneConfig::Vgg16(Vgg16Config::default()), [NormMode::Trained].as_slice()),
        (
            BackboneConfig::Vgg16(Vgg16Config { norm: VggNorm::Batch, output_stride: Some(8) }),
            &[NormMode::Trained, NormMode::Fixed],
        ),
        (BackboneConfig::ResNet18(narrow.clone()), &[NormMode::Trained, NormMode::Fixed]),
        (BackboneConfig::ResNet50(dilated), &[NormMode::Trained, NormMode::Fixed]),
        (BackboneConfig::ResNet50(ResNetConfig::open_nsfw()), &[NormMode::Trained]),
        (BackboneConfig::ResNet101(narrow), &[NormMode::Trained]),
        (BackboneConfig::MobileNetV2(MobileNetV2Config::default()), &[NormMode::Trained]),
        (BackboneConfig::SqueezeNet(SqueezeNetConfig::default()), &[NormMode::Trained]),
    ];
    for (config, modes) in tried {
        for &mode in modes {
            let vars = drawn::parameters(&config, DType::F32);
            let network = config.build(builder(&vars), mode).unwrap();
            let maps = network.forward(&photograph([2, 3, 40, 36]), Phase::Train).unwrap();
            let last = &maps[maps.len() - 1];
            let direction = drawn("direction", last.dims());
            let direction = Tensor::from_vec(direction, last.shape(), &Device::Cpu).unwrap();
            let loss = (last * direction.to_dtype(DType::F32).unwrap()).unwrap();
            let gradients = loss.sum_all().unwrap().backward().unwrap();
            for (name, var) in vars.iter().filter(|(name, _)| !name.contains("running_")) {
                let title = format!("{} {mode:?} {name}", config.kind());
                let Some(gradient) = gradients.get(var.as_tensor()) else {
                    panic!("{title}: none")
                };
                let gradient = flat(gradient);
                assert!(gradient.iter().all(|g| g.is_finite()), "{title}: not finite");
                assert!(gradient.iter().any(|&g| g != 0.0), "{title}: all zero");
            }
        }
    }
}

#[test]
fn a_bias_under_a_batch_norm_learns_nothing_and_moves_the_running_mean() {
    let config = BackboneConfig::Vgg16(Vgg16Config { norm: VggNorm::Batch, output_stride: None });
    let vars = sine_parameters(&config);
    let bias = vars["features.0.bias"].as_tensor();
    let network = config.build(builder(&vars), NormMode::Trained).unwrap();
    let x = image([2, 3, 32, 32]);
    let first = network.forward(&x, Phase::Train).unwrap();
    let gradients = first[0].sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let largest = |name: &str| {
        let gradient = flat(gradients.get(vars[name].as_tensor()).unwrap());
        gradient.into_iter().fold(0.0, |m: f64, g| m.max(g.abs()))
    };
    assert!(largest("features.0.bias") < 1e-9 * largest("features.1.bias"));
    let mean = |network: &dyn Backbone| flat(&network.running_statistics()[0].1);
    let moved = mean(network.as_ref());
    vars["features.0.bias"].set(&(bias + 1.0).unwrap()).unwrap();
    let shifted = config.build(builder(&vars), NormMode::Trained).unwrap();
    let second = shifted.forward(&x, Phase::Train).unwrap();
    assert!(relative_difference(&second[0], &first[0]) < 1e-9);
    let expected: Vec<f64> = moved.into_iter().map(|mean| mean + 0.1).collect();
    testkit::assert_close(&mean(shifted.as_ref()), &expected, 1e-9);
}

#[test]
fn fixed_statistics_do_not_move() {
    let config = BackboneConfig::ResNet18(ResNetConfig { width: 4, ..Default::default() });
    let vars = drawn::parameters(&config, DType::F32);
    let network = config.build(builder(&vars), NormMode::Fixed).unwrap();
    let x = photograph([2, 3, 32, 40]);
    let trained = network.forward(&x, Phase::Train).unwrap();
    let evaluated = network.forward(&x, Phase::Eval).unwrap();
    for (trained, evaluated) in trained.iter().zip(&evaluated) {
        assert_eq!(flat(trained), flat(evaluated));
    }
    let statistics = network.running_statistics();
    // The stem, 16 convolutions in blocks, and as the stem is wider, a shortcut in every layer.
    assert_eq!(statistics.len(), 2 * (1 + 16 + 4));
    for (name, tensor) in statistics {
        assert_eq!(flat(&tensor), flat(vars[&name].as_tensor()), "{name}");
    }
}

#[test]
fn images_smaller_than_the_stride_are_refused() {
    let cases = [
        (r#"{"kind":"vgg-16"}"#, "vgg-16", 32),
        (r#"{"kind":"vgg-16","output_stride":8}"#, "vgg-16", 8),
        (r#"{"kind":"resnet-18","width":4}"#, "resnet-18", 32),
        (r#"{"kind":"resnet-50","width":4,"output_stride":16}"#, "resnet-50", 16),
        (r#"{"kind":"squeezenet-1.1"}"#, "squeezenet-1.1", 25),
        (r#"{"kind":"squeezenet-1.1","output_stride":8}"#, "squeezenet-1.1", 13),
    ];
    for (text, kind, least) in cases {
        let network = network(&parsed(text), NormMode::Frozen);
        network.forward(&photograph([1, 3, least, least]), Phase::Eval).unwrap();
        let x = photograph([1, 3, 100, least - 1]);
        let error = network.forward(&x, Phase::Eval).unwrap_err().to_string();
        let expected = format!(
            "{kind}: expected an image of at least {least}×{least} pixels, got 100×{}",
            least - 1
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn configurations_round_trip_and_know_their_keys() {
    let all = [
        r#"{"kind":"vgg-16","norm":"none"}"#,
        r#"{"kind":"vgg-16","norm":"batch","output_stride":8}"#,
        r#"{"kind":"resnet-18","width":64,"stride_in":"3x3","stem_pool":"around"}"#,
        r#"{"kind":"resnet-101","width":64,"stride_in":"1x1","stem_pool":"after","output_stride":16,"multi_grid":[1,2,4]}"#,
        r#"{"kind":"squeezenet-1.1"}"#,
    ];
    for text in all {
        assert_eq!(serde_json::to_string(&parsed(text)).unwrap(), text);
    }
    for kind in ["vgg-16", "resnet-18", "resnet-50", "squeezenet-1.1"] {
        let text = format!(r#"{{"kind":"{kind}","depth":3}}"#);
        let error = serde_json::from_str::<BackboneConfig>(&text).unwrap_err().to_string();
        assert!(error.starts_with("unknown field `depth`, expected"), "{error}");
        assert_eq!(parsed(&format!(r#"{{"kind":"{kind}"}}"#)).kind(), kind);
    }
    let open = BackboneConfig::ResNet50(ResNetConfig::open_nsfw());
    let text = r#"{"kind":"resnet-50","width":32,"stride_in":"1x1","stem_pool":"after"}"#;
    assert_eq!(parsed(text), open);
}

#[test]
fn configurations_that_cannot_work_say_why() {
    let cases = [
        (
            r#"{"kind":"vgg-16","output_stride":4}"#,
            "output_stride = 4: expected one of [8, 16, 32]; the network's own is 32",
        ),
        (
            r#"{"kind":"squeezenet-1.1","output_stride":32}"#,
            "output_stride = 32: expected one of [8, 16]; the network's own is 16",
        ),
        (r#"{"kind":"resnet-50","width":0}"#, "width = 0: expected a number from 1 to 1024"),
        (
            r#"{"kind":"resnet-18","stride_in":"1x1"}"#,
            "stride_in = 1x1: a ResNet-18 has no 1x1 convolutions but the shortcuts: expected 3x3",
        ),
        (
            r#"{"kind":"resnet-18","multi_grid":[1,2,4]}"#,
            "multi_grid = [1, 2, 4]: expected 2 numbers from 1 to 64",
        ),
        (
            r#"{"kind":"resnet-50","multi_grid":[1,0,4]}"#,
            "multi_grid = [1, 0, 4]: expected 3 numbers from 1 to 64",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parsed(text).check().unwrap_err().to_string(), expected);
        assert_eq!(parsed(text).stages().unwrap_err().to_string(), expected);
    }
}
