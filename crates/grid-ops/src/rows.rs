//! The product of a matrix with the channels of every unit, from planes to rows, on slices.

use rayon::prelude::*;

use crate::{MatMut, MatRef, Real, matmul, turned, unwritten};

/// `y = weight · x + bias` at every unit: `x` is `[n, c, units]`, `weight` `[k, c]`, `bias` `[k]`
/// and `y` `[n, units, k]`.
///
/// Images are cut into parts of units, whatever the number of threads. Each part is multiplied while
/// its rows are in cache.
#[derive(Debug, Clone, Copy)]
pub struct RowsProduct {
    /// Units of an image.
    pub units: usize,
    /// Channels of the planes.
    pub c: usize,
    /// Channels of the rows.
    pub k: usize,
}

/// Which gradients a backward pass makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Of the planes, too.
    All,
    /// Only of weight and bias.
    Parameters,
}

/// The gradients of a [`RowsProduct`].
#[derive(Debug)]
pub struct RowsGradients<T> {
    /// `[n, c, units]`; `None` if not wanted.
    pub x: Option<Vec<T>>,
    /// `[k, c]`.
    pub weight: Vec<T>,
    /// `[k]`.
    pub bias: Vec<T>,
}

impl RowsProduct {
    /// At most 8 parts an image, none of fewer units than pay for packing the matrix anew.
    fn part_forward(self) -> usize {
        self.units.div_ceil(8).max(512)
    }

    /// At most 4, each of which has a gradient of the weight of its own.
    fn part_backward(self) -> usize {
        self.units.div_ceil(4).max(512)
    }

    /// Multiplies.
    pub fn forward<T: Real>(self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let Self { units, c, k } = self;
        let part = self.part_forward();
        let weight = turned(weight, (k, c), c); //           [c, k]
        // SAFETY: every row begins as the bias.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut y = unsafe { unwritten(x.len() / c * k) };
        let images = y.par_chunks_mut(units * k).zip(x.par_chunks(units * c));
        images.for_each(|(y, x)| {
            y.par_chunks_mut(part * k).enumerate().for_each(|(nth, y)| {
                let m = y.len() / k;
                y.chunks_exact_mut(k).for_each(|row| row.copy_from_slice(bias));
                let x = MatRef::new(&x[nth * part..], m, c, 1, units);
                let weight = MatRef::new(&weight, c, k, k, 1);
                matmul(MatMut::new(y, m, k, k, 1), T::one(), x, weight);
            });
        });
        y
    }

    /// The way back from `grads`, `[n, units, k]`.
    pub fn backward<T: Real>(
        self,
        x: &[T],
        weight: &[T],
        grads: &[T],
        wanted: Wanted,
    ) -> RowsGradients<T> {
        let Self { units, c, k } = self;
        let part = self.part_backward();
        let parts = units.div_ceil(part);
        let mut d_x = Vec::new();
        if wanted == Wanted::All {
            // SAFETY: every part writes its run of every plane.
            #[allow(unsafe_code, reason = "results are not zeroed first")]
            let room = unsafe { unwritten(x.len()) };
            d_x = room;
        }
        // The runs of the planes of each part of each image.
        let mut runs: Vec<Vec<&mut [T]>> =
            (0..x.len() / (units * c) * parts).map(|_| Vec::with_capacity(c)).collect();
        for (image, planes) in d_x.chunks_exact_mut(units * c).enumerate() {
            for plane in planes.chunks_exact_mut(units) {
                for (nth, run) in plane.chunks_mut(part).enumerate() {
                    runs[image * parts + nth].push(run);
                }
            }
        }
        let of_part = |(task, runs): (usize, Vec<&mut [T]>)| {
            let (image, first) = (task / parts, task % parts * part);
            let m = part.min(units - first);
            let grads = &grads[(image * units + first) * k..][..m * k];
            if wanted == Wanted::All {
                let mut rows = vec![T::zero(); m * c];
                let (left, right) =
                    (MatRef::new(grads, m, k, k, 1), MatRef::new(weight, k, c, c, 1));
                matmul(MatMut::new(&mut rows, m, c, c, 1), T::zero(), left, right);
                let planes = turned(&rows, (m, c), c);
                runs.into_iter()
                    .zip(planes.chunks_exact(m))
                    .for_each(|(to, x)| to.copy_from_slice(x));
            }
            let x = MatRef::new(&x[image * units * c + first..], c, m, units, 1);
            let mut of_weight = vec![T::zero(); c * k]; //   [c, k]
            let to = MatMut::new(&mut of_weight, c, k, k, 1);
            matmul(to, T::zero(), x, MatRef::new(grads, m, k, k, 1));
            (of_weight, sums_of_rows(grads, k))
        };
        let done: Vec<_> = runs.into_par_iter().enumerate().map(of_part).collect();
        // In a fixed order: the bits must not depend on the number of threads.
        let mut of_weight = vec![T::zero(); c * k];
        of_weight.par_chunks_mut(4096).enumerate().for_each(|(nth, sums)| {
            for (part, _) in &done {
                sums.iter_mut().zip(&part[nth * 4096..]).for_each(|(sum, &x)| *sum = *sum + x);
            }
        });
        let mut of_bias = vec![0.0; k];
        for (_, part) in &done {
            of_bias.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        }
        RowsGradients {
            x: (wanted == Wanted::All).then_some(d_x),
            weight: turned(&of_weight, (c, k), k),
            bias: of_bias.into_iter().map(T::of).collect(),
        }
    }
}

/// The sum over rows, `[k]`: runs of rows in their own precision, sums of runs in `f64`.
fn sums_of_rows<T: Real>(rows: &[T], k: usize) -> Vec<f64> {
    let mut total = vec![0.0; k];
    for run in rows.chunks(k * 256) {
        let mut of_run = vec![T::zero(); k];
        for row in run.chunks_exact(k) {
            of_run.iter_mut().zip(row).for_each(|(sum, &g)| *sum = *sum + g);
        }
        let of_run = of_run.into_iter().map(|sum| sum.to_f64().unwrap_or(f64::NAN));
        total.iter_mut().zip(of_run).for_each(|(total, sum)| *total += sum);
    }
    total
}
