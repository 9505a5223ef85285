//! Configurations: their names, their defaults and what they refuse.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use context_modules::{AtrousPyramidConfig, ContextConfig};

const KINDS: [&str; 5] =
    ["global-average", "pyramid-pooling", "atrous-pyramid", "non-local", "criss-cross"];

fn parsed(text: &str) -> Result<ContextConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn parameters(config: &ContextConfig, channels: usize) -> usize {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    config.build(channels, vb).unwrap();
    let vars = vars.data().lock().unwrap();
    let trained = vars.iter().filter(|(name, _)| !name.contains("running"));
    trained.map(|(_, var)| var.elem_count()).sum()
}

#[test]
fn kinds_are_known_by_name() {
    let p = 16;
    let expected = [
        2 * (p * p + p),
        // 1×1 of a quarter, the first with a bias, three with norms; 3×3 and a norm.
        p * p + 4 + 3 * 2 * 4 + 9 * 2 * p * p + 2 * p,
        p * p + 2 * p + 3 * (9 * p * p + 2 * p) + p * p + p + 5 * p * p + 2 * p,
        3 * (p * p / 2 + p / 2) + p * p / 2 + p,
        2 * (2 * p + 2) + p * p + p + 1,
    ];
    for (kind, expected) in KINDS.into_iter().zip(expected) {
        let config = parsed(&format!("{{\"kind\":\"{kind}\"}}")).unwrap();
        config.check().unwrap();
        assert_eq!(parameters(&config, p), expected, "{kind}");
        let written = serde_json::to_string(&config).unwrap();
        assert!(written.starts_with(&format!("{{\"kind\":\"{kind}\"")), "{written}");
        assert_eq!(parsed(&written).unwrap(), config);
    }
}

#[test]
fn unknown_names_are_refused() {
    for kind in KINDS {
        let error = parsed(&format!("{{\"kind\":\"{kind}\",\"chanels\":3}}")).unwrap_err();
        assert!(error.contains("unknown field `chanels`"), "{error}");
    }
    let error = parsed("{\"kind\":\"non-lokal\"}").unwrap_err();
    assert!(error.contains("unknown variant `non-lokal`"), "{error}");
}

#[test]
fn values_that_cannot_work_are_refused() {
    for (options, expected) in [
        (
            r#""kind":"global-average","hidden_channels":0"#,
            "hidden_channels = 0: must be between 1 and 4096",
        ),
        (
            r#""kind":"pyramid-pooling","bins":[]"#,
            "bins = []: must be 1 to 16 numbers between 1 and 64",
        ),
        (
            r#""kind":"pyramid-pooling","bins":[1,65]"#,
            "bins = [1, 65]: must be 1 to 16 numbers between 1 and 64",
        ),
        (
            r#""kind":"pyramid-pooling","bin_channels":5000"#,
            "bin_channels = 5000: must be between 1 and 4096",
        ),
        (
            r#""kind":"atrous-pyramid","dilations":[0]"#,
            "dilations = [0]: must be up to 16 numbers between 1 and 4096",
        ),
        (
            r#""kind":"atrous-pyramid","branch_channels":0"#,
            "branch_channels = 0: must be between 1 and 4096",
        ),
        (
            r#""kind":"non-local","inner_channels":0"#,
            "inner_channels = 0: must be between 1 and 4096",
        ),
        (r#""kind":"criss-cross","passes":0"#, "passes = 0: must be between 1 and 8"),
        (r#""kind":"criss-cross","passes":9"#, "passes = 9: must be between 1 and 8"),
        (
            r#""kind":"criss-cross","key_channels":0"#,
            "key_channels = 0: must be between 1 and 4096",
        ),
    ] {
        let config = parsed(&format!("{{{options}}}")).unwrap();
        let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
        assert_eq!(config.check().unwrap_err().to_string(), expected);
        assert_eq!(config.build(8, vb).err().unwrap().to_string(), expected);
    }
}

#[test]
fn maps_that_have_no_channels_to_share_are_refused() {
    let built = |kind: &str, channels: usize| {
        let config = parsed(&format!("{{\"kind\":\"{kind}\"}}")).unwrap();
        let built = config.build(channels, VarBuilder::zeros(DType::F32, &Device::Cpu));
        built.map(|_| ()).map_err(|error| error.to_string())
    };
    let error = built("pyramid-pooling", 3).unwrap_err();
    let expected = "more branches than the map has channels; set bin_channels";
    assert_eq!(error, format!("bins = [1, 2, 3, 6]: {expected}"));
    for kind in KINDS {
        assert_eq!(built(kind, 0).unwrap_err(), "channels = 0: must be between 1 and 4096");
        if kind != "pyramid-pooling" {
            built(kind, 1).unwrap();
        }
    }
}

#[test]
fn dilations_follow_the_stride() {
    let of = |stride| AtrousPyramidConfig::at_stride(stride).dilations;
    assert_eq!(of(16), [6, 12, 18]);
    assert_eq!(of(8), [12, 24, 36]);
    assert_eq!(of(32), [6, 12, 18]);
    assert_eq!(AtrousPyramidConfig::default(), AtrousPyramidConfig::at_stride(16));
}
