//! Values of an independent float64 computation on a 2×3 grid: `C = D = A = 2`, three outputs,
//! parameters `fill(shape, s, o) = s·sin(o + 1 + flat index)`, `o = 100·d + offset`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod twin;

use candle_core::{Device, Tensor};
use dense_rnn::{Activation, Aggregation, Direction, Graph, Scan, Score, scan};
use testkit::{assert_close, fill};

const SIZES: twin::Sizes = twin::Sizes { h: 2, w: 3, d: 2, a: 2 };

struct Case {
    graph: Graph,
    aggregation: Aggregation,
    hidden: [f64; 12],
    output: [f64; 6],
}

#[rustfmt::skip]
const CASES: [Case; 7] = [
    Case {
        graph: Graph::Dag4, aggregation: Aggregation::Sum,
        hidden: [0.653750611, 0., 0., 0., 0.052103079, 0.669756812,
                 0., 0.162151169, 0.354347893, 0.407841714, 0.299774956, 0.082484548],
        output: [-0.827622816, 0.112756737, 0.196634266, 0.213055708, 0.01143161, -0.949661043],
    },
    Case {
        graph: Graph::Dag8, aggregation: Aggregation::Sum,
        hidden: [0.653750611, 0., 0., 0., 0., 0.615458073,
                 0., 0.162151169, 0.354347893, 0.407841714, 0.437117185, 0.219878732],
        output: [-0.811564726, 0.143643065, 0.196634266, 0.213055708, 0.059824497, -0.900810267],
    },
    Case {
        graph: Graph::Dense, aggregation: Aggregation::Sum,
        hidden: [0.653750611, 0., 0., 0., 0., 0.142320499,
                 0., 0.162151169, 0.491690121, 0.407841714, 0.437117185, 0.627252572],
        output: [-0.78283083, 0.143643065, 0.234501351, 0.214327264, 0.059824497, -0.692909169],
    },
    Case {
        graph: Graph::Dense, aggregation: Aggregation::Mean,
        hidden: [0.653750611, 0., 0., 0., 0.045093292, 0.741846501,
                 0., 0.162151169, 0.382861972, 0.407841714, 0.157342651, 0.],
        output: [-0.810474677, 0.143643065, 0.204495978, 0.211498911, -0.038802455, -1.017424118],
    },
    Case {
        graph: Graph::Dense, aggregation: Aggregation::Attention(Score::LinearAdditive),
        hidden: [0.653750611, 0., 0., 0., 0.036883603, 0.736319707,
                 0., 0.162151169, 0.385373677, 0.407841714, 0.159130792, 0.],
        output: [-0.808753473, 0.143643065, 0.205188488, 0.21155644, -0.025007093, -1.01436172],
    },
    Case {
        graph: Graph::Dense, aggregation: Aggregation::Attention(Score::TanhAdditive),
        hidden: [0.653750611, 0., 0., 0., 0.036984649, 0.737298705,
                 0., 0.162151169, 0.38482469, 0.407841714, 0.159154083, 0.],
        output: [-0.809039088, 0.143643065, 0.205037125, 0.211551657, -0.025022454, -1.015250952],
    },
    Case {
        graph: Graph::Dense, aggregation: Aggregation::Attention(Score::ScaledDot),
        hidden: [0.653750611, 0., 0., 0., 0.046095848, 0.74502093,
                 0., 0.162151169, 0.384267414, 0.407841714, 0.157432473, 0.],
        output: [-0.810955555, 0.143643065, 0.204883477, 0.211508873, -0.039845275, -1.018634986],
    },
];

/// `[U; Ua] x + [b; ba]` of a direction, `[h·w, d + q]`; scaled dot products have no `ba`.
fn input_of(direction: usize, aggregation: Aggregation) -> Vec<f64> {
    let o = 100.0 * direction as f64;
    let x: Vec<f64> = (0..12).map(|flat| ((1 + flat) as f64).cos()).collect();
    let u = fill(&[2, 2], 0.5, o);
    let b = fill(&[2], 0.1, o + 20.0);
    let ua = fill(&[2, 2], 0.5, o + 40.0);
    let dot = aggregation == Aggregation::Attention(Score::ScaledDot);
    let ba = fill(&[2], if dot { 0.0 } else { 0.1 }, o + 60.0);
    let mut rows = Vec::new();
    for unit in 0..6 {
        let at = [x[unit], x[6 + unit]];
        for (matrix, bias) in &[(&u, &b), (&ua, &ba)][..parts(aggregation)] {
            rows.extend(twin::product(matrix, &at).iter().zip(*bias).map(|(p, b)| p + b));
        }
    }
    rows
}

