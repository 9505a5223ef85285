//! Every layout written, read back, and broken in the ways that happen.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::png;
use scene_data::beacons::{Beacons, BeaconsConfig};
use scene_data::{DatasetConfig, Error, Layout, PascalContextConfig, SceneDataset, Split};
use scene_data::{IGNORE, read_png_u16, synth};
use tempfile::{TempDir, tempdir};

/// Writes an 8-bit gray PNG.
fn write_gray(file: &Path, width: u32, height: u32, values: &[u8]) {
    let bytes = png(width, height, png::ColorType::Grayscale, png::BitDepth::Eight, values);
    std::fs::write(file, bytes).expect("a writable temporary folder");
}

/// The synthetic set behind every layout.
fn tiny() -> BeaconsConfig {
    common::tiny(IMAGES)
}

/// Images of train, val and test.
const IMAGES: [usize; 3] = [4, 3, 2];

fn written(layout: Layout) -> TempDir {
    common::written(layout, IMAGES)
}

fn open(layout: Layout, root: &Path, split: Split) -> Result<Box<dyn SceneDataset>, Error> {
    layout.config().open(Some(root), split)
}

/// The message of an open that must fail.
fn refusal(layout: Layout, root: &Path) -> String {
    open(layout, root, Split::Train).map(|set| set.len()).expect_err("a broken root").to_string()
}

/// Image and label file of the first training sample, relative to the root.
fn first_files(layout: Layout) -> [&'static str; 2] {
    match layout {
        Layout::CamVid => ["train/beacons_000001.png", "trainannot/beacons_000001.png"],
        Layout::Ade20k => [
            "images/training/ADE_train_00000001.jpg",
            "annotations/training/ADE_train_00000001.png",
        ],
        Layout::CamVidOriginal => {
            ["701_StillsRaw_full/0001TP_006690.png", "LabeledApproved_full/0001TP_006690_L.png"]
        }
        Layout::PascalContext => {
            ["JPEGImages/2008_000001.jpg", "SegmentationClassContext/2008_000001.png"]
        }
        Layout::PascalContextMat => {
            ["VOCdevkit/VOC2010/JPEGImages/2008_000001.jpg", "trainval/2008_000001.mat"]
        }
        Layout::Folder => ["images/train/train_000001.png", "labels/train/train_000001.png"],
        Layout::Cityscapes => [
            "leftImg8bit/train/beacons/beacons_000000_000019_leftImg8bit.png",
            "gtFine/train/beacons/beacons_000000_000019_gtFine_labelIds.png",
        ],
    }
}

#[test]
fn every_layout_reads_back_as_it_was_written() {
    for layout in Layout::ALL {
        let root = written(layout);
        for split in Split::ALL {
            // Where there are no test labels the validation split takes their place.
            let has_test =
                matches!(layout, Layout::CamVid | Layout::CamVidOriginal | Layout::Folder);
            let source = match split {
                Split::Test if !has_test => Split::Val,
                _ => split,
            };
            let made = Beacons::new(&tiny(), source).unwrap();
            let set = open(layout, root.path(), split).unwrap();
            assert_eq!((set.len(), set.name()), (made.len(), layout.config().name()));
            for index in 0..set.len() {
                let (read, made) = (set.sample(index).unwrap(), made.sample(index).unwrap());
                assert_eq!(read.labels, made.labels, "{layout:?} {split} {}", read.id);
                assert_eq!(read.id, set.id(index));
                let off = read.image.as_raw().iter().zip(made.image.as_raw());
                let off: u64 = off.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                // JPEG is lossy: a few grey levels on average, on these noisy pictures.
                let ending = Path::new(first_files(layout)[0]).extension().unwrap();
                let lossy = ending == "jpg";
                let most = if lossy { 8 * read.image.as_raw().len() as u64 } else { 0 };
                assert!(off <= most, "{layout:?} {}: {off}", read.id);
            }
            assert!(matches!(set.sample(set.len()), Err(Error::Index { .. })));
        }
    }
}

