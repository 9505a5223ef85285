//! Attention over all pairs and over crosses against naive twins and compositions, its gradients,
//! bits, extremes and errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor, Var};
use context_modules::{Result, composed, cross_attention, pair_attention};
use proptest::prelude::*;
use testkit::{assert_close, check_gradients, tensor, var};

type Attend = fn(&Tensor, usize) -> Result<Tensor>;

/// Whether a unit sees another, or itself, on a grid.
type Sees = fn((usize, usize), (usize, usize)) -> bool;

/// What is tested: the name, the operation, its composition and what a unit sees.
const ALL: [(&str, Attend, Attend, Sees); 2] = [
    ("pair_attention", pair_attention, composed::pair_attention, |_, _| true),
    ("cross_attention", cross_attention, composed::cross_attention, |(i, j), (p, q)| {
        i == p || j == q
    }),
];

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Every pair scored from the definition.
fn twin(input: &Tensor, a: usize, sees: Sees) -> Vec<f64> {
    let (n, c, h, w) = input.dims4().unwrap();
    let (x, d, units) = (flat(input), c - 2 * a, h * w);
    let mut out = vec![0.0; n * d * units];
    for image in 0..n {
        let at = |channel: usize, unit: usize| x[(image * c + channel) * units + unit];
        for v in 0..units {
            let seen = (0..units).filter(|&u| sees((v / w, v % w), (u / w, u % w)));
            let score = |u: usize| (0..a).map(|c| at(c, v) * at(a + c, u)).sum::<f64>();
            let weights: Vec<(usize, f64)> = seen.map(|u| (u, score(u).exp())).collect();
            let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
            for channel in 0..d {
                let of = weights.iter().map(|&(u, weight)| weight / sum * at(2 * a + channel, u));
                out[(image * d + channel) * units + v] = of.sum();
            }
        }
    }
    out
}

fn assert_equals_the_twin(input: &Tensor, a: usize) {
    for (name, fast, slow, sees) in ALL {
        let got = fast(input, a).unwrap();
        let (n, c, h, w) = input.dims4().unwrap();
        assert_eq!(got.dims(), [n, c - 2 * a, h, w], "{name}");
        assert_close(&flat(&got), &twin(input, a, sees), 1e-11);
        assert_close(&flat(&slow(input, a).unwrap()), &flat(&got), 1e-11);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn attention_equals_the_twin(
        // Up to four tiles of pairs, and two of lines.
        (n, h, w) in (1usize..3, 1usize..14, 1usize..14),
        (d, a) in (1usize..20, 1usize..10),
        (long, turned) in (1usize..70, any::<bool>()),
        seed in 0u64..1 << 32,
    ) {
        assert_equals_the_twin(&tensor(seed, &[n, 2 * a + d, h, w]), a);
        let line = if turned { [n, 2 * a + d, long, 3] } else { [n, 2 * a + d, 2, long] };
        assert_equals_the_twin(&tensor(seed + 1, &line), a);
    }
}

/// A last tile of a single unit.
#[test]
fn odd_numbers_of_units_equal_the_twin() {
    for (h, w) in [(1, 1), (1, 193), (193, 1), (65, 2)] {
        assert_equals_the_twin(&tensor(3, &[2, 7, h, w]), 2);
    }
}

/// The planes of another layout.
#[test]
fn layouts_do_not_matter() {
    let x = tensor(4, &[2, 3, 5, 7]);
    let turned = x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
    let same = turned.permute((0, 3, 1, 2)).unwrap();
    for (name, fast, ..) in ALL {
        assert_eq!(flat(&fast(&x, 1).unwrap()), flat(&fast(&same, 1).unwrap()), "{name}");
    }
}

#[test]
fn gradients_match_central_differences() {
    for (name, fast, slow, _) in ALL {
        for (n, h, w) in [(2, 3, 4), (1, 1, 3), (1, 3, 1), (1, 1, 1), (1, 2, 35), (1, 35, 2)] {
            let input = var(5, &[n, 5, h, w]);
            for attend in [fast, slow] {
                check_gradients(&[&input], || Ok(attend(&input, 2)?))
                    .unwrap_or_else(|error| panic!("{name} {h}×{w}: {error:#}"));
            }
        }
    }
}

/// The gradients of several groups of tiles and of lines of several tiles, which central
/// differences would take too long for.
#[test]
fn gradients_of_large_grids_are_those_of_the_composition() {
    for (name, fast, slow, _) in ALL {
        let input = var(6, &[2, 13, 9, 70]);
        let grad = |attend: Attend| {
            let y = attend(&input, 4).unwrap();
            let direction = tensor(7, y.dims());
            let grads = (y * direction).unwrap().sum_all().unwrap().backward().unwrap();
            flat(grads.get(&input).unwrap())
        };
        let (fast, slow) = (grad(fast), grad(slow));
        assert!(slow.iter().any(|x| x.abs() > 1e-3), "{name}");
        assert_close(&fast, &slow, 1e-11);
    }
}

#[test]
fn single_precision_is_near_double() {
    for (name, fast, ..) in ALL {
        let input = var(8, &[2, 40, 11, 13]);
        let run = |dtype: DType| {
            let input = Var::from_tensor(&input.to_dtype(dtype).unwrap()).unwrap();
            let y = fast(&input, 8).unwrap();
            let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let double = |t: &Tensor| flat(&t.to_dtype(DType::F64).unwrap());
            (double(&y), double(grads.get(&input).unwrap()))
        };
        let (single, double) = (run(DType::F32), run(DType::F64));
        assert!(double.1.iter().any(|x| x.abs() > 1e-3), "{name}");
        assert_close(&single.0, &double.0, 2e-6);
        assert_close(&single.1, &double.1, 2e-5);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (name, fast, ..) in ALL {
        let values = tensor(9, &[2, 40, 17, 70]).to_dtype(DType::F32).unwrap();
        let input = Var::from_tensor(&values).unwrap();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = fast(&input, 8).unwrap();
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let bits = |t: &Tensor| -> Vec<u32> {
                    let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                    values.iter().map(|x| x.to_bits()).collect()
                };
                (bits(&y), bits(grads.get(&input).unwrap()))
            })
        };
        let one = run(1);
        for threads in 2..=8 {
            assert!(run(threads) == one, "{name}: {threads} threads differ");
        }
    }
}

