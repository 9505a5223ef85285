//! Modules with seeded values for all parameters.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "every test file takes what it needs")]

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use context_modules::{
    AtrousPyramidConfig, Context, ContextConfig, CrissCrossConfig, GlobalAverageConfig,
    NonLocalConfig, PyramidPoolingConfig,
};

/// Parameters and running statistics by name.
pub(crate) type Weights = BTreeMap<String, Var>;

/// Every kind, dilations small enough for small grids.
pub(crate) fn all() -> Vec<ContextConfig> {
    vec![
        ContextConfig::GlobalAverage(GlobalAverageConfig { hidden_channels: Some(3) }),
        ContextConfig::PyramidPooling(PyramidPoolingConfig::default()),
        ContextConfig::AtrousPyramid(AtrousPyramidConfig {
            dilations: vec![1, 2, 5],
            branch_channels: Some(3),
        }),
        ContextConfig::NonLocal(NonLocalConfig::default()),
        ContextConfig::CrissCross(CrissCrossConfig { key_channels: Some(2), passes: 2 }),
    ]
}

/// What `config` asks its builder for, with seeded values.
pub(crate) fn weights(config: &ContextConfig, channels: usize, seed: u64, dtype: DType) -> Weights {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    config.build(channels, vb).unwrap();
    let asked = vars.data().lock().unwrap();
    let mut names: Vec<_> = asked.iter().map(|(name, var)| (name.clone(), var.dims())).collect();
    names.sort();
    let one = |(nth, (name, dims)): (usize, (String, &[usize]))| {
        let values = testkit::tensor(seed * 1000 + nth as u64, dims);
        let values = match name.rsplit_once('.') {
            Some((_, "running_var")) => (values.abs().unwrap() + 0.5).unwrap(),
            Some((norm, "weight")) if norm.ends_with("norm") => (values.affine(0.5, 1.0)).unwrap(),
            // A ReLU over the single value of an image that lets nothing through has no gradient.
            Some((layer, "bias")) if !layer.ends_with("norm") => {
                (values.abs().unwrap() * 0.7).unwrap()
            }
            _ => (values * 0.7).unwrap(),
        };
        (name, Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap())
    };
    names.into_iter().enumerate().map(one).collect()
}

/// The module with these weights, which share their memory.
pub(crate) fn build(config: &ContextConfig, channels: usize, weights: &Weights) -> Context {
    let tensors = weights.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
    let dtype = weights.values().next().unwrap().dtype();
    let tensors: HashMap<String, Tensor> = tensors.collect();
    config.build(channels, VarBuilder::from_tensors(tensors, dtype, &Device::Cpu)).unwrap()
}

/// Those that gradient descent moves.
pub(crate) fn trainable(weights: &Weights) -> Vec<(&String, &Var)> {
    weights.iter().filter(|(name, _)| !name.contains("running")).collect()
}

pub(crate) fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}
