//! Uses two crates of the workspace as another project would.

use candle_core::{DType, Device, Tensor};
use dense_rnn::{Activation, Aggregation, Graph, Scan, scan};
use seg_metrics::{ConfusionMatrix, Protocol};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let input = Tensor::ones((1, 1, 3, 4, 1), DType::F32, &Device::Cpu)?;
    let weights = Tensor::full(0.5f32, (4, 1, 1), &Device::Cpu)?;
    let (aggregation, activation) = (Aggregation::Mean, Activation::Relu);
    let hidden =
        scan(&input, &weights, None, &Scan { graph: Graph::Dense, aggregation, activation })?;
    assert_eq!(hidden.narrow(3, 0, 1)?.flatten_all()?.to_vec1::<f32>()?, [1.0, 1.5, 1.625]);

    let mut matrix = ConfusionMatrix::new(2);
    matrix.add(&[0, 0, 1, 255], &[0, 1, 1, 0])?;
    let miou = Protocol::Camvid.headline_miou(&matrix).ok_or("nothing is labelled")?;
    assert_eq!(miou, 0.5);
    println!("dense scan {:?}, mIoU {:.1} %", hidden.dims(), 100.0 * miou);
    Ok(())
}
