//! Where compositions run instead of kernels.

use std::cell::Cell;

use candle_core::Tensor;

thread_local! {
    static EVERYWHERE: Cell<bool> = const { Cell::new(false) };
}

/// Whether an operation on `x` is to run as its composition: off the CPU, and wherever it is within
/// [`composing`].
pub fn is_composed(x: &Tensor) -> bool {
    !x.device().is_cpu() || EVERYWHERE.get()
}

/// Runs `work` with the operations of this thread as compositions, on the CPU as well: a network as
/// it is on other devices, where there is none.
pub fn composing<T>(work: impl FnOnce() -> T) -> T {
    let _restored = Restored(EVERYWHERE.replace(true));
    work()
}

/// Puts back what was before, also after a panic.
struct Restored(bool);

impl Drop for Restored {
    fn drop(&mut self) {
        EVERYWHERE.set(self.0);
    }
}
