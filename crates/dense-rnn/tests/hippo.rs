//! The memory of sequences and grids: reference values, twins, gradients, and what it is good for.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use dense_rnn::{Activation, Aggregation, Discretisation, Graph, Scan, scan};
use dense_rnn::{Cell, DenseRnnConfig, HippoRnnConfig, Legs, composed};
use dense_rnn::{hippo_scan, hippo_scan_features, legs_memory, legs_reconstruction};
use grid_ops::composing;
use testkit::{assert_close, check_gradients, tensor, values, var};

const ALL: [Discretisation; 4] = [
    Discretisation::Forward,
    Discretisation::Backward,
    Discretisation::Bilinear,
    Discretisation::ZeroOrderHold,
];

fn legs(order: usize, discretisation: Discretisation) -> Legs {
    Legs { order, discretisation }
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// One channel.
fn sequence(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, (1, values.len(), 1), &Device::Cpu).unwrap()
}

/// The memory after the last step.
fn last(input: &[f64], legs: &Legs) -> Vec<f64> {
    let all = legs_memory(&sequence(input), legs).unwrap();
    flat(&all.narrow(1, input.len() - 1, 1).unwrap())
}

/// Values of an independent float64 computation.
#[test]
fn the_four_discretisations_have_the_reference_values() {
    let expected = [
        [4.5, 2.886751346, 1.118033989, 0.0],
        [3.8, 1.962990915, 0.319438282, 0.037796447],
        [4.111111111, 2.405626122, 0.54369041, 0.164166387],
        [3.8, 2.355589098, 0.536656315, -0.042332021],
    ];
    for (discretisation, expected) in ALL.into_iter().zip(expected) {
        let found = last(&[1., 2., 3., 5., 8.], &legs(4, discretisation));
        assert_close(&found, &expected, 1e-9);
    }
}

#[test]
fn a_constant_is_remembered_as_one_at_every_order() {
    for order in 1..=64 {
        // Forward steps of high orders amplify roundings; exact ones of all orders take seconds.
        let all = if order <= 4 {
            &ALL[..]
        } else if order % 21 == 1 {
            &ALL[1..]
        } else {
            &ALL[1..3]
        };
        for discretisation in all {
            let mut expected = vec![0.0; order];
            expected[0] = 1.0;
            let found = last(&[1.0; 70], &legs(order, *discretisation));
            assert_close(&found, &expected, 1e-9);
        }
    }
}

/// `(I − implicit A) c' = (I + explicit A) c + B f / t`, row by row from the definition of `A`.
#[test]
fn fast_steps_satisfy_the_equation() {
    let root = |n: usize| (2.0 * n as f64 + 1.0).sqrt();
    let a_times = |c: &[f64]| -> Vec<f64> {
        let row = |n: usize| -> f64 {
            let below: f64 = (0..n).map(|k| root(n) * root(k) * c[k]).sum();
            -below - (n as f64 + 1.0) * c[n]
        };
        (0..c.len()).map(row).collect()
    };
    for order in [1, 2, 5, 16, 33, 64] {
        let input = values(order as u64, 9);
        for (discretisation, implicit) in ALL.into_iter().zip([0.0, 1.0, 0.5]) {
            let all = flat(&legs_memory(&sequence(&input), &legs(order, discretisation)).unwrap());
            let all: Vec<&[f64]> = all.chunks(order).collect();
            let largest = all.iter().copied().flatten().fold(1.0, |m: f64, c| m.max(c.abs()));
            for t in 1..input.len() {
                let (before, after) = (a_times(all[t - 1]), a_times(all[t]));
                let rate = 1.0 / t as f64;
                for n in 0..order {
                    let left = all[t][n] - implicit * rate * after[n];
                    let right = all[t - 1][n]
                        + (1.0 - implicit) * rate * before[n]
                        + rate * root(n) * input[t];
                    assert!((left - right).abs() < 1e-9 * largest, "{discretisation:?} {order}");
                }
            }
        }
    }
}

