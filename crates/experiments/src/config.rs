//! What a cell is: dataset, model and training, all of it in one serialisable value.

mod check;

use std::collections::BTreeMap;

use anyhow::Context;
use backbone::{BackboneConfig, Phase};
use dense_rnn::DenseRnnConfig;
use scene_data::{AugmentConfig, ClassWeights, DatasetConfig};

/// Everything that decides a cell's numbers besides its seed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellConfig {
    /// Which images.
    pub dataset: DatasetConfig,
    /// SHA-256 of each input, by the names of [`run_record::INPUTS`]: what a sweep names must be
    /// what is found, and a plan names all, so that a cell's hash is of its inputs as well.
    #[serde(default)]
    pub fingerprints: BTreeMap<String, String>,
    /// The network.
    #[serde(default)]
    pub model: ModelConfig,
    /// How it is fitted.
    #[serde(default)]
    pub training: TrainingConfig,
    /// How it is scored on test; while it learns, val is always seen whole and as it is.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
}

/// How images are seen when a network is scored.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Columns and rows of windows that slide over the image, the last of each row and column
    /// shifted inside, overlaps averaged. Default: 0, 0, the whole image at once.
    pub window_px: [usize; 2],
    /// Columns and rows from one window to the next.
    pub window_stride_px: [usize; 2],
    /// Factors on the image's size, over which probabilities are averaged. Default: 1.
    pub scales: Vec<f64>,
    /// Whether the mirrored image is seen as well. Default: off.
    pub mirror: Mirror,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        let (window_px, window_stride_px) = ([0, 0], [0, 0]);
        Self { window_px, window_stride_px, scales: vec![1.0], mirror: Mirror::Off }
    }
}

/// Whether an image is seen mirrored as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mirror {
    /// No.
    Off,
    /// Yes, and the two are averaged.
    Averaged,
}

/// The network around the context module.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The convolutional network that makes features.
    pub backbone: BackboneConfig,
    /// Whether the backbone learns.
    pub backbone_mode: BackboneMode,
    /// Parts that start from random values although `--weights` is a checkpoint that holds them: the
    /// classifier, for other classes. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_anew: Vec<Part>,
    /// What scales the branches of the backbone's residual blocks. Default: nothing.
    #[serde(skip_serializing_if = "BranchScaleKind::is_none")]
    pub branch_scale: BranchScaleKind,
    /// Stride in pixels of the grid on which the context module works. Stages of this stride and
    /// coarser ones, resized to it, are joined. Default: 8.
    pub context_stride: usize,
    /// Stride in pixels of the one lower stage that the decoder sees as well; 0 for none.
    pub skip_stride: usize,
    /// Channels of the adapter, the context module's input and output. Default: 64.
    pub adapter_channels: usize,
    /// Channels to which the skip stage is reduced. Default: 32.
    pub skip_channels: usize,
    /// A second classifier on an earlier stage, for training alone. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auxiliary: Option<AuxiliaryConfig>,
    /// The context module: the only thing in which the arms of an ablation differ.
    pub context: DenseRnnConfig,
}

/// A classifier on an earlier stage whose loss is added in training: a 3×3 convolution, norm, ReLU
/// and a 1×1 convolution (Zhao et al., *Pyramid scene parsing network*, CVPR 2017, §3.3).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxiliaryConfig {
    /// The stage, by the backbone's own name.
    pub stage: String,
    /// Channels of its convolution. Default: 256.
    #[serde(default = "auxiliary_channels")]
    pub channels: usize,
    /// Factor on its loss. Default: 0.4.
    #[serde(default = "auxiliary_weight")]
    pub weight: f64,
}

fn auxiliary_channels() -> usize {
    256
}

fn auxiliary_weight() -> f64 {
    0.4
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            backbone: BackboneConfig::default(),
            backbone_mode: BackboneMode::Trained,
            start_anew: Vec::new(),
            branch_scale: BranchScaleKind::None,
            context_stride: 8,
            skip_stride: 0,
            adapter_channels: 64,
            skip_channels: 32,
            auxiliary: None,
            context: DenseRnnConfig::default(),
        }
    }
}

