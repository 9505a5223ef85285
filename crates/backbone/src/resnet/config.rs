//! The options of a ResNet.

use super::Depth;
use crate::error::{Error, Result};
use crate::striding::output_stride;

/// More channels, blocks or larger factors than this are taken for a slip.
const MAX_WIDTH: usize = 1024;
const MAX_BLOCKS: usize = 64;
const MAX_FACTOR: usize = 64;

/// ResNet up to `layer4`; the depth is in the `kind`.
///
/// The stages are `layer1` to `layer4` (or to an earlier one, see `blocks`), with 1, 2, 4 and 8 times `width` channels in ResNet-18, four
/// times as many in the others, at strides 4, 8, 16 and 32. Sizes are rounded up, but for
/// [`StemPool::PaddedAfter`]. torchvision's `fc` is neither asked for nor computed.
///
/// Inputs are RGB in 0–1, less the means .485 .456 .406, by the deviations .229 .224 .225, and not
/// smaller than the stride of the last stage.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResNetConfig {
    /// Channels of the 3×3 convolutions of `layer1`, doubled by each layer after it; the stem has
    /// 64 at any width. Default: 64.
    pub width: usize,
    /// Where the first block of a layer has its stride. Default: in the 3×3 convolution, as
    /// torchvision. ResNet-18 has no other.
    pub stride_in: StridePlace,
    /// How the pooling after the stem meets the edges. Default: padded around, as torchvision.
    pub stem_pool: StemPool,
    /// Pixels between two units of the last stage: 8, 16 or 32; strides beyond it become dilation.
    /// Default: 32, less with fewer layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_stride: Option<usize>,
    /// Blocks of `layer1` and the layers after it, 1 to 4 of them: a network of another depth, without
    /// published weights. Default: those of the paper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<usize>>,
    /// For each block of `layer4` the factor on the layer's dilation that its 3×3 convolutions have
    /// (Chen et al., *Rethinking atrous convolution for semantic image segmentation*, 2017, §3.1).
    /// Default: none, which differs from all 1 in the first block: its first 3×3 convolution then
    /// keeps the dilation of the layer before, as torchvision's does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_grid: Option<Vec<usize>>,
}

/// The convolution of a bottleneck that has its stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum StridePlace {
    /// `"1x1"`: the first, as in the paper and in Caffe's weights.
    #[serde(rename = "1x1")]
    Pointwise,
    /// `"3x3"`: the second, as in torchvision's weights ("ResNet v1.5").
    #[default]
    #[serde(rename = "3x3")]
    Spatial,
}

/// Where the 3×3 max pooling of stride 2 after the stem is padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum StemPool {
    /// `"around"`: one cell on all sides; sizes are rounded up.
    #[default]
    #[serde(rename = "around")]
    PaddedAround,
    /// `"after"`: on the right and at the bottom only, as Caffe does; sizes are rounded down.
    #[serde(rename = "after")]
    PaddedAfter,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self {
            width: 64,
            stride_in: StridePlace::default(),
            stem_pool: StemPool::default(),
            output_stride: None,
            blocks: None,
            multi_grid: None,
        }
    }
}

impl ResNetConfig {
    /// The ResNet-50 of half the width whose weights open_nsfw gives.
    pub fn open_nsfw() -> Self {
        Self {
            width: 32,
            stride_in: StridePlace::Pointwise,
            stem_pool: StemPool::PaddedAfter,
            ..Self::default()
        }
    }

    pub(crate) fn check(&self, depth: Depth) -> Result<usize> {
        let error =
            |field, value: String, reason: String| Err(Error::Config { field, value, reason });
        if !(1..=MAX_WIDTH).contains(&self.width) {
            let reason = format!("expected a number from 1 to {MAX_WIDTH}");
            return error("width", self.width.to_string(), reason);
        }
        if depth == Depth::D18 && self.stride_in == StridePlace::Pointwise {
            let reason = "a ResNet-18 has no 1x1 convolutions but the shortcuts: expected 3x3";
            return error("stride_in", "1x1".to_owned(), reason.to_owned());
        }
        let blocks = self.blocks(depth);
        if !(1..=4).contains(&blocks.len()) || blocks.iter().any(|n| !(1..=MAX_BLOCKS).contains(n))
        {
            let reason = format!("expected 1 to 4 numbers from 1 to {MAX_BLOCKS}");
            return error("blocks", format!("{blocks:?}"), reason);
        }
        if let Some(grid) = &self.multi_grid {
            let count = blocks.get(3).copied().unwrap_or(0);
            let fits = grid.len() == count && grid.iter().all(|f| (1..=MAX_FACTOR).contains(f));
            if !fits {
                let reason = format!("expected {count} numbers from 1 to {MAX_FACTOR}");
                return error("multi_grid", format!("{grid:?}"), reason);
            }
        }
        // The stem has a stride of 4, which is kept, each layer but the first doubles it.
        let full = 2 << blocks.len();
        let fits = |stride: &usize| *stride <= full && (*stride > 4 || full == 4);
        let choices: Vec<usize> = [4, 8, 16, 32].into_iter().filter(fits).collect();
        output_stride(self.output_stride, full, &choices)
    }

    /// Blocks of each layer.
    pub(crate) fn blocks(&self, depth: Depth) -> Vec<usize> {
        self.blocks.clone().unwrap_or_else(|| depth.blocks().to_vec())
    }
}
