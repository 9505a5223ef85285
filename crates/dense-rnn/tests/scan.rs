//! The scan against its naive twin, its gradients, its invariants and its errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod twin;

use candle_core::{DType, Device, Tensor};
use dense_rnn::{
    Activation, Aggregation, Direction, Graph, Scan, Score, TileBorder, scan, scan_by_tiles,
    scan_tile,
};
use proptest::prelude::*;
use testkit::{assert_close, tensor, var};

const GRAPHS: [Graph; 3] = [Graph::Dag4, Graph::Dag8, Graph::Dense];
const AGGREGATIONS: [Aggregation; 5] = [
    Aggregation::Sum,
    Aggregation::Mean,
    Aggregation::Attention(Score::TanhAdditive),
    Aggregation::Attention(Score::ScaledDot),
    Aggregation::Attention(Score::LinearAdditive),
];

fn modes() -> impl Iterator<Item = Scan> {
    let activations = [Activation::Relu, Activation::Tanh];
    GRAPHS.into_iter().flat_map(move |graph| {
        AGGREGATIONS.into_iter().flat_map(move |aggregation| {
            activations.map(|activation| Scan { graph, aggregation, activation })
        })
    })
}

fn keys(mode: &Scan, a: usize) -> usize {
    mode.aggregation.score().map_or(0, |score| score.key_channels(a))
}

/// Channels of an input row.
fn width(mode: &Scan, d: usize, a: usize) -> usize {
    d + mode.aggregation.score().map_or(0, |score| score.query_channels(keys(mode, a)))
}

/// `[n, h, w, 4, width]` to `[n, 4, h, w, width]`.
fn by_unit(t: &Tensor) -> Tensor {
    t.permute((0, 3, 1, 2, 4)).unwrap()
}