/// Whether the backbone learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackboneMode {
    /// From random or pretrained weights, with batch statistics.
    Trained,
    /// The same, but the running statistics stay as they are and are used in training as well: for
    /// fine-tuning with few images a batch.
    FixedNorms,
    /// Pretrained weights and running statistics stay as they are; features are computed once.
    Frozen,
}

/// A part of the network around the backbone.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The 1×1 convolution from the backbone to the context module.
    Adapter,
    /// The context module.
    Context,
    /// The skip connection.
    Skip,
    /// Where the two are joined.
    Fusion,
    /// The classifier, and the auxiliary head's.
    Classifier,
    /// The auxiliary head.
    Auxiliary,
    /// What scales the branches of residual blocks.
    BranchScale,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Adapter,
        Self::Context,
        Self::Skip,
        Self::Fusion,
        Self::Classifier,
        Self::Auxiliary,
        Self::BranchScale,
    ];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adapter => "adapter",
            Self::Context => "context",
            Self::Skip => "skip",
            Self::Fusion => "fusion",
            Self::Classifier => "classifier",
            Self::Auxiliary => "auxiliary",
            Self::BranchScale => "branch-scale",
        }
    }

    /// The part that a parameter or running statistic belongs to; none for the backbone's.
    pub(crate) fn of(parameter: &str) -> Option<Self> {
        if parameter.starts_with("auxiliary.classifier.") {
            return Some(Self::Classifier);
        }
        let first = parameter.split('.').next()?.replace('_', "-");
        Self::ALL.into_iter().find(|part| part.name() == first)
    }

    /// Whether that parameter or running statistic starts anew with this part.
    pub(crate) fn holds(self, parameter: &str) -> bool {
        Self::of(parameter) == Some(self)
            || self == Self::Auxiliary && parameter.starts_with("auxiliary.")
    }
}

/// What scales the branches of residual blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BranchScaleKind {
    /// Nothing.
    None,
    /// One [`attention::DiaLstm`] a stage, shared by the blocks of that stage.
    Dia,
}

impl BranchScaleKind {
    /// Configurations without a scale are written as before there were any.
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// How a cell is fitted.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Passes over the training split. Default: 12.
    pub epochs: usize,
    /// Images a step. Default: 8.
    pub batch_size: usize,
    /// Whether blocks of the network are computed again in the backward pass instead of being kept:
    /// the same gradients in less memory and more time. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recompute: bool,
    /// Batches whose gradients are averaged into one step. Default: 1.
    pub accumulate: usize,
    /// Whether images are seen in parts. Default: whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiles: Option<TilesConfig>,
    /// Whether hidden units of the context module are to vanish. Default: not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_lasso: Option<UnitLassoConfig>,
    /// The rule of a step. Default: AdamW.
    pub optimizer: OptimizerKind,
    /// Momentum of SGD. Default: 0.9.
    pub momentum: f64,
    /// How the learning rate falls after the warm-up. Default: poly.
    pub schedule: Schedule,
    /// How classes are weighed in the loss, by their frequencies in train. Default: alike.
    pub class_weights: ClassWeights,
    /// Learning rate at the end of the warm-up. Default: 2e-3.
    pub learning_rate: f64,
    /// Factor on the learning rate of the backbone. Default: 1.
    pub backbone_lr_factor: f64,
    /// Steps over which the learning rate rises linearly. Default: 50.
    pub warmup_steps: usize,
    /// `(1 - t/T)^power` after the warm-up. Default: 0.9.
    pub poly_power: f64,
    /// Decoupled weight decay of everything but biases and norms. Default: 1e-4.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; larger ones are scaled down. Default: 1.
    pub clip_norm: f64,
    /// Whether images are mirrored at random.
    pub flip: Flip,
    /// How training images are varied besides; off by default. A frozen backbone's features are
    /// computed once, so it must be off there.
    pub augment: AugmentConfig,
    /// Epochs between two evaluations on val; the best of them is what test scores. Default: 1.
    pub epochs_per_validation: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            epochs: 12,
            batch_size: 8,
            recompute: false,
            accumulate: 1,
            tiles: None,
            unit_lasso: None,
            optimizer: OptimizerKind::AdamW,
            momentum: 0.9,
            schedule: Schedule::Poly,
            class_weights: ClassWeights::None,
            learning_rate: 2e-3,
            backbone_lr_factor: 1.0,
            warmup_steps: 50,
            poly_power: 0.9,
            weight_decay: 1e-4,
            clip_norm: 1.0,
            flip: Flip::Random,
            augment: AugmentConfig::default(),
            epochs_per_validation: 1,
        }
    }
}

