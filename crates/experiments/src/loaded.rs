//! What several cells share: a dataset, pretrained weights, the frozen backbone's features.

use candle_core::Device;
use run_record::DatasetFacts;
use scene_data::{Class, DatasetConfig, FingerprintCache, SceneDataset, Split};
use seg_metrics::Protocol;
use standard_streams::message;

use crate::config::{BackboneMode, CellConfig, Flip, ModelConfig};
use crate::data::{Examples, View};
use crate::feature_files::FeatureFolder;
use crate::inputs::{self, CLASSES, WEIGHTS};
use crate::interrupt;
use crate::parameters::Parameters;
use crate::parser::Parser;
use crate::plan::Settings;
use crate::pretrained::Pretrained;
use crate::progress::Progress;
use crate::{datasets, device, provenance};

/// A dataset in memory, with the frozen backbone's features if the cell wants them.
pub(crate) struct Loaded {
    pub(crate) facts: DatasetFacts,
    pub(crate) classes: Vec<Class>,
    pub(crate) train: Examples,
    pub(crate) val: Examples,
    pub(crate) test: Examples,
    pub(crate) pretrained: Option<Pretrained>,
    pub(crate) protocol: Protocol,
    /// Where its networks are.
    device: Device,
}

impl Loaded {
    /// What two cells must have in common to share images, weights and features.
    pub(crate) fn key(config: &CellConfig) -> String {
        let mut shared = config.model.clone();
        shared.context = dense_rnn::DenseRnnConfig::default();
        let frozen = config.model.backbone_mode == BackboneMode::Frozen;
        let features = frozen.then_some((shared, config.training.flip));
        let backbone = &config.model.backbone;
        format!("{:?} {:?} {backbone:?} {features:?}", config.dataset, config.fingerprints)
    }

    pub(crate) fn load(
        settings: &Settings,
        config: &CellConfig,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let root = settings.data_root.as_deref();
        let cache = FingerprintCache::of_user();
        let mut facts = DatasetFacts { name: config.dataset.name().into(), ..Default::default() };
        let mut classes = Vec::new();
        let mut examples = Vec::new();
        for split in Split::ALL {
            interrupt::check()?;
            let dataset: Box<dyn SceneDataset> = datasets::open(&config.dataset, root, split)?;
            // From here on a sample of another content is an error.
            facts.fingerprints.insert(split.to_string(), dataset.fingerprint_in(&cache)?);
            facts.images.insert(split.to_string(), dataset.len() as u64);
            classes = dataset.classes().to_vec();
            facts.class_table = Some(inputs::class_table(&*dataset));
            let of_split = Examples::new(dataset)?;
            of_split.check_labelled(split)?;
            examples.push(of_split);
        }
        facts.classes = classes.iter().map(|class| class.name.to_string()).collect();
        let [train, val, test] = <[Examples; 3]>::try_from(examples)
            .map_err(|_| anyhow::anyhow!("three splits were opened"))?;
        let pretrained = match &settings.weights {
            Some(path) => Pretrained::find(path, &config.model.backbone)?,
            None => None,
        };
        // What the plan found may have changed since.
        let mut found = facts.fingerprints.clone();
        found.extend(facts.class_table.iter().map(|table| (CLASSES.to_owned(), table.sha256())));
        let weights = pretrained.iter().map(|weights| weights.values_sha256());
        found.extend(weights.map(|weights| (WEIGHTS.to_owned(), weights)));
        inputs::hold(&config.fingerprints, &found, config.dataset.name())?;
        let (of, weights) = (pretrained.as_ref(), settings.weights.as_deref());
        message(Pretrained::line(of, weights, &config.model, device));
        let protocol = protocol_of(config)?;
        let device = device.clone();
        let mut loaded = Self { facts, classes, train, val, test, pretrained, protocol, device };
        if config.model.backbone_mode == BackboneMode::Frozen {
            loaded.cache_features(config, settings.features.as_ref())?;
        }
        Ok(loaded)
    }

    fn cache_features(
        &mut self,
        config: &CellConfig,
        folder: Option<&FeatureFolder>,
    ) -> anyhow::Result<()> {
        let (parser, _) = self.parser(config, 0)?;
        let images = self.train.len() + self.val.len() + self.test.len();
        message(format_args!("computing the frozen backbone's features of {images} images once"));
        let progress = Progress::new(images as u64);
        let mirrored: &[View] = match config.training.flip {
            Flip::Off => &[View::Plain],
            Flip::Random => &[View::Plain, View::Mirrored],
        };
        // The program and the processor as well: another rounding makes other features.
        let on = device::name(&self.device).unwrap_or_else(provenance::cpu);
        let program = format!("{} {on}", provenance::program_sha256()?);
        let keys = self.facts.fingerprints.clone();
        let weights = self.pretrained.as_ref().map(|weights| weights.sha256.clone());
        for (split, examples, views) in [
            (Split::Train, &mut self.train, mirrored),
            (Split::Val, &mut self.val, &[View::Plain]),
            (Split::Test, &mut self.test, &[View::Plain]),
        ] {
            let Some(folder) = folder else {
                examples.cache_features(&parser, views, &progress)?;
                continue;
            };
            let ModelConfig { backbone, context_stride, skip_stride, auxiliary, .. } =
                &config.model;
            let stages = (context_stride, skip_stride, auxiliary.as_ref().map(|head| &head.stage));
            let images = keys.get(&split.to_string());
            let of = (&weights, images, backbone, stages, views);
            let of = format!("{of:?} {program}");
            let key = provenance::sha256(of.as_bytes());
            examples.cache_features_in(folder, &key, &parser, views, &progress)?;
        }
        progress.finish();
        Ok(())
    }

    pub(crate) fn parser(
        &self,
        config: &CellConfig,
        seed: u64,
    ) -> anyhow::Result<(Parser, Parameters)> {
        let (classes, pretrained) = (self.classes.len(), self.pretrained.as_ref());
        Parser::build(&config.model, classes, seed, pretrained, &self.device)
    }
}

fn protocol_of(config: &CellConfig) -> anyhow::Result<Protocol> {
    Ok(match &config.dataset {
        DatasetConfig::PascalContext(options) => {
            format!("pascal-context-{}", options.classes).parse()?
        }
        other => other.name().parse()?,
    })
}
