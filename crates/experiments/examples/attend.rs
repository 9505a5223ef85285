//! Draws what one unit attends to: trains an arm of the embedded sweep, takes the place of a test
//! image that is farthest from its beacon, and draws the weights over the image.
//!
//! ```sh
//! cargo run --release -p experiments --example attend -- attention.png quadrant-attention 8
//! ```
//!
//! The arguments are the picture's path, the arm and the epochs; without them as above.
#![allow(clippy::print_stdout, reason = "what it drew")]

use std::path::Path;

use anyhow::Context;
use experiments::config::CellConfig;
use experiments::data::Examples;
use experiments::parser::Parser;
use experiments::progress::Progress;
use experiments::{pictures, train};
use run_record::Sweep;
use scene_data::{Split, UNDEFINED_DISTANCE_PX};
use seg_metrics::Protocol;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "attention.png".into());
    let arm = args.next().unwrap_or_else(|| "quadrant-attention".into());
    let epochs = args.next().unwrap_or_else(|| "8".into());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/synthetic.toml");
    let mut sweep = Sweep::load(&file)?;
    sweep.keep_arms(&[arm])?;
    sweep.set(&format!("training.epochs={epochs}"))?;
    let cell = sweep.cells().into_iter().next().context("the sweep has no cells")?;
    let config = CellConfig::from_value(&cell.config)?;

    let open = |split| -> anyhow::Result<(Examples, usize)> {
        let dataset = config.dataset.open(None, split)?;
        let classes = dataset.classes().len();
        Ok((Examples::new(dataset)?, classes))
    };
    let ((train, classes), (val, _), (test, _)) =
        (open(Split::Train)?, open(Split::Val)?, open(Split::Test)?);
    let (parser, parameters) = Parser::build(&config.model, classes, cell.seed, None)?;
    let progress = Progress::new(train::batches(&config.training, train.len()) as u64);
    let fit = train::train(
        &parser,
        &parameters,
        &config.training,
        cell.seed,
        (&train, &val),
        config.dataset.name().parse::<Protocol>()?,
        &progress,
        &cell.arm,
    )?;
    progress.finish();

    let sample = test.sample(0)?;
    let distances = sample.beacon_distance_px.as_ref().context("the set knows no distances")?;
    let far = (0..distances.len()).filter(|&at| distances[at] != UNDEFINED_DISTANCE_PX);
    let at = far.max_by_key(|&at| distances[at]).context("the image has no ambiguous place")?;
    let width = sample.labels.width;
    let (x, y) = (at % width, at / width);
    let stride = config.model.context_stride;
    let unit = (y / stride, x / stride);
    let inputs = test.inputs(0)?;
    let weights = parser.attention_at(&inputs, unit)?.context("the arm has no context module")?;
    let (_, _, h, w) = weights.dims4()?;
    let joined = weights.sum(1)?.flatten_all()?.to_vec1::<f32>()?;
    pictures::attention_over(&sample.image, &joined, (h, w), unit, 6).save(&path)?;
    println!(
        "{path}: {} after {} epochs (val mIoU {:.1} %), from pixel ({x}, {y}), whose beacon is {} px \
         away",
        cell.arm,
        fit.curve.len(),
        fit.val_miou_percent,
        distances[at]
    );
    Ok(())
}
