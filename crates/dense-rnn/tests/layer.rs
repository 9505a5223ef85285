//! The layer: its output from its parameters, and what a unit attends to.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod twin;

use std::collections::HashMap;

use attention::DiaLstm;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use dense_rnn::{Activation, Aggregation, Cell, DenseRnn, DenseRnnConfig, Direction, Graph};
use dense_rnn::{Join, Scan, Score};
use testkit::{assert_close, check_gradients, tensor};

const C: usize = 3;
const D: usize = 4;
const A: usize = 2;
const OUT: usize = 5;

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Channels of keys and queries.
fn channels(cell: Cell) -> (usize, usize) {
    let keys = cell.score().map_or(0, |score| score.key_channels(A));
    (keys, cell.score().map_or(0, |score| score.query_channels(keys)))
}

fn parameters(cell: Cell) -> HashMap<String, Tensor> {
    let (keys, queries) = channels(cell);
    let is_scan = matches!(cell, Cell::Scan { .. });
    let own = D + if is_scan { queries } else { 0 };
    let mut all = vec![
        ("input.weight", vec![4 * own, C]),
        ("input.bias", vec![4 * own]),
        ("output.weight", vec![OUT, 4 * D]),
        ("output.bias", vec![OUT]),
    ];
    if is_scan {
        all.push(("recurrent.weight", vec![4, D + keys, D]));
    }
    if cell.score() == Some(Score::TanhAdditive) {
        all.push(("score.vector", vec![4, keys]));
    }
    if matches!(cell, Cell::QuadrantAttention { .. }) {
        all.push(("attention.weight", vec![4 * (queries + D + keys), C]));
        all.push(("attention.bias", vec![4 * (queries + D + keys)]));
    }
    let named = |(seed, (name, shape)): (usize, (&str, Vec<usize>))| {
        (name.to_owned(), tensor(seed as u64 + 1, &shape))
    };
    all.into_iter().enumerate().map(named).collect()
}

fn layer(cell: Cell) -> DenseRnn {
    let config = DenseRnnConfig {
        hidden_channels: D,
        attention_channels: A,
        cell,
        ..DenseRnnConfig::default()
    };
    let vb = VarBuilder::from_tensors(parameters(cell), DType::F64, &Device::Cpu);
    config.build(C, OUT, &vb).unwrap().unwrap()
}

fn cells() -> impl Iterator<Item = Cell> {
    let scores = [Score::TanhAdditive, Score::ScaledDot, Score::LinearAdditive];
    let aggregations = scores.map(Aggregation::Attention).into_iter().chain([Aggregation::Mean]);
    let graphs = [Graph::Dag4, Graph::Dag8, Graph::Dense];
    let scans = aggregations.flat_map(move |aggregation| {
        graphs.into_iter().map(move |graph| Cell::Scan { graph, aggregation })
    });
    let quadrants = scores.into_iter().map(|score| Cell::QuadrantAttention { score });
    let sums =
        [Graph::Dag4, Graph::Dag8].map(|graph| Cell::Scan { graph, aggregation: Aggregation::Sum });
    scans.chain(sums).chain(quadrants).chain([Cell::Pointwise])
}

/// `weight · x + bias` of one unit.
fn affine(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    twin::product(weight, x).iter().zip(bias).map(|(y, b)| y + b).collect()
}

