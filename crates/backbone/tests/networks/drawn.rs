//! Weights and images that look random and that a script in Python draws as well.

use std::collections::BTreeMap;

use backbone::BackboneConfig;
use candle_core::{DType, Device, Tensor, Var};

/// Numbers in [-1, 1) for a tensor of that name: the upper 24 bits of a 64-bit linear congruential
/// generator (Knuth's MMIX) that begins at the name's FNV-1a hash.
pub(crate) fn drawn(name: &str, shape: &[usize]) -> Vec<f64> {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    (0..shape.iter().product()).map(|_| next()).collect()
}

fn tensor(values: Vec<f64>, shape: &[usize], dtype: DType) -> Tensor {
    // Rounded to f32 in either precision, as by the script.
    let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("as many as the shape says");
    tensor.to_dtype(dtype).expect("a number type")
}

/// Variables for a network: √(6 / fan-in) · u for convolutions, 1 + 0.2 · u for the factors of norms, 1 + 0.5 · u for
/// variances, 0.1 · u otherwise.
pub(crate) fn parameters(config: &BackboneConfig, dtype: DType) -> BTreeMap<String, Var> {
    let var = |(name, shape): (String, Vec<usize>)| {
        let (mean, scale) = match shape.len() {
            4 => (0.0, (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt()),
            _ if name.ends_with("running_var") => (1.0, 0.5),
            _ if name.ends_with("weight") => (1.0, 0.2),
            _ => (0.0, 0.1),
        };
        let values = drawn(&name, &shape).into_iter().map(|u| mean + scale * u).collect();
        let var = Var::from_tensor(&tensor(values, &shape, dtype)).expect("memory");
        (name, var)
    };
    config.parameters().expect("a valid configuration").into_iter().map(var).collect()
}

/// An image of this shape.
pub(crate) fn image(shape: &[usize], dtype: DType) -> Tensor {
    tensor(drawn("image", shape), shape, dtype)
}
