//! The scan as a `CustomOp`: dtypes, layouts and the split into images × directions.
//!
//! One kind of operation, two ways in: from rows of units, and from the planes of features that the
//! rows are a product of. The latter spares the gradient of the rows its way through candle, which
//! would set it to zero and add to it.

use std::borrow::Cow;
use std::sync::OnceLock;

use attention::{Direction, Units, join_directions, places, take_direction, units_mut};
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail,
};
use grid_ops::{Elements, Real, RowsProduct, Wanted, unwritten, view};
use rayon::prelude::*;

use super::kernel::{Gradients, Passed, Plan};

/// A scan of one call; holds what the backward pass needs of the forward pass.
pub(super) struct ScanOp {
    plan: Plan,
    /// Rows from features, if it begins with those.
    product: RowsProduct,
    /// The gradients of that product that are wanted.
    wanted: Wanted,
    f32: OnceLock<Kept<f32>>,
    f64: OnceLock<Kept<f64>>,
}

/// What a forward pass hands to the backward pass.
struct Kept<T> {
    /// `[n, h, w, 4, d + q]`, if they were made here and are read again.
    rows: Vec<T>,
    /// By image and direction.
    passed: Vec<Passed<T>>,
}

type Arg<'a> = (&'a CpuStorage, &'a Layout);

impl ScanOp {
    /// `c` channels of the features, if it begins with those, and the gradients wanted of their
    /// product.
    pub(super) fn new(plan: Plan, c: usize, wanted: Wanted) -> Self {
        let product = RowsProduct { units: plan.units(), c, k: 4 * plan.width() };
        Self { plan, product, wanted, f32: OnceLock::new(), f64: OnceLock::new() }
    }

    /// Where the unit of each row lies in the image, for each direction.
    fn places(&self) -> [Vec<usize>; 4] {
        let order = self.plan.tiling().order();
        Direction::ALL.map(|direction| places(&order, direction, self.plan.size))
    }

