//! Why a grid operation could not run.

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a grid operation could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor did not have the shape the operation is defined for.
    #[error("{op}: expected {expected}, got {got:?}")]
    Shape {
        /// The public function that was called.
        op: &'static str,
        /// The expected shape, in the letters of that function's docs.
        expected: &'static str,
        /// The shape that was passed.
        got: Vec<usize>,
    },
    /// A tensor did not hold the numbers the operation is defined for.
    #[error("{op}: expected {expected}, got {got:?}")]
    DType {
        /// The public function that was called.
        op: &'static str,
        /// The expected number types.
        expected: &'static str,
        /// The number type that was passed.
        got: candle_core::DType,
    },
    /// An option that cannot work.
    #[error("{op}: {field} = {value}, {reason}")]
    Config {
        /// The public function that was called.
        op: &'static str,
        /// The option.
        field: &'static str,
        /// Its value.
        value: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A label that is no class.
    #[error("{op}: label {label} at flat index {index}; expected a class below {classes} or 255")]
    Label {
        /// The public function that was called.
        op: &'static str,
        /// The label.
        label: u8,
        /// Its place in the labels.
        index: usize,
        /// How many classes the logits have.
        classes: usize,
    },
    /// The tensor library failed underneath.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Refuses anything but `[n, c, h, w]` with no dimension zero, in `f32` or `f64`.
pub(crate) fn checked_grid(
    op: &'static str,
    x: &candle_core::Tensor,
) -> Result<(usize, usize, usize, usize)> {
    let got = || x.dims().to_vec();
    let &[n, c, h, w] = x.dims() else {
        return Err(Error::Shape { op, expected: "[n, c, h, w]", got: got() });
    };
    if x.elem_count() == 0 {
        return Err(Error::Shape { op, expected: "[n, c, h, w], none of them zero", got: got() });
    }
    checked_dtype(op, x)?;
    Ok((n, c, h, w))
}

/// Refuses anything but `f32` and `f64`.
pub(crate) fn checked_dtype(op: &'static str, x: &candle_core::Tensor) -> Result<()> {
    match x.dtype() {
        candle_core::DType::F32 | candle_core::DType::F64 => Ok(()),
        got => Err(Error::DType { op, expected: "f32 or f64", got }),
    }
}

/// Refuses a bias that is not one number for each of `k` channels.
pub(crate) fn checked_bias(
    op: &'static str,
    bias: Option<&candle_core::Tensor>,
    k: usize,
) -> Result<()> {
    match bias {
        Some(bias) if bias.dims() != [k] => {
            let expected = "bias: [k] with k as in weight";
            Err(Error::Shape { op, expected, got: bias.dims().to_vec() })
        }
        _ => Ok(()),
    }
}