fn has_vector(mode: &Scan) -> bool {
    mode.aggregation == Aggregation::Attention(Score::TanhAdditive)
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Input, weights and vector of a problem; the weights small enough for sums to stay finite.
fn problem(seed: u64, n: usize, mode: &Scan, s: twin::Sizes) -> [Tensor; 3] {
    let input = tensor(seed, &[n, s.h, s.w, 4, width(mode, s.d, s.a)]);
    let weights = (tensor(seed + 1, &[4, s.d + s.a, s.d]) * (1.0 / s.d as f64)).unwrap();
    [input, weights, tensor(seed + 2, &[4, s.a.max(1)])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn equals_the_twin(
        // Up to three rows of tiles of pairs and three in a row.
        (n, h, w) in (1usize..3, 1usize..36, 1usize..12),
        (d, a) in (1usize..20, 1usize..19),
        seed in 0u64..1 << 32,
    ) {
        for mode in modes() {
            let sizes = twin::Sizes { h, w, d, a: keys(&mode, a) };
            let [input, weights, vector] = problem(seed, n, &mode, sizes);
            let got = scan(&input, &weights, has_vector(&mode).then_some(&vector), &mode).unwrap();
            for image in 0..n {
                for direction in Direction::ALL {
                    let k = direction as usize;
                    let of = |t: &Tensor| flat(&by_unit(t).get(image).unwrap().get(k).unwrap());
                    let (expected, _) = twin::scan(
                        sizes,
                        direction,
                        &mode,
                        &of(&input),
                        &flat(&weights.get(k).unwrap()),
                        &flat(&vector.get(k).unwrap()),
                    );
                    let largest = expected.iter().fold(1.0f64, |m, h| m.max(h.abs()));
                    assert_close(&of(&got), &expected, 1e-12 * largest);
                }
            }
        }
    }
}

#[test]
fn gradients_match_central_differences() {
    for mode in modes() {
        for (h, w) in [(3, 4), (1, 3), (4, 1), (1, 1), (2, 10)] {
            let (d, a) = (2, keys(&mode, 2));
            let input = var(14, &[1, h, w, 4, width(&mode, d, a)]);
            let weights = var(12, &[4, d + a, d]);
            let vector = var(13, &[4, a.max(1)]);
            let mut inputs = vec![&input, &weights];
            if has_vector(&mode) {
                inputs.push(&vector);
            }
            testkit::check_gradients(&inputs, || {
                let vector = has_vector(&mode).then_some(vector.as_tensor());
                Ok(scan(&input, &weights, vector, &mode)?)
            })
            .unwrap_or_else(|error| panic!("{mode:?} {h}×{w}: {error:#}"));
        }
    }
}

#[test]
fn large_scores_take_the_direct_path_and_keep_their_gradient() {
    let mode = Scan {
        graph: Graph::Dense,
        aggregation: Aggregation::Attention(Score::TanhAdditive),
        activation: Activation::Tanh,
    };
    // Queries near 200 and keys near -200: the exponentials of either are beyond the limit, their
    // sums are not. Channel 0 of every hidden state is tanh(20 + …) = 1, and its weight -200.
    let input = var(21, &[1, 2, 3, 4, 4]);
    let weights = var(22, &[4, 4, 2]);
    let vector = var(23, &[4, 2]);
    let scaled = || -> candle_core::Result<Tensor> {
        let first = (input.narrow(4, 0, 1)? + 20.0)?;
        let second = input.narrow(4, 1, 1)?;
        let query = (input.narrow(4, 2, 2)? + 200.0)?;
        Tensor::cat(&[first, second, query], 4)
    };
    let keys = || -> candle_core::Result<Tensor> {
        let value = weights.narrow(1, 0, 2)?;
        let key = weights.narrow(1, 2, 2)?;
        let shift = Tensor::new(&[[[-200.0f64, 0.0]]], &Device::Cpu)?;
        Tensor::cat(&[value, key.broadcast_add(&shift)?], 1)
    };
    let sizes = twin::Sizes { h: 2, w: 3, d: 2, a: 2 };
    for graph in GRAPHS {
        let mode = Scan { graph, ..mode };
        let got = scan(&scaled().unwrap(), &keys().unwrap(), Some(&vector), &mode).unwrap();
        let of = |t: &Tensor| flat(&by_unit(t).get(0).unwrap().get(0).unwrap());
        let (expected, _) = twin::scan(
            sizes,
            Direction::SouthEast,
            &mode,
            &of(&scaled().unwrap()),
            &flat(&keys().unwrap().get(0).unwrap()),
            &flat(&vector.get(0).unwrap()),
        );
        assert_close(&of(&got), &expected, 1e-9);
        testkit::check_gradients(&[&input, &weights, &vector], || {
            Ok(scan(&scaled()?, &keys()?, Some(&vector), &mode)?)
        })
        .unwrap();
        let hidden = scan(&scaled().unwrap(), &keys().unwrap(), Some(&vector), &mode).unwrap();
        let grads = hidden.sum_all().unwrap().backward().unwrap();
        let of_queries = grads.get(&input).unwrap().narrow(4, 2, 2).unwrap();
        assert!(flat(&of_queries).iter().any(|g| g.abs() > 1e-6), "no score has a slope");
    }
}

#[test]
fn flipping_the_image_permutes_the_directions() {
    for mode in modes() {
        let (h, w, d, a) = (9, 4, 5, keys(&mode, 3));
        let sizes = twin::Sizes { h, w, d, a };
        let [input, weights, vector] = problem(31, 1, &mode, sizes);
        let vector = has_vector(&mode).then_some(vector);
        let swap = |t: &Tensor, dim: usize| {
            // Columns flipped: south-east and south-west change places, as do the northern two.
            let order = Tensor::new(&[1u32, 0, 3, 2], &Device::Cpu).unwrap();
            t.contiguous().unwrap().index_select(&order, dim).unwrap()
        };
        let flip = |t: &Tensor| {
            let order = Tensor::from_iter((0..w as u32).rev(), &Device::Cpu).unwrap();
            t.contiguous().unwrap().index_select(&order, 2).unwrap()
        };
        let straight = scan(&input, &weights, vector.as_ref(), &mode).unwrap();
        let flipped = scan(
            &swap(&flip(&input), 3),
            &swap(&weights, 0),
            vector.map(|v| swap(&v, 0)).as_ref(),
            &mode,
        )
        .unwrap();
        assert_close(&flat(&swap(&flip(&flipped), 3)), &flat(&straight), 1e-12);
    }
}

#[test]
fn without_recurrent_weight_it_is_pointwise() {
    for mode in modes() {
        let (d, a) = (4, keys(&mode, 3));
        let [input, weights, vector] = problem(41, 2, &mode, twin::Sizes { h: 3, w: 3, d, a });
        let weights = (weights * 0.0).unwrap();
        let vector = has_vector(&mode).then_some(&vector);
        let got = scan(&input, &weights, vector, &mode).unwrap();
        let own = by_unit(&input).narrow(4, 0, d).unwrap();
        let expected = match mode.activation {
            Activation::Relu => grid_ops::relu(&own).unwrap(),
            Activation::Tanh => own.tanh().unwrap(),
        };
        assert_close(&flat(&by_unit(&got)), &flat(&expected), 1e-12);
    }
}

#[test]
fn uniform_scores_make_attention_a_mean() {
    let (d, a, h, w) = (4, 3, 9, 11);
    let activation = Activation::Relu;
    for graph in GRAPHS {
        let aggregation = Aggregation::Attention(Score::TanhAdditive);
        let mode = Scan { graph, aggregation, activation };
        let [input, weights, _] = problem(51, 1, &mode, twin::Sizes { h, w, d, a });
        let zero = Tensor::zeros((4, a), DType::F64, &Device::Cpu).unwrap();
        let attended = scan(&input, &weights, Some(&zero), &mode).unwrap();
        let mode = Scan { graph, aggregation: Aggregation::Mean, activation };
        let own = input.narrow(4, 0, d).unwrap().contiguous().unwrap();
        let values = weights.narrow(1, 0, d).unwrap().contiguous().unwrap();
        let mean = scan(&own, &values, None, &mode).unwrap();
        assert_close(&flat(&attended), &flat(&mean), 1e-12);
        // A linear score of zero is uniform as well.
        let aggregation = Aggregation::Attention(Score::LinearAdditive);
        let mode = Scan { graph, aggregation, activation };
        let weights = values.pad_with_zeros(1, 0, 1).unwrap();
        let attended = scan(&own, &weights, None, &mode).unwrap();
        assert_close(&flat(&attended), &flat(&mean), 1e-12);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for mode in modes() {
        let sizes = twin::Sizes { h: 35, w: 19, d: 33, a: keys(&mode, 17) };
        let problem = problem(61, 2, &mode, sizes);
        let [input, weights, vector] = problem
            .map(|t| candle_core::Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap());
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let given = has_vector(&mode).then_some(vector.as_tensor());
                let hidden = scan(&input, &weights, given, &mode).unwrap();
                let grads = hidden.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let bits = |t: &Tensor| -> Vec<u32> {
                    let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                    values.iter().map(|x| x.to_bits()).collect()
                };
                let of = |var: &candle_core::Var| bits(grads.get(var).unwrap());
                (bits(&hidden), of(&input), of(&weights), given.map(|_| of(&vector)))
            })
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert!(run(threads) == one, "{mode:?} differs with {threads} threads");
        }
    }
}

