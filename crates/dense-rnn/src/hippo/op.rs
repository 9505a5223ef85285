//! The cell's scan as a `CustomOp`: dtypes, layouts and the split into images × directions.

use std::borrow::Cow;
use std::sync::OnceLock;

use attention::{Direction, places};
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail,
};
use grid_ops::{Elements, Real, RowsProduct, Wanted, unwritten, view};
use rayon::prelude::*;

use super::kernel::{self, Cell, Gradients, Passed, Rows};
use super::{Legs, step::Step};

/// A scan of one call; holds what the backward pass needs of the forward pass.
pub(super) struct HippoOp {
    cell: Cell,
    size: (usize, usize),
    legs: Legs,
    /// Rows from features, if it begins with those.
    product: RowsProduct,
    /// The gradients of that product that are wanted.
    wanted: Wanted,
    /// By image and direction.
    f32: OnceLock<Vec<Passed<f32>>>,
    f64: OnceLock<Vec<Passed<f64>>>,
}

type Arg<'a> = (&'a CpuStorage, &'a Layout);

impl HippoOp {
    /// `c` channels of the features, if it begins with those, and the gradients wanted of their
    /// product.
    pub(super) fn new(
        cell: Cell,
        size: (usize, usize),
        legs: &Legs,
        (c, wanted): (usize, Wanted),
    ) -> Self {
        let k = cell.directions * cell.width();
        let product = RowsProduct { units: size.0 * size.1, c, k };
        Self {
            cell,
            size,
            legs: *legs,
            product,
            wanted,
            f32: OnceLock::new(),
            f64: OnceLock::new(),
        }
    }

    /// Weight and bias of the product that makes rows.
    fn product_of<'a, T>(&self, product: &'a [T]) -> (&'a [T], &'a [T]) {
        product.split_at(self.product.k * self.product.c)
    }

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

    fn forward<T: Real + WithDType>(
        &self,
        input: Arg<'_>,
        product: Option<Arg<'_>>,
        params: Arg<'_>,
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (cell, (h, w), n) = (self.cell, self.size, input.1.dims()[0]);
        let (input, params) = (view::<T>(input)?, view::<T>(params)?);
        let (places, steps) = (self.places(), self.steps());
        let rows = match product {
            None => Cow::Borrowed(input),
            Some(product) => {
                let (weight, bias) = self.product_of(view::<T>(product)?);
                Cow::Owned(self.product.forward(input, weight, bias))
            }
        };
        let run = |task: usize| {
            let (image, direction) = (task / cell.directions, task % cell.directions);
            let len = rows.len() / n;
            let image = &rows[image * len..][..len];
            let rows = Rows { image, direction, cell, places: &places[direction] };
            kernel::forward(cell, self.size, &steps, rows, cell.weights(direction, params))
        };
        let tasks = (0..n * cell.directions).into_par_iter();
        let (hidden, passed): (Vec<Vec<T>>, Vec<Passed<T>>) = tasks.map(run).unzip();
        // The same instance runs forward once only; a second run would find the same values.
        let _ = kept.set(passed);
        let hidden = self.join(&hidden, cell.d, &places);
        Ok((T::to_cpu_storage_owned(hidden), Shape::from((n, h, w, cell.directions, cell.d))))
    }

    fn backward<T: Real + WithDType>(
        &self,
        input: &Tensor,
        product: Option<&Tensor>,
        params: &Tensor,
        (hidden, grad): (&Tensor, &Tensor),
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let Some(passed) = kept.get() else { bail!("hippo-scan: backward before forward") };
        let (cell, grad) = (self.cell, grad.contiguous()?);
        let [hidden, grads, all_params] = [hidden, &grad, params].map(Elements::of);
        let (hidden, grads) = (hidden.slice::<T>()?, grads.slice::<T>()?);
        let all_params = all_params.slice::<T>()?;
        let (places, steps) = (self.places(), self.steps());
        let run = |(task, passed): (usize, &Passed<T>)| {
            let k = task % cell.directions;
            let take = |all| self.take(all, cell.d, task, &places[k]);
            let (weights, hidden) = (cell.weights(k, all_params), take(hidden));
            kernel::backward(cell, self.size, &steps, weights, (&hidden, passed), take(grads))
        };
        let parts: Vec<Gradients<T>> = passed.par_iter().enumerate().map(run).collect();
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut d_params = vec![T::zero(); all_params.len()];
        for (task, part) in parts.iter().enumerate() {
            cell.add_to(&mut d_params, task % cell.directions, part);
        }
        let rows: Vec<Vec<T>> = parts.into_iter().map(|part| part.input).collect();
        let d_rows = self.join(&rows, cell.width(), &places);
        let on = input.device();
        let d_params = Tensor::from_vec(d_params, params.shape(), on)?;
        let Some(product) = product else {
            let d_rows = Tensor::from_vec(d_rows, input.shape(), on)?;
            return Ok([Some(d_rows), None, Some(d_params)]);
        };
        let [features, products] = [input, product].map(Elements::of);
        let (weight, _) = self.product_of(products.slice::<T>()?);
        let gradients = self.product.backward(features.slice::<T>()?, weight, &d_rows, self.wanted);
        let d_input = gradients.x.map(|x| Tensor::from_vec(x, input.shape(), on)).transpose()?;
        let mut d_product = gradients.weight;
        d_product.extend_from_slice(&gradients.bias);
        let d_product = Tensor::from_vec(d_product, product.shape(), on)?;
        Ok([d_input, Some(d_product), Some(d_params)])
    }
}

/// From rows of units, `[n, h, w, k, m + 2 d]`, and the parameters, see [`Cell::weights`].
impl CustomOp2 for HippoOp {
    fn name(&self) -> &'static str {
        "hippo-scan"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (dtype, input, params) =
            (input.dtype(), (input, input_layout), (params, params_layout));
        match dtype {
            DType::F32 => self.forward(input, None, params, &self.f32),
            DType::F64 => self.forward(input, None, params, &self.f64),
            other => bail!("hippo-scan: expected f32 or f64, got {other:?}"),
        }
    }

    fn bwd(
        &self,
        input: &Tensor,
        params: &Tensor,
        hidden: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let seen = (hidden, grad);
        let [d_input, _, d_params] = match input.dtype() {
            DType::F32 => self.backward(input, None, params, seen, &self.f32)?,
            _ => self.backward(input, None, params, seen, &self.f64)?,
        };
        Ok((d_input, d_params))
    }
}

/// From features, `[n, c, h, w]`, weight and bias of their product, and the parameters.
impl CustomOp3 for HippoOp {
    fn name(&self) -> &'static str {
        "hippo-scan-features"
    }

    fn cpu_fwd(
        &self,
        features: &CpuStorage,
        features_layout: &Layout,
        product: &CpuStorage,
        product_layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let dtype = features.dtype();
        let (features, params) = ((features, features_layout), (params, params_layout));
        let product = Some((product, product_layout));
        match dtype {
            DType::F32 => self.forward(features, product, params, &self.f32),
            DType::F64 => self.forward(features, product, params, &self.f64),
            other => bail!("hippo-scan: expected f32 or f64, got {other:?}"),
        }
    }

    fn bwd(
        &self,
        features: &Tensor,
        product: &Tensor,
        params: &Tensor,
        hidden: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let seen = (hidden, grad);
        let [d_features, d_product, d_params] = match features.dtype() {
            DType::F32 => self.backward(features, Some(product), params, seen, &self.f32)?,
            _ => self.backward(features, Some(product), params, seen, &self.f64)?,
        };
        Ok((d_features, d_product, d_params))
    }
}
