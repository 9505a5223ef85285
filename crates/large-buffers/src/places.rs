//! Which parts of a region are free.

/// What places are multiples of.
pub(crate) const PAGE: usize = 4096;

/// Places that may be taken at once. There is one free place more at most, and the list of them,
/// made once, never grows: an allocator that allocates while it is locked would wait for itself.
const MOST: usize = 8191;

/// The free places of a region below its top, by address; above it all is free.
#[derive(Debug)]
pub(crate) struct Places {
    free: Vec<Place>,
    top: usize,
    taken: usize,
}

/// A free place that touches no other.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    len: usize,
}

impl Places {
    pub(crate) const fn new() -> Self {
        Self { free: Vec::new(), top: 0, taken: 0 }
    }

    /// The lowest place of `size` bytes in a region of `bytes`; `None` if there is none.
    pub(crate) fn take(&mut self, size: usize, bytes: usize) -> Option<usize> {
        if self.taken == MOST {
            return None;
        }
        if self.free.capacity() == 0 {
            self.free.reserve_exact(MOST + 1);
        }
        let len = size.checked_next_multiple_of(PAGE)?;
        let start = match self.free.iter().position(|place| place.len >= len) {
            Some(at) => {
                let place = &mut self.free[at];
                let start = place.start;
                (place.start, place.len) = (start + len, place.len - len);
                if place.len == 0 {
                    self.free.remove(at);
                }
                start
            }
            None => {
                let start = self.top;
                self.top = start.checked_add(len).filter(|&top| top <= bytes)?;
                start
            }
        };
        self.taken += 1;
        Some(start)
    }

    /// Gives a place of `size` bytes back.
    pub(crate) fn give(&mut self, start: usize, size: usize) {
        self.taken -= 1;
        self.free(start, size.next_multiple_of(PAGE));
    }

    /// Gives the end of a place back.
    pub(crate) fn shorten(&mut self, start: usize, from: usize, to: usize) {
        let [from, to] = [from, to].map(|size| size.next_multiple_of(PAGE));
        if to < from {
            self.free(start + to, from - to);
        }
    }

    fn free(&mut self, mut start: usize, mut len: usize) {
        let at = self.free.partition_point(|place| place.start < start);
        let (mut first, mut end) = (at, at);
        if let Some(after) = self.free.get(at).filter(|after| after.start == start + len) {
            len += after.len;
            end += 1;
        }
        let before = at.checked_sub(1).map(|before| self.free[before]);
        if let Some(before) = before.filter(|before| before.start + before.len == start) {
            (start, len) = (before.start, before.len + len);
            first -= 1;
        }
        let whole = if start + len == self.top {
            self.top = start;
            None
        } else {
            Some(Place { start, len })
        };
        self.free.splice(first..end, whole);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_buffer_goes_to_the_lowest_place_that_it_fits_in() {
        let mut places = Places::new();
        let mut take = |pages: usize| places.take(pages * PAGE, 100 * PAGE);
        let all = [3, 1, 2, 1, 5].map(&mut take).map(Option::unwrap);
        assert_eq!(all.map(|start| start / PAGE), [0, 3, 4, 6, 7]);
        places.give(all[2], 2 * PAGE);
        places.give(all[0], 3 * PAGE);
        // Of 2 pages the first place, and of 3 none but the top.
        assert_eq!(places.take(2 * PAGE - 1, 100 * PAGE), Some(0));
        assert_eq!(places.take(3 * PAGE, 100 * PAGE), Some(12 * PAGE));
        assert_eq!(places.take(86 * PAGE, 100 * PAGE), None);
        assert_eq!(places.take(usize::MAX, 100 * PAGE), None);
        // Between two free places: all three are one.
        places.give(all[1], PAGE);
        assert_eq!(places.take(4 * PAGE, 100 * PAGE), Some(2 * PAGE));
    }

    #[test]
    fn there_are_no_more_places_than_the_list_has_room_for() {
        let mut places = Places::new();
        let all: Vec<usize> = (0..MOST).map(|_| places.take(PAGE, usize::MAX).unwrap()).collect();
        assert_eq!(places.take(PAGE, usize::MAX), None);
        let room = places.free.capacity();
        // As many free places as there can be.
        all.iter().step_by(2).for_each(|&start| places.give(start, PAGE));
        assert_eq!(places.free.capacity(), room);
        all.iter().skip(1).step_by(2).for_each(|&start| places.give(start, PAGE));
        assert_eq!((places.free.len(), places.top, places.taken), (0, 0, 0));
    }

    proptest! {
        /// Against a list of all pages.
        #[test]
        fn places_never_overlap_and_are_found_again(
            steps in prop::collection::vec((0usize..4, 1usize..9 * PAGE, any::<prop::sample::Index>()), 1..200),
        ) {
            const PAGES: usize = 64;
            let (mut places, mut pages) = (Places::new(), [false; PAGES]);
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (kind, size, which) in steps {
                match kind {
                    0 | 1 => {
                        let count = size.div_ceil(PAGE);
                        let fits = (0..=PAGES - count)
                            .find(|&at| pages[at..at + count].iter().all(|page| !page));
                        let found = places.take(size, PAGES * PAGE);
                        prop_assert_eq!(found, fits.map(|at| at * PAGE));
                        if let Some(start) = found {
                            pages[start / PAGE..start / PAGE + count].fill(true);
                            taken.push((start, size));
                        }
                    }
                    2 if !taken.is_empty() => {
                        let (start, size) = taken.swap_remove(which.index(taken.len()));
                        places.give(start, size);
                        pages[start / PAGE..(start + size).div_ceil(PAGE)].fill(false);
                    }
                    3 if !taken.is_empty() => {
                        let which = which.index(taken.len());
                        let (start, from) = &mut taken[which];
                        let to = size.min(*from);
                        places.shorten(*start, *from, to);
                        pages[(*start + to).div_ceil(PAGE)..(*start + *from).div_ceil(PAGE)].fill(false);
                        *from = to;
                    }
                    _ => (),
                }
            }
            taken.into_iter().for_each(|(start, size)| places.give(start, size));
            prop_assert_eq!((places.free.len(), places.top, places.taken), (0, 0, 0));
        }
    }
}
