//! Operations on rows of units as `CustomOp`s: dtypes, layouts and what is kept for the way back.
//!
//! One kind of operation, two ways in: from rows of units, and from the planes of features that the
//! rows are a product of. The latter spares the rows and their gradient their way through candle.

use std::borrow::Cow;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail,
};
use grid_ops::{Elements, Reads, Real, RowsProduct, Wanted, apply2, apply3, frees_graph, view};

use crate::{Error, Result};

/// What is computed from rows `[n, h, w, k, width]` and parameters.
pub(crate) trait RowsKernel: Send + Sync + 'static {
    /// What messages call it.
    const NAME: &'static str;

    /// What the forward pass hands to the backward pass.
    type Passed<T: Real>: Send + Sync;

    /// `[h, w, k, d]` of the hidden states.
    fn shape(&self) -> [usize; 4];

    /// Numbers of a row.
    fn width(&self) -> usize;

    /// Whether the backward pass reads the rows again.
    fn reads_rows_again(&self) -> bool;

    /// The hidden states, `[n, h, w, k, d]`.
    fn forward<T: Real>(&self, rows: Cow<'_, [T]>, params: &[T]) -> (Vec<T>, Self::Passed<T>);

    /// The gradients of the rows, which are empty unless they are [read again](Self::reads_rows_again)
    /// and may be written over, and of the parameters, from the hidden states and their gradient.
    fn backward<T: Real>(
        &self,
        rows: Vec<T>,
        params: &[T],
        passed: &Self::Passed<T>,
        seen: (&[T], &[T]),
    ) -> (Vec<T>, Vec<T>);
}

/// `kernel` of `rows`; differentiable in both.
pub(crate) fn of_rows(kernel: impl RowsKernel, rows: &Tensor, params: &Tensor) -> Result<Tensor> {
    Ok(apply2(&rows.contiguous()?, params, RowsOp::new(kernel, 0, Wanted::All), Reads::ALL)?)
}

/// `kernel` of the rows `weight · x(v) + bias` of `features` `[n, c, h, w]`; differentiable in all.
pub(crate) fn of_features(
    kernel: impl RowsKernel,
    features: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    params: &Tensor,
) -> Result<Tensor> {
    let product = one_after_another(weight, Some(bias))?;
    let wanted = if features.track_op() { Wanted::All } else { Wanted::Parameters };
    let op = RowsOp::new(kernel, features.dim(1)?, wanted);
    Ok(apply3(&features.contiguous()?, &product, params, op, Reads::ALL)?)
}

