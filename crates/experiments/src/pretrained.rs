//! What a network starts from: pretrained weights of its backbone, a checkpoint of this program, or
//! random values alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use backbone::{BackboneConfig, Weights};
use candle_core::{Device, Tensor};

use crate::checkpoint::Snapshot;
use crate::config::{ModelConfig, Part};
use crate::parameters::Parameters;
use crate::parser::Parser;
use crate::tensor_file::{self, Tensors};
use crate::{device, provenance};

/// Prefix of the backbone's parameters in a parser's.
const BACKBONE: &str = "backbone.";

/// Names that an error lists.
const LISTED: usize = 6;

/// Weights that a network starts from, read and checked.
pub struct Pretrained {
    /// Those of the backbone, by its own (torchvision's) names.
    pub(crate) backbone: BTreeMap<String, Tensor>,
    /// All that a checkpoint of this program holds.
    checkpoint: Option<Tensors>,
    /// The file.
    path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Pretrained {
    /// Finds and reads what a network with this backbone starts from: at `path`, a weights file, a
    /// checkpoint of this program, or a folder of weights; `None` for a folder and a network of
    /// which no weights are published.
    ///
    /// # Errors
    ///
    /// No such file or folder, or a file that holds another network.
    pub fn find(path: &Path, config: &BackboneConfig) -> anyhow::Result<Option<Self>> {
        check(path)?;
        if path.is_dir() && matches!(config, BackboneConfig::SmallCnn(_)) {
            return Ok(None);
        }
        let path = backbone::find_weights(path, config)?;
        if !tensor_file::is_one(&path)? {
            let weights = backbone::load_weights(&path)?;
            let backbone = backbone::checked(&weights, config)?;
            return Ok(Some(Self { backbone, checkpoint: None, path, sha256: weights.sha256 }));
        }
        let Snapshot(checkpoint) = Snapshot::read_any(&path)?;
        let own = |(name, t): (&String, &Tensor)| {
            Some((name.strip_prefix(BACKBONE)?.to_owned(), t.clone()))
        };
        let tensors: BTreeMap<_, _> = checkpoint.iter().filter_map(own).collect();
        ensure!(
            !tensors.is_empty(),
            "{}: a checkpoint of a network whose backbone was frozen, so that it holds none; start \
             from the weights of the backbone, or from a checkpoint of a network trained whole",
            path.display()
        );
        let sha256 = provenance::sha256(&whole_files::read(&path, tensor_file::MAX_BYTES)?);
        let weights = Weights { path, tensors, sha256 };
        let backbone = backbone::checked(&weights, config)?;
        let Weights { path, sha256, .. } = weights;
        Ok(Some(Self { backbone, checkpoint: Some(checkpoint), path, sha256 }))
    }

    /// SHA-256, in hexadecimal, over the names, shapes and values that a network may start from,
    /// whatever the form of the file.
    pub fn values_sha256(&self) -> String {
        tensor_file::sha256(self.checkpoint.as_ref().unwrap_or(&self.backbone))
    }

    /// The file it is from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The backbone alone: for a network that has all else already.
    pub(crate) fn backbone_alone(self) -> Self {
        Self { checkpoint: None, ..self }
    }

    /// Gives a network that holds the backbone what else a checkpoint has, but for the parts that
    /// start `anew`.
    ///
    /// # Errors
    ///
    /// Parts that are not those of the checkpoint: every name and shape that differs is listed, with
    /// the parts that would have to start anew.
    pub(crate) fn give(
        &self,
        parser: &Parser,
        parameters: &Parameters,
        anew: &[Part],
    ) -> anyhow::Result<()> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        let mut all = Snapshot::take(parser, parameters)?.0;
        let is_new = |name: &str| name.starts_with(BACKBONE) || anew.iter().any(|p| p.holds(name));
        let (mut differences, mut parts) = (Vec::new(), BTreeSet::new());
        let mut differs = |name: &str, what: String| {
            differences.push(format!("{name} {what}"));
            parts.extend(Part::of(name));
        };
        for (name, now) in all.iter_mut().filter(|(name, _)| !is_new(name)) {
            match checkpoint.get(name) {
                Some(then) if then.dims() == now.dims() => *now = then.clone(),
                Some(then) => {
                    differs(
                        name,
                        format!("is {:?}, the network has {:?}", then.dims(), now.dims()),
                    );
                }
                None => differs(name, "is missing".to_owned()),
            }
        }
        let is_left = |name: &&String| !all.contains_key(*name) && !is_new(name);
        for name in checkpoint.keys().filter(is_left) {
            differs(name, "is not in the network".to_owned());
        }
        let parts: Vec<String> = parts.iter().map(|part| format!("{:?}", part.name())).collect();
        let more = differences.len().saturating_sub(LISTED);
        differences.truncate(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        ensure!(
            differences.is_empty(),
            "{}: a checkpoint of another network: {}{more}; to take all from it but these parts, which \
             then start from random values, add --set model.start_anew=[{}]",
            self.path.display(),
            differences.join(", "),
            parts.join(", ")
        );
        Snapshot(all).restore(parser, parameters)
    }

    /// In one line, where a network runs and what it starts from; `weights` is what the user named.
    pub(crate) fn line(
        of: Option<&Self>,
        weights: Option<&Path>,
        config: &ModelConfig,
        device: &Device,
    ) -> String {
        let kind = config.backbone.kind();
        let start = match (of, weights) {
            (None, None) if matches!(config.backbone, BackboneConfig::SmallCnn(_)) => {
                "the network starts from random values".to_owned()
            }
            (None, None) => format!(
                "the network starts from random values, {kind} as well; --weights PATH starts it from \
                 pretrained ones"
            ),
            (None, Some(folder)) => format!(
                "the network starts from random values: {} holds no weights of {kind}, of which none \
                 are published",
                folder.display()
            ),
            (Some(Self { checkpoint: None, path, .. }), _) => {
                format!("{kind} starts from {}, all else from random values", path.display())
            }
            (Some(Self { checkpoint: Some(_), path, .. }), _) => {
                let anew: Vec<&str> = config.start_anew.iter().map(|part| part.name()).collect();
                let anew = match anew.as_slice() {
                    [] => String::new(),
                    parts => format!(", but for {} from random values", parts.join(", ")),
                };
                format!("the network starts from the checkpoint {}{anew}", path.display())
            }
        };
        format!("runs on {}; {start}", device::described(device))
    }
}

/// Whether there is something at the path of `--weights`.
///
/// # Errors
///
/// There is not.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    ensure!(path.exists(), "--weights {}: there is no such file or folder", path.display());
    Ok(())
}
