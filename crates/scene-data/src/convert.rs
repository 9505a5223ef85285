//! PASCAL-Context's official `.mat` files as the PNGs of the common layout.

use std::path::Path;

use rayon::prelude::*;

use crate::class_table::ClassTable;
use crate::on_disk::{Listing, OnDisk, Pair};
use crate::pascal_context;
use crate::synth::{Depth, write_file, write_png};
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
/// A root that does not hold the official files, any that is missing or damaged, and whatever
/// keeps the PNGs from being written.
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
    let total = listings.iter().map(|(_, listing)| listing.pairs.len()).sum();
    let mut done = Converted::default();
    for (split, listing) in listings {
        let Listing { pairs, encoding, .. } = &listing;
        let voc = pairs[0].image.parent().and_then(Path::parent).unwrap_or(root).to_path_buf();
        // Said before anything is written.
        OnDisk::new(listing.clone())?;
        let one = |pair: &Pair| {
            let file = voc.join("SegmentationClassContext").join(format!("{}.png", pair.id));
            let kept = file.is_file();
            if !kept {
                let labels = encode(&encoding.read(&pair.labels)?, &png);
                let part = file.with_extension("png.part");
                write_png(&part, &labels, Depth::Eight)?;
                std::fs::rename(&part, &file).map_err(Error::io(&file))?;
            }
            progress(total);
            Ok(kept)
        };
        let kept = pairs.par_iter().map(one).collect::<Result<Vec<bool>, Error>>()?;
        done.kept += kept.iter().filter(|kept| **kept).count();
        done.written += kept.iter().filter(|kept| !**kept).count();
        let list: String = pairs.iter().map(|pair| format!("{}\n", pair.id)).collect();
        let file = voc.join("ImageSets/SegmentationContext").join(format!("{split}.txt"));
        write_file(&file, list.as_bytes())?;
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
