//! The context modules of other systems, as at inference and as in a training step.

use backbone::Phase;
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use context_modules::{
    AtrousPyramidConfig, ContextConfig, CrissCrossConfig, NonLocalConfig, PyramidPoolingConfig,
};

use crate::{Case, Pass, Task, Work, task, var};

/// Which module, and how the other side is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Module {
    /// Pyramid pooling of 1, 2, 3 and 6 bins.
    PyramidPooling,
    /// Dilations 12, 24 and 36, those of stride 8.
    AtrousPyramid,
    /// Attention over all pairs; on the other side as it is published, all scores held.
    NonLocal,
    /// The same beside `scaled_dot_product_attention`.
    NonLocalFused,
    /// Attention over rows and columns, twice; on the other side as it is published.
    CrissCross,
}

impl Module {
    fn config(self) -> ContextConfig {
        match self {
            Self::PyramidPooling => ContextConfig::PyramidPooling(PyramidPoolingConfig::default()),
            Self::AtrousPyramid => ContextConfig::AtrousPyramid(AtrousPyramidConfig::at_stride(8)),
            Self::NonLocal | Self::NonLocalFused => {
                ContextConfig::NonLocal(NonLocalConfig::default())
            }
            Self::CrissCross => ContextConfig::CrissCross(CrissCrossConfig::default()),
        }
    }
}

/// Every module on the grid of stride 8 of an image of 720×960.
pub(crate) fn cases() -> Vec<Case> {
    let (n, p, h, w) = (4, 128, 90, 120);
    let modules = [
        (Module::PyramidPooling, "pyramid pooling"),
        (Module::AtrousPyramid, "atrous pyramid"),
        (Module::NonLocal, "non-local"),
        (Module::NonLocalFused, "non-local beside scaled_dot_product_attention"),
        (Module::CrissCross, "criss-cross"),
    ];
    let of = |(module, title)| Case {
        name: format!("context {title} {n}×{p} {h}×{w}"),
        passes: Pass::ALL.to_vec(),
        work: Work::Context { module, n, p, h, w },
    };
    modules.into_iter().map(of).collect()
}

/// Forward: by running statistics. Forward and backward: by those of the batch, with the gradients
/// of the map and of all parameters.
pub(crate) fn context_task(
    module: Module,
    [n, p, h, w]: [usize; 4],
    pass: Pass,
) -> anyhow::Result<Task> {
    let store = VarMap::new();
    let vb = VarBuilder::from_varmap(&store, DType::F32, &Device::Cpu);
    let context = module.config().build(p, vb)?;
    let phase = match pass {
        Pass::Forward => Phase::Eval,
        Pass::ForwardBackward => Phase::Train,
    };
    let run = move |[x]: &[Tensor; 1]| Ok(context.forward(x, phase)?);
    Ok(task([var(1, &[n, p, h, w])?], pass, run))
}
