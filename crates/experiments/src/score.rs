//! Scores of predictions that are saved as files, in a dataset's genuine encoding.

mod files;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use scene_data::{DatasetConfig, LabelFiles, PascalContextConfig, read_label_png, read_png_u16};
use seg_metrics::cityscapes::{Counts, look_like_train_ids};
use seg_metrics::{AbsentClass, ConfusionMatrix, Protocol, in_order};
use serde_json::{Value, json};

use crate::table;
use files::{Found, Pair};

/// What is to be scored.
#[derive(Debug, Clone)]
pub struct Request {
    /// How.
    pub protocol: Protocol,
    /// The folder of label files, subfolders included.
    pub labels: PathBuf,
    /// The folder of predictions, subfolders included.
    pub predictions: PathBuf,
}

/// Scores as text for people and as a value for programs.
pub struct Scored {
    /// Markdown.
    pub text: String,
    /// The same numbers.
    pub json: Value,
}

/// Scores every label file against its prediction.
///
/// Cityscapes is scored from labelIds, and from the instanceIds beside them where every label has
/// its own; a folder of one's own by the `dataset.toml` that lies above its labels.
///
/// # Errors
///
/// Everything that is wrong with any file, in one list; then nothing is scored.
pub fn score(request: &Request) -> anyhow::Result<Scored> {
    let mut problems = Vec::new();
    let Found { pairs, left_out } = files::matched(request, &mut problems)?;
    let mut scored = match request.protocol {
        Protocol::Cityscapes => cityscapes(&pairs, &mut problems)?,
        _ => by_classes(request, &pairs, &mut problems)?,
    };
    if problems.is_empty() {
        if !left_out.is_empty() {
            let _ = writeln!(scored.text, "\n{}", table::escaped(&left_out));
        }
        return Ok(scored);
    }
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    bail!("{count}, nothing is scored:\n  {}", problems.join("\n  "))
}

fn by_classes(
    request: &Request,
    pairs: &[Pair],
    problems: &mut Vec<String>,
) -> anyhow::Result<Scored> {
    let (protocol, mut root) = (request.protocol, None);
    let config = match protocol {
        Protocol::Folder => {
            root = Some(described(&request.labels)?);
            DatasetConfig::named(protocol.name())?
        }
        Protocol::PascalContext59 => DatasetConfig::named("pascal-context")?,
        Protocol::PascalContext60 => {
            let classes = 60;
            DatasetConfig::PascalContext(PascalContextConfig { classes, ..Default::default() })
        }
        Protocol::Camvid | Protocol::Ade20k => DatasetConfig::named(protocol.name())?,
        other => bail!(
            "{other} has no files to score; score camvid, ade20k, cityscapes, pascal-context-59, \
             pascal-context-60 or folder"
        ),
    };
    let files = LabelFiles::of(&config, root.as_deref())?;
    let classes = files.classes().len();
    let mut total = ConfusionMatrix::new(classes);
    let count = |index: usize| -> anyhow::Result<Result<Vec<(u32, u64)>, String>> {
        let pair: &Pair = &pairs[index];
        let matrix = || -> anyhow::Result<ConfusionMatrix> {
            let (truth, prediction) = (files.read(&pair.labels)?, files.read(&pair.prediction)?);
            same_size(pair, (truth.width, truth.height), (prediction.width, prediction.height))?;
            let mut matrix = ConfusionMatrix::new(classes);
            matrix.add(&truth.data, &prediction.data)?;
            Ok(matrix)
        };
        Ok(matrix().map(|matrix| matrix.to_sparse()).map_err(|error| format!("{error:#}")))
    };
    in_order(pairs.len(), count, |counted| {
        match counted {
            Ok(cells) => total.add_sparse(&cells)?,
            Err(problem) => problems.push(problem),
        }
        Ok(())
    })?;
    let names: Vec<&str> = files.classes().iter().map(|class| class.name.as_str()).collect();
    Ok(of_matrix(protocol, pairs.len(), &names, &total))
}

/// The folder above some labels that a `dataset.toml` describes.
fn described(labels: &Path) -> anyhow::Result<PathBuf> {
    let real = labels.canonicalize().with_context(|| labels.display().to_string())?;
    let root = real.ancestors().find(|folder| folder.join("dataset.toml").is_file());
    root.map(Path::to_owned).with_context(|| {
        format!(
            "{}: no dataset.toml there or in a folder above; it says which value is which class",
            labels.display()
        )
    })
}