impl TrainingConfig {
    /// The phase of a training step's forward pass.
    pub(crate) fn phase(&self) -> Phase {
        if self.recompute { Phase::TrainRecomputing } else { Phase::Train }
    }

    /// How many parts of a batch are seen apart.
    pub(crate) fn parts(&self) -> usize {
        self.tiles.as_ref().map_or(1, |tiles| tiles.grid[0] * tiles.grid[1])
    }
}

/// Training on the tiles of images, a step each, with what lies behind a tile given to its scan: for
/// images whose whole context does not fit the memory. Scoring sees images whole.
///
/// Source: MPTT of Xu et al.: training on parts with a memory of the states at their borders.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TilesConfig {
    /// Rows and columns of tiles, into which images must divide by whole units of the context's grid.
    pub grid: [usize; 2],
    /// What a tile's scan is told of the units behind it.
    pub border: TileBorders,
    /// Weight of what was remembered before an epoch beside what the epoch finds, counted in
    /// sightings; of stale borders. Default: 1.
    #[serde(default = "smoothing")]
    pub smoothing: f64,
}

fn smoothing() -> f64 {
    1.0
}

/// What a tile's scan is told of the units behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TileBorders {
    /// That there are none.
    Zero,
    /// What the tiles before it handed on when they were last trained on.
    Stale,
    /// What the network as it is now finds there, by a pass over the whole image without gradients.
    Exact,
}

/// Hidden units of the context module as groups of a lasso, so that some vanish.
///
/// Source: Wen et al., *Learning intrinsic sparse structures within long short-term memory*, ICLR
/// 2018.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitLassoConfig {
    /// Factor on the group lasso in the loss.
    pub weight: f64,
    /// Weights of the groups that are nearer to zero than this become zero after each step.
    pub threshold: f64,
}

/// The rule of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay.
    AdamW,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// How the learning rate falls after the warm-up, `t` of `T` steps being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// `(1 - t/T)^poly_power`.
    Poly,
    /// `(1 + cos(π t/T)) / 2`.
    Cosine,
}

/// Whether training images are mirrored left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flip {
    /// Never.
    Off,
    /// One in two, drawn by seed, epoch and image.
    Random,
}

