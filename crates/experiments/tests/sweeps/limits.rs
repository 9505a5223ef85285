//! Whatever is written into a file, an option or the environment: an error of one line within a
//! moment and little memory, never a panic, a hang or a flood.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use run_record::Record;
use scene_data::beacons::BeaconsConfig;
use scene_data::{Layout, synth};
use serde_json::{Value, json};

use crate::tiny::{cells, folder, records, reproduce};

fn program(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.current_dir(dir).args(args);
    command
}

/// Ends a command that takes longer than anything here should; also its largest memory, as far as
/// it was seen.
fn ended(mut command: Command) -> (Output, u64) {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let (start, mut peak_kib) = (Instant::now(), 0);
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    (child.wait_with_output().unwrap(), peak_kib)
}

/// The one line with which a command is refused.
fn refusal(command: Command) -> String {
    let shown = format!("{command:?}");
    let (output, _) = ended(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{shown}: {said}");
    assert_eq!(said.lines().count(), 1, "{shown}: {said}");
    assert!(said.starts_with("error: ") && said.len() < 2000, "{shown}: {said}");
    said
}

#[test]
fn numbers_that_nothing_could_hold_are_refused_by_name() {
    let dir = folder(1);
    let largest = i64::MAX.to_string();
    for key in [
        "training.batch_size",
        "training.epochs",
        "training.warmup_steps",
        "training.accumulate",
        "model.adapter_channels",
        "model.skip_channels",
        "model.context.hidden_channels",
        "dataset.size_px",
        "dataset.train_images",
    ] {
        let change = format!("{key}={largest}");
        let said = refusal(reproduce(dir.path(), "out", &["--set", &change]));
        let (_, name) = key.rsplit_once('.').unwrap();
        assert!(said.contains(&format!("{name} = {largest}")), "{said}");
    }
    let widest = "model.backbone={kind=\"small-cnn\",channels=[4096,4096,4096,4096,4096,4096],blocks_per_stage=[64,64,64,64,64,64]}";
    let said = refusal(reproduce(dir.path(), "out", &["--set", widest]));
    assert!(said.contains("the parameters of this network take at least"), "{said}");
    let wide = "model.backbone={kind=\"small-cnn\",channels=[512,512,512],blocks_per_stage=[1]}";
    let many = ["--set", wide, "--set", "training.batch_size=65536", "--seeds", "0"];
    let many = [&many[..], &["--set", "training.augment.crop_px=[8192,8192]"]].concat();
    let (output, _) = ended(reproduce(dir.path(), "out", &many));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let step =
        "training.batch_size = 65536: a step of 12 images of 8192×8192 pixels takes at least";
    assert!(said.contains(step), "{said}");
    for (args, want) in [
        (["--seeds", "18446744073709551615"], "seed 18446744073709551615: expected at most"),
        (["--jobs", "100000"], "--jobs 100000: expected 1 to 256 processes"),
    ] {
        let said = refusal(reproduce(dir.path(), "out", &args));
        assert!(said.contains(want), "{said}");
    }
    for option in ["--state-every", "--features-limit"] {
        let (output, _) = ended(reproduce(dir.path(), "out", &[option, "18446744073709551615"]));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    let key = vec!["a"; 30_000].join(".");
    let said = refusal(reproduce(dir.path(), "out", &["--set", &format!("{key}=1")]));
    assert!(said.contains("a key of 30000 parts"), "{said}");
}

#[test]
fn threads_that_cannot_be_are_refused_by_name() {
    let dir = folder(1);
    for (name, value) in [
        ("RAYON_NUM_THREADS", "100000"),
        ("RAYON_NUM_THREADS", "many"),
        ("CANDLE_NUM_THREADS", "99999999999999999999"),
        ("CANDLE_NUM_THREADS", "-1"),
    ] {
        let mut command = program(dir.path(), &["data", "list"]);
        command.env(name, value);
        let said = refusal(command);
        assert!(said.contains(&format!("{name}={value}: expected a number of threads")), "{said}");
    }
    let mut command = program(dir.path(), &["data", "list"]);
    command.env("RAYON_NUM_THREADS", "0").env("CANDLE_NUM_THREADS", "");
    assert!(ended(command).0.status.success());
}

/// A trained network of the folder, by its record.
fn trained(dir: &Path) -> (std::path::PathBuf, Record) {
    let args = ["--seeds", "0", "--arms", "fcn"];
    assert!(reproduce(dir, "out", &args).output().unwrap().status.success());
    let record = records(dir, "out").remove(0);
    (cells(dir, "out").join(format!("{}.json", record.cell.file_stem())), record)
}

/// The paths of everything in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(all) => {
            let of = all.iter().take(2).enumerate();
            of.for_each(|(nth, value)| places(value, &format!("{at}/{nth}"), found));
        }
        Value::Object(all) => {
            all.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), found));
        }
        _ => {}
    }
}

