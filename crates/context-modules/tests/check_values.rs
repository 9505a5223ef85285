//! The modules against values that another program has computed, in `f64`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::HashMap;

use backbone::Phase;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use common::flat;
use context_modules::{
    AtrousPyramidConfig, ContextConfig, CrissCrossConfig, GlobalAverageConfig, NonLocalConfig,
    PyramidPoolingConfig,
};
use testkit::{assert_close, fill};

/// Values `scale · sin(offset + 1 + flat index)` by name.
struct Fills(HashMap<String, Tensor>);

impl Fills {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn with(mut self, name: &str, shape: &[usize], scale: f64, offset: f64) -> Self {
        let values = Tensor::from_vec(fill(shape, scale, offset), shape, &Device::Cpu).unwrap();
        self.0.insert(name.to_owned(), values);
        self
    }

    /// A norm that divides by √(1 + 1e-5).
    fn with_norm(mut self, name: &str, channels: usize) -> Self {
        for (part, value) in
            [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
        {
            let values = Tensor::full(value, channels, &Device::Cpu).unwrap();
            self.0.insert(format!("{name}.{part}"), values);
        }
        self
    }
}

fn features() -> Tensor {
    let values = (0..4 * 5 * 7).map(|i| f64::from(1 + i).cos()).collect();
    Tensor::from_vec(values, (1, 4, 5, 7), &Device::Cpu).unwrap()
}

/// The first row of channel 0, the sum, and the sum weighed by the cosine of the flat index.
fn assert_checks(config: &ContextConfig, fills: Fills, with_x: bool, row: &[f64], sums: [f64; 2]) {
    let vb = VarBuilder::from_tensors(fills.0, DType::F64, &Device::Cpu);
    let context = config.build(4, vb).unwrap();
    let x = features();
    for composing in [false, true] {
        let forward = || context.forward(&x, Phase::Eval).unwrap();
        let o = if composing { grid_ops::composing(forward) } else { forward() };
        assert_eq!(o.dims(), [1, 4, 5, 7]);
        let o = flat(&if with_x { (&x + o).unwrap() } else { o });
        let weighed = o.iter().enumerate().map(|(i, o)| o * (i as f64).cos());
        assert_close(&o[..7], row, 1e-8);
        assert_close(&[o.iter().sum(), weighed.sum()], &sums, 1e-8);
    }
}

#[test]
fn global_average() {
    let fills = Fills::new()
        .with("input.weight", &[4, 4, 1, 1], 0.5, 0.0)
        .with("input.bias", &[4], 0.1, 20.0)
        .with("output.weight", &[4, 4, 1, 1], 0.5, 30.0)
        .with("output.bias", &[4], 0.1, 7.0);
    let config = ContextConfig::GlobalAverage(GlobalAverageConfig::default());
    assert_checks(&config, fills, false, &[0.089721747; 7], [-1.240752101, -0.151901946]);
}

#[test]
fn pyramid_pooling() {
    let mut fills = Fills::new()
        .with("branch0.weight", &[1, 4, 1, 1], 0.5, 0.0)
        .with("branch0.bias", &[1], 0.5, 0.0)
        .with("output.conv.weight", &[4, 8, 3, 3], 0.2, 500.0)
        .with_norm("output.norm", 4);
    for branch in 1..4 {
        let offset = 100.0 * f64::from(branch);
        fills = fills
            .with(&format!("branch{branch}.conv.weight"), &[1, 4, 1, 1], 0.5, offset)
            .with_norm(&format!("branch{branch}.norm"), 1);
    }
    let config = ContextConfig::PyramidPooling(PyramidPoolingConfig::default());
    let row = [0.371455982, 0.109848994, 0.0, 0.0, 0.0, 0.41059931, 0.584564291];
    assert_checks(&config, fills, false, &row, [16.994297867, -0.757255199]);
}

#[test]
fn atrous_pyramid() {
    let mut fills = Fills::new()
        .with("point.conv.weight", &[4, 4, 1, 1], 0.5, 0.0)
        .with_norm("point.norm", 4)
        .with("image.weight", &[4, 4, 1, 1], 0.5, 400.0)
        .with("image.bias", &[4], 0.1, 440.0)
        .with("output.conv.weight", &[4, 20, 1, 1], 0.3, 500.0)
        .with_norm("output.norm", 4);
    for k in 0..3 {
        let offset = 100.0 * f64::from(k + 1);
        fills = fills
            .with(&format!("dilated{k}.conv.weight"), &[4, 4, 3, 3], 0.3, offset)
            .with_norm(&format!("dilated{k}.norm"), 4);
    }
    let config = AtrousPyramidConfig { dilations: vec![2, 3, 5], ..AtrousPyramidConfig::default() };
    let row = [0.0, 0.304908482, 0.595367797, 0.0, 0.0, 0.001082853, 0.080922425];
    let config = ContextConfig::AtrousPyramid(config);
    assert_checks(&config, fills, false, &row, [15.462937831, -1.27795144]);
}

#[test]
fn non_local() {
    let mut fills = Fills::new();
    for (name, offset) in [("theta", 0.0), ("phi", 100.0), ("g", 200.0)] {
        fills = fills.with(&format!("{name}.weight"), &[2, 4, 1, 1], 0.5, offset).with(
            &format!("{name}.bias"),
            &[2],
            0.1,
            offset + 40.0,
        );
    }
    let fills = fills.with("output.weight", &[4, 2, 1, 1], 0.5, 300.0).with(
        "output.bias",
        &[4],
        0.1,
        340.0,
    );
    let config = ContextConfig::NonLocal(NonLocalConfig::default());
    let row =
        [0.077839008, 0.080330197, 0.079912457, 0.07696384, 0.074175594, 0.074132171, 0.076875368];
    assert_checks(&config, fills, false, &row, [-1.265534475, 0.06504809]);
}

#[test]
fn criss_cross() {
    let mut fills = Fills::new();
    for (name, channels, offset) in [("query", 2, 0.0), ("key", 2, 100.0), ("value", 4, 200.0)] {
        fills = fills.with(&format!("{name}.weight"), &[channels, 4, 1, 1], 0.5, offset).with(
            &format!("{name}.bias"),
            &[channels],
            0.1,
            offset + 40.0,
        );
    }
    fills.0.insert("gamma".to_owned(), Tensor::full(0.7, 1, &Device::Cpu).unwrap());
    let config = CrissCrossConfig { key_channels: Some(2), ..CrissCrossConfig::default() };
    let config = ContextConfig::CrissCross(config);
    let row = [
        0.636484973,
        -0.297291735,
        -0.895009473,
        -0.606992685,
        0.301596667,
        0.994856451,
        0.837077153,
    ];
    assert_checks(&config, fills, true, &row, [-6.261539718, 38.672680317]);
}
