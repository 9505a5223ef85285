//! Weights files: what is read, what is refused, and what the messages say.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use backbone::{
    BackboneConfig, Error, MobileNetV2Config, ResNetConfig, SqueezeNetConfig, Vgg16Config, VggNorm,
    Weights, checked, find_weights, load_safetensors, load_weights,
};
use candle_core::{DType, Device, Tensor};

fn mobilenet() -> BackboneConfig {
    BackboneConfig::MobileNetV2(MobileNetV2Config::default())
}

/// All that MobileNetV2 asks for, ones.
fn complete() -> BTreeMap<String, Tensor> {
    let ones = |shape: Vec<usize>| {
        Tensor::ones(shape, DType::F32, &Device::Cpu).expect("a valid configuration")
    };
    mobilenet()
        .parameters()
        .expect("a valid configuration")
        .into_iter()
        .map(|(name, s)| (name, ones(s)))
        .collect()
}

fn save(tensors: &BTreeMap<String, Tensor>, file: &Path) {
    let map: HashMap<&str, Tensor> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    candle_core::safetensors::save(&map, file).expect("a writable folder");
}

fn message(tensors: &BTreeMap<String, Tensor>) -> String {
    let folder = tempfile::tempdir().expect("a writable folder");
    let file = folder.path().join("w.safetensors");
    save(tensors, &file);
    let weights = load_safetensors(&file).expect("a whole file");
    let error = checked(&weights, &mobilenet()).expect_err("weights that differ").to_string();
    error.replace(&file.display().to_string(), "FILE")
}

/// A file with ones of one element under these names.
fn named(names: &[&str]) -> BTreeMap<String, Tensor> {
    let one = Tensor::ones(1, DType::F32, &Device::Cpu).expect("a tensor of one element");
    names.iter().map(|name| ((*name).to_owned(), one.clone())).collect()
}

#[test]
fn a_complete_file_passes_whatever_its_classifier_and_precision() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    let mut tensors = complete();
    let half = tensors["features.0.0.weight"].to_dtype(DType::F16).unwrap();
    tensors.insert("features.0.0.weight".to_owned(), (half * 0.1).unwrap());
    let double = tensors["features.0.1.bias"].to_dtype(DType::F64).unwrap();
    tensors.insert("features.0.1.bias".to_owned(), double);
    tensors.extend(named(&["classifier.1.weight", "features.18.0.weight"]));
    let counter = Tensor::new(&[3i64], &Device::Cpu).unwrap();
    tensors.insert("features.0.1.num_batches_tracked".to_owned(), counter);
    save(&tensors, &file);
    let weights = load_safetensors(&file).unwrap();
    assert!(!weights.tensors.contains_key("features.0.1.num_batches_tracked"));
    let kept = checked(&weights, &mobilenet()).unwrap();
    assert!(kept.keys().eq(complete().keys()));
    assert!(kept.values().all(|tensor| tensor.dtype() == DType::F32));
    let value = kept["features.0.0.weight"].flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
    assert!((value - 0.1).abs() < 1e-4 && value != 0.1, "0.1 in half precision: {value}");
}

#[test]
fn the_digest_is_sha_256() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.safetensors");
    fs::write(&file, b"\x02\0\0\0\0\0\0\0{}").unwrap();
    let weights = load_safetensors(&file).unwrap();
    assert!(weights.tensors.is_empty());
    // printf '\2\0\0\0\0\0\0\0{}' | sha256sum
    let expected = "411a485216e432ece6b9af94fa32154cf79a2a56d4f81266baa50063f45092bd";
    assert_eq!(weights.sha256, expected);
}

#[test]
fn differences_are_listed_with_shapes() {
    let mut tensors = complete();
    tensors.remove("features.9.conv.2.weight");
    let zeros = Tensor::zeros(7, DType::F32, &Device::Cpu).unwrap();
    tensors.insert("features.0.1.bias".to_owned(), zeros);
    tensors.extend(named(&["head.weight"]));
    assert_eq!(
        message(&tensors),
        "FILE: weights that do not fit mobilenet-v2: 1 missing: features.9.conv.2.weight [64, \
         384, 1, 1]; 1 of another shape: features.0.1.bias is [7], expected [32]; 1 left over: \
         head.weight [1]"
    );
}

#[test]
fn long_lists_are_cut() {
    let mut tensors = complete();
    tensors.retain(|name, _| !name.starts_with("features.9."));
    let text = message(&tensors);
    assert!(text.contains("15 missing: ") && text.ends_with(" and 9 more"), "{text}");
}