#[test]
fn fingerprints_see_a_changed_label() {
    let root = written(Layout::CamVid);
    let print = || open(Layout::CamVid, root.path(), Split::Train).unwrap().fingerprint().unwrap();
    let before = print();
    assert_eq!((before.len(), before.clone()), (64, print()));
    write_gray(&root.path().join(first_files(Layout::CamVid)[1]), 48, 48, &[1; 48 * 48]);
    assert_ne!(before, print());
}

#[test]
fn background_counts_when_there_are_60_classes() {
    let root = written(Layout::PascalContext);
    let config =
        DatasetConfig::PascalContext(PascalContextConfig { classes: 60, ..Default::default() });
    let all = config.open(Some(root.path()), Split::Train).unwrap();
    let without = open(Layout::PascalContext, root.path(), Split::Train).unwrap();
    assert_eq!((all.classes().len(), without.classes().len()), (60, 59));
    assert_eq!(all.classes()[1..], *without.classes());
    let (all, without) = (all.sample(0).unwrap(), without.sample(0).unwrap());
    for (&with, &label) in all.labels.data.iter().zip(&without.labels.data) {
        assert_eq!(with, if label == IGNORE { 0 } else { label + 1 });
    }
    let config =
        DatasetConfig::PascalContext(PascalContextConfig { classes: 33, ..Default::default() });
    let message = config.open(Some(root.path()), Split::Val).map(|s| s.len()).unwrap_err();
    assert!(message.to_string().contains("classes = 33"), "{message}");
}

#[test]
fn cityscapes_instances_have_16_bits() {
    let root = written(Layout::Cityscapes);
    let file = first_files(Layout::Cityscapes)[1].replace("labelIds", "instanceIds");
    let ids = read_png_u16(&root.path().join(file)).unwrap();
    let labels = open(Layout::Cityscapes, root.path(), Split::Train).unwrap().sample(0).unwrap();
    let road = labels.labels.data.iter().filter(|&&class| class == 0).count();
    assert_eq!(ids.data.iter().filter(|&&id| id == 7).count(), road);
}

#[test]
fn missing_files_are_found_when_the_set_is_opened() {
    for layout in Layout::ALL {
        let root = written(layout);
        let [_, labels] = first_files(layout);
        fs::remove_file(root.path().join(labels)).unwrap();
        let message = refusal(layout, root.path());
        assert!(message.contains("1 of 4 label files are missing"), "{message}");
        assert!(message.contains(labels), "{message}");
        assert!(open(layout, root.path(), Split::Val).is_ok());
    }
}

/// Layouts whose labels are PNGs of indices.
const INDEX_PNGS: [Layout; 4] =
    [Layout::CamVid, Layout::Ade20k, Layout::PascalContext, Layout::Cityscapes];

#[test]
fn broken_labels_are_errors_that_name_the_file() {
    use png::{BitDepth, ColorType};
    for layout in INDEX_PNGS {
        let root = written(layout);
        let [_, labels] = first_files(layout);
        let file = root.path().join(labels);
        let set = open(layout, root.path(), Split::Train).unwrap();
        let whole = fs::read(&file).unwrap();
        let after = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            let message = set.sample(0).unwrap_err().to_string();
            assert!(message.contains(file.file_name().unwrap().to_str().unwrap()), "{message}");
            message
        };
        let gray = |width, height, values: &[u8]| {
            png(width, height, ColorType::Grayscale, BitDepth::Eight, values)
        };

        let mut values = vec![1; 48 * 48];
        values[48 * 3 + 5] = 200;
        let message = after(&gray(48, 48, &values));
        assert!(message.contains("value 200 at column 5, row 3"), "{message}");
        let message = after(&gray(47, 48, &[1; 47 * 48]));
        assert!(message.contains("48×48") && message.contains("47×48"), "{message}");
        let message = after(&png(48, 48, ColorType::Rgb, BitDepth::Eight, &[1; 48 * 48 * 3]));
        assert!(message.contains("colour"), "{message}");
        let message = after(&png(48, 48, ColorType::Grayscale, BitDepth::Sixteen, &[1; 48 * 96]));
        assert!(message.contains("16-bit"), "{message}");
        let message = after(&whole[..whole.len() / 2]);
        assert!(message.contains("truncated"), "{message}");
        assert!(set.sample(1).is_ok());

        // A palette and fewer bits are other ways to write the same indices.
        let labels = set.sample(1).unwrap().labels;
        for color in [ColorType::Indexed, ColorType::Grayscale] {
            fs::write(&file, png(48, 48, color, BitDepth::Four, &[0x88; 48 * 24])).unwrap();
            let read = set.sample(0).unwrap().labels;
            let expected = match layout {
                Layout::Ade20k | Layout::PascalContext => 7,
                Layout::Cityscapes => 1,
                _ => 8,
            };
            assert_eq!((read.width, read.height), (labels.width, labels.height));
            assert!(read.data.iter().all(|&class| class == expected), "{layout:?}");
        }
    }
}

