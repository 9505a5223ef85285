//! Which way a photograph lies whose EXIF data say that viewers turn it: its labels decide.

use image::RgbImage;

use crate::image_file::Photograph;
use crate::on_disk::Pair;
use crate::{Error, LabelMap};

/// How a photograph lies under its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Its file says nothing of turning it.
    Plain,
    /// The labels have the size of the stored pixels alone.
    Stored,
    /// The labels have the size of the turned picture alone.
    Turned,
    /// Both have the labels' size; taken as stored.
    Either,
}

/// The pixels that belong to the labels.
///
/// # Errors
///
/// Labels of neither size.
pub(crate) fn aligned(
    pair: &Pair,
    photograph: Photograph,
    labels: &LabelMap,
) -> Result<(RgbImage, Alignment), Error> {
    let of_labels = [labels.width, labels.height];
    let stored = photograph.size();
    let turned = photograph.upright_size();
    let alignment = match (stored == of_labels, turned == of_labels) {
        (true, _) if !photograph.is_turned() => Alignment::Plain,
        (true, true) => Alignment::Either,
        (true, false) => Alignment::Stored,
        (false, true) => Alignment::Turned,
        (false, false) => {
            return Err(Error::SizeMismatch {
                image: pair.image.clone(),
                labels: pair.labels.clone(),
                image_width: stored[0],
                image_height: stored[1],
                label_width: labels.width,
                label_height: labels.height,
                orientation: photograph.is_turned().then_some(photograph.orientation.to_exif()),
            });
        }
    };
    let image = match alignment {
        Alignment::Turned => photograph.upright(),
        _ => photograph.image,
    };
    Ok((image, alignment))
}
