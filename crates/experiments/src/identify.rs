//! Whether the data and weights at hand are those of records; records made before cells held their
//! inputs get them, where that can be shown.
//!
//! Shown is: the images and labels of every split have the record's fingerprints, the file of
//! weights has its SHA-256, the classes have its names, and the labels of every test image, read
//! with the classes' values of today, are as many of each class as the record counted.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use run_record::{Cell, ClassTable, FINGERPRINTS, RECORD_VERSION, Record};
use scene_data::{SceneDataset, Split};
use seg_metrics::ConfusionMatrix;

use crate::checkpoint;
use crate::compare::{self, sparse};
use crate::config::CellConfig;
use crate::datasets::with_flag;
use crate::inputs::{self, Finder, Fingerprints};
use crate::interrupt;
use crate::plan::Settings;
use crate::pretrained::Pretrained;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Records, folders of records or sweeps' output folders.
    pub records: Vec<PathBuf>,
    /// The root of the dataset, for datasets that are on disk.
    pub data_root: Option<PathBuf>,
    /// The weights file, or a folder of them.
    pub weights: Option<PathBuf>,
    /// Where records made before go, in today's form.
    pub out_dir: Option<PathBuf>,
}

/// Says of each record whether it is of these data and weights, and writes those made before.
///
/// # Errors
///
/// The first record that is of other data or weights, with what differs; what cannot be read or
/// written.
pub fn identify(request: &Request) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut counted: Vec<Counted> = Vec::new();
    for path in &request.records {
        for (file, record) in compare::files(path)? {
            interrupt::check()?;
            let shown = file.display();
            let (found, table) =
                inputs_of(request, &record, &mut counted).with_context(|| shown.to_string())?;
            if record.is_of_known_inputs() {
                let _ = writeln!(text, "{shown}: of the data and weights at hand");
                continue;
            }
            let Some(out_dir) = &request.out_dir else {
                let _ = writeln!(
                    text,
                    "{shown}: of the data and weights at hand; made before cells held their \
                     inputs: --out-dir DIR writes it with them"
                );
                continue;
            };
            let written = renew(&file, record, found, table, out_dir)?;
            let _ = writeln!(
                text,
                "{shown}: of the data and weights at hand; with them {}",
                written.display()
            );
        }
    }
    Ok(text)
}

/// The labels of a test split, counted once for all records of it.
struct Counted {
    config: scene_data::DatasetConfig,
    table: ClassTable,
    /// Each image's id and its pixels of each class.
    images: Vec<(String, Vec<u64>)>,
}

/// The inputs at hand, if they are the record's.
fn inputs_of(
    request: &Request,
    record: &Record,
    counted: &mut Vec<Counted>,
) -> anyhow::Result<(Fingerprints, ClassTable)> {
    let config = CellConfig::from_value(&record.cell.config).context("its configuration")?;
    let weights = request.weights.clone().filter(|_| record.weights_sha256.is_some());
    let settings =
        Settings { data_root: request.data_root.clone(), weights, ..Settings::default() };
    let found = Finder::new(&settings).of(&config)?;
    let recorded = record.dataset.fingerprints.clone();
    inputs::hold(&recorded, &found, &record.dataset.name)?;
    if let Some(recorded) = &record.weights_sha256 {
        let Some(path) = &settings.weights else {
            bail!("its backbone began with weights of SHA-256 {recorded}: pass --weights PATH");
        };
        let weights = Pretrained::find(path, &config.model.backbone)?;
        let sha256 = weights.map_or_else(|| "none".to_owned(), |weights| weights.sha256);
        ensure!(
            record.is_of_known_inputs() || sha256 == *recorded,
            "--weights have SHA-256 {sha256}, the record's had {recorded}"
        );
    }
    if counted.iter().all(|of| of.config != config.dataset) {
        let dataset = config.dataset.open(request.data_root.as_deref(), Split::Test);
        let dataset = dataset.map_err(with_flag)?;
        let table = inputs::class_table(&*dataset);
        let images = labels_of(&*dataset)?;
        counted.push(Counted { config: config.dataset.clone(), table, images });
    }
    let of = counted.iter().find(|of| of.config == config.dataset).context("counted")?;
    inputs::same_classes(&record.dataset, &of.table)?;
    same_labels(record, &of.images)?;
    Ok((found, of.table.clone()))
}

fn labels_of(dataset: &dyn SceneDataset) -> anyhow::Result<Vec<(String, Vec<u64>)>> {
    let classes = dataset.classes().len();
    let of_image = |index: usize| {
        interrupt::check()?;
        let sample = dataset.sample(index)?;
        let mut counts = vec![0; classes];
        for &label in &sample.labels.data {
            if let Some(count) = counts.get_mut(usize::from(label)) {
                *count += 1;
            }
        }
        Ok((sample.id, counts))
    };
    (0..dataset.len()).map(of_image).collect()
}

fn same_labels(record: &Record, images: &[(String, Vec<u64>)]) -> anyhow::Result<()> {
    let (found, recorded) = (images.len(), record.images.len());
    ensure!(found == recorded, "{found} test images, the record scored {recorded}");
    let classes = record.dataset.classes.len();
    for ((id, counts), image) in images.iter().zip(&record.images) {
        let matrix = ConfusionMatrix::from_sparse(classes, &sparse(&image.counts))?;
        let recorded: Vec<u64> = (0..classes).map(|class| matrix.labelled(class)).collect();
        ensure!(
            *id == image.id && *counts == recorded,
            "{id}: its labels are {counts:?} pixels of each class, the record counted {recorded:?} \
             in {}",
            image.id
        );
    }
    Ok(())
}

/// Writes the record with what its inputs were shown to be; its checkpoint as well, if it is there.
fn renew(
    file: &Path,
    mut record: Record,
    found: Fingerprints,
    table: ClassTable,
    out_dir: &Path,
) -> anyhow::Result<PathBuf> {
    let before = record.cell.file_stem();
    let Cell { config, .. } = &mut record.cell;
    config[FINGERPRINTS] = serde_json::to_value(found)?;
    record.formerly = Some(std::mem::replace(&mut record.cell_hash, record.cell.hash()));
    record.dataset.class_table = Some(table);
    record.version = RECORD_VERSION;
    let cells = out_dir.join("cells");
    std::fs::create_dir_all(&cells).with_context(|| cells.display().to_string())?;
    let written = record.write_atomically(&cells)?;
    let beside = file.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let from = checkpoint::file(beside, &before);
    if from.is_file() {
        let to = checkpoint::file(out_dir, &record.cell.file_stem());
        let folder = to.parent().context("a checkpoint has a folder")?;
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        whole_files::copy(&from, &to)?;
    }
    Ok(written)
}
