//! Sweeps as people write them, rightly and wrongly.

use run_record::{Error, Expected, Sweep};
use serde_json::json;

const SWEEP: &str = r#"
name = "example"
about = "Two arms of one network."
seeds = [0, 1]
compare_to = ["plain"]

[config.training]
epochs = 12
rate = 2e-3
[config.model.context]
kind = "none"
of_none = true

[[arm]]
name = "plain"
expected = { miou_percent = 42.5, tolerance = 2.0 }

[[arm]]
name = "dense-mean"
about = "The mean over all predecessors."
[arm.config.model.context]
kind = "dense"
aggregate = "mean"
"#;

fn sweep() -> Sweep {
    Sweep::parse(SWEEP, "example.toml").expect("the example is sound")
}

fn refusal(text: &str) -> String {
    let message = Sweep::parse(text, "x.toml").expect_err("this sweep is not sound").to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn overrides_are_merged_deep_into_the_base() {
    let cells = sweep().cells();
    let order: Vec<_> = cells.iter().map(|cell| (cell.seed, cell.arm.as_str())).collect();
    assert_eq!(order, [(0, "plain"), (0, "dense-mean"), (1, "plain"), (1, "dense-mean")]);
    assert_eq!(
        cells[1].config,
        json!({
            "model": { "context": { "kind": "dense", "aggregate": "mean" } },
            "training": { "epochs": 12, "rate": 2e-3 },
        })
    );
    // A table of another kind takes nothing over.
    assert_eq!(cells[0].config["model"]["context"], json!({ "kind": "none", "of_none": true }));
    let expected = Expected { miou_percent: 42.5, tolerance: 2.0 };
    assert_eq!(sweep().arms[0].expected, Some(expected));
}

#[test]
fn the_hash_is_of_configuration_and_seed_alone() {
    let cells = sweep().cells();
    assert_eq!(cells[0].file_stem(), format!("plain-seed0-{}", cells[0].hash()));
    assert_eq!(cells[0].hash().len(), 12);
    assert_ne!(cells[0].hash(), cells[1].hash(), "another configuration");
    assert_ne!(cells[0].hash(), cells[2].hash(), "another seed");

    let mut renamed = cells[0].clone();
    renamed.arm = "control".into();
    renamed.sweep = "other".into();
    assert_eq!(renamed.hash(), cells[0].hash());

    // Printed once with `sha256sum`; a change here orphans every record there is.
    let mut cell = cells[0].clone();
    cell.config = json!({ "b": [1, 2.5, "x\n"], "a": { "z": null, "y": true } });
    cell.seed = 7;
    assert_eq!(cell.hash(), "b97cecf0520d");
}

#[test]
fn a_setting_reaches_every_arm_and_clears_what_was_expected() {
    let mut sweep = sweep();
    sweep.set("model.context.kind=other").unwrap();
    sweep.set("training.epochs = 3").unwrap();
    sweep.set("training.schedule={ power = 0.9, at = [1, 2] }").unwrap();
    for cell in sweep.cells() {
        assert_eq!(cell.config["model"]["context"]["kind"], "other", "text that is not TOML");
        assert_eq!(cell.config["training"]["epochs"], 3);
        assert_eq!(cell.config["training"]["rate"], 2e-3, "nothing else is removed");
        assert_eq!(cell.config["training"]["schedule"], json!({ "power": 0.9, "at": [1, 2] }));
    }
    assert_eq!(sweep.cells()[1].config["model"]["context"]["aggregate"], "mean");
    assert!(sweep.arms.iter().all(|arm| arm.expected.is_none()));
}

#[test]
fn values_are_toml_where_they_can_be() {
    for (text, want) in [
        ("3", json!(3)),
        ("1e-3", json!(1e-3)),
        ("true", json!(true)),
        ("\"3\"", json!("3")),
        ("random", json!("random")),
        ("", json!("")),
        ("a=b", json!("a=b")),
        ("3\nname = 4", json!("3\nname = 4")),
    ] {
        let mut sweep = sweep();
        sweep.set(&format!("training.value={text}")).unwrap();
        assert_eq!(sweep.cells()[0].config["training"]["value"], want, "{text}");
    }
}

#[test]
fn settings_that_cannot_be_made_change_nothing() {
    for (change, problem) in [
        ("training.epochs", "expected KEY=VALUE, for example training.epochs=3"),
        ("=3", "`` has an empty part"),
        ("training..epochs=3", "`training..epochs` has an empty part"),
        ("training.epochs.x=3", "`training.epochs` is a value of type integer, not a table"),
        ("model.context.aggregate.x=3", "in arm dense-mean, `model.context.aggregate` is a value"),
        ("training.rate=nan", "training.rate = NaN: expected a finite number"),
        ("training.rate=[1.0, inf]", "training.rate = inf: expected a finite number"),
    ] {
        let mut changed = sweep();
        let message = changed.set(change).unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot set `{change}`: {problem}")), "{message}");
        assert_eq!(changed, sweep());
    }
}

#[test]
fn arms_and_seeds_are_narrowed() {
    let mut narrowed = sweep();
    narrowed.keep_arms(&["dense-mean"]).unwrap();
    narrowed.keep_seeds(&[0]).unwrap();
    assert_eq!(narrowed.cells().len(), 1);
    assert_eq!(narrowed.cells()[0], sweep().cells()[1]);
    assert!(narrowed.compare_to.is_empty(), "its arm is gone");

    let mut same = sweep();
    same.keep_seeds(&[1, 0]).unwrap();
    assert!(same.arms[0].expected.is_some(), "the same seeds have the same mean");
    same.keep_seeds(&[5]).unwrap();
    assert_eq!(same.arms[0].expected, None, "another seed has another mean");
    assert!(same.keep_seeds(&[]).unwrap_err().to_string().contains("no seeds"));
    assert!(same.keep_seeds(&[3, 3]).unwrap_err().to_string().contains("seed 3 is given twice"));
}

#[test]
fn more_than_anybody_writes_is_refused() {
    let mut sweep = sweep();
    let message = sweep.keep_seeds(&[1 << 63]).unwrap_err().to_string();
    assert!(message.contains("seed 9223372036854775808: expected at most"), "{message}");
    let many: Vec<u64> = (0..10_000).collect();
    let message = sweep.keep_seeds(&many).unwrap_err().to_string();
    assert!(message.contains("20000 cells; expected at most 10000"), "{message}");
    let key = vec!["a"; 30_000].join(".");
    let message = sweep.set(&format!("{key}=1")).unwrap_err().to_string();
    assert!(message.contains("a key of 30000 parts") && message.len() < 500, "{message}");
    // Two long words would take a table of their product.
    let word = "x".repeat(100_000);
    assert_eq!(run_record::nearest(&word, [&*format!("{word}y")]), None);
}

#[test]
fn an_unknown_arm_is_answered_with_the_nearest_and_all() {
    let mut narrowed = sweep();
    let error = narrowed.keep_arms(&["plain", "dense-maen"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sweep example has no arm `dense-maen` (did you mean `dense-mean`?); its arms are plain, \
         dense-mean"
    );
    assert!(matches!(error, Error::UnknownArm { .. }));
    assert_eq!(narrowed, sweep());
    let message = narrowed.keep_arms(&["zzz"]).unwrap_err().to_string();
    assert!(message.contains("no arm `zzz`; its arms are"), "{message}");
    assert!(narrowed.keep_arms::<&str>(&[]).unwrap_err().to_string().contains("no arm is left"));
}

#[test]
fn an_unknown_key_is_answered_with_its_line_and_the_nearest() {
    assert_eq!(
        refusal("name = \"a\"\nseeds = [0]\n[[arms]]\nname = \"b\"\n"),
        "x.toml:3: unknown field `arms`, expected one of `name`, `about`, `seeds`, `compare_to`, \
         `config`, `arm`; did you mean `arm`?"
    );
    let message = refusal("name = \"a\"\nseeds = [0]\n[[arm]]\nname = \"b\"\nconfg.x = 1\n");
    assert!(message.starts_with("x.toml:5: unknown field `confg`"), "{message}");
    assert!(message.ends_with("did you mean `config`?"), "{message}");
}

#[test]
fn unsound_sweeps_are_refused_in_one_line() {
    let arm = "[[arm]]\nname = \"b\"\n";
    for (text, problem) in [
        ("name = ".to_owned(), "x.toml:1: "),
        ("name = \"a\"\nseeds = [-1]\n".to_owned(), "x.toml:2: "),
        ("seeds = [0]\n".to_owned(), "missing field `name`"),
        ("name = \"a\"\nseeds = [0]\n".to_owned(), "no arms; a sweep needs at least one [[arm]]"),
        (format!("name = \"a\"\nseeds = []\n{arm}"), "no seeds"),
        (format!("name = \"a\"\nseeds = [1, 1]\n{arm}"), "seed 1 is given twice"),
        (format!("name = \"a\"\nseeds = [0]\n{arm}{arm}"), "two arms are called `b`"),
        (format!("name = \"a/b\"\nseeds = [0]\n{arm}"), "name = \"a/b\": expected letters"),
        (format!("name = \"..\"\nseeds = [0]\n{arm}"), "name = \"..\": expected letters"),
        (format!("name = \"a\"\nseeds = [0]\n{arm}config.t.x = nan\n"), "arm.b.config.t.x = NaN"),
        (
            format!("name = \"a\"\nseeds = [0]\ncompare_to = [\"c\"]\n{arm}"),
            "compare_to: sweep a has no arm `c`",
        ),
        (
            format!(
                "name = \"a\"\nseeds = [0]\n{arm}expected = {{ miou_percent = 1.0, tolerance = -1.0 }}\n"
            ),
            "arm b: expected = 1 ± -1",
        ),
    ] {
        let message = refusal(&text);
        assert!(message.starts_with("x.toml:") && message.contains(problem), "{message}");
    }
    let missing = Sweep::load("no/such/sweep.toml").unwrap_err().to_string();
    assert!(missing.starts_with("no/such/sweep.toml: "), "{missing}");
}
