//! One output that several threads write side by side.

use std::marker::PhantomData;

/// A mutable slice whose parts are handed to several threads; every use says why that is sound.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<'_, T> {}

// SAFETY: it is made from a mutable borrow, and those who call `slice` keep its parts apart.
#[allow(unsafe_code, reason = "parts of one output are written side by side")]
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "parts of one output are written side by side")]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(all: &'a mut [T]) -> Self {
        Self { start: all.as_mut_ptr(), len: all.len(), borrowed: PhantomData }
    }

    /// `len` elements from `start` on. Panics if they do not lie within the slice.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes them while the result lives.
    #[allow(unsafe_code, reason = "parts of one output are written side by side")]
    pub(crate) unsafe fn slice(self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.len && len <= self.len - start, "a part beyond the output");
        // SAFETY: within the borrowed slice, as asserted; alone in use, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
