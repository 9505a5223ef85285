//! The allocator under a program: buffers of all sizes, from several threads.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout};

#[global_allocator]
static ALLOCATOR: large_buffers::Allocator = large_buffers::Allocator::new();

const LARGE: usize = 1 << 20;

/// What a buffer of this thread and turn holds at a place.
fn value(thread: usize, turn: usize, at: usize) -> u64 {
    (thread << 48 | turn << 32 | at) as u64
}

#[test]
fn buffers_of_several_threads_do_not_overlap() {
    let run = |thread: usize| {
        let mut held: Vec<(usize, Vec<u64>)> = Vec::new();
        for turn in 0..60 {
            // On both sides of what is large.
            let len = LARGE / 16 * (1 + (turn * 7 + thread * 3) % 40) / 8 + turn;
            held.push((turn, (0..len).map(|at| value(thread, turn, at)).collect()));
            if turn % 3 != 0 {
                let (turn, buffer) = held.swap_remove(turn * 5 % held.len());
                assert!(buffer.iter().enumerate().all(|(at, &x)| x == value(thread, turn, at)));
            }
        }
        for (turn, buffer) in held {
            assert!(buffer.iter().enumerate().all(|(at, &x)| x == value(thread, turn, at)));
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|thread| {
            scope.spawn(move || run(thread));
        });
    });
}

#[test]
fn zeros_are_zeros_where_something_lay() {
    for len in [LARGE, 3 * LARGE + 8] {
        drop(vec![u8::MAX; len]);
        assert!(vec![0u8; len].iter().all(|&x| x == 0));
    }
}

#[test]
fn buffers_keep_what_they_hold_when_they_grow_and_shrink() {
    let sizes = [10, LARGE - 1, LARGE, 3 * LARGE, LARGE + 4097, LARGE, 100, 2 * LARGE];
    let mut buffer: Vec<u8> = Vec::new();
    for pair in sizes.windows(2) {
        buffer.resize(pair[0], 0);
        buffer.iter_mut().enumerate().for_each(|(at, x)| *x = (at % 251) as u8);
        buffer.resize(pair[1], 7);
        buffer.shrink_to_fit();
        let kept = pair[0].min(pair[1]);
        assert!(buffer[..kept].iter().enumerate().all(|(at, &x)| x == (at % 251) as u8));
        assert!(buffer[kept..].iter().all(|&x| x == 7));
    }
}

#[test]
fn alignments_are_kept() {
    for align in [1, 64, 4096, 1 << 16] {
        let layout = Layout::from_size_align(2 * LARGE + 1, align).unwrap();
        // SAFETY: the layout has a size, and what is taken is given back once.
        #[allow(unsafe_code, reason = "an allocator's interface is unsafe")]
        unsafe {
            let place = ALLOCATOR.alloc(layout);
            assert!(!place.is_null() && place.addr().is_multiple_of(align));
            place.write_bytes(1, layout.size());
            ALLOCATOR.dealloc(place, layout);
        }
    }
}
