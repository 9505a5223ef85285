//! A long-term and a short-term state in one recurrent weight: which of them reads the other.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use dense_rnn::{Aggregation, Cell, DenseRnnConfig, Graph, RecurrentWeight};
use dense_rnn::{cayley, eigenvalue_normalised, outdated_parameter, spectral_radii};
use testkit::{assert_close, fill, tensor};

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A layer of two states of two channels each, its parameters by name.
struct TwoStates {
    config: DenseRnnConfig,
    all: HashMap<String, Var>,
}

impl TwoStates {
    const D: usize = 4;
    const L: usize = 2;

    /// Parameters that another program can make as well: of direction `k` those of offset `100 k`.
    fn filled(channels: usize, outputs: usize) -> Self {
        let (d, l) = (Self::D, Self::L);
        let shapes: [(&str, &[usize], f64, f64); 6] = [
            ("input.weight", &[d, channels], 0.5, 0.0),
            ("recurrent.skew", &[1, l, l], 0.5, 10.0),
            ("input.bias", &[d], 0.1, 20.0),
            ("output.weight", &[outputs, d], 0.5, 30.0),
            ("recurrent.long_from_short", &[1, l, d - l], 0.5, 40.0),
            ("recurrent.weight", &[1, d - l, d - l], 0.5, 50.0),
        ];
        let mut all = HashMap::new();
        for (name, shape, scale, offset) in shapes {
            let of = |k: usize| {
                let values = fill(shape, scale, offset + 100.0 * k as f64);
                Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
            };
            let along = usize::from(name == "output.weight");
            let joined = Tensor::cat(&[of(0), of(1), of(2), of(3)], along).unwrap();
            all.insert(name.to_owned(), Var::from_tensor(&joined).unwrap());
        }
        let bias = Tensor::from_vec(fill(&[outputs], 0.1, 7.0), outputs, &Device::Cpu).unwrap();
        all.insert("output.bias".to_owned(), Var::from_tensor(&bias).unwrap());
        let config = DenseRnnConfig {
            hidden_channels: d,
            cell: Cell::Scan { graph: Graph::Dense, aggregation: Aggregation::Mean },
            recurrent_weight: RecurrentWeight::Both,
            ..DenseRnnConfig::default()
        };
        Self { config, all }
    }

    fn builder(&self, dtype: DType) -> VarBuilder<'static> {
        let mut tensors: Vec<_> = self.all.iter().collect();
        tensors.sort_by_key(|(name, _)| *name);
        let tensors =
            tensors.into_iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        VarBuilder::from_tensors(tensors.collect(), dtype, &Device::Cpu)
    }

    fn run(&self, features: &Tensor) -> Tensor {
        let (c, k) = (features.dim(1).unwrap(), self.all["output.bias"].dim(0).unwrap());
        let layer = self.config.build(c, k, &self.builder(DType::F64)).unwrap().unwrap();
        layer.forward(features).unwrap()
    }
}

/// Values of an independent float64 computation.
#[test]
fn the_two_states_have_the_reference_values() {
    let x: Vec<f64> = (0..12).map(|k| f64::from(1 + k).cos()).collect();
    let features = Tensor::from_vec(x, (1, 2, 2, 3), &Device::Cpu).unwrap();
    #[rustfmt::skip]
    let expected = [
        -0.016935347, 0.804607607, 1.231812672, 1.189917095, 0.41651003, -0.31654339,
        -0.099267401, -0.700087674, -1.445798804, -1.312465595, -0.393099996, -0.098660843,
        0.245115791, 0.209017515, 0.756671096, 0.62426187, 0.195794017, 0.543930889,
    ];
    assert_close(&flat(&TwoStates::filled(2, 3).run(&features)), &expected, 1e-9);
}

