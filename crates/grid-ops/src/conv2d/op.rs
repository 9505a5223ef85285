//! The convolution as a `CustomOp`.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use super::{Activation, Sizes, backward_input, backward_weight, forward};
use crate::simd::sum;
use crate::{Elements, Real, inlined, simd, unwritten, view};

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
        Ok(T::to_cpu_storage_owned(forward(s, x, weight, bias)))
    }

    fn backward<T: Real + WithDType>(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let s = &self.sizes;
        let (on, contiguous) = (x.device(), [x, weight, y, grad].map(Tensor::contiguous));
        let [x_held, weight_held, y_held, grad_held] = contiguous;
        let (x_held, weight_held, y_held, grad_held) = (x_held?, weight_held?, y_held?, grad_held?);
        let (x_held, weight_held) = (Elements::of(&x_held), Elements::of(&weight_held));
        let (y_held, grad_held) = (Elements::of(&y_held), Elements::of(&grad_held));
        let (x_all, weight_all) = (x_held.slice::<T>()?, weight_held.slice::<T>()?);
        let masked;
        let grad = match s.config.activation {
            Activation::Identity => grad_held.slice::<T>()?,
            activation => {
                // Once for all uses: what the activation held back has no gradient.
                masked = masked_by(activation, y_held.slice::<T>()?, grad_held.slice::<T>()?);
                &masked
            }
        };
        let [x_tracked, weight_tracked, bias_tracked] = self.tracked;
        let tensor = |values: Vec<T>, like: &Tensor| Tensor::from_vec(values, like.shape(), on);
        let d_x = x_tracked.then(|| backward_input(s, weight_all, grad));
        let d_weight = weight_tracked.then(|| backward_weight(s, x_all, grad));
        let d_x = d_x.map(|d| tensor(d, x)).transpose()?;
        let d_weight = d_weight.map(|d| tensor(d, weight)).transpose()?;
        let d_bias =
            bias_tracked.then(|| tensor(channel_sums(grad, s.k, s.oh * s.ow), bias)).transpose()?;
        Ok([d_x, d_weight, d_bias])
    }
}

/// The gradient where the activation let values through, zero elsewhere.
fn masked_by<T: Real>(activation: Activation, y: &[T], grad: &[T]) -> Vec<T> {
    const CHUNK: usize = 1 << 14;
    // SAFETY: every chunk is written below.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut masked = unsafe { unwritten(grad.len()) };
    let gate = activation.gate::<T>();
    let inputs = grad.par_chunks(CHUNK).zip(y.par_chunks(CHUNK));
    let run = inlined(
        #[inline(always)]
        |to: &mut [T], grad: &[T], y: &[T]| {
            for ((to, &g), &y) in to.iter_mut().zip(grad).zip(y) {
                *to = gate.held(g, y);
            }
        },
    );
    masked.par_chunks_mut(CHUNK).zip(inputs).for_each(|(to, (grad, y))| {
        simd(
            #[inline(always)]
            || run(to, grad, y),
        );
    });
    masked
}

/// The sum over each channel of `[n, channels, plane]`, image after image.
pub(super) fn channel_sums<T: Real>(grad: &[T], channels: usize, plane: usize) -> Vec<T> {
    let of_channel = |k: usize| {
        let planes = grad.chunks_exact(channels * plane).map(|image| &image[k * plane..][..plane]);
        T::of(planes.map(sum).sum())
    };
    (0..channels).into_par_iter().map(of_channel).collect()
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
