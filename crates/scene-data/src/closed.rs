//! Which folders belong to a dataset, so that nothing is ever written into them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use whole_files::{Protected, real_path};

use crate::{Error, Layout, Split};

/// Protects the files of the dataset at `data_root`, and of every dataset that `place` lies in: the
/// folders of photographs and labels are closed, lists and descriptions are kept. Other folders below
/// a data root may be written to.
///
/// # Errors
///
/// A place that cannot be looked up.
pub fn protect_datasets(
    protected: &mut Protected,
    place: &Path,
    data_root: Option<&Path>,
) -> Result<(), Error> {
    let real = real_path(place)?;
    let roots: BTreeSet<PathBuf> =
        real.ancestors().map(Path::to_owned).chain(data_root.map(Path::to_owned)).collect();
    for root in roots.iter().filter(|root| root.is_dir()) {
        for layout in Layout::ALL {
            let Some(own) = layout.find(root) else { continue };
            for entry in layout.entries().iter().map(|entry| own.join(entry)) {
                match entry.is_dir() {
                    true => protected.close(&entry),
                    false => protected.keep(&entry),
                }
            }
            // A dataset that is there in part has folders for the splits that can be listed.
            for split in Split::ALL {
                protected.keep(&own.join(format!("{split}.txt")));
                let pairs = layout.config().list(Some(root), split).map(|listing| listing.pairs);
                let pairs = pairs.unwrap_or_default().into_iter();
                let folders: BTreeSet<PathBuf> = pairs
                    .flat_map(|pair| [pair.image, pair.labels])
                    .filter_map(|file| Some(file.parent()?.to_owned()))
                    .collect();
                for folder in &folders {
                    protected.close(folder);
                    // PASCAL's lists.
                    protected.close(&folder.with_file_name("ImageSets"));
                }
            }
        }
    }
    Ok(())
}
