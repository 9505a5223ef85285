//! The rectifier, alone and within operations: at 0 its gradient is 0, as PyTorch's is.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor, Var};
use grid_ops::{Activation, Conv2d, Pool, Rounding, composing, relu};
use testkit::{assert_close, check_gradients, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn variable(values: &[f64], dims: &[usize], dtype: DType) -> Var {
    let tensor = Tensor::from_slice(values, dims, &Device::Cpu).unwrap();
    Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
}

/// The gradients of each variable in `Σ direction ⊙ f()`.
fn gradients(vars: &[&Var], f: impl Fn() -> grid_ops::Result<Tensor>) -> Vec<Vec<f64>> {
    let y = f().unwrap();
    let direction = tensor(9, y.dims()).to_dtype(y.dtype()).unwrap();
    let grads = (y * direction).unwrap().sum_all().unwrap().backward().unwrap();
    vars.iter().map(|var| flat(grads.get(var).unwrap())).collect()
}

#[test]
fn values_and_gradients_are_those_of_the_definition() {
    // More elements than one task takes, and not a multiple of them.
    let x = var(1, &[3, 91, 83]);
    let expected: Vec<f64> = flat(&x).into_iter().map(|x| if x > 0.0 { x } else { 0.0 }).collect();
    for dtype in [DType::F32, DType::F64] {
        let x = x.to_dtype(dtype).unwrap();
        let run = || flat(&relu(&x).unwrap());
        assert_close(&run(), &expected, 1e-7);
        assert_eq!(run(), composing(run));
    }
    let turned = x.transpose(0, 2).unwrap();
    assert_eq!(flat(&relu(&turned).unwrap().transpose(0, 2).unwrap()), expected);
    let small = var(2, &[2, 3, 5]);
    check_gradients(&[&small], || Ok(relu(&small)?)).unwrap();
    composing(|| check_gradients(&[&small], || Ok(relu(&small)?))).unwrap();
    let error = relu(&Tensor::new(&[1u8], &Device::Cpu).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "relu: expected f32 or f64, got U8");
}

#[test]
fn at_zero_nothing_flows_back() {
    let of_values = [-1.0, 0.0, -0.0, 2.0, 6.0, 7.0];
    let pool = Pool { kernel: 2, stride: 2, padding: 0, rounding: Rounding::Floor };
    for dtype in [DType::F32, DType::F64] {
        let x = variable(&of_values, &[1, 1, 1, 6], dtype);
        let direction = flat(&tensor(9, &[1, 1, 1, 6]).to_dtype(dtype).unwrap());
        let open = |lets: [bool; 6]| -> Vec<f64> {
            direction.iter().zip(lets).map(|(&d, lets)| if lets { d } else { 0.0 }).collect()
        };
        let (low, between) =
            ([false, false, false, true, true, true], [false, false, false, true, false, false]);
        let check = |what: &str,
                     expected: &[f64],
                     vars: &[&Var],
                     f: &dyn Fn() -> grid_ops::Result<Tensor>| {
            for (how, found) in
                [("kernel", gradients(vars, f)), ("composed", composing(|| gradients(vars, f)))]
            {
                for (var, found) in found.iter().enumerate() {
                    // Not −0 for 0, which equals it.
                    assert_eq!(found, expected, "{what}, {how}, {dtype:?}, variable {var}");
                }
            }
        };
        check("relu", &open(low), &[&x], &|| relu(&x));
        let zeros = x.zeros_like().unwrap();
        for (activation, lets) in [(Activation::Relu, low), (Activation::Relu6, between)] {
            check("add", &open(lets), &[&x], &|| grid_ops::add(&x, &zeros, activation));
            let config = Conv2d { activation, ..Conv2d::default() };
            let one = Tensor::ones((1, 1, 1, 1), dtype, &Device::Cpu).unwrap();
            check("conv2d", &open(lets), &[&x], &|| grid_ops::conv2d(&x, &one, None, &config));
        }
        // Where all of an output is 0, its bias gets nothing.
        let (zero, nothing) = (variable(&[0.0], &[1], dtype), [0.0]);
        for activation in [Activation::Relu, Activation::Relu6] {
            let weight = Tensor::zeros((1, 1, 1, 1), dtype, &Device::Cpu).unwrap();
            let config = Conv2d { activation, ..Conv2d::default() };
            let f = || grid_ops::conv2d(&x, &weight, Some(&zero), &config);
            check("bias", &nothing, &[&zero], &f);
            let (gamma, beta) = (&zero, &variable(&[0.0], &[1], dtype));
            let f = || Ok(grid_ops::batch_norm(&x, gamma, beta, 1e-5, activation)?.y);
            check("batch norm", &nothing, &[gamma, beta], &f);
        }
        let flat_window = variable(&[-1.0, 0.0, 0.0, -2.0], &[1, 1, 2, 2], dtype);
        let f = || grid_ops::relu_max_pool2d(&flat_window, &pool);
        check("relu and pooling", &[0.0; 4], &[&flat_window], &f);
    }
}
