//! A frozen backbone's features in files: computed once, for every run that asks for the same.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use candle_core::Tensor;
use scene_data::View;

use crate::tensor_file::{self, Notes, Parts, Tensors};
use crate::{interrupt, leftovers, lock};

/// Where the files are, and how much they may take.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureFolder {
    /// The folder; each key has one of its own in it.
    pub path: PathBuf,
    /// The most that the files of one split may take, in bytes.
    pub limit_bytes: u64,
}

/// The files of one split, one an image.
pub struct FeatureFiles {
    views: Vec<View>,
    stages: usize,
    files: Vec<Parts>,
}

impl FeatureFiles {
    /// Opens what is there, each file checked, and has the rest made: `make` returns for an image
    /// the maps of every view. `key` tells apart whatever would make other features.
    ///
    /// # Errors
    ///
    /// Features that would take more than the limit, a folder that cannot be written, an interrupt,
    /// or what `make` reports. A damaged file is made again.
    pub fn open(
        folder: &FeatureFolder,
        key: &str,
        views: &[View],
        images: usize,
        make: &mut dyn FnMut(usize) -> anyhow::Result<Vec<Vec<Tensor>>>,
    ) -> anyhow::Result<Self> {
        let own = folder.path.join(key);
        std::fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
        // Two processes that want the same features make them once.
        let _lock = lock::wait_for(&folder.path.join(format!("{key}.lock")))?;
        whole_files::clear_leftovers(&own)?;
        leftovers::clear_parts(&own)?;
        let (mut files, mut stages) = (Vec::with_capacity(images), 0);
        for image in 0..images {
            interrupt::check()?;
            let file = own.join(format!("{image:06}.safetensors"));
            // The image as well: a file of another one is as whole.
            let notes = [("key", key.to_owned()), ("image", image.to_string())];
            let notes: Notes = notes.map(|(name, text)| (name.to_owned(), text)).into();
            let whole = Parts::checked(&file).ok().filter(|(_, found)| *found == notes);
            let (parts, _) = match whole {
                Some(whole) => whole,
                None => {
                    tensor_file::write(&file, &named(make(image)?), &notes)?;
                    Parts::checked(&file)?
                }
            };
            let all = parts.bytes().saturating_mul(images as u64);
            ensure!(
                image > 0 || all <= folder.limit_bytes,
                "the features of {images} images take about {} MiB in {}, more than the limit of \
                 {} MiB: raise --features-limit, or leave --features away to keep them in memory",
                all >> 20,
                own.display(),
                folder.limit_bytes >> 20
            );
            stages = parts.len() / views.len().max(1);
            files.push(parts);
        }
        Ok(Self { views: views.to_vec(), stages, files })
    }

    /// The maps of one view of an image, finest first.
    ///
    /// # Errors
    ///
    /// A view that was not made, or a file that was changed since it was opened.
    pub fn get(&self, image: usize, view: View) -> anyhow::Result<Vec<Tensor>> {
        let at = self.views.iter().position(|&other| other == view);
        let at = at.context("the features of this view were not computed")?;
        let names: Vec<String> = (0..self.stages).map(|stage| name(at, stage)).collect();
        self.files[image].read(&names)
    }
}

fn name(view: usize, stage: usize) -> String {
    format!("view{view}.stage{stage}")
}

fn named(views: Vec<Vec<Tensor>>) -> Tensors {
    let each = views.into_iter().enumerate().flat_map(|(view, maps)| {
        maps.into_iter().enumerate().map(move |(stage, map)| (name(view, stage), map))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn maps(image: usize) -> Vec<Vec<Tensor>> {
        let of = |x: f32| Tensor::new(&[[x, image as f32]], &Device::Cpu).unwrap();
        vec![vec![of(0.0), of(1.0)], vec![of(2.0), of(3.0)]]
    }

    const VIEWS: [View; 2] = [View::Plain, View::Mirrored];

    #[test]
    fn features_are_made_once_and_a_damaged_file_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = FeatureFolder { path: dir.path().into(), limit_bytes: 1 << 20 };
        let open = |key: &str| {
            let mut made = Vec::new();
            let mut make = |image| {
                made.push(image);
                Ok(maps(image))
            };
            let files = FeatureFiles::open(&folder, key, &VIEWS, 3, &mut make).unwrap();
            (files, made)
        };
        let (files, made) = open("a");
        assert_eq!(made, [0, 1, 2]);
        let got = files.get(1, View::Mirrored).unwrap();
        let values: Vec<_> = got.iter().map(|map| map.to_vec2::<f32>().unwrap()).collect();
        assert_eq!(values, [[[2.0, 1.0]], [[3.0, 1.0]]]);
        drop(files);
        assert_eq!(open("a").1, Vec::<usize>::new());
        let file = dir.path().join("a/000001.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(open("a").1, [1]);
        // Whole, but another image's.
        std::fs::copy(dir.path().join("a/000002.safetensors"), &file).unwrap();
        assert_eq!(open("a").1, [1]);
        assert_eq!(open("b").1, [0, 1, 2], "another key has files of its own");
    }

    #[test]
    fn a_file_that_is_changed_while_it_is_in_use_is_an_error_and_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let folder = FeatureFolder { path: dir.path().into(), limit_bytes: 1 << 20 };
        let mut make = |image| Ok(maps(image));
        let files = FeatureFiles::open(&folder, "a", &VIEWS, 3, &mut make).unwrap();
        for (image, bytes) in [(0, 0), (1, 100)] {
            let file = dir.path().join(format!("a/{image:06}.safetensors"));
            let cut = std::fs::File::options().write(true).open(&file).unwrap();
            cut.set_len(bytes).unwrap();
        }
        std::fs::remove_file(dir.path().join("a/000002.safetensors")).unwrap();
        for (image, want) in [(0, ": changed while"), (1, ": changed while"), (2, "No such file")] {
            let message = format!("{:#}", files.get(image, View::Plain).unwrap_err());
            assert!(message.contains(&format!("{image:06}.safetensors")), "{message}");
            assert!(message.contains(want), "{message}");
        }
    }

    #[test]
    fn more_than_the_limit_is_refused_after_the_first_image() {
        let dir = tempfile::tempdir().unwrap();
        let folder = FeatureFolder { path: dir.path().into(), limit_bytes: 1000 };
        let mut made = 0;
        let mut make = |image| {
            made += 1;
            Ok(maps(image))
        };
        let refused = FeatureFiles::open(&folder, "a", &VIEWS, 100, &mut make);
        let message = refused.err().unwrap().to_string();
        assert!(message.contains("raise --features-limit") && made == 1, "{message}");
    }
}