#[test]
fn a_record_of_whatever_content_is_read_or_refused() {
    let dir = folder(1);
    let (file, record) = trained(dir.path());
    let name = file.to_str().unwrap();
    let mut record = record;
    // As records were before they had a checksum, which whoever crafts one would leave out.
    (record.version, record.normalisation, record.dataset.class_table) = (1, None, None);
    let whole = serde_json::to_value(&record).unwrap();
    let mut found = Vec::new();
    places(&whole, "", &mut found);
    assert!(found.len() > 100, "{found:?}");
    let wrong = [json!(3), json!("x"), json!([]), json!({}), Value::Null, json!(u64::MAX)];
    for (nth, place) in found.iter().enumerate() {
        let mut changed = whole.clone();
        *changed.pointer_mut(place).unwrap() = wrong[nth % wrong.len()].clone();
        // As whoever crafts one would do it.
        if let Ok(mut record) = serde_json::from_value::<Record>(changed.clone()) {
            record.cell_hash = record.cell.hash();
            changed = serde_json::to_value(&record).unwrap();
        }
        fs::write(&file, changed.to_string()).unwrap();
        for args in [
            &["compare", name][..],
            &["eval", name],
            &["table", "--records", "out/cells", "--sweep", "tiny.toml", "--out-dir", "seen"],
        ] {
            // Reading takes the same way for all; what a network is, only one needs.
            if args[0] != "eval"
                || place.starts_with("/cell/config")
                || place.starts_with("/dataset")
            {
                let (output, _) = ended(program(dir.path(), args));
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?} {place}: {said}");
                assert!(!said.contains("panicked"), "{args:?} {place}: {said}");
            }
        }
    }
    record.cell.config["evaluation"] = json!(3);
    record.cell_hash = record.cell.hash();
    fs::write(&file, serde_json::to_string(&record).unwrap()).unwrap();
    for set in [&[][..], &["--set", "mirror=averaged"]] {
        let said = refusal(program(dir.path(), &[&["eval", name], set].concat()));
        assert!(said.contains("record"), "{said}");
    }
}

#[test]
fn nesting_without_end_is_refused() {
    let dir = folder(1);
    let deep = 100_000;
    for text in [
        format!("a = {}1{}", "[".repeat(deep), "]".repeat(deep)),
        format!("{}1{}", "a = {".repeat(deep), "}".repeat(deep)),
        format!("{} = 1", vec!["a"; deep].join(".")),
        format!("[{}]", vec!["a"; deep].join(".")),
    ] {
        fs::write(dir.path().join("deep.toml"), text).unwrap();
        let name = ["--sweep", "deep.toml", "--out-dir", "out"];
        refusal(program(dir.path(), &[&["reproduce"], &name[..]].concat()));
        refusal(program(dir.path(), &["train", "deep.toml", "--try", "1"]));
        refusal(program(dir.path(), &["run", "deep.toml"]));
        fs::write(dir.path().join("dataset.toml"), fs::read(dir.path().join("deep.toml")).unwrap())
            .unwrap();
        refusal(program(dir.path(), &["data", "stats", "folder", "--data-root", "."]));
    }
    fs::write(dir.path().join("deep.json"), "[".repeat(deep)).unwrap();
    refusal(program(dir.path(), &["verify", "deep.json"]));
    fs::write(
        dir.path().join("deep.json"),
        format!("{{\"version\":1,\"cell\":{}", "[".repeat(deep)),
    )
    .unwrap();
    refusal(program(dir.path(), &["verify", "deep.json"]));
}