#[test]
fn single_precision_is_close_on_a_large_grid() {
    for mode in modes().filter(|mode| mode.aggregation != Aggregation::Sum) {
        let (d, a) = (16, keys(&mode, 8));
        let [input, weights, vector] = problem(71, 1, &mode, twin::Sizes { h: 60, w: 60, d, a });
        let vector = has_vector(&mode).then_some(vector);
        let exact = flat(&scan(&input, &weights, vector.as_ref(), &mode).unwrap());
        let single = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
        let vector = vector.as_ref().map(single);
        let rounded = scan(&single(&input), &single(&weights), vector.as_ref(), &mode).unwrap();
        let largest = exact.iter().fold(0.0f64, |m, h| m.max(h.abs()));
        assert_close(&flat(&rounded.to_dtype(DType::F64).unwrap()), &exact, 1e-4 * largest);
    }
}

#[test]
fn nan_comes_out_as_nan() {
    for mode in modes() {
        let (d, a) = (2, keys(&mode, 2));
        let [input, weights, vector] = problem(81, 1, &mode, twin::Sizes { h: 2, w: 2, d, a });
        let input = (input * f64::NAN).unwrap();
        let vector = has_vector(&mode).then_some(&vector);
        let hidden = flat(&scan(&input, &weights, vector, &mode).unwrap());
        assert!(hidden.iter().all(|h| h.is_nan()), "{mode:?}: {hidden:?}");
    }
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let mean =
        Scan { graph: Graph::Dense, aggregation: Aggregation::Mean, activation: Activation::Relu };
    let message = |input: &[usize], weights: &[usize]| {
        scan(&tensor(1, input), &tensor(2, weights), None, &mean).unwrap_err().to_string()
    };
    assert_eq!(
        message(&[1, 2, 3, 4, 6], &[4, 5, 5]),
        "scan: expected input: [n, h, w, 4, d + q] with d and q as in weights, got [1, 2, 3, 4, 6]"
    );
    assert!(message(&[1, 0, 3, 4, 5], &[4, 5, 5]).contains("none of them zero, got [1, 0, 3, 4"));
    assert!(message(&[1, 2, 3, 4, 5], &[4, 5, 0]).contains("none of them zero"));
    assert!(message(&[1, 2, 3, 4, 5], &[4, 6, 5]).contains("a = 0 otherwise"));
    assert!(message(&[2, 3, 4, 5], &[4, 5, 5]).contains("input: [n, h, w, 4, d + q]"));
}

