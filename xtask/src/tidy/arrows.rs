//! Who may depend on whom.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

/// Each member with the members it may depend on; `None` for any.
const ARROWS: [(&str, Option<&[&str]>); 15] = [
    ("attention", Some(&["grid-ops"])),
    ("backbone", Some(&["grid-ops", "whole-files"])),
    ("benches", None),
    ("context-modules", Some(&["backbone", "grid-ops"])),
    ("dense-rnn", Some(&["attention", "grid-ops"])),
    (
        "experiments",
        Some(&[
            "attention",
            "backbone",
            "dense-rnn",
            "grid-ops",
            "large-buffers",
            "run-record",
            "scene-data",
            "seg-metrics",
            "standard-streams",
            "whole-files",
        ]),
    ),
    ("grid-ops", Some(&[])),
    ("large-buffers", Some(&[])),
    ("run-record", Some(&["whole-files"])),
    ("scene-data", Some(&["whole-files"])),
    ("seg-metrics", Some(&[])),
    ("standard-streams", Some(&[])),
    ("testkit", Some(&[])),
    ("whole-files", Some(&[])),
    ("xtask", Some(&["run-record", "standard-streams", "whole-files"])),
];

/// Members that build without tensors, their tests included.
const WITHOUT_TENSORS: [&str; 6] =
    ["run-record", "scene-data", "seg-metrics", "standard-streams", "whole-files", "xtask"];

/// A member of the workspace as cargo describes it.
pub(super) struct Member {
    /// Its name.
    pub(super) name: String,
    /// Its `Cargo.toml`.
    pub(super) manifest: PathBuf,
    /// Its dependencies of every kind.
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    kind: Kind,
    features: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Build,
    Dev,
}

/// Reads the members from `cargo metadata --no-deps`.
pub(super) fn members(metadata: &Value) -> anyhow::Result<Vec<Member>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned).context("cargo metadata: no text");
    let dependency = |value: &Value| -> anyhow::Result<Dependency> {
        let kind = match value["kind"].as_str() {
            None => Kind::Normal,
            Some("dev") => Kind::Dev,
            Some(_) => Kind::Build,
        };
        let features = list(&value["features"]).iter().map(text).collect::<Result<_, _>>()?;
        Ok(Dependency { name: text(&value["name"])?, kind, features })
    };
    let member = |value: &Value| {
        Ok(Member {
            name: text(&value["name"])?,
            manifest: PathBuf::from(text(&value["manifest_path"])?),
            dependencies: list(&value["dependencies"])
                .iter()
                .map(dependency)
                .collect::<anyhow::Result<_>>()?,
        })
    };
    list(&metadata["packages"]).iter().map(member).collect()
}

/// One line for every dependency that may not be.
pub(super) fn check(members: &[Member]) -> Vec<String> {
    let mut findings = Vec::new();
    for Member { name, dependencies, .. } in members {
        let Some((_, allowed)) = ARROWS.iter().find(|(member, _)| member == name) else {
            findings.push(format!(
                "{name}: a new crate; say in xtask/src/tidy/arrows.rs where it stands"
            ));
            continue;
        };
        for Dependency { name: on, kind, features } in dependencies {
            let without_tensors = WITHOUT_TENSORS.contains(&name.as_str());
            let is_testkit = on == "testkit";
            if without_tensors && on.starts_with("candle") {
                findings.push(format!("{name} depends on {on}, but it must build without tensors"));
            }
            if without_tensors && is_testkit && features.iter().any(|f| f == "tensors") {
                findings.push(format!(
                    "{name} takes testkit with the feature `tensors`, but it must build without"
                ));
            }
            if is_testkit && *kind != Kind::Dev && name != "benches" {
                findings.push(format!("{name} depends on testkit, which is for tests only"));
            }
            let is_member = members.iter().any(|member| member.name == *on);
            if !is_member || is_testkit || *kind == Kind::Dev {
                continue;
            }
            if allowed.is_some_and(|allowed| !allowed.contains(&on.as_str())) {
                findings.push(format!("{name} depends on {on}, against the arrows between crates"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The findings about one member, beside every other one without dependencies.
    fn findings(name: &str, dependencies: &Value) -> Vec<String> {
        let others = ARROWS.iter().map(|(name, _)| *name).filter(|other| *other != name);
        let mut packages: Vec<Value> = others
            .map(|name| json!({ "name": name, "manifest_path": "", "dependencies": [] }))
            .collect();
        packages.push(json!({ "name": name, "manifest_path": "", "dependencies": dependencies }));
        check(&members(&json!({ "packages": packages })).expect("the shape of cargo's answer"))
    }

    #[test]
    fn arrows_upwards_and_sideways_are_found() {
        let normal = |on: &str| json!([{ "name": on, "kind": null, "features": [] }]);
        for (name, on) in [
            ("grid-ops", "dense-rnn"),
            ("backbone", "dense-rnn"),
            ("dense-rnn", "backbone"),
            ("scene-data", "seg-metrics"),
            ("seg-metrics", "experiments"),
            ("xtask", "experiments"),
            ("testkit", "grid-ops"),
        ] {
            let want = format!("{name} depends on {on}, against the arrows between crates");
            assert_eq!(findings(name, &normal(on)), [want]);
        }
        for (name, on) in
            [("dense-rnn", "attention"), ("benches", "experiments"), ("xtask", "clap")]
        {
            assert_eq!(findings(name, &normal(on)), [""; 0]);
        }
    }

    #[test]
    fn tensors_are_found_where_none_may_be() {
        for kind in [json!(null), json!("dev"), json!("build")] {
            let candle = json!([{ "name": "candle-nn", "kind": kind, "features": [] }]);
            let want = "xtask depends on candle-nn, but it must build without tensors";
            assert_eq!(findings("xtask", &candle), [want]);
            assert_eq!(findings("grid-ops", &candle), [""; 0]);
        }
        let testkit = json!([{ "name": "testkit", "kind": "dev", "features": ["tensors"] }]);
        assert_eq!(findings("scene-data", &testkit).len(), 1);
        assert_eq!(findings("attention", &testkit), [""; 0]);
    }

    #[test]
    fn testkit_is_for_tests_only() {
        let testkit = json!([{ "name": "testkit", "kind": null, "features": [] }]);
        let want = "attention depends on testkit, which is for tests only";
        assert_eq!(findings("attention", &testkit), [want]);
    }

    #[test]
    fn a_new_crate_must_find_its_place() {
        assert!(findings("helpers", &json!([]))[0].starts_with("helpers: a new crate"));
    }
}
