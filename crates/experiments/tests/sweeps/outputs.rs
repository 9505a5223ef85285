//! Outputs overwrite nothing that is not theirs, and none is lost in silence.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{ImageFormat, Rgb, RgbImage};
use scene_data::beacons::BeaconsConfig;
use scene_data::{DatasetConfig, Layout, Split, read_label_png, synth};

use crate::tiny::{cells, folder, refused, reproduce, run, said};

/// Trains one network on the synthetic set; its record's path.
fn trained(dir: &Path, more: &[&str]) -> String {
    let args = [&["--arms", "fcn", "--seeds", "0"], more].concat();
    let output = reproduce(dir, "trained", &args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let record = fs::read_dir(cells(dir, "trained")).unwrap().next().unwrap().unwrap().path();
    record.to_str().unwrap().to_owned()
}

fn picture(file: &Path, format: ImageFormat) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let pixel = |x: u32, y: u32| Rgb([x as u8 * 3, y as u8 * 5, 99]);
    RgbImage::from_fn(40, 32, pixel).save_with_format(file, format).unwrap();
}

/// Everything below a folder but lists, with its bytes.
fn all(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = whole_files::files_below(folder).unwrap().into_iter();
    files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let below = |file: PathBuf| file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    let files = whole_files::files_below(folder).unwrap().into_iter().map(below);
    files.filter(|name| !name.ends_with(whole_files::LIST)).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_truth_is_never_replaced_by_predictions() {
    let dir = folder(1);
    let at = |name: &str| dir.path().join(name);
    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 4,
        val_images: 2,
        test_images: 2,
        ..BeaconsConfig::default()
    };
    synth::write(Layout::Folder, &few, &at("set")).unwrap();
    let data = ["--set", "dataset={kind=\"folder\"}", "--data-root", "set"];
    let record = trained(dir.path(), &data);
    let before = all(&at("set"));
    std::os::unix::fs::symlink(at("set/labels"), at("link")).unwrap();
    let eval = ["eval", &record, "--data-root", "set", "--split", "val", "--save-predictions"];
    for to in
        ["set/labels/val", "set/images/val", "link/val", "set/labels/val/new", "x/../link/val"]
    {
        for more in [&[to][..], &[to, "--overwrite"]] {
            let message = refused(&run(dir.path(), &[&eval[..], more].concat()));
            assert!(message.contains("lies in a dataset's folder"), "{to}: {message}");
        }
    }
    // Without being told of the dataset, it is known by its description.
    let predict = ["predict", &record, "set/images/val/val_000001.png", "--data-root", "set"];
    let to = ["--out-dir", "set/labels/val", "--overwrite"];
    let message = refused(&run(dir.path(), &[&predict[..], &to].concat()));
    assert!(message.contains("set/labels/val/val_000001.png lies in a dataset's"), "{message}");
    let preview = ["data", "preview", "folder", "--data-root", "set", "--out-dir"];
    let message = refused(&run(dir.path(), &[&preview[..], &["link/train"]].concat()));
    assert!(message.contains("lies in a dataset's folder"), "{message}");
    let message = refused(&run(dir.path(), &["data", "synth", "folder", "set/images/train/new"]));
    assert!(message.contains("lies in a dataset's folder"), "{message}");
    let message = refused(&reproduce(dir.path(), "link/val/new", &data).output().unwrap());
    assert!(message.contains("lies in a dataset's folder"), "{message}");
    assert!(all(&at("set")) == before, "the dataset is as it was");

    // Elsewhere, also in other folders of the data root: its own are replaced, others are not.
    for to in ["mine", "set/predictions"] {
        for _ in 0..2 {
            said(&run(dir.path(), &[&eval[..], &[to]].concat()));
        }
        assert_eq!(names(&at(to)), ["val_000001.png", "val_000002.png"]);
        fs::write(at(to).join("val_000002.png"), "corrected by hand").unwrap();
        let message = refused(&run(dir.path(), &[&eval[..], &[to]].concat()));
        assert!(message.contains("val_000002.png has been changed since"), "{message}");
        assert_eq!(fs::read(at(to).join("val_000002.png")).unwrap(), b"corrected by hand");
        said(&run(dir.path(), &[&eval[..], &[to, "--overwrite"]].concat()));
        assert!(read_label_png(&at(to).join("val_000002.png")).is_ok());
    }
}

