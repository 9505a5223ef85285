//! The modules against naive twins, written from their equations with loops.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod naive;

use backbone::Phase;
use candle_core::DType;
use common::{Weights, all, build, flat, weights};
use context_modules::ContextConfig;
use naive::Map;
use proptest::prelude::*;
use testkit::{assert_close, tensor};

fn twin(config: &ContextConfig, weights: &Weights, x: &Map) -> Map {
    let conv = |x: &Map, name: &str, dilation: usize| {
        x.conv(&weights[&format!("{name}.weight")], weights.get(&format!("{name}.bias")), dilation)
    };
    let block = |x: &Map, name: &str, dilation: usize| {
        let part = |part: &str| flat(&weights[&format!("{name}.norm.{part}")]);
        let parts = ["weight", "bias", "running_mean", "running_var"].map(part);
        conv(x, &format!("{name}.conv"), dilation).normed(&parts).relu()
    };
    match config {
        ContextConfig::GlobalAverage(_) => {
            let hidden = conv(&x.pooled(1), "input", 1).relu();
            conv(&hidden, "output", 1).resized(x.h, x.w)
        }
        ContextConfig::PyramidPooling(config) => {
            let mut all = x.clone();
            for (i, &bins) in config.bins.iter().enumerate() {
                let (means, name) = (x.pooled(bins), format!("branch{i}"));
                let branch =
                    if bins == 1 { conv(&means, &name, 1).relu() } else { block(&means, &name, 1) };
                all = all.beside(&branch.resized(x.h, x.w));
            }
            block(&all, "output", 1)
        }
        ContextConfig::AtrousPyramid(config) => {
            let mut all = block(x, "point", 1);
            for (i, &dilation) in config.dilations.iter().enumerate() {
                all = all.beside(&block(x, &format!("dilated{i}"), dilation));
            }
            let image = conv(&x.pooled(1), "image", 1).relu().resized(x.h, x.w);
            block(&all.beside(&image), "output", 1)
        }
        ContextConfig::NonLocal(_) => {
            let parts = ["theta", "phi", "g"].map(|name| conv(x, name, 1));
            conv(&Map::attended(&parts, |_, _| true), "output", 1)
        }
        ContextConfig::CrissCross(config) => {
            let gamma = flat(&weights["gamma"])[0];
            let mut y = x.clone();
            for _ in 0..config.passes {
                let parts = ["query", "key", "value"].map(|name| conv(&y, name, 1));
                let crosses = Map::attended(&parts, |(i, j), (p, q)| i == p || j == q);
                y = y.plus(gamma, &crosses);
            }
            y.plus(-1.0, x)
        }
    }
}

fn assert_equals_the_twin(config: &ContextConfig, [n, p, h, w]: [usize; 4], seed: u64) {
    let weights = weights(config, p, seed, DType::F64);
    let context = build(config, p, &weights);
    let x = tensor(seed, &[n, p, h, w]);
    let expected = twin(config, &weights, &Map::of(&x));
    let got = context.forward(&x, Phase::Eval).unwrap();
    assert_eq!(got.dims(), x.dims(), "{config:?}");
    let is_large = expected.x.len() > 100;
    assert!(!is_large || expected.x.iter().any(|x| x.abs() > 1e-3), "{config:?}: all zero");
    assert_close(&flat(&got), &expected.x, 1e-10);
    let slow = grid_ops::composing(|| context.forward(&x, Phase::Eval).unwrap());
    assert_close(&flat(&slow), &expected.x, 1e-10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn modules_equal_their_twins(
        (n, h, w) in (1usize..3, 1usize..12, 1usize..12),
        p in 4usize..9,
        seed in 0u64..1 << 32,
    ) {
        for config in all() {
            assert_equals_the_twin(&config, [n, p, h, w], seed);
        }
    }
}

#[test]
fn lines_and_single_units_equal_the_twins() {
    for (h, w) in [(1, 1), (1, 9), (9, 1), (1, 80), (2, 3)] {
        for config in all() {
            assert_equals_the_twin(&config, [2, 5, h, w], 7);
        }
    }
}
