//! The whole network: backbone, adapter, context module, decoder.

mod decoder;
mod neck;
mod tiled;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
pub use backbone::Phase;
use backbone::{Backbone, ConvNorm, ConvNormSpec, NormMode, Stage, forward_part};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};
use decoder::Decoder;
use grid_ops::{Activation, Conv2d, Corners, conv2d, resize_bilinear};
use neck::Neck;

use crate::branch_scale;
use crate::config::{AuxiliaryConfig, BackboneMode, BranchScaleKind, ModelConfig};
use crate::data::Inputs;
use crate::memory::{self, VALUE};
use crate::parameters::{Counted, Parameters};
use crate::pretrained::Pretrained;

/// Image → backbone → stages of the context stride and coarser, resized to it and joined → 1×1
/// adapter → context module, added to the adapter's output → resized to the skip stage and joined
/// with it → 1×1 fusion → 1×1 classifier → logits at the skip's stride (the context's without a
/// skip).
///
/// Reconstruction: the paper's decoder was not at hand.
pub struct Parser {
    backbone: Box<dyn Backbone>,
    frozen_parameters: usize,
    /// Indices of the stages that are used: the skip, if there is one, those that the context module
    /// sees, finest first, and that of the auxiliary head, if there is one.
    stages: Vec<usize>,
    context_stride: usize,
    neck: Arc<Neck>,
    decoder: Arc<Decoder>,
    auxiliary: Option<Auxiliary>,
}

/// The auxiliary head.
struct Auxiliary {
    conv: ConvNorm,
    classifier: [Tensor; 2],
    weight: f64,
}

/// The stages of a backbone that a parser uses, by their indices.
pub(crate) struct Stages {
    skip: Option<usize>,
    /// Those that the context module sees, finest first.
    deep: std::ops::Range<usize>,
    auxiliary: Option<usize>,
}

impl Stages {
    /// Chooses among `all`.
    ///
    /// # Errors
    ///
    /// A stride or name that no stage has.
    pub(crate) fn of(config: &ModelConfig, all: &[Stage]) -> anyhow::Result<Self> {
        let of_stride = |stride: usize, name: &str| {
            let strides: Vec<usize> = all.iter().map(|stage| stage.stride).collect();
            let found = strides.iter().rposition(|&s| s == stride);
            found.with_context(|| {
                format!("model.{name} = {stride}: the backbone has stages of stride {strides:?}")
            })
        };
        let deep = of_stride(config.context_stride, "context_stride")?..all.len();
        let skip = match config.skip_stride {
            0 => None,
            stride => Some(of_stride(stride, "skip_stride")?),
        };
        let find = |head: &AuxiliaryConfig| {
            let names: Vec<&str> = all.iter().map(|stage| stage.name.as_str()).collect();
            let found = names.iter().position(|name| *name == head.stage);
            found.with_context(|| {
                format!(
                    "model.auxiliary.stage = {:?}: the backbone has the stages {names:?}",
                    head.stage
                )
            })
        };
        let auxiliary = config.auxiliary.as_ref().map(find).transpose()?;
        Ok(Self { skip, deep, auxiliary })
    }
}

