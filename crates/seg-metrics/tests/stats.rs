//! Means, deviations and intervals against tabled values.

use seg_metrics::Error;
use seg_metrics::stats::{PairedInterval, mean, sample_sd};

#[test]
fn mean_and_sample_sd() {
    assert_eq!(mean(&[]), None);
    assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
    assert_eq!(sample_sd(&[5.0]), None);
    // Squares of -2, -1, 3 sum to 14, over n - 1 = 2.
    assert_eq!(sample_sd(&[1.0, 2.0, 6.0]), Some(7f64.sqrt()));
}

#[test]
fn intervals_use_the_tabled_quantiles() {
    // t(0.975) from printed tables, for 1, 2, 4 and 9 degrees of freedom.
    for (seeds, tabled) in [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)] {
        let first: Vec<f64> = (0..seeds).map(|i| f64::from(i * i)).collect();
        let second = vec![1.0; first.len()];
        let interval = PairedInterval::new(&first, &second).unwrap();
        let sd = sample_sd(&first).unwrap();
        let t = interval.half_width / (sd / f64::from(seeds).sqrt());
        assert!((t - tabled).abs() < 1e-3, "{seeds} pairs: t = {t}, tabled {tabled}");
        assert!((interval.mean - (mean(&first).unwrap() - 1.0)).abs() < 1e-12);
        assert_eq!(interval.seeds, first.len());
    }
}

#[test]
fn pairing_takes_out_what_the_seed_does_to_both() {
    // Apart, the two overlap widely; seed by seed the first is always ahead by one.
    let (first, second) = ([41.0, 51.0, 61.0], [40.0, 50.0, 60.0]);
    let interval = PairedInterval::new(&first, &second).unwrap();
    assert_eq!((interval.mean, interval.half_width), (1.0, 0.0));
    assert!(interval.excludes_zero());
    assert!(!PairedInterval::new(&[1.0, -1.0], &[0.0, 0.0]).unwrap().excludes_zero());
}

#[test]
fn what_cannot_be_paired_is_refused() {
    assert_eq!(PairedInterval::new(&[1.0], &[2.0]), Err(Error::Pairs { left: 1, right: 1 }));
    assert_eq!(PairedInterval::new(&[1.0, 2.0], &[2.0]), Err(Error::Pairs { left: 2, right: 1 }));
    let error = PairedInterval::new(&[1.0, 2.0], &[0.0, f64::NAN]).unwrap_err();
    assert_eq!(error.to_string(), "value NaN at position 1; expected finite numbers");
}
