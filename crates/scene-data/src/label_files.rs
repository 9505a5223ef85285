//! Label files of a dataset by themselves: what scores and submissions read and write.

use std::path::Path;

use crate::class_table::{ADE20K, CAMVID, CITYSCAPES, ClassTable};
use crate::writing::{Depth, png_of_values, write_file};
use crate::{
    Class, DatasetConfig, Error, IGNORE, LabelMap, own_folder, pascal_context, read_label_png,
};

/// A dataset's genuine encoding of labels in index PNGs.
#[derive(Debug, Clone)]
pub struct LabelFiles {
    table: ClassTable,
}

impl LabelFiles {
    /// The encoding of a dataset's index PNGs. A user's own folder is described at `data_root`.
    ///
    /// # Errors
    ///
    /// A dataset that exists in memory only, and whatever is wrong with its options.
    pub fn of(config: &DatasetConfig, data_root: Option<&Path>) -> Result<Self, Error> {
        let table = match config {
            DatasetConfig::CamVid(_) => CAMVID.clone(),
            DatasetConfig::Ade20k {} => ADE20K.clone(),
            DatasetConfig::Cityscapes {} => CITYSCAPES.clone(),
            DatasetConfig::PascalContext(options) => {
                let labels = crate::ContextLabels::Png;
                pascal_context::table(&crate::PascalContextConfig { labels, ..options.clone() })?
            }
            DatasetConfig::Folder {} => {
                let layout = crate::Layout::Folder;
                let (dataset, expected) = (layout.title(), layout.expected());
                own_folder::table_of(data_root.ok_or(Error::NoDataRoot { dataset, expected })?)?
            }
            DatasetConfig::Beacons(_) => {
                return Err(Error::UnknownDataset { name: "beacons on disk".into() });
            }
        };
        Ok(Self { table })
    }

    /// The classes in the order of their indices.
    pub fn classes(&self) -> &[Class] {
        &self.table.classes
    }

    /// Reads class indices, [`IGNORE`] where the file's value is an ignored one.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is no index PNG, or holds a value that the dataset has not.
    pub fn read(&self, file: &Path) -> Result<LabelMap, Error> {
        let mut labels = read_label_png(file)?;
        self.table.decode(&mut labels, file)?;
        Ok(labels)
    }

    /// Writes class indices as the dataset's own values, as an 8-bit gray PNG.
    ///
    /// # Errors
    ///
    /// A class that the dataset has not, or a file that cannot be written.
    pub fn write(&self, file: &Path, labels: &LabelMap) -> Result<(), Error> {
        write_file(file, &self.encoded(labels, file)?)
    }

    /// The bytes of the file that [`write`](Self::write) writes; `file` is what errors call it.
    ///
    /// # Errors
    ///
    /// A class that the dataset has not.
    pub fn encoded(&self, labels: &LabelMap, file: &Path) -> Result<Vec<u8>, Error> {
        let mut values = [None; 256];
        for (class, value) in (0..=IGNORE).zip(&mut values) {
            *value = self.table.value_of_class(class).and_then(|value| u8::try_from(value).ok());
        }
        let mut data = Vec::with_capacity(labels.data.len());
        for (at, &class) in labels.data.iter().enumerate() {
            let value = values[usize::from(class)];
            data.push(value.ok_or_else(|| Error::Encode {
                file: file.to_path_buf(),
                message: format!("class {class} at pixel {at}: there are {}", self.classes().len()),
            })?);
        }
        png_of_values(&LabelMap { data, ..*labels }, Depth::Eight)
    }
}
