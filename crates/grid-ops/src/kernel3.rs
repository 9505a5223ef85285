//! Operations of three tensors as functions of slices.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail};

use crate::{Elements, Reads, Real, Result, apply3, view};

/// What an operation of three contiguous tensors computes; [`apply`] applies it.
pub(crate) trait Kernel3: Send + Sync {
    /// What messages call it.
    const NAME: &'static str;

    /// The dimensions of the output, given those of the first input.
    fn shape(&self, first: &Shape) -> Shape;

    /// What [`Self::backward`] reads, given which gradients are wanted.
    fn reads(&self, wanted: [bool; 3]) -> Reads;

    /// The output.
    fn forward<T: Real>(&self, inputs: [&[T]; 3]) -> Vec<T>;

    /// The gradients of the inputs, those that are not wanted left out at will. What it does not
    /// [read](Self::reads) is empty.
    ///
    /// # Errors
    ///
    /// Only [`Self::forward`] not having run.
    fn backward<T: Real>(
        &self,
        inputs: [&[T]; 3],
        y: &[T],
        grad: &[T],
        wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Vec<T>>; 3]>;
}

/// `kernel` of three tensors on the CPU, in `f32` or `f64`; differentiable in all.
pub(crate) fn apply(inputs: [&Tensor; 3], kernel: impl Kernel3 + 'static) -> Result<Tensor> {
    let wanted = inputs.map(Tensor::track_op);
    let [a, b, c] = inputs;
    let reads = kernel.reads(wanted);
    let op = Op3 { kernel, wanted, reads };
    Ok(apply3(&a.contiguous()?, &b.contiguous()?, &c.contiguous()?, op, reads)?)
}

/// A [`Kernel3`] as candle's operation.
struct Op3<K> {
    kernel: K,
    /// The inputs whose gradients are wanted.
    wanted: [bool; 3],
    reads: Reads,
}

type Arg<'a> = (&'a CpuStorage, &'a Layout);
type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

impl<K: Kernel3> Op3<K> {
    fn run<T: Real + WithDType>(&self, [a, b, c]: [Arg<'_>; 3]) -> candle_core::Result<CpuStorage> {
        let y = self.kernel.forward([view::<T>(a)?, view::<T>(b)?, view::<T>(c)?]);
        Ok(T::to_cpu_storage_owned(y))
    }

    fn run_back<T: Real + WithDType>(
        &self,
        inputs: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let grad = grad.contiguous()?;
        let held = inputs.map(Elements::of);
        let (y, grad) = (Elements::of(y), Elements::of(&grad));
        let mut values = [&[][..]; 3];
        for ((to, held), read) in values.iter_mut().zip(&held).zip(self.reads.inputs) {
            *to = if read { held.slice::<T>()? } else { &[] };
        }
        let y = if self.reads.output { y.slice::<T>()? } else { &[] };
        let [d_a, d_b, d_c] = self.kernel.backward(values, y, grad.slice::<T>()?, self.wanted)?;
        let tensor = |values: Option<Vec<T>>, like: &Tensor| {
            values.map(|values| Tensor::from_vec(values, like.shape(), like.device())).transpose()
        };
        Ok((tensor(d_a, inputs[0])?, tensor(d_b, inputs[1])?, tensor(d_c, inputs[2])?))
    }
}

impl<K: Kernel3> CustomOp3 for Op3<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
        c: &CpuStorage,
        c_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let inputs = [(a, a_layout), (b, b_layout), (c, c_layout)];
        let y = match a.dtype() {
            DType::F32 => self.run::<f32>(inputs)?,
            DType::F64 => self.run::<f64>(inputs)?,
            other => bail!("{}: expected f32 or f64, got {other:?}", K::NAME),
        };
        Ok((y, self.kernel.shape(a_layout.shape())))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        match a.dtype() {
            DType::F32 => self.run_back::<f32>([a, b, c], y, grad),
            _ => self.run_back::<f64>([a, b, c], y, grad),
        }
    }
}
