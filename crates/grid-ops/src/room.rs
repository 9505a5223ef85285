//! Memory for results.

use crate::Real;

/// `len` numbers that the caller writes before any of them is read.
///
/// To zero a large result first is a pass of one thread over memory, which costs as much as many an
/// operation itself. With debug assertions on, as in tests, the numbers are NaN, so that one which
/// nobody wrote is noticed.
///
/// # Safety
///
/// Every number must be written before it is read.
#[allow(unsafe_code, reason = "what is written anyway need not be zeroed")]
pub unsafe fn unwritten<T: Real>(len: usize) -> Vec<T> {
    if cfg!(debug_assertions) {
        return vec![T::nan(); len];
    }
    let mut room = Vec::with_capacity(len);
    // SAFETY: there is room for `len` numbers, and the caller promises to read none that has not
    // been written. That a slice may point to memory which is only written is relied upon here, as
    // it is wherever kernels fill vectors: no number is made of what was there before.
    #[allow(clippy::uninit_vec, reason = "as the caller promises")]
    unsafe {
        room.set_len(len);
    }
    room
}

/// Makes `buffer` hold `len` numbers, as [`unwritten`] does, in the memory that it has already if
/// there is enough.
///
/// # Safety
///
/// As there.
#[allow(unsafe_code, reason = "what is written anyway need not be zeroed")]
pub(crate) unsafe fn unwritten_in<T: Real>(buffer: &mut Vec<T>, len: usize) {
    if cfg!(debug_assertions) || buffer.capacity() < len {
        // SAFETY: as the caller promises.
        *buffer = unsafe { unwritten(len) };
    }
    // SAFETY: there is room, and the caller promises to read none that has not been written.
    unsafe {
        buffer.set_len(len);
    }
}
