//! Loops compiled for the vectors this processor has.

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