impl Parser {
    /// Builds the network on `device` with parameters drawn with `seed`, or taken from `pretrained`, of
    /// which a checkpoint gives all but the parts of `config.start_anew`.
    ///
    /// # Errors
    ///
    /// A stride that the backbone has no stage for, a configuration that cannot work, a frozen
    /// backbone without weights, or a checkpoint of a network with other parts.
    pub fn build(
        config: &ModelConfig,
        classes: usize,
        seed: u64,
        pretrained: Option<&Pretrained>,
        device: &Device,
    ) -> anyhow::Result<(Self, Parameters)> {
        if device.is_cpu() {
            Self::check_size(config, classes)?;
        }
        let own = pretrained.map_or_else(BTreeMap::new, |weights| weights.backbone.clone());
        let prefixed = own.iter().map(|(name, t)| (format!("backbone.{name}"), t.clone()));
        let parameters = Parameters::new(seed, prefixed.collect(), device);
        let vb = parameters.builder();
        let (backbone, frozen_parameters) = match config.backbone_mode {
            BackboneMode::Frozen => {
                ensure!(
                    !own.is_empty(),
                    "model.backbone_mode = \"frozen\" needs weights of the backbone, {}: give --weights \
                     PATH, a file, a folder that holds it, or a checkpoint",
                    config.backbone.kind()
                );
                let is_parameter = |(name, _): &(&String, &Tensor)| !name.contains(".running_");
                let count = own.iter().filter(is_parameter).map(|(_, t)| t.elem_count()).sum();
                // Outside the store: what is frozen is no variable.
                let vb = VarBuilder::from_tensors(own.into_iter().collect(), DType::F32, device);
                (config.backbone.build(vb, NormMode::Frozen)?, count)
            }
            BackboneMode::Trained => (trained(config, &vb, NormMode::Trained)?, 0),
            BackboneMode::FixedNorms => (trained(config, &vb, NormMode::Fixed)?, 0),
        };
        let parser = Self::assemble(config, classes, (backbone, frozen_parameters), &vb)?;
        pretrained.map_or(Ok(()), |from| from.give(&parser, &parameters, &config.start_anew))?;
        Ok((parser, parameters))
    }

    /// Refuses a network whose parameters cannot fit the memory, before one of them is made.
    ///
    /// # Errors
    ///
    /// As of [`Self::build`].
    pub(crate) fn check_size(config: &ModelConfig, classes: usize) -> anyhow::Result<()> {
        let bytes = Self::value_count(config, classes)?.saturating_mul(VALUE);
        memory::check(bytes, || "the parameters of this network take".to_owned())
    }

    /// How many values its parameters and running statistics have; none is made for it.
    ///
    /// # Errors
    ///
    /// As of [`Self::build`].
    fn value_count(config: &ModelConfig, classes: usize) -> anyhow::Result<u64> {
        let counted = Counted::default();
        let vb = counted.builder();
        let backbone = trained(config, &vb, NormMode::Trained)?;
        Self::assemble(config, classes, (backbone, 0), &vb)?;
        Ok(counted.values())
    }

    /// The network on a backbone, with the other parameters from `vb`.
    fn assemble(
        config: &ModelConfig,
        classes: usize,
        (backbone, frozen_parameters): (Box<dyn Backbone>, usize),
        vb: &VarBuilder<'_>,
    ) -> anyhow::Result<Self> {
        let all = backbone.stages();
        let Stages { skip: skip_at, deep, auxiliary: auxiliary_at } = Stages::of(config, all)?;
        let normed = |inputs: usize, outputs: usize, kernel: usize, name: &str| {
            let spec = ConvNormSpec::same([inputs, outputs], kernel, Activation::Relu);
            let vb = vb.pp(name);
            ConvNorm::new(spec, vb.pp("conv"), vb.pp("norm"), NormMode::Trained)
        };
        let joined = deep.clone().map(|at| all[at].channels).sum();
        let channels = config.adapter_channels;
        let skip = match skip_at {
            Some(at) => Some(normed(all[at].channels, config.skip_channels, 1, "skip")?),
            None => None,
        };
        let skip_channels = skip.as_ref().map_or(0, |_| config.skip_channels);
        let adapter = normed(joined, channels, 1, "adapter")?;
        let fusion = normed(channels + skip_channels, channels, 1, "fusion")?;
        let context = config.context.build(channels, channels, &vb.pp("context"))?;
        let linear = |inputs: usize, vb: VarBuilder| -> anyhow::Result<[Tensor; 2]> {
            let hint = Init::Randn { mean: 0.0, stdev: (1.0 / inputs as f64).sqrt() };
            Ok([
                vb.get_with_hints((classes, inputs, 1, 1), "weight", hint)?,
                vb.get_with_hints(classes, "bias", Init::Const(0.0))?,
            ])
        };
        let classifier = linear(channels, vb.pp("classifier"))?;
        let auxiliary = match (&config.auxiliary, auxiliary_at) {
            (Some(head), Some(at)) => {
                let conv = normed(all[at].channels, head.channels, 3, "auxiliary")?;
                let classifier = linear(head.channels, vb.pp("auxiliary.classifier"))?;
                Some(Auxiliary { conv, classifier, weight: head.weight })
            }
            _ => None,
        };
        let stages = skip_at.into_iter().chain(deep).chain(auxiliary_at).collect();
        Ok(Self {
            backbone,
            frozen_parameters,
            stages,
            context_stride: config.context_stride,
            neck: Arc::new(Neck { adapter, context }),
            decoder: Arc::new(Decoder { skip, fusion, classifier }),
            auxiliary,
        })
    }

