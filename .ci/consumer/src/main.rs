//! Uses two crates of the workspace as another project would.

use dense_rnn as _;
use seg_metrics::{ConfusionMatrix, Protocol};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut matrix = ConfusionMatrix::new(2);
    matrix.add(&[0, 0, 1, 255], &[0, 1, 1, 0])?;
    let miou = Protocol::Camvid.headline_miou(&matrix).ok_or("nothing is labelled")?;
    assert_eq!(miou, 0.5);
    println!("mIoU {:.1} %", 100.0 * miou);
    Ok(())
}