#[test]
fn the_output_joins_the_hidden_states_of_four_directions() {
    let (h, w) = (3, 4);
    let features = tensor(77, &[1, C, h, w]);
    let by_channel = flat(&features);
    let x = |unit: usize| -> Vec<f64> { (0..C).map(|c| by_channel[c * h * w + unit]).collect() };
    for cell in cells() {
        let all = parameters(cell);
        let of = |name: &str| flat(&all[name]);
        let (keys, queries) = channels(cell);
        let mut expected: Vec<Vec<f64>> = vec![of("output.bias"); h * w];
        let mut attended = Vec::new();
        for direction in Direction::ALL {
            let k = direction as usize;
            let fourth = |name: &str| -> Vec<f64> {
                let values = of(name);
                values[k * values.len() / 4..(k + 1) * values.len() / 4].to_vec()
            };
            let rows = |name: &str| -> Vec<Vec<f64>> {
                let (weight, bias) =
                    (fourth(&format!("{name}.weight")), fourth(&format!("{name}.bias")));
                (0..h * w).map(|unit| affine(&weight, &bias, &x(unit))).collect()
            };
            let own = rows("input");
            let vector =
                if all.contains_key("score.vector") { fourth("score.vector") } else { vec![] };
            let sizes = twin::Sizes { h, w, d: D, a: keys };
            let (hidden, weights) = match cell {
                Cell::Scan { graph, aggregation } => {
                    let mode = Scan { graph, aggregation, activation: Activation::Relu };
                    let weights = fourth("recurrent.weight");
                    twin::scan(sizes, direction, &mode, &own.concat(), &weights, &vector)
                }
                Cell::QuadrantAttention { score } => {
                    // A scan whose values and keys are those of the features: W picks them from a
                    // hidden state that is the features' own row.
                    quadrant(sizes, direction, score, (&own, &rows("attention"), queries), &vector)
                }
                _ => (own.concat().iter().map(|x| x.max(0.0)).collect(), vec![Vec::new(); h * w]),
            };
            let v = of("output.weight");
            for (unit, out) in expected.iter_mut().enumerate() {
                for (o, out) in out.iter_mut().enumerate() {
                    let v = &v[o * 4 * D + k * D..][..D];
                    *out += v.iter().zip(&hidden[unit * D..]).map(|(v, h)| v * h).sum::<f64>();
                }
            }
            attended.push(weights);
        }
        let got = flat(&layer(cell).forward(&features).unwrap());
        for (unit, expected) in expected.iter().enumerate() {
            let got: Vec<f64> = (0..OUT).map(|o| got[o * h * w + unit]).collect();
            assert_close(&got, expected, 1e-10);
        }
        for unit in 0..h * w {
            assert_attends(cell, &features, (unit / w, unit % w), &attended);
        }
    }
}

/// One direction of quadrant attention, from the definition.
fn quadrant(
    sizes: twin::Sizes,
    direction: Direction,
    score: Score,
    (own, rows, queries): (&[Vec<f64>], &[Vec<f64>], usize),
    vector: &[f64],
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let twin::Sizes { h, w, .. } = sizes;
    let (mut hidden, mut all) = (vec![0.0; h * w * D], vec![Vec::new(); h * w]);
    for i in 0..h {
        for j in 0..w {
            let v = direction.raster((i, j), (h, w));
            let before: Vec<usize> = Graph::Dense
                .predecessors((i, j), w)
                .flatten()
                .map(|u| direction.raster((u / w, u % w), (h, w)))
                .collect();
            let z: Vec<f64> = before
                .iter()
                .map(|&u| {
                    twin::score_of(score, &rows[v][..queries], &rows[u][queries + D..], vector)
                })
                .collect();
            let shares = twin::softmax(&z);
            for k in 0..D {
                let found: f64 =
                    before.iter().zip(&shares).map(|(&u, a)| a * rows[u][queries + k]).sum();
                hidden[v * D + k] = (own[v][k] + found).max(0.0);
            }
            all[v] = shares;
        }
    }
    (hidden, all)
}

