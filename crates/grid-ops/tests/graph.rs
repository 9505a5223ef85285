//! Gradients that pass between operations are those of candle's own sums.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};
use grid_ops::{
    Activation, Conv2d, Pool, Reads, Rounding, add, apply1, backward, backward_from, batch_norm,
    composing, conv2d, is_composed, max_pool2d, recomputed, view,
};
use testkit::{assert_close, check_gradients, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// A residual block whose inner result goes to operations of this crate and of candle, twice each.
fn block(x: &Tensor, weight: &Tensor, gamma: &Tensor) -> anyhow::Result<Tensor> {
    let config = Conv2d { padding: 1, ..Conv2d::default() };
    let y = conv2d(x, weight, None, &config)?;
    let y = batch_norm(&y, gamma, gamma, 1e-5, Activation::Relu)?.y;
    let z = conv2d(&y, weight, None, &config)?;
    let sum = add(&z, &y, Activation::Identity)?;
    let sum = add(&sum, &sum, Activation::Identity)?;
    let pool = Pool { kernel: 2, stride: 2, padding: 0, rounding: Rounding::Floor };
    let pooled = max_pool2d(&sum, &pool)?;
    let (_, _, h, w) = pooled.dims4()?;
    let cut = y.narrow(2, 0, h)?.narrow(3, 0, w)?;
    Ok(((pooled * &cut)? + cut.sqr()?)?)
}

#[test]
fn gradients_of_a_block_match_central_differences() {
    let (x, weight, gamma) = (var(1, &[2, 3, 5, 6]), var(2, &[3, 3, 3, 3]), var(3, &[3]));
    check_gradients(&[&x, &weight, &gamma], || block(&x, &weight, &gamma)).unwrap();
}

/// Two losses of one graph, one after the other and on two threads at once, and the sum of both.
#[test]
fn a_graph_can_be_run_backward_again_and_by_several_threads() {
    let (x, weight, gamma) = (var(1, &[2, 3, 5, 6]), var(2, &[3, 3, 3, 3]), var(3, &[3]));
    let y = block(&x, &weight, &gamma).unwrap();
    let losses = [y.sum_all().unwrap(), y.sqr().unwrap().sum_all().unwrap()];
    let gradient = |loss: &Tensor| flat(loss.backward().unwrap().get(&x).unwrap());
    let [a, b] = losses.each_ref().map(gradient);
    let both = gradient(&(&losses[0] + &losses[1]).unwrap());
    let sums: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_close(&both, &sums, 1e-10);
    std::thread::scope(|scope| {
        let losses = &losses;
        let threads = [0, 1, 0, 1].map(|nth| (nth, scope.spawn(move || gradient(&losses[nth]))));
        for (nth, thread) in threads {
            assert_eq!(thread.join().unwrap(), [&a, &b][nth].as_slice());
        }
    });
}

/// An error within a backward pass reaches the caller, and the next pass says what it left behind.
#[test]
fn gradients_of_a_failed_pass_are_not_taken_for_those_of_the_next() {
    struct Fails;

    impl candle_core::CustomOp1 for Fails {
        fn name(&self) -> &'static str {
            "fails"
        }

        fn cpu_fwd(
            &self,
            x: &candle_core::CpuStorage,
            layout: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::CpuStorage, candle_core::Shape)> {
            Ok((x.clone(), layout.shape().clone()))
        }

        fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
            candle_core::bail!("as it should")
        }
    }

    let x = Var::zeros((1, 1, 2, 2), DType::F64, &Device::Cpu).unwrap();
    let plus = |a: &Tensor, b: &Tensor| add(a, b, Activation::Identity).unwrap();
    let start = plus(&x, &x);
    let failing = start.apply_op1(Fails).unwrap();
    // `start` has a gradient of the sum when the other branch fails.
    for loss in [plus(&start, &failing), plus(&failing, &start)] {
        let error = loss.backward().unwrap_err();
        assert!(error.to_string().contains("as it should"), "{error}");
        let left = plus(&start, &start).backward().unwrap_err();
        assert!(left.to_string().contains("run forward anew"), "{left}");
        let grads = plus(&start, &start).backward().unwrap();
        assert_eq!(flat(grads.get(&x).unwrap()), [4.0; 4]);
    }
}

#[test]
fn long_chains_are_dropped_whole() {
    let x = Var::from_tensor(&tensor(1, &[1, 1, 1, 2])).unwrap();
    let mut y = x.as_tensor().clone();
    for _ in 0..2000 {
        y = add(&y, &x, Activation::Identity).unwrap();
    }
    let grads = y.backward().unwrap();
    assert_eq!(flat(grads.get(&x).unwrap()), [2001.0; 2]);
}