/// The coefficients of a staircase, integrated: what holding the input between steps is exact for.
#[test]
fn a_held_input_is_projected_exactly() {
    let input = values(7, 6);
    let found = last(&input, &legs(12, Discretisation::ZeroOrderHold));
    // The midpoint rule on a grid that has the steps' ends among its own.
    let points = 60_000;
    let mut expected = [0.0; 12];
    for k in 0..points {
        let s = (k as f64 + 0.5) / points as f64;
        let (x, f) = (2.0 * s - 1.0, input[k * input.len() / points]);
        let (mut before, mut here) = (0.0, 1.0);
        for (n, sum) in expected.iter_mut().enumerate() {
            let n = n as f64;
            *sum += f * here * (2.0 * n + 1.0).sqrt() / points as f64;
            (before, here) = (here, ((2.0 * n + 1.0) * x * here - n * before) / (n + 1.0));
        }
    }
    assert_close(&found, &expected, 1e-6);
}

#[test]
fn order_one_is_the_running_mean_which_dense_mean_computes() {
    let input: Vec<f64> = values(8, 11).iter().map(|x| x.abs()).collect();
    let means: Vec<f64> =
        (1..=input.len()).map(|t| input[..t].iter().sum::<f64>() / t as f64).collect();
    for discretisation in [Discretisation::Backward, Discretisation::ZeroOrderHold] {
        let memory = legs_memory(&sequence(&input), &legs(1, discretisation)).unwrap();
        assert_close(&flat(&memory), &means, 1e-12);
    }
    // Of two hidden channels the first is the input, the second the mean of the first before here.
    let rows = input.iter().flat_map(|&x| [[x, 0.0]; 4].concat()).collect();
    let rows = Tensor::from_vec(rows, (1, 1, input.len(), 4, 2), &Device::Cpu).unwrap();
    let weights = Tensor::from_vec([0., 0., 1., 0.].repeat(4), (4, 2, 2), &Device::Cpu).unwrap();
    let (graph, aggregation) = (Graph::Dense, Aggregation::Mean);
    let mode = Scan { graph, aggregation, activation: Activation::Relu };
    let hidden = scan(&rows, &weights, None, &mode).unwrap();
    let eastward = flat(&hidden.narrow(3, 0, 1).unwrap().narrow(4, 1, 1).unwrap());
    assert_close(&eastward[1..], &means[..input.len() - 1], 1e-12);
}

#[test]
fn a_signal_is_reconstructed_from_its_coefficients() {
    let count = 1000;
    let signal = |s: f64| (7.0 * s).sin() + 0.5 * (17.0 * s + 1.0).cos();
    let input: Vec<f64> = (0..count).map(|k| signal((k as f64 + 0.5) / count as f64)).collect();
    let error = |order| {
        let memory = legs_memory(&sequence(&input), &legs(order, Discretisation::Bilinear));
        let memory = memory.unwrap().narrow(1, count - 1, 1).unwrap().squeeze(1).unwrap();
        let found = flat(&legs_reconstruction(&memory, count).unwrap());
        let squares = found.iter().zip(&input).map(|(a, b)| (a - b).powi(2));
        (squares.sum::<f64>() / count as f64).sqrt()
    };
    let [low, middle, high] = [2, 12, 32].map(error);
    assert!(low > 0.3 && middle < 0.1 && high < 0.01, "{low} {middle} {high}");
}

#[test]
fn gradients_match_central_differences() {
    for discretisation in ALL {
        let x = var(9, &[2, 5, 3]);
        let legs_of = legs(4, discretisation);
        check_gradients(&[&x], || Ok(legs_memory(&x, &legs_of)?)).unwrap();
        check_gradients(&[&x], || {
            Ok(legs_reconstruction(&legs_memory(&x, &legs_of)?.narrow(1, 4, 1)?, 3)?)
        })
        .unwrap();
        // Odd and not square; one row; one column; a sequence.
        for [n, h, w, k] in [[2, 3, 5, 4], [1, 1, 4, 4], [1, 4, 1, 4], [2, 1, 4, 1]] {
            let (m, d) = (2, 8);
            let input = var(10, &[n, h, w, k, m + 2 * d]);
            let (to, from) = (var(11, &[k, m, d]), var(12, &[k, 2 * d, d]));
            let run = || Ok(hippo_scan(&input, &to, &from, &legs_of)?);
            check_gradients(&[&input, &to, &from], run).unwrap();
        }
    }
}

