//! Work done ahead of its use: decoding and varying samples while a network computes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::transform::{AugmentConfig, Example, View, sample_rng};
use crate::{Error, SampleStore};

/// How far ahead, and by how many threads, samples are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// Threads that decode and vary samples.
    pub threads: NonZeroUsize,
    /// The most samples that are made and not yet used; this bounds the memory.
    pub samples: NonZeroUsize,
}

/// The examples of one epoch in the order of `picks`, made ahead of their use.
///
/// An example depends on `seed`, `epoch` and the sample's index only. A sample that cannot be read
/// is an error at its place in the order.
pub fn examples(
    store: &Arc<SampleStore>,
    augment: &AugmentConfig,
    seed: u64,
    epoch: u64,
    picks: Vec<(usize, View)>,
    ahead: Ahead,
) -> Ordered<Result<Example, Error>> {
    let (store, augment) = (store.clone(), augment.clone());
    ordered(picks.len(), ahead, move |at| {
        let (index, view) = picks[at];
        let sample = store.get(index)?;
        augment.apply(&sample, view, &mut sample_rng(seed, epoch, index as u64))
    })
}

/// The part of an epoch's order that process `rank` of `ranks` shows: every `ranks`-th sample, all
/// processes equally many, so that they take the same number of steps.
///
/// # Panics
///
/// If `rank` is not below `ranks`.
pub fn shard<T: Clone>(order: &[T], rank: usize, ranks: usize) -> Vec<T> {
    assert!(rank < ranks, "rank {rank} of {ranks}");
    let each = order.len() / ranks;
    order.iter().skip(rank).step_by(ranks).take(each).cloned().collect()
}

/// Calls `make` with 0 to `count - 1` on threads of its own, and hands out the results in order.
pub fn ordered<T, F>(count: usize, ahead: Ahead, make: F) -> Ordered<T>
where
    T: Send + 'static,
    F: Fn(usize) -> T + Send + Sync + 'static,
{
    let shared = Arc::new(Shared { state: Mutex::new(State::new(count)), changed: Condvar::new() });
    let make = Arc::new(make);
    let threads = (0..ahead.threads.get().min(count)).map(|_| {
        let (shared, make) = (shared.clone(), make.clone());
        std::thread::spawn(move || work(&shared, ahead.samples.get(), &*make))
    });
    Ordered { threads: threads.collect(), shared, waited: Duration::ZERO }
}

/// Results in order, some of them made ahead. Dropping it ends its threads.
pub struct Ordered<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    waited: Duration,
}

impl<T> Ordered<T> {
    /// How long [`Iterator::next`] has waited for results that were not made yet.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<T> Iterator for Ordered<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let start = Instant::now();
        let mut state = self.shared.lock();
        if state.used == state.count {
            return None;
        }
        let at = state.used;
        let result = loop {
            if let Some(result) = state.made.remove(&at) {
                break result;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.used += 1;
        drop(state);
        self.shared.changed.notify_all();
        self.waited += start.elapsed();
        match result {
            Ok(value) => Some(value),
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.shared.lock().count = 0;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // Workers catch their panics.
            let _ = thread.join();
        }
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State<T> {
    count: usize,
    /// The next one that nobody is making.
    next: usize,
    /// How many were handed out.
    used: usize,
    made: BTreeMap<usize, std::thread::Result<T>>,
}

impl<T> State<T> {
    fn new(count: usize) -> Self {
        Self { count, next: 0, used: 0, made: BTreeMap::new() }
    }
}

fn work<T>(shared: &Shared<T>, ahead: usize, make: &(impl Fn(usize) -> T + ?Sized)) {
    loop {
        let mut state = shared.lock();
        while state.next < state.count && state.next >= state.used + ahead {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.next >= state.count {
            return;
        }
        let at = state.next;
        state.next += 1;
        drop(state);
        let result = catch_unwind(AssertUnwindSafe(|| make(at)));
        shared.lock().made.insert(at, result);
        shared.changed.notify_all();
    }
}
