//! A training step of a fully convolutional ResNet-18, the whole-network case.
//!
//! Output stride 16, 1×1 head, bilinear logits, cross-entropy, SGD with momentum (He et al., *Deep
//! residual learning for image recognition*, CVPR 2016; the last stage dilated as in torchvision's
//! `replace_stride_with_dilation`).

use std::collections::BTreeMap;

use backbone::{ConvNorm, ConvNormSpec, NormMode, Phase};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Init, VarBuilder, VarMap};
use grid_ops::{
    Activation, Conv2d, Pool, Rounding, backward, conv2d, max_pool2d, upsampled_cross_entropy,
};

use crate::Pass;

const LEARNING_RATE: f32 = 1e-3;
const MOMENTUM: f32 = 0.9;
const WEIGHT_DECAY: f32 = 1e-4;

/// Channels, stride of the first block, dilations of the first and the second block.
const STAGES: [(usize, usize, [usize; 2]); 4] =
    [(64, 1, [1, 1]), (128, 2, [1, 1]), (256, 2, [1, 1]), (512, 1, [1, 2])];

struct Block {
    first: ConvNorm,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn forward(&self, x: &Tensor) -> anyhow::Result<Tensor> {
        let y = self.second.forward(&self.first.forward(x, Phase::Train)?, Phase::Train)?;
        let x = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, Phase::Train)?,
            None => x.clone(),
        };
        Ok(grid_ops::relu(&(x + y)?)?)
    }
}

/// Network, batch and optimizer.
pub(crate) struct Step {
    vars: BTreeMap<String, Var>,
    velocities: BTreeMap<String, Vec<f32>>,
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: [Tensor; 2],
    images: Tensor,
    labels: Tensor,
}

impl Step {
    pub(crate) fn new(images: Tensor, labels: Tensor, classes: usize) -> anyhow::Result<Self> {
        let store = VarMap::new();
        let vb = VarBuilder::from_varmap(&store, DType::F32, &Device::Cpu);
        let layer = |name: &str, inputs, outputs, (kernel, stride, dilation), activation| {
            let spec =
                ConvNormSpec { inputs, outputs, kernel, stride, dilation, groups: 1, activation };
            let vb = vb.pp(name);
            ConvNorm::new(spec, vb.pp("conv"), vb.pp("norm"), NormMode::Trained)
        };
        let stem = layer("stem", 3, 64, (7, 2, 1), Activation::Relu)?;
        let (mut blocks, mut inputs) = (Vec::new(), 64);
        for (nth, (outputs, stride, dilations)) in STAGES.into_iter().enumerate() {
            for (k, dilation) in dilations.into_iter().enumerate() {
                let name = format!("stages.{nth}.{k}");
                let stride = if k == 0 { stride } else { 1 };
                let shape = (3, stride, dilation);
                let named = |part: &str| format!("{name}.{part}");
                let first = layer(&named("first"), inputs, outputs, shape, Activation::Relu)?;
                let shape = (3, 1, dilation);
                let second =
                    layer(&named("second"), outputs, outputs, shape, Activation::Identity)?;
                let shortcut = if inputs == outputs {
                    None
                } else {
                    let shape = (1, stride, 1);
                    Some(layer(&named("shortcut"), inputs, outputs, shape, Activation::Identity)?)
                };
                blocks.push(Block { first, second, shortcut });
                inputs = outputs;
            }
        }
        let hint = Init::Randn { mean: 0.0, stdev: 0.01 };
        let head = [
            vb.get_with_hints((classes, inputs, 1, 1), "head.weight", hint)?,
            vb.get_with_hints(classes, "head.bias", Init::Const(0.0))?,
        ];
        let vars = store.data().lock().map_err(|_| anyhow::anyhow!("a poisoned store"))?.clone();
        let vars: BTreeMap<String, Var> = vars.into_iter().collect();
        let velocities =
            vars.iter().map(|(name, var)| (name.clone(), vec![0.0; var.elem_count()])).collect();
        Ok(Self { vars, velocities, stem, blocks, head, images, labels })
    }

    pub(crate) fn run(&mut self, pass: Pass) -> anyhow::Result<()> {
        let x = self.stem.forward(&self.images, Phase::Train)?;
        let pool = Pool { kernel: 3, stride: 2, padding: 1, rounding: Rounding::Floor };
        let mut x = max_pool2d(&x, &pool)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let [weight, bias] = &self.head;
        let logits = conv2d(&x, weight, Some(bias), &Conv2d::default())?;
        let loss = upsampled_cross_entropy(&logits, &self.labels, None)?;
        if pass == Pass::Forward {
            return Ok(());
        }
        let grads = backward(&loss)?;
        for (name, var) in &self.vars {
            // Running statistics have no gradient.
            let (Some(grad), Some(velocity)) = (grads.get(var), self.velocities.get_mut(name))
            else {
                continue;
            };
            let grad = grad.flatten_all()?.to_vec1::<f32>()?;
            let mut values = var.flatten_all()?.to_vec1::<f32>()?;
            for ((x, v), g) in values.iter_mut().zip(velocity).zip(grad) {
                *v = MOMENTUM * *v + g + WEIGHT_DECAY * *x;
                *x -= LEARNING_RATE * *v;
            }
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
        }
        Ok(())
    }
}
