//! Parameters and images that another program can make as well.

use std::collections::BTreeMap;

use backbone::BackboneConfig;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

/// Variables for a network, in `f64`: parameter number k by name is `s · sin(10 k + 1 + flat
/// index)`, with s = 2 / √fan-in for convolutions, 0.2 around 1 for the factors of norms, 0.5
/// around 1 for variances, and 0.1 otherwise.
pub(crate) fn sine_parameters(config: &BackboneConfig) -> BTreeMap<String, Var> {
    let names = config
        .parameters()
        .expect("a valid configuration and sizes that fit")
        .into_iter()
        .enumerate();
    let var = |(k, (name, shape)): (usize, (String, Vec<usize>))| {
        let (scale, mean) = match (shape.len(), &name) {
            (4, _) => (2.0 / (shape[1..].iter().product::<usize>() as f64).sqrt(), 0.0),
            (_, name) if name.ends_with("weight") => (0.2, 1.0),
            (_, name) if name.ends_with("running_var") => (0.5, 1.0),
            _ => (0.1, 0.0),
        };
        let values = testkit::fill(&shape, scale, 10.0 * k as f64);
        let values: Vec<f64> = values.into_iter().map(|x| mean + x).collect();
        let var = Var::from_tensor(
            &Tensor::from_vec(values, shape, &Device::Cpu)
                .expect("a valid configuration and sizes that fit"),
        );
        (name, var.expect("a valid configuration and sizes that fit"))
    };
    names.map(var).collect()
}

/// A builder over these variables.
pub(crate) fn builder(vars: &BTreeMap<String, Var>) -> VarBuilder<'static> {
    let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let dtype = vars.values().next().map_or(DType::F64, |var| var.dtype());
    VarBuilder::from_tensors(tensors, dtype, &Device::Cpu)
}

/// `sin(1 + flat index)`.
pub(crate) fn image(shape: [usize; 4]) -> Tensor {
    Tensor::from_vec(testkit::fill(&shape, 1.0, 0.0), &shape, &Device::Cpu).expect("sizes that fit")
}

/// All elements, as `f64`.
pub(crate) fn flat(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64)
        .expect("numbers")
        .flatten_all()
        .expect("numbers")
        .to_vec1()
        .expect("numbers")
}

/// All elements of all tensors in one vector, so that one gradient check covers them.
pub(crate) fn joined(maps: &[Tensor]) -> Tensor {
    let flat: Vec<Tensor> =
        maps.iter().map(|map| map.flatten_all().expect("one number type")).collect();
    Tensor::cat(&flat, 0).expect("one number type")
}

/// The largest difference of two tensors, relative to the largest element of the second.
pub(crate) fn relative_difference(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.dims(), expected.dims());
    let (got, expected) = (flat(got), flat(expected));
    let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let pairs = got.iter().zip(&expected);
    let differences = pairs.map(|(a, b)| (a - b).abs());
    // NaN must not pass for small.
    differences.fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }) / largest
}
