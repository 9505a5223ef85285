//! `experiments compare` on records of tiny sweeps.

use std::path::Path;
use std::process::Output;

use crate::tiny::{folder, records, refused, reproduce, run, said};

fn compare(dir: &Path, args: &[&str]) -> Output {
    run(dir, &[&["compare"], args].concat())
}

#[test]
fn arms_are_compared_with_intervals_and_written_where_asked() {
    let dir = folder(1);
    assert!(reproduce(dir.path(), "out", &[]).status().unwrap().success());
    let text = said(&compare(dir.path(), &["out", "--to", "fcn", "--out", "found.md"]));
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("mIoU of dense-attention minus fcn: "), "{first}");
    assert!(first.contains("2 pairs of seeds, 3 images"), "{first}");
    assert_eq!(std::fs::read_to_string(dir.path().join("found.md")).unwrap(), text);
    let report = std::fs::read_to_string(dir.path().join("out/report.md")).unwrap();
    assert!(report.contains(first), "{report}");

    // The sweep's table says the same, to one digit.
    let by_hand: f64 = {
        let of = |arm: &str| -> Vec<f64> {
            let all = records(dir.path(), "out");
            all.iter().filter(|r| r.cell.arm == arm).map(|r| r.metrics.miou_percent).collect()
        };
        let (a, b) = (of("dense-attention"), of("fcn"));
        (a.iter().sum::<f64>() - b.iter().sum::<f64>()) / 2.0
    };
    assert!(first.contains(&format!("{by_hand:+.2} [")), "{by_hand}: {first}");

    // Two folders: arms of one name, here the same records.
    let text = said(&compare(dir.path(), &["out", "out", "--arms", "fcn"]));
    assert!(
        text.contains("+0.00 [+0.00, +0.00]") && text.contains("no difference shown"),
        "{text}"
    );
}

#[test]
fn one_seed_speaks_of_two_networks_only() {
    let dir = folder(1);
    assert!(reproduce(dir.path(), "out", &["--seeds", "1"]).status().unwrap().success());
    let text = said(&compare(dir.path(), &["out"]));
    assert!(text.contains("these two networks only"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let dir = folder(1);
    let run = |out: &str, args: &[&str]| {
        assert!(reproduce(dir.path(), out, args).status().unwrap().success());
    };
    run("zero", &["--seeds", "0", "--arms", "fcn"]);
    run("one", &["--seeds", "1", "--arms", "dense-attention"]);
    run("other", &["--seeds", "0", "--arms", "fcn", "--set", "dataset.seed=5"]);
    let message = refused(&compare(dir.path(), &["zero", "one"]));
    assert!(message.contains("no seed in common: {0} and {1}"), "{message}");
    let message = refused(&compare(dir.path(), &["zero", "other"]));
    assert!(message.contains("different test images"), "{message}");
    let message = refused(&compare(dir.path(), &["zero"]));
    assert!(message.contains("one arm alone"), "{message}");
    let message = refused(&compare(dir.path(), &["nowhere"]));
    assert!(message.contains("there is no such file or folder"), "{message}");
    let message = refused(&compare(dir.path(), &["zero", "--arms", "fnc"]));
    assert!(message.contains("has no arm `fnc`; its arms are fcn"), "{message}");
}
