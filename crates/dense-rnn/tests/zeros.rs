//! Layers whose pre-activations are exactly 0, as where features and biases are: nothing flows back,
//! in kernels and compositions alike.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use dense_rnn::{Aggregation, Cell, DenseRnnConfig, Graph, Score};
use grid_ops::composing;
use testkit::{tensor, var};

const C: usize = 3;
const D: usize = 4;
const A: usize = 2;
const OUT: usize = 5;

fn cells() -> Vec<Cell> {
    let scores = [Score::TanhAdditive, Score::ScaledDot, Score::LinearAdditive];
    let aggregations: Vec<Aggregation> = scores
        .map(Aggregation::Attention)
        .into_iter()
        .chain([Aggregation::Mean, Aggregation::Sum])
        .collect();
    let mut all = vec![Cell::Pointwise];
    all.extend(scores.map(|score| Cell::QuadrantAttention { score }));
    for graph in [Graph::Dag4, Graph::Dag8, Graph::Dense] {
        // A sum over the dense graph needs a bounded weight.
        let fit =
            |aggregation: &&Aggregation| (graph, **aggregation) != (Graph::Dense, Aggregation::Sum);
        let fit = aggregations.iter().filter(fit);
        all.extend(fit.map(|&aggregation| Cell::Scan { graph, aggregation }));
    }
    all
}

/// Parameters of the layer, all of them other than 0 but the biases before the activation.
fn variables(cell: Cell) -> HashMap<String, Var> {
    let keys = cell.score().map_or(0, |score| score.key_channels(A));
    let queries = cell.score().map_or(0, |score| score.query_channels(keys));
    let is_scan = matches!(cell, Cell::Scan { .. });
    let own = 4 * (D + if is_scan { queries } else { 0 });
    let mut shapes: Vec<(&str, Vec<usize>)> = vec![
        ("input.weight", vec![own, C]),
        ("input.bias", vec![own]),
        ("output.weight", vec![OUT, 4 * D]),
        ("output.bias", vec![OUT]),
    ];
    if is_scan {
        shapes.push(("recurrent.weight", vec![4, D + keys, D]));
    }
    if cell.score() == Some(Score::TanhAdditive) {
        shapes.push(("score.vector", vec![4, keys]));
    }
    if matches!(cell, Cell::QuadrantAttention { .. }) {
        shapes.push(("attention.weight", vec![4 * (queries + D + keys), C]));
        shapes.push(("attention.bias", vec![4 * (queries + D + keys)]));
    }
    let variable = |(seed, (name, shape)): (usize, (&str, Vec<usize>))| {
        let before = ["input.bias", "attention.bias"].contains(&name);
        let values = var(seed as u64 + 1, &shape);
        let values = if before { values.zeros_like().unwrap() } else { values.as_tensor().clone() };
        (name.to_owned(), Var::from_tensor(&values).unwrap())
    };
    shapes.into_iter().enumerate().map(variable).collect()
}

#[test]
fn nothing_flows_back_through_units_at_zero() {
    let features = Tensor::zeros((1, C, 3, 4), DType::F64, &Device::Cpu).unwrap();
    for cell in cells() {
        let all = variables(cell);
        let tensors = all.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let vb = VarBuilder::from_tensors(tensors.collect(), DType::F64, &Device::Cpu);
        let config = DenseRnnConfig {
            hidden_channels: D,
            attention_channels: A,
            cell,
            ..DenseRnnConfig::default()
        };
        let layer = config.build(C, OUT, &vb).unwrap().unwrap();
        let run = || {
            let y = layer.forward(&features).unwrap();
            let loss = (&y * tensor(9, y.dims())).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            let of = |name: &str| -> Vec<f64> {
                grads.get(&all[name]).unwrap().flatten_all().unwrap().to_vec1().unwrap()
            };
            (of("input.bias"), of("output.bias"))
        };
        for (how, (before, behind)) in [("kernels", run()), ("composed", composing(run))] {
            assert!(before.iter().all(|&g| g == 0.0), "{cell:?}, {how}: {before:?}");
            assert!(behind.iter().all(|&g| g != 0.0), "{cell:?}, {how}: {behind:?}");
        }
    }
}
