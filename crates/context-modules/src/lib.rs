//! The context modules of other systems: what a unit of a feature grid learns of the rest of the
//! grid by pooling, by dilated convolutions and by attention.
//!
//! All take a map `x` `[n, p, h, w]` and give a map `o` of the same shape, which the caller adds to
//! `x` or not:
//!
//! - [`GlobalAverage`]: the mean of the whole grid, the same at every unit (ParseNet);
//! - [`PyramidPooling`]: means over few and over more bins, and a 3×3 over all (PSPNet);
//! - [`AtrousPyramid`]: 3×3 of several dilations and the mean, side by side (DeepLabV3);
//! - [`NonLocal`]: attention over all units;
//! - [`CrissCross`]: attention over rows and columns, twice (CCNet).
//!
//! The attention of the last two is by itself [`pair_attention`] and [`cross_attention`].
//!
//! Each has a configuration of its own and is made by `new(&config, channels, vb)`;
//! [`ContextConfig`] and [`Context`] are all of them by name. Modules without norms are candle's
//! [`Module`](candle_core::Module), those with norms its [`ModuleT`](candle_core::ModuleT).
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{Module, VarBuilder, VarMap, seq};
//! use context_modules::{
//!     Evaluation, NonLocal, NonLocalConfig, PyramidPooling, PyramidPoolingConfig,
//! };
//!
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let pooled = PyramidPooling::new(&PyramidPoolingConfig::default(), 8, vb.pp("pooled"))?;
//! let attended = NonLocal::new(&NonLocalConfig::default(), 8, vb.pp("attended"))?;
//! let both = seq().add(Evaluation(pooled)).add(attended);
//! let x = Tensor::ones((2, 8, 9, 12), DType::F32, &Device::Cpu)?;
//! assert_eq!(both.forward(&x)?.dims(), [2, 8, 9, 12]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources and departures stand with each module. Initial values are hints to the builder: normal
//! after He where nothing else is said, biases 0.
//!
//! Letters: `n` batch, `p` channels of the map, `h w` grid, `a` channels of keys.
//!
//! Off the CPU the modules run as the compositions in [`composed`] and in [`grid_ops::composed`].
//!
//! Not here: attention over quadrants and along scans (see `attention` and `dense-rnn`), the residual
//! join, images, training.

mod atrous_pyramid;
pub mod composed;
mod context;
mod criss_cross;
mod cross_attention;
mod error;
mod evaluation;
mod global_average;
mod lines;
mod non_local;
mod pair_attention;
mod planes_op;
mod pointwise;
mod pooled;
mod pyramid_pooling;

pub use atrous_pyramid::{AtrousPyramid, AtrousPyramidConfig};
pub use context::{Context, ContextConfig};
pub use criss_cross::{CrissCross, CrissCrossConfig};
pub use cross_attention::cross_attention;
pub use error::{Error, Result};
pub use evaluation::Evaluation;
pub use global_average::{GlobalAverage, GlobalAverageConfig};
pub use non_local::{NonLocal, NonLocalConfig};
pub use pair_attention::pair_attention;
pub use pyramid_pooling::{PyramidPooling, PyramidPoolingConfig};