#[test]
fn features_give_the_product_and_the_scan_one_after_the_other() {
    let (n, c, h, w, m, d) = (2, 3, 3, 4, 2, 6);
    let width = m + 2 * d;
    let inputs = [
        var(70, &[n, c, h, w]),
        var(71, &[4 * width, c]),
        var(72, &[4 * width]),
        var(73, &[4, m, d]),
        var(74, &[4, 2 * d, d]),
    ];
    let legs = legs(3, Discretisation::Bilinear);
    let [x, weight, bias, to, from] = &inputs;
    let rows = x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
    let rows = rows.broadcast_matmul(&weight.t().unwrap()).unwrap().broadcast_add(bias).unwrap();
    let rows = rows.reshape((n, h, w, 4, width)).unwrap();
    let expected = hippo_scan(&rows, to, from, &legs).unwrap();
    let run = || Ok(hippo_scan_features(x, (weight, bias), to, from, &legs)?);
    assert_close(&flat(&run().unwrap()), &flat(&expected), 1e-12);
    check_gradients(&inputs.each_ref(), run).unwrap();
    assert_close(&flat(&composing(run).unwrap()), &flat(&expected), 1e-11);
    composing(|| check_gradients(&inputs.each_ref(), run)).unwrap();
}

#[test]
fn the_composition_of_a_memory_is_the_same_in_value_and_gradients() {
    for (discretisation, order) in ALL.into_iter().zip([2, 3, 6, 4]) {
        let input = var(30, &[2, 7, 3]);
        let run = |f: fn(&Tensor, &Legs) -> dense_rnn::Result<Tensor>| {
            let memory = f(&input, &legs(order, discretisation)).unwrap();
            let upstream = tensor(31, memory.dims());
            let grads = (&memory * upstream).unwrap().sum_all().unwrap().backward().unwrap();
            (flat(&memory), flat(grads.get(&input).unwrap()))
        };
        let ((found, grad), (expected, expected_grad)) =
            (run(legs_memory), run(composed::legs_memory));
        assert_close(&found, &expected, 1e-11);
        assert_close(&grad, &expected_grad, 1e-10);
    }
}

#[test]
fn the_composition_is_the_same_in_value_and_gradients() {
    for (discretisation, order) in ALL.into_iter().zip([2, 3, 6, 4]) {
        for ([n, h, w, k], m) in [([2, 4, 7, 4], 2), ([1, 6, 3, 1], 11), ([1, 1, 5, 1], 16)] {
            let d = m * order;
            let inputs =
                [var(13, &[n, h, w, k, m + 2 * d]), var(14, &[k, m, d]), var(15, &[k, 2 * d, d])];
            let run = |f: fn(&Tensor, &Tensor, &Tensor, &Legs) -> dense_rnn::Result<Tensor>| {
                let [input, to, from] = &inputs;
                let hidden = f(input, to, from, &legs(order, discretisation)).unwrap();
                let upstream = tensor(16, hidden.dims());
                let grads = (&hidden * upstream).unwrap().sum_all().unwrap().backward().unwrap();
                let grads = inputs.each_ref().map(|input: &Var| flat(grads.get(input).unwrap()));
                (flat(&hidden), grads)
            };
            let (found, grads) = run(hippo_scan);
            let (expected, expected_grads) = run(composed::hippo_scan);
            assert_close(&found, &expected, 1e-11);
            for (found, expected) in grads.iter().zip(&expected_grads) {
                assert_close(found, expected, 1e-9);
            }
        }
    }
}