/// `attended`: by direction and unit, the twin's weights in the order of its predecessors.
fn assert_attends(
    cell: Cell,
    features: &Tensor,
    (i, j): (usize, usize),
    attended: &[Vec<Vec<f64>>],
) {
    let (_, _, h, w) = features.dims4().unwrap();
    let got = flat(&layer(cell).attention_at(features, (i, j)).unwrap());
    let (graph, attends) = match cell {
        Cell::Scan { graph, aggregation } => (graph, aggregation.score().is_some()),
        Cell::QuadrantAttention { .. } => (Graph::Dense, true),
        _ => {
            assert!(got.iter().all(|&a| a == 0.0));
            return;
        }
    };
    let is_sum = matches!(cell, Cell::Scan { aggregation: Aggregation::Sum, .. });
    for direction in Direction::ALL {
        let seen = direction.raster((i, j), (h, w));
        let seen = (seen / w, seen % w);
        let before: Vec<usize> = graph
            .predecessors(seen, w)
            .flatten()
            .map(|u| direction.raster((u / w, u % w), (h, w)))
            .collect();
        let mut expected = vec![0.0; h * w];
        for (nth, &u) in before.iter().enumerate() {
            expected[u] = match attends {
                true => attended[direction as usize][i * w + j][nth],
                false if is_sum => 1.0,
                false => 1.0 / before.len() as f64,
            };
        }
        assert_close(&got[direction as usize * h * w..][..h * w], &expected, 1e-10);
    }
}

/// With the layer's own initialisation, on a grid as large as in training.
#[test]
fn single_precision_is_close_on_a_large_grid() {
    let (c, d, a) = (16, 16, 8);
    let features = tensor(78, &[1, c, 60, 60]);
    for cell in cells() {
        let config = DenseRnnConfig {
            hidden_channels: d,
            attention_channels: a,
            cell,
            ..DenseRnnConfig::default()
        };
        let keys = cell.score().map_or(0, |score| score.key_channels(a));
        let queries = cell.score().map_or(0, |score| score.query_channels(keys));
        let own = d + if matches!(cell, Cell::Scan { .. }) { queries } else { 0 };
        let radius = match cell {
            Cell::Scan { graph: Graph::Dag4, aggregation: Aggregation::Sum } => 1.0 / 2.0,
            Cell::Scan { aggregation: Aggregation::Sum, .. } => 1.0 / 3.0,
            _ => 1.0,
        };
        let root = |x: f64| x.sqrt();
        let width = 4 * (queries + d + keys);
        // Names, shapes and standard deviations, as the layer's docs give them.
        let all = [
            ("input.weight", vec![4 * own, c], root(2.0 / c as f64)),
            ("input.bias", vec![4 * own], 0.0),
            ("recurrent.weight", vec![4, d + keys, d], radius / root(d as f64)),
            ("score.vector", vec![4, keys.max(1)], root(1.0 / keys.max(1) as f64)),
            ("attention.weight", vec![width, c], root(1.0 / c as f64)),
            ("attention.bias", vec![width], 0.0),
            ("output.weight", vec![c, 4 * d], root(1.0 / (4 * d) as f64)),
            ("output.bias", vec![c], 0.0),
        ];
        let named = |(seed, (name, shape, stdev)): (usize, (&str, Vec<usize>, f64))| {
            // Uniform numbers between -1 and 1 deviate by √(1/3).
            let values = tensor(seed as u64 + 1, &shape) * (stdev * 3f64.sqrt());
            (name.to_owned(), values.unwrap())
        };
        let all: HashMap<String, Tensor> = all.into_iter().enumerate().map(named).collect();
        let run = |dtype: DType| -> Vec<f64> {
            let vb = VarBuilder::from_tensors(all.clone(), dtype, &Device::Cpu);
            let layer = config.build(c, c, &vb).unwrap().unwrap();
            let out = layer.forward(&features.to_dtype(dtype).unwrap()).unwrap();
            flat(&out.to_dtype(DType::F64).unwrap())
        };
        let exact = run(DType::F64);
        let largest = exact.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(largest.is_finite() && largest > 0.1, "{cell:?}: {largest}");
        assert_close(&run(DType::F32), &exact, 1e-4 * largest);
    }
}