#[test]
fn photographs_that_do_not_decode_are_errors() {
    for layout in Layout::ALL {
        let root = written(layout);
        let file = root.path().join(first_files(layout)[0]);
        let set = open(layout, root.path(), Split::Train).unwrap();
        for bytes in [&fs::read(&file).unwrap()[..60], b"", b"not a picture"] {
            fs::write(&file, bytes).unwrap();
            let error = set.sample(0).unwrap_err();
            assert!(matches!(error, Error::Image { .. }), "{error}");
        }
        // The content decides, not the ending; gray becomes RGB.
        write_gray(&file, 48, 48, &[77; 48 * 48]);
        assert_eq!(set.sample(0).unwrap().image.get_pixel(3, 3).0, [77; 3]);
    }
}

#[test]
fn another_datasets_folder_is_named() {
    let roots: Vec<(Layout, TempDir)> =
        Layout::ALL.into_iter().map(|layout| (layout, written(layout))).collect();
    for wanted in Layout::ALL {
        for (held, root) in &roots {
            if *held != wanted {
                let message = refusal(wanted, root.path());
                let looks = format!("this looks like {}", held.title());
                assert!(message.contains(&looks), "{message}");
            }
        }
    }
}

#[test]
fn folders_of_other_releases_are_recognised() {
    for (layout, entry, found) in [
        (Layout::Ade20k, "images/training/a/abbey", "the full ADE20K"),
        (Layout::Ade20k, "ADE20K_2021_17_01", "the full ADE20K"),
        (Layout::CamVid, "701_StillsRaw_full", "a part of the original CamVid"),
        (Layout::PascalContext, "trainval_merged.json", "official PASCAL-Context"),
        (Layout::PascalContext, "VOCdevkit/VOC2010/JPEGImages", "without the Context"),
        (Layout::Cityscapes, "leftImg8bit/train/aachen", "a part of Cityscapes"),
    ] {
        let root = tempdir().unwrap();
        fs::create_dir_all(root.path().join(entry)).unwrap();
        let message = refusal(layout, root.path());
        assert!(message.contains(found), "{message}");
    }
}

#[test]
fn roots_that_hold_nothing_say_what_was_expected() {
    let empty = tempdir().unwrap();
    let file = empty.path().join("file");
    for layout in Layout::ALL {
        let message = refusal(layout, &empty.path().join("absent"));
        assert!(message.contains("expected") && message.contains("no such folder"), "{message}");
        assert!(refusal(layout, empty.path()).contains("an empty folder"));
        let message = layout.config().open(None, Split::Val).map(|s| s.len()).unwrap_err();
        assert!(matches!(message, Error::NoDataRoot { .. }), "{message}");
    }
    fs::write(&file, "").unwrap();
    assert!(refusal(Layout::CamVid, &file).contains("a file, not a folder"));
}

#[test]
fn another_form_is_named_with_the_option_that_reads_it() {
    for (wanted, held, option) in [
        (Layout::CamVid, Layout::CamVidOriginal, "dataset.form = \"original\""),
        (Layout::PascalContext, Layout::PascalContextMat, "dataset.labels = \"mat\""),
    ] {
        let message = refusal(wanted, written(held).path());
        assert!(message.contains(option), "{message}");
    }
}

