//! Loops compiled for the vectors this processor has.

use pulp::{Simd, WithSimd};

/// Calls `task` compiled for the best instruction set found at run time.
///
/// What is not inlined into `task` is compiled for the oldest processor of the platform, where a
/// fused multiply-add is a call into libm: mark everything on the way to the innermost loop
/// `#[inline(always)]`, and closures kept in a variable with [`inlined`].
#[inline(always)]
pub fn simd<R>(task: impl FnMut() -> R) -> R {
    /// Called through `FnMut`, a closure is its own body; through `FnOnce` it would be a shim
    /// around it, which is compiled once, for the oldest processor.
    struct Task<F>(F);

    impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Task<F> {
        type Output = R;

        #[inline(always)]
        fn call(mut self) -> R {
            (self.0)()
        }
    }

    pulp::Arch::new().dispatch(Task(task))
}

/// The closure itself: the one place in which a closure that is kept in a variable can be marked
/// `#[inline(always)]`, so that run-time SIMD dispatch reaches the loops in it.
pub fn inlined<F>(closure: F) -> F {
    closure
}

/// Vectors of a number type, for the loops that the compiler does not turn into vectors by itself:
/// those that keep several sums.
pub trait Vectors: Copy + 'static {
    /// As many numbers as fit a register.
    type Of<S: Simd>: Copy;

    /// Their number.
    fn lanes<S: Simd>() -> usize;
    /// All lanes the same.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Of<S>;
    /// The first numbers of `from`; zeros where it is shorter than a vector.
    fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Of<S>;
    /// Writes the lanes to the front of `to`, as many as there is room for.
    fn store<S: Simd>(simd: S, to: &mut [Self], x: Self::Of<S>);
    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Of<S>, b: Self::Of<S>) -> Self::Of<S>;
    /// `a - b`.
    fn minus<S: Simd>(simd: S, a: Self::Of<S>, b: Self::Of<S>) -> Self::Of<S>;
    /// `a · b`.
    fn times<S: Simd>(simd: S, a: Self::Of<S>, b: Self::Of<S>) -> Self::Of<S>;
    /// `a · b + c`.
    fn fused<S: Simd>(simd: S, a: Self::Of<S>, b: Self::Of<S>, c: Self::Of<S>) -> Self::Of<S>;
    /// `1 / x` of numbers between 1e-30 and 1e30, within two units in the last place.
    fn reciprocal<S: Simd>(simd: S, x: Self::Of<S>) -> Self::Of<S>;
    /// Where the value is larger than the top one or NaN, it and its tag take their place.
    fn take_larger<S: Simd>(
        simd: S,
        value_and_tag: (Self::Of<S>, Self::Of<S>),
        top_and_tag: (Self::Of<S>, Self::Of<S>),
    ) -> (Self::Of<S>, Self::Of<S>);
    /// The sum of all lanes.
    fn total<S: Simd>(simd: S, x: Self::Of<S>) -> Self;
}

macro_rules! vectors {
    ($number:ty, $of:ident, $lanes:ident, $splat:ident, $as_simd:ident, $load:ident,
     $as_mut_simd:ident, $store:ident, $add:ident, $sub:ident, $mul_add:ident, $sum:ident,
     $larger:ident, $equal:ident, $not:ident, $or:ident, $select:ident, $mul:ident,
     $reciprocal:ident) => {
        impl Vectors for $number {
            type Of<S: Simd> = S::$of;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$of {
                simd.$splat(x)
            }

            #[inline(always)]
            fn load<S: Simd>(simd: S, from: &[Self]) -> S::$of {
                match from.get(..S::$lanes).map(S::$as_simd) {
                    Some(([whole], _)) => *whole,
                    _ => simd.$load(from),
                }
            }

            #[inline(always)]
            fn store<S: Simd>(simd: S, to: &mut [Self], x: S::$of) {
                match to.get_mut(..S::$lanes).map(S::$as_mut_simd) {
                    Some(([whole], _)) => *whole = x,
                    _ => simd.$store(to, x),
                }
            }

            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$of, b: S::$of) -> S::$of {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$of, b: S::$of) -> S::$of {
                simd.$sub(a, b)
            }

            #[inline(always)]
            fn times<S: Simd>(simd: S, a: S::$of, b: S::$of) -> S::$of {
                simd.$mul(a, b)
            }

            #[inline(always)]
            fn fused<S: Simd>(simd: S, a: S::$of, b: S::$of, c: S::$of) -> S::$of {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn reciprocal<S: Simd>(simd: S, x: S::$of) -> S::$of {
                $reciprocal(simd, x)
            }

            #[inline(always)]
            fn take_larger<S: Simd>(
                simd: S,
                (value, tag): (S::$of, S::$of),
                (top, top_tag): (S::$of, S::$of),
            ) -> (S::$of, S::$of) {
                let is_nan = simd.$not(simd.$equal(value, value));
                let better = simd.$or(simd.$larger(value, top), is_nan);
                (simd.$select(better, value, top), simd.$select(better, tag, top_tag))
            }

            #[inline(always)]
            fn total<S: Simd>(simd: S, x: S::$of) -> Self {
                simd.$sum(x)
            }
        }
    };
}

