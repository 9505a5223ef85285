//! What only some layouts have: colours, MATLAB files, a user's own description.

mod common;

use std::fs;
use std::path::Path;

use common::png;
use scene_data::{ClassOrder, ContextLabels, DatasetConfig, PascalContextConfig};
use scene_data::{IGNORE, Layout, Split};
use tempfile::TempDir;

/// Images of train, val and test.
const IMAGES: [usize; 3] = [2, 1, 1];

fn written(layout: Layout) -> TempDir {
    common::written(layout, IMAGES)
}

/// What is said about the first training sample.
fn refusal(config: &DatasetConfig, root: &Path) -> String {
    let sample = config.open(Some(root), Split::Train).and_then(|set| set.sample(0));
    sample.map(|sample| sample.id).expect_err("a broken set").to_string()
}

#[test]
fn colours_that_are_no_class_are_named() {
    let root = written(Layout::CamVidOriginal);
    let file = root.path().join("LabeledApproved_full/0001TP_006690_L.png");
    let mut pixels = [128, 128, 128].repeat(48 * 48);
    let picture = |pixels: &[u8]| png(48, 48, png::ColorType::Rgb, png::BitDepth::Eight, pixels);
    fs::write(&file, picture(&pixels)).unwrap();
    let config = Layout::CamVidOriginal.config();
    let set = config.open(Some(root.path()), Split::Train).unwrap();
    assert!(set.sample(0).unwrap().labels.data.iter().all(|&class| class == 0));
    // Lane markings are road, void is ignored.
    pixels[..6].copy_from_slice(&[128, 0, 192, 0, 0, 0]);
    fs::write(&file, picture(&pixels)).unwrap();
    assert_eq!(set.sample(0).unwrap().labels.data[..3], [3, IGNORE, 0]);
    pixels[3 * (48 * 2 + 5)..][..3].copy_from_slice(&[1, 2, 3]);
    fs::write(&file, picture(&pixels)).unwrap();
    let message = refusal(&config, root.path());
    assert!(message.contains("colour [1, 2, 3] at column 5, row 2"), "{message}");
}

#[test]
fn official_order_and_background_reach_the_samples_of_both_forms() {
    for (layout, labels) in [
        (Layout::PascalContext, ContextLabels::Png),
        (Layout::PascalContextMat, ContextLabels::Mat),
    ] {
        let root = written(layout);
        let read = |classes, order| {
            let config =
                DatasetConfig::PascalContext(PascalContextConfig { classes, order, labels });
            let set = config.open(Some(root.path()), Split::Train).unwrap();
            let names = set.classes().iter().map(|class| class.name.clone()).collect::<Vec<_>>();
            let labels = set.sample(0).unwrap().labels.data;
            labels.iter().map(|&l| names.get(usize::from(l)).cloned()).collect::<Vec<_>>()
        };
        let alphabetical = read(59, ClassOrder::Alphabetical);
        assert_eq!(alphabetical, read(59, ClassOrder::Official), "the same names by another index");
        let background = Some("background".to_owned());
        for (counted, ignored) in read(60, ClassOrder::Official).iter().zip(&alphabetical) {
            assert_eq!(counted, if ignored.is_none() { &background } else { ignored });
        }
    }
}

