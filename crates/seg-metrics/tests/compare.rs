//! Comparisons of two arms: against a slow twin, on any number of threads, and what is refused.

mod networks;

use networks::{Image, miou, networks, runs, variance};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use seg_metrics::stats::{
    Bootstrap, Comparison, Difference, FEWEST_IMAGES, Run, Scope, Verdict, compare,
};
use seg_metrics::{AbsentClass, Error};

fn compared(arms: &[Vec<Vec<Image>>; 2], classes: usize, absent: AbsentClass) -> Comparison {
    let bootstrap = Bootstrap { resamples: 130, seed: 5 };
    compare(classes, absent, &runs(&arms[0]), &runs(&arms[1]), &bootstrap).expect("like runs")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn resampling_is_that_of_the_slow_twin(
        classes in 2usize..6, seeds in 1usize..4, images in 2usize..30, salt in 0u64..1 << 32,
        absent in prop_oneof![Just(AbsentClass::Skip), Just(AbsentClass::Zero)],
    ) {
        let arms = networks(classes, seeds, images, salt);
        let found = compared(&arms, classes, absent).miou;
        let all = Vec::from_iter(0..images);
        let differences = |drawn: &[usize]| -> Vec<f64> {
            let of = |s: usize| [&arms[0][s], &arms[1][s]].map(|on| miou(on, drawn, classes, absent));
            (0..seeds).map(|s| of(s)[0] - of(s)[1]).collect()
        };
        let whole = differences(&all);
        prop_assert_eq!(found.estimate, whole.iter().sum::<f64>() / seeds as f64);

        let resampled: Vec<Vec<f64>> = (0..130).map(|resample| {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            rng.set_stream(resample);
            let mut draw = || ((u64::from(rng.next_u32()) * images as u64) >> 32) as usize;
            differences(&Vec::from_iter((0..images).map(|_| draw())))
        }).collect();
        let of_seed = |s: usize| variance(&Vec::from_iter(resampled.iter().map(|d| d[s])));
        let mean_of_seeds = (0..seeds).map(of_seed).sum::<f64>() / seeds as f64;
        let mean = |d: &Vec<f64>| d.iter().sum::<f64>() / seeds as f64;
        let of_mean = variance(&Vec::from_iter(resampled.iter().map(mean)));
        let (n, s) = (images as f64, seeds as f64);
        let shared = if seeds == 1 { of_mean } else {
            ((s * of_mean - mean_of_seeds) / (s - 1.0)).max(0.0)
        };
        let want = shared * n / (n - 1.0);
        prop_assert!((found.image_variance - want).abs() <= 1e-12, "{found:?}, want {want}");
        let of_seeds = (seeds > 1).then(|| variance(&whole) / s);
        prop_assert_eq!(found.seed_variance.is_some(), of_seeds.is_some());
        let error = found.seed_variance.unwrap_or(0.0) - of_seeds.unwrap_or(0.0);
        prop_assert!(error.abs() <= 1e-12, "{found:?}, want {of_seeds:?}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for seeds in [1, 3] {
        let arms = networks(5, seeds, 50, 1);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| compared(&arms, 5, AbsentClass::Skip))
        };
        let one = on(1);
        let resampled = one.classes.iter().filter_map(|class| class.difference);
        assert!(resampled.map(|difference| difference.image_variance).sum::<f64>() > 0.0);
        assert_eq!(one, on(2));
        assert_eq!(one, on(7));
        let bootstrap = Bootstrap { resamples: 130, seed: 6 };
        let other = compare(5, AbsentClass::Skip, &runs(&arms[0]), &runs(&arms[1]), &bootstrap);
        assert_ne!(one, other.unwrap(), "another seed, other draws");
    }
}

#[test]
fn the_order_of_runs_does_not_matter() {
    let arms = networks(4, 3, 20, 2);
    let (first, mut second) = (runs(&arms[0]), runs(&arms[1]));
    let bootstrap = Bootstrap { resamples: 100, seed: 0 };
    let ordered = compare(4, AbsentClass::Zero, &first, &second, &bootstrap);
    second.reverse();
    assert_eq!(compare(4, AbsentClass::Zero, &first, &second, &bootstrap), ordered);
}

