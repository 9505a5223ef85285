//! The convolution with its gradients.

use candle_core::Shape;
use rayon::prelude::*;

use super::{Activation, Sizes, forward, gradients};
use crate::kernel3::Kernel3;
use crate::simd::sum;
use crate::{Reads, Real, inlined, simd, unwritten};

/// Of image, weight and bias.
pub(super) struct Convolution(pub(super) Sizes);

impl Kernel3 for Convolution {
    const NAME: &'static str = "conv2d";

    fn shape(&self, _: &Shape) -> Shape {
        let Sizes { n, k, oh, ow, .. } = self.0;
        Shape::from((n, k, oh, ow))
    }

    fn reads(&self, [d_x, d_weight, _]: [bool; 3]) -> Reads {
        let s = &self.0;
        // Depthwise ones make both gradients in one pass.
        let x = d_weight || s.is_depthwise();
        Reads { inputs: [x, d_x, false], output: s.config.activation != Activation::Identity }
    }

    fn forward<T: Real>(&self, [x, weight, bias]: [&[T]; 3]) -> Vec<T> {
        forward(&self.0, x, weight, bias)
    }

    fn backward<T: Real>(
        &self,
        [x, weight, _]: [&[T]; 3],
        y: &[T],
        grad: &[T],
        wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Vec<T>>; 3]> {
        let s = &self.0;
        let masked;
        let grad = match s.config.activation {
            Activation::Identity => grad,
            activation => {
                // Once for all uses: what the activation held back has no gradient.
                masked = masked_by(activation, y, grad);
                &masked
            }
        };
        let [d_x, d_weight] = gradients(s, x, weight, grad, [wanted[0], wanted[1]]);
        Ok([d_x, d_weight, wanted[2].then(|| channel_sums(grad, s.k, s.oh * s.ow))])
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
pub(crate) fn channel_sums<T: Real>(grad: &[T], channels: usize, plane: usize) -> Vec<T> {
    let of_channel = |k: usize| {
        let planes = grad.chunks_exact(channels * plane).map(|image| &image[k * plane..][..plane]);
        T::of(planes.map(sum).sum())
    };
    (0..channels).into_par_iter().map(of_channel).collect()
}
