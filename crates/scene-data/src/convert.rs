//! PASCAL-Context's official `.mat` files as the PNGs of the common layout.

use std::path::Path;

use rayon::prelude::*;

use crate::class_table::ClassTable;
use crate::on_disk::{LIST_BYTES, Listing, OnDisk, Pair};
use crate::pascal_context;
use crate::writing::{Depth, write_file, write_png};
use crate::{ContextLabels, Error, IGNORE, LabelMap, PascalContextConfig, Split};

/// What a conversion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Converted {
    /// Label files that were written.
    pub written: usize,
    /// Label files that an earlier call had written.
    pub kept: usize,
}

/// Writes `SegmentationClassContext/*.png` and `ImageSets/SegmentationContext/*.txt` beside
/// VOC2010's photographs. Files that are already there are kept, so that a call that was
/// interrupted goes on; a file is there whole or not at all.
///
/// `progress` is called once for each file, with the number of all files; in parallel.
///
/// # Errors
///
/// A root that does not hold the official files, any that is missing or damaged, lists of other
/// images under the names of ours, and whatever keeps the PNGs from being written.
pub fn convert_pascal_context(
    root: &Path,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Converted, Error> {
    let options = PascalContextConfig { labels: ContextLabels::Mat, ..Default::default() };
    let png = pascal_context::table(&PascalContextConfig::default())?;
    let listings = [Split::Train, Split::Val]
        .map(|split| Ok((split, pascal_context::list(root, split, &options)?)))
        .into_iter()
        .collect::<Result<Vec<(Split, Listing)>, Error>>()?;
    let with_list = |(split, listing): (Split, Listing)| {
        let ids: String = listing.pairs.iter().map(|pair| format!("{}\n", pair.id)).collect();
        let voc = listing.pairs[0].image.parent().and_then(Path::parent).unwrap_or(root);
        let list = voc.join("ImageSets/SegmentationContext").join(format!("{split}.txt"));
        // A list of other images is the user's own.
        match whole_files::read(&list, LIST_BYTES) {
            Ok(there) if there != ids.as_bytes() => Err(Error::ListInTheWay { file: list }),
            _ => Ok((voc.to_path_buf(), listing, list, ids)),
        }
    };
    let listings = listings.into_iter().map(with_list).collect::<Result<Vec<_>, Error>>()?;
    let total = listings.iter().map(|(_, listing, ..)| listing.pairs.len()).sum();
    let mut done = Converted::default();
    // Said before anything is written.
    listings.iter().try_for_each(|(_, listing, ..)| OnDisk::new(listing.clone()).map(|_| ()))?;
    for (voc, listing, list, ids) in listings {
        let Listing { pairs, encoding, .. } = &listing;
        let folder = voc.join("SegmentationClassContext");
        if folder.is_dir() {
            whole_files::clear_leftovers(&folder)?;
        }
        let one = |pair: &Pair| {
            let file = folder.join(format!("{}.png", pair.id));
            let kept = file.is_file();
            if !kept {
                let labels = encode(&encoding.read(&pair.labels)?, &png);
                write_png(&file, &labels, Depth::Eight)?;
            }
            progress(total);
            Ok(kept)
        };
        let kept = pairs.par_iter().map(one).collect::<Result<Vec<bool>, Error>>()?;
        done.kept += kept.iter().filter(|kept| **kept).count();
        done.written += kept.iter().filter(|kept| !**kept).count();
        write_file(&list, ids.as_bytes())?;
    }
    Ok(done)
}

fn encode(labels: &LabelMap, table: &ClassTable) -> LabelMap {
    let ignored = table.value_of_class(IGNORE).unwrap_or(0);
    let value = |class| table.value_of_class(class).unwrap_or(ignored) as u8;
    let values: Vec<u8> = (0..=255).map(value).collect();
    LabelMap {
        data: labels.data.iter().map(|&class| values[usize::from(class)]).collect(),
        ..*labels
    }
}
