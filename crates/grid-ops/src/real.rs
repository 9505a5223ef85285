//! The number types of all kernels, and matrix products on strided slices.

use std::ops::Deref;

use candle_core::{CpuStorage, Layout, Storage, Tensor, WithDType, bail};

use crate::simd::Vectors;
use crate::turn::turned;

/// `f32` or `f64`: what kernels compute in.
pub trait Real: num_traits::Float + Vectors + std::fmt::Debug + Send + Sync {
    /// The nearest number of this type.
    fn of(x: f64) -> Self;

    /// `e^x` in straight-line code that vectorises within [`simd`](crate::simd).
    ///
    /// In `f32` within two units in the last place, from the range reduction and polynomial of
    /// Cephes' `expf` (Moshier); in `f64` the standard library's. NaN stays NaN.
    fn exp_inline(self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn exp_inline(self) -> Self {
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        // Beyond these, powers of two under- or overflow whatever the polynomial says.
        let x = if self > 89.0 { 89.0 } else { self };
        let x = if x < -104.0 { -104.0 } else { x };
        // e^x = 2^n e^r with |r| at most ln(2)/2. Added to 1.5·2^23, a number leaves its nearest
        // integer in the last bits: a cast, which saturates, would not vectorise.
        const ROUNDER: f32 = 12_582_912.0;
        let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUNDER);
        let n = rounded - ROUNDER;
        let exponent = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
        let r = (-n).mul_add(LN_2_LOW, (-n).mul_add(LN_2_HIGH, x));
        let p = 1.987_569_1e-4_f32;
        let p = p.mul_add(r, 1.398_199_9e-3);
        let p = p.mul_add(r, 8.333_452e-3);
        let p = p.mul_add(r, 4.166_579_6e-2);
        let p = p.mul_add(r, 1.666_666_5e-1);
        let p = p.mul_add(r, 0.5);
        let p = p.mul_add(r * r, r) + 1.0;
        // In two factors, so that the largest and the smallest results are reached.
        let half = exponent >> 1;
        let power = |n: i32| f32::from_bits(n.wrapping_add(127).cast_unsigned() << 23);
        p * power(half) * power(exponent.wrapping_sub(half))
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn exp_inline(self) -> Self {
        self.exp()
    }
}

/// A matrix of `rows × columns` within a slice: element `(i, j)` is at `i·row_stride +
/// j·column_stride`. Strides are not negative, so the slice begins with element `(0, 0)`.
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// The same, to write to; no two elements may be at one place.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// One more than the index of the last element.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    (rows - 1) * row_stride + (columns - 1) * column_stride + 1
}

impl<'a, T> MatRef<'a, T> {
    /// A view of `data`. Panics if the matrix does not lie within it.
    pub fn new(
        data: &'a [T],
        rows: usize,
        columns: usize,
        row_stride: usize,
        column_stride: usize,
    ) -> Self {
        let end = extent(rows, columns, row_stride, column_stride);
        assert!(end <= data.len(), "a matrix that ends at {end} in a slice of {}", data.len());
        Self { data, rows, columns, row_stride, column_stride }
    }
}

impl<'a, T> MatMut<'a, T> {
    /// A view of `data`. Panics if the matrix does not lie within it or overlaps itself.
    pub fn new(
        data: &'a mut [T],
        rows: usize,
        columns: usize,
        row_stride: usize,
        column_stride: usize,
    ) -> Self {
        let end = extent(rows, columns, row_stride, column_stride);
        assert!(end <= data.len(), "a matrix that ends at {end} in a slice of {}", data.len());
        let apart = rows <= 1 || row_stride >= extent(1, columns, 0, column_stride);
        let across = columns <= 1 || column_stride >= extent(rows, 1, row_stride, 0);
        let row_inner = (columns <= 1 || column_stride > 0) && apart;
        let column_inner = (rows <= 1 || row_stride > 0) && across;
        assert!(row_inner || column_inner, "a matrix to write to overlaps itself");
        Self { data, rows, columns, row_stride, column_stride }
    }
}

impl<'a, T> MatRef<'a, T> {
    /// Rows and columns exchanged.
    fn turned(self) -> Self {
        let Self { data, rows, columns, row_stride, column_stride } = self;
        let (row_stride, column_stride) = (column_stride, row_stride);
        Self { data, rows: columns, columns: rows, row_stride, column_stride }
    }
}

impl<'a, T> MatMut<'a, T> {
    /// Rows and columns exchanged.
    fn turned(self) -> Self {
        let Self { data, rows, columns, row_stride, column_stride } = self;
        let (row_stride, column_stride) = (column_stride, row_stride);
        Self { data, rows: columns, columns: rows, row_stride, column_stride }
    }
}

/// Elements of a left matrix from which on it pays to lay its columns out contiguously.
const WORTH_TURNING: usize = 4096;