#[test]
fn photographs_of_several_folders_keep_their_paths_and_one_name_is_for_one() {
    let dir = folder(1);
    let at = |name: &str| dir.path().join(name);
    let record = trained(dir.path(), &[]);
    for file in ["day/street.png", "night/street.png", "same/x.png", "same/x-overlay.png"] {
        picture(&at(file), ImageFormat::Png);
    }
    picture(&at("same/x.jpg"), ImageFormat::Jpeg);
    picture(&at("holidays/deep/a.webp"), ImageFormat::WebP);
    picture(&at("holidays/b.BMP"), ImageFormat::Bmp);
    fs::write(at("holidays/notes.txt"), "left out").unwrap();
    let predict = |out: &str, photographs: &[&str]| {
        let args = [&["predict", &record], photographs, &["--out-dir", out]].concat();
        run(dir.path(), &args)
    };
    let text = said(&predict("two", &["day/street.png", "night/street.png"]));
    assert!(text.contains("day/street.png\n") && text.contains("night/street.png\n"), "{text}");
    let both = ["day/street-overlay.png", "day/street.png"];
    let both = [&both[..], &["night/street-overlay.png", "night/street.png"]].concat();
    assert_eq!(names(&at("two")), both);

    let output = predict("seen", &["holidays"]);
    said(&output);
    assert!(stderr(&output).contains("1 files left out"), "{}", stderr(&output));
    let seen = ["b-overlay.png", "b.png", "deep/a-overlay.png", "deep/a.png"];
    assert_eq!(names(&at("seen")), seen);
    said(&predict("pattern", &["holidays/*/*.webp"]));
    assert_eq!(names(&at("pattern")), ["a-overlay.png", "a.png"]);
    // The second time, what the first wrote among them is no photograph.
    for _ in 0..2 {
        said(&predict("holidays", &["holidays"]));
    }
    assert!(!names(&at("holidays")).contains(&"deep/a-overlay-overlay.png".to_owned()));

    let message = refused(&predict("o", &["same/x.png", "same/x.jpg"]));
    assert!(message.contains("same/x.jpg and from /"), "{message}");
    assert!(message.contains("o/x.png would be written from"), "{message}");
    let message = refused(&predict("o", &["same/x.png", "same/x-overlay.png"]));
    assert!(message.contains("o/x-overlay.png would be written from"), "{message}");
    assert!(!at("o").exists(), "nothing was begun");
    // One photograph after another is no other case.
    said(&predict("one", &["day/street.png"]));
    let message = refused(&predict("one", &["night/street.png"]));
    assert!(message.contains("one/street.png was written by predict with fcn-seed0"), "{message}");
    assert!(message.contains("day/street.png; name another output"), "{message}");
}

#[test]
fn a_bad_photograph_is_named_and_the_others_go_on() {
    let dir = folder(1);
    let record = trained(dir.path(), &[]);
    picture(&dir.path().join("a.png"), ImageFormat::Png);
    picture(&dir.path().join("c.png"), ImageFormat::Png);
    fs::write(dir.path().join("b.png"), "no picture").unwrap();
    let photographs = ["predict", &record, "a.png", "b.png", "gone.png", "c.png"];
    let output = run(dir.path(), &[&photographs[..], &["--out-dir", "seen"]].concat());
    let message = refused(&output);
    assert!(message.contains("b.png: ") && message.contains("gone.png: "), "{message}");
    let last = message.lines().last().unwrap();
    assert_eq!(last, "error: 2 of 4 photographs are not shown, see above: b.png, gone.png");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("a.png\n") && text.contains("\nc.png\n"), "{text}");
    let seen = dir.path().join("seen");
    assert_eq!(names(&seen), ["a-overlay.png", "a.png", "c-overlay.png", "c.png"]);

    // Class indices for programs, the classes' colours for viewers.
    let indices = read_label_png(&seen.join("a.png")).unwrap();
    let shown = image::open(seen.join("a.png")).unwrap().into_rgb8();
    let beacons = BeaconsConfig { textures: 2, ..BeaconsConfig::default() };
    let set = DatasetConfig::Beacons(beacons).open(None, Split::Test).unwrap();
    let classes = set.classes();
    for (pixel, &class) in shown.pixels().zip(&indices.data) {
        assert_eq!(pixel.0, classes[usize::from(class)].color);
    }
}

