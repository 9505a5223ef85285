//! Where strides turn into dilation.

use crate::error::{Error, Result};

/// Follows the stride along a network and replaces what would exceed the wanted output stride by
/// dilation ("à trous"): the layer keeps its resolution, and all layers behind it sample at the
/// larger distance. The dilated network's output, taken at every second unit, is the strided one's.
pub(crate) struct Striding {
    limit: usize,
    stride: usize,
    dilation: usize,
}

impl Striding {
    /// A walk from the image on, up to an output stride of `limit` pixels.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, stride: 1, dilation: 1 }
    }

    /// Stride and dilation of the next layer, which has `stride` of its own.
    pub(crate) fn next(&mut self, stride: usize) -> (usize, usize) {
        let dilation = self.dilation;
        if self.stride * stride > self.limit {
            self.dilation *= stride;
            (1, dilation)
        } else {
            self.stride *= stride;
            (stride, dilation)
        }
    }

    /// Dilation of the next layer, if it has no stride of its own.
    pub(crate) fn dilation(&self) -> usize {
        self.dilation
    }

    /// Pixels between two units after the layers so far.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }
}

/// The output stride of a network whose own is `full`: `wanted`, if it is one of `choices`.
pub(crate) fn output_stride(
    wanted: Option<usize>,
    full: usize,
    choices: &[usize],
) -> Result<usize> {
    let stride = wanted.unwrap_or(full);
    if choices.contains(&stride) {
        return Ok(stride);
    }
    let reason = format!("expected one of {choices:?}; the network's own is {full}");
    Err(Error::Config { field: "output_stride", value: stride.to_string(), reason })
}
