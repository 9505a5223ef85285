//! The scan of features against the input product and the scan as two operations.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use dense_rnn::{Activation, Aggregation, Graph, Scan, Score, scan, scan_features};
use grid_ops::{backward, composing, rows_of_grid};
use testkit::{assert_close, tensor, var};

/// One of each way in which a unit finds what its predecessors hand on.
fn modes() -> impl Iterator<Item = Scan> {
    let attention = Aggregation::Attention;
    [
        (Graph::Dag4, Aggregation::Mean),
        (Graph::Dag8, Aggregation::Sum),
        (Graph::Dense, Aggregation::Mean),
        (Graph::Dense, attention(Score::LinearAdditive)),
        (Graph::Dense, attention(Score::ScaledDot)),
        (Graph::Dense, attention(Score::TanhAdditive)),
        (Graph::Dag8, attention(Score::TanhAdditive)),
    ]
    .into_iter()
    .map(|(graph, aggregation)| Scan { graph, aggregation, activation: Activation::Relu })
}

/// Features, weight and bias of their product, weights and scoring vector of `d` hidden channels.
fn problem(mode: &Scan, [n, c, h, w]: [usize; 4], d: usize) -> [Var; 5] {
    let score = mode.aggregation.score();
    let a = score.map_or(0, |score| score.key_channels(3));
    let width = d + score.map_or(0, |score| score.query_channels(a));
    // Small enough for sums to stay finite.
    let weights = (tensor(4, &[4, d + a, d]) * (0.5 / d as f64)).unwrap();
    [
        var(1, &[n, c, h, w]),
        var(2, &[4 * width, c]),
        var(3, &[4 * width]),
        Var::from_tensor(&weights).unwrap(),
        var(5, &[4, a.max(1)]),
    ]
}

fn vector<'a>(mode: &Scan, vector: &'a Var) -> Option<&'a Tensor> {
    (mode.aggregation.score() == Some(Score::TanhAdditive)).then_some(vector.as_tensor())
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Hidden states and the gradient of every input that has one, towards something.
fn all(hidden: &Tensor, inputs: &[Var; 5]) -> Vec<Vec<f64>> {
    let towards = tensor(9, hidden.dims()).to_dtype(hidden.dtype()).unwrap();
    let grads = (hidden * towards).unwrap().sum_all().unwrap().backward().unwrap();
    let of_inputs = inputs.iter().filter_map(|input| grads.get(input)).map(flat);
    std::iter::once(flat(hidden)).chain(of_inputs).collect()
}

#[test]
fn equals_the_product_and_the_scan_one_after_the_other() {
    for mode in modes() {
        // Several tiles of either kind, and several parts of the product.
        for [n, c, h, w] in [[2, 5, 3, 4], [1, 3, 34, 35], [1, 4, 1, 9]] {
            let inputs = problem(&mode, [n, c, h, w], 6);
            let [x, weight, bias, weights, va] = &inputs;
            let va = vector(&mode, va);
            let once = scan_features(x, (weight, bias), weights, va, &mode).unwrap();
            let width = weight.dims()[0] / 4;
            let rows = rows_of_grid(x, weight, bias).unwrap().reshape((n, h, w, 4, width)).unwrap();
            let twice = scan(&rows, weights, va, &mode).unwrap();
            assert_eq!(once.dims(), twice.dims());
            let (once, twice) = (all(&once, &inputs), all(&twice, &inputs));
            assert_eq!(once.len(), 5 + usize::from(va.is_some()), "{mode:?}");
            assert_eq!(once.len(), twice.len(), "{mode:?}");
            for (once, twice) in once.iter().zip(&twice) {
                let largest = twice.iter().fold(1.0f64, |m, x| m.max(x.abs()));
                assert_close(once, twice, 1e-12 * largest);
            }
        }
    }
}

