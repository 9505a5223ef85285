//! The products between planes and rows: against three loops, central differences, the composition
//! and themselves on other numbers of threads.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Tensor, Var};
use grid_ops::{composed, grid_of_rows, relu, rows_of_grid};
use proptest::prelude::*;
use testkit::{assert_close, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn both_equal_three_loops_and_their_compositions(
        (n, c, k) in (1usize..3, 1usize..40, 1usize..40),
        (h, w) in (1usize..30, 1usize..30),
        seed in 0u64..1 << 32,
    ) {
        let (x, weight, bias) =
            (tensor(seed, &[n, c, h, w]), tensor(seed + 1, &[k, c]), tensor(seed + 2, &[k]));
        let rows = rows_of_grid(&x, &weight, &bias).unwrap();
        prop_assert_eq!(rows.dims(), &[n, h, w, k]);
        let (from, matrix, start) = (flat(&x), flat(&weight), flat(&bias));
        let mut expected = vec![0.0; n * h * w * k];
        for image in 0..n {
            for unit in 0..h * w {
                for o in 0..k {
                    let sum = (0..c).fold(start[o], |sum, i| {
                        sum + matrix[o * c + i] * from[(image * c + i) * h * w + unit]
                    });
                    expected[(image * h * w + unit) * k + o] = sum;
                }
            }
        }
        assert_close(&flat(&rows), &expected, 1e-12);
        // The other way, on the same numbers.
        let by_unit = x.permute((0, 2, 3, 1)).unwrap();
        let grid = grid_of_rows(&by_unit, &weight, &bias).unwrap();
        assert_close(&flat(&grid.permute((0, 2, 3, 1)).unwrap()), &expected, 1e-12);
        let slow = composed::rows_of_grid(&x, &weight, &bias).unwrap();
        assert_close(&flat(&slow), &expected, 1e-12);
        let slow = composed::grid_of_rows(&by_unit, &weight, &bias).unwrap();
        assert_close(&flat(&slow), &flat(&grid), 1e-12);
    }
}

#[test]
fn gradients_match_central_differences() {
    let (x, weight, bias) = (var(1, &[2, 3, 2, 5]), var(2, &[4, 3]), var(3, &[4]));
    testkit::check_gradients(&[&x, &weight, &bias], || Ok(rows_of_grid(&x, &weight, &bias)?))
        .unwrap();
    let x = var(4, &[2, 2, 5, 3]);
    testkit::check_gradients(&[&x, &weight, &bias], || Ok(grid_of_rows(&x, &weight, &bias)?))
        .unwrap();
}

/// Large enough for matrices that are turned before they are multiplied.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let single = |t: Tensor| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap();
    let x = single(tensor(5, &[2, 70, 31, 41]));
    let (weight, bias) = (single(tensor(6, &[67, 70])), single(tensor(7, &[67])));
    let (back, back_bias) = (single(tensor(8, &[70, 67])), single(tensor(9, &[70])));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let rows = rows_of_grid(&x, &weight, &bias).unwrap();
            let grid = grid_of_rows(&relu(&rows).unwrap(), &back, &back_bias).unwrap();
            let grads = grid.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let bits = |t: &Tensor| -> Vec<u32> {
                let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                values.iter().map(|x| x.to_bits()).collect()
            };
            let of = [&x, &weight, &bias, &back, &back_bias].map(|v| bits(grads.get(v).unwrap()));
            (bits(&grid), of)
        })
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert!(run(threads) == one, "{threads} threads differ");
    }
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let (x, weight, bias) = (tensor(1, &[1, 3, 2, 2]), tensor(2, &[4, 2]), tensor(3, &[4]));
    let error = rows_of_grid(&x, &weight, &bias).unwrap_err().to_string();
    assert_eq!(error, "rows_of_grid: expected weight: [k, c] with c as in x, got [4, 2]");
    let error = grid_of_rows(&x, &weight, &tensor(3, &[5])).unwrap_err().to_string();
    assert!(error.contains("grid_of_rows: expected bias: [k]"), "{error}");
    let empty = Tensor::zeros((1, 2, 0, 2), DType::F64, x.device()).unwrap();
    let error = rows_of_grid(&empty, &weight, &bias).unwrap_err().to_string();
    assert!(error.contains("no dimension zero"), "{error}");
    let labels = Tensor::zeros((1, 2, 2, 2), DType::U8, x.device()).unwrap();
    let error = rows_of_grid(&labels, &weight, &bias).unwrap_err().to_string();
    assert!(error.contains("f32 or f64"), "{error}");
}