/// Variables that go into several operations, of this crate and of candle.
#[test]
fn a_pass_that_takes_variables_from_candle_makes_the_same_gradients() {
    let (x, weight, gamma) = (var(1, &[2, 3, 5, 6]), var(2, &[3, 3, 3, 3]), var(3, &[3]));
    let y = block(&x, &weight, &gamma).unwrap();
    let decay = (weight.sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
    let loss = (y.sqr().unwrap().sum_all().unwrap() + decay).unwrap();
    let [candle, ours] = [loss.backward(), backward(&loss)].map(Result::unwrap);
    for variable in [&x, &weight, &gamma] {
        let [candle, ours] = [&candle, &ours].map(|grads| flat(grads.get(variable).unwrap()));
        assert_close(&ours, &candle, 1e-12);
    }
    // The same direction, given instead of made of a loss.
    let direction = tensor(4, y.dims());
    let [y, again] = [(); 2].map(|()| block(&x, &weight, &gamma).unwrap());
    let product = (&again * &direction).unwrap().sum_all().unwrap();
    let [made, given] = [backward(&product), backward_from(&y, &direction)].map(Result::unwrap);
    for variable in [&x, &weight, &gamma] {
        let [made, given] = [&made, &given].map(|grads| flat(grads.get(variable).unwrap()));
        assert_close(&given, &made, 1e-12);
    }
    let error = backward_from(&y, &tensor(4, &[3])).unwrap_err().to_string();
    assert!(error.contains("got [3]"), "{error}");
}

#[test]
fn a_part_that_is_computed_again_has_the_same_gradients() {
    assert_computed_again(0.0);
}

/// As the same network is on other devices; sums are made in another order there.
#[test]
fn a_part_that_is_composed_again_has_the_same_gradients() {
    composing(|| assert_computed_again(1e-12));
}

/// The middle of a network made again, from an image or from what has a gradient.
fn assert_computed_again(tolerance: f64) {
    let (weight, gamma) = (var(2, &[3, 3, 3, 3]), var(3, &[3]));
    // candle's own operations see the variables, too.
    let made = |x: &Tensor, weight: &Tensor, gamma: &Tensor| {
        let y = block(x, weight, gamma)?;
        let scale = gamma.reshape((1, 3, 1, 1))?;
        anyhow::Ok(y.broadcast_mul(&scale)?)
    };
    let part = |x: &Tensor| made(x, &weight, &gamma).unwrap();
    for x in [var(1, &[2, 3, 5, 6]).as_tensor().clone(), tensor(1, &[2, 3, 5, 6])] {
        let kept = part(&x);
        let (w, g) = (weight.clone(), gamma.clone());
        let again = move |[x]: [&Tensor; 1]| made(x, &w, &g).map_err(candle_core::Error::wrap);
        let part_again = || recomputed([&x], &part(&x.detach()), again.clone()).unwrap();
        // `weight` has gradients from outside of the part as well.
        let loss = |y: &Tensor| {
            let config = Conv2d { padding: 1, ..Conv2d::default() };
            let y = conv2d(y, &weight, None, &config).unwrap();
            (y.sqr().unwrap().sum_all().unwrap() + weight.sum_all().unwrap()).unwrap()
        };
        let [of_kept, of_again] = [&kept, &part_again()].map(|y| backward(&loss(y)).unwrap());
        for variable in [&x, &weight, &gamma] {
            let [kept, again] = [&of_kept, &of_again].map(|grads| grads.get(variable).map(flat));
            assert_eq!(kept.is_some(), variable.is_variable());
            assert_eq!(again.is_some(), variable.is_variable());
            let [kept, again] = [kept, again].map(Option::unwrap_or_default);
            assert_close(&again, &kept, tolerance);
        }
        let error = loss(&part_again()).backward().unwrap_err().to_string();
        assert!(error.contains("grid_ops::backward"), "{error}");
    }
}

#[test]
fn a_network_of_compositions_is_the_same() {
    let (x, weight, gamma) = (var(1, &[2, 3, 5, 6]), var(2, &[3, 3, 3, 3]), var(3, &[3]));
    let run = || {
        let y = block(&x, &weight, &gamma).unwrap();
        let grads = backward_from(&y, &tensor(4, y.dims())).unwrap();
        [y.clone()].into_iter().chain([&x, &weight, &gamma].map(|v| grads.get(v).unwrap().clone()))
    };
    for (kernels, composed) in run().zip(composing(run)) {
        assert_close(&flat(&composed), &flat(&kernels), 1e-11);
    }
    assert!(!is_composed(&x) && composing(|| is_composed(&x)));
}

/// A pass of this crate's takes from the graph what it is through with; candle's leaves it.
#[test]
fn a_graph_is_freed_by_its_pass() {
    let (x, weight, gamma) = (var(1, &[2, 3, 5, 6]), var(2, &[3, 3, 3, 3]), var(3, &[3]));
    let loss = block(&x, &weight, &gamma).unwrap().sum_all().unwrap();
    let [first, again] = [(); 2].map(|()| loss.backward().unwrap());
    let freeing = backward(&loss).unwrap();
    for variable in [&x, &weight, &gamma] {
        let [first, again, freeing] =
            [&first, &again, &freeing].map(|grads| flat(grads.get(variable).unwrap()));
        assert_close(&again, &first, 0.0);
        assert_close(&freeing, &first, 1e-12);
    }
    for error in [backward(&loss).unwrap_err(), loss.backward().unwrap_err()] {
        let error = error.to_string();
        assert!(error.contains("has freed this graph; run forward anew"), "{error}");
    }
}

/// Doubles, and says in its backward pass what it was given: dimensions and strides.
struct Double(Arc<Mutex<Vec<[Vec<usize>; 2]>>>);

impl CustomOp1 for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn cpu_fwd(&self, x: &CpuStorage, at: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let twice = view::<f64>((x, at))?.iter().map(|x| 2.0 * x).collect();
        Ok((CpuStorage::F64(twice), at.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let mut seen = self.0.lock().unwrap();
        seen.extend([x, y].map(|t| [t.dims().to_vec(), t.stride().to_vec()]));
        Ok(Some((grad * 2.0)?))
    }
}

/// Of what a backward pass does not read, the graph has the shape only.
#[test]
fn a_graph_holds_what_is_read() {
    let x = var(1, &[2, 3]);
    let read = Reads { inputs: [true, false, false], output: false };
    for (reads, of_x, of_y) in [
        (Reads::ALL, vec![3, 1], vec![3, 1]),
        (read, vec![3, 1], vec![0, 0]),
        (Reads::NOTHING, vec![0, 0], vec![0, 0]),
    ] {
        let seen = Arc::default();
        let y = apply1(&x, Double(Arc::clone(&seen)), reads).unwrap();
        let grads = backward_from(&y, &tensor(2, &[2, 3])).unwrap();
        let expected: Vec<f64> = flat(&tensor(2, &[2, 3])).iter().map(|g| 2.0 * g).collect();
        assert_close(&flat(grads.get(&x).unwrap()), &expected, 0.0);
        assert_eq!(*seen.lock().unwrap(), [[vec![2, 3], of_x], [vec![2, 3], of_y]]);
    }
}

/// With a second input: both have their gradients, or only the one that wants one.
#[test]
fn a_part_of_two_inputs_that_is_computed_again_has_the_same_gradients() {
    let weight = var(3, &[3, 3, 3, 3]);
    let config = Conv2d { padding: 1, ..Conv2d::default() };
    let part = move |x: &Tensor, z: &Tensor, weight: &Tensor| {
        let y = conv2d(x, weight, None, &config)?;
        anyhow::Ok(add(&y, z, Activation::Relu)?)
    };
    let dims = [2, 3, 5, 6];
    let (x, z) = (var(1, &dims), var(2, &dims));
    for (x, z) in [(&*x, &*z), (&*x, &tensor(2, &dims)), (&tensor(1, &dims), &*z)] {
        let kept = part(x, z, &weight).unwrap();
        let w = weight.clone();
        let again = move |[x, z]: [&Tensor; 2]| part(x, z, &w).map_err(candle_core::Error::wrap);
        let alone = part(&x.detach(), &z.detach(), &weight).unwrap();
        let again = recomputed([x, z], &alone, again).unwrap();
        let grad = tensor(4, &dims);
        let [kept, again] = [&kept, &again].map(|y| backward_from(y, &grad).unwrap());
        for of in [x, z, &*weight].into_iter().filter(|of| of.is_variable()) {
            let [kept, again] = [&kept, &again].map(|grads| flat(grads.get(of).unwrap()));
            assert_close(&again, &kept, 0.0);
        }
    }
}
