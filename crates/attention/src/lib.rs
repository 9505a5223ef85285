//! Attention between the units of a feature grid: which of the units seen so far matter here.
//!
//! A *unit* is one cell `(i, j)` of an `h × w` grid. Seen from one of the four corner-to-corner
//! [`Direction`]s, the units before `(i, j)` are those of the closed quadrant between the corner
//! and `(i, j)`, without `(i, j)` itself. Attention gives every unit `v` a softmax over its
//! quadrant, `a(v, ·) = softmax z(v, ·)`, and returns `Σ a(v, u) value(u)`.
//!
//! - [`Score`] says how `z(v, u)` comes from a query of `v` and a key of `u`;
//! - [`quadrant_attention`] is the whole thing at once, for queries, keys and values that are known
//!   beforehand (the control without recurrence);
//! - [`tile`] attends from tiles of units to tiles, for this and for scans in which keys and values
//!   of later units depend on earlier results;
//! - [`running`] keeps sums over quadrants up at O(1) a unit: all that a linear score needs;
//! - [`kernel`] attends from one unit to a few others;
//! - [`DiaLstm`] attends to channels, from map to map.
//!
//! Weights are recomputed in the backward pass: memory is O(units), never O(units²).
//!
//! Letters: `n` batch, `h w` grid, `d` values' channels, `a` keys' channels, 4 directions.
//!
//! Not here: the recurrence itself (see `dense-rnn`). Only [`DiaLstm`] has parameters of its own.

pub mod composed;
mod dia;
mod error;
pub mod kernel;
mod lanes;
mod quadrant;
mod quadrant_attention;
pub mod running;
mod score;
mod tanh;
pub mod tile;
mod tiling;

pub use dia::{DiaLstm, DiaState};
pub use error::{Error, Result};
pub use quadrant::{Direction, Units, join_directions, places, take_direction, units_mut};
pub use quadrant_attention::quadrant_attention;
pub use score::Score;
pub use tiling::{Tile, Tiling, diagonals_of};
