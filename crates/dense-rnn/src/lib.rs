//! Recurrent networks over the directed graphs of a feature grid.
//!
//! A feature grid has cycles as an undirected graph, so it is replaced by four directed acyclic
//! ones, one per corner-to-corner [`Direction`]. [`Graph`] says which units precede one, and
//! [`scan`] runs `h(v) = φ(U x(v) + b + W hhat(v))` along it, where [`Aggregation`] makes `hhat`
//! from the hidden states of the predecessors. [`DenseRnn`] is the layer: input product, four
//! directions, output product, as in the table of equations of this crate's README.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dense_rnn::{Activation, Aggregation, Graph, Scan, scan};
//!
//! // One image of 1×3 units, four directions, one channel; U x + b is 1 everywhere, W is 1/2.
//! let input = Tensor::ones((1, 1, 3, 4, 1), candle_core::DType::F64, &Device::Cpu)?;
//! let weights = Tensor::full(0.5f64, (4, 1, 1), &Device::Cpu)?;
//! let mean = Scan {
//!     graph: Graph::Dense,
//!     aggregation: Aggregation::Mean,
//!     activation: Activation::Relu,
//! };
//! let hidden = scan(&input, &weights, None, &mean)?;
//! // Eastward: 1, then 1 + 1/2 · 1, then 1 + 1/2 · mean(1, 1.5).
//! let eastward = hidden.narrow(3, 0, 1)?.flatten_all()?.to_vec1::<f64>()?;
//! assert_eq!(eastward, [1.0, 1.5, 1.625]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`scan_features`] is the scan with the input product `U x + b` before it, as one operation;
//! [`scan_tile`] runs a scan over one tile of a grid too large to be held, with the state of its
//! border handed on; [`RecurrentWeight`] says how `W` is kept from growing; [`hippo_scan`] has another cell, with
//! the whole past in its memory;
//! [`DenseRnn::attention_at`] says what a unit attends to; [`composed`] is the
//! scan for other devices than the CPU.
//!
//! Letters: `n` batch, `h w` grid, `c` channels of the features, `d` hidden channels, `a` channels
//! of keys and queries.
//!
//! Not here: images, datasets, training; the scores of attention themselves (see `attention`).

mod activation;
pub mod composed;
mod config;
mod error;
mod graph;
mod hippo;
mod layer;
mod look;
mod recurrent;
mod rows_op;
mod scan;
mod sparsity;
mod tile;

pub use activation::Activation;
pub use attention::{Direction, Score};
pub use config::{Cell, DenseRnnConfig, Join};
pub use error::{Error, Result};
pub use graph::Graph;
pub use hippo::{
    Discretisation, HippoRnn, HippoRnnConfig, Legs, hippo_scan, hippo_scan_features, legs_memory,
    legs_reconstruction,
};
pub use layer::DenseRnn;
pub use recurrent::{
    RecurrentWeight, cayley, default_radius, eigenvalue_normalised, outdated_parameter,
    spectral_radii,
};
pub use scan::{
    Aggregation, Scan, TileAt, TileBorder, scan, scan_by_tiles, scan_features, scan_tile,
};
pub use sparsity::{Compressed, group_lasso};
