//! Work ahead: its order, its bounds, its errors.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scene_data::beacons::{Beacons, BeaconsConfig};
use scene_data::loader::{Ahead, examples, ordered, shard};
use scene_data::{AugmentConfig, Class, Error, Sample, SampleStore, SceneDataset, Split, View};

fn ahead(threads: usize, samples: usize) -> Ahead {
    let number = |n| NonZeroUsize::new(n).expect("at least one");
    Ahead { threads: number(threads), samples: number(samples) }
}

fn beacons() -> Beacons {
    let config = BeaconsConfig {
        size_px: 48,
        textures: 2,
        train_images: 9,
        beacon_px: 7,
        ..BeaconsConfig::default()
    };
    Beacons::new(&config, Split::Train).expect("a sound configuration")
}

/// A set that counts how often it decodes and has one bad sample.
struct Counting {
    beacons: Beacons,
    decoded: Arc<AtomicUsize>,
    bad: Option<usize>,
}

impl SceneDataset for Counting {
    fn name(&self) -> &str {
        "counting"
    }
    fn classes(&self) -> &[Class] {
        self.beacons.classes()
    }
    fn len(&self) -> usize {
        self.beacons.len()
    }
    fn id(&self, index: usize) -> &str {
        self.beacons.id(index)
    }
    fn sample(&self, index: usize) -> Result<Sample, Error> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        if self.bad == Some(index) {
            return Err(Error::NotText { file: "bad".into() });
        }
        self.beacons.sample(index)
    }
}

#[test]
fn results_come_in_order_whatever_the_threads() {
    for threads in 1..5 {
        let results: Vec<usize> = ordered(50, ahead(threads, 7), |at| {
            std::thread::sleep(Duration::from_micros((at as u64 * 7919) % 300));
            at
        })
        .collect();
        assert_eq!(results, (0..50).collect::<Vec<_>>());
    }
    assert_eq!(ordered(0, ahead(2, 2), |at| at).count(), 0);
}

#[test]
fn no_more_is_made_than_the_bound() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let mut results = ordered(100, ahead(3, 5), move |at| {
        counter.fetch_add(1, Ordering::SeqCst);
        at
    });
    for used in 1..=20 {
        assert!(results.next().is_some());
        std::thread::sleep(Duration::from_millis(2));
        let made = made.load(Ordering::SeqCst);
        assert!(made <= used + 5, "{made} made, {used} used");
    }
    drop(results);
    assert!(made.load(Ordering::SeqCst) <= 25, "dropping ends the work");
}

#[test]
#[expect(clippy::panic, reason = "what a worker's panic does")]
fn a_panic_reaches_who_waits_for_the_result() {
    let mut results =
        ordered(3, ahead(2, 2), |at| if at == 1 { panic!("number {at}") } else { at });
    assert_eq!(results.next(), Some(0));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.next()));
    let message = caught.unwrap_err().downcast_ref::<String>().cloned();
    assert_eq!(message.as_deref(), Some("number 1"));
    assert_eq!(results.next(), Some(2));
}

#[test]
fn examples_are_the_same_for_any_number_of_threads() {
    let store = Arc::new(SampleStore::new(Box::new(beacons()), 0));
    let augment =
        AugmentConfig { scale: [0.5, 2.0], crop_px: [32, 40], ..AugmentConfig::default() };
    let picks: Vec<_> = [5, 0, 3, 3, 8].map(|index| (index, View::Plain)).to_vec();
    let epoch = |epoch, threads| {
        let loaded = examples(&store, &augment, 1, epoch, picks.clone(), ahead(threads, 3));
        loaded.collect::<Result<Vec<_>, _>>().expect("sound samples")
    };
    assert_eq!(epoch(0, 1), epoch(0, 3));
    assert_ne!(epoch(0, 1), epoch(1, 1));
    assert_eq!(epoch(0, 2)[2], epoch(0, 2)[3], "one epoch varies a sample in one way");
}

#[test]
fn a_bad_sample_is_an_error_in_its_place() {
    let set = Counting { beacons: beacons(), decoded: Arc::default(), bad: Some(2) };
    let store = Arc::new(SampleStore::new(Box::new(set), 1 << 20));
    let picks = (0..4).map(|index| (index, View::Plain)).collect();
    let loaded = examples(&store, &AugmentConfig::default(), 0, 0, picks, ahead(2, 2));
    let ok: Vec<bool> = loaded.map(|example| example.is_ok()).collect();
    assert_eq!(ok, [true, true, false, true]);
}

#[test]
fn samples_are_kept_as_far_as_the_budget_goes() {
    let bytes = 48 * 48 * (3 + 1 + 2);
    for (budget, twice) in [(0, 18), (3 * bytes, 15), (9 * bytes, 9)] {
        let decoded = Arc::new(AtomicUsize::new(0));
        let set = Counting { beacons: beacons(), decoded: decoded.clone(), bad: None };
        let store = SampleStore::new(Box::new(set), budget);
        for _ in 0..2 {
            for index in 0..store.len() {
                let sample = store.get(index).expect("a sound sample");
                assert_eq!(sample.id, store.dataset().id(index));
            }
        }
        assert_eq!(decoded.load(Ordering::Relaxed), twice);
        assert!(store.get(9).is_err());
    }
}

#[test]
fn shards_are_disjoint_and_equally_long() {
    let order: Vec<usize> = (0..11).rev().collect();
    let shards: Vec<Vec<usize>> = (0..3).map(|rank| shard(&order, rank, 3)).collect();
    assert_eq!(shards, [vec![10, 7, 4], vec![9, 6, 3], vec![8, 5, 2]]);
    assert_eq!(shard(&order, 0, 1), order);
}