#[test]
fn classifiers_are_not_asked_for() {
    let narrow = ResNetConfig { width: 4, ..ResNetConfig::default() };
    let cases = [
        (BackboneConfig::Vgg16(Vgg16Config::default()), "classifier.6.weight"),
        (BackboneConfig::ResNet18(narrow), "fc.bias"),
        (BackboneConfig::SqueezeNet(SqueezeNetConfig::default()), "classifier.1.weight"),
    ];
    for (config, unused) in cases {
        let ones = |shape: Vec<usize>| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let parameters = config.parameters().unwrap();
        let mut tensors: BTreeMap<_, _> =
            parameters.iter().map(|(name, shape)| (name.clone(), ones(shape.clone()))).collect();
        tensors.extend(named(&[unused]));
        let mut weights = Weights { path: "FILE".into(), tensors, sha256: String::new() };
        let kept = checked(&weights, &config).unwrap();
        assert!(kept.keys().eq(parameters.keys()), "{unused}");
        weights.tensors.extend(named(&["head.bias"]));
        let error = checked(&weights, &config).unwrap_err().to_string();
        assert!(error.ends_with("1 left over: head.bias [1]"), "{error}");
    }
}

#[test]
fn a_prefix_that_all_names_share_comes_off_where_the_rest_fits() {
    let with = |prefix: &str, tensors: BTreeMap<String, Tensor>| {
        let named = tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor));
        Weights { path: "FILE".into(), tensors: named.collect(), sha256: String::new() }
    };
    let prefixes = ["module.", "backbone.", "encoder.", "model.", "module.encoder.", "_orig_mod."];
    for prefix in prefixes {
        let mut tensors = complete();
        tensors.extend(named(&["classifier.1.weight"]));
        let kept = checked(&with(prefix, tensors), &mobilenet()).unwrap();
        assert!(kept.keys().eq(complete().keys()), "{prefix}");
    }
    // Names that all begin alike by themselves stay.
    assert!(complete().keys().all(|name| name.starts_with("features.")));
    assert!(checked(&with("", complete()), &mobilenet()).is_ok());
    // What is missing is told under the network's own names.
    let mut tensors = complete();
    tensors.remove("features.9.conv.2.weight");
    let error = checked(&with("module.", tensors), &mobilenet()).unwrap_err().to_string();
    assert!(error.ends_with("1 missing: features.9.conv.2.weight [64, 384, 1, 1]"), "{error}");
    // A prefix of some names is none.
    let mut some = with("module.", complete());
    some.tensors.extend(named(&["head.weight"]));
    let error = checked(&some, &mobilenet()).unwrap_err().to_string();
    assert!(
        error.contains("an unknown network, with names such as head.weight, module."),
        "{error}"
    );
    // Another network is recognised behind it as well.
    let squeeze = with("module.", named(&["features.0.weight", "features.3.squeeze.weight"]));
    let error = checked(&squeeze, &mobilenet()).unwrap_err().to_string();
    assert!(error.ends_with("found SqueezeNet by its names"), "{error}");
}

#[test]
fn what_was_saved_instead_of_weights_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 14\n";
    let lfs = "a Git LFS pointer, not the weights: fetch them with `git lfs pull`";
    let page = "a web page, not the weights: the download was answered with it";
    let cases = [
        (pointer, lfs),
        ("<!DOCTYPE html>\n<html>", page),
        ("\u{feff}\n  <HTML lang=\"en\">", page),
        ("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", page),
    ];
    for (content, expected) in cases {
        for name in ["w.pth", "w.safetensors"] {
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            let error = load_weights(&file).unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
            assert!(error.to_string().contains(&format!("{name}: {expected}")), "{error}");
        }
    }
}

#[test]
fn another_architecture_is_named() {
    let blocks: Vec<String> = (0..6).map(|k| format!("layer3.{k}.conv1.weight")).collect();
    let mut resnet = vec!["layer1.0.conv1.weight", "layer1.0.conv3.weight"];
    resnet.extend(blocks.iter().map(String::as_str));
    let cases: [(&[&str], &str); 6] = [
        (&resnet, "ResNet-50 by its names"),
        (&["layer1.0.conv1.weight", "layer3.0.conv1.weight"], "a ResNet by its names"),
        (&["features.3.squeeze.weight", "features.0.weight"], "SqueezeNet by its names"),
        (&["features.0.weight", "features.2.weight", "classifier.6.weight"], "VGG by its names"),
        (&["stages.0.0.conv.weight"], "this crate's small-cnn by its names"),
        (&["b", "a"], "an unknown network, with names such as a, b"),
    ];
    for (names, found) in cases {
        assert_eq!(
            message(&named(names)),
            format!(
                "FILE: weights of another architecture: expected mobilenet-v2, with names such as \
                 features.0.0.weight, found {found}"
            )
        );
    }
}

#[test]
fn broken_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    save(&named(&["a", "b"]), &file);
    let whole = fs::read(&file).unwrap();
    for len in 0..whole.len() {
        fs::write(&file, &whole[..len]).unwrap();
        let error = load_safetensors(&file).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Malformed { .. }), "{text}");
        assert!(text.contains(&format!("it has {len} bytes and may be cut off")), "{text}");
    }
    // A header that promises 2⁶³ elements.
    let header = r#"{"a":{"dtype":"F32","shape":[9223372036854775807],"data_offsets":[0,4]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes().chain([0; 4]));
    fs::write(&file, bytes).unwrap();
    assert!(matches!(load_safetensors(&file), Err(Error::Malformed { .. })));
}