/// The dimensions of the rows `weight · x(v) + bias` of four directions, `[n, h, w, 4, width]`, or
/// why there is no such product, in the caller's letters for weight and bias.
pub(crate) fn checked_rows(
    op: &'static str,
    features: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    [of_weight, of_bias]: [&'static str; 2],
) -> Result<[usize; 5]> {
    let refuse =
        |expected, got: &Tensor| Err(Error::Shape { op, expected, got: got.dims().into() });
    let &[n, c, h, w] = features.dims() else {
        return refuse("features: [n, c, h, w]", features);
    };
    match *weight.dims() {
        [k, of_x] if of_x == c && c > 0 && k % 4 == 0 => {
            let fits = bias.dims() == [k];
            if fits { Ok([n, h, w, 4, k / 4]) } else { refuse(of_bias, bias) }
        }
        _ => refuse(of_weight, weight),
    }
}

/// The elements of one tensor and then of another: an operation has no more than three inputs.
pub(crate) fn one_after_another(first: &Tensor, second: Option<&Tensor>) -> Result<Tensor> {
    let first = first.flatten_all()?.contiguous()?;
    Ok(match second {
        Some(second) => Tensor::cat(&[&first, &second.flatten_all()?.contiguous()?], 0)?,
        None => first,
    })
}

/// A kernel in one call; holds what the backward pass needs of the forward pass.
struct RowsOp<K: RowsKernel> {
    kernel: K,
    /// Rows from features, if it begins with those.
    product: RowsProduct,
    /// The gradients of that product that are wanted.
    wanted: Wanted,
    f32: OnceLock<Kept<f32, K::Passed<f32>>>,
    f64: OnceLock<Kept<f64, K::Passed<f64>>>,
}

struct Kept<T, P> {
    /// The rows, if they were made here and are read again, until a pass has them that frees the
    /// graph.
    rows: Mutex<Vec<T>>,
    passed: P,
}

type Arg<'a> = (&'a CpuStorage, &'a Layout);
type Lock<K, T> = OnceLock<Kept<T, <K as RowsKernel>::Passed<T>>>;

impl<K: RowsKernel> RowsOp<K> {
    /// `c` channels of the features, if it begins with those.
    fn new(kernel: K, c: usize, wanted: Wanted) -> Self {
        let [h, w, directions, _] = kernel.shape();
        let product = RowsProduct { units: h * w, c, k: directions * kernel.width() };
        Self { kernel, product, wanted, f32: OnceLock::new(), f64: OnceLock::new() }
    }

    /// Weight and bias of the product that makes rows.
    fn product_of<'a, T>(&self, product: &'a [T]) -> (&'a [T], &'a [T]) {
        product.split_at(self.product.k * self.product.c)
    }

    fn forward<T: Real + WithDType>(
        &self,
        input: Arg<'_>,
        product: Option<Arg<'_>>,
        params: Arg<'_>,
        kept: &Lock<K, T>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let [h, w, directions, d] = self.kernel.shape();
        let (input, params, n) = (view::<T>(input)?, view::<T>(params)?, input.1.dims()[0]);
        let mut rows = Vec::new();
        let (hidden, passed) = match product {
            None => self.kernel.forward(Cow::Borrowed(input), params),
            Some(product) => {
                let (weight, bias) = self.product_of(view::<T>(product)?);
                let made = self.product.forward(input, weight, bias);
                if self.kernel.reads_rows_again() {
                    rows = made;
                    self.kernel.forward(Cow::Borrowed(&rows), params)
                } else {
                    self.kernel.forward(Cow::Owned(made), params)
                }
            }
        };
        // The same instance runs forward once only; a second run would find the same values.
        let _ = kept.set(Kept { rows: Mutex::new(rows), passed });
        Ok((T::to_cpu_storage_owned(hidden), Shape::from((n, h, w, directions, d))))
    }

    fn forward_of(
        &self,
        input: Arg<'_>,
        product: Option<Arg<'_>>,
        params: Arg<'_>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match input.0.dtype() {
            DType::F32 => self.forward(input, product, params, &self.f32),
            DType::F64 => self.forward(input, product, params, &self.f64),
            other => bail!("{}: expected f32 or f64, got {other:?}", K::NAME),
        }
    }

    fn backward<T: Real + WithDType>(
        &self,
        input: &Tensor,
        product: Option<&Tensor>,
        params: &Tensor,
        (hidden, grad): (&Tensor, &Tensor),
        kept: &Lock<K, T>,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let Some(Kept { rows, passed }) = kept.get() else {
            bail!("{}: backward before forward", K::NAME)
        };
        let grad = grad.contiguous()?;
        let [inputs, all_params, hiddens, grads] = [input, params, hidden, &grad].map(Elements::of);
        let (inputs, all_params) = (inputs.slice::<T>()?, all_params.slice::<T>()?);
        let seen = (hiddens.slice::<T>()?, grads.slice::<T>()?);
        let rows = match (product, self.kernel.reads_rows_again()) {
            (_, false) => Vec::new(),
            (None, true) => inputs.to_vec(),
            (Some(_), true) => {
                let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                if frees_graph() { std::mem::take(&mut *rows) } else { rows.clone() }
            }
        };
        let (d_rows, d_params) = self.kernel.backward(rows, all_params, passed, seen);
        let like = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        let d_params = Some(like(d_params, params)?);
        let Some(product) = product else {
            return Ok([Some(like(d_rows, input)?), None, d_params]);
        };
        let products = Elements::of(product);
        let (weight, _) = self.product_of(products.slice::<T>()?);
        let gradients = self.product.backward(inputs, weight, &d_rows, self.wanted);
        let d_input = gradients.x.map(|x| like(x, input)).transpose()?;
        let mut d_product = gradients.weight;
        d_product.extend_from_slice(&gradients.bias);
        Ok([d_input, Some(like(d_product, product)?), d_params])
    }

    fn backward_of(
        &self,
        input: &Tensor,
        product: Option<&Tensor>,
        params: &Tensor,
        seen: (&Tensor, &Tensor),
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        match input.dtype() {
            DType::F32 => self.backward(input, product, params, seen, &self.f32),
            _ => self.backward(input, product, params, seen, &self.f64),
        }
    }
}

/// From rows and parameters.
impl<K: RowsKernel> CustomOp2 for RowsOp<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        rows_layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward_of((rows, rows_layout), None, (params, params_layout))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        params: &Tensor,
        hidden: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [d_rows, _, d_params] = self.backward_of(rows, None, params, (hidden, grad))?;
        Ok((d_rows, d_params))
    }
}

/// From features, weight and bias of their product, and parameters.
impl<K: RowsKernel> CustomOp3 for RowsOp<K> {
    fn name(&self) -> &'static str {
        K::NAME
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
        let product = Some((product, product_layout));
        self.forward_of((features, features_layout), product, (params, params_layout))
    }

    fn bwd(
        &self,
        features: &Tensor,
        product: &Tensor,
        params: &Tensor,
        hidden: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.backward_of(features, Some(product), params, (hidden, grad))?.into())
    }
}
