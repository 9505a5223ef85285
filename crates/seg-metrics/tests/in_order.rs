//! Images counted on many threads give what they give on one, and the first error is reported.

use seg_metrics::{ConfusionMatrix, Error, in_order};

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool of threads").install(work)
}

/// Labels and predictions of an image whose size depends on its index.
fn image(index: usize) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let of =
        |salt: usize| (0..50 + index % 7).map(|i| ((i * i + salt * index) % 5) as u8).collect();
    Ok((of(3), of(8)))
}

#[test]
fn a_float_sum_has_the_same_bits_on_any_number_of_threads() {
    let sum_on = |threads| {
        on_threads(threads, || {
            let mut sum = 0.0f64;
            let harmonic = |index: usize| Ok::<_, Error>(1.0 / (index + 1) as f64);
            in_order(1000, harmonic, |term| {
                sum += term;
                Ok(())
            })
            .map(|()| sum)
        })
    };
    let serial: f64 = (1..=1000).map(|n| 1.0 / f64::from(n)).sum();
    for threads in [1, 2, 5] {
        assert_eq!(sum_on(threads), Ok(serial), "{threads} threads");
    }
}

#[test]
fn a_matrix_of_images_is_that_of_all_their_pixels() {
    let mut serial = ConfusionMatrix::new(5);
    for index in 0..200 {
        let (truth, prediction) = image(index).unwrap();
        serial.add(&truth, &prediction).unwrap();
    }
    for threads in [1, 3] {
        let matrix = on_threads(threads, || ConfusionMatrix::of_images(5, 200, image));
        assert_eq!(matrix, Ok(serial.clone()));
    }
}

#[test]
fn the_first_error_in_the_images_order_is_reported() {
    let broken = |index: usize| match index {
        // Image 70 has a label that is no class, image 71 one prediction too few.
        70 => Ok((vec![5], vec![0])),
        71 => Ok((vec![0, 0], vec![0])),
        _ => image(index),
    };
    let error = on_threads(3, || ConfusionMatrix::of_images(5, 200, broken)).unwrap_err();
    assert_eq!(error, Error::TruthValue { value: 5, position: 0, classes: 5 });
}
