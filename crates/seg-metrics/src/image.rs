//! What has to hold of an image before it is counted.

use crate::{Error, IGNORE, Result};

/// The number of rows.
///
/// # Errors
///
/// [`Error::Width`] unless the pixels are whole rows; no pixels are no rows of any width but 0.
pub(crate) fn rows(pixels: usize, width: usize) -> Result<usize> {
    match pixels.checked_div(width) {
        Some(rows) if rows * width == pixels => Ok(rows),
        None if pixels == 0 => Ok(0),
        _ => Err(Error::Width { pixels, width }),
    }
}

/// Whether there is a prediction for every label, and every label a class or [`IGNORE`].
///
/// # Errors
///
/// [`Error::Length`], and [`Error::TruthValue`] for the first label that is neither.
pub(crate) fn check(labels: &[u8], predictions: usize, classes: usize) -> Result<()> {
    if labels.len() != predictions {
        return Err(Error::Length { truth: labels.len(), prediction: predictions });
    }
    let wrong = |value: &u8| usize::from(*value) >= classes && *value != IGNORE;
    match labels.iter().position(wrong) {
        Some(position) => Err(Error::TruthValue { value: labels[position], position, classes }),
        None => Ok(()),
    }
}
