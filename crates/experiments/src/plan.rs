//! What a sweep is to run, as a file beside its results that all its processes read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use candle_core::utils::cuda_is_available;
use run_record::{Cell, DeviceChoice, Record, Sweep};

use crate::config::{BackboneMode, CellConfig};
use crate::feature_files::FeatureFolder;
use crate::inputs::{self, Fingerprints};
use crate::parser::{Parser, Stages};
use crate::provenance;
use crate::report::Photographs;

/// The cells of a sweep in their order, and what it takes to run and report them.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The sweep, with the arms and seeds that were chosen and all that was set.
    pub sweep: Sweep,
    /// Its cells with every default spelled out; a cell's index is its place here.
    pub cells: Vec<(Cell, CellConfig)>,
    /// How they are run and reported.
    pub settings: Settings,
    /// Where records, report and pictures go; the plan's file as well.
    pub out_dir: PathBuf,
}

/// How the cells of a sweep are run and reported, whoever runs them.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The root of the dataset, for datasets that are on disk.
    pub data_root: Option<PathBuf>,
    /// A weights file, or a folder of them.
    pub weights: Option<PathBuf>,
    /// What happens to finished cells that other code made.
    pub stale: Stale,
    /// Seconds from one state of training on disk to the next; results do not depend on it.
    pub state_every_s: u64,
    /// Whether the report may show photographs.
    pub photographs: Photographs,
    /// Where networks run.
    #[serde(default)]
    pub device: DeviceChoice,
    /// Where a frozen backbone's features are kept; in memory if absent.
    pub features: Option<FeatureFolder>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_root: None,
            weights: None,
            stale: Stale::Used,
            state_every_s: 60,
            photographs: Photographs::Shown,
            device: DeviceChoice::Auto,
            features: None,
        }
    }
}

/// What happens to finished cells that another revision or other dependencies made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stale {
    /// They are used, and named under the table.
    Used,
    /// They are run again; their records go to the output folder's `stale`.
    Rerun,
}

/// A plan's file: TOML. The cells follow from the sweep and its inputs; their names are there to be
/// read, and to notice a program that would make others.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cells: Vec<String>,
    /// What each arm is run on.
    #[serde(default)]
    inputs: BTreeMap<String, Fingerprints>,
    settings: Settings,
    sweep: Sweep,
}

/// The most bytes that a plan's file may have: those of its sweep, and the names of its cells.
const FILE_BYTES: u64 = 4 << 20;

impl Plan {
    /// The plan of a sweep's cells on the inputs that are there, each checked; `origin` is what
    /// errors call the sweep.
    ///
    /// # Errors
    ///
    /// A sweep or a configuration that makes no sense, a frozen backbone without weights, a dataset or weights
    /// that cannot be read or are not those that the sweep names.
    pub fn of(
        sweep: Sweep,
        origin: &Path,
        settings: Settings,
        out_dir: PathBuf,
    ) -> anyhow::Result<Self> {
        let of_plan = settings.clone();
        let mut found = inputs::Finder::new(&of_plan);
        Self::on(sweep, origin, settings, out_dir, &mut |_, config| found.of(config))
    }

    /// The plan of a sweep's cells on the inputs that `found` says.
    fn on(
        sweep: Sweep,
        origin: &Path,
        settings: Settings,
        out_dir: PathBuf,
        found: &mut dyn FnMut(&Cell, &CellConfig) -> anyhow::Result<Fingerprints>,
    ) -> anyhow::Result<Self> {
        sweep.check(&origin.display().to_string())?;
        let context = |cell: &Cell| format!("arm {} of {}", cell.arm, origin.display());
        let checked = |cell: Cell| {
            let config = CellConfig::from_value(&cell.config).with_context(|| context(&cell))?;
            Ok((cell, config))
        };
        let mut cells =
            sweep.cells().into_iter().map(checked).collect::<anyhow::Result<Vec<_>>>()?;
        for (cell, config) in &cells {
            Stages::of(&config.model, &config.model.backbone.stages()?)
                .with_context(|| context(cell))?;
            // Seeds have one size, and the classes are not known yet; elsewhere memory is another.
            if Some(&cell.seed) == sweep.seeds.first() && !cuda_is_available() {
                Parser::check_size(&config.model, 1).with_context(|| context(cell))?;
            }
            ensure!(
                config.model.backbone_mode != BackboneMode::Frozen || settings.weights.is_some(),
                "model.backbone_mode = \"frozen\" needs pretrained weights: give --weights PATH, \
                 a file or a folder that holds it"
            );
        }
        // Once all are known to make sense: what is found on disk may take a while.
        for (cell, config) in &mut cells {
            config.fingerprints = found(cell, config)?;
            // With every default spelled out: a changed default makes another cell.
            cell.config = serde_json::to_value(&*config)?;
        }
        Ok(Self { sweep, cells, settings, out_dir })
    }

