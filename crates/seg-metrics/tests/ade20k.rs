//! A worked check on real labels, for whoever has them.
//!
//! Three validation images of ADE20K, the prediction being the label shifted by eight columns.
//! `ADE20K_ROOT` is the folder that holds `ADEChallengeData2016`.

use std::path::{Path, PathBuf};

use seg_metrics::{AbsentClass, ConfusionMatrix, IGNORE, Protocol};

const SHIFT: usize = 8;

#[test]
fn worked_check_on_three_images() {
    let Some(folder) = annotations() else {
        eprintln!("skipped: no ADE20K samples; ADE20K_ROOT=PATH names the folder of one's own");
        return;
    };
    let mut matrix = ConfusionMatrix::new(150);
    for nth in 1..=3 {
        let (width, raw) = gray_png(&folder.join(format!("ADE_val_{nth:08}.png")));
        // 0 is "other"; the wrap makes it 255, which is the label to ignore.
        let truth: Vec<u8> = raw.iter().map(|value| value.wrapping_sub(1)).collect();
        assert!(truth.iter().all(|label| *label < 150 || *label == IGNORE));
        let mut prediction = truth.clone();
        for row in prediction.chunks_mut(width) {
            row.rotate_right(SHIFT);
        }
        matrix.add(&truth, &prediction).unwrap();
    }
    let check = |got: Option<f64>, want: f64| {
        let got = got.unwrap();
        assert!((got - want).abs() < 5e-10, "got {got:.9}, want {want:.9}");
    };
    check(matrix.pixel_accuracy(), 0.938321045);
    check(Protocol::Ade20k.headline_miou(&matrix), 0.068578799);
    check(matrix.miou(AbsentClass::Skip), 0.685787988);
    check(matrix.mean_class_accuracy(), 0.770620970);
    assert_eq!(matrix.class_iou().iter().flatten().count(), 15);
}

fn annotations() -> Option<PathBuf> {
    // Beside a checkout, where samples are kept; or wherever the reader has the dataset.
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/samples/ade20k");
    let root = std::env::var_os("ADE20K_ROOT").map_or(beside, PathBuf::from);
    let folder = root.join("ADEChallengeData2016/annotations/validation");
    folder.is_dir().then_some(folder)
}

fn gray_png(path: &Path) -> (usize, Vec<u8>) {
    let file = std::io::BufReader::new(std::fs::File::open(path).expect("a sample image"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size that fits")];
    let info = reader.next_frame(&mut pixels).expect("a whole PNG");
    assert_eq!(
        (info.color_type, info.bit_depth),
        (png::ColorType::Grayscale, png::BitDepth::Eight)
    );
    (info.width as usize, pixels)
}
