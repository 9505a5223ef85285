//! Scaling the branches of residual blocks.

use std::sync::{Arc, Mutex};

use crate::common::{builder, flat, image, relative_difference, sine_parameters};
use backbone::{
    Backbone, BackboneConfig, Branch, BranchScale, MobileNetV2Config, NormMode, Phase,
    ResNetConfig, SqueezeNetConfig,
};
use candle_core::Tensor;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Multiplies by a number and notes what it is called with: the branch, and how often in a pass.
struct Times {
    factor: f64,
    calls: Mutex<Vec<(Branch, usize)>>,
}

impl BranchScale for Times {
    fn scaled(
        &self,
        branch: &Branch,
        y: &Tensor,
        memory: &mut Vec<Tensor>,
    ) -> Result<Tensor, Failure> {
        memory.push(y.clone());
        self.calls.lock().expect("one thread").push((branch.clone(), memory.len()));
        Ok((y * self.factor)?)
    }
}

fn resnet() -> BackboneConfig {
    BackboneConfig::ResNet50(ResNetConfig { width: 2, ..ResNetConfig::default() })
}

fn scaled(config: &BackboneConfig, factor: f64) -> (Box<dyn Backbone>, Arc<Times>) {
    let times = Arc::new(Times { factor, calls: Mutex::default() });
    let vb = builder(&sine_parameters(config));
    let network = config.build_scaled(vb, NormMode::Frozen, times.clone());
    (network.expect("a network of residual blocks"), times)
}

fn last(network: &dyn Backbone) -> Tensor {
    let maps = network.forward(&image([1, 3, 40, 33]), Phase::Eval).expect("a large enough image");
    maps.last().expect("stages").clone()
}

#[test]
fn a_scale_of_one_changes_nothing_and_others_do() {
    for config in [resnet(), BackboneConfig::MobileNetV2(MobileNetV2Config::default())] {
        let plain = config.build(builder(&sine_parameters(&config)), NormMode::Frozen).unwrap();
        let plain = last(plain.as_ref());
        assert_eq!(flat(&last(scaled(&config, 1.0).0.as_ref())), flat(&plain));
        assert!(relative_difference(&last(scaled(&config, 0.5).0.as_ref()), &plain) > 1e-3);
    }
}

#[test]
fn branches_are_announced_and_visited_in_order_with_a_memory_a_stage() {
    // How many branches each stage has.
    for (config, stages) in [
        (resnet(), [3, 4, 6, 3]),
        (BackboneConfig::MobileNetV2(MobileNetV2Config::default()), [1, 2, 5, 2]),
    ] {
        let (network, times) = scaled(&config, 1.0);
        let announced = config.branches().unwrap();
        assert_eq!(network.branches(), announced);
        for _ in 0..2 {
            last(network.as_ref());
            let calls = std::mem::take(&mut *times.calls.lock().unwrap());
            let memories = stages.iter().flat_map(|&count| 1..=count);
            let expected: Vec<_> = announced.iter().cloned().zip(memories).collect();
            assert_eq!(calls, expected);
        }
    }
    let branches = resnet().branches().unwrap();
    let count = |group| branches.iter().filter(|branch| branch.group == group).count();
    assert_eq!([0, 1, 2, 3].map(count), [3, 4, 6, 3]);
    let expected = Branch { name: "layer2.0".to_owned(), group: 1, place: 0, channels: 4 * 4 };
    assert_eq!(branches[3], expected);
    let mobilenet = BackboneConfig::MobileNetV2(MobileNetV2Config::default());
    let names: Vec<String> =
        mobilenet.branches().unwrap().into_iter().map(|branch| branch.name).collect();
    let blocks = [3, 5, 6, 8, 9, 10, 12, 13, 15, 16];
    assert!(names.iter().eq(&blocks.map(|k| format!("features.{k}"))), "{names:?}");
}

/// Fails, or returns another shape.
struct Broken {
    shape: Option<usize>,
}

impl BranchScale for Broken {
    fn scaled(&self, _: &Branch, y: &Tensor, _: &mut Vec<Tensor>) -> Result<Tensor, Failure> {
        match self.shape {
            None => Err("no state".into()),
            Some(rows) => Ok(y.narrow(2, 0, rows)?),
        }
    }
}

#[test]
fn failing_scales_name_the_branch() {
    let cases = [(None, "no state"), (Some(1), "it returned [1, 8, 1, 9] for [1, 8, 10, 9]")];
    for (shape, expected) in cases {
        let scale = Arc::new(Broken { shape });
        let vb = builder(&sine_parameters(&resnet()));
        let network = resnet().build_scaled(vb, NormMode::Frozen, scale).unwrap();
        let error = network.forward(&image([1, 3, 40, 33]), Phase::Eval).unwrap_err();
        assert_eq!(error.to_string(), "layer1.0: the scale of the branch failed");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), expected);
    }
}

#[test]
fn networks_without_residual_blocks_take_no_scale() {
    let config = BackboneConfig::SqueezeNet(SqueezeNetConfig::default());
    let vb = builder(&sine_parameters(&config));
    let scale = Arc::new(Broken { shape: None });
    let error = config.build_scaled(vb, NormMode::Frozen, scale).err().unwrap().to_string();
    let expected =
        "kind = squeezenet-1.1: it has no residual blocks whose branches could be scaled";
    assert_eq!(error, expected);
}

#[test]
fn a_resnet_of_other_blocks_has_their_stages_and_branches() {
    let with = |blocks: &[usize]| ResNetConfig {
        width: 2,
        blocks: Some(blocks.to_vec()),
        ..ResNetConfig::default()
    };
    let config = BackboneConfig::ResNet18(with(&[3, 1]));
    let of = |branch: &Branch| (branch.name.clone(), branch.group, branch.place);
    let branches: Vec<_> = config.branches().unwrap().iter().map(of).collect();
    let named = |name: &str, group, place| (name.to_owned(), group, place);
    let first = (0..3).map(|place| named(&format!("layer1.{place}"), 0, place));
    assert!(first.chain([named("layer2.0", 1, 0)]).eq(branches));
    let strides: Vec<usize> = config.stages().unwrap().iter().map(|s| s.stride).collect();
    assert_eq!(strides, [4, 8]);
    let stride_of = |blocks: &[usize], output_stride| {
        let config = ResNetConfig { output_stride, ..with(blocks) };
        let stages = BackboneConfig::ResNet18(config).stages();
        stages.map(|stages| stages.last().map(|stage| stage.stride))
    };
    assert_eq!(stride_of(&[1], None).unwrap(), Some(4));
    assert_eq!(stride_of(&[1, 1, 1, 1], Some(8)).unwrap(), Some(8));
    for (blocks, stride, word) in [
        (&[][..], None, "blocks = []"),
        (&[1, 0], None, "blocks = [1, 0]"),
        (&[1; 5], None, "blocks = [1, 1, 1, 1, 1]"),
        (&[1, 1], Some(16), "output_stride = 16"),
    ] {
        let message = stride_of(blocks, stride).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}
