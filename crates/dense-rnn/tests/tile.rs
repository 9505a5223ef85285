//! The layer tile by tile against the layer on the whole grid.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use dense_rnn::{
    Activation, Aggregation, Cell, DenseRnn, DenseRnnConfig, Graph, Join, RecurrentWeight, Score,
    TileAt, TileBorder,
};
use grid_ops::composing;
use testkit::{assert_close, check_gradients, tensor, var};

const C: usize = 3;
const D: usize = 2;
const GRID: (usize, usize) = (5, 7);

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn config(graph: Graph, aggregation: Aggregation) -> DenseRnnConfig {
    DenseRnnConfig {
        hidden_channels: D,
        activation: Activation::Tanh,
        cell: Cell::Scan { graph, aggregation },
        ..DenseRnnConfig::default()
    }
}

fn sums() -> [DenseRnnConfig; 5] {
    let normalised = DenseRnnConfig {
        recurrent_weight: RecurrentWeight::EigenvalueNormalised,
        ..config(Graph::Dense, Aggregation::Sum)
    };
    [
        config(Graph::Dag4, Aggregation::Mean),
        config(Graph::Dag8, Aggregation::Sum),
        config(Graph::Dag8, Aggregation::Mean),
        config(Graph::Dense, Aggregation::Mean),
        normalised,
    ]
}

fn parameters() -> [Var; 5] {
    let dims: [&[usize]; 5] = [&[4 * D, C], &[4 * D], &[4, D, D], &[C, 4 * D], &[C]];
    let mut seed = 10;
    dims.map(|dims| {
        seed += 1;
        var(seed, dims)
    })
}

fn layer(config: &DenseRnnConfig, parameters: &[Var]) -> DenseRnn {
    let names = ["input.weight", "input.bias", "recurrent.weight", "output.weight", "output.bias"];
    let all: HashMap<String, Tensor> = names
        .iter()
        .zip(parameters)
        .map(|(name, var)| ((*name).to_owned(), var.as_tensor().clone()))
        .collect();
    let vb = VarBuilder::from_tensors(all, DType::F64, &Device::Cpu);
    config.build(C, C, &vb).unwrap().unwrap()
}

/// Tiles of three rows and two columns, the last ones smaller, and all there are.
fn tiles() -> Vec<TileAt> {
    let mut all = Vec::new();
    for row in [0, 3] {
        for column in [0, 2, 4, 6] {
            let size = (3.min(GRID.0 - row), 2.min(GRID.1 - column));
            all.push(TileAt { corner: (row, column), size, grid: GRID });
        }
    }
    all
}

fn part(whole: &Tensor, at: &TileAt) -> Tensor {
    let part = whole.narrow(2, at.corner.0, at.size.0).unwrap();
    part.narrow(3, at.corner.1, at.size.1).unwrap().contiguous().unwrap()
}

#[test]
fn a_tile_with_what_lies_behind_it_is_a_part_of_the_whole() {
    let x = tensor(1, &[2, C, GRID.0, GRID.1]);
    for config in sums() {
        let layer = layer(&config, &parameters());
        let whole = layer.forward(&x).unwrap();
        for at in tiles() {
            let behind = layer.behind(&x, &at).unwrap();
            let (out, _) = layer.forward_tile(&part(&x, &at), &at, &behind).unwrap();
            assert_close(&flat(&out), &flat(&part(&whole, &at)), 1e-12);
        }
    }
}

#[test]
fn the_composition_makes_the_same_of_a_tile() {
    let x = tensor(1, &[2, C, GRID.0, GRID.1]);
    for config in sums() {
        let layer = layer(&config, &parameters());
        for at in tiles() {
            let behind = layer.behind(&x, &at).unwrap();
            let of_tile = || layer.forward_tile(&part(&x, &at), &at, &behind).unwrap();
            let ((kernels, handed), (composed, handed_too)) = (of_tile(), composing(of_tile));
            assert_close(&flat(&composed), &flat(&kernels), 1e-12);
            for (a, b) in handed.iter().zip(&handed_too) {
                assert_close(&flat(&a.columns), &flat(&b.columns), 1e-12);
            }
        }
    }
}

#[test]
fn what_a_tile_hands_on_lies_behind_the_next() {
    let x = tensor(1, &[2, C, GRID.0, GRID.1]);
    for config in sums() {
        let layer = layer(&config, &parameters());
        for at in tiles() {
            let behind = layer.behind(&x, &at).unwrap();
            let (_, handed) = layer.forward_tile(&part(&x, &at), &at, &behind).unwrap();
            for (k, handed) in handed.iter().enumerate() {
                let down =
                    if k & 2 == 0 { at.corner.0 + at.size.0 } else { at.corner.0.wrapping_sub(3) };
                let on =
                    if k & 1 == 0 { at.corner.1 + at.size.1 } else { at.corner.1.wrapping_sub(2) };
                let next = |corner| tiles().into_iter().find(|tile| tile.corner == corner);
                let seen = |next: TileAt| layer.behind(&x, &next).unwrap()[k].clone();
                if let Some(below) = next((down, at.corner.1)).map(seen) {
                    assert_close(&flat(&handed.columns), &flat(&below.columns), 1e-12);
                }
                if let Some(after) = next((at.corner.0, on)).map(seen) {
                    assert_close(&flat(&handed.rows), &flat(&after.rows), 1e-12);
                }
                let dense = matches!(config.cell, Cell::Scan { graph: Graph::Dense, .. });
                if let (Some(opposite), false) = (next((down, on)).map(seen), dense) {
                    assert_close(&flat(&handed.corner), &flat(&opposite.corner), 1e-12);
                }
            }
        }
    }
}

#[test]
fn gradients_are_those_of_differences() {
    let at = TileAt { corner: (1, 2), size: (2, 3), grid: (4, 6) };
    let border = |seed| TileBorder {
        columns: tensor(seed, &[1, 3, D]),
        rows: tensor(seed + 1, &[1, 2, D]),
        corner: tensor(seed + 2, &[1, D]),
    };
    let behind = [border(20), border(30), border(40), border(50)];
    for config in sums() {
        let [a, b, c, d, e] = parameters();
        let inputs = [var(1, &[1, C, 2, 3]), a, b, c, d, e];
        let run = || {
            let layer = layer(&config, &inputs[1..]);
            Ok(layer.forward_tile(&inputs[0], &at, &behind)?.0)
        };
        check_gradients(&inputs.each_ref(), run).unwrap();
    }
}

#[test]
fn layers_without_a_sum_to_hand_on_are_refused() {
    let attends = config(Graph::Dense, Aggregation::Attention(Score::ScaledDot));
    let gated = DenseRnnConfig { join: Join::Dia, ..config(Graph::Dense, Aggregation::Mean) };
    let none = DenseRnnConfig { cell: Cell::Pointwise, ..attends.clone() };
    for (config, word) in [(attends, "aggregation"), (gated, "join"), (none, "cell")] {
        let message = config.check_tiles().unwrap_err().to_string();
        assert!(message.starts_with(word), "{message}");
    }
    let layer = layer(&config(Graph::Dag4, Aggregation::Mean), &parameters());
    let at = TileAt { corner: (3, 0), size: (3, 2), grid: GRID };
    let message = layer
        .nothing_behind(1, &at)
        .and_then(|behind| layer.forward_tile(&tensor(1, &[1, C, 3, 2]), &at, &behind));
    let message = message.unwrap_err().to_string();
    assert!(message.contains("within the grid"), "{message}");
}
