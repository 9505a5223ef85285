//! Quadrant attention against a naive twin, its gradients and its errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use attention::{Direction, Score, composed, quadrant_attention};
use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use testkit::{assert_close, tensor, var};

const SCORES: [Score; 3] = [Score::TanhAdditive, Score::ScaledDot, Score::LinearAdditive];

/// Channels of keys and queries for a score that is given `a`.
fn channels(score: Score, a: usize) -> (usize, usize) {
    let keys = score.key_channels(a);
    (keys, score.query_channels(keys))
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Every pair scored from the definition, `[n, h, w, 4, d]`.
fn twin(input: &Tensor, vector: &Tensor, a: usize, score: Score) -> Vec<f64> {
    let (n, h, w, _, width) = input.dims5().unwrap();
    let (x, va) = (flat(input), flat(vector));
    let (keys, queries) = channels(score, a);
    let d = width - queries - keys;
    let mut out = vec![0.0; n * h * w * 4 * d];
    for image in 0..n {
        for direction in Direction::ALL {
            let at = |i, j| {
                let unit = direction.raster((i, j), (h, w));
                (image * h * w + unit) * 4 + direction as usize
            };
            let va = &va[direction as usize * a..][..a];
            for i in 0..h {
                for j in 0..w {
                    let query = &x[at(i, j) * width..][..queries];
                    let (mut sum, mut shares) = (0.0, Vec::new());
                    for p in 0..=i {
                        for q in 0..=j {
                            if (p, q) == (i, j) {
                                continue;
                            }
                            let row = &x[at(p, q) * width + queries..][..d + keys];
                            let (value, key) = row.split_at(d);
                            let pairs = query.iter().zip(key);
                            let z: f64 = match score {
                                Score::TanhAdditive => {
                                    pairs.zip(va).map(|((q, k), v)| v * (q + k).tanh()).sum()
                                }
                                Score::LinearAdditive => key[0],
                                Score::ScaledDot => {
                                    pairs.map(|(q, k)| q * k).sum::<f64>() / (a as f64).sqrt()
                                }
                            };
                            sum += z.exp();
                            shares.push((z.exp(), value));
                        }
                    }
                    for (share, value) in shares {
                        for (to, v) in out[at(i, j) * d..][..d].iter_mut().zip(value) {
                            *to += share / sum * v;
                        }
                    }
                }
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn equals_the_twin(
        // Up to three rows of tiles and three in a row.
        (n, h, w) in (1usize..3, 1usize..36, 1usize..12),
        (d, a) in (1usize..20, 1usize..19),
        seed in 0u64..1 << 32,
    ) {
        let vector = tensor(seed + 1, &[4, a]);
        for score in SCORES {
            let (keys, queries) = channels(score, a);
            let input = tensor(seed, &[n, h, w, 4, queries + d + keys]);
            let given = (score == Score::TanhAdditive).then_some(&vector);
            let got = quadrant_attention(&input, given, keys, score).unwrap();
            prop_assert_eq!(got.dims(), &[n, h, w, 4, d]);
            let expected = twin(&input, &vector, a, score);
            assert_close(&flat(&got), &expected, 1e-10);
            let slow = composed::quadrant_attention(&input, given, keys, score).unwrap();
            assert_close(&flat(&slow), &flat(&got), 1e-10);
        }
    }
}

#[test]
fn gradients_match_central_differences() {
    for score in SCORES {
        for (h, w) in [(3, 4), (1, 3), (3, 1), (1, 1), (9, 3), (2, 10)] {
            let (keys, queries) = channels(score, 2);
            let input = var(5, &[1, h, w, 4, queries + 2 + keys]);
            let vector = var(6, &[4, 2]);
            let additive = score == Score::TanhAdditive;
            let inputs = if additive { vec![&input, &vector] } else { vec![&input] };
            testkit::check_gradients(&inputs, || {
                let vector = additive.then_some(vector.as_tensor());
                Ok(quadrant_attention(&input, vector, keys, score)?)
            })
            .unwrap_or_else(|error| panic!("{score:?} {h}×{w}: {error:#}"));
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let single = |t: Tensor| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap();
    let vector = single(tensor(8, &[4, 16]));
    let run = |threads: usize, score: Score| {
        let (keys, queries) = channels(score, 16);
        let input = single(tensor(7, &[2, 19, 13, 4, queries + 20 + keys]));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let given = (score == Score::TanhAdditive).then_some(vector.as_tensor());
            let out = quadrant_attention(&input, given, keys, score).unwrap();
            let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let bits = |t: &Tensor| -> Vec<u32> {
                let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                values.iter().map(|x| x.to_bits()).collect()
            };
            (bits(&out), bits(grads.get(&input).unwrap()), grads.get(&vector).map(bits))
        })
    };
    for score in SCORES {
        let one = run(1, score);
        for threads in [2, 3, 8] {
            assert!(run(threads, score) == one, "{score:?} differs with {threads} threads");
        }
    }
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let message = |dims: &[usize], keys| {
        let input = Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        quadrant_attention(&input, None, keys, Score::ScaledDot).unwrap_err().to_string()
    };
    assert_eq!(
        message(&[1, 2, 2, 3, 9], 2),
        "quadrant_attention: expected input: [n, h, w, 4, q + d + a], got [1, 2, 2, 3, 9]"
    );
    assert!(message(&[1, 2, 2, 4, 4], 2).contains("all positive"));
    assert!(message(&[1, 2, 0, 4, 9], 2).contains("all positive"));
    let input = Tensor::zeros((1, 2, 2, 4, 9), DType::F32, &Device::Cpu).unwrap();
    let vector = Tensor::zeros((4, 3), DType::F32, &Device::Cpu).unwrap();
    let error = quadrant_attention(&input, Some(&vector), 2, Score::TanhAdditive).unwrap_err();
    assert_eq!(error.to_string(), "quadrant_attention: expected vector: [4, a], got [4, 3]");
    let error = quadrant_attention(&input, Some(&vector), 2, Score::ScaledDot).unwrap_err();
    assert!(error.to_string().contains("no vector"), "{error}");
    let error = quadrant_attention(&input, None, 2, Score::LinearAdditive).unwrap_err();
    assert!(error.to_string().contains("keys of 1 channel"), "{error}");
}

/// The gradients of the kernels and of the composition.
#[test]
fn the_composition_has_the_same_gradients() {
    for score in SCORES {
        let (keys, queries) = channels(score, 5);
        // Three rows of tiles and three in a row: what lies before, above and in both directions.
        let input = var(15, &[1, 35, 10, 4, queries + 3 + keys]);
        let vector = var(16, &[4, 5]);
        let given = (score == Score::TanhAdditive).then_some(vector.as_tensor());
        let grads = |out: Tensor| {
            let loss = (out.broadcast_mul(&tensor(17, out.dims()))).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            let of_vector = grads.get(&vector).map_or_else(Vec::new, flat);
            (flat(grads.get(&input).unwrap()), of_vector)
        };
        let fast = grads(quadrant_attention(&input, given, keys, score).unwrap());
        let slow = grads(composed::quadrant_attention(&input, given, keys, score).unwrap());
        assert_close(&fast.0, &slow.0, 1e-10);
        if score == Score::TanhAdditive {
            assert_close(&fast.1, &slow.1, 1e-10);
        }
    }
}

#[test]
fn large_scores_take_the_direct_path_and_keep_their_gradient() {
    // Queries and keys near ±200 that cancel: e^{2q} e^{2k} would overflow in f64 from about 355.
    let input = var(21, &[1, 3, 9, 4, 6]);
    let vector = var(23, &[4, 2]);
    let shifted = || -> anyhow::Result<Tensor> {
        let query = (input.narrow(4, 0, 2)? + 200.0)?;
        let value = input.narrow(4, 2, 2)?;
        let key = (input.narrow(4, 4, 2)? - 200.0)?;
        Ok(Tensor::cat(&[query, value, key], 4)?)
    };
    let at = shifted().unwrap();
    let got = quadrant_attention(&at, Some(&vector), 2, Score::TanhAdditive).unwrap();
    let expected = twin(&at, &vector, 2, Score::TanhAdditive);
    assert_close(&flat(&got), &expected, 1e-9);
    testkit::check_gradients(&[&input, &vector], || {
        Ok(quadrant_attention(&shifted()?, Some(&vector), 2, Score::TanhAdditive)?)
    })
    .unwrap();
}
