//! Scores of a trained network anew: on another split, seen otherwise, its predictions saved.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use run_record::{DeviceChoice, Record};
use scene_data::{FingerprintCache, LabelFiles, LabelMap, Split};
use seg_metrics::Protocol;
use standard_streams::message;
use whole_files::InTheWay;

use crate::checkpoint::{self, Snapshot};
use crate::config::{BackboneMode, CellConfig};
use crate::data::{Examples, View};
use crate::evaluate::{Scores, evaluate_with};
use crate::outputs::Target;
use crate::parser::Parser;
use crate::pretrained::{self, Pretrained};
use crate::progress::Progress;
use crate::{datasets, device, inputs, provenance, score};

/// What is to be evaluated.
#[derive(Debug, Clone)]
pub struct Request {
    /// A record of a sweep's `cells`.
    pub record: PathBuf,
    /// Its checkpoint; the one beside the record if absent.
    pub checkpoint: Option<PathBuf>,
    /// The dataset's root.
    pub data_root: Option<PathBuf>,
    /// The pretrained weights, for a frozen backbone.
    pub weights: Option<PathBuf>,
    /// Where the network runs.
    pub device: DeviceChoice,
    /// Which images.
    pub split: Split,
    /// Whether the images may be others than the record's, of the same classes.
    pub other_images: bool,
    /// `key=value` changes of `evaluation`, such as `scales=[0.75,1]`.
    pub set: Vec<String>,
    /// Where predictions go, in the dataset's own encoding.
    pub save_predictions: Option<Saved>,
}

/// Where predictions are saved.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The folder.
    pub folder: PathBuf,
    /// What becomes of files in the way.
    pub in_the_way: InTheWay,
}

/// A network as its record and checkpoint describe it, with what it was scored on.
pub(crate) struct Trained {
    pub(crate) record: Record,
    pub(crate) config: CellConfig,
    pub(crate) parser: Parser,
    pub(crate) protocol: Protocol,
}

/// Evaluates a network and says what it scored.
///
/// # Errors
///
/// A record, checkpoint, dataset or weights that do not belong together.
pub fn eval(request: &Request) -> anyhow::Result<String> {
    let trained = load(request)?;
    let Scored { scores, classes, other_images } = scored(&trained, request)?;
    let images = scores.images.len();
    let names: Vec<&str> = classes.iter().map(String::as_str).collect();
    let mut text = score::of_matrix(trained.protocol, images, &names, scores.total()).text;
    if let Some(other) = other_images {
        text += &format!("\n{other}\n");
    }
    Ok(text)
}

/// Evaluates a record's network as the record says, and holds the numbers against it.
///
/// # Errors
///
/// As [`eval`]'s, and any number that differs.
pub fn verify(request: &Request) -> anyhow::Result<String> {
    let trained = load(request)?;
    let Scored { scores, .. } = scored(&trained, request)?;
    let (found, said) = (scores.metrics()?, &trained.record.metrics);
    let differs = scores.images.iter().zip(&trained.record.images).filter(|(a, b)| a != b).count();
    ensure!(
        scores.images.len() == trained.record.images.len() && differs == 0 && found == *said,
        "{}: the record does not hold: mIoU {:.4} % found, {:.4} % recorded; {differs} of {} images \
         differ (another machine may round differently: the record is of {})",
        request.record.display(),
        found.miou_percent,
        said.miou_percent,
        scores.images.len(),
        trained.record.provenance.cpu,
    );
    Ok(format!(
        "{}: holds, mIoU {:.4} % and the matrices of {} images are those of the record\n",
        request.record.display(),
        found.miou_percent,
        scores.images.len()
    ))
}

