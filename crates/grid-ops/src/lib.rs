//! Differentiable operations on feature grids that candle lacks, gets wrong or runs slowly.
//!
//! A *feature grid* is an `f32` or `f64` tensor `[n, c, h, w]`. Every operation is a slice kernel,
//! a `CustomOp` around it and a checked public function; gradients are written by hand and held
//! against central differences. Results do not depend on the number of threads.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use grid_ops::{Conv2d, conv2d};
//!
//! let x = Tensor::ones((1, 1, 3, 3), DType::F32, &Device::Cpu)?;
//! let weight = Tensor::ones((1, 1, 3, 3), DType::F32, &Device::Cpu)?;
//! let y = conv2d(&x, &weight, None, &Conv2d { padding: 1, ..Conv2d::default() })?;
//! assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [4., 6., 4., 6., 9., 6., 4., 6., 4.]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! On another device than the CPU every operation runs as the composition of candle's own in
//! [`composed`]; [`composing`] has them run on the CPU as well.
//!
//! Work is shared out in rayon's pool. An operation that is called from a thread outside of it is
//! handed over and awaited, each one anew, some tens of microseconds; call a whole step or network
//! within `rayon::scope(|_| …)` to pay that once.
//!
//! [`Real`], [`matmul`], [`Product`], [`RowsProduct`], [`view`] and [`Elements`] are what other crates build kernels of their own with;
//! [`apply1`], [`apply2`] and [`apply3`] make operations of them whose gradients candle need not sum, and [`backward`] a pass in which it
//! need not sum those of variables either.
//!
//! Not here: parameters and configurations of networks, and what candle already does right.

mod add;
mod argmax;
mod avg_pool;
mod backward;
mod batch_norm;
pub mod composed;
mod composing;
mod concat;
mod conv2d;
mod cross_entropy;
mod error;
mod graph;
mod kernel3;
mod linear_map;
mod macs;
mod nearest;
mod padded;
mod pool;
mod product;
mod real;
mod recomputed;
mod relu;
mod resize;
mod room;
mod rows;
mod shared;
mod simd;
mod strided;
mod turn;
mod units;

pub use add::add;
pub use argmax::argmax_upsampled;
pub use avg_pool::{adaptive_avg_pool2d, avg_pool2d, global_avg_pool};
pub use backward::{backward, backward_from, frees_graph};
pub use batch_norm::{BatchNorm, batch_norm, batch_norm_frozen};
pub use composing::{composing, is_composed};
pub use concat::concat;
pub use conv2d::{Activation, Conv2d, ConvTranspose2d, conv_transpose2d, conv2d};
pub use cross_entropy::{IGNORE, cross_entropy, upsampled_cross_entropy};
pub use error::{Error, Result};
pub use graph::{Reads, apply1, apply2, apply3};
pub use macs::{count_macs, counted_macs};
pub use nearest::upsample_nearest;
pub use pool::{Pool, Rounding, max_pool2d, relu_max_pool2d};
pub use product::{Product, Start};
pub use real::{Elements, MatMut, MatRef, Real, matmul, view};
pub use recomputed::recomputed;
pub use relu::relu;
pub use resize::{Corners, resize_bilinear};
pub use room::unwritten;
pub(crate) use room::unwritten_in;
pub use rows::{RowsGradients, RowsProduct, Wanted};
pub use simd::{Vectors, inlined, simd};
pub use turn::turned;
pub use units::{grid_of_rows, rows_of_grid};