/// Kernel and composition on a grid of `h × w`, in value and the gradient of every input.
fn assert_composed(mode: &Scan, (h, w): (usize, usize)) {
    let (d, a) = (3, keys(mode, 2));
    let input = var(91, &[1, h, w, 4, width(mode, d, a)]);
    // A sum over a large grid stays finite only under a small weight.
    let radius = if mode.aggregation == Aggregation::Sum { 1.0 / (h * w) as f64 } else { 0.5 };
    let weights = (tensor(92, &[4, d + a, d]) * radius).unwrap();
    let weights = candle_core::Var::from_tensor(&weights).unwrap();
    let vector = var(93, &[4, a.max(1)]);
    let given = has_vector(mode).then_some(vector.as_tensor());
    let run = |hidden: Tensor| {
        let towards = tensor(94, hidden.dims());
        let grads = (&hidden * towards).unwrap().sum_all().unwrap().backward().unwrap();
        let of_vector = grads.get(&vector).filter(|_| has_vector(mode)).map_or(vec![], flat);
        let of = |var: &candle_core::Var| flat(grads.get(var).unwrap());
        [flat(&hidden), of(&input), of(&weights), of_vector]
    };
    let fast = run(scan(&input, &weights, given, mode).unwrap());
    let slow = run(dense_rnn::composed::scan(&input, &weights, given, mode).unwrap());
    for (fast, slow) in fast.iter().zip(&slow) {
        let largest = slow.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        assert_close(fast, slow, 1e-11 * largest);
    }
}

#[test]
fn the_composition_is_the_same_in_value_and_gradients() {
    for mode in modes() {
        assert_composed(&mode, (4, 9));
    }
}

/// Several tiles of pairs along both axes: what lies before, above and in both directions.
#[test]
fn gradients_between_tiles_of_pairs_are_those_of_the_composition() {
    for mode in modes().filter(|m| m.graph == Graph::Dense && m.aggregation.score().is_some()) {
        assert_composed(&mode, (18, 9));
    }
}

/// Two tiles of sums along both axes.
#[test]
fn gradients_between_tiles_of_sums_are_those_of_the_composition() {
    let running = |m: &Scan| {
        let linear = Aggregation::Attention(Score::LinearAdditive);
        m.aggregation.score().is_none() || (m.graph == Graph::Dense && m.aggregation == linear)
    };
    for mode in modes().filter(|m| m.activation == Activation::Tanh).filter(running) {
        assert_composed(&mode, (34, 35));
    }
}

/// A unit that is no number reaches those that see it and no others, though tiles are looked at as
/// wholes.
#[test]
fn nan_reaches_only_the_units_that_see_it() {
    for mode in modes() {
        let (h, w, d) = (17, 6, 2);
        let a = keys(&mode, 2);
        let [input, weights, vector] = problem(82, 1, &mode, twin::Sizes { h, w, d, a });
        let (i, j) = (3, 4);
        let mut values = flat(&input);
        let width = width(&mode, d, a);
        values[(i * w + j) * 4 * width..][..4 * width].fill(f64::NAN);
        let input = Tensor::from_vec(values, input.shape(), input.device()).unwrap();
        let given = has_vector(&mode).then_some(&vector);
        let hidden = flat(&scan(&input, &weights, given, &mode).unwrap());
        for direction in Direction::ALL {
            let (bi, bj) = (direction as usize & 2, direction as usize & 1);
            for unit in 0..h * w {
                let (p, q) = (unit / w, unit % w);
                let after = |x: usize, from: usize, flipped: bool| match flipped {
                    true => x <= from,
                    false => x >= from,
                };
                let sees = after(p, i, bi != 0) && after(q, j, bj != 0);
                let of_unit = &hidden[(unit * 4 + direction as usize) * d..][..d];
                // Over the dense graph all units after it see it; over neighbours none others can.
                if !sees {
                    assert!(
                        of_unit.iter().all(|x| x.is_finite()),
                        "{mode:?} {direction:?} {p},{q}"
                    );
                } else if mode.graph == Graph::Dense {
                    assert!(of_unit.iter().all(|x| x.is_nan()), "{mode:?} {direction:?} {p},{q}");
                }
            }
        }
    }
}