#[test]
fn single_precision_is_close_on_a_large_grid_at_all_orders() {
    for order in [1, 16, 64] {
        let d = 64;
        let m = d / order;
        let input = tensor(17, &[1, 30, 40, 4, m + 2 * d]);
        let to = (tensor(18, &[4, m, d]) / (d as f64).sqrt()).unwrap();
        let from = (tensor(19, &[4, 2 * d, d]) / (d as f64).sqrt()).unwrap();
        let run = |dtype| {
            let [input, to, from] = [&input, &to, &from].map(|x| x.to_dtype(dtype).unwrap());
            flat(&hippo_scan(&input, &to, &from, &legs(order, Discretisation::Bilinear)).unwrap())
        };
        assert_close(&run(DType::F32), &run(DType::F64), 1e-4);
    }
}

#[test]
fn the_layer_joins_four_directions_and_any_threads_give_the_same_bits() {
    let config = DenseRnnConfig {
        hidden_channels: 6,
        cell: Cell::Hippo { order: 3, discretisation: Discretisation::Bilinear },
        ..DenseRnnConfig::default()
    };
    let shapes: [(&str, &[usize]); 6] = [
        ("input.weight", &[4 * 14, 5]),
        ("input.bias", &[4 * 14]),
        ("memory.input", &[4, 2, 6]),
        ("memory.weight", &[4, 12, 6]),
        ("output.weight", &[3, 24]),
        ("output.bias", &[3]),
    ];
    let named = |(seed, (name, shape)): (usize, &(&str, &[usize]))| {
        ((*name).to_owned(), tensor(seed as u64 + 20, shape))
    };
    let all: std::collections::HashMap<_, _> = shapes.iter().enumerate().map(named).collect();
    let vb = VarBuilder::from_tensors(all.clone(), DType::F64, &Device::Cpu);
    let layer = config.build(5, 3, &vb).unwrap().unwrap();
    let features = tensor(30, &[2, 5, 4, 3]);
    let found = flat(&layer.forward(&features).unwrap());
    // The definition: products of each unit, the scan, products of each unit.
    let rows = features.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap(); // [n, h, w, c]
    let rows = rows.broadcast_matmul(&all["input.weight"].t().unwrap()).unwrap();
    let rows = rows.broadcast_add(&all["input.bias"]).unwrap().reshape((2, 4, 3, 4, 14)).unwrap();
    let memory = (&all["memory.input"], &all["memory.weight"]);
    let hidden = composed::hippo_scan(&rows, memory.0, memory.1, &config.cell.legs().unwrap());
    let hidden = hidden.unwrap().flatten_from(3).unwrap(); //                   [n, h, w, 4·d]
    let out = hidden.broadcast_matmul(&all["output.weight"].t().unwrap()).unwrap();
    let out = out.broadcast_add(&all["output.bias"]).unwrap().permute((0, 3, 1, 2)).unwrap();
    assert_close(&found, &flat(&out), 1e-11);
    let threads = |count| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        pool.install(|| flat(&layer.forward(&features).unwrap()))
    };
    assert_eq!(threads(1), threads(3));
}

