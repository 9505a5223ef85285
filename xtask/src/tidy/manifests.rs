//! What every member takes from the workspace's manifest.

use toml::{Table, Value};

const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// One line for every fact that a member's `Cargo.toml` states by itself or leaves out.
pub(super) fn check(name: &str, manifest: &str) -> Vec<String> {
    let manifest: Table = match manifest.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![format!("{name}: Cargo.toml: {}", error.message())],
    };
    let inherits = |value: Option<&Value>| {
        value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
    };
    let mut findings = Vec::new();
    for key in INHERITED {
        if !inherits(manifest.get("package").and_then(|package| package.get(key))) {
            findings.push(format!("{name}: Cargo.toml needs `{key}.workspace = true`"));
        }
    }
    if !inherits(manifest.get("lints")) {
        findings.push(format!("{name}: Cargo.toml needs `[lints]` with `workspace = true`"));
    }
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let table = manifest.get(kind).and_then(Value::as_table);
        for (dependency, value) in table.into_iter().flatten() {
            if !inherits(Some(value)) {
                findings.push(format!(
                    "{name}: {kind}.{dependency} needs `workspace = true`; versions are in the root"
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "[package]
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true
[lints]
workspace = true
[dependencies]
a.workspace = true
b = { workspace = true, features = [\"c\"] }
";

    #[test]
    fn a_member_inherits_what_the_workspace_says() {
        assert_eq!(check("x", SOUND), [""; 0]);
        for key in INHERITED {
            let own =
                SOUND.replace(&format!("\n{key}.workspace = true"), &format!("\n{key} = \"1\""));
            assert_eq!(check("x", &own), [format!("x: Cargo.toml needs `{key}.workspace = true`")]);
        }
        let unlinted = SOUND.replace("[lints]", "[other]");
        assert_eq!(
            check("x", &unlinted),
            ["x: Cargo.toml needs `[lints]` with `workspace = true`"]
        );
    }

    #[test]
    fn versions_are_written_once() {
        let own = SOUND.replace("a.workspace = true", "a = \"1.0\"");
        assert_eq!(
            check("x", &own),
            ["x: dependencies.a needs `workspace = true`; versions are in the root"]
        );
    }

    #[test]
    fn a_manifest_that_is_not_toml_is_named() {
        assert!(check("x", "[package").remove(0).starts_with("x: Cargo.toml: "));
    }
}