#[test]
fn swapping_the_arms_turns_the_sign() {
    let [first, second] = networks(4, 3, 20, 3);
    let there = compared(&[first.clone(), second.clone()], 4, AbsentClass::Skip).miou;
    let back = compared(&[second, first], 4, AbsentClass::Skip).miou;
    assert!(there.estimate > 0.0, "{there:?}");
    assert_eq!((there.estimate, there.half_width), (-back.estimate, back.half_width));
}

#[test]
fn an_arm_held_against_itself_shows_no_difference() {
    let [arm, _] = networks(4, 3, 20, 4);
    let same = compared(&[arm.clone(), arm], 4, AbsentClass::Skip);
    assert_eq!((same.miou.estimate, same.miou.half_width), (0.0, 0.0));
    assert_eq!(same.miou.verdict(), Verdict::NoDifferenceShown);
    assert_eq!(
        same.sentence("dense", "dag"),
        "mIoU of dense minus dag: +0.00 [+0.00, +0.00] points (3 pairs of seeds, 20 images): no \
         difference shown."
    );
}

#[test]
fn one_seed_speaks_of_two_networks_only() {
    let arms = networks(4, 1, 40, 5);
    let found = compared(&arms, 4, AbsentClass::Skip);
    assert_eq!(found.scope(), Scope::TheseTwoNetworks);
    assert_eq!((found.miou.seed_variance, found.miou.degrees_of_freedom), (None, 39.0));
    let sentence = found.sentence("dense", "dag");
    assert!(sentence.contains("(1 pair of networks, 40 images)"), "{sentence}");
    assert!(sentence.ends_with(", these two networks only."), "{sentence}");
    let of_class = found.class_sentence(0, "road", "dense", "dag").unwrap();
    assert!(of_class.ends_with(", these two networks only."), "{of_class}");
}

#[test]
fn verdicts_say_which_is_higher() {
    let of = |estimate, half_width| Difference {
        estimate,
        half_width,
        seed_variance: None,
        image_variance: 0.0,
        degrees_of_freedom: 1.0,
    };
    let says = |difference: Difference| difference.verdict().between("dense", "dag");
    assert_eq!(says(of(0.0120, 0.0085)), "dense is higher");
    assert_eq!(says(of(-0.0120, 0.0085)), "dag is higher");
    assert_eq!(says(of(0.0120, 0.0121)), "no difference shown");
    assert_eq!(of(0.0120, 0.0121).to_string(), "+1.20 [-0.01, +2.41]");
}

#[test]
fn seeds_that_scatter_leave_few_degrees_of_freedom() {
    // Each seed's difference is the same in every image, and another for each seed.
    let network = |hits: u64| vec![vec![(0, hits), (1, 100 - hits)]; 10];
    let arms = [[60, 70, 80].map(network).to_vec(), [50, 50, 50].map(network).to_vec()];
    let miou = compared(&arms, 1, AbsentClass::Skip).miou;
    assert!((miou.estimate - 0.2).abs() < 1e-12);
    assert!(miou.image_variance < 1e-30, "{miou:?}");
    assert!((miou.degrees_of_freedom - 2.0).abs() < 1e-9);
    // t(0.975) of 2 degrees of freedom times 0.1 over the root of 3.
    assert!((miou.half_width - 4.302_652_729_749_464 * 0.1 / 3f64.sqrt()).abs() < 1e-9);
}