#[cfg(target_os = "linux")]
#[test]
fn files_of_many_megabytes_take_little_memory() {
    let dir = folder(1);
    let lines = |line: &str| line.repeat((60 << 20) / line.len());
    fs::write(dir.path().join("dataset.toml"), lines("[[class]]\nvalue = 1\nname = \"a\"\n"))
        .unwrap();
    fs::write(dir.path().join("huge.toml"), lines("[[arm]]\nname = \"a\"\n")).unwrap();
    fs::write(dir.path().join("huge.json"), format!("[{}", lines("0,"))).unwrap();
    for args in [
        &["data", "stats", "folder", "--data-root", "."][..],
        &["reproduce", "--sweep", "huge.toml", "--out-dir", "out"],
        &["train", "huge.toml", "--try", "1"],
        &["run", "huge.toml"],
        &["verify", "huge.json"],
        &["compare", "huge.json"],
    ] {
        let (output, peak_kib) = ended(program(dir.path(), args));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("that a file of this kind may have"), "{args:?}: {said}");
        assert!(peak_kib < 200 << 10, "{args:?}: {peak_kib} KiB");
    }
}

/// Waits for nothing: no such file is opened.
#[cfg(unix)]
#[test]
fn named_pipes_are_errors_and_no_hangs() {
    let dir = folder(1);
    let (file, _) = trained(dir.path());
    let fifo = |name: &str| {
        let file = dir.path().join(name);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).unwrap();
        }
        let _ = fs::remove_file(&file);
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    };
    fifo("pipe");
    let cell = file.to_str().unwrap();
    for args in [
        &["reproduce", "--sweep", "pipe", "--out-dir", "new"][..],
        &["train", "pipe", "--try", "1"],
        &["run", "pipe"],
        &["report", "pipe"],
        &["verify", "pipe"],
        &["verify", cell, "--checkpoint", "pipe"],
        &["compare", "pipe"],
        &["table", "--records", "out/cells", "--sweep", "pipe"],
        &["predict", cell, "pipe", "--out-dir", "seen"],
        &["data", "prepare", "ade20k", "--data-root", "set", "--archive", "pipe"],
    ] {
        let (output, _) = ended(program(dir.path(), args));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("pipe") && output.status.code() == Some(1), "{args:?}: {said}");
    }
    let resnet = ["--set", "model.backbone={kind=\"resnet-18\",width=8}", "--weights", "pipe"];
    let (output, _) = ended(reproduce(dir.path(), "new", &resnet));
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 2,
        val_images: 2,
        test_images: 2,
        ..BeaconsConfig::default()
    };
    synth::write(Layout::CamVid, &few, &dir.path().join("set")).unwrap();
    synth::write(Layout::Folder, &few, &dir.path().join("own")).unwrap();
    let stats = ["data", "stats", "camvid", "--data-root", "set", "--set"];
    let verify = ["data", "verify", "camvid", "--data-root", "set", "--partial"];
    let score = ["score", "--protocol", "camvid", "--labels", "set/trainannot"];
    let score = [&score[..], &["--predictions", "set/trainannot"]].concat();
    for name in
        ["set/train/beacons_000001.png", "set/trainannot/beacons_000001.png", "set/train.txt"]
    {
        fifo(name);
        let (output, _) = ended(program(dir.path(), &stats[..5]));
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        // Of a part of a set files may be missing; that one is, is said.
        let (output, _) = ended(program(dir.path(), &verify));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains(name), "{name}: {said}");
        if name.contains("annot") {
            let (output, _) = ended(program(dir.path(), &score));
            assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        }
    }
    fifo("own/dataset.toml");
    let (output, _) =
        ended(program(dir.path(), &["data", "stats", "folder", "--data-root", "own"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // In the way of what is read again from an output folder.
    fifo("out/cells/other.json");
    let (output, _) = ended(reproduce(dir.path(), "out", &[]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[cfg(unix)]
#[test]
fn links_that_lead_to_each_other_end() {
    let dir = folder(1);
    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 2,
        val_images: 2,
        test_images: 2,
        ..BeaconsConfig::default()
    };
    synth::write(Layout::CamVid, &few, &dir.path().join("set")).unwrap();
    for name in ["a", "b"] {
        std::os::unix::fs::symlink(".", dir.path().join("set/trainannot").join(name)).unwrap();
    }
    let score = ["score", "--protocol", "camvid", "--labels", "set/trainannot"];
    let (output, _) =
        ended(program(dir.path(), &[&score[..], &["--predictions", "set/trainannot"]].concat()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("2 images"), "{output:?}");
}

/// A program that hangs on a message nobody takes: the first signal is to end it soon, the second
/// does at once.
#[cfg(target_os = "linux")]
#[test]
fn a_second_interrupt_ends_what_hangs() {
    let dir = folder(1);
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let filler = writer.try_clone().unwrap();
    // As much as a pipe takes by default; a byte more would make this test wait instead.
    writer.write_all(&vec![b'x'; 1 << 16]).unwrap();
    let mut command = reproduce(dir.path(), "out", &["--state-every", "0"]);
    let mut child = command.stdout(Stdio::null()).stderr(filler).spawn().unwrap();
    let pid = child.id().to_string();
    let signal = || {
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    };
    let start = Instant::now();
    while !dir.path().join("out/locks").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_secs(1));
    signal();
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "it does not hang");
    signal();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            panic!("the second interrupt ended nothing");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(130), "{status:?}");
}

/// So many megabytes of zeros, packed by zlib to a thousandth.
fn packed_zeros(megabytes: usize) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    (0..megabytes).for_each(|_| packed.write_all(&zeros).unwrap());
    packed.finish().unwrap()
}

/// A file of MATLAB's that holds these packed bytes, packed again.
fn mat_bomb(packed: &[u8]) -> Vec<u8> {
    const PACKED: u32 = 15;
    let element = |packed: &[u8]| {
        [&PACKED.to_le_bytes()[..], &(packed.len() as u32).to_le_bytes(), packed].concat()
    };
    let mut again = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    again.write_all(&element(packed)).unwrap();
    let mut file = b"MATLAB 5.0 MAT-file".to_vec();
    file.resize(124, b' ');
    file.extend([0, 1, b'I', b'M']);
    file.extend(element(&again.finish().unwrap()));
    file
}

/// A PNG of a few pixels with a colour profile that unpacks to much more than memory should take.
fn png_bomb(packed: &[u8], labels: bool) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    match labels {
        true => image::GrayImage::new(48, 48).write_to(&mut png, image::ImageFormat::Png).unwrap(),
        false => image::RgbImage::new(48, 48).write_to(&mut png, image::ImageFormat::Png).unwrap(),
    }
    let png = png.into_inner();
    let body = [&b"iCCPa\0\0"[..], packed].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let length = (body.len() as u32 - 4).to_be_bytes();
    // Behind the signature and the header.
    let (head, rest) = png.split_at(8 + 25);
    [head, &length, &body, &crc.sum().to_be_bytes(), rest].concat()
}

