//! A trained network without the hidden units that nothing reads (ISS).

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use candle_core::Tensor;
use dense_rnn::Compressed;
use scene_data::Split;
use whole_files::InTheWay;

use crate::checkpoint::{self, Snapshot};
use crate::config::CellConfig;
use crate::data::{Examples, Inputs, View, pixels};
use crate::eval::{self, Scored, Trained};
use crate::evaluate::forward_macs;
use crate::outputs::Target;
use crate::parser::{Parser, Phase};
use crate::tensor_file::Tensors;
use crate::vanishing::CONTEXT;
use crate::{datasets, provenance};

/// Passes of which the median is told.
const ROUNDS: usize = 15;

/// What is to be compressed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The network; its record's path may be that of the checkpoint.
    pub network: eval::Request,
    /// Where the smaller network's record and checkpoint go.
    pub out_dir: PathBuf,
    /// What becomes of files in the way.
    pub in_the_way: InTheWay,
}

/// Writes the smaller network as another sweep folder has it, scored on test again, and returns a
/// table of before and after in Markdown.
///
/// # Errors
///
/// A network whose units cannot be taken out or of which all are read, what evaluation reports, and a
/// folder that cannot be written.
pub fn compress(request: &Request) -> anyhow::Result<String> {
    let mut network = request.network.clone();
    network.record = record_of(&network.record)?;
    let before = eval::load(&network)?;
    let file = network.checkpoint_file(&before.record)?;
    let mut all = Snapshot::read(&file, &before.record)?.0;
    let (context, weights) = (&before.config.model.context, context_of(&all));
    let Compressed { config: smaller, weights, kept } = context.compressed(&weights)?;
    let (from, to) = (context.hidden_channels, smaller.hidden_channels);
    ensure!(
        to < from,
        "{}: all of the {from} hidden units of some direction are read, so that none can be taken \
         out; train with training.unit_lasso, with a larger weight if it had one",
        file.display()
    );
    all.extend(weights.into_iter().map(|(name, t)| (format!("{CONTEXT}{name}"), t)));

    let mut record = before.record.clone();
    (record.version, record.formerly) = (run_record::RECORD_VERSION, None);
    record.cell.config["model"]["context"]["hidden_channels"] = to.into();
    record.cell_hash = record.cell.hash();
    let config = CellConfig::from_value(&record.cell.config)?;
    let pretrained = network.pretrained(&config, &record)?;
    let (classes, seed) = (record.dataset.classes.len(), record.cell.seed);
    let (pretrained, device) = (pretrained.as_ref(), before.parser.device());
    let (parser, parameters) = Parser::build(&config.model, classes, seed, pretrained, device)?;
    let snapshot = Snapshot(all);
    snapshot.restore(&parser, &parameters)?;
    let stem = record.cell.file_stem();
    let names =
        [checkpoint::file(Path::new(""), &stem), Path::new("cells").join(format!("{stem}.json"))];
    let of = before.record.cell.file_stem();
    let root = network.data_root.as_deref();
    let target = Target {
        data_root: root,
        inputs: vec![network.record.as_path(), file.as_path()],
        ..Target::new(&request.out_dir, request.in_the_way)
    };
    let files = names.clone().map(|name| (name, of.clone()));
    let mut outputs = target.claim("compress".to_owned(), files)?;
    let bytes = snapshot.bytes(&record.cell_hash)?;
    record.checkpoint_sha256 = Some(provenance::sha256(&bytes));
    let mut after = Trained { record, config, parser, protocol: before.protocol };

    let Scored { scores, .. } = eval::scored(&after, &network)?;
    let root = network.data_root.as_deref();
    let examples = Examples::new(datasets::open(&before.config.dataset, root, Split::Test)?)?;
    let image = pixels(&*examples.sample(0)?, View::Plain)?;
    let both = Both { parsers: [&before.parser, &after.parser], image: Inputs::Pixels(image) };
    let difference = both.difference()?;
    let [context_s, whole_s] = [both.context_seconds()?, both.seconds()?];
    let macs = [forward_macs(&before.parser, &examples)?, forward_macs(&after.parser, &examples)?];

    let trained = parameters.trainable().values().map(|var| var.elem_count() as u64).sum();
    let record = &mut after.record;
    let said = &before.record;
    record.total_parameters = said.total_parameters - said.parameters + trained;
    record.parameters = trained;
    record.macs = Some(macs[1]);
    record.metrics = scores.metrics()?;
    record.distance = scores.distance;
    record.images = scores.images;
    record.timing.seconds_per_image = whole_s[1];
    let line = record.to_line(&request.out_dir.join(&names[1]))?;
    let smaller_file = outputs.write(&names[0], &bytes)?;
    // A record is of a checkpoint that is there.
    let written = outputs.write(&names[1], line.as_bytes())?;

    let kib = |file: &Path| -> anyhow::Result<u64> { Ok(std::fs::metadata(file)?.len() / 1024) };
    let mut text = String::from("| | before | after | before / after |\n|---|---|---|---|\n");
    let mut row = |name: &str, [a, b]: [f64; 2], digits: usize| {
        let _ = writeln!(text, "| {name} | {a:.digits$} | {b:.digits$} | {:.2} |", a / b);
    };
    row("hidden units of a direction", [from as f64, to as f64], 0);
    row("parameters", [said.parameters as f64, trained as f64], 0);
    row("checkpoint, KiB", [kib(&file)? as f64, kib(&smaller_file)? as f64], 0);
    row("MACs of an image, M", macs.map(|n| n as f64 / 1e6), 1);
    row("context module, ms", context_s.map(|s| 1e3 * s), 2);
    row("whole network, ms", whole_s.map(|s| 1e3 * s), 2);
    let miou = [said.metrics.miou_percent, record.metrics.miou_percent];
    row("mIoU on test, %", miou, 2);
    let alive = kept.map(|kept| kept.len().to_string()).join(", ");
    let _ = writeln!(
        text,
        "\nHidden units by direction: {alive}. The logits of the first image differ by {difference:.1e} \
         of the largest. Times: medians of {ROUNDS} passes in turn.\n\nrecord: {}",
        written.display()
    );
    Ok(text)
}