#[test]
fn classes_have_wider_intervals_the_more_there_are() {
    // Class 0 alone, and beside three others that it is never taken for.
    let images = |classes: u32| -> [Vec<Vec<Image>>; 2] {
        let width = classes + 1;
        let image = |hits: u64| -> Image {
            let others = (1..classes).map(|class| (class * width + class, 5));
            [(0, hits), (classes, 40 - hits)].into_iter().chain(others).collect()
        };
        [vec![(0..12).map(|i| image(30 + i % 7)).collect()], vec![vec![image(28); 12]]]
    };
    let class = |classes| {
        let found = compared(&images(classes), classes as usize, AbsentClass::Skip);
        found.classes[0].difference.unwrap()
    };
    let (alone, beside) = (class(1), class(4));
    assert_eq!(alone.estimate, beside.estimate);
    // scipy.stats.t.isf of 0.05 / 2 and of 0.05 / 8, at 11 degrees of freedom.
    let ratio = beside.half_width / alone.half_width;
    assert!((ratio - 1.3543355421481154).abs() < 1e-9, "{ratio}");
}

#[test]
fn a_class_in_few_images_is_not_compared() {
    let arms = |with: usize| {
        let image = |i: usize| -> Image {
            if i < with { vec![(0, 9), (4, 5 + i as u64)] } else { vec![(0, 9)] }
        };
        let arm = vec![(0..20).map(image).collect::<Vec<_>>()];
        [arm.clone(), arm]
    };
    let enough = compared(&arms(FEWEST_IMAGES), 2, AbsentClass::Skip);
    assert!(enough.classes[1].difference.is_some());
    let few = compared(&arms(FEWEST_IMAGES - 1), 2, AbsentClass::Skip);
    assert_eq!((few.classes[1].images, few.classes[1].difference), (4, None));
    assert!(few.classes[0].difference.is_some());
    assert_eq!(
        few.class_sentence(1, "boat", "dense", "dag").unwrap(),
        "IoU of boat: not compared, labelled in 4 of 20 images."
    );
    assert_eq!(few.class_sentence(2, "?", "dense", "dag"), None);
}

#[test]
fn unlike_runs_are_refused() {
    let arms = networks(3, 2, 10, 6);
    let (first, second) = (runs(&arms[0]), runs(&arms[1]));
    let bootstrap = Bootstrap::default();
    let refusal = |first: &[Run<'_>], second: &[Run<'_>]| -> String {
        compare(3, AbsentClass::Skip, first, second, &bootstrap).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(&first, &second[..1]),
        "the first arm has the seeds [10, 11], the second [10]; expected the same, at least one"
    );
    assert!(refusal(&[], &[]).starts_with("the first arm has the seeds [], the second []"));
    let twice = [first[0], first[0]];
    assert_eq!(refusal(&first, &twice), "the second arm has two runs of seed 10; expected one");
    let short = [second[0], Run { seed: 11, images: &second[1].images[..9] }];
    assert_eq!(
        refusal(&first, &short),
        "seed 11 of the second arm has 9 images; expected 10 as seed 10 of the first arm has"
    );
    let mut moved = arms[1][1].clone();
    moved.swap(3, 4);
    let moved = [second[0], Run { seed: 11, images: &moved }];
    let error = compare(3, AbsentClass::Skip, &first, &moved, &bootstrap).unwrap_err();
    assert!(
        matches!(error, Error::OtherImage { arm: "second", seed: 11, image: 3, .. }),
        "{error}"
    );
    assert!(error.to_string().ends_with("expected the same images in the same order"), "{error}");
    let alone = |images: &[Image]| refusal(&[Run { seed: 1, images }], &[Run { seed: 1, images }]);
    assert!(alone(&[vec![]]).starts_with("1 images; expected two at least"));
    let error = alone(&[vec![(12, 1)], vec![]]);
    assert_eq!(error, "cell 12, but a matrix of 3 classes has cells 0 to 11");
    let error = alone(&[vec![], vec![]]);
    assert_eq!(error, "no pixel of 2 images is labelled with a class");
    let few = Bootstrap { resamples: 99, seed: 0 };
    let error = compare(3, AbsentClass::Skip, &first, &second, &few).unwrap_err();
    assert_eq!(error.to_string(), "99 resamples; expected 100 at least");
}