/// The program where files have at most so many blocks of 512 bytes, for a disk without room.
fn within(dir: &Path, blocks: u32, args: &[&str]) -> Output {
    let limited = format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.current_dir(dir).args(["-c", &limited, env!("CARGO_BIN_EXE_experiments")]).args(args);
    shell.output().unwrap()
}

#[test]
fn a_picture_that_cannot_be_written_is_an_error_that_names_it() {
    let dir = folder(1);
    let record = trained(dir.path(), &[]);
    let noise =
        |x: u32, y: u32| Rgb([(x * y * 7 % 251) as u8, ((x * 31) ^ (y * 17)) as u8, y as u8]);
    RgbImage::from_fn(200, 200, noise).save(dir.path().join("noise.png")).unwrap();
    let predict = ["predict", &record, "noise.png", "--out-dir", "seen"];
    let message = refused(&within(dir.path(), 64, &predict));
    assert!(message.contains("seen/noise-overlay.png: File too large"), "{message}");
    assert_eq!(names(&dir.path().join("seen")), ["noise.png"], "nothing half-written");
    said(&run(dir.path(), &predict));

    let preview = ["data", "preview", "beacons", "--count", "1", "--out-dir", "preview"];
    let message = refused(&within(dir.path(), 2, &preview));
    assert!(message.contains("preview/train-") && message.contains("File too large"), "{message}");
    assert_eq!(names(&dir.path().join("preview")), Vec::<String>::new());

    // In a sweep, the cell has no record, and goes on once there is room.
    let args = ["reproduce", "--sweep", "tiny.toml", "--out-dir", "trained", "--seeds", "0"];
    fs::remove_dir_all(dir.path().join("trained/pictures")).unwrap();
    fs::write(dir.path().join("trained/pictures"), "in the way").unwrap();
    let output = run(dir.path(), &[&args[..], &["--arms", "dense-attention"]].concat());
    let message = refused(&output);
    assert!(message.contains("trained/pictures"), "{message}");
    assert_eq!(fs::read_dir(dir.path().join("trained/cells")).unwrap().count(), 1);
    fs::remove_file(dir.path().join("trained/pictures")).unwrap();
    said(&run(dir.path(), &[&args[..], &["--arms", "dense-attention"]].concat()));
}

#[test]
fn a_lost_picture_costs_the_picture_and_not_the_report() {
    let dir = folder(1);
    trained(dir.path(), &[]);
    let pictures = fs::read_dir(dir.path().join("trained/pictures")).unwrap().next().unwrap();
    let pictures = pictures.unwrap().path();
    fs::write(pictures.join("0-truth.png"), "").unwrap();
    fs::write(pictures.join("1-image.png"), "no picture").unwrap();
    fs::write(pictures.join("classes.json"), "{").unwrap();
    fs::remove_file(pictures.join("2-image.png")).unwrap();
    let again = ["--arms", "fcn", "--seeds", "0"];
    said(&reproduce(dir.path(), "trained", &again).output().unwrap());
    for form in ["report.html", "report.md"] {
        let text = fs::read_to_string(dir.path().join("trained").join(form)).unwrap();
        for file in ["0-truth.png: ", "1-image.png: ", "2-image.png: it is not there"] {
            assert!(text.contains(file), "{form}: {file}");
        }
    }
}

