//! A global allocator for programs that ask for the same large buffers again and again, as training
//! does at every step.
//!
//! To return a large buffer to the system and to get it back as fresh pages costs as much as many an
//! operation on it. So large buffers lie in one region of memory that is kept; everything else is
//! mimalloc's. The region has room for any training and takes no more memory than its highest
//! buffers have reached; it is asked for in pages of 2 MiB where the system has them.
//!
//! Each buffer goes to the lowest place that it fits in, and free places that touch are one. Of a
//! training's buffers, which are few, of all sizes, and as large as 700 MiB, this wastes 3 to 15 %
//! (VGG-16 and a dense scan, batches of one and four). Allocators that sort free memory by size, as
//! general ones do to be fast, waste more once they may not return anything: on the same buffers
//! mimalloc 27 to 60 %, a two-level segregated fit 37 %.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: large_buffers::Allocator = large_buffers::Allocator::new();
//! ```

mod places;
mod region;

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use mimalloc::MiMalloc;

use places::{PAGE, Places};
use region::Region;

/// Bytes from which a buffer is a large one.
const LARGE: usize = 1 << 20;

/// Large buffers from one region that is kept, everything else from mimalloc; see the crate.
///
/// Where there is no region to be had (not Unix, or a limit on addresses), everything is mimalloc's.
#[derive(Debug)]
pub struct Allocator {
    region: OnceLock<Option<Region>>,
    places: Mutex<Places>,
}

impl Allocator {
    /// One that has not asked for anything yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { region: OnceLock::new(), places: Mutex::new(Places::new()) }
    }

    /// A place for a large buffer.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        if layout.size() < LARGE || layout.align() > PAGE {
            return None;
        }
        let region = self.region.get_or_init(Region::reserve).as_ref()?;
        self.places().take(layout.size(), region.len()).map(|offset| region.at(offset))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where in the region a pointer points, if it does.
    fn offset(&self, pointer: *mut u8) -> Option<usize> {
        self.region.get()?.as_ref()?.offset(pointer)
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: places that are taken never overlap, whether of the region or of mimalloc, and are as
// large and aligned as asked; what is given back goes to where it came from, as its address says.
#[allow(unsafe_code, reason = "an allocator's interface is unsafe")]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(place) => place,
            // SAFETY: as the caller promises.
            None => unsafe { MiMalloc.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(place) = self.take(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        };
        // SAFETY: the place is of this size, and nobody else's.
        unsafe {
            place.write_bytes(0, layout.size());
        }
        place
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.offset(pointer) {
            Some(offset) => self.places().give(offset, layout.size()),
            // SAFETY: as the caller promises; what is not in the region came from there.
            None => unsafe { MiMalloc.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let offset = self.offset(pointer);
        match offset {
            // SAFETY: as the caller promises.
            None if size < LARGE => return unsafe { MiMalloc.realloc(pointer, layout, size) },
            Some(offset) if (LARGE..=layout.size()).contains(&size) => {
                self.places().shorten(offset, layout.size(), size);
                return pointer;
            }
            _ => (),
        }
        // SAFETY: the caller promises that the size does not overflow at this alignment, and that
        // the old place is theirs; the new one is nobody else's.
        unsafe {
            let to = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !to.is_null() {
                to.copy_from_nonoverlapping(pointer, layout.size().min(size));
                self.dealloc(pointer, layout);
            }
            to
        }
    }
}
