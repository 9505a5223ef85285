//! SqueezeNet 1.1 (Iandola et al., *SqueezeNet: AlexNet-level accuracy with 50x fewer parameters*,
//! 2016; the smaller version from its authors' repository), with torchvision's names.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use grid_ops::{Activation, Rounding, concat};

use crate::conv_bias::{ConvBias, ConvBiasSpec};
use crate::error::Result;
use crate::network::{Backbone, NormMode, Phase, Stage, check_image};
use crate::part::{self, Part};
use crate::pooling::max_pool;
use crate::striding::{Striding, output_stride};

/// Output stride of the network as published.
const FULL_STRIDE: usize = 16;

/// Channels of `features.0`.
const STEM: usize = 64;

/// The fire modules behind each pooling: channels squeezed to, channels of each expansion.
const GROUPS: [&[[usize; 2]]; 3] =
    [&[[16, 64]; 2], &[[32, 128]; 2], &[[48, 192], [48, 192], [64, 256], [64, 256]]];

/// SqueezeNet 1.1, up to `features.12`.
///
/// The stages are `features.4` (128 channels, stride 4), `features.7` (256, 8) and `features.12`
/// (512, 16). The stem has no padding and poolings round up, so that a stage has
/// `floor((h − 1) / 2)` rows, halved and rounded down at each pooling. torchvision's classifier is
/// neither asked for nor computed.
///
/// Inputs are RGB in 0–1, less the means .485 .456 .406, by the deviations .229 .224 .225, of at
/// least 25×25 pixels, or 13×13 at output stride 8.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqueezeNetConfig {
    /// Pixels between two units of the last stage: 8 or 16; strides beyond it become dilation.
    /// Default: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_stride: Option<usize>,
}

impl SqueezeNetConfig {
    pub(crate) fn check(&self) -> Result<usize> {
        output_stride(self.output_stride, FULL_STRIDE, &[8, 16])
    }
}

pub(crate) struct SqueezeNet {
    stages: Vec<Stage>,
    stem: Arc<ConvBias>,
    groups: Vec<Group>,
    /// The least height and width of an image.
    least: usize,
}

/// A pooling and the fire modules behind it.
struct Group {
    pool_stride: usize,
    fires: Vec<Arc<Fire>>,
}

/// A 1×1 convolution to few channels, then a 1×1 and a 3×3 one side by side.
struct Fire {
    squeeze: ConvBias,
    expand: [ConvBias; 2],
}

impl SqueezeNet {
    pub(crate) fn new(config: &SqueezeNetConfig, vb: VarBuilder, mode: NormMode) -> Result<Self> {
        let limit = config.check()?;
        let mut striding = Striding::new(limit);
        let vb = vb.pp("features");
        let (stride, dilation) = striding.next(2);
        let activation = Activation::Relu;
        let spec = ConvBiasSpec {
            channels: [3, STEM],
            kernel: 3,
            stride,
            padding: 0,
            dilation,
            activation,
        };
        let stem = Arc::new(ConvBias::new(spec, &vb.pp(0), mode)?);
        // Modules 0 and 1 are the stem and its ReLU; every group begins with a pooling.
        let (mut module, mut inputs) = (2, STEM);
        let (mut stages, mut groups) = (Vec::new(), Vec::new());
        for shapes in GROUPS {
            let (pool_stride, _) = striding.next(2);
            module += 1;
            let mut fires = Vec::new();
            for &[squeezed, expanded] in shapes {
                let vb = vb.pp(module);
                let conv = |name: &str, channels, kernel| {
                    let spec = ConvBiasSpec::same(channels, kernel, striding.dilation());
                    ConvBias::new(spec, &vb.pp(name), mode)
                };
                fires.push(Arc::new(Fire {
                    squeeze: conv("squeeze", [inputs, squeezed], 1)?,
                    expand: [
                        conv("expand1x1", [squeezed, expanded], 1)?,
                        conv("expand3x3", [squeezed, expanded], 3)?,
                    ],
                }));
                module += 1;
                inputs = 2 * expanded;
            }
            groups.push(Group { pool_stride, fires });
            let name = format!("features.{}", module - 1);
            stages.push(Stage { name, channels: inputs, stride: striding.stride() });
        }
        // The last strided pooling needs 3 units, each one before it twice as many as it leaves, and
        // the stem leaves n of 2·n + 1.
        let poolings = groups.iter().filter(|group| group.pool_stride != 1).count() as u32;
        let least = 2 * (3 * 2usize.pow(poolings - 1)) + 1;
        Ok(Self { stages, stem, groups, least })
    }
}

impl Backbone for SqueezeNet {
    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn check_image(&self, x: &Tensor) -> Result<()> {
        check_image("squeezenet-1.1", self.least, x)
    }

    fn stage(&self, nth: usize, x: &Tensor, phase: Phase) -> Result<Tensor> {
        let x = if nth == 0 { part::run(&self.stem, x, phase)? } else { x.clone() };
        let group = &self.groups[nth];
        let x = max_pool(&x, 3, group.pool_stride, Rounding::Ceil)?;
        group.fires.iter().try_fold(x, |x, fire| part::run(fire, &x, phase))
    }

    fn running_statistics(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    fn load_running_statistics(&self, _statistics: &BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}

impl Part for Fire {
    /// The module's output.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n, c, h, w]`
    /// - returns: `[n, k, h, w]`, the channels of the 1×1 convolution first
    fn forward(&self, x: &Tensor, _: Phase) -> Result<Tensor> {
        let x = self.squeeze.forward(x)?;
        let [pointwise, spatial] = &self.expand;
        Ok(concat(&pointwise.forward(&x)?, &spatial.forward(&x)?)?)
    }
}
