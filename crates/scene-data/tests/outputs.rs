//! What is written: palettes, whole files, and nothing over what is there.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use scene_data::beacons::BeaconsConfig;
use scene_data::{
    Class, IGNORE, LabelMap, Layout, convert_pascal_context, png_of_classes, protect_datasets,
    read_image, read_label_png, synth,
};
use tempfile::TempDir;
use whole_files::Protected;

fn written(layout: Layout) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let config = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 2,
        val_images: 1,
        test_images: 1,
        ..BeaconsConfig::default()
    };
    synth::write(layout, &config, root.path()).unwrap();
    root
}

#[test]
fn the_folders_of_every_dataset_are_closed_and_its_lists_are_kept() {
    for layout in Layout::ALL {
        let root = written(layout);
        let files = whole_files::files_below(root.path()).unwrap();
        assert!(!files.is_empty());
        let refuses = |place: &Path, path: &Path, data_root: Option<&Path>| {
            let mut protected = Protected::default();
            protect_datasets(&mut protected, place, data_root).unwrap();
            protected.refuses(path).unwrap().is_some()
        };
        for file in &files {
            let place = file.parent().unwrap();
            // By where it lies, and by what the command reads.
            assert!(refuses(place, file, None), "{layout:?} {}", file.display());
            assert!(refuses(Path::new("/"), file, Some(root.path())), "{layout:?}");
            let beside = place.join("new.png");
            assert_eq!(refuses(place, &beside, None), place != root.path(), "{layout:?}");
        }
        let mine = root.path().join("predictions");
        assert!(!refuses(&mine, &mine.join("x.png"), Some(root.path())), "{layout:?}");
    }
}

#[test]
fn class_pngs_have_the_classes_colours_and_read_as_indices() {
    let class = |name: &str, color| Class { name: name.to_owned(), color };
    let classes = [class("sky", [70, 130, 180]), class("road", [128, 64, 128])];
    let labels = LabelMap { width: 3, height: 1, data: vec![1, 0, IGNORE] };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.png");
    fs::write(&file, png_of_classes(&labels, &classes).unwrap()).unwrap();
    assert_eq!(read_label_png(&file).unwrap(), labels);
    let shown = image::open(&file).unwrap().into_rgb8();
    let colors: Vec<[u8; 3]> = shown.pixels().map(|pixel| pixel.0).collect();
    assert_eq!(colors, [[128, 64, 128], [70, 130, 180], [255; 3]]);
}

#[test]
fn webp_and_bmp_are_photographs() {
    let dir = tempfile::tempdir().unwrap();
    let picture = RgbImage::from_fn(20, 10, |x, y| Rgb([x as u8 * 9, y as u8 * 20, 7]));
    for format in [ImageFormat::WebP, ImageFormat::Bmp] {
        // By what is in it, whatever it is called.
        let file = dir.path().join("x.jpg");
        picture.save_with_format(&file, format).unwrap();
        assert_eq!(read_image(&file).unwrap(), picture, "{format:?}");
    }
}

#[test]
fn a_conversion_keeps_lists_of_other_images() {
    let root = written(Layout::PascalContextMat);
    let list = root.path().join("VOCdevkit/VOC2010/ImageSets/SegmentationContext/val.txt");
    fs::create_dir_all(list.parent().unwrap()).unwrap();
    fs::write(&list, "2007_000001\n").unwrap();
    let message = convert_pascal_context(root.path(), &|_| ()).unwrap_err().to_string();
    assert!(message.contains("val.txt: a list of other images is there already"), "{message}");
    assert_eq!(fs::read(&list).unwrap(), b"2007_000001\n");
    let labels = root.path().join("VOCdevkit/VOC2010/SegmentationClassContext");
    assert!(!labels.exists(), "nothing was begun");
    fs::remove_file(&list).unwrap();
    assert_eq!(convert_pascal_context(root.path(), &|_| ()).unwrap().written, 3);
    // Half a file of a conversion that was killed.
    let left = labels.join(".x.png.999999999.tmp");
    fs::write(&left, "half").unwrap();
    assert_eq!(convert_pascal_context(root.path(), &|_| ()).unwrap().kept, 3);
    assert!(!left.exists());
}