vectors!(
    f32,
    f32s,
    F32_LANES,
    splat_f32s,
    as_simd_f32s,
    partial_load_f32s,
    as_mut_simd_f32s,
    partial_store_f32s,
    add_f32s,
    sub_f32s,
    mul_add_e_f32s,
    reduce_sum_f32s,
    greater_than_f32s,
    equal_f32s,
    not_m32s,
    or_m32s,
    select_f32s,
    mul_f32s,
    reciprocal_f32s
);
vectors!(
    f64,
    f64s,
    F64_LANES,
    splat_f64s,
    as_simd_f64s,
    partial_load_f64s,
    as_mut_simd_f64s,
    partial_store_f64s,
    add_f64s,
    sub_f64s,
    mul_add_e_f64s,
    reduce_sum_f64s,
    greater_than_f64s,
    equal_f64s,
    not_m64s,
    or_m64s,
    select_f64s,
    mul_f64s,
    reciprocal_f64s
);

/// By AVX-512's approximation and one step of Newton's method, a quarter of a division's time.
#[inline(always)]
fn reciprocal_f32s<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    #[cfg(target_arch = "x86_64")]
    if let Some(v4) = (&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>() {
        let f = v4.avx512f;
        let x = pulp::bytemuck::cast(x);
        let near = f._mm512_rcp14_ps(x);
        let error = f._mm512_fnmadd_ps(x, near, f._mm512_set1_ps(1.0));
        return pulp::bytemuck::cast(f._mm512_fmadd_ps(near, error, near));
    }
    simd.div_f32s(simd.splat_f32s(1.0), x)
}

#[inline(always)]
fn reciprocal_f64s<S: Simd>(simd: S, x: S::f64s) -> S::f64s {
    simd.div_f64s(simd.splat_f64s(1.0), x)
}

/// Numbers summed in their own precision before they join an `f64`: few enough to lose nothing that
/// matters.
const RUN: usize = 1024;

/// `Σ x`, for runs of a thousand in the numbers' own precision, beyond in `f64`.
pub(crate) fn sum<T: crate::Real>(x: &[T]) -> f64 {
    struct Sum<'a, T>(&'a [T]);

    impl<T: crate::Real> WithSimd for Sum<'_, T> {
        type Output = f64;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let lanes = T::lanes::<S>();
            let mut total = 0.0;
            for run in self.0.chunks(RUN) {
                let mut sums = [T::splat(simd, T::zero()); 4];
                for x in run.chunks(4 * lanes) {
                    for (l, sum) in sums.iter_mut().enumerate() {
                        let x = x.get(l * lanes..).unwrap_or(&[]);
                        *sum = T::plus(simd, *sum, T::load(simd, x));
                    }
                }
                total += total_of::<T, S>(simd, sums);
            }
            total
        }
    }

    pulp::Arch::new().dispatch(Sum(x))
}

/// `Σ (x - a) · (y - b)` over two slices of one length, with the precision of [`sum`].
pub(crate) fn sum_of_products<T: crate::Real>(x: &[T], a: T, y: &[T], b: T) -> f64 {
    struct Products<'a, T>(&'a [T], T, &'a [T], T);

    impl<T: crate::Real> WithSimd for Products<'_, T> {
        type Output = f64;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let Self(x, a, y, b) = self;
            let lanes = T::lanes::<S>();
            let (wide_a, wide_b) = (T::splat(simd, a), T::splat(simd, b));
            let mut total = 0.0;
            for (x, y) in x.chunks(RUN).zip(y.chunks(RUN)) {
                let mut sums = [T::splat(simd, T::zero()); 4];
                let (xs, ys) = (x.chunks_exact(4 * lanes), y.chunks_exact(4 * lanes));
                let rest = xs.remainder().iter().zip(ys.remainder());
                for (x, y) in xs.zip(ys) {
                    for (l, sum) in sums.iter_mut().enumerate() {
                        let x = T::minus(simd, T::load(simd, &x[l * lanes..]), wide_a);
                        let y = T::minus(simd, T::load(simd, &y[l * lanes..]), wide_b);
                        *sum = T::fused(simd, x, y, *sum);
                    }
                }
                let of_rest = rest.fold(T::zero(), |sum, (&x, &y)| sum + (x - a) * (y - b));
                total += total_of::<T, S>(simd, sums) + of_rest.to_f64().unwrap_or(f64::NAN);
            }
            total
        }
    }

    pulp::Arch::new().dispatch(Products(x, a, y, b))
}

#[inline(always)]
fn total_of<T: crate::Real, S: Simd>(simd: S, [a, b, c, d]: [T::Of<S>; 4]) -> f64 {
    let sum = T::plus(simd, T::plus(simd, a, b), T::plus(simd, c, d));
    T::total(simd, sum).to_f64().unwrap_or(f64::NAN)
}