/// Builds a record's network and gives it what its checkpoint holds.
pub(crate) fn load(request: &Request) -> anyhow::Result<Trained> {
    let device = device::open(request.device)?;
    let record = Record::read(&request.record)?;
    let mut value = record.cell.config.clone();
    for change in &request.set {
        set_evaluation(&mut value, change)?;
    }
    let config = CellConfig::from_value(&value).context("the record's configuration")?;
    let pretrained = request.pretrained(&config, &record)?;
    let classes = record.dataset.classes.len();
    let seed = record.cell.seed;
    let pretrained = pretrained.as_ref();
    let (parser, parameters) = Parser::build(&config.model, classes, seed, pretrained, &device)?;
    let file = request.checkpoint_file(&record)?;
    Snapshot::read(&file, &record)?.restore(&parser, &parameters)?;
    let found = provenance::file_sha256(&file)?;
    ensure!(
        record.checkpoint_sha256.as_ref().is_none_or(|of_record| *of_record == found),
        "{}: not the record's checkpoint: SHA-256 {found}, recorded {}",
        file.display(),
        record.checkpoint_sha256.unwrap_or_default()
    );
    let frozen = pretrained.map_or(String::new(), |weights| {
        format!(" on the frozen backbone of {}", weights.path().display())
    });
    message(format_args!(
        "runs on {}; the network is that of {}{frozen}",
        device::described(&device),
        file.display()
    ));
    let protocol = record.protocol.parse()?;
    Ok(Trained { record, config, parser, protocol })
}

impl Request {
    /// The weights of a frozen backbone, which no checkpoint holds; `None` for any other.
    pub(crate) fn pretrained(
        &self,
        config: &CellConfig,
        record: &Record,
    ) -> anyhow::Result<Option<Pretrained>> {
        self.weights.as_deref().map_or(Ok(()), pretrained::check)?;
        if config.model.backbone_mode != BackboneMode::Frozen {
            return Ok(None);
        }
        // Those of the values, whatever the file that holds them, where the cell's hash has them.
        let of_values = record.cell.fingerprints().remove(inputs::WEIGHTS);
        let recorded = of_values.as_ref().or(record.weights_sha256.as_ref());
        let recorded = recorded.map_or("none", String::as_str);
        let Some(path) = &self.weights else {
            bail!(
                "{}: its backbone was frozen, so that its checkpoint does not hold it: pass --weights \
                 PATH, the weights that it began with, of SHA-256 {}",
                self.record.display(),
                record.weights_sha256.as_deref().unwrap_or(recorded)
            );
        };
        let found = Pretrained::find(path, &config.model.backbone)?;
        let sha256 = found.as_ref().map(|weights| match of_values {
            Some(_) => weights.values_sha256(),
            None => weights.sha256.clone(),
        });
        let sha256 = sha256.unwrap_or_else(|| "none".to_owned());
        ensure!(
            sha256 == recorded,
            "--weights {} have SHA-256 {sha256}, the record's had {recorded}",
            path.display()
        );
        Ok(found.map(Pretrained::backbone_alone))
    }

    /// The record's checkpoint: in `checkpoints` beside the record's folder, or, where the two were
    /// moved, beside the record.
    ///
    /// # Errors
    ///
    /// It is at neither place.
    pub(crate) fn checkpoint_file(&self, record: &Record) -> anyhow::Result<PathBuf> {
        if let Some(file) = &self.checkpoint {
            return Ok(file.clone());
        }
        let folder = self.record.parent().unwrap_or(Path::new(""));
        let out_dir = match folder.file_name() {
            Some(_) => folder.parent().unwrap_or(Path::new("")).to_owned(),
            None => folder.join(".."),
        };
        let stem = record.cell.file_stem();
        // Whoever renamed the two gave them one name.
        let own_stem = self.record.file_stem().unwrap_or_default().to_string_lossy();
        let places: Vec<PathBuf> = [&*stem, &*own_stem]
            .into_iter()
            .flat_map(|stem| {
                let beside = folder.join(format!("{stem}.safetensors"));
                [checkpoint::file(&out_dir, stem), beside]
            })
            .collect();
        places.iter().find(|file| file.is_file()).cloned().with_context(|| {
            format!(
                "{}: its checkpoint is neither {} nor beside it as {}: give --checkpoint FILE",
                self.record.display(),
                places[0].display(),
                places[1].display()
            )
        })
    }
}

