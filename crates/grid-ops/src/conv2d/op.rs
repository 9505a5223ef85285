//! The convolution as a `CustomOp`.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use super::{Activation, Sizes, depthwise, general};
use crate::{Real, view};

pub(super) struct ConvOp {
    pub(super) sizes: Sizes,
    /// Whether input, weight and bias want a gradient.
    pub(super) tracked: [bool; 3],
}

type Arg<'a> = (&'a CpuStorage, &'a Layout);

impl ConvOp {
    fn forward<T: Real + WithDType>(&self, args: [Arg<'_>; 3]) -> candle_core::Result<CpuStorage> {
        let s = &self.sizes;
        let [x, weight, bias] = args;
        let (x, weight, bias) = (view::<T>(x)?, view::<T>(weight)?, view::<T>(bias)?);
        let y = if s.is_depthwise() {
            depthwise::forward(s, x, weight, bias)
        } else {
            general::forward(s, x, weight, bias)
        };
        Ok(T::to_cpu_storage_owned(y))
    }

    fn backward<T: Real + WithDType>(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let s = &self.sizes;
        let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<T>();
        let mut grad = flat(grad)?;
        if s.config.activation != Activation::Identity {
            // Once for all uses: what the activation held back has no gradient.
            let y = flat(y)?;
            grad.par_chunks_mut(1 << 14).zip(y.par_chunks(1 << 14)).for_each(|(grad, y)| {
                for (g, &y) in grad.iter_mut().zip(y) {
                    *g = if s.config.activation.passes(y) { *g } else { T::zero() };
                }
            });
        }
        let [x_tracked, weight_tracked, bias_tracked] = self.tracked;
        let d_x = if x_tracked {
            let weight = flat(weight)?;
            let d_x = if s.is_depthwise() {
                depthwise::backward_input(s, &weight, &grad)
            } else {
                general::backward_input(s, &weight, &grad)
            };
            Some(Tensor::from_vec(d_x, x.shape(), x.device())?)
        } else {
            None
        };
        let d_weight = if weight_tracked {
            let x = flat(x)?;
            let d_weight = if s.is_depthwise() {
                depthwise::backward_weight(s, &x, &grad)
            } else {
                general::backward_weight(s, &x, &grad)
            };
            Some(Tensor::from_vec(d_weight, weight.shape(), weight.device())?)
        } else {
            None
        };
        let d_bias = if bias_tracked {
            Some(Tensor::from_vec(backward_bias(s, &grad), bias.shape(), bias.device())?)
        } else {
            None
        };
        Ok([d_x, d_weight, d_bias])
    }
}

/// The sum of the gradient over each channel, image after image.
fn backward_bias<T: Real>(s: &Sizes, grad: &[T]) -> Vec<T> {
    let plane = s.oh * s.ow;
    let of_channel = |k: usize| {
        (0..s.n).fold(T::zero(), |sum, n| {
            let plane = &grad[(n * s.k + k) * plane..][..plane];
            sum + plane.iter().fold(T::zero(), |sum, &g| sum + g)
        })
    };
    (0..s.k).into_par_iter().map(of_channel).collect()
}

impl CustomOp3 for ConvOp {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let args = [(x, x_layout), (weight, weight_layout), (bias, bias_layout)];
        let y = match x.dtype() {
            DType::F32 => self.forward::<f32>(args)?,
            DType::F64 => self.forward::<f64>(args)?,
            other => bail!("conv2d: expected f32 or f64, got {other:?}"),
        };
        let Sizes { n, k, oh, ow, .. } = self.sizes;
        Ok((y, Shape::from((n, k, oh, ow))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let args = [x, weight, bias];
        let [d_x, d_weight, d_bias] = match x.dtype() {
            DType::F32 => self.backward::<f32>(args, y, grad)?,
            _ => self.backward::<f64>(args, y, grad)?,
        };
        Ok((d_x, d_weight, d_bias))
    }
}
