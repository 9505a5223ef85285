//! What the numbers of a configuration may be: each within bounds that work, so that no product of
//! them overflows.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

use anyhow::{Context, bail, ensure};
use run_record::INPUTS;

use super::{
    AuxiliaryConfig, BackboneMode, CellConfig, ModelConfig, TilesConfig, TrainingConfig,
    UnitLassoConfig,
};
use crate::evaluate::views;

/// As wide as any layer gets.
const CHANNELS: RangeInclusive<usize> = 1..=8192;

/// Strides of stages in pixels.
const STRIDES: RangeInclusive<usize> = 1..=1024;

/// Epochs, and steps of which an epoch has few.
const MANY: RangeInclusive<usize> = 1..=1_000_000;

/// Images a step, and batches a step.
const IMAGES: RangeInclusive<usize> = 1..=65_536;

/// Rates and factors: the largest that single precision tells from infinity.
const RATES: RangeInclusive<f64> = 0.0..=1e38;

impl CellConfig {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let Self { dataset, fingerprints, model, training, evaluation, .. } = self;
        if let Some(name) = fingerprints.keys().find(|name| !INPUTS.contains(&name.as_str())) {
            let known = INPUTS.map(|name| format!("`{name}`")).join(", ");
            let wrong = format!("fingerprints: unknown field `{name}`, expected one of {known}");
            bail!(run_record::with_nearest(&wrong));
        }
        dataset.check().context("dataset")?;
        views::check(evaluation)?;
        model.check()?;
        training.check()?;
        if let Some(tiles) = &training.tiles {
            check_tiles(tiles, model, training)?;
        }
        if training.unit_lasso.is_some() {
            model.context.check_units_can_vanish().context("training.unit_lasso")?;
        }
        ensure!(
            training.augment.is_off() || model.backbone_mode != BackboneMode::Frozen,
            "training.augment with model.backbone_mode = \"frozen\": a frozen backbone's features \
             are computed once; take augment away, or train the backbone (model.backbone_mode = \
             \"fixed-norms\" or \"trained\")"
        );
        Ok(())
    }
}

impl ModelConfig {
    fn check(&self) -> anyhow::Result<()> {
        self.backbone.check().context("model.backbone")?;
        self.context.check()?;
        if let Some(radius) = self.context.recurrent_radius {
            within("model.context.recurrent_radius", radius, 0.0..=1000.0)?;
        }
        for (name, channels) in [
            ("model.context.hidden_channels", self.context.hidden_channels),
            ("model.context.attention_channels", self.context.attention_channels),
            ("model.adapter_channels", self.adapter_channels),
        ] {
            within(name, channels, CHANNELS)?;
        }
        within("model.context_stride", self.context_stride, STRIDES)?;
        let least = usize::from(self.skip_stride > 0);
        within("model.skip_channels", self.skip_channels, least..=*CHANNELS.end())?;
        ensure!(
            self.skip_stride < self.context_stride,
            "model.skip_stride = {}: expected less than model.context_stride = {}, or 0",
            self.skip_stride,
            self.context_stride
        );
        ensure!(
            self.branch_scale.is_none() || self.backbone_mode != BackboneMode::Frozen,
            "model.branch_scale with model.backbone_mode = \"frozen\": a frozen backbone's features \
             are computed once, so that gates in it cannot learn; train the backbone"
        );
        self.auxiliary.as_ref().map_or(Ok(()), AuxiliaryConfig::check)
    }
}

impl AuxiliaryConfig {
    fn check(&self) -> anyhow::Result<()> {
        within("model.auxiliary.channels", self.channels, CHANNELS)?;
        within("model.auxiliary.weight", self.weight, RATES)?;
        ensure!(
            self.weight > 0.0,
            "model.auxiliary.weight = 0: expected more, or no auxiliary head"
        );
        Ok(())
    }
}

impl TrainingConfig {
    fn check(&self) -> anyhow::Result<()> {
        within("training.epochs", self.epochs, MANY)?;
        within("training.batch_size", self.batch_size, IMAGES)?;
        within("training.accumulate", self.accumulate, IMAGES)?;
        within("training.epochs_per_validation", self.epochs_per_validation, MANY)?;
        within("training.warmup_steps", self.warmup_steps, 0..=1_000_000_000)?;
        for (name, value) in [
            ("training.learning_rate", self.learning_rate),
            ("training.backbone_lr_factor", self.backbone_lr_factor),
            ("training.poly_power", self.poly_power),
            ("training.weight_decay", self.weight_decay),
            ("training.clip_norm", self.clip_norm),
            ("training.momentum", self.momentum),
        ] {
            within(name, value, RATES)?;
        }
        ensure!(self.momentum < 1.0, "training.momentum = {}: expected less than 1", self.momentum);
        ensure!(self.clip_norm > 0.0, "training.clip_norm = 0 would stop all learning");
        if let Some(UnitLassoConfig { weight, threshold }) = self.unit_lasso {
            within("training.unit_lasso.weight", weight, RATES)?;
            within("training.unit_lasso.threshold", threshold, RATES)?;
        }
        self.augment.check().context("training.augment")?;
        let [low, high] = self.augment.scale;
        ensure!(
            low == high || self.augment.crop_px != [0, 0] || self.batch_size == 1,
            "training.augment.scale = [{low}, {high}] with training.batch_size = {}: images of \
             random sizes make no batches; crop them to one size (training.augment.crop_px), or use \
             training.batch_size = 1",
            self.batch_size
        );
        Ok(())
    }
}

fn check_tiles(tiles: &TilesConfig, model: &ModelConfig, t: &TrainingConfig) -> anyhow::Result<()> {
    for (side, count) in tiles.grid.into_iter().enumerate() {
        within(&format!("training.tiles.grid[{side}]"), count, 1..=64)?;
    }
    within("training.tiles.smoothing", tiles.smoothing, RATES)?;
    model.context.check_tiles().context("training.tiles with model.context")?;
    ensure!(
        model.auxiliary.is_none(),
        "training.tiles with model.auxiliary: its loss sees whole images; take one of them away"
    );
    ensure!(
        t.augment.scale == [1.0, 1.0] && t.augment.crop_px == [0, 0],
        "training.tiles with training.augment: the tiles of an image must lie where they lay before; \
         take scale and crop_px away"
    );
    Ok(())
}

/// Checks one number; NaN lies within nothing.
fn within<T>(name: &str, value: T, range: RangeInclusive<T>) -> anyhow::Result<()>
where
    T: PartialOrd + Display + Debug,
{
    let (low, high) = (range.start(), range.end());
    ensure!(range.contains(&value), "{name} = {value}: expected {low:?} to {high:?}");
    Ok(())
}