    /// Hidden states `[n, h, w, 4, d]` from `rows` `[n, h, w, 4, d + q]`.
    fn scan<T: Real>(&self, rows: Cow<'_, [T]>, params: &[T]) -> (Vec<T>, Vec<Passed<T>>) {
        let (plan, places) = (&self.plan, self.places());
        if plan.is_in_place() {
            let mut rows = rows.into_owned();
            let image = |image: &mut [T]| -> Vec<Passed<T>> {
                let mut units = units_mut(image, &places, plan.width());
                let run = |(k, units): (usize, &mut Vec<_>)| {
                    plan.forward_in_place(units, plan.weights(k, params))
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

    /// The gradients of `rows`, which may be empty if they are not read again, and of `params`.
    fn scan_back<T: Real>(
        &self,
        (rows, params): (&[T], &[T]),
        passed: &[Passed<T>],
        (hidden, grad): (&[T], &[T]),
    ) -> (Vec<T>, Vec<T>) {
        let (plan, places) = (&self.plan, self.places());
        let (d, width) = (plan.shape.value, plan.width());
        let (d_rows, parts) = if plan.is_in_place() {
            // SAFETY: every unit of every direction is written.
            #[allow(unsafe_code, reason = "results are not zeroed first")]
            let mut d_rows = unsafe { unwritten(passed.len() * plan.units() * width) };
            let image = |(nth, image): (usize, &mut [T])| -> Vec<_> {
                let part = nth * plan.units() * 4 * d..(nth + 1) * plan.units() * 4 * d;
                let (hidden, grad) = (&hidden[part.clone()], &grad[part]);
                let mut units = units_mut(image, &places, width);
                let run = |(k, units): (usize, &mut Vec<_>)| {
                    let (weights, passed) = (plan.weights(k, params), &passed[nth * 4 + k]);
                    let seen = |all| Units::new(all, Direction::ALL[k], &places[k]);
                    let seen = (seen(hidden), seen(grad));
                    (plan.backward_in_place(weights, passed, seen, units), Vec::new())
                };
                units.par_iter_mut().enumerate().map(run).collect()
            };
            let images = d_rows.par_chunks_mut(plan.units() * 4 * width).enumerate();
            let parts: Vec<Vec<_>> = images.map(image).collect();
            (d_rows, parts.into_iter().flatten().collect())
        } else {
            let run = |(task, passed): (usize, &Passed<T>)| {
                let (direction, places) = (Direction::ALL[task % 4], &places[task % 4]);
                let take = |all, width| take_direction(all, task / 4, direction, places, width);
                let weights = plan.weights(task % 4, params);
                plan.backward(
                    &take(rows, width),
                    weights,
                    passed,
                    (&take(hidden, d), take(grad, d)),
                )
            };
            let gradients: Vec<Gradients<T>> = passed.par_iter().enumerate().map(run).collect();
            let parts: Vec<&[T]> = gradients.iter().map(|part| part.input.as_slice()).collect();
            let d_rows = join_directions(&parts, &places, width);
            let parts: Vec<_> = gradients.into_iter().map(|g| (g.matrix, g.vector)).collect();
            (d_rows, parts)
        };
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut d_params = vec![T::zero(); params.len()];
        let (d_matrix, d_vector) = d_params.split_at_mut(4 * d * plan.shape.len());
        for (task, (matrix, vector)) in parts.iter().enumerate() {
            add_at(d_matrix, task % 4, matrix);
            add_at(d_vector, task % 4, vector);
        }
        (d_rows, d_params)
    }

    fn forward<T: Real + WithDType>(
        &self,
        input: Arg<'_>,
        product: Option<Arg<'_>>,
        params: Arg<'_>,
        kept: &OnceLock<Kept<T>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Plan { size: (h, w), shape, .. } = self.plan;
        let (input, params, n) = (view::<T>(input)?, view::<T>(params)?, input.1.dims()[0]);
        let mut rows = Vec::new();
        let (hidden, passed) = match product {
            None => self.scan(Cow::Borrowed(input), params),
            Some(product) => {
                let (weight, bias) = self.product_of(view::<T>(product)?);
                let made = self.product.forward(input, weight, bias);
                if self.plan.is_in_place() {
                    self.scan(Cow::Owned(made), params)
                } else {
                    rows = made;
                    self.scan(Cow::Borrowed(&rows), params)
                }
            }
        };
        // The same instance runs forward once only; a second run would find the same values.
        let _ = kept.set(Kept { rows, passed });
        Ok((T::to_cpu_storage_owned(hidden), Shape::from((n, h, w, 4, shape.value))))
    }

    /// Weight and bias of the product that makes rows.
    fn product_of<'a, T>(&self, product: &'a [T]) -> (&'a [T], &'a [T]) {
        product.split_at(self.product.k * self.product.c)
    }

    fn backward<T: Real + WithDType>(
        &self,
        input: &Tensor,
        product: Option<&Tensor>,
        params: &Tensor,
        (hidden, grad): (&Tensor, &Tensor),
        kept: &OnceLock<Kept<T>>,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let Some(Kept { rows, passed }) = kept.get() else {
            bail!("scan: backward before forward")
        };
        let grad = grad.contiguous()?;
        let [inputs, all_params, hiddens, grads] = [input, params, hidden, &grad].map(Elements::of);
        let (inputs, all_params) = (inputs.slice::<T>()?, all_params.slice::<T>()?);
        let seen = (hiddens.slice::<T>()?, grads.slice::<T>()?);
        let on = input.device();
        let of_params = |d_params| Tensor::from_vec(d_params, params.shape(), on);
        let Some(product) = product else {
            let (d_rows, d_params) = self.scan_back((inputs, all_params), passed, seen);
            let d_rows = Tensor::from_vec(d_rows, input.shape(), on)?;
            return Ok([Some(d_rows), None, Some(of_params(d_params)?)]);
        };
        let (d_rows, d_params) = self.scan_back((rows, all_params), passed, seen);
        let products = Elements::of(product);
        let (weight, _) = self.product_of(products.slice::<T>()?);
        let gradients = self.product.backward(inputs, weight, &d_rows, self.wanted);
        let d_input = gradients.x.map(|x| Tensor::from_vec(x, input.shape(), on)).transpose()?;
        let mut d_product = gradients.weight;
        d_product.extend_from_slice(&gradients.bias);
        let d_product = Tensor::from_vec(d_product, product.shape(), on)?;
        Ok([d_input, Some(d_product), Some(of_params(d_params)?)])
    }
}

/// Adds `part` to the `slot`-th of the equal parts of `sums`.
fn add_at<T: Real>(sums: &mut [T], slot: usize, part: &[T]) {
    let len = sums.len() / 4;
    for (sum, &x) in sums[slot * len..][..len].iter_mut().zip(part) {
        *sum = *sum + x;
    }
}

/// From rows of units, `[n, h, w, 4, d + q]`, and the parameters, see [`Plan::weights`].
impl CustomOp2 for ScanOp {
    fn name(&self) -> &'static str {
        "scan"
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
            other => bail!("scan: expected f32 or f64, got {other:?}"),
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
impl CustomOp3 for ScanOp {
    fn name(&self) -> &'static str {
        "scan-features"
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
            other => bail!("scan: expected f32 or f64, got {other:?}"),
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
