//! Hidden units of the context module on their way out (ISS).

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use dense_rnn::DenseRnnConfig;

use crate::config::{CellConfig, UnitLassoConfig};
use crate::parameters::Parameters;

/// Prefix of the context module's parameters.
pub(crate) const CONTEXT: &str = "context.";

/// The units of a context module under a group lasso.
pub struct VanishingUnits {
    config: DenseRnnConfig,
    lasso: UnitLassoConfig,
    weights: BTreeMap<String, Var>,
}

impl VanishingUnits {
    /// Those of a cell, if its units are to vanish.
    pub fn of(config: &CellConfig, parameters: &Parameters) -> Option<Self> {
        let lasso = config.training.unit_lasso.clone()?;
        let own = |(name, var): (String, Var)| Some((name.strip_prefix(CONTEXT)?.to_owned(), var));
        let weights = parameters.trainable().into_iter().filter_map(own).collect();
        Some(Self { config: config.model.context.clone(), lasso, weights })
    }

    /// What they add to the loss.
    ///
    /// # Errors
    ///
    /// None that a checked configuration can cause.
    pub fn loss(&self) -> anyhow::Result<Tensor> {
        Ok((self.config.unit_lasso(&self.tensors())? * self.lasso.weight)?)
    }

    /// Makes small weights zero, after a step.
    ///
    /// # Errors
    ///
    /// None that a checked configuration can cause.
    pub fn cut(&self) -> anyhow::Result<()> {
        let cut = self.config.thresholded(&self.tensors(), self.lasso.threshold)?;
        for (name, tensor) in cut {
            self.weights[&name].set(&tensor)?;
        }
        Ok(())
    }

    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let tensor = |(name, var): (&String, &Var)| (name.clone(), var.as_tensor().clone());
        self.weights.iter().map(tensor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::Parser;

    #[test]
    fn small_weights_of_the_units_become_zero_and_the_others_stay() {
        let value = serde_json::json!({
            "dataset": { "kind": "beacons" },
            "model": { "context": {
                "hidden_channels": 4,
                "cell": { "kind": "scan", "graph": "dense", "aggregation": "mean" },
            } },
            "training": { "unit_lasso": { "weight": 0.5, "threshold": 0.1 } },
        });
        let config = CellConfig::from_value(&value).unwrap();
        let (_, parameters) =
            Parser::build(&config.model, 3, 1, None, &candle_core::Device::Cpu).unwrap();
        let units = VanishingUnits::of(&config, &parameters).unwrap();
        let own = config.model.context.unit_lasso(&units.tensors()).unwrap();
        let value = |t: &Tensor| t.to_scalar::<f32>().unwrap();
        assert!((value(&units.loss().unwrap()) - 0.5 * value(&own)).abs() < 1e-5);
        let flat = |var: &Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let before: BTreeMap<_, _> = units.weights.iter().map(|(n, v)| (n, flat(v))).collect();
        units.cut().unwrap();
        for (name, var) in &units.weights {
            let is_group = name.ends_with("weight");
            let expected =
                before[name].iter().map(|&w| if is_group && w.abs() < 0.1 { 0.0 } else { w });
            assert!(flat(var).into_iter().eq(expected), "{name}");
        }
        assert!(before[&"recurrent.weight".to_owned()].iter().any(|w| w.abs() < 0.1));
    }
}