/// Scores far beyond what an exponential holds: a softmax sees differences only. Those of later
/// tiles are larger, so that earlier sums shrink to nothing, and smaller, so that they add nothing.
#[test]
fn large_scores_do_not_overflow() {
    for slope in [30.0, -30.0] {
        let units = 150;
        let keys = (0..units).map(|u| slope * f64::from(u));
        let values = (0..units).map(|u| f64::from(u + 1));
        let numbers = (0..units).map(|_| 1.0).chain(keys).chain(values).map(|x| x as f32);
        let input = Tensor::from_iter(numbers, &Device::Cpu).unwrap();
        let input = input.reshape((1, 3, 1, units as usize)).unwrap();
        let last = if slope > 0.0 { units as f32 } else { 1.0 };
        for (name, fast, ..) in ALL {
            let input = Var::from_tensor(&input).unwrap();
            let y = fast(&input, 1).unwrap();
            let got: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
            assert!(got.iter().all(|&x| x == last), "{name}: {got:?}");
            let grads = y.sum_all().unwrap().backward().unwrap();
            let grad: Vec<f32> =
                grads.get(&input).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(grad.iter().all(|x| x.is_finite()), "{name}: {grad:?}");
        }
    }
}

#[test]
fn what_is_no_number_is_not_hidden() {
    let mut values = testkit::values(10, 3 * 150);
    values[70] = f64::NAN;
    let input = Tensor::from_vec(values, (1, 3, 1, 150), &Device::Cpu).unwrap();
    for (name, fast, ..) in ALL {
        let got = flat(&fast(&input, 1).unwrap());
        let of_nan: Vec<usize> = (0..150).filter(|&unit| got[unit].is_nan()).collect();
        // It is the query of one unit.
        assert_eq!(of_nan, [70], "{name}");
    }
}

#[test]
fn products_are_counted() {
    let input = tensor(11, &[2, 7, 3, 5]);
    let count = |attend: Attend| grid_ops::counted_macs(|| attend(&input, 2).unwrap()).1;
    assert_eq!(count(pair_attention), 2 * 15 * 15 * (2 + 3));
    assert_eq!(count(cross_attention), 2 * 15 * 7 * (2 + 3));
}

#[test]
fn composing_runs_the_compositions() {
    let input = var(12, &[1, 5, 3, 4]);
    for (name, fast, slow, _) in ALL {
        let forced = grid_ops::composing(|| fast(&input, 2).unwrap());
        assert_eq!(flat(&forced), flat(&slow(&input, 2).unwrap()), "{name}");
        assert!(flat(&forced) != flat(&fast(&input, 2).unwrap()), "{name} ran its kernel");
    }
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let x = tensor(13, &[1, 4, 3, 3]);
    for (name, fast, slow, _) in ALL {
        for attend in [fast, slow] {
            let expected = "expected input: [n, 2·a + d, h, w] with n, h, w, a and d all positive";
            for (x, keys) in [(x.clone(), 2), (x.clone(), 0), (x.clone(), usize::MAX)] {
                let error = attend(&x, keys).unwrap_err().to_string();
                assert_eq!(error, format!("{name}: {expected}, got [1, 4, 3, 3]"));
            }
            let flat = x.flatten_from(2).unwrap();
            let error = attend(&flat, 1).unwrap_err().to_string();
            assert_eq!(error, format!("{name}: {expected}, got [1, 4, 9]"));
        }
        let integers = x.to_dtype(DType::U8).unwrap();
        let error = fast(&integers, 1).unwrap_err().to_string();
        assert!(error.contains("expected f32 or f64, got U8"), "{error}");
    }
}