#[test]
fn values_that_are_no_weights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    let of = |value: f32| Tensor::new(&[1.0, value], &Device::Cpu).unwrap();
    let cases = [
        ("a", of(f32::NAN), "a holds the value NaN"),
        ("a", of(f32::INFINITY), "a holds the value inf"),
        ("n.running_var", of(-1.0), "n.running_var holds a negative variance"),
        ("a", Tensor::new(&[1u8], &Device::Cpu).unwrap(), "a holds U8; weights are F32"),
    ];
    for (name, tensor, expected) in cases {
        save(&BTreeMap::from([(name.to_owned(), tensor)]), &file);
        let error = load_safetensors(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn files_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let text = |config: &BackboneConfig, path: &Path| {
        let error = find_weights(path, config).unwrap_err().to_string();
        error.replace(&dir.display().to_string(), "DIR")
    };
    let start = "no weights for mobilenet-v2: expected mobilenet_v2_features.safetensors or \
                 mobilenet_v2.safetensors, mobilenet_v2-*.safetensors or the same as .pth; found";
    assert_eq!(text(&mobilenet(), dir), format!("DIR: {start} an empty folder"));
    let gone = dir.join("gone");
    assert_eq!(text(&mobilenet(), &gone), format!("DIR/gone: {start} no such file or folder"));
    let touch = |name: &str| fs::write(dir.join(name), b"").unwrap();
    let found = |config: &BackboneConfig, name: &str| {
        assert_eq!(find_weights(dir, config).unwrap(), dir.join(name));
    };
    touch("vgg16_bn-6c64b313.pth");
    touch("mobilenet_v2.onnx");
    let listed = format!("DIR: {start} mobilenet_v2.onnx, vgg16_bn-6c64b313.pth");
    assert_eq!(text(&mobilenet(), dir), listed);
    touch("mobilenet_v2-b0353104.pth");
    found(&mobilenet(), "mobilenet_v2-b0353104.pth");
    touch("mobilenet_v2-b0353104.safetensors");
    found(&mobilenet(), "mobilenet_v2-b0353104.safetensors");
    touch("mobilenet_v2-other.safetensors");
    let several = "several, mobilenet_v2-b0353104.safetensors, mobilenet_v2-other.safetensors; \
                   give the path of one";
    assert_eq!(text(&mobilenet(), dir), format!("DIR: {start} {several}"));
    touch("mobilenet_v2_features.safetensors");
    found(&mobilenet(), "mobilenet_v2_features.safetensors");
    // A file is taken at its word.
    let file = dir.join("vgg16_bn-6c64b313.pth");
    assert_eq!(find_weights(&file, &mobilenet()).unwrap(), file);
    let text_of_none = text(&BackboneConfig::default(), dir);
    assert!(text_of_none.ends_with("no pretrained weights of this network); found a folder"));
    let text_of_none = text(&BackboneConfig::default(), &gone);
    assert!(text_of_none.ends_with("found no such file or folder"), "{text_of_none}");
    // One network's name may begin with another's.
    let batch = Vgg16Config { norm: VggNorm::Batch, ..Vgg16Config::default() };
    found(&BackboneConfig::Vgg16(batch), "vgg16_bn-6c64b313.pth");
    let plain = BackboneConfig::Vgg16(Vgg16Config::default());
    let start = "no weights for vgg-16: expected vgg16.safetensors, vgg16-*.safetensors or";
    assert!(text(&plain, dir).contains(start), "{}", text(&plain, dir));
    touch("resnet50_thin_opennsfw.safetensors");
    touch("resnet50-0676ba61.pth");
    found(&BackboneConfig::ResNet50(ResNetConfig::default()), "resnet50-0676ba61.pth");
    let thin = BackboneConfig::ResNet50(ResNetConfig::open_nsfw());
    found(&thin, "resnet50_thin_opennsfw.safetensors");
    for (config, name) in [
        (plain, "vgg16.pth"),
        (BackboneConfig::ResNet18(ResNetConfig::default()), "resnet18-f37072fd.pth"),
        (BackboneConfig::ResNet101(ResNetConfig::default()), "resnet101-63fe2227.pth"),
        (BackboneConfig::SqueezeNet(SqueezeNetConfig::default()), "squeezenet1_1.safetensors"),
    ] {
        touch(name);
        found(&config, name);
    }
}

#[test]
fn a_folder_is_no_weights_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = load_safetensors(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("is a folder; expected a regular file"), "{error}");
    let gone = folder.path().join("gone");
    let error = load_safetensors(&gone).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: No such file", gone.display())), "{error}");
}