/// Sets a key of `evaluation`.
fn set_evaluation(config: &mut serde_json::Value, change: &str) -> anyhow::Result<()> {
    let wrong =
        || format!("cannot set `{change}`: expected KEY=VALUE, for example scales=[0.75,1]");
    let (key, text) = change.split_once('=').with_context(wrong)?;
    let key = key.strip_prefix("evaluation.").unwrap_or(key);
    let parsed = format!("value = {text}").parse::<toml::Table>();
    let parsed = parsed.or_else(|_| format!("value = {text:?}").parse());
    let parsed = parsed.ok().with_context(wrong)?;
    let of_record = "the record's configuration is no table of tables";
    let tables = config.as_object_mut().context(of_record)?;
    let evaluation = tables.entry("evaluation").or_insert_with(|| serde_json::json!({}));
    let evaluation = evaluation.as_object_mut().context(of_record)?;
    let value = parsed.get("value").with_context(wrong)?;
    evaluation.insert(key.to_owned(), serde_json::to_value(value)?);
    Ok(())
}

/// What a network scored.
pub(crate) struct Scored {
    pub(crate) scores: Scores,
    /// The classes' names.
    classes: Vec<String>,
    /// That the images are not those of the record, where they are not.
    other_images: Option<String>,
}

/// The scores of a network on the images of a request.
pub(crate) fn scored(trained: &Trained, request: &Request) -> anyhow::Result<Scored> {
    let Trained { record, config, parser, protocol } = trained;
    let root = request.data_root.as_deref();
    let dataset = datasets::open(&config.dataset, root, request.split)?;
    let name = request.split.to_string();
    inputs::same_classes(&record.dataset, &inputs::class_table(&*dataset))?;
    let fingerprint = dataset.fingerprint_in(&FingerprintCache::of_user())?;
    let expected = record.dataset.fingerprints.get(&name);
    let other_images = expected.filter(|expected| **expected != fingerprint).map(|expected| {
        format!("{name}: not the images of the record: SHA-256 {fingerprint}, recorded {expected}")
    });
    if let Some(other) = other_images.as_ref().filter(|_| !request.other_images) {
        bail!("{other}; `eval --other-images` scores other images of the same classes");
    }
    let mut files = match &request.save_predictions {
        Some(saved) => {
            let encoding = LabelFiles::of(&config.dataset, root)?;
            let by = format!("eval of {} on {name}", record.cell.file_stem());
            let file = |id: &str| (PathBuf::from(format!("{id}.png")), id.to_owned());
            let files = (0..dataset.len()).map(|index| file(dataset.id(index)));
            let Saved { folder, in_the_way } = saved;
            let target = Target { data_root: root, ..Target::new(folder, *in_the_way) };
            Some((target.claim(by, files)?, encoding))
        }
        None => None,
    };
    let classes = dataset.classes().iter().map(|class| class.name.clone()).collect();
    let mut examples = Examples::new(dataset)?;
    if config.model.backbone_mode == BackboneMode::Frozen {
        // As in training, so that the numbers are the same to the last bit.
        examples.cache_features(parser, &[View::Plain], &Progress::new(0))?;
    }
    let progress = Progress::new(examples.len() as u64);
    let scores = evaluate_with(parser, &examples, *protocol, &config.evaluation, &mut |seen| {
        progress.advance(1);
        let Some((outputs, encoding)) = &mut files else { return Ok(()) };
        let (width, height) = (seen.sample.labels.width, seen.sample.labels.height);
        let labels = LabelMap { width, height, data: seen.prediction.to_vec() };
        let file = PathBuf::from(format!("{}.png", seen.sample.id));
        outputs.write(&file, &encoding.encoded(&labels, &file)?)?;
        Ok(())
    });
    progress.finish();
    Ok(Scored { scores: scores?, classes, other_images })
}