    /// The same of the widest of all the backbone's maps.
    pub(crate) fn widest_per_pixel(&self) -> f64 {
        let of = |stage: &Stage| stage.channels as f64 / (stage.stride as f64).powi(2);
        self.backbone.stages().iter().map(of).fold(0.0, f64::max)
    }

    /// Values for each pixel of an image in the feature maps that the rest of the network uses.
    pub(crate) fn values_per_pixel(&self) -> f64 {
        let all = self.backbone.stages();
        let of = |&at: &usize| all[at].channels as f64 / (all[at].stride as f64).powi(2);
        self.stages.iter().map(of).sum()
    }

    /// Where it is; what it is given may be anywhere.
    pub fn device(&self) -> &Device {
        self.decoder.classifier[1].device()
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.decoder.classifier[1].elem_count()
    }

    /// Parameters of the backbone that do not learn.
    pub fn frozen_parameters(&self) -> usize {
        self.frozen_parameters
    }

    /// The feature maps that the rest of the network uses, finest first, on the CPU.
    ///
    /// # Shapes
    ///
    /// - `pixels`: `[n, 3, h, w]`, normalised
    /// - returns: one `[n, c, h', w']` a stage that is used
    ///
    /// # Errors
    ///
    /// An image that the backbone cannot take.
    pub fn features(&self, pixels: &Tensor) -> anyhow::Result<Vec<Tensor>> {
        let maps = self.maps(&Inputs::Pixels(pixels.clone()), Phase::Eval)?;
        Ok(maps.iter().map(|map| map.to_device(&Device::Cpu)).collect::<Result<_, _>>()?)
    }

    /// The same of whatever the network starts from.
    pub(crate) fn maps(&self, inputs: &Inputs, phase: Phase) -> anyhow::Result<Vec<Tensor>> {
        Ok(match inputs {
            Inputs::Features(maps) => {
                maps.iter().map(|map| map.to_device(self.device())).collect::<Result<_, _>>()?
            }
            Inputs::Pixels(pixels) => {
                self.used(&self.backbone.forward(&pixels.to_device(self.device())?, phase)?)
            }
        })
    }

    /// Those of all stages' maps that the rest of the network uses.
    fn used(&self, all: &[Tensor]) -> Vec<Tensor> {
        self.stages.iter().map(|&at| all[at].clone()).collect()
    }

    /// The logits of every class at the decoder's stride, `[n, classes, h', w']`.
    ///
    /// # Errors
    ///
    /// Inputs that the network cannot take.
    pub fn logits(&self, inputs: &Inputs, phase: Phase) -> anyhow::Result<Tensor> {
        self.logits_of(&self.maps(inputs, phase)?, phase)
    }

    /// The same from the maps of the stages that are used.
    pub(crate) fn logits_of(&self, maps: &[Tensor], phase: Phase) -> anyhow::Result<Tensor> {
        let (skip, joined) = self.joined(maps)?;
        let neck = Arc::clone(&self.neck);
        let x = forward_part([&joined], phase, move |[x], phase| neck.forward(x, phase))?;
        self.decoded(&x, skip, phase)
    }

