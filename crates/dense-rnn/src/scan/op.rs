//! The scan over the rows of all images and directions.

use std::borrow::Cow;

use attention::{Direction, Units, join_directions, places, take_direction, units_mut};
use grid_ops::{Real, unwritten};
use rayon::prelude::*;

use super::kernel::{Gradients, Passed, Plan};
use crate::rows_op::RowsKernel;

/// The scan of rows `[n, h, w, 4, d + q]`; for the parameters see [`Plan::weights`].
pub(super) struct ScanKernel {
    /// Of the first direction, and but for its corner of all.
    pub(super) plan: Plan,
    /// Where each direction sees the first unit in a grid that this one is a part of.
    pub(super) corners: [(usize, usize); 4],
}

impl ScanKernel {
    /// Where the unit of each row lies in the image, for each direction.
    fn places(&self) -> [Vec<usize>; 4] {
        let order = self.plan.tiling().order();
        Direction::ALL.map(|direction| places(&order, direction, self.plan.size))
    }

    /// The plan of the `k`-th direction.
    fn of(&self, k: usize) -> Plan {
        Plan { corner: self.corners[k], ..self.plan }
    }
}

impl RowsKernel for ScanKernel {
    const NAME: &'static str = "scan";

    /// By image and direction.
    type Passed<T: Real> = Vec<Passed<T>>;

    fn shape(&self) -> [usize; 4] {
        let Plan { size: (h, w), shape, .. } = self.plan;
        [h, w, 4, shape.value]
    }

    fn width(&self) -> usize {
        self.plan.width()
    }

    fn reads_rows_again(&self) -> bool {
        !self.plan.is_in_place()
    }

    fn forward<T: Real>(&self, rows: Cow<'_, [T]>, params: &[T]) -> (Vec<T>, Vec<Passed<T>>) {
        let (plan, places) = (&self.plan, self.places());
        if plan.is_in_place() {
            let mut rows = rows.into_owned();
            let image = |image: &mut [T]| -> Vec<Passed<T>> {
                let mut units = units_mut(image, &places, plan.width());
                let run = |(k, units): (usize, &mut Vec<_>)| {
                    self.of(k).forward_in_place(units, plan.weights(k, params))
                };
                units.par_iter_mut().enumerate().map(run).collect()
            };
            let images = rows.par_chunks_mut(plan.units() * 4 * plan.width());
            let passed: Vec<Vec<_>> = images.map(image).collect();
            return (rows, passed.into_iter().flatten().collect());
        }
        let images = rows.len() / (plan.units() * 4 * plan.width());
        let run = |task: usize| {
            let (direction, places) = (Direction::ALL[task % 4], &places[task % 4]);
            let rows = take_direction(&rows, task / 4, direction, places, plan.width());
            plan.forward(&rows, plan.weights(task % 4, params))
        };
        let (hidden, passed): (Vec<Vec<T>>, Vec<_>) =
            (0..images * 4).into_par_iter().map(run).unzip();
        let parts: Vec<&[T]> = hidden.iter().map(Vec::as_slice).collect();
        (join_directions(&parts, &places, plan.shape.value), passed)
    }

    fn backward<T: Real>(
        &self,
        rows: Vec<T>,
        params: &[T],
        passed: &Vec<Passed<T>>,
        (hidden, grad): (&[T], &[T]),
    ) -> (Vec<T>, Vec<T>) {
        let (plan, places) = (&self.plan, self.places());
        let (d, width) = (plan.shape.value, plan.width());
        // The rows' gradient takes their place.
        let mut d_rows = rows;
        if plan.is_in_place() {
            // SAFETY: every unit of every direction is written.
            #[allow(unsafe_code, reason = "results are not zeroed first")]
            let room = unsafe { unwritten(passed.len() * plan.units() * width) };
            d_rows = room;
        }
        let image = |(nth, image): (usize, &mut [T])| -> Vec<Gradients<T>> {
            let of_image = [hidden, grad].map(|all| {
                let len = all.len() / passed.len() * 4;
                &all[nth * len..][..len]
            });
            let mut units = units_mut(image, &places, width);
            let run = |(k, units): (usize, &mut Vec<_>)| {
                let seen = of_image.map(|all| Units::new(all, Direction::ALL[k], &places[k]));
                let (weights, passed) = (plan.weights(k, params), &passed[nth * 4 + k]);
                self.of(k).backward(weights, passed, seen.into(), units)
            };
            units.par_iter_mut().enumerate().map(run).collect()
        };
        let images = d_rows.par_chunks_mut(plan.units() * 4 * width).enumerate();
        let parts: Vec<Vec<Gradients<T>>> = images.map(image).collect();
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut d_params = vec![T::zero(); params.len()];
        let (d_matrix, d_vector) = d_params.split_at_mut(4 * d * plan.shape.len());
        for (task, part) in parts.iter().flatten().enumerate() {
            add_at(d_matrix, task % 4, &part.matrix);
            add_at(d_vector, task % 4, &part.vector);
        }
        (d_rows, d_params)
    }
}

/// Adds `part` to the `slot`-th of the equal parts of `sums`.
fn add_at<T: Real>(sums: &mut [T], slot: usize, part: &[T]) {
    let len = sums.len() / 4;
    for (sum, &x) in sums[slot * len..][..len].iter_mut().zip(part) {
        *sum = *sum + x;
    }
}
