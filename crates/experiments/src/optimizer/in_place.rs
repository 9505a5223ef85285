//! Steps of variables on the CPU, where they are.

use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};
use grid_ops::simd;
use rayon::prelude::*;

use super::{BETAS, EPSILON, Rule};

/// Values that one thread takes at a time; sums over them do not depend on the number of threads.
const CHUNK: usize = 1 << 14;

/// Sums of squares side by side.
const LANES: usize = 16;

/// In `f64` and chunk by chunk, so that the bits do not depend on threads.
pub(super) fn sum_of_squares(gradient: &Tensor) -> anyhow::Result<f64> {
    let (storage, layout) = gradient.storage_and_layout();
    let candle_core::Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
        anyhow::bail!("a gradient that is not f32 on the CPU");
    };
    let (from, to) = layout.contiguous_offsets().context("a gradient with gaps")?;
    let of_chunk = |chunk: &[f32]| simd(|| squares_in_lanes(chunk)).iter().sum::<f64>();
    let chunks: Vec<f64> = values[from..to].par_chunks(CHUNK).map(of_chunk).collect();
    Ok(chunks.iter().sum())
}

/// Sums that do not wait for each other.
#[inline(always)]
fn squares_in_lanes(values: &[f32]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    // Whole parts by themselves: with parts of any length the sums would not stay in registers.
    let (parts, last) = values.as_chunks::<LANES>();
    for part in parts {
        for (sum, &value) in sums.iter_mut().zip(part) {
            *sum += f64::from(value).powi(2);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(last) {
        *sum += f64::from(value).powi(2);
    }
    sums
}

impl Rule {
    #[inline(always)]
    fn apply(self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        match self {
            Self::Adam { clip, keep, step, scale } => {
                let [beta1, beta2] = BETAS.map(|beta| beta as f32);
                let epsilon = EPSILON as f32;
                for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second)
                {
                    let g = clip * g;
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *value = keep * *value - step * *m / (scale * v.sqrt() + epsilon);
                }
            }
            Self::Sgd { clip, rate, momentum, decay } => {
                for ((value, &g), m) in values.iter_mut().zip(gradient).zip(first) {
                    *m = momentum * *m + clip * g + decay * *value;
                    *value -= rate * *m;
                }
            }
        }
    }
}

/// Moves a variable where it is.
pub(super) struct Move<'a> {
    pub(super) rule: Rule,
    /// Locked once, by the one thread that runs the operation.
    pub(super) moments: Mutex<&'a mut [Vec<f32>; 2]>,
}

impl InplaceOp2 for Move<'_> {
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let at = layout.contiguous_offsets().zip(gradient_layout.contiguous_offsets());
        let (CpuStorage::F32(values), CpuStorage::F32(gradient), Some(((v0, v1), (g0, g1)))) =
            (values, gradient, at)
        else {
            candle_core::bail!("a variable or gradient that is not f32 or has gaps");
        };
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, second] = &mut **moments;
        let (values, gradient) = (&mut values[v0..v1], &gradient[g0..g1]);
        let each = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let each = each.zip(first.par_chunks_mut(CHUNK));
        if second.is_empty() {
            each.for_each(|((values, g), first)| {
                simd(|| self.rule.apply(values, g, first, &mut []));
            });
        } else {
            each.zip(second.par_chunks_mut(CHUNK)).for_each(|(((values, g), first), second)| {
                simd(|| self.rule.apply(values, g, first, second));
            });
        }
        Ok(())
    }
}
