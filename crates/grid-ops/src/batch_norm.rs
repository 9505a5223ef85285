//! Batch normalisation.

use std::sync::{Arc, OnceLock};

use candle_core::{Shape, Tensor, bail};
use rayon::prelude::*;

use crate::conv2d::Activation;
use crate::error::checked_grid;
use crate::kernel3::{self, Kernel3};
use crate::shared::Shared;
use crate::simd::{sum, sum_of_products};
use crate::{Error, Reads, Real, Result, composed, inlined, is_composed, simd, unwritten};

/// A normalised batch and the statistics it was normalised by.
#[derive(Debug)]
pub struct BatchNorm {
    /// `[n, c, h, w]`.
    pub y: Tensor,
    /// The mean of each channel, `[c]`; carries no gradient.
    pub mean: Tensor,
    /// The biased variance of each channel (divided by `n·h·w`), `[c]`; carries no gradient.
    pub var: Tensor,
}

/// Normalises every channel by its own mean and variance over the batch, then activates.
///
/// `y = φ(gamma · (x − mean) / √(var + eps) + beta)`. Source: Ioffe & Szegedy, *Batch normalization*,
/// ICML 2015. Statistics are summed in `f64`.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - `gamma`, `beta`: `[c]`
///
/// Differentiable in all three, through the statistics.
///
/// # Errors
///
/// [`Error::Shape`] where shapes do not fit, [`Error::DType`] for other number types.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<BatchNorm> {
    let (c, plane) = checked(x, gamma, beta)?;
    if is_composed(x) {
        return composed::batch_norm(x, gamma, beta, eps, activation);
    }
    let statistics = Arc::new(OnceLock::new());
    let statistics_there = Arc::clone(&statistics);
    let norm = Norm { c, plane, eps, activation, statistics: statistics_there };
    let y = kernel3::apply([x, gamma, beta], norm)?;
    let all = statistics.get().map_or(&[][..], Vec::as_slice);
    let of = |value: fn(&Channel) -> f64| -> candle_core::Result<Tensor> {
        Tensor::from_iter(all.iter().map(value), x.device())?.to_dtype(x.dtype())
    };
    Ok(BatchNorm { mean: of(|s| s.mean)?, var: of(|s| s.var)?, y })
}