/// Sines of three frequencies, any phase, their steps in one shuffled order: what is where has to be
/// remembered, as nothing is local.
#[test]
fn a_permuted_sequence_is_classified() {
    let (count, classes) = (40, 3);
    let order_of = values(40, count);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| order_of[a].total_cmp(&order_of[b]));
    let batch = |seed: u64, n: usize| {
        let drawn = values(seed, n);
        let label = |k: usize| k % classes;
        let of = |k: usize| {
            let phase = drawn[k] * std::f64::consts::PI;
            let step = move |t: usize| {
                let turns = (label(k) + 1) as f64 * t as f64 / count as f64;
                (2.0 * std::f64::consts::PI * turns + phase).sin() as f32
            };
            order.iter().map(|&t| step(t)).collect::<Vec<f32>>()
        };
        let values: Vec<f32> = (0..n).flat_map(of).collect();
        let labels: Vec<u32> = (0..n).map(|k| label(k) as u32).collect();
        let values = Tensor::from_vec(values, (n, count, 1), &Device::Cpu).unwrap();
        (values, Tensor::new(labels, &Device::Cpu).unwrap())
    };
    // Seeded variables, which a builder's own would not be.
    let map = VarMap::new();
    let (d, legs) = (16, legs(8, Discretisation::Bilinear));
    let shapes: [(&str, &[usize]); 5] = [
        ("input.weight", &[34, 1]),
        ("input.bias", &[34]),
        ("memory.input", &[1, 2, 16]),
        ("memory.weight", &[1, 32, 16]),
        ("classifier", &[classes, d]),
    ];
    let mut vars = Vec::new();
    for (seed, (name, shape)) in shapes.iter().enumerate() {
        let values = (tensor(seed as u64 + 50, shape) * 0.4).unwrap();
        let var = Var::from_tensor(&values.to_dtype(DType::F32).unwrap()).unwrap();
        map.data().lock().unwrap().insert((*name).to_owned(), var.clone());
        vars.push(var);
    }
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let layer = HippoRnnConfig { hidden_channels: d, legs }.build(1, &vb).unwrap();
    let classifier = vars[4].as_tensor().clone();
    let logits = |x: &Tensor| {
        let hidden = layer.forward(x).unwrap().narrow(1, count - 1, 1).unwrap();
        hidden.squeeze(1).unwrap().matmul(&classifier.t().unwrap()).unwrap()
    };
    let params = ParamsAdamW { lr: 0.02, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(vars, params).unwrap();
    for step in 0..150 {
        let (x, labels) = batch(100 + step, 48);
        let log = candle_nn::ops::log_softmax(&logits(&x), D::Minus1).unwrap();
        let right = log.gather(&labels.unsqueeze(1).unwrap(), 1).unwrap();
        optimizer.backward_step(&right.mean_all().unwrap().neg().unwrap()).unwrap();
    }
    let (x, labels) = batch(1, 300);
    let found = logits(&x).argmax(D::Minus1).unwrap();
    let right = found.eq(&labels).unwrap().to_dtype(DType::F32).unwrap().mean_all().unwrap();
    let right = right.to_scalar::<f32>().unwrap();
    assert!(right > 0.9, "{right} of held-out sequences are classified right");
}

#[test]
fn what_does_not_fit_is_refused() {
    let message = |result: dense_rnn::Result<Tensor>| result.unwrap_err().to_string();
    let memory = |order, shape: &[usize]| {
        message(legs_memory(&tensor(1, shape), &legs(order, Discretisation::Bilinear)))
    };
    assert_eq!(memory(0, &[1, 2, 3]), "order = 0: must be between 1 and 64");
    assert_eq!(memory(65, &[1, 2, 3]), "order = 65: must be between 1 and 64");
    assert!(memory(4, &[2, 3]).starts_with("legs_memory: expected input: [n, t, m]"));
    let scan = |input: &[usize], to: &[usize], from: &[usize]| {
        let [input, to, from] = [input, to, from].map(|shape| tensor(1, shape));
        message(hippo_scan(&input, &to, &from, &legs(4, Discretisation::Bilinear)))
    };
    let wrong = scan(&[1, 2, 2, 4, 18], &[4, 2, 6], &[4, 12, 6]);
    assert!(wrong.contains("d = m · order"), "{wrong}");
    let wrong = scan(&[1, 2, 2, 4, 18], &[4, 2, 8], &[4, 8, 8]);
    assert!(wrong.contains("from_memory: [k, 2·d, d]"), "{wrong}");
    let wrong = scan(&[1, 2, 2, 4, 17], &[4, 2, 8], &[4, 16, 8]);
    assert!(wrong.contains("input: [n, h, w, k, m + 2·d]"), "{wrong}");
    let config = |order| DenseRnnConfig {
        hidden_channels: 24,
        cell: Cell::Hippo { order, discretisation: Discretisation::Bilinear },
        ..DenseRnnConfig::default()
    };
    let error = config(16).check().unwrap_err().to_string();
    assert_eq!(error, "hidden_channels = 24: must be a multiple of the memory's order");
    config(12).check().unwrap();
}
