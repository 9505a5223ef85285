//! Where parameters come from: a file, or a draw that depends on seed and name alone.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A store of named variables, made when first asked for.
///
/// A variable's initial values depend on the seed, its name and its shape, not on what else the
/// network holds: arms of an ablation start from the same backbone, adapter and classifier.
#[derive(Clone)]
pub struct Parameters {
    seed: u64,
    device: Device,
    loaded: Arc<BTreeMap<String, Tensor>>,
    vars: Arc<Mutex<BTreeMap<String, Var>>>,
}

impl Parameters {
    /// A store on `device` that draws with `seed` what `loaded`, wherever it is, does not hold.
    pub fn new(seed: u64, loaded: BTreeMap<String, Tensor>, device: &Device) -> Self {
        let device = device.clone();
        Self { seed, device, loaded: Arc::new(loaded), vars: Arc::default() }
    }

    /// A builder whose requests end in this store.
    pub fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, self.device.clone())
    }

    /// All variables by name, running statistics included.
    pub fn all(&self) -> BTreeMap<String, Var> {
        self.vars.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The variables that gradient descent moves, by name.
    pub fn trainable(&self) -> BTreeMap<String, Var> {
        self.all().into_iter().filter(|(name, _)| !is_statistic(name)).collect()
    }
}

/// Whether a name is that of a running statistic, which training follows but does not descend.
pub fn is_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}

impl SimpleBackend for Parameters {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut vars = self.vars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                bail!("parameter {name}: asked for as {shape:?}, made as {:?}", var.shape());
            }
            return Ok(var.as_tensor().clone());
        }
        let values = match self.loaded.get(name) {
            Some(tensor) if tensor.shape() == &shape => {
                tensor.to_device(device)?.to_dtype(dtype)?
            }
            Some(tensor) => bail!(
                "parameter {name}: the weights hold {:?}, the network expects {shape:?}",
                tensor.shape()
            ),
            None => Tensor::from_vec(draw(self.seed, name, &shape, init), shape, device)?
                .to_dtype(dtype)?,
        };
        let var = Var::from_tensor(&values)?;
        let tensor = var.as_tensor().clone();
        vars.insert(name.to_owned(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        match self.loaded.get(name) {
            Some(tensor) => Ok(tensor.clone()),
            None => bail!("parameter {name}: its shape is not known"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.loaded.contains_key(name)
    }
}

/// Counts the values that a network asks for, and makes none of them.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Mutex<BTreeMap<String, u64>>>);

impl Counted {
    /// A builder whose requests are counted here.
    pub(crate) fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, Device::Cpu)
    }

    /// Those of all requests so far; what is asked for twice is there once.
    pub(crate) fn values(&self) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().fold(0, |sum, values| sum.saturating_add(*values))
    }
}

impl SimpleBackend for Counted {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let values = shape.dims().iter().fold(1u64, |all, &n| all.saturating_mul(n as u64));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), values);
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("parameter {name}: its shape is not known")
    }

    fn contains_tensor(&self, _name: &str) -> bool {
        true
    }
}

/// A generator that depends on `seed` and `purpose` alone.
pub fn generator(seed: u64, purpose: &str) -> ChaCha8Rng {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose).finalize();
    ChaCha8Rng::from_seed(digest.into())
}

fn draw(seed: u64, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
    let mut rng = generator(seed, name);
    let count = shape.elem_count();
    let mut fill = |stdev: f64, mean: f64, kind: NormalOrUniform| -> Vec<f32> {
        let mut one = || match kind {
            // Box–Muller; 1 - u is in (0, 1].
            NormalOrUniform::Normal => {
                let (u, v): (f64, f64) = (rng.random(), rng.random());
                (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
            }
            NormalOrUniform::Uniform => 3f64.sqrt() * rng.random_range(-1.0..1.0),
        };
        (0..count).map(|_| (mean + stdev * one()) as f32).collect()
    };
    match init {
        Init::Const(value) => vec![value as f32; count],
        Init::Randn { mean, stdev } => fill(stdev, mean, NormalOrUniform::Normal),
        Init::Uniform { lo, up } => {
            let stdev = (up - lo) / 2.0 / 3f64.sqrt();
            fill(stdev, (lo + up) / 2.0, NormalOrUniform::Uniform)
        }
        Init::Kaiming { dist, fan, non_linearity } => {
            let fan = fan_of(fan, shape) as f64;
            fill(gain_of(non_linearity) / fan.sqrt(), 0.0, dist)
        }
    }
}

fn fan_of(fan: FanInOut, shape: &Shape) -> usize {
    let dims = shape.dims();
    let field: usize = dims.iter().skip(2).product();
    let side = match fan {
        FanInOut::FanIn => dims.get(1),
        FanInOut::FanOut => dims.first(),
    };
    (side.copied().unwrap_or(1) * field).max(1)
}

fn gain_of(non_linearity: NonLinearity) -> f64 {
    match non_linearity {
        NonLinearity::ReLU => 2f64.sqrt(),
        NonLinearity::Tanh => 5.0 / 3.0,
        NonLinearity::Linear | NonLinearity::Sigmoid | NonLinearity::SELU => 1.0,
        NonLinearity::ExplicitGain(gain) => gain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_seed_and_name_only() {
        let init = Init::Randn { mean: 0.0, stdev: 1.0 };
        let of = |seed, names: &[&str]| -> Vec<f32> {
            let vb = Parameters::new(seed, BTreeMap::new(), &Device::Cpu).builder();
            let draw = |name: &&str| vb.get_with_hints(64, name, init).unwrap();
            let drawn: Vec<_> = names.iter().map(draw).collect();
            drawn.last().unwrap().to_vec1().unwrap()
        };
        assert_eq!(of(1, &["a", "b"]), of(1, &["b"]));
        assert_ne!(of(1, &["b"]), of(2, &["b"]));
        assert_ne!(of(1, &["a"]), of(1, &["b"]));
    }

    #[test]
    fn draws_have_the_stated_deviation() {
        let deviation = |init| {
            let values = draw(3, "w", &Shape::from((64, 32, 3, 3)), init);
            let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
            (squares / values.len() as f64).sqrt()
        };
        let kaiming = candle_nn::init::DEFAULT_KAIMING_NORMAL;
        assert!((deviation(kaiming) / (2.0f64 / (32.0 * 9.0)).sqrt() - 1.0).abs() < 0.02);
        let uniform = Init::Uniform { lo: -1.0, up: 1.0 };
        assert!((deviation(uniform) * 3f64.sqrt() - 1.0).abs() < 0.02);
    }
}
