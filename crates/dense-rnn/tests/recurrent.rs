//! Recurrent weights that are bounded: reference values, gradients, and what they bound.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use dense_rnn::{Aggregation, Cell, DenseRnnConfig, Graph, RecurrentWeight, Score};
use dense_rnn::{cayley, default_radius, eigenvalue_normalised, spectral_radii};
use testkit::{assert_close, check_gradients, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn square(values: &[f64]) -> Tensor {
    let d = (values.len() as f64).sqrt() as usize;
    Tensor::from_slice(values, (1, d, d), &Device::Cpu).unwrap()
}

/// The gradient of `Σ (g ⊙ f(x))`.
fn gradient(x: &Tensor, g: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Vec<f64> {
    let x = Var::from_tensor(x).unwrap();
    let loss = (f(&x) * g).unwrap().sum_all().unwrap();
    flat(loss.backward().unwrap().get(&x).unwrap())
}

#[rustfmt::skip]
const M: [f64; 16] = [0.9, 0.5, -0.2, 0.1, -0.6, 0.8, 0.3, 0., 0.1, 0.2, 1.1, -0.4, 0.05, -0.3, 0.6, 0.7];

/// Values of an independent float64 computation; the dominant eigenvalues are 1.0467 ± 0.3054i.
#[test]
fn the_normalised_weight_has_the_reference_values() {
    let m = square(&M);
    assert_close(&spectral_radii(&m).unwrap(), &[1.0903284211], 1e-10);
    let scaled: Vec<f64> = M.iter().map(|m| 0.5 * m / 1.0903284211).collect();
    assert_close(&flat(&eigenvalue_normalised(&m, 0.5).unwrap()), &scaled, 1e-10);
    let g: Vec<f64> = (0..16).map(|k| f64::from(1 + k).sin()).collect();
    let found = gradient(&m, &square(&g), |m| eigenvalue_normalised(m, 1.0).unwrap());
    #[rustfmt::skip]
    let expected = [
        0.655387845, 0.808046648, 0.023606441, -0.890166048,
        -0.863842706, -0.343178908, 0.510486645, 0.940259951,
        0.410335206, -0.615099958, -1.032771608, -0.42871057,
        0.280281798, 0.91125876, 0.531580142, -0.442966454,
    ];
    assert_close(&found, &expected, 1e-9);
}

#[test]
fn the_orthogonal_weight_has_the_reference_values() {
    let a = square(&[0., 0.3, -0.2, -0.3, 0., 0.5, 0.2, -0.5, 0.]);
    #[rustfmt::skip]
    let expected = [
        0.811594203, -0.289855072, -0.507246377,
        0.579710145, 0.507246377, 0.637681159,
        -0.072463768, 0.811594203, -0.579710145,
    ];
    assert_close(&flat(&cayley(&a, 1).unwrap()), &expected, 1e-9);
}

#[test]
fn gradients_match_central_differences() {
    // With a dominant pair, with a dominant real number, and as large as nothing is written down.
    let pair = Var::from_tensor(&square(&M)).unwrap();
    let real = Var::from_tensor(&square(&[0.3, 0.9, -0.2, 0.7, -1.4, 0.1, 0.4, 0.2, 0.6])).unwrap();
    for m in [pair, real, var(3, &[2, 7, 7]), var(4, &[4, 1, 1])] {
        check_gradients(&[&m], || Ok(eigenvalue_normalised(&m, 0.7)?)).unwrap();
    }
    for (seed, d, negatives) in [(5, 1, 0), (6, 3, 1), (7, 6, 3)] {
        let m = var(seed, &[2, d, d]);
        check_gradients(&[&m], || Ok(cayley(&m, negatives)?)).unwrap();
    }
}

#[test]
fn drawn_weights_get_the_radius_and_cayley_ones_are_orthogonal() {
    for d in [2, 9, 40] {
        let m = tensor(d as u64, &[4, d, d]);
        let radii = spectral_radii(&eigenvalue_normalised(&m, 0.3).unwrap()).unwrap();
        assert_close(&radii, &[0.3; 4], 1e-10);
        let w = cayley(&m, d / 2).unwrap();
        let product = w.matmul(&w.transpose(1, 2).unwrap().contiguous().unwrap()).unwrap();
        let identity = Tensor::eye(d, DType::F64, &Device::Cpu).unwrap();
        let identity = identity.broadcast_as((4, d, d)).unwrap();
        assert_close(&flat(&product), &flat(&identity), 1e-12);
    }
}

/// Where `σ` has no gradient: that of the eigenvalue of largest real part, or along the matrix.
#[test]
fn eigenvalues_equal_in_modulus_have_the_documented_gradient() {
    let g = [0.3, -0.7, 0.2, 0.9, 0.4, -0.1, 0.8, 0.5, -0.6];
    // W = M/σ: dM = (G − s Σ(G ⊙ M)/σ)/σ.
    let expected = |m: &[f64], s: &[f64], sigma: f64| -> Vec<f64> {
        let along: f64 = m.iter().zip(&g).map(|(m, g)| m * g).sum();
        g.iter().zip(s).map(|(g, s)| (g - s * along / sigma) / sigma).collect()
    };
    let found = |m: &[f64]| {
        gradient(&square(m), &square(&g[..m.len()]), |m| eigenvalue_normalised(m, 1.0).unwrap())
    };
    // Of 2 and −2 the positive one.
    let signs = [-2., 0., 0., 0., 2., 0., 0., 0., 1.];
    let of_second = [0., 0., 0., 0., 1., 0., 0., 0., 0.];
    assert_close(&found(&signs), &expected(&signs, &of_second, 2.0), 1e-9);
    // A pair and a real number on one circle: 3 and ±3i.
    let circle = [0., -3., 0., 3., 0., 0., 0., 0., 3.];
    let of_third = [0., 0., 0., 0., 0., 0., 0., 0., 1.];
    assert_close(&found(&circle), &expected(&circle, &of_third, 3.0), 1e-9);
    // The shear has one eigenvector only: along M, which is M/‖M‖² for σ = 1.
    let shear = [1., 1., 0., 1.];
    let along: Vec<f64> = shear.iter().map(|m| m / 3.0).collect();
    assert_close(&found(&shear), &expected(&shear, &along, 1.0), 1e-6);
}

#[test]
fn weights_without_a_radius_are_refused() {
    let refused = |values: &[f64]| eigenvalue_normalised(&square(values), 1.0).unwrap_err();
    let nilpotent = "recurrent weight of direction 0: all its eigenvalues are zero";
    assert_eq!(refused(&[0., 1., 0., 0.]).to_string(), nilpotent);
    assert_eq!(refused(&[0.; 4]).to_string(), nilpotent);
    let error = refused(&[1., f64::NAN, 0., 1.]).to_string();
    assert_eq!(error, "recurrent weight of direction 0: it is not finite");
    let error = cayley(&square(&[f64::INFINITY; 4]), 0).unwrap_err().to_string();
    assert_eq!(error, "recurrent weight of direction 0: it cannot be inverted");
    let error = cayley(&square(&[1.; 4]), 3).unwrap_err().to_string();
    assert!(error.starts_with("cayley: expected matrices: [m, d, d]"), "{error}");
}

const C: usize = 3;
const D: usize = 5;

fn config(cell: Cell, recurrent_weight: RecurrentWeight) -> DenseRnnConfig {
    DenseRnnConfig {
        hidden_channels: D,
        attention_channels: 2,
        cell,
        recurrent_weight,
        ..DenseRnnConfig::default()
    }
}

fn scan(graph: Graph, aggregation: Aggregation) -> Cell {
    Cell::Scan { graph, aggregation }
}

/// Parameters of a layer of these names and shapes, as variables.
fn variables(shapes: &[(&str, &[usize])]) -> HashMap<String, Var> {
    let named = |(seed, (name, shape)): (usize, &(&str, &[usize]))| {
        ((*name).to_owned(), var(seed as u64 + 1, shape))
    };
    shapes.iter().enumerate().map(named).collect()
}

fn builder(all: &HashMap<String, Var>, dtype: DType) -> VarBuilder<'static> {
    let mut tensors: Vec<_> = all.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    let tensors = tensors.into_iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
    VarBuilder::from_tensors(tensors.collect(), dtype, &Device::Cpu)
}

/// The scan's own weight put together from the parameters by hand.
#[test]
fn every_kind_runs_with_the_weight_it_says() {
    let cell = scan(Graph::Dense, Aggregation::Attention(Score::ScaledDot));
    let (l, own) = (D.div_ceil(2), 4 * (D + 2));
    let common: [(&str, &[usize]); 4] = [
        ("input.weight", &[own, C]),
        ("input.bias", &[own]),
        ("output.weight", &[2, 4 * D]),
        ("output.bias", &[2]),
    ];
    let features = tensor(50, &[1, C, 3, 4]);
    let radius = 0.8;
    let of = |own: &[(&str, &[usize])]| variables(&[&common[..], own].concat());
    let run = |all: &HashMap<String, Var>, kind| {
        let radius = (kind != RecurrentWeight::Free).then_some(radius);
        let config = DenseRnnConfig { recurrent_radius: radius, ..config(cell, kind) };
        let layer = config.build(C, 2, &builder(all, DType::F64)).unwrap().unwrap();
        layer.forward(&features).unwrap()
    };
    let check = |all: HashMap<String, Var>, kind, w: &Tensor, keys: &Tensor| {
        let stacked = Tensor::cat(&[w, keys], 1).unwrap();
        let mut free = all.clone();
        free.insert("recurrent.weight".to_owned(), Var::from_tensor(&stacked).unwrap());
        let expected = flat(&run(&free, RecurrentWeight::Free));
        assert_close(&flat(&run(&all, kind)), &expected, 1e-12);
        let inputs: Vec<&Var> =
            ["recurrent.weight", "recurrent.skew", "recurrent.long_from_short", "recurrent.keys"]
                .iter()
                .filter_map(|name| all.get(*name))
                .collect();
        check_gradients(&inputs, || Ok(run(&all, kind))).unwrap();
    };

    let all = of(&[("recurrent.weight", &[4, D + 2, D])]);
    let weight = all["recurrent.weight"].as_tensor();
    let m = weight.narrow(1, 0, D).unwrap().contiguous().unwrap();
    let w = eigenvalue_normalised(&m, radius).unwrap();
    let keys = weight.narrow(1, D, 2).unwrap();
    check(all, RecurrentWeight::EigenvalueNormalised, &w, &keys);

    let all = of(&[("recurrent.skew", &[4, D, D]), ("recurrent.keys", &[4, 2, D])]);
    let w = (cayley(&all["recurrent.skew"], D / 2).unwrap() * radius).unwrap();
    let keys = all["recurrent.keys"].as_tensor().clone();
    check(all, RecurrentWeight::Orthogonal, &w, &keys);

    let all = of(&[
        ("recurrent.skew", &[4, l, l]),
        ("recurrent.long_from_short", &[4, l, D - l]),
        ("recurrent.weight", &[4, D - l, D - l]),
        ("recurrent.keys", &[4, 2, D]),
    ]);
    let w = Tensor::zeros((4, D, D), DType::F64, &Device::Cpu).unwrap();
    let w = w.slice_assign(&[0..4, 0..l, 0..l], &cayley(&all["recurrent.skew"], l / 2).unwrap());
    let w = w.unwrap().slice_assign(&[0..4, 0..l, l..D], &all["recurrent.long_from_short"]);
    let short = eigenvalue_normalised(&all["recurrent.weight"], 1.0).unwrap();
    let w = w.unwrap().slice_assign(&[0..4, l..D, l..D], &short).unwrap();
    let w = (w * radius).unwrap();
    assert_close(&spectral_radii(&w).unwrap(), &[radius; 4], 1e-6);
    let keys = all["recurrent.keys"].as_tensor().clone();
    check(all, RecurrentWeight::Both, &w, &keys);
}

/// As large a grid as in training, weights as drawn.
#[test]
fn a_dense_sum_does_not_overflow_with_its_own_radius_and_does_with_one() {
    let all = variables(&[
        ("input.weight", &[4 * D, C]),
        ("input.bias", &[4 * D]),
        ("output.weight", &[2, 4 * D]),
        ("output.bias", &[2]),
        ("recurrent.weight", &[4, D, D]),
        ("recurrent.skew", &[4, D, D]),
    ]);
    let features = tensor(51, &[1, C, 60, 60]).to_dtype(DType::F32).unwrap();
    for kind in [RecurrentWeight::EigenvalueNormalised, RecurrentWeight::Orthogonal] {
        let largest = |radius| {
            let cell = scan(Graph::Dense, Aggregation::Sum);
            let config = DenseRnnConfig { recurrent_radius: radius, ..config(cell, kind) };
            let layer = config.build(C, 2, &builder(&all, DType::F32)).unwrap().unwrap();
            let out = flat(&layer.forward(&features).unwrap());
            // Not `max`, which would drop NaN.
            out.iter().fold(0.0, |m: f64, x| if x.abs() <= m { m } else { x.abs() })
        };
        assert!(largest(None) < 20.0, "{kind:?}: {}", largest(None));
        assert!(!largest(Some(1.0)).is_finite(), "{kind:?}: {}", largest(Some(1.0)));
    }
    let dense = |size| default_radius(Graph::Dense, Aggregation::Sum, size);
    assert_eq!((dense((60, 60)), dense((4, 5))), (1.0 / 3600.0, 1.0 / 20.0));
}

#[test]
fn configurations_that_mean_nothing_are_refused_and_old_ones_are_read() {
    let mean = scan(Graph::Dense, Aggregation::Mean);
    let both = RecurrentWeight::Both;
    let refusal = |config: DenseRnnConfig| config.check().unwrap_err().to_string();
    let of_pointwise = refusal(config(Cell::Pointwise, both));
    assert_eq!(of_pointwise, "recurrent_weight = Both: only a scan has a recurrent weight");
    let narrow = DenseRnnConfig { hidden_channels: 1, ..config(mean, both) };
    assert_eq!(refusal(narrow), "hidden_channels = 1: two states need two hidden channels");
    let with =
        |kind, radius| DenseRnnConfig { recurrent_radius: Some(radius), ..config(mean, kind) };
    let free = refusal(with(RecurrentWeight::Free, 1.0));
    assert_eq!(free, "recurrent_radius = 1: a free recurrent weight has no target radius");
    for radius in [0.0, f64::NAN, f64::INFINITY] {
        assert!(refusal(with(both, radius)).ends_with("must be positive"));
    }
    // What a free weight is written as has no new fields.
    let json = serde_json::to_value(config(mean, RecurrentWeight::Free)).unwrap();
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(names, ["activation", "attention_channels", "cell", "hidden_channels"]);
    let names = ["free", "eigenvalue-normalised", "orthogonal", "both"];
    for name in names {
        let read: DenseRnnConfig =
            serde_json::from_str(&format!(r#"{{ "recurrent_weight": "{name}" }}"#)).unwrap();
        assert_eq!(serde_json::to_value(read.recurrent_weight).unwrap(), *name);
    }
}