#[test]
fn broken_matlab_files_say_what_they_are() {
    let root = written(Layout::PascalContextMat);
    let file = root.path().join("trainval/2008_000001.mat");
    let config = Layout::PascalContextMat.config();
    let whole = fs::read(&file).unwrap();
    let after = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let message = refusal(&config, root.path());
        assert!(message.contains("2008_000001.mat"), "{message}");
        message
    };
    assert!(after(&whole[..whole.len() - 9]).contains("truncated"));
    assert!(after(&whole[..50]).contains("version 5"));
    assert!(after(b"").contains("version 5"));
    let newer = [b"MATLAB 7.3 MAT-file".as_slice(), &[0; 200]].concat();
    assert!(after(&newer).contains("HDF5"));
    let mut other = whole.clone();
    other[126] = b'X';
    assert!(after(&other).contains("not a MATLAB file"));
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x55;
    after(&damaged);
    assert!(after(&whole[..128]).contains("no numeric variable LabelMap"));

    // A variable that would unpack to gigabytes is given up in time.
    let mut bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..100 {
        std::io::Write::write_all(&mut bomb, &vec![0; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let length = (bomb.len() as u32).to_le_bytes();
    let bytes = [&whole[..128], 15u32.to_le_bytes().as_slice(), &length, &bomb].concat();
    assert!(after(&bytes).contains("unpack to over"));
}

#[test]
fn a_description_is_read_with_care() {
    let root = written(Layout::Folder);
    let file = root.path().join("dataset.toml");
    let whole = fs::read_to_string(&file).unwrap();
    let config = DatasetConfig::Folder {};
    let set = config.open(Some(root.path()), Split::Train).unwrap();
    assert_eq!(set.classes()[1].name, "texture 0 ring");
    let after = |text: &str| {
        fs::write(&file, text).unwrap();
        let message = refusal(&config, root.path());
        assert!(message.contains("dataset.toml"), "{message}");
        message
    };
    assert!(after("ignore = []\nclass = 3").contains("line 2: invalid type: integer"));
    assert!(after(&whole.replace("ignore", "ignored")).contains("unknown field `ignored`"));
    assert!(
        after(&whole.replace("ignore = [255]", "ignore = [1]")).contains("value 1 is given twice")
    );
    assert!(after(&whole.replace("images/train", "../train")).contains("../train"));
    let train = "[split.train]\nimages = \"images/train\"\nlabels = \"labels/train\"\n";
    assert!(after(&whole.replace(train, "")).contains("no [split.train]"));
    assert!(after("ignore = []\nclass = []\n[split]\n").contains("0 classes"));
    fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    assert!(refusal(&config, root.path()).contains("UTF-16"));
    // A value that the description does not name.
    fs::write(&file, whole.replace("ignore = [255]", "")).unwrap();
    let name = root.path().join("labels/train/train_000001.png");
    fs::write(&name, png(48, 48, png::ColorType::Grayscale, png::BitDepth::Eight, &[255; 48 * 48]))
        .unwrap();
    assert!(refusal(&config, root.path()).contains("[[class]] or in ignore"));
    // Without a test split there is the validation split, and photographs keep their own names.
    let text = whole.split("\n[split.test]").next().unwrap();
    fs::write(&file, text).unwrap();
    let ids = |split| config.open(Some(root.path()), split).unwrap().id(0).to_owned();
    assert_eq!((ids(Split::Val), ids(Split::Test)), ("val_000001".into(), "val_000001".into()));
}

#[test]
fn a_cut_off_photograph_is_not_filled_with_gray() {
    for layout in [Layout::Ade20k, Layout::CamVid] {
        let root = written(layout);
        let config = layout.config();
        let name = match layout {
            Layout::Ade20k => "images/training/ADE_train_00000001.jpg",
            _ => "train/beacons_000001.png",
        };
        let file = root.path().join(name);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() * 9 / 10]).unwrap();
        let message = refusal(&config, root.path());
        assert!(message.contains(name.rsplit('/').next().unwrap()), "{message}");
        // Bytes behind the end do no harm.
        fs::write(&file, [whole, vec![0; 3]].concat()).unwrap();
        assert!(config.open(Some(root.path()), Split::Train).unwrap().sample(0).is_ok());
    }
}

#[test]
fn photographs_of_every_kind_are_read_as_stored() {
    // 24×16 pixels, cyan on the left and yellow on the right, written by Pillow.
    let cmyk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cmyk.jpg");
    let picture = scene_data::read_image(&cmyk).unwrap();
    assert_eq!(picture.dimensions(), (24, 16));
    let close = |x, y, want: [u8; 3]| {
        let found = picture.get_pixel(x, y).0;
        assert!(found.iter().zip(want).all(|(a, b)| a.abs_diff(b) < 40), "{found:?}");
    };
    close(2, 8, [0, 255, 255]);
    close(21, 8, [255, 255, 0]);

    let root = written(Layout::Ade20k);
    let file = root.path().join("images/training/ADE_train_00000001.jpg");
    let set = Layout::Ade20k.config().open(Some(root.path()), Split::Train).unwrap();
    let plain = set.sample(0).unwrap();
    // An EXIF note that the camera was turned: labels are aligned with the pixels as stored.
    let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let bytes = fs::read(&file).unwrap();
    let turned = [&bytes[..2], &[0xff, 0xe1], &length, exif, &bytes[2..]].concat();
    fs::write(&file, turned).unwrap();
    assert_eq!(set.sample(0).unwrap(), plain);
}