/// `to = scale · to + lhs · rhs`, on the calling thread only; `to` is not read where `scale` is 0.
///
/// `gemm` wants columns of `to` and of the left matrix that are contiguous; a left matrix with
/// contiguous rows it would pack element by element, so it is turned first.
///
/// Panics if the sizes do not fit.
pub fn matmul<T: Real>(to: MatMut<'_, T>, scale: T, lhs: MatRef<'_, T>, rhs: MatRef<'_, T>) {
    if to.column_stride < to.row_stride {
        return matmul(to.turned(), scale, rhs.turned(), lhs.turned());
    }
    let is_large = lhs.rows.min(lhs.columns) >= 16 && lhs.rows * lhs.columns >= WORTH_TURNING;
    if lhs.column_stride == 1 && lhs.row_stride != 1 && is_large && rhs.columns >= 16 {
        let turned = turned(lhs.data, (lhs.rows, lhs.columns), lhs.row_stride);
        let lhs = MatRef::new(&turned, lhs.rows, lhs.columns, 1, lhs.rows);
        return multiply(to, scale, lhs, rhs);
    }
    multiply(to, scale, lhs, rhs);
}

#[allow(unsafe_code, reason = "gemm takes pointers; the views checked their extent")]
fn multiply<T: Real>(to: MatMut<'_, T>, scale: T, lhs: MatRef<'_, T>, rhs: MatRef<'_, T>) {
    assert_eq!(
        (to.rows, to.columns, lhs.columns),
        (lhs.rows, rhs.columns, rhs.rows),
        "sizes of a matrix product"
    );
    let stride = |s: usize| s as isize;
    // SAFETY: every element that gemm touches is at i·row_stride + j·column_stride with i and j
    // within the sizes above; `MatRef::new` and `MatMut::new` checked that the largest such index
    // lies within the slice, and that no two elements of `to` coincide. `to` is borrowed mutably,
    // so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            to.rows,
            to.columns,
            lhs.columns,
            to.data.as_mut_ptr(),
            stride(to.column_stride),
            stride(to.row_stride),
            scale != T::zero(),
            lhs.data.as_ptr(),
            stride(lhs.column_stride),
            stride(lhs.row_stride),
            rhs.data.as_ptr(),
            stride(rhs.column_stride),
            stride(rhs.row_stride),
            scale,
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The elements of a contiguous tensor's storage.
///
/// # Errors
///
/// Another number type than `T`, or a layout with gaps.
pub fn view<'a, T: WithDType>(
    (storage, layout): (&'a CpuStorage, &Layout),
) -> candle_core::Result<&'a [T]> {
    let all = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("a kernel needs a contiguous tensor, got {layout:?}"),
    }
}

/// A contiguous CPU tensor's elements, borrowed rather than copied.
pub struct Elements<'a> {
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    layout: &'a Layout,
}

impl<'a> Elements<'a> {
    /// The elements of `tensor`; call `contiguous` on it first.
    pub fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage: Box::new(storage), layout }
    }

    /// As an operation is given them.
    ///
    /// # Errors
    ///
    /// Another device than the CPU.
    pub(crate) fn storage(&self) -> candle_core::Result<(&CpuStorage, &Layout)> {
        match &**self.storage {
            Storage::Cpu(storage) => Ok((storage, self.layout)),
            _ => bail!("a kernel needs a tensor on the CPU"),
        }
    }

    /// As a slice.
    ///
    /// # Errors
    ///
    /// Another number type than `T`, a layout with gaps, or another device than the CPU.
    pub fn slice<T: WithDType>(&self) -> candle_core::Result<&[T]> {
        view(self.storage()?)
    }
}

#[cfg(test)]
mod tests {
    use super::Real;
    use crate::{inlined, simd};

    #[test]
    fn exponentials_are_within_two_units_in_the_last_place() {
        let steps = 2_000_000;
        let xs: Vec<f32> = (0..=steps).map(|i| -87.3 + 176.0 * i as f32 / steps as f32).collect();
        let run = inlined(
            #[inline(always)]
            |x: &f32| x.exp_inline(),
        );
        let got: Vec<f32> = simd(
            #[inline(always)]
            || xs.iter().map(run).collect(),
        );
        for (x, got) in xs.iter().zip(got) {
            let exact = f64::from(*x).exp();
            if exact > f64::from(f32::MAX) {
                assert!(got == f32::INFINITY || got > 3.4e38, "e^{x} = {got}");
                continue;
            }
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            assert!((f64::from(got) - exact).abs() <= 2.0 * unit, "e^{x} = {exact}, got {got}");
        }
    }

    #[test]
    fn exponentials_at_the_ends() {
        assert_eq!(0.0f32.exp_inline(), 1.0);
        assert_eq!(f32::NEG_INFINITY.exp_inline(), 0.0);
        assert_eq!(f32::INFINITY.exp_inline(), f32::INFINITY);
        assert_eq!((-200f32).exp_inline(), 0.0);
        assert_eq!(200f32.exp_inline(), f32::INFINITY);
        assert!(f32::NAN.exp_inline().is_nan());
    }
}