impl CellConfig {
    /// Reads a resolved configuration and checks every value in it.
    ///
    /// # Errors
    ///
    /// An unknown key (named, with the nearest known one), a value of the wrong kind, or one that
    /// cannot work.
    pub fn from_value(value: &serde_json::Value) -> anyhow::Result<Self> {
        let config: Self = serde_json::from_value(value.clone())
            .map_err(|error| anyhow::anyhow!(run_record::with_nearest(&error.to_string())))?;
        config.check().context("the configuration cannot work")?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_known_one() {
        let value = serde_json::json!({
            "dataset": { "kind": "beacons" },
            "training": { "epoch": 3 },
        });
        let message = CellConfig::from_value(&value).unwrap_err().to_string();
        assert!(message.contains("unknown field `epoch`"), "{message}");
        assert!(message.ends_with("did you mean `epochs`?"), "{message}");
    }

    /// Whatever a frozen backbone alone cannot do.
    #[test]
    fn images_are_varied_wherever_the_backbone_learns() {
        let checked = |mode: &str, augment: serde_json::Value| {
            let value = serde_json::json!({
                "dataset": { "kind": "beacons" },
                "model": { "backbone_mode": mode },
                "training": { "augment": augment },
            });
            CellConfig::from_value(&value).map_err(|error| format!("{error:#}"))
        };
        let crops = || serde_json::json!({ "scale": [0.5, 2.0], "crop_px": [64, 64] });
        assert!(checked("fixed-norms", crops()).is_ok());
        assert!(checked("trained", crops()).is_ok());
        let message = checked("frozen", crops()).unwrap_err();
        assert!(message.contains("model.backbone_mode = \"frozen\": a frozen"), "{message}");
        let message = checked("trained", serde_json::json!({ "scale": [0.5, 2.0] })).unwrap_err();
        assert!(message.contains("scale = [0.5, 2] with training.batch_size = 8"), "{message}");
        assert!(checked("trained", serde_json::json!({ "scale": [0.5, 0.5] })).is_ok());
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_name() {
        let value = serde_json::json!({
            "dataset": { "kind": "beacons" },
            "training": { "batch_size": 0 },
        });
        let message = format!("{:#}", CellConfig::from_value(&value).unwrap_err());
        assert!(message.contains("training.batch_size = 0"), "{message}");
    }

    #[test]
    fn no_number_may_be_as_large_as_it_can_be_written() {
        let base = serde_json::json!({
            "dataset": { "kind": "beacons" },
            "model": {
                "backbone": { "kind": "resnet-18", "output_stride": 8, "blocks": [1, 1, 1, 1] },
                "context": {
                    "cell": { "kind": "scan", "graph": "dense", "aggregation": "mean" },
                    "recurrent_weight": "orthogonal", "recurrent_radius": 1.0,
                },
            },
            "evaluation": { "window_px": [64, 64], "window_stride_px": [32, 32] },
        });
        let (mut with_head, mut with_tiles, mut with_lasso) = (base.clone(), base.clone(), base);
        with_head["model"]["auxiliary"] = serde_json::json!({ "stage": "layer3" });
        with_tiles["training"]["tiles"] = serde_json::json!({ "grid": [2, 2], "border": "stale" });
        let lasso = serde_json::json!({ "weight": 0.1, "threshold": 0.1 });
        with_lasso["training"]["unit_lasso"] = lasso;
        let scan = serde_json::json!({ "kind": "scan", "graph": "dense", "aggregation": "mean" });
        for plain in [&mut with_tiles, &mut with_lasso] {
            plain["model"]["context"] = serde_json::json!({ "cell": scan });
        }
        for value in [with_head, with_tiles, with_lasso] {
            let whole = serde_json::to_value(CellConfig::from_value(&value).unwrap()).unwrap();
            let paths = numbers(&whole, "");
            assert!(paths.len() > 40, "{paths:?}");
            // Any seed will do.
            for path in paths.iter().filter(|path| *path != "/dataset/seed") {
                let mut changed = whole.clone();
                let number = changed.pointer_mut(path).unwrap();
                let largest = if number.is_f64() { 1e300.into() } else { i64::MAX.into() };
                *number = largest;
                assert!(CellConfig::from_value(&changed).is_err(), "{path} is taken");
            }
        }
    }

    /// The paths of all numbers in a value, as JSON pointers.
    fn numbers(value: &serde_json::Value, at: &str) -> Vec<String> {
        match value {
            serde_json::Value::Number(_) => vec![at.to_owned()],
            serde_json::Value::Array(all) => {
                let of = all.iter().enumerate();
                of.flat_map(|(nth, value)| numbers(value, &format!("{at}/{nth}"))).collect()
            }
            serde_json::Value::Object(all) => {
                let of = all.iter();
                of.flat_map(|(key, value)| numbers(value, &format!("{at}/{key}"))).collect()
            }
            _ => Vec::new(),
        }
    }
}