#[test]
fn a_tile_that_does_not_fit_is_refused() {
    let mean =
        Scan { graph: Graph::Dense, aggregation: Aggregation::Mean, activation: Activation::Relu };
    let (input, weights) = (tensor(1, &[2, 3, 4, 5]), tensor(2, &[5, 5]));
    let run = |input: &Tensor, weights: &Tensor, behind: Option<&TileBorder>| {
        scan_tile(input, weights, &mean, Direction::SouthEast, (0, 0), behind)
    };
    let error = |result: dense_rnn::Result<_>| match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    };
    let (_, border) = run(&input, &weights, None).unwrap();
    assert_eq!(border.columns.dims(), [2, 4, 5]);
    assert_eq!(border.rows.dims(), [2, 3, 5]);
    let narrow = tensor(2, &[4, 5]);
    assert!(error(run(&input, &narrow, None)).contains("scan_tile: expected weights: [d, d]"));
    assert!(error(run(&tensor(1, &[3, 4, 5]), &weights, None)).contains("input: [n, h, w, d]"));
    let larger = tensor(1, &[2, 3, 6, 5]);
    assert!(error(run(&larger, &weights, Some(&border))).contains("behind: columns [n, w, s]"));
    let one = tensor(1, &[1, 3, 4, 5]);
    assert!(error(run(&one, &weights, Some(&border))).contains("behind: columns [n, w, s]"));
}

#[test]
fn tiles_with_borders_handed_on_give_the_whole_scan() {
    for mode in modes() {
        let (d, a) = (5, keys(&mode, 1));
        let sizes = twin::Sizes { h: 11, w: 14, d, a };
        let [input, weights, _] = problem(95, 2, &mode, sizes);
        let tiles = |tile| scan_by_tiles(&input, &weights, &mode, tile);
        let handed_on = match mode.aggregation {
            Aggregation::Sum | Aggregation::Mean => true,
            Aggregation::Attention(score) => {
                score == Score::LinearAdditive && mode.graph == Graph::Dense
            }
        };
        if handed_on {
            let whole = flat(&scan(&input, &weights, None, &mode).unwrap());
            for tile in [(4, 5), (1, 1), (11, 14), (100, 3), (35, 1)] {
                assert_close(&flat(&tiles(tile).unwrap()), &whole, 1e-12);
            }
            let error = tiles((0, 4)).unwrap_err().to_string();
            assert!(error.contains("tile = (0, 4)"), "{error}");
        } else {
            let error = tiles((4, 5)).unwrap_err().to_string();
            assert!(error.contains("have a state that"), "{error}");
        }
    }
}

/// A grid of several tiles of sums: they hand their borders on inside one scan as well.
#[test]
fn a_grid_of_many_tiles_equals_the_twin() {
    for mode in modes().filter(|mode| mode.activation == Activation::Relu) {
        let sizes = twin::Sizes { h: 34, w: 67, d: 2, a: keys(&mode, 2) };
        let [input, weights, vector] = problem(96, 1, &mode, sizes);
        let weights =
            if mode.aggregation == Aggregation::Sum { weights * 1e-3 } else { Ok(weights) };
        let weights = weights.unwrap();
        let given = has_vector(&mode).then_some(&vector);
        let got = scan(&input, &weights, given, &mode).unwrap();
        for direction in Direction::ALL {
            let k = direction as usize;
            let of = |t: &Tensor| flat(&by_unit(t).get(0).unwrap().get(k).unwrap());
            let (weights, vector) = (flat(&weights.get(k).unwrap()), flat(&vector.get(k).unwrap()));
            let (expected, _) = twin::scan(sizes, direction, &mode, &of(&input), &weights, &vector);
            assert_close(&of(&got), &expected, 1e-10);
        }
    }
}
