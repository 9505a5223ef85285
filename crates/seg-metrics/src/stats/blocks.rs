//! How long blocks of consecutive values have to be, from their autocorrelation.

/// The length of blocks for a circular block bootstrap of the mean of consecutive values.
///
/// Politis and White, *Automatic block-length selection for the dependent bootstrap*, Econometric
/// Reviews 23, 2004, as corrected by Patton, Politis and White, Econometric Reviews 28, 2009. Of
/// `n` values with the autocovariances `R(k)`, let `m` be the first lag from which on five
/// autocorrelations in turn are below `2 √(log10 n / n)` in size, and `M = 2m`, at most
/// `⌈√n⌉ + 5`, and that where there is no such lag. With `λ(t) = min(1, 2 (1 - |t|))`, let
///
/// - `G = Σ_{|k| ≤ M} λ(k/M) |k| R(k)`,
/// - `g = Σ_{|k| ≤ M} λ(k/M) R(k)`;
///
/// the length with the least mean squared error of the variance is `(2 G² / (4/3 g²))^(1/3) n^(1/3)`,
/// taken as at most `min(3 √n, n/3)`, rounded up.
///
/// `runs` are the numbers of values that follow on each other: the stills of each drive. Values are
/// taken from the mean of their run, and `R(k)` sums products within runs only.
///
/// It is 1 for values that do not vary.
///
/// # Panics
///
/// If the runs have more values than there are.
pub fn block_length(values: &[f64], runs: &[usize]) -> usize {
    let n = values.len() as f64;
    let in_a_row = 5.max(n.log10() as usize);
    let most = n.sqrt().ceil() as usize + in_a_row;
    let covariances = autocovariances(values, runs, most);
    if values.is_empty() || covariances[0] <= 0.0 {
        return 1;
    }
    let threshold = 2.0 * (n.log10() / n).sqrt() * covariances[0];
    let is_small = |lags: &[f64]| lags.iter().all(|covariance| covariance.abs() < threshold);
    // Five lags below the greatest that is looked at.
    let first = covariances[..most].windows(in_a_row).position(is_small);
    let bandwidth = first.map_or(most, |lag| most.min(2 * lag.max(1)));
    let (mut slope, mut variance) = (0.0, covariances[0]);
    for (lag, covariance) in covariances.iter().enumerate().take(bandwidth + 1).skip(1) {
        let weight = (2.0 * (1.0 - lag as f64 / bandwidth as f64)).min(1.0);
        slope += 2.0 * weight * lag as f64 * covariance;
        variance += 2.0 * weight * covariance;
    }
    let squared_error = 2.0 * slope.powi(2) / (4.0 / 3.0 * variance.powi(2));
    let longest = (3.0 * n.sqrt()).min(n / 3.0).ceil();
    // A variance of 0 makes it infinite or NaN, and the longest then.
    ((squared_error * n).cbrt().min(longest).ceil() as usize).max(1)
}

/// `R(0)` to `R(most)`.
fn autocovariances(values: &[f64], runs: &[usize], most: usize) -> Vec<f64> {
    let mut sums = vec![0.0; most + 1];
    let mut rest = values;
    for &run in runs {
        let (run, others) = rest.split_at(run);
        rest = others;
        let mean = super::mean(run).unwrap_or(0.0);
        for (lag, sum) in sums.iter_mut().enumerate().take(run.len()) {
            let pairs = run.iter().zip(&run[lag..]);
            *sum += pairs.map(|(value, later)| (value - mean) * (later - mean)).sum::<f64>();
        }
    }
    sums.iter().map(|sum| sum / values.len() as f64).collect()
}