/// Parts of an input row: with or without a query.
fn parts(aggregation: Aggregation) -> usize {
    let queries = aggregation.score().map_or(0, |score| score.query_channels(2));
    if queries > 0 { 2 } else { 1 }
}

/// `[W; Wa]` and `va` of a direction; `[W; va·Wa]` for the linear score, whose query cancels.
fn weights_of(direction: usize, aggregation: Aggregation) -> (Vec<f64>, Vec<f64>) {
    let o = 100.0 * direction as f64;
    let mut matrix = fill(&[2, 2], 0.5, o + 10.0);
    let (wa, va) = (fill(&[2, 2], 0.5, o + 50.0), fill(&[2], 1.0, o + 70.0));
    match aggregation {
        Aggregation::Attention(Score::LinearAdditive) => {
            matrix.extend((0..2).map(|k| va[0] * wa[k] + va[1] * wa[2 + k]));
        }
        Aggregation::Attention(_) => matrix.extend(wa),
        Aggregation::Sum | Aggregation::Mean => {}
    }
    (matrix, va)
}

/// The operation on all four directions, `[4][d][h·w]`.
fn hidden_of(case: &Case) -> Vec<Vec<Vec<f64>>> {
    let width = 2 * parts(case.aggregation);
    let mut input = vec![0.0; 6 * 4 * width];
    let (mut weights, mut vectors) = (Vec::new(), Vec::new());
    for direction in 0..4 {
        for (unit, row) in input_of(direction, case.aggregation).chunks(width).enumerate() {
            for (c, &x) in row.iter().enumerate() {
                input[(unit * 4 + direction) * width + c] = x;
            }
        }
        let (matrix, vector) = weights_of(direction, case.aggregation);
        weights.extend(matrix);
        vectors.extend(vector);
    }
    let cpu = &Device::Cpu;
    let input = Tensor::from_vec(input, (1, 2, 3, 4, width), cpu).unwrap();
    let rows = weights.len() / 8;
    let weights = Tensor::from_vec(weights, (4, rows, 2), cpu).unwrap();
    let vectors = Tensor::from_vec(vectors, (4, 2), cpu).unwrap();
    let tanh = case.aggregation == Aggregation::Attention(Score::TanhAdditive);
    let activation = Activation::Relu;
    let mode = Scan { graph: case.graph, aggregation: case.aggregation, activation };
    let hidden = scan(&input, &weights, tanh.then_some(&vectors), &mode).unwrap();
    let hidden = hidden.reshape((6, 4, 2)).unwrap().permute((1, 2, 0)).unwrap();
    hidden.contiguous().unwrap().to_vec3().unwrap()
}

#[test]
fn hidden_states_and_outputs_are_the_golden_ones() {
    for case in &CASES {
        let hidden = hidden_of(case);
        assert_close(&hidden[0].concat(), &case.hidden, 2e-9);
        let output: Vec<f64> = (0..6)
            .map(|unit| {
                let bias = fill(&[3], 0.1, 7.0)[0];
                (0..4).fold(bias, |sum, d| {
                    let v = fill(&[3, 2], 0.5, 100.0 * d as f64 + 30.0);
                    sum + v[0] * hidden[d][0][unit] + v[1] * hidden[d][1][unit]
                })
            })
            .collect();
        assert_close(&output, &case.output, 2e-9);
    }
}

#[test]
fn the_twin_gives_the_golden_attention_weights() {
    let golden = [
        (Score::TanhAdditive, [0.217549246, 0.187353572, 0.202090904, 0.203774239, 0.189232039]),
        (Score::ScaledDot, [0.18714947, 0.205581552, 0.201779574, 0.201380202, 0.204109201]),
        (Score::LinearAdditive, [0.220902407, 0.185135919, 0.202347994, 0.204166715, 0.187446965]),
    ];
    for (score, expected) in golden {
        let mode = Scan {
            graph: Graph::Dense,
            aggregation: Aggregation::Attention(score),
            activation: Activation::Relu,
        };
        let (matrix, vector) = weights_of(0, mode.aggregation);
        let (_, weights) = twin::scan(
            SIZES,
            Direction::SouthEast,
            &mode,
            &input_of(0, mode.aggregation),
            &matrix,
            &vector,
        );
        assert_close(&weights[5], &expected, 2e-9);
    }
}
