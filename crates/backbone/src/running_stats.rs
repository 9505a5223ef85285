//! The statistics that a norm gathers during training.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::error::{Error, Result};

/// How far a step moves the running statistics towards the batch's, as in PyTorch.
pub(crate) const MOMENTUM: f64 = 0.1;

/// Running mean and variance of one norm.
///
/// Read from the parameter store once, then kept here: a store's tensors cannot be replaced from
/// within a forward pass. [`crate::Backbone::running_statistics`] hands them out for checkpoints.
pub(crate) struct RunningStats {
    /// The norm's full name.
    layer: String,
    channels: usize,
    values: Mutex<[Tensor; 2]>,
}

impl RunningStats {
    /// `running_mean` and `running_var` of `vb`, copied.
    pub(crate) fn new(channels: usize, vb: &VarBuilder) -> Result<Self> {
        let values = read(channels, vb)?;
        Ok(Self { layer: vb.prefix(), channels, values: Mutex::new(values) })
    }

    /// The norm's full name.
    pub(crate) fn layer(&self) -> &str {
        &self.layer
    }

    /// Mean and variance, each `[k]`.
    pub(crate) fn get(&self) -> [Tensor; 2] {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, values: [Tensor; 2]) {
        *self.values.lock().unwrap_or_else(PoisonError::into_inner) = values;
    }

    /// Moves towards a batch's mean and biased variance, both over `count` values a channel. The
    /// running variance is of the unbiased kind, as PyTorch's.
    pub(crate) fn update(&self, mean: &Tensor, biased_var: &Tensor, count: usize) -> Result<()> {
        let unbias = count as f64 / (count as f64 - 1.0);
        let towards = |old: &Tensor, new: &Tensor, factor: f64| -> Result<Tensor> {
            let new = (new.detach() * (MOMENTUM * factor))?;
            Ok(((old * (1.0 - MOMENTUM))? + new)?)
        };
        let [old_mean, old_var] = self.get();
        self.set([towards(&old_mean, mean, 1.0)?, towards(&old_var, biased_var, unbias)?]);
        Ok(())
    }

    /// Both, with their full names.
    pub(crate) fn named(&self) -> [(String, Tensor); 2] {
        let [mean, var] = self.get();
        let [mean_name, var_name] = names(&self.layer);
        [(mean_name, mean), (var_name, var)]
    }

    /// This norm's pair in `statistics`, copied and checked.
    pub(crate) fn find(&self, statistics: &BTreeMap<String, Tensor>) -> Result<[Tensor; 2]> {
        let [mean, var] = names(&self.layer);
        let [like, _] = self.get();
        Ok([self.find_one(mean, statistics, &like)?, self.find_one(var, statistics, &like)?])
    }

    fn find_one(
        &self,
        name: String,
        statistics: &BTreeMap<String, Tensor>,
        like: &Tensor,
    ) -> Result<Tensor> {
        let Some(tensor) = statistics.get(&name) else {
            return Err(Error::Statistics { name, reason: "missing".to_owned() });
        };
        if tensor.dims() != [self.channels] {
            let reason = format!("expected [{}], got {:?}", self.channels, tensor.dims());
            return Err(Error::Statistics { name, reason });
        }
        Ok(tensor.detach().copy()?.to_dtype(like.dtype())?.to_device(like.device())?)
    }
}

/// `running_mean` and `running_var` of `vb`, cut from any graph and from the store's memory.
pub(crate) fn read(channels: usize, vb: &VarBuilder) -> Result<[Tensor; 2]> {
    let mean = vb.get_with_hints(channels, "running_mean", Init::Const(0.0))?;
    let var = vb.get_with_hints(channels, "running_var", Init::Const(1.0))?;
    Ok([mean.detach().copy()?, var.detach().copy()?])
}

/// The full names of a norm's two statistics.
pub(crate) fn names(layer: &str) -> [String; 2] {
    ["running_mean", "running_var"].map(|name| match layer {
        "" => name.to_owned(),
        layer => format!("{layer}.{name}"),
    })
}
