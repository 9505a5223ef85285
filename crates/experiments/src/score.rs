//! Scores of predictions that are saved as files, in a dataset's genuine encoding.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use scene_data::{DatasetConfig, LabelFiles, PascalContextConfig, read_label_png, read_png_u16};
use seg_metrics::cityscapes::{Counts, look_like_train_ids};
use seg_metrics::{AbsentClass, ConfusionMatrix, Protocol, in_order};
use serde_json::{Value, json};

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

/// A label file and the prediction for it.
struct Pair {
    labels: PathBuf,
    prediction: PathBuf,
}

/// Scores every label file against its prediction.
///
/// Cityscapes is scored from labelIds, and from the instanceIds beside them where every label has
/// its own.
///
/// # Errors
///
/// Everything that is wrong with any file, in one list; then nothing is scored.
pub fn score(request: &Request) -> anyhow::Result<Scored> {
    let mut problems = Vec::new();
    let pairs = pairs(request, &mut problems)?;
    let scored = match request.protocol {
        Protocol::Cityscapes => cityscapes(&pairs, &mut problems)?,
        protocol => by_classes(protocol, &pairs, &mut problems)?,
    };
    if problems.is_empty() {
        return Ok(scored);
    }
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    bail!("{count}, nothing is scored:\n  {}", problems.join("\n  "))
}

/// Matches files by name; what has no partner, or several, is a problem.
fn pairs(request: &Request, problems: &mut Vec<String>) -> anyhow::Result<Vec<Pair>> {
    let of_city = request.protocol == Protocol::Cityscapes;
    let labels = by_key(&request.labels, of_city, problems, |name| {
        !of_city || name.ends_with("_gtFine_labelIds.png")
    })?;
    ensure!(
        !labels.is_empty(),
        "{}: no label files; expected {}",
        request.labels.display(),
        if of_city { "*_gtFine_labelIds.png" } else { "PNGs" }
    );
    let mut predictions = by_key(&request.predictions, of_city, problems, |_| true)?;
    let mut pairs = Vec::new();
    for (key, labels) in labels {
        match predictions.remove(&key) {
            Some(prediction) => pairs.push(Pair { labels, prediction }),
            None => problems.push(format!("{}: no prediction for it", labels.display())),
        }
    }
    let left = predictions.into_values();
    problems.extend(left.map(|file| format!("{}: there is no label file for it", file.display())));
    Ok(pairs)
}

/// The PNGs of a folder by what identifies an image: the file name without its ending, or for
/// Cityscapes city, sequence and frame.
fn by_key(
    folder: &Path,
    of_city: bool,
    problems: &mut Vec<String>,
    is_wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("").to_owned();
        let Some(stem) = name.strip_suffix(".png").filter(|_| is_wanted(&name)) else { continue };
        let key = match of_city {
            true => stem.splitn(4, '_').take(3).collect::<Vec<_>>().join("_"),
            false => stem.to_owned(),
        };
        match found.get(&key) {
            Some(other) => problems.push(format!(
                "{}: a second file for the image of {}",
                file.display(),
                other.display()
            )),
            None => {
                found.insert(key, file);
            }
        }
    }
    Ok(found)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn by_classes(
    protocol: Protocol,
    pairs: &[Pair],
    problems: &mut Vec<String>,
) -> anyhow::Result<Scored> {
    let config = match protocol {
        Protocol::PascalContext59 => DatasetConfig::named("pascal-context")?,
        Protocol::PascalContext60 => {
            let classes = 60;
            DatasetConfig::PascalContext(PascalContextConfig { classes, ..Default::default() })
        }
        Protocol::Camvid | Protocol::Ade20k => DatasetConfig::named(protocol.name())?,
        other => bail!(
            "{other} has no files to score; score camvid, ade20k, cityscapes, pascal-context-59 \
             or pascal-context-60"
        ),
    };
    let files = LabelFiles::of(&config, None)?;
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

fn cityscapes(pairs: &[Pair], problems: &mut Vec<String>) -> anyhow::Result<Scored> {
    let instances = |pair: &Pair| {
        let name = pair.labels.to_string_lossy().replace("_labelIds.png", "_instanceIds.png");
        PathBuf::from(name)
    };
    let with_instances = pairs.iter().all(|pair| instances(pair).is_file());
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
            if with_instances {
                let file_of_ids = instances(pair);
                let ids = read_png_u16(&file_of_ids)?;
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
        let iiou = if with_instances { percent(iiou) } else { "no instanceIds".to_owned() };
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