/// What one pass uses up, another still has: candle's leave the graph, this workspace's frees it.
#[test]
fn every_pass_has_the_same_gradients() {
    for mode in modes() {
        let inputs = problem(&mode, [2, 5, 4, 6], 6);
        let [x, weight, bias, weights, va] = &inputs;
        let hidden = scan_features(x, (weight, bias), weights, vector(&mode, va), &mode).unwrap();
        let loss = (&hidden * tensor(9, hidden.dims())).unwrap().sum_all().unwrap();
        let [first, again] = [(); 2].map(|()| loss.backward().unwrap());
        let freeing = backward(&loss).unwrap();
        for input in inputs.iter().filter(|input| first.get(input).is_some()) {
            let of = |grads: &GradStore| flat(grads.get(input).unwrap());
            assert_close(&of(&again), &of(&first), 0.0);
            assert_close(&of(&freeing), &of(&first), 0.0);
        }
    }
}

#[test]
fn the_composition_is_the_same_in_value_and_gradients() {
    for mode in modes() {
        let inputs = problem(&mode, [2, 5, 4, 6], 6);
        let [x, weight, bias, weights, va] = &inputs;
        let va = vector(&mode, va);
        let run = || all(&scan_features(x, (weight, bias), weights, va, &mode).unwrap(), &inputs);
        let (kernels, composed) = (run(), composing(run));
        assert_eq!(kernels.len(), composed.len(), "{mode:?}");
        for (kernels, composed) in kernels.iter().zip(&composed) {
            let largest = kernels.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            assert_close(composed, kernels, 1e-11 * largest);
        }
    }
}

#[test]
fn gradients_match_central_differences() {
    for mode in modes() {
        let inputs = problem(&mode, [1, 3, 2, 5], 2);
        let [x, weight, bias, weights, va] = &inputs;
        let given = vector(&mode, va);
        let mut checked = vec![x, weight, bias, weights];
        checked.extend(given.map(|_| va));
        testkit::check_gradients(&checked, || {
            Ok(scan_features(x, (weight, bias), weights, given, &mode)?)
        })
        .unwrap_or_else(|error| panic!("{mode:?}: {error:#}"));
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for mode in modes() {
        let inputs = problem(&mode, [2, 20, 35, 37], 33)
            .map(|t| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap());
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let [x, weight, bias, weights, va] = &inputs;
                let va = vector(&mode, va);
                all(&scan_features(x, (weight, bias), weights, va, &mode).unwrap(), &inputs)
            })
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert!(run(threads) == one, "{mode:?} differs with {threads} threads");
        }
    }
}

#[test]
fn features_without_a_gradient_leave_the_others_as_they_are() {
    for mode in modes() {
        let inputs = problem(&mode, [1, 5, 4, 3], 4);
        let [x, weight, bias, weights, va] = &inputs;
        let va = vector(&mode, va);
        let of = |x: &Tensor| {
            all(&scan_features(x, (weight, bias), weights, va, &mode).unwrap(), &inputs)
        };
        let (with, mut without) = (of(x), of(&x.detach()));
        without.insert(1, with[1].clone());
        assert!(with == without, "{mode:?}");
    }
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let mode = modes().next().unwrap();
    let message = |x: &[usize], weight: &[usize], bias: usize| {
        let (x, weight, bias) = (tensor(1, x), tensor(2, weight), tensor(3, &[bias]));
        let weights = tensor(4, &[4, 5, 5]);
        scan_features(&x, (&weight, &bias), &weights, None, &mode).unwrap_err().to_string()
    };
    assert_eq!(
        message(&[1, 2, 3], &[20, 2], 20),
        "scan_features: expected features: [n, c, h, w], got [1, 2, 3]"
    );
    assert!(message(&[1, 2, 3, 3], &[20, 3], 20).contains("c as in features, got [20, 3]"));
    assert!(message(&[1, 2, 3, 3], &[22, 2], 22).contains("weight: [4·(d + q), c]"));
    assert!(message(&[1, 2, 3, 3], &[20, 2], 24).contains("bias: [4·(d + q)] as in weight"));
    assert!(message(&[1, 2, 0, 3], &[20, 2], 20).contains("none of them zero"));
    assert!(message(&[1, 2, 3, 3], &[24, 2], 24).contains("d + q] with d and q as in weights"));
}
