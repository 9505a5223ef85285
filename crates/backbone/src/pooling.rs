//! Max pooling that can give up its stride.

use candle_core::Tensor;
use grid_ops::{Pool, Rounding, max_pool2d};

use crate::error::Result;

/// The maximum over windows of `kernel` without padding, at a distance of `stride`.
///
/// At stride 1, where dilation took the place of a stride, a unit's window begins at the unit and
/// ends with the grid, which keeps its size: every second unit is what the strided pooling has.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`
/// - returns: `[n, c, (h − kernel) / stride + 1, …]`, rounded as asked; at stride 1 as `x`
pub(crate) fn max_pool(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    rounding: Rounding,
) -> Result<Tensor> {
    if stride != 1 {
        return Ok(max_pool2d(x, &Pool { kernel, stride, padding: 0, rounding })?);
    }
    let (_, _, h, w) = x.dims4()?;
    // Padding is the same on all sides, so the windows that begin before the grid are cut off.
    // Windows of two, taken again and again, make larger ones.
    let pair = Pool { kernel: 2, stride: 1, padding: 1, rounding: Rounding::Floor };
    let mut x = x.clone();
    for _ in 1..kernel {
        let y = max_pool2d(&x, &pair)?; // [n, c, h + 1, w + 1]
        x = y.narrow(2, 1, h)?.narrow(3, 1, w)?; // [n, c, h, w]
    }
    Ok(x.contiguous()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn without_its_stride_every_second_unit_is_the_strided_one() {
        for (kernel, rounding) in [(2, Rounding::Floor), (3, Rounding::Ceil)] {
            let x = Tensor::from_vec(testkit::values(1, 2 * 6 * 8), (1, 2, 6, 8), &Device::Cpu);
            let x = x.unwrap();
            let strided = max_pool(&x, kernel, 2, rounding).unwrap();
            let dense = max_pool(&x, kernel, 1, rounding).unwrap();
            assert_eq!((strided.dims(), dense.dims()), (&[1, 2, 3, 4][..], &[1, 2, 6, 8][..]));
            let every = |n: u32| Tensor::from_iter((0..n).map(|i| 2 * i), &Device::Cpu).unwrap();
            let taken = dense.index_select(&every(3), 2).unwrap();
            let taken = taken.index_select(&every(4), 3).unwrap();
            let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(flat(&taken), flat(&strided));
        }
    }
}