/// Two units of one row, and the south-east direction's hidden state as output: what the second
/// makes of each channel of the first alone is that channel's column of the recurrent weight.
#[test]
fn the_long_term_state_reads_the_short_term_one_and_not_the_other_way_round() {
    let (d, l) = (TwoStates::D, TwoStates::L);
    let radius = 0.7;
    let mut two = TwoStates::filled(d, d);
    two.config.recurrent_radius = Some(radius);
    let identity = Tensor::eye(d, DType::F64, &Device::Cpu).unwrap();
    let of_south_east = |along: usize| {
        let rest = identity.zeros_like().unwrap();
        let all = Tensor::cat(&[&identity, &rest, &rest, &rest], along).unwrap();
        Var::from_tensor(&all).unwrap()
    };
    two.all.insert("input.weight".to_owned(), of_south_east(0));
    two.all.insert("output.weight".to_owned(), of_south_east(1));
    for name in ["input.bias", "output.bias"] {
        let zeros = two.all[name].zeros_like().unwrap();
        two.all.insert(name.to_owned(), Var::from_tensor(&zeros).unwrap());
    }
    let coupling = two.all["recurrent.long_from_short"].get(0).unwrap();
    let coupling = coupling.to_vec2::<f64>().unwrap();
    for channel in 0..d {
        // The second unit's own input keeps all of it above zero.
        let own = 10.0;
        let x = |at: usize| match at % 2 {
            0 if at / 2 == channel => 1.0,
            0 => 0.0,
            _ => own,
        };
        let features: Vec<f64> = (0..2 * d).map(x).collect();
        let features = Tensor::from_vec(features, (1, d, 1, 2), &Device::Cpu).unwrap();
        let hidden = flat(&two.run(&features));
        let column: Vec<f64> = (0..d).map(|k| hidden[2 * k + 1] - own).collect();
        if channel < l {
            assert_close(&column[l..], &vec![0.0; d - l], 0.0);
            assert!(column[..l].iter().all(|w| w.abs() > 0.01), "{column:?}");
        } else {
            let of_short: Vec<f64> = coupling.iter().map(|row| radius * row[channel - l]).collect();
            assert_close(&column[..l], &of_short, 1e-12);
        }
    }
}

/// Whatever the coupling is: the eigenvalues are those of the two blocks.
#[test]
fn the_coupling_leaves_the_spectral_radius_alone() {
    let features = tensor(52, &[1, 2, 30, 30]).to_dtype(DType::F32).unwrap();
    for scale in [0.0_f64, 1.0, 20.0] {
        let mut two = TwoStates::filled(2, 3);
        let coupling = (two.all["recurrent.long_from_short"].as_tensor() * scale).unwrap();
        let skew = cayley(&two.all["recurrent.skew"], TwoStates::L / 2).unwrap();
        let short = eigenvalue_normalised(&two.all["recurrent.weight"], 1.0).unwrap();
        let above = Tensor::cat(&[&skew, &coupling], 2).unwrap();
        let below = short.pad_with_zeros(2, TwoStates::L, 0).unwrap();
        let w = Tensor::cat(&[&above, &below], 1).unwrap();
        assert_close(&spectral_radii(&w).unwrap(), &[1.0; 4], 1e-6);
        // As a dense sum with its own radius it stays in bounds over a large grid.
        two.all
            .insert("recurrent.long_from_short".to_owned(), Var::from_tensor(&coupling).unwrap());
        two.config.cell = Cell::Scan { graph: Graph::Dense, aggregation: Aggregation::Sum };
        let layer = two.config.build(2, 3, &two.builder(DType::F32)).unwrap().unwrap();
        let out = flat(&layer.forward(&features).unwrap());
        let largest = out.iter().fold(0.0, |m: f64, x| if x.abs() <= m { m } else { x.abs() });
        assert!(largest < 40.0 * scale.max(1.0), "coupling times {scale}: {largest}");
    }
}

/// With two states of one size the old coupling has the shape of the new one.
#[test]
fn weights_of_the_other_coupling_are_refused() {
    let mut old = TwoStates::filled(2, 3);
    let coupling = old.all.remove("recurrent.long_from_short").unwrap();
    assert_eq!(coupling.dims(), [4, 2, 2]);
    old.all.insert("recurrent.coupling".to_owned(), coupling);
    let error = old.config.build(2, 3, &old.builder(DType::F64)).unwrap_err().to_string();
    let expected = "the weights hold recurrent.coupling, of an earlier version, in which the \
                    short-term state reads the long-term one (recurrent_weight = both), where now \
                    the long-term state reads the short-term one: train it anew";
    assert_eq!(error, expected);
    let of = outdated_parameter;
    assert!(of("context.recurrent.coupling").is_some_and(|why| expected.ends_with(why)));
    assert_eq!(of("context.recurrent.long_from_short").or(of("coupling.weight")), None);
}