    /// The logits from the context module's grid, `[n, p, h, w]`, and the skip stage.
    fn decoded(&self, x: &Tensor, skip: Option<&Tensor>, phase: Phase) -> anyhow::Result<Tensor> {
        let decoder = Arc::clone(&self.decoder);
        match skip {
            Some(skip) => forward_part([x, skip], phase, move |[x, skip], phase| {
                decoder.forward(x, Some(skip), phase)
            }),
            None => forward_part([x], phase, move |[x], phase| decoder.forward(x, None, phase)),
        }
    }

    /// In training, the weight and the logits of the auxiliary head, if there is one.
    pub(crate) fn auxiliary_logits(
        &self,
        maps: &[Tensor],
    ) -> anyhow::Result<Option<(f64, Tensor)>> {
        let (Some(head), Some(map)) = (&self.auxiliary, maps.last()) else { return Ok(None) };
        let [weight, bias] = &head.classifier;
        let x = head.conv.forward(map, Phase::Train)?;
        Ok(Some((head.weight, conv2d(&x, weight, Some(bias), &Conv2d::default())?)))
    }

    /// The skip stage, if there is one, and what the context module is given.
    fn adapted<'m>(
        &self,
        maps: &'m [Tensor],
        phase: Phase,
    ) -> anyhow::Result<(Option<&'m Tensor>, Tensor)> {
        let (skip, joined) = self.joined(maps)?;
        Ok((skip, self.neck.adapter.forward(&joined, phase)?))
    }

    /// The skip stage, if there is one, and the others resized to the context's grid and joined.
    fn joined<'m>(&self, maps: &'m [Tensor]) -> anyhow::Result<(Option<&'m Tensor>, Tensor)> {
        let maps = &maps[..maps.len() - usize::from(self.auxiliary.is_some())];
        let (skip, deep) = maps.split_at(usize::from(self.decoder.skip.is_some()));
        let (_, _, h, w) = deep[0].dims4()?;
        let resized = deep.iter().map(|map| resize_bilinear(map, h, w, Corners::Centers));
        let joined = match resized.collect::<Result<Vec<_>, _>>()?.as_slice() {
            [one] => one.clone(),
            several => Tensor::cat(several, 1)?,
        };
        Ok((skip.first(), joined))
    }

    /// Seconds that the context module takes of a forward pass; none without one.
    pub(crate) fn context_seconds(&self, inputs: &Inputs) -> anyhow::Result<f64> {
        let Some(context) = &self.neck.context else { return Ok(0.0) };
        let (_, x) = self.adapted(&self.maps(inputs, Phase::Eval)?, Phase::Eval)?;
        let start = Instant::now();
        context.forward(&x)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The weight that the unit at row and column `unit` of the context's grid gives to every other
    /// unit, `[n, 4, h, w]` by direction; `None` without a context module.
    ///
    /// # Errors
    ///
    /// A unit outside the grid, or inputs that the network cannot take.
    pub fn attention_at(
        &self,
        inputs: &Inputs,
        unit: (usize, usize),
    ) -> anyhow::Result<Option<Tensor>> {
        let Some(context) = &self.neck.context else { return Ok(None) };
        let (_, x) = self.adapted(&self.maps(inputs, Phase::Eval)?, Phase::Eval)?;
        Ok(Some(context.attention_at(&x, unit)?))
    }

    /// The running statistics of all norms, by name.
    pub fn running_statistics(&self) -> BTreeMap<String, Tensor> {
        let mut all: BTreeMap<_, _> = self.backbone.running_statistics().into_iter().collect();
        all.extend(backbone::statistics_of(self.norms()));
        all
    }

    /// Puts [`Self::running_statistics`] back.
    ///
    /// # Errors
    ///
    /// If some are missing or of another shape.
    pub fn load_running_statistics(
        &self,
        statistics: &BTreeMap<String, Tensor>,
    ) -> anyhow::Result<()> {
        self.backbone.load_running_statistics(statistics)?;
        Ok(backbone::load_statistics(self.norms(), statistics)?)
    }

    fn norms(&self) -> impl Iterator<Item = &ConvNorm> {
        let auxiliary = self.auxiliary.as_ref().map(|head| &head.conv);
        [&self.neck.adapter, &self.decoder.fusion]
            .into_iter()
            .chain(&self.decoder.skip)
            .chain(auxiliary)
    }
}