/// The gated output against one put together from four layers that see one direction each.
#[test]
fn a_gate_weighs_the_channels_of_each_direction() {
    let cell = Cell::Scan { graph: Graph::Dense, aggregation: Aggregation::Mean };
    let mut all = parameters(cell);
    let shapes = ["input", "hidden"].into_iter().flat_map(|side| {
        [
            (format!("dia.{side}.fc1.weight"), vec![1, D]),
            (format!("dia.{side}.fc1.bias"), vec![1]),
            (format!("dia.{side}.fc2.weight"), vec![4 * D, 1]),
            (format!("dia.{side}.fc2.bias"), vec![4 * D]),
        ]
    });
    all.extend(shapes.zip(90..).map(|((name, shape), seed)| (name, tensor(seed, &shape))));
    let vars: HashMap<String, Var> =
        all.into_iter().map(|(name, tensor)| (name, Var::from_tensor(&tensor).unwrap())).collect();
    let builder = || {
        let all = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        VarBuilder::from_tensors(all.collect(), DType::F64, &Device::Cpu)
    };
    let config =
        DenseRnnConfig { hidden_channels: D, cell, join: Join::Dia, ..DenseRnnConfig::default() };
    let features = tensor(79, &[2, C, 3, 4]);
    let run = || config.build(C, OUT, &builder()).unwrap().unwrap().forward(&features).unwrap();
    // The hidden states, as outputs of a layer whose V is the identity.
    let mut plain = parameters(cell);
    plain.insert("output.weight".into(), Tensor::eye(4 * D, DType::F64, &Device::Cpu).unwrap());
    plain.insert("output.bias".into(), Tensor::zeros(4 * D, DType::F64, &Device::Cpu).unwrap());
    let vb = VarBuilder::from_tensors(plain, DType::F64, &Device::Cpu);
    let sum = DenseRnnConfig { join: Join::Sum, ..config.clone() };
    let hidden = sum.build(C, 4 * D, &vb).unwrap().unwrap().forward(&features).unwrap();
    let dia = DiaLstm::new(D, &builder().pp("dia")).unwrap();
    let mut memory = Vec::new();
    let scaled =
        (0..4).map(|k| dia.scaled(&hidden.narrow(1, k * D, D).unwrap(), &mut memory).unwrap());
    let scaled = Tensor::cat(&scaled.collect::<Vec<_>>(), 1).unwrap(); // [n, 4·d, h, w]
    let weight = vars["output.weight"].reshape((OUT, 4 * D)).unwrap();
    let rows = scaled.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
    let out = rows.broadcast_matmul(&weight.t().unwrap()).unwrap();
    let out = out.broadcast_add(&vars["output.bias"]).unwrap().permute((0, 3, 1, 2)).unwrap();
    assert_close(&flat(&run()), &flat(&out), 1e-10);
    let names =
        ["dia.input.fc1.weight", "dia.hidden.fc2.bias", "recurrent.weight", "output.weight"];
    check_gradients(&names.map(|name| &vars[name]), || Ok(run())).unwrap();
}

#[test]
fn a_unit_outside_the_grid_is_refused() {
    let features = tensor(77, &[1, C, 2, 2]);
    let error = layer(Cell::Pointwise).attention_at(&features, (2, 0)).unwrap_err();
    assert_eq!(error.to_string(), "unit = (2, 0): it is outside the grid");
}

#[test]
fn what_cannot_be_built_is_named() {
    let vb = VarBuilder::from_tensors(HashMap::new(), DType::F64, &Device::Cpu);
    let config = DenseRnnConfig { hidden_channels: 0, ..DenseRnnConfig::default() };
    let error = config.build(C, OUT, &vb).unwrap_err().to_string();
    assert!(error.starts_with("hidden_channels = 0: must be between"), "{error}");
    let sum = Cell::Scan { graph: Graph::Dense, aggregation: Aggregation::Sum };
    let config = DenseRnnConfig { cell: sum, ..DenseRnnConfig::default() };
    assert!(config.build(C, OUT, &vb).unwrap_err().to_string().contains("explodes"));
}
