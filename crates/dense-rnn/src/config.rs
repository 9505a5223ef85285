//! What a layer is made of.

use attention::Score;

use crate::hippo::memory_channels;
use crate::{Activation, Aggregation, Discretisation, Error, Graph, Legs, RecurrentWeight, Result};

/// Hyper-parameters of a [`crate::DenseRnn`]; [`build`](Self::build) is the only way to make one.
///
/// Reconstruction: the paper's hidden sizes were not at hand.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenseRnnConfig {
    /// Channels of the hidden state of each direction. Default: 64.
    pub hidden_channels: usize,
    /// Channels of queries and keys, where the cell attends; a linear score has one. Default: 32.
    pub attention_channels: usize,
    /// The non-linearity of the hidden state. Default: ReLU.
    pub activation: Activation,
    /// What a unit gets from the others.
    pub cell: Cell,
    /// How the recurrent weight of a scan is made. Default: free.
    #[serde(skip_serializing_if = "is_default")]
    pub recurrent_weight: RecurrentWeight,
    /// The spectral radius of a recurrent weight that is not free. Default:
    /// [`default_radius`](crate::default_radius).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrent_radius: Option<f64>,
    /// How the hidden states of the four directions are put together. Default: their sum.
    #[serde(skip_serializing_if = "is_default")]
    pub join: Join,
}

/// How the hidden states of the four directions become the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// `Σ_d V_d h_d`.
    #[default]
    Sum,
    /// `Σ_d V_d (g_d ⊙ h_d)`, the channels of each direction weighed by an
    /// [`attention::DiaLstm`] that goes from direction to direction.
    Dia,
}

/// Configurations are written as they were before a field was added, where it is not used.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for DenseRnnConfig {
    fn default() -> Self {
        Self {
            hidden_channels: 64,
            attention_channels: 32,
            activation: Activation::Relu,
            cell: Cell::None,
            recurrent_weight: RecurrentWeight::Free,
            recurrent_radius: None,
            join: Join::Sum,
        }
    }
}

/// What a unit gets from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cell {
    /// There is no context module at all: the baseline.
    None,
    /// Nothing (`W = 0`): the module's parameters without its context, the control for both.
    Pointwise,
    /// The recurrence over a graph.
    Scan {
        /// Which units precede one.
        graph: Graph,
        /// How their hidden states are put together.
        aggregation: Aggregation,
    },
    /// Attention over the quadrants with keys and values from the features instead of the hidden
    /// states: no recurrence.
    QuadrantAttention {
        /// How pairs are scored.
        #[serde(default)]
        score: Score,
    },
    /// A gated cell with a memory of all that was passed, see [`hippo_scan`](crate::hippo_scan);
    /// `hidden_channels` must be a multiple of `order`, `activation` has no effect.
    Hippo {
        /// How many Legendre polynomials, 1 to 64. Default: 16.
        #[serde(default = "default_order")]
        order: usize,
        /// How a step of the memory is taken. Default: bilinear.
        #[serde(default)]
        discretisation: Discretisation,
    },
}

fn default_order() -> usize {
    Legs::default().order
}

impl Cell {
    /// The score, if the cell attends.
    pub fn score(self) -> Option<Score> {
        match self {
            Self::Scan { aggregation, .. } => aggregation.score(),
            Self::QuadrantAttention { score } => Some(score),
            Self::None | Self::Pointwise | Self::Hippo { .. } => None,
        }
    }

    /// The memory, if it has one.
    pub fn legs(self) -> Option<Legs> {
        match self {
            Self::Hippo { order, discretisation } => Some(Legs { order, discretisation }),
            _ => None,
        }
    }
}

impl DenseRnnConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field.
    pub fn check(&self) -> Result<()> {
        let refuse = |field, value: String, reason| Err(Error::Config { field, value, reason });
        if !(1..=4096).contains(&self.hidden_channels) {
            let reason = "must be between 1 and 4096";
            return refuse("hidden_channels", self.hidden_channels.to_string(), reason);
        }
        if self.cell.score().is_some() && !(1..=4096).contains(&self.attention_channels) {
            let reason = "must be between 1 and 4096";
            return refuse("attention_channels", self.attention_channels.to_string(), reason);
        }
        if let Some(legs) = self.cell.legs() {
            memory_channels(self.hidden_channels, &legs)?;
        }
        self.check_recurrent()
    }
    fn check_recurrent(&self) -> Result<()> {
        let refuse = |field, value: String, reason| Err(Error::Config { field, value, reason });
        let Self { recurrent_weight: kind, recurrent_radius: radius, .. } = *self;
        let free = kind == RecurrentWeight::Free;
        if !free && !matches!(self.cell, Cell::None | Cell::Scan { .. }) {
            let reason = "only a scan has a recurrent weight";
            return refuse("recurrent_weight", format!("{kind:?}"), reason);
        }
        if kind == RecurrentWeight::Both && self.hidden_channels < 2 {
            let reason = "two states need two hidden channels";
            return refuse("hidden_channels", self.hidden_channels.to_string(), reason);
        }
        if let Some(radius) = radius {
            let reason = if free {
                "a free recurrent weight has no target radius"
            } else if !(radius > 0.0 && radius.is_finite()) {
                "must be positive"
            } else {
                return Ok(());
            };
            return refuse("recurrent_radius", radius.to_string(), reason);
        }
        let dense_sum = Cell::Scan { graph: Graph::Dense, aggregation: Aggregation::Sum };
        if free && self.cell == dense_sum {
            let reason = "a sum over the dense graph explodes under a free recurrent weight; \
                          use \"mean\", a graph of neighbours, or another recurrent_weight";
            return refuse("cell.aggregation", "\"sum\"".into(), reason);
        }
        Ok(())
    }
}
