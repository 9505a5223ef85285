//! Attention within planes of queries, keys and values as a `CustomOp`: number types, layouts and
//! what is kept for the way back.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType, bail};
use grid_ops::{Elements, Reads, Real, apply1, view};

use crate::{Error, Result};

/// Channels of a unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnitShape {
    /// Of its query, and of its key.
    pub(crate) key: usize,
    /// Of its value.
    pub(crate) value: usize,
}

/// The sizes of an attention within planes `[n, a + a + d, h, w]` of queries, keys and values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanesShape {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) of_unit: UnitShape,
}

impl PlanesShape {
    /// The sizes of `input` with so many channels of keys, or why attention cannot run.
    pub(crate) fn checked(op: &'static str, input: &Tensor, keys: usize) -> Result<Self> {
        let expected = "input: [n, 2·a + d, h, w] with n, h, w, a and d all positive";
        let got = input.dims().to_vec();
        match *input.dims() {
            [n, c, h, w] if keys > 0 && c / 2 >= keys && c > 2 * keys && n * h * w > 0 => {
                Ok(Self { n, h, w, of_unit: UnitShape { key: keys, value: c - 2 * keys } })
            }
            _ => Err(Error::Shape { op, expected, got }),
        }
    }

    /// Units of an image.
    pub(crate) fn units(&self) -> usize {
        self.h * self.w
    }

    /// Products of a pair of units: its score, and its share in what is attended.
    pub(crate) fn of_pair(&self) -> usize {
        self.of_unit.key + self.of_unit.value
    }

    /// Numbers of an image: queries, keys and values.
    pub(crate) fn of_image(&self) -> usize {
        (2 * self.of_unit.key + self.of_unit.value) * self.units()
    }

    /// Numbers of what an image's units attend to.
    pub(crate) fn of_output(&self) -> usize {
        self.of_unit.value * self.units()
    }
}

/// What is attended and the log-sum-exps of the scores, `[n, d, h, w]` and `[n, h, w]`.
pub(crate) type Attended<T> = (Vec<T>, Vec<T>);

/// An attention within planes.
pub(crate) trait PlanesKernel: Send + Sync + 'static {
    /// What messages call it.
    const NAME: &'static str;

    /// Its sizes.
    fn shape(&self) -> PlanesShape;

    /// What is attended.
    fn forward<T: Real>(&self, input: &[T]) -> Attended<T>;

    /// The gradient of the input from that of what was attended.
    fn backward<T: Real>(&self, input: &[T], attended: (&[T], &[T]), grad: &[T]) -> Vec<T>;
}

/// `kernel` of `input`, on the CPU; differentiable.
pub(crate) fn apply(kernel: impl PlanesKernel, input: &Tensor) -> Result<Tensor> {
    let op = PlanesOp { kernel, f32: OnceLock::new(), f64: OnceLock::new() };
    Ok(apply1(&input.contiguous()?, op, Reads::ALL)?)
}

/// A kernel in one call; holds the log-sum-exps of its forward pass.
struct PlanesOp<K> {
    kernel: K,
    f32: OnceLock<Vec<f32>>,
    f64: OnceLock<Vec<f64>>,
}

impl<K: PlanesKernel> PlanesOp<K> {
    fn forward<T: Real + WithDType>(
        &self,
        input: (&CpuStorage, &Layout),
        kept: &OnceLock<Vec<T>>,
    ) -> candle_core::Result<CpuStorage> {
        let (attended, log_sums) = self.kernel.forward(view::<T>(input)?);
        // The same instance runs forward once only; a second run would find the same values.
        let _ = kept.set(log_sums);
        Ok(T::to_cpu_storage_owned(attended))
    }

    fn backward<T: Real + WithDType>(
        &self,
        [input, attended, grad]: [&Tensor; 3],
        kept: &OnceLock<Vec<T>>,
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(log_sums) = kept.get() else { bail!("{}: backward before forward", K::NAME) };
        let grad = grad.contiguous()?;
        let [inputs, attendeds, grads] = [input, attended, &grad].map(Elements::of);
        let attended = (attendeds.slice::<T>()?, log_sums.as_slice());
        let d_input = self.kernel.backward(inputs.slice()?, attended, grads.slice()?);
        Ok(Some(Tensor::from_vec(d_input, input.shape(), input.device())?))
    }
}

impl<K: PlanesKernel> CustomOp1 for PlanesOp<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let attended = match input.dtype() {
            DType::F32 => self.forward((input, layout), &self.f32)?,
            DType::F64 => self.forward((input, layout), &self.f64)?,
            other => bail!("{}: expected f32 or f64, got {other:?}", K::NAME),
        };
        let PlanesShape { n, h, w, of_unit } = self.kernel.shape();
        Ok((attended, Shape::from((n, of_unit.value, h, w))))
    }

    fn bwd(
        &self,
        input: &Tensor,
        attended: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        match input.dtype() {
            DType::F32 => self.backward([input, attended, grad], &self.f32),
            _ => self.backward([input, attended, grad], &self.f64),
        }
    }
}

/// `grad · attended` of every unit, from planes.
pub(crate) fn deltas<T: Real>(attended: &[T], grad: &[T], units: usize) -> Vec<T> {
    let mut sums = vec![T::zero(); units];
    let run = grid_ops::inlined(
        #[inline(always)]
        |sums: &mut [T]| {
            for (x, g) in attended.chunks_exact(units).zip(grad.chunks_exact(units)) {
                for ((sum, &x), &g) in sums.iter_mut().zip(x).zip(g) {
                    *sum = x.mul_add(g, *sum);
                }
            }
        },
    );
    grid_ops::simd(
        #[inline(always)]
        || run(&mut sums),
    );
    sums
}