/// The record of a checkpoint that lies as a sweep writes them, or beside it; a record is its own.
fn record_of(path: &Path) -> anyhow::Result<PathBuf> {
    if path.extension().is_none_or(|ending| ending != "safetensors") {
        return Ok(path.to_owned());
    }
    let stem = path.file_stem().context("a checkpoint without a name")?;
    let out_dir = path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let record = out_dir.join("cells").join(stem).with_added_extension("json");
    let beside = path.with_extension("json");
    ensure!(
        record.is_file() || beside.is_file(),
        "{}: the checkpoint's record is neither {} nor beside it as {}; give the record's own path, \
         with --checkpoint",
        path.display(),
        record.display(),
        beside.display()
    );
    Ok(if record.is_file() { record } else { beside })
}

/// The parameters of the context module, without their prefix.
fn context_of(all: &Tensors) -> Tensors {
    let context =
        |(name, t): (&String, &Tensor)| Some((name.strip_prefix(CONTEXT)?.to_owned(), t.clone()));
    all.iter().filter_map(context).collect()
}

/// Two networks on one image.
struct Both<'a> {
    parsers: [&'a Parser; 2],
    image: Inputs,
}

impl Both<'_> {
    /// The largest difference of their logits, by the largest logit.
    fn difference(&self) -> anyhow::Result<f32> {
        let [a, b] = self.parsers.map(|parser| parser.logits(&self.image, Phase::Eval));
        let (a, b) = (a?, b?);
        let largest =
            |t: Tensor| -> anyhow::Result<f32> { Ok(t.abs()?.flatten_all()?.max(0)?.to_scalar()?) };
        Ok(largest((&a - b)?)? / largest(a)?)
    }

    /// Median seconds of each, in turn.
    fn in_turn(&self, run: impl Fn(&Parser) -> anyhow::Result<f64>) -> anyhow::Result<[f64; 2]> {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (parser, times) in self.parsers.iter().zip(&mut times) {
                times.push(run(parser)?);
            }
        }
        Ok(times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        }))
    }

    fn seconds(&self) -> anyhow::Result<[f64; 2]> {
        self.in_turn(|parser| {
            let start = Instant::now();
            parser.logits(&self.image, Phase::Eval)?;
            Ok(start.elapsed().as_secs_f64())
        })
    }

    fn context_seconds(&self) -> anyhow::Result<[f64; 2]> {
        self.in_turn(|parser| parser.context_seconds(&self.image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_names_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("cells/a-seed0-1.2.json");
        std::fs::create_dir_all(record.parent().unwrap()).unwrap();
        let file = dir.path().join("checkpoints/a-seed0-1.2.safetensors");
        let message = record_of(&file).unwrap_err().to_string();
        assert!(message.contains("give the record's own path"), "{message}");
        std::fs::write(&record, "").unwrap();
        assert_eq!(record_of(&file).unwrap(), record);
        assert_eq!(record_of(&record).unwrap(), record);
        let moved = dir.path().join("a-seed0-1.2.json");
        std::fs::rename(&record, &moved).unwrap();
        assert_eq!(record_of(&moved.with_extension("safetensors")).unwrap(), moved);
    }
}
