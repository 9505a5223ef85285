//! The region of addresses that large buffers lie in.

use memmap2::MmapOptions;

/// Addresses, not memory: pages are there when they are first written. More than machines have.
const BYTES: usize = 1 << 40;

/// A region that is never given back.
#[derive(Debug)]
pub(crate) struct Region(*mut u8);

// SAFETY: it is an address; who may use what behind it is said by `Places`.
#[allow(unsafe_code, reason = "a pointer that threads share")]
unsafe impl Send for Region {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "a pointer that threads share")]
unsafe impl Sync for Region {}

impl Region {
    /// `None` where the system does not have addresses without memory.
    pub(crate) fn reserve() -> Option<Self> {
        if !cfg!(unix) {
            return None;
        }
        let mut map = MmapOptions::new().len(BYTES).no_reserve_swap().map_anon().ok()?;
        // Fewer pages are fewer faults; without them it works as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = map.as_mut_ptr();
        std::mem::forget(map);
        Some(Self(start))
    }

    pub(crate) fn len(&self) -> usize {
        BYTES
    }

    /// The address at an offset within it.
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        self.0.wrapping_add(offset)
    }

    /// The offset of an address, if it is within.
    pub(crate) fn offset(&self, pointer: *mut u8) -> Option<usize> {
        let offset = pointer.addr().wrapping_sub(self.0.addr());
        (offset < BYTES).then_some(offset)
    }
}
