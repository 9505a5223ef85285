//! Quadrant attention against a naive twin, its gradients and its errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use attention::{Direction, Score, quadrant_attention};
use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use testkit::{assert_close, tensor, var};

const SCORES: [Score; 2] = [Score::TanhAdditive, Score::ScaledDot];

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Every pair scored from the definition, `[n, h, w, 4, d]`.
fn twin(input: &Tensor, vector: &Tensor, a: usize, score: Score) -> Vec<f64> {
    let (n, h, w, _, width) = input.dims5().unwrap();
    let (x, va) = (flat(input), flat(vector));
    let d = width - 2 * a;
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
                    let query = &x[at(i, j) * width..][..a];
                    let (mut sum, mut shares) = (0.0, Vec::new());
                    for p in 0..=i {
                        for q in 0..=j {
                            if (p, q) == (i, j) {
                                continue;
                            }
                            let row = &x[at(p, q) * width + a..][..d + a];
                            let (value, key) = row.split_at(d);
                            let pairs = query.iter().zip(key);
                            let z: f64 = match score {
                                Score::TanhAdditive => {
                                    pairs.zip(va).map(|((q, k), v)| v * (q + k).tanh()).sum()
                                }
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
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn equals_the_twin(
        (n, h, w) in (1usize..3, 1usize..6, 1usize..6),
        (d, a) in (1usize..20, 1usize..19),
        seed in 0u64..1 << 32,
    ) {
        let input = tensor(seed, &[n, h, w, 4, d + 2 * a]);
        let vector = tensor(seed + 1, &[4, a]);
        for score in SCORES {
            let given = (score == Score::TanhAdditive).then_some(&vector);
            let got = quadrant_attention(&input, given, a, score).unwrap();
            prop_assert_eq!(got.dims(), &[n, h, w, 4, d]);
            assert_close(&flat(&got), &twin(&input, &vector, a, score), 1e-10);
        }
    }
}

#[test]
fn gradients_match_central_differences() {
    for score in SCORES {
        for (h, w) in [(3, 4), (1, 3), (3, 1), (1, 1)] {
            let (input, vector) = (var(5, &[2, h, w, 4, 3 + 2 * 2]), var(6, &[4, 2]));
            let additive = score == Score::TanhAdditive;
            let inputs = if additive { vec![&input, &vector] } else { vec![&input] };
            testkit::check_gradients(&inputs, || {
                let vector = additive.then_some(vector.as_tensor());
                Ok(quadrant_attention(&input, vector, 2, score)?)
            })
            .unwrap_or_else(|error| panic!("{score:?} {h}×{w}: {error:#}"));
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let single = |t: Tensor| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap();
    let (input, vector) = (single(tensor(7, &[2, 6, 7, 4, 64])), single(tensor(8, &[4, 16])));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let out = quadrant_attention(&input, Some(&vector), 16, Score::TanhAdditive).unwrap();
            let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let bits = |t: &Tensor| -> Vec<u32> {
                let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                values.iter().map(|x| x.to_bits()).collect()
            };
            let of = |var: &Var| bits(grads.get(var).unwrap());
            (bits(&out), of(&input), of(&vector))
        })
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert!(run(threads) == one, "{threads} threads differ");
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
        "quadrant_attention: expected input: [n, h, w, 4, a + d + a], got [1, 2, 2, 3, 9]"
    );
    assert!(message(&[1, 2, 2, 4, 4], 2).contains("all positive"));
    assert!(message(&[1, 2, 0, 4, 9], 2).contains("all positive"));
    let input = Tensor::zeros((1, 2, 2, 4, 9), DType::F32, &Device::Cpu).unwrap();
    let vector = Tensor::zeros((4, 3), DType::F32, &Device::Cpu).unwrap();
    let error = quadrant_attention(&input, Some(&vector), 2, Score::TanhAdditive).unwrap_err();
    assert_eq!(error.to_string(), "quadrant_attention: expected vector: [4, a], got [4, 3]");
}
