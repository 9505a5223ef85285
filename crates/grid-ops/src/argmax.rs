//! The class of every pixel from low-resolution logits.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::cross_entropy::Rows;
use crate::error::{checked_dtype, checked_grid};
use crate::resize::blends;
use crate::{Corners, Error, IGNORE, Result, inlined, simd};

/// The class of every pixel: logits resized bilinearly ([`Corners::Centers`]), the largest taken,
/// the first of equals.
///
/// # Shapes
///
/// - `logits`: `[n, k, h', w']`, `f32` or `f64`, `k` at most 255
/// - returns: `n·height·width` class indices, row-major
///
/// # Errors
///
/// [`Error::Shape`] or [`Error::Config`] for an empty grid or too many classes, [`Error::DType`]
/// for other number types.
pub fn argmax_upsampled(logits: &Tensor, height: usize, width: usize) -> Result<Vec<u8>> {
    let op = "argmax_upsampled";
    let (n, k, h, w) = checked_grid(op, logits)?;
    checked_dtype(op, logits)?;
    if height == 0 || width == 0 {
        let reason = "expected at least 1";
        return Err(Error::Config { op, field: "height or width", value: 0, reason });
    }
    if k > usize::from(IGNORE) {
        let reason = "expected at most 255 classes";
        return Err(Error::Config { op, field: "classes", value: k, reason });
    }
    let logits =
        logits.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let rows = blends::<f32>(h, height, Corners::Centers);
    let columns = blends::<f32>(w, width, Corners::Centers);
    let mut classes = vec![0u8; n * height * width];
    let run = inlined(
        #[inline(always)]
        |at: usize, to: &mut [u8]| {
            let logits = &logits[at / height * k * h * w..][..k * h * w];
            let source = Rows { logits, classes: k, from: (h, w) };
            let (mut line, mut z) = (vec![0.0; w * k], vec![0.0; k]);
            source.read(rows[at % height], &mut line);
            for (to, &column) in to.iter_mut().zip(&columns) {
                source.blend(&line, column, &mut z);
                let mut best = 0;
                for class in 1..k {
                    if z[class] > z[best] {
                        best = class;
                    }
                }
                *to = best as u8;
            }
        },
    );
    classes.par_chunks_mut(width).enumerate().for_each(|(at, to)| {
        simd(
            #[inline(always)]
            || run(at, to),
        );
    });
    Ok(classes)
}