fn cityscapes(pairs: &[Pair], problems: &mut Vec<String>) -> anyhow::Result<Scored> {
    let of_instances = pairs.iter().filter(|pair| pair.instances.is_some()).count();
    let with_instances = of_instances == pairs.len();
    let mut total = Counts::new();
    let count = |index: usize| -> anyhow::Result<Result<Counts, String>> {
        let pair: &Pair = &pairs[index];
        let counts = || -> anyhow::Result<Counts> {
            let truth = read_label_png(&pair.labels)?;
            let prediction = read_label_png(&pair.prediction)?;
            let size = (truth.width, truth.height);
            same_size(pair, size, (prediction.width, prediction.height))?;
            ensure!(
                !look_like_train_ids(&prediction.data),
                "{}: these look like trainIds (0 to 18 and 255); labelIds (7 to 33) belong here",
                pair.prediction.display()
            );
            let mut counts = Counts::new();
            let file = || pair.prediction.display().to_string();
            if let Some(file_of_ids) = pair.instances.as_ref().filter(|_| with_instances) {
                let ids = read_png_u16(file_of_ids)?;
                ensure!(
                    (ids.width, ids.height) == size,
                    "{}: another size than its labels",
                    file_of_ids.display()
                );
                counts.add(&truth.data, &ids.data, &prediction.data).with_context(file)?;
            } else {
                counts.add_without_instances(&truth.data, &prediction.data).with_context(file)?;
            }
            Ok(counts)
        };
        Ok(counts().map_err(|error| format!("{error:#}")))
    };
    in_order(pairs.len(), count, |counted| {
        match counted {
            Ok(counts) => total.merge(&counts),
            Err(problem) => problems.push(problem),
        }
        anyhow::Ok(())
    })?;
    let scores = total.scores();
    let names: Vec<&str> = scores.classes.iter().map(|class| class.name).collect();
    let mut scored = of_matrix(Protocol::Cityscapes, pairs.len(), &names, &total.evaluated());
    let row = |name: &str, iou: Option<f64>, iiou: Option<f64>| {
        let iiou = match of_instances {
            _ if with_instances => percent(iiou),
            0 => "no instanceIds".to_owned(),
            some => format!("instanceIds for {some} of {} only", pairs.len()),
        };
        format!("| {name} | {} | {iiou} |\n", percent(iou))
    };
    scored.text += "\n| official Cityscapes scores | IoU % | iIoU % |\n|---|---|---|\n";
    scored.text += &row("**classes**", scores.class_iou(), scores.class_iiou());
    scored.text += &row("**categories**", scores.category_iou(), scores.category_iiou());
    for score in scores.categories.iter().chain(scores.classes.iter().filter(|s| s.iiou.is_some()))
    {
        scored.text += &row(score.name, score.iou, score.iiou);
    }
    let of = |scores: &[seg_metrics::cityscapes::Score]| -> Value {
        let one = |score: &seg_metrics::cityscapes::Score| {
            let iiou = score.iiou.filter(|_| with_instances);
            (score.name.to_owned(), json!({ "iou": score.iou, "iiou": iiou }))
        };
        scores.iter().map(one).collect::<serde_json::Map<String, Value>>().into()
    };
    let known = |value: Option<f64>| value.filter(|_| with_instances);
    scored.json["official"] = json!({
        "class_iou": scores.class_iou(),
        "class_iiou": known(scores.class_iiou()),
        "category_iou": scores.category_iou(),
        "category_iiou": known(scores.category_iiou()),
        "classes": of(&scores.classes),
        "categories": of(&scores.categories),
    });
    Ok(scored)
}

fn same_size(
    pair: &Pair,
    labels: (usize, usize),
    prediction: (usize, usize),
) -> anyhow::Result<()> {
    ensure!(
        labels == prediction,
        "{}: {}×{} pixels, but its labels {} are {}×{}",
        pair.prediction.display(),
        prediction.0,
        prediction.1,
        pair.labels.display(),
        labels.0,
        labels.1
    );
    Ok(())
}

/// Every score of a matrix.
pub(crate) fn of_matrix(
    protocol: Protocol,
    images: usize,
    names: &[&str],
    matrix: &ConfusionMatrix,
) -> Scored {
    let (iou, precision, recall) =
        (matrix.class_iou(), matrix.class_precision(), matrix.class_recall());
    let headline = protocol.headline_miou(matrix);
    let rows = [
        ("**mIoU** (headline)", headline),
        ("mIoU, absent classes skipped", matrix.miou(AbsentClass::Skip)),
        ("mIoU, absent classes count as 0", matrix.miou(AbsentClass::Zero)),
        ("pixel accuracy", matrix.pixel_accuracy()),
        ("mean class accuracy", matrix.mean_class_accuracy()),
        ("frequency-weighted IoU", matrix.frequency_weighted_iou()),
    ];
    let ade = (protocol == Protocol::Ade20k).then(|| ("ADE20K score", matrix.ade20k_score()));
    let mut text = format!("{images} images. {}\n\n| score | % |\n|---|---|\n", protocol.rule());
    for (name, value) in rows.into_iter().chain(ade) {
        let _ = writeln!(text, "| {name} | {} |", percent(value));
    }
    text += "\n| class | IoU % | precision % | recall % |\n|---|---|---|---|\n";
    for (class, name) in names.iter().enumerate() {
        let [iou, precision, recall] = [iou[class], precision[class], recall[class]].map(percent);
        let name = table::escaped(name);
        let _ = writeln!(text, "| {name} | {iou} | {precision} | {recall} |");
    }
    let json = json!({
        "protocol": protocol.name(),
        "images": images,
        "miou": headline,
        "miou_absent_skipped": matrix.miou(AbsentClass::Skip),
        "miou_absent_zero": matrix.miou(AbsentClass::Zero),
        "pixel_accuracy": matrix.pixel_accuracy(),
        "mean_class_accuracy": matrix.mean_class_accuracy(),
        "frequency_weighted_iou": matrix.frequency_weighted_iou(),
        "ade20k_score": ade.and_then(|(_, score)| score),
        "class_names": names,
        "class_iou": iou,
        "class_precision": precision,
        "class_recall": recall,
    });
    Scored { text, json }
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{:.2}", 100.0 * value))
}
