//! Units that vanish: the penalty's reference value and gradient, thresholds, and layers without them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use dense_rnn::{Activation, Aggregation, Cell, Compressed, DenseRnnConfig, Graph, Join};
use dense_rnn::{RecurrentWeight, Score, group_lasso};
use testkit::{assert_close, check_gradients, fill, tensor, var};

const C: usize = 3;
const D: usize = 5;
const A: usize = 2;
const OUT: usize = 4;

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Values of an independent float64 computation: an LSTM of two inputs and two units, whose groups
/// are the four gate columns, the recurrent row and the next layer's row of a unit.
#[test]
fn the_penalty_has_the_reference_value_in_lstm_form() {
    let matrix = |shape: (usize, usize), offset: f64| {
        let values = fill(&[shape.0, shape.1], 1.0, offset);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let (w, next) = (matrix((4, 8), 0.0), matrix((2, 3), 50.0));
    // Column `gate·2 + unit`.
    let gates = w.reshape((16, 2)).unwrap().t().unwrap().contiguous().unwrap();
    let members = [gates, w.narrow(0, 2, 2).unwrap(), next];
    let squares = members.iter().map(|member| member.sqr().unwrap().sum(1).unwrap());
    // The reference squares hold the 1e-8 of the root.
    let squares = (squares.reduce(|a, b| (a + b).unwrap()).unwrap() + 1e-8).unwrap();
    assert_close(&flat(&squares), &[13.906879526, 13.312062439], 1e-9);
    let penalty = group_lasso(&members).unwrap();
    assert_close(&flat(&penalty), &[7.377762796], 1e-9);
}

fn config(cell: Cell) -> DenseRnnConfig {
    DenseRnnConfig { hidden_channels: D, attention_channels: A, cell, ..Default::default() }
}

/// Every scan that a configuration may name.
fn cells() -> Vec<(Cell, RecurrentWeight)> {
    let scores = [Score::TanhAdditive, Score::ScaledDot, Score::LinearAdditive];
    let aggregations = scores.map(Aggregation::Attention);
    let aggregations = aggregations.into_iter().chain([Aggregation::Mean, Aggregation::Sum]);
    let mut all = Vec::new();
    for aggregation in aggregations {
        for graph in [Graph::Dag4, Graph::Dag8, Graph::Dense] {
            for kind in [RecurrentWeight::Free, RecurrentWeight::EigenvalueNormalised] {
                let cell = Cell::Scan { graph, aggregation };
                if (DenseRnnConfig { recurrent_weight: kind, ..config(cell) }).check().is_ok() {
                    all.push((cell, kind));
                }
            }
        }
    }
    all
}

fn weights(cell: Cell) -> BTreeMap<String, Var> {
    let keys = cell.score().map_or(0, |score| score.key_channels(A));
    let own = D + cell.score().map_or(0, |score| score.query_channels(keys));
    let mut all = vec![
        ("input.weight", vec![4 * own, C]),
        ("input.bias", vec![4 * own]),
        ("recurrent.weight", vec![4, D + keys, D]),
        ("output.weight", vec![OUT, 4 * D]),
        ("output.bias", vec![OUT]),
    ];
    if cell.score() == Some(Score::TanhAdditive) {
        all.push(("score.vector", vec![4, keys]));
    }
    let named = |(seed, (name, shape)): (usize, (&str, Vec<usize>))| {
        (name.to_owned(), var(seed as u64 + 1, &shape))
    };
    all.into_iter().enumerate().map(named).collect()
}

fn tensors(vars: &BTreeMap<String, Var>) -> BTreeMap<String, Tensor> {
    vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
}

/// `Σ_k √(Σ w² + 1e-8)` over the groups as they are defined, entry by entry.
fn penalty_of(all: &BTreeMap<String, Tensor>, keys: usize) -> f64 {
    let [u, w, v] =
        ["input.weight", "recurrent.weight", "output.weight"].map(|name| flat(&all[name]));
    let (own, rows) = (u.len() / 4 / C, D + keys);
    let mut penalty = 0.0;
    for direction in 0..4 {
        for k in 0..D {
            let mut squares = 0.0;
            for c in 0..C {
                squares += u[(direction * own + k) * C + c].powi(2);
            }
            let w = &w[direction * rows * D..][..rows * D];
            for other in 0..D {
                squares += w[k * D + other].powi(2) + w[other * D + k].powi(2);
            }
            for key in 0..keys {
                squares += w[(D + key) * D + k].powi(2);
            }
            for out in 0..OUT {
                squares += v[out * 4 * D + direction * D + k].powi(2);
            }
            penalty += (squares + 1e-8).sqrt();
        }
    }
    penalty
}

#[test]
fn the_penalty_of_a_layer_is_that_of_its_groups_with_their_gradient() {
    for aggregation in [Aggregation::Mean, Aggregation::Attention(Score::TanhAdditive)] {
        let cell = Cell::Scan { graph: Graph::Dense, aggregation };
        let vars = weights(cell);
        let keys = cell.score().map_or(0, |score| score.key_channels(A));
        let penalty = || config(cell).unit_lasso(&tensors(&vars)).unwrap();
        assert_close(&flat(&penalty()), &[penalty_of(&tensors(&vars), keys)], 1e-10);
        let grouped = ["input.weight", "recurrent.weight", "output.weight"].map(|name| &vars[name]);
        check_gradients(&grouped, || Ok(penalty())).unwrap();
    }
}

#[test]
fn small_weights_of_groups_become_zero_and_others_stay() {
    let cell = Cell::Scan {
        graph: Graph::Dense,
        aggregation: Aggregation::Attention(Score::TanhAdditive),
    };
    let all = tensors(&weights(cell));
    let cut = config(cell).thresholded(&all, 0.4).unwrap();
    assert!(cut.keys().eq(["input.weight", "output.weight", "recurrent.weight"]));
    let mut zeroed = 0;
    for (name, cut) in &cut {
        for (place, (&before, &after)) in flat(&all[name]).iter().zip(&flat(cut)).enumerate() {
            let query = name == "input.weight" && place / C % (D + A) >= D;
            let expected = if before.abs() < 0.4 && !query { 0.0 } else { before };
            assert_eq!(after, expected, "{name}[{place}]");
            zeroed += usize::from(after != before);
        }
    }
    assert!(zeroed > 50, "{zeroed}");
}

/// Makes some units of each direction unread; `whole` takes their other weights as well.
fn without(
    all: &BTreeMap<String, Tensor>,
    dead: [&[usize]; 4],
    whole: bool,
) -> BTreeMap<String, Tensor> {
    let mut all = all.clone();
    let mut edit = |name: &str, f: &dyn Fn(usize, &mut Vec<f64>)| {
        let tensor = &all[name];
        let mut values = flat(tensor);
        for (direction, dead) in dead.iter().enumerate() {
            dead.iter().for_each(|&k| f(direction * 100 + k, &mut values));
        }
        let tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
        all.insert(name.to_owned(), tensor);
    };
    edit("recurrent.weight", &|at, values| {
        let (direction, k) = (at / 100, at % 100);
        let len = values.len() / 4;
        let matrix = &mut values[direction * len..][..len];
        matrix.iter_mut().skip(k).step_by(D).for_each(|w| *w = 0.0);
        if whole {
            matrix[k * D..][..D].fill(0.0);
        }
    });
    edit("output.weight", &|at, values| {
        let (direction, k) = (at / 100, at % 100);
        values.iter_mut().skip(direction * D + k).step_by(4 * D).for_each(|w| *w = 0.0);
    });
    if whole {
        edit("input.weight", &|at, values| {
            let row = at / 100 * (values.len() / 4 / C) + at % 100;
            values[row * C..][..C].fill(0.0);
        });
    }
    all
}

fn output(config: &DenseRnnConfig, all: &BTreeMap<String, Tensor>, features: &Tensor) -> Vec<f64> {
    let all = all.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    let vb = VarBuilder::from_tensors(all, DType::F64, &Device::Cpu);
    flat(&config.build(C, OUT, &vb).unwrap().unwrap().forward(features).unwrap())
}

#[test]
fn a_smaller_layer_has_the_same_outputs_for_every_scan() {
    let features = tensor(60, &[2, C, 4, 3]);
    let dead: [&[usize]; 4] = [&[0, 3], &[1, 2, 4], &[2, 4], &[0, 1, 2, 3, 4]];
    for (cell, kind) in cells() {
        for activation in [Activation::Relu, Activation::Tanh] {
            let config = DenseRnnConfig { recurrent_weight: kind, activation, ..config(cell) };
            for whole in [true, false] {
                let all = without(&tensors(&weights(cell)), dead, whole);
                // A direction that is nothing but dead has no spectral radius.
                let normalised = kind == RecurrentWeight::EigenvalueNormalised;
                let all = if normalised {
                    without(
                        &tensors(&weights(cell)),
                        [&[0, 3], &[1, 2, 4], &[2, 4], &[0, 1]],
                        whole,
                    )
                } else {
                    all
                };
                let Compressed { config: smaller, weights, kept } =
                    config.compressed(&all).unwrap();
                assert_eq!(smaller.hidden_channels, 3, "{cell:?}");
                assert_eq!((&kept[0], &kept[2]), (&vec![1, 2, 4], &vec![0, 1, 3]));
                assert!(kept[1].contains(&0) && kept[1].contains(&3), "{kept:?}");
                let expected = output(&config, &all, &features);
                assert_close(&output(&smaller, &weights, &features), &expected, 1e-9);
            }
        }
    }
}

#[test]
fn one_unit_stays_where_all_are_dead() {
    let cell = Cell::Scan { graph: Graph::Dense, aggregation: Aggregation::Mean };
    let every: &[usize] = &[0, 1, 2, 3, 4];
    let all = without(&tensors(&weights(cell)), [every; 4], true);
    let Compressed { config: smaller, weights, kept } = config(cell).compressed(&all).unwrap();
    assert_eq!(kept, [const { Vec::new() }; 4].map(|_: Vec<usize>| vec![0]));
    let features = tensor(61, &[1, C, 2, 3]);
    let expected = output(&config(cell), &all, &features);
    assert_close(&output(&smaller, &weights, &features), &expected, 1e-12);
}

#[test]
fn layers_whose_units_cannot_vanish_are_refused() {
    let mean = Cell::Scan { graph: Graph::Dense, aggregation: Aggregation::Mean };
    let all = tensors(&weights(mean));
    let refusals = [
        (
            DenseRnnConfig { recurrent_weight: RecurrentWeight::Orthogonal, ..config(mean) },
            "recurrent_weight = Orthogonal: the rows of an orthogonal weight cannot vanish",
        ),
        (
            DenseRnnConfig { recurrent_weight: RecurrentWeight::Both, ..config(mean) },
            "recurrent_weight = Both: the rows of an orthogonal weight cannot vanish",
        ),
        (
            config(Cell::Pointwise),
            "cell = Pointwise: only the hidden units of a scan can be taken out",
        ),
        (
            DenseRnnConfig { join: Join::Dia, ..config(mean) },
            "join = Dia: a gate over the directions reads every unit, so that none can be taken out",
        ),
    ];
    for (config, expected) in refusals {
        assert_eq!(config.unit_lasso(&all).unwrap_err().to_string(), expected);
        assert_eq!(config.thresholded(&all, 0.1).unwrap_err().to_string(), expected);
        assert_eq!(config.compressed(&all).unwrap_err().to_string(), expected);
    }
    let error = config(mean).compressed(&BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("input.weight"), "{error}");
    assert!(group_lasso(&[]).unwrap_err().to_string().starts_with("group_lasso: expected members"));
}
