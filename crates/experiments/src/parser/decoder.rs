//! From the context module's grid to logits.

use backbone::{ConvNorm, Phase};
use candle_core::Tensor;
use grid_ops::{Conv2d, Corners, add, conv2d, resize_bilinear};

/// Resized to the skip stage and joined with it, if there is one → 1×1 fusion → 1×1 classifier.
pub(super) struct Decoder {
    pub(super) skip: Option<ConvNorm>,
    pub(super) fusion: ConvNorm,
    /// Weight and bias.
    pub(super) classifier: [Tensor; 2],
}

impl Decoder {
    /// # Shapes
    ///
    /// - `x`: `[n, p, h, w]`
    /// - `skip`: `[n, c, h', w']`
    /// - returns: `[n, classes, h', w']`, or `[n, classes, h, w]` without a skip
    pub(super) fn forward(
        &self,
        x: &Tensor,
        skip: Option<&Tensor>,
        phase: Phase,
    ) -> anyhow::Result<Tensor> {
        let x = match (&self.skip, skip) {
            (Some(reduce), Some(skip)) => self.fused(x, &reduce.forward(skip, phase)?, phase)?,
            _ => self.fusion.forward(x, phase)?,
        };
        let [weight, bias] = &self.classifier;
        Ok(conv2d(&x, weight, Some(bias), &Conv2d::default())?)
    }

    /// The fusion of `x`, resized to the grid of `skip`, with `skip`.
    ///
    /// A 1×1 convolution of channels side by side is the sum of one of each part, and it does not
    /// matter whether a map is resized before or after one: so that of `x` runs on its own, coarser
    /// grid.
    fn fused(&self, x: &Tensor, skip: &Tensor, phase: Phase) -> anyhow::Result<Tensor> {
        let (p, (_, c, h, w)) = (x.dim(1)?, skip.dims4()?);
        Ok(self.fusion.forward_by(phase, |weight, bias, activation| {
            let config = Conv2d::default();
            let of_x = conv2d(x, &weight.narrow(1, 0, p)?, None, &config)?;
            let of_skip = conv2d(skip, &weight.narrow(1, p, c)?, bias, &config)?;
            let of_x = resize_bilinear(&of_x, h, w, Corners::Centers)?;
            Ok(add(&of_x, &of_skip, activation)?)
        })?)
    }
}

#[cfg(test)]
mod tests {
    use backbone::{ConvNormSpec, NormMode};
    use candle_core::{DType, Device, Var};
    use candle_nn::{VarBuilder, VarMap};
    use grid_ops::{Activation, backward, concat};

    use super::*;

    /// In training and in evaluation, as the parser's head says it is.
    #[test]
    fn the_fusion_is_that_of_the_maps_side_by_side() {
        let variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
        let normed = |name: &str, inputs, outputs| {
            let vb = vb.pp(name);
            let spec = ConvNormSpec::same([inputs, outputs], 1, Activation::Relu);
            ConvNorm::new(spec, vb.pp("conv"), vb.pp("norm"), NormMode::Trained).unwrap()
        };
        let classifier = [
            vb.get_with_hints((4, 6, 1, 1), "weight", candle_nn::Init::Const(0.3)).unwrap(),
            vb.get(4, "bias").unwrap(),
        ];
        let (skip, fusion) = (Some(normed("skip", 5, 3)), normed("fusion", 6 + 3, 6));
        let decoder = Decoder { skip, fusion, classifier };
        let map = |dims: &[usize]| Var::randn(0f32, 1.0, dims, &Device::Cpu).unwrap();
        let (x, fine) = (map(&[2, 6, 4, 5]), map(&[2, 5, 8, 10]));
        for phase in [Phase::TrainAgain, Phase::Eval] {
            let found = decoder.forward(&x, Some(&fine), phase).unwrap();
            let skip = decoder.skip.as_ref().unwrap().forward(&fine, phase).unwrap();
            let there = resize_bilinear(&x, 8, 10, Corners::Centers).unwrap();
            let joined = concat(&there, &skip).unwrap();
            let fused = decoder.fusion.forward(&joined, phase).unwrap();
            let [weight, bias] = &decoder.classifier;
            let expected = conv2d(&fused, weight, Some(bias), &Conv2d::default()).unwrap();
            let far = |a: &Tensor, b: &Tensor| {
                let far = (a - b).unwrap().abs().unwrap().max_all().unwrap();
                far.to_scalar::<f32>().unwrap()
            };
            assert_eq!(found.dims(), expected.dims());
            assert!(far(&found, &expected) < 1e-5);
            let [found, expected] = [found, expected].map(|logits| {
                let grads = backward(&logits.sqr().unwrap().sum_all().unwrap()).unwrap();
                let all = [&x, &fine].into_iter().map(|var| (**var).clone());
                let names = ["fusion.conv.weight", "skip.conv.weight"];
                let data = variables.data().lock().unwrap();
                let all = all.chain(names.iter().map(|name| data[*name].as_tensor().clone()));
                all.map(|var| grads.get(&var).unwrap().clone()).collect::<Vec<_>>()
            });
            for (found, expected) in found.iter().zip(&expected) {
                let size = expected.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(far(found, expected) <= 1e-4 * size, "{}", far(found, expected));
            }
        }
    }
}