    /// Holds the inputs that are there now against the plan's.
    ///
    /// # Errors
    ///
    /// A dataset or weights that cannot be read, or that are others.
    pub fn check_inputs(&self) -> anyhow::Result<()> {
        let mut found = inputs::Finder::new(&self.settings);
        self.cells.iter().try_for_each(|(_, config)| found.of(config).map(drop))
    }

    /// Writes the plan into its output folder, under a name that is its content's, so that it is
    /// never another for those that still read it, and returns the file's path.
    ///
    /// Paths in the file are absolute: who reads it may be anywhere.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written, or a path that is not Unicode.
    pub fn write(&self) -> anyhow::Result<PathBuf> {
        let mut settings = self.settings.clone();
        let folder = settings.features.as_mut().map(|features| &mut features.path);
        let paths = [settings.data_root.as_mut(), settings.weights.as_mut(), folder];
        for path in paths.into_iter().flatten() {
            *path = std::path::absolute(&*path).with_context(|| path.display().to_string())?;
        }
        let of =
            |(cell, config): &(Cell, CellConfig)| (cell.arm.clone(), config.fingerprints.clone());
        let inputs = self.cells.iter().map(of).collect();
        let file = File { cells: self.stems(), inputs, settings, sweep: self.sweep.clone() };
        let text = toml::to_string_pretty(&file).context("the plan cannot be written as TOML")?;
        let hash = provenance::sha256(text.as_bytes());
        let path = self.out_dir.join(format!("plan-{}.toml", &hash[..12]));
        whole_files::write(&path, text.as_bytes()).context("writing the plan")?;
        Ok(path)
    }

    /// Reads a plan; the folder it is in is the one that results go to. Its inputs are those that it
    /// says, whatever is there now: see [`Self::check_inputs`].
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is no plan, or of which this program would make other cells.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = whole_files::read_to_string(path, FILE_BYTES)?;
        let File { cells, inputs, settings, sweep } = toml::from_str(&text).map_err(|error| {
            anyhow!("{shown}: not a plan that this program reads: {}", error.message())
        })?;
        let out_dir = path.parent().context("a plan has a folder")?.to_owned();
        let mut found =
            |cell: &Cell, _: &CellConfig| Ok(inputs.get(&cell.arm).cloned().unwrap_or_default());
        let plan = Self::on(sweep, path, settings, out_dir, &mut found)?;
        ensure!(
            plan.stems() == cells,
            "{shown}: another version of the program made this plan, and this one would run other \
             cells; give the sweep's command again"
        );
        Ok(plan)
    }

    /// The cell of that index.
    ///
    /// # Errors
    ///
    /// An index beyond the last.
    pub fn cell(&self, index: usize) -> anyhow::Result<&(Cell, CellConfig)> {
        let cells = self.cells.len();
        self.cells
            .get(index)
            .with_context(|| format!("no cell {index}: the plan has {cells}, from 0"))
    }

    /// Where the records are.
    pub fn records(&self) -> PathBuf {
        self.out_dir.join("cells")
    }

    /// The records of its cells that are there, by the stem of their file.
    ///
    /// # Errors
    ///
    /// A record that cannot be read.
    pub fn finished(&self) -> anyhow::Result<BTreeMap<String, Record>> {
        let wanted: BTreeSet<String> = self.stems().into_iter().collect();
        let records = Record::read_dir(self.records())?.into_iter();
        let by_stem = records.map(|record| (record.cell.file_stem(), record));
        Ok(by_stem.filter(|(stem, _)| wanted.contains(stem)).collect())
    }

    fn stems(&self) -> Vec<String> {
        self.cells.iter().map(|(cell, _)| cell.file_stem()).collect()
    }
}