/// Channels and cells of a plane of [`batch_norm`], or why it cannot run.
pub(crate) fn checked(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<(usize, usize)> {
    let op = "batch_norm";
    let (_, c, h, w) = checked_grid(op, x)?;
    checked_channels(op, [gamma, beta], c)?;
    Ok((c, h * w))
}

/// Normalises every channel by the given statistics.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - `gamma`, `beta`, `mean`, `var`: `[c]`
/// - returns: `[n, c, h, w]`
///
/// Differentiable in all.
///
/// # Errors
///
/// [`Error::Shape`] where shapes do not fit, [`Error::DType`] for other number types.
pub fn batch_norm_frozen(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let op = "batch_norm_frozen";
    let (_, c, _, _) = checked_grid(op, x)?;
    checked_channels(op, [gamma, beta, mean, var], c)?;
    let scale = (gamma / (var + eps)?.sqrt()?)?;
    let shift = (beta - (mean * &scale)?)?;
    let of_channel = |t: &Tensor| t.reshape((1, c, 1, 1));
    Ok(x.broadcast_mul(&of_channel(&scale)?)?.broadcast_add(&of_channel(&shift)?)?)
}

fn checked_channels<const N: usize>(
    op: &'static str,
    tensors: [&Tensor; N],
    c: usize,
) -> Result<()> {
    match tensors.iter().find(|t| t.dims() != [c]) {
        None => Ok(()),
        Some(t) => {
            let expected = "gamma, beta and statistics: [c] with c as in x";
            Err(Error::Shape { op, expected, got: t.dims().to_vec() })
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    mean: f64,
    var: f64,
}

struct Norm {
    c: usize,
    plane: usize,
    eps: f64,
    activation: Activation,
    statistics: Arc<OnceLock<Vec<Channel>>>,
}

/// The planes of channel `c` of every image.
fn planes<T>(x: &[T], c: usize, channels: usize, plane: usize) -> impl Iterator<Item = &[T]> {
    x.chunks_exact(channels * plane).map(move |image| &image[c * plane..][..plane])
}

impl Kernel3 for Norm {
    const NAME: &'static str = "batch-norm";

    fn shape(&self, x: &Shape) -> Shape {
        x.clone()
    }

    fn reads(&self, _: [bool; 3]) -> Reads {
        let output = self.activation != Activation::Identity;
        Reads { inputs: [true, true, false], output }
    }

    fn forward<T: Real>(&self, [x, gamma, beta]: [&[T]; 3]) -> Vec<T> {
        let count = (x.len() / self.c) as f64;
        let gate = self.activation.gate::<T>();
        // SAFETY: every plane is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut all_y = unsafe { unwritten(x.len()) };
        let shared = Shared::new(&mut all_y);
        let normalise = inlined(
            #[inline(always)]
            |c: usize, Channel { mean, var }: Channel, y: &mut [T], x: &[T]| {
                let scale = gamma[c] * T::of(1.0 / (var + self.eps).sqrt());
                let (mean, beta) = (T::of(mean), beta[c]);
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = gate.apply((x - mean) * scale + beta);
                }
            },
        );
        // A channel at a time: its planes are normalised while they are in cache.
        let of_channel = |c: usize| {
            let planes = || planes(x, c, self.c, self.plane);
            let mean = planes().map(sum).sum::<f64>() / count;
            let m = T::of(mean);
            let squares = planes().map(|p| sum_of_products(p, m, p, m));
            // m is the mean rounded; the second term takes the rounding out again.
            let off = mean - m.to_f64().unwrap_or(f64::NAN);
            let var = squares.sum::<f64>() / count - off * off;
            // Not `max`, which would turn NaN into 0.
            let statistics = Channel { mean, var: if var < 0.0 { 0.0 } else { var } };
            for (image, x) in planes().enumerate() {
                // SAFETY: every channel has planes of its own, and each is run once.
                #[allow(unsafe_code, reason = "planes of one output are written side by side")]
                let y = unsafe { shared.slice((image * self.c + c) * self.plane, self.plane) };
                simd(
                    #[inline(always)]
                    || normalise(c, statistics, y, x),
                );
            }
            statistics
        };
        let statistics: Vec<Channel> = (0..self.c).into_par_iter().map(of_channel).collect();
        // The same instance runs forward once only.
        let _ = self.statistics.set(statistics);
        all_y
    }

    fn backward<T: Real>(
        &self,
        [x, gamma, _]: [&[T]; 3],
        y: &[T],
        grad: &[T],
        _: [bool; 3],
    ) -> candle_core::Result<[Option<Vec<T>>; 3]> {
        let Some(statistics) = self.statistics.get() else {
            bail!("batch-norm: backward before forward")
        };
        // What the activation held back has no gradient; without one the numbers do not matter.
        let y = if y.is_empty() { x } else { y };
        let gate = self.activation.gate::<T>();
        let count = (x.len() / self.c) as f64;
        let hold = inlined(
            #[inline(always)]
            |to: &mut [T], grad: &[T], y: &[T]| {
                to.iter_mut().zip(grad).zip(y).for_each(|((to, &g), &y)| *to = gate.held(g, y));
            },
        );
        let run = inlined(
            #[inline(always)]
            |(c, sums): (usize, (f64, f64)), d_x: &mut [T], x: &[T], held: &[T]| {
                let Channel { mean, var } = statistics[c];
                let (d_gamma, d_beta) = sums;
                let inverse = 1.0 / (var + self.eps).sqrt();
                // d_x = gamma/σ · (g − Σg/m − x̂ · Σ(g·x̂)/m)
                let scale = gamma[c] * T::of(inverse);
                let (mean, shift) = (T::of(mean), T::of(d_beta / count));
                let slope = T::of(inverse * d_gamma / count);
                for ((d, &x), &held) in d_x.iter_mut().zip(x).zip(held) {
                    *d = scale * (held - shift - (x - mean) * slope);
                }
            },
        );
        // SAFETY: every plane is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut d_x = unsafe { unwritten(x.len()) };
        let shared = Shared::new(&mut d_x);
        // A channel at a time, while its planes are in cache.
        let of_channel = |held: &mut Vec<T>, c: usize| {
            let Channel { mean, var } = statistics[c];
            let of_channel = |all| planes(all, c, self.c, self.plane);
            held.resize(x.len() / self.c, T::zero());
            let (mut d_beta, mut along) = (0.0, 0.0);
            let inputs = of_channel(x).zip(of_channel(y)).zip(of_channel(grad));
            for (held, ((x, y), g)) in held.chunks_exact_mut(self.plane).zip(inputs) {
                simd(
                    #[inline(always)]
                    || hold(held, g, y),
                );
                d_beta += sum(held);
                along += sum_of_products(x, T::of(mean), held, T::zero());
            }
            let sums = (along / (var + self.eps).sqrt(), d_beta);
            let inputs = of_channel(x).zip(held.chunks_exact(self.plane));
            for (image, (x, held)) in inputs.enumerate() {
                // SAFETY: every channel has planes of its own, and each is run once.
                #[allow(unsafe_code, reason = "planes of one output are written side by side")]
                let d_x = unsafe { shared.slice((image * self.c + c) * self.plane, self.plane) };
                simd(
                    #[inline(always)]
                    || run((c, sums), d_x, x, held),
                );
            }
            sums
        };
        let channels = (0..self.c).into_par_iter();
        let sums: Vec<(f64, f64)> = channels.map_init(Vec::new, of_channel).collect();
        let of =
            |value: fn(&(f64, f64)) -> f64| Some(sums.iter().map(|s| T::of(value(s))).collect());
        Ok([Some(d_x), of(|s| s.0), of(|s| s.1)])
    }
}
