//! Asking for the next plane while this one is computed.
//!
//! The gradients walk down two planes at once, in an order that no processor foresees: of 768 planes
//! of 90×120 they take 6.2 ms without it and 3.4 with it, on two cores of an Intel Xeon. The forward
//! pass reads its plane from front to back, and gains nothing (1.9 ms without, 2.0 with it).

/// Bytes of a line of cache.
const LINE: usize = 64;

/// What is to be read next, a part of it asked for at every step.
pub(super) struct Ahead<'a, T> {
    rest: &'a [T],
    of_step: usize,
}

impl<'a, T> Ahead<'a, T> {
    /// All of `next` within `steps`.
    pub(super) fn new(next: &'a [T], steps: usize) -> Self {
        let of_line = LINE / size_of::<T>();
        let of_step = next.len().div_ceil(steps.max(1)).next_multiple_of(of_line);
        Self { rest: next, of_step }
    }

    /// Asks for the next part.
    #[inline(always)]
    pub(super) fn step(&mut self) {
        let (part, rest) = self.rest.split_at(self.of_step.min(self.rest.len()));
        part.chunks(LINE / size_of::<T>()).for_each(fetch);
        self.rest = rest;
    }
}

/// Brings the line that holds the first number into cache.
#[inline(always)]
fn fetch<T>(line: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has it, and it reads nothing.
        #[allow(unsafe_code, reason = "the instruction has no safe form")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
