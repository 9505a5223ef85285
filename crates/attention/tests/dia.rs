//! The cell that weighs channels: reference values, gradients, and its memory.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;

use attention::DiaLstm;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use grid_ops::composing;
use testkit::{assert_close, check_gradients, fill, tensor, var};

/// The parameters in their order, for `c` channels.
fn shapes(c: usize) -> Vec<(String, Vec<usize>)> {
    let r = (c / 4).max(1);
    let of = |side: &str| {
        [
            (format!("{side}.fc1.weight"), vec![r, c]),
            (format!("{side}.fc1.bias"), vec![r]),
            (format!("{side}.fc2.weight"), vec![4 * c, r]),
            (format!("{side}.fc2.bias"), vec![4 * c]),
        ]
    };
    ["input", "hidden"].into_iter().flat_map(of).collect()
}

/// `0.1 sin(k + 1)`, `k` running over all.
fn filled(c: usize) -> HashMap<String, Tensor> {
    let mut offset = 0;
    let fill = |(name, shape): (String, Vec<usize>)| {
        let values = fill(&shape, 0.1, offset as f64);
        offset += values.len();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    shapes(c).into_iter().map(fill).collect()
}

fn cell(parameters: HashMap<String, Tensor>, c: usize) -> DiaLstm {
    DiaLstm::new(c, &VarBuilder::from_tensors(parameters, DType::F64, &Device::Cpu)).unwrap()
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Values of an independent float64 computation.
#[test]
fn two_steps_have_the_reference_values() {
    let dia = cell(filled(4), 4);
    let y = |values: [f64; 4]| Tensor::new(&[values], &Device::Cpu).unwrap();
    let first = dia.step(&y([0.5, -1., 2., 0.25]), None).unwrap();
    let h = [0.255858243, 0.240262951, 0.231458264, 0.239321656];
    let c = [-0.094007879, -0.061011542, 0.019782315, 0.083949145];
    assert_close(&flat(&first.hidden), &h, 1e-9);
    assert_close(&flat(&first.cell), &c, 1e-9);
    let second = dia.step(&y([1., 0., -0.5, 0.75]), Some(&first)).unwrap();
    let h = [0.249279054, 0.236135698, 0.232653709, 0.243963092];
    let c = [-0.143195727, -0.094370999, 0.030215821, 0.124475781];
    assert_close(&flat(&second.hidden), &h, 1e-9);
    assert_close(&flat(&second.cell), &c, 1e-9);
}

#[test]
fn maps_are_multiplied_by_the_hidden_state_of_their_means() {
    let dia = cell(filled(5), 5);
    let mut memory = Vec::new();
    let mut state = None;
    for seed in [1, 2, 3] {
        let map = tensor(seed, &[2, 5, 3, 4]);
        let next = dia.step(&map.mean((2, 3)).unwrap(), state.as_ref()).unwrap();
        let gate = next.hidden.reshape((2, 5, 1, 1)).unwrap();
        let expected = flat(&map.broadcast_mul(&gate).unwrap());
        assert_close(&flat(&dia.scaled(&map, &mut memory).unwrap()), &expected, 1e-12);
        state = Some(next);
    }
}

#[test]
fn gradients_match_central_differences() {
    let names = shapes(3);
    let vars: Vec<Var> =
        names.iter().zip(10..).map(|((_, shape), seed)| var(seed, shape)).collect();
    let named = names.iter().zip(&vars).map(|((name, _), var)| (name.clone(), var.as_tensor()));
    let dia = cell(named.map(|(name, tensor)| (name, tensor.clone())).collect(), 3);
    let maps = [var(20, &[2, 3, 2, 3]), var(21, &[2, 3, 3, 1])];
    let inputs: Vec<&Var> = vars.iter().chain(&maps).collect();
    check_gradients(&inputs, || {
        let mut memory = Vec::new();
        let scaled = dia.scaled(&maps[0], &mut memory)?.flatten_all()?;
        let then = dia.scaled(&maps[1], &mut memory)?.flatten_all()?;
        Ok(Tensor::cat(&[scaled, then], 0)?)
    })
    .unwrap();
}

/// Before the first map the state is 0, and biases start at 0: what the first layers' units get there
/// is 0, and so is the gradient that flows back through them. NaN flows on.
#[test]
fn nothing_flows_back_through_units_at_zero() {
    let vars: HashMap<String, Var> =
        filled(4).into_iter().map(|(name, t)| (name, Var::from_tensor(&t).unwrap())).collect();
    let parameters = |(name, var): (&String, &Var)| {
        let zero = name.ends_with("fc1.bias");
        if zero {
            var.set(&var.zeros_like().unwrap()).unwrap();
        }
        (name.clone(), var.as_tensor().clone())
    };
    let dia = cell(vars.iter().map(parameters).collect(), 4);
    let step = |y: f64| dia.step(&Tensor::full(y, (1, 4), &Device::Cpu).unwrap(), None).unwrap();
    let run = || {
        let grads = step(0.0).hidden.sum_all().unwrap().backward().unwrap();
        let of = |name: &str| flat(grads.get(&vars[name]).unwrap());
        [of("hidden.fc1.bias"), of("input.fc1.bias"), of("input.fc2.bias")]
    };
    for [hidden, input, behind] in [run(), composing(run)] {
        assert_eq!((hidden, input), (vec![0.0], vec![0.0]));
        assert!(behind.iter().any(|&g| g != 0.0), "{behind:?}");
    }
    let run = || flat(&step(f64::NAN).hidden);
    assert!(run().iter().chain(&composing(run)).all(|h| h.is_nan()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let dia = cell(filled(4), 4);
    let error = dia.step(&tensor(1, &[2, 3]), None).unwrap_err().to_string();
    assert!(error.starts_with("dia: expected y: [n, c]"), "{error}");
    let map = tensor(1, &[2, 4, 1, 1]);
    let error = dia.scaled(&map, &mut vec![map.clone()]).unwrap_err().to_string();
    assert!(error.starts_with("dia: expected memory:"), "{error}");
}