/// A backbone that learns, and what scales its branches.
fn trained(
    config: &ModelConfig,
    vb: &VarBuilder<'_>,
    norms: NormMode,
) -> anyhow::Result<Box<dyn Backbone>> {
    let own = vb.pp("backbone");
    Ok(match config.branch_scale {
        BranchScaleKind::None => config.backbone.build(own, norms)?,
        BranchScaleKind::Dia => {
            let scale = branch_scale::dia(&config.backbone, &vb.pp("branch_scale"))?;
            config.backbone.build_scaled(own, norms, scale)?
        }
    })
}

#[cfg(test)]
mod tests {
    use dense_rnn::{Aggregation, Cell, DenseRnnConfig, Graph, Score};

    use super::*;

    #[test]
    fn every_kind_of_backbone_is_a_choice() {
        let kinds = [
            r#"{ "kind": "small-cnn" }"#,
            r#"{ "kind": "vgg-16", "norm": "batch" }"#,
            r#"{ "kind": "resnet-18", "width": 4 }"#,
            r#"{ "kind": "resnet-50", "width": 4, "stride_in": "1x1", "stem_pool": "after" }"#,
            r#"{ "kind": "resnet-101", "width": 4, "output_stride": 8 }"#,
            r#"{ "kind": "mobilenet-v2" }"#,
            r#"{ "kind": "squeezenet-1.1" }"#,
        ];
        for kind in kinds {
            let model = format!(
                r#"{{ "backbone": {kind}, "backbone_mode": "fixed-norms", "context_stride": 8,
                      "skip_stride": 4, "adapter_channels": 4, "skip_channels": 2,
                      "context": {{ "cell": {{ "kind": "none" }} }} }}"#
            );
            let config: ModelConfig = serde_json::from_str(&model).unwrap();
            let (parser, parameters) = Parser::build(&config, 3, 0, None, &Device::Cpu).unwrap();
            let pixels = Tensor::ones((1, 3, 64, 96), DType::F32, &Device::Cpu).unwrap();
            let logits = parser.logits(&Inputs::Pixels(pixels), Phase::Train).unwrap();
            let (_, classes, h, w) = logits.dims4().unwrap();
            assert_eq!((classes, h.abs_diff(16) <= 1, w.abs_diff(24) <= 1), (3, true, true));
            // The backbone's own statistics have not moved.
            for (name, now) in parser.running_statistics() {
                let initial = &parameters.all()[&name];
                let of = |tensor: &Tensor| tensor.to_vec1::<f32>().unwrap();
                assert_eq!(of(&now) == of(initial), name.starts_with("backbone."), "{name}");
            }
        }
    }

    #[test]
    fn a_place_attends_over_the_contexts_grid() {
        let attention_of = |cell| {
            let context = DenseRnnConfig {
                hidden_channels: 4,
                attention_channels: 2,
                cell,
                ..Default::default()
            };
            let config = ModelConfig { context, ..ModelConfig::default() };
            let (parser, _) = Parser::build(&config, 3, 0, None, &Device::Cpu).unwrap();
            let pixels = Tensor::ones((1, 3, 40, 48), DType::F32, &Device::Cpu).unwrap();
            parser.attention_at(&Inputs::Pixels(pixels), (2, 3)).unwrap()
        };
        let aggregation = Aggregation::Attention(Score::ScaledDot);
        let weights = attention_of(Cell::Scan { graph: Graph::Dense, aggregation }).unwrap();
        assert_eq!(weights.dims(), [1, 4, 5, 6]);
        let sums = weights.sum((2, 3)).unwrap().to_vec2::<f32>().unwrap();
        assert!(sums[0].iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
        assert!(attention_of(Cell::None).is_none());
    }
}
