//! The cell's scan over the rows of all images and directions.

use std::borrow::Cow;

use attention::{Direction, places};
use grid_ops::{Real, unwritten};
use rayon::prelude::*;

use super::kernel::{self, Cell, Gradients, Passed, Rows};
use super::{Legs, step::Step};
use crate::rows_op::RowsKernel;

/// The scan of rows `[n, h, w, k, m + 2 d]`; for the parameters see [`Cell::weights`].
pub(super) struct HippoKernel {
    pub(super) cell: Cell,
    pub(super) size: (usize, usize),
    pub(super) legs: Legs,
}

impl HippoKernel {
    /// One an anti-diagonal.
    fn steps<T: Real>(&self) -> Vec<Step<T>> {
        (0..self.size.0 + self.size.1 - 1).map(|t| Step::new(&self.legs, t)).collect()
    }

    /// Where the unit of each row lies in the image, for each direction.
    fn places(&self) -> Vec<Vec<usize>> {
        let order: Vec<usize> = (0..self.size.0 * self.size.1).collect();
        let of = |&direction: &Direction| places(&order, direction, self.size);
        Direction::ALL[..self.cell.directions].iter().map(of).collect()
    }

    /// The rows of one image and direction in those of all, `[n, h, w, k, width]`.
    fn take<T: Copy>(&self, all: &[T], width: usize, task: usize, places: &[usize]) -> Vec<T> {
        let k = self.cell.directions;
        let image = &all[task / k * places.len() * k * width..];
        let mut rows = Vec::with_capacity(places.len() * width);
        for place in places {
            rows.extend_from_slice(&image[(place * k + task % k) * width..][..width]);
        }
        rows
    }

    /// The inverse of [`Self::take`] for all images and directions.
    fn join<T: Real>(&self, parts: &[Vec<T>], width: usize, places: &[Vec<usize>]) -> Vec<T> {
        let (k, units) = (self.cell.directions, places[0].len());
        // SAFETY: every unit of every direction of every image is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut all: Vec<T> = unsafe { unwritten(parts.len() * units * width) };
        let images = all.par_chunks_mut(units * k * width).zip(parts.par_chunks(k));
        images.for_each(|(all, parts)| {
            for (direction, (part, places)) in parts.iter().zip(places).enumerate() {
                for (row, place) in part.chunks_exact(width).zip(places) {
                    all[(place * k + direction) * width..][..width].copy_from_slice(row);
                }
            }
        });
        all
    }
}

impl RowsKernel for HippoKernel {
    const NAME: &'static str = "hippo-scan";

    /// By image and direction.
    type Passed<T: Real> = Vec<Passed<T>>;

    fn shape(&self) -> [usize; 4] {
        [self.size.0, self.size.1, self.cell.directions, self.cell.d]
    }

    fn width(&self) -> usize {
        self.cell.width()
    }

    fn reads_rows_again(&self) -> bool {
        false
    }

    fn forward<T: Real>(&self, rows: Cow<'_, [T]>, params: &[T]) -> (Vec<T>, Vec<Passed<T>>) {
        let (cell, places, steps) = (self.cell, self.places(), self.steps());
        let len = self.size.0 * self.size.1 * cell.directions * cell.width();
        let n = rows.len() / len;
        let run = |task: usize| {
            let (image, direction) = (task / cell.directions, task % cell.directions);
            let image = &rows[image * len..][..len];
            let rows = Rows { image, direction, cell, places: &places[direction] };
            kernel::forward(cell, self.size, &steps, rows, cell.weights(direction, params))
        };
        let tasks = (0..n * cell.directions).into_par_iter();
        let (hidden, passed): (Vec<Vec<T>>, Vec<Passed<T>>) = tasks.map(run).unzip();
        (self.join(&hidden, cell.d, &places), passed)
    }

    fn backward<T: Real>(
        &self,
        _: Vec<T>,
        params: &[T],
        passed: &Vec<Passed<T>>,
        (hidden, grads): (&[T], &[T]),
    ) -> (Vec<T>, Vec<T>) {
        let (cell, places, steps) = (self.cell, self.places(), self.steps());
        let run = |(task, passed): (usize, &Passed<T>)| {
            let k = task % cell.directions;
            let take = |all| self.take(all, cell.d, task, &places[k]);
            let (weights, hidden) = (cell.weights(k, params), take(hidden));
            kernel::backward(cell, self.size, &steps, weights, (&hidden, passed), take(grads))
        };
        let parts: Vec<Gradients<T>> = passed.par_iter().enumerate().map(run).collect();
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut d_params = vec![T::zero(); params.len()];
        for (task, part) in parts.iter().enumerate() {
            cell.add_to(&mut d_params, task % cell.directions, part);
        }
        let rows: Vec<Vec<T>> = parts.into_iter().map(|part| part.input).collect();
        let d_rows = self.join(&rows, cell.width(), &places);
        (d_rows, d_params)
    }
}