#[cfg(target_os = "linux")]
#[test]
fn what_unpacks_to_much_takes_no_more_memory_than_what_is_used() {
    let dir = folder(1);
    let (file, _) = trained(dir.path());
    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 2,
        val_images: 2,
        test_images: 2,
        ..BeaconsConfig::default()
    };
    for (layout, name) in [(Layout::CamVid, "png"), (Layout::PascalContextMat, "mat")] {
        synth::write(layout, &few, &dir.path().join(name)).unwrap();
    }
    let packed = packed_zeros(400);
    let write = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).unwrap();
    write("bomb.png", png_bomb(&packed, false));
    write("png/train/beacons_000001.png", png_bomb(&packed, false));
    write("png/trainannot/beacons_000001.png", png_bomb(&packed, true));
    write("mat/trainval/2008_000001.mat", mat_bomb(&packed));
    for (args, code) in [
        (&["predict", file.to_str().unwrap(), "bomb.png", "--out-dir", "seen"][..], 0),
        (&["data", "stats", "camvid", "--data-root", "png"], 0),
        (&["data", "stats", "pascal-context-mat", "--data-root", "mat"], 1),
    ] {
        let (output, peak_kib) = ended(program(dir.path(), args));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(peak_kib < 250 << 10, "{args:?}: {peak_kib} KiB");
    }
}