#[test]
fn usual_folders_around_the_dataset_are_looked_into() {
    for (layout, wrapper) in [
        (Layout::CamVid, "CamVid"),
        (Layout::Ade20k, "ADEChallengeData2016"),
        (Layout::PascalContext, "VOCdevkit/VOC2010"),
        (Layout::Cityscapes, "cityscapes"),
    ] {
        let root = tempdir().unwrap();
        synth::write(layout, &tiny(), &root.path().join(wrapper)).unwrap();
        assert_eq!(open(layout, root.path(), Split::Train).unwrap().len(), 4);
    }
}

#[test]
fn lists_are_read_with_care() {
    let root = written(Layout::CamVid);
    let list = root.path().join("train.txt");
    let with = |text: &str| {
        fs::write(&list, text).unwrap();
        open(Layout::CamVid, root.path(), Split::Train)
    };
    let pair = "train/beacons_000002.png trainannot/beacons_000002.png";
    // Relative, with Windows line ends and blank lines; then as other people's machines had it.
    assert_eq!(with(&format!("\r\n{pair}\r\n\r\n")).unwrap().id(0), "beacons_000002");
    let far = "/home/me/CamVid/train/beacons_000003.png ../x/trainannot/beacons_000003.png";
    assert_eq!(with(far).unwrap().sample(0).unwrap().id, "beacons_000003");
    for (text, line) in [("", 1), (&*format!("{pair}\ntrain/a.png"), 2), ("a b c", 1), ("/ /", 1)] {
        let error = with(text).map(|set| set.len()).unwrap_err();
        assert!(matches!(error, Error::List { line: at, .. } if at == line), "{text:?}: {error}");
    }

    let root = written(Layout::PascalContext);
    fs::write(root.path().join("ImageSets/SegmentationContext/train.txt"), "../x\n").unwrap();
    assert!(refusal(Layout::PascalContext, root.path()).contains("line 1"));
}

#[test]
fn nothing_is_overwritten_and_nothing_is_squeezed() {
    let root = written(Layout::Ade20k);
    let error = synth::write(Layout::Ade20k, &tiny(), root.path()).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error}");

    let many = BeaconsConfig { textures: 6, size_px: 96, ..tiny() };
    let target = root.path().join("new");
    let error = synth::write(Layout::CamVid, &many, &target).unwrap_err();
    assert!(error.to_string().contains("at most 5"), "{error}");
    assert!(!target.exists());

    let file: PathBuf = root.path().join("occupied");
    fs::write(&file, "").unwrap();
    assert!(matches!(synth::write(Layout::CamVid, &tiny(), &file), Err(Error::Io { .. })));
}

/// The size is that of the decoded sample, and told without decoding it.
#[test]
fn sizes_are_told_by_the_heads_of_files() {
    for layout in Layout::ALL {
        let root = written(layout);
        let set = open(layout, root.path(), Split::Train).unwrap();
        let sizes: Vec<[usize; 2]> = (0..set.len()).map(|at| set.size(at).unwrap()).collect();
        let decoded = (0..set.len()).map(|at| set.sample(at).unwrap().labels);
        assert!(decoded.map(|labels| [labels.width, labels.height]).eq(sizes.iter().copied()));
        let file =
            root.path().join(first_files(layout)[usize::from(layout != Layout::PascalContextMat)]);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() * 3 / 4]).unwrap();
        assert!(set.sample(0).is_err(), "{layout:?}");
        assert_eq!(set.size(0).unwrap(), sizes[0], "{layout:?}");
    }
    let root = written(Layout::Folder);
    let set = open(Layout::Folder, root.path(), Split::Train).unwrap();
    let file = root.path().join(first_files(Layout::Folder)[1]);
    fs::write(&file, "no picture").unwrap();
    let message = set.size(0).unwrap_err().to_string();
    assert!(message.contains("train_000001.png"), "{message}");
    fs::remove_file(&file).unwrap();
    assert!(set.size(0).is_err());
    let config = BeaconsConfig { train_images: 2, ..tiny() };
    let beacons = Beacons::new(&config, Split::Train).unwrap();
    let labels = beacons.sample(1).unwrap().labels;
    assert_eq!(beacons.size(1).unwrap(), [labels.width, labels.height]);
}