#[test]
fn a_report_of_somebody_else_is_not_replaced() {
    let dir = folder(1);
    fs::create_dir(dir.path().join("out")).unwrap();
    fs::write(dir.path().join("out/report.md"), "mine").unwrap();
    let one = ["--arms", "fcn", "--seeds", "0"];
    let output = reproduce(dir.path(), "out", &one).output().unwrap();
    let message = refused(&output);
    assert!(message.contains("out/report.md is there already"), "{message}");
    assert!(!message.contains("epoch"), "before any training: {message}");
    assert_eq!(fs::read(dir.path().join("out/report.md")).unwrap(), b"mine");
    said(&reproduce(dir.path(), "out", &[&one[..], &["--overwrite"]].concat()).output().unwrap());
    said(&reproduce(dir.path(), "out", &one).output().unwrap());

    let score = ["compare", "out", "out", "--out", "out/report.md"];
    let message = refused(&run(dir.path(), &score));
    assert!(message.contains("out/report.md was written by report"), "{message}");
    for _ in 0..2 {
        said(&run(dir.path(), &["compare", "out", "out", "--out", "made.md"]));
    }
    let message = refused(&run(dir.path(), &["compare", "out", "out", "--out", "/dev/full"]));
    assert!(message.contains("/dev/full is no regular file"), "{message}");
}

#[test]
fn what_a_kill_left_is_gone_at_the_next_start() {
    let dir = folder(1);
    let record = trained(dir.path(), &[]);
    let stem = Path::new(&record).file_stem().unwrap().to_str().unwrap().to_owned();
    let left = [
        format!("running/{stem}/step-000000001.safetensors"),
        ".plan.999999999.tmp".to_owned(),
        format!("cells/.{stem}.999999999.tmp"),
        "checkpoints/.x.safetensors.999999999.tmp".to_owned(),
    ];
    let left = left.map(|file| dir.path().join("trained").join(file));
    left.iter().for_each(|file| fs::write(file, "half").unwrap());
    said(&reproduce(dir.path(), "trained", &["--arms", "fcn", "--seeds", "0"]).output().unwrap());
    assert!(left.iter().all(|file| !file.exists()), "{left:?}");
}

#[test]
fn one_check_of_names_holds_for_sweeps_and_plans() {
    let dir = folder(1);
    trained(dir.path(), &[]);
    let plan = fs::read_dir(dir.path().join("trained")).unwrap().map(|e| e.unwrap().path());
    let plan = plan.into_iter().find(|file| file.extension().is_some_and(|e| e == "toml")).unwrap();
    let text = fs::read_to_string(&plan).unwrap();
    let inner = dir.path().join("a/b/c");
    fs::create_dir_all(&inner).unwrap();
    let crafted = inner.join("plan.toml");
    fs::write(&crafted, text.replace("name = \"fcn\"", "name = \"../../../X\"")).unwrap();
    let before = fs::read_dir(dir.path()).unwrap().count();
    let message = refused(&run(dir.path(), &["run", crafted.to_str().unwrap()]));
    assert!(message.contains("arm.name = \"../../../X\": expected letters"), "{message}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before, "nothing is made");

    let sweep = fs::read_to_string(dir.path().join("tiny.toml")).unwrap();
    let long = sweep.replace("name = \"fcn\"", &format!("name = \"{}\"", "f".repeat(129)));
    let long = long.replace("compare_to = [\"fcn\"]", "");
    fs::write(dir.path().join("tiny.toml"), long).unwrap();
    let message = refused(&reproduce(dir.path(), "out", &[]).output().unwrap());
    assert!(message.contains("arm.name has 129 characters; expected at most 128"), "{message}");
    // The longest that is allowed has room for all that is made of it.
    let longest = sweep.replace("name = \"fcn\"", &format!("name = \"{}\"", "f".repeat(128)));
    let longest = longest.replace("compare_to = [\"fcn\"]", "");
    fs::write(dir.path().join("tiny.toml"), longest).unwrap();
    let arm = "f".repeat(128);
    let largest = i64::MAX.to_string();
    for seed in ["0", &largest] {
        let args = ["--arms", &arm, "--seeds", seed];
        said(&reproduce(dir.path(), "out", &args).output().unwrap());
    }
    let config = format!("{}.toml", "c".repeat(200));
    let table = sweep.split("[config.dataset]").nth(1).unwrap().split("[[arm]]").next().unwrap();
    fs::write(dir.path().join(&config), format!("[dataset]{}", table.replace("[config.", "[")))
        .unwrap();
    let message = refused(&run(dir.path(), &["train", &config, "--out-dir", "run"]));
    assert!(message.contains("has 200 characters; expected at most 128"), "{message}");
}
