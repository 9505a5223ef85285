//! Attention over channels that remembers what it has weighed before.

use candle_core::{D, Tensor};
use candle_nn::{Init, VarBuilder, ops::sigmoid};
use grid_ops::{global_avg_pool, relu};

use crate::{Error, Result};

/// One LSTM-like cell that weighs the channels of several maps, one after the other.
///
/// ```text
/// y = mean of the map over its units                 [c]
/// z = FC2i(ReLU(FC1i y)) + FC2h(ReLU(FC1h h))        [4 c]: i, f, g, o
/// c' = σ(f) c + σ(i) tanh(g)
/// h' = σ(o) σ(c')
/// ```
///
/// and the map is multiplied by `h'`; `h` = `c` = 0 before the first. Between the layers of a
/// residual network's stage it is shared by their branches; over the four directions of a dense
/// recurrent network by their hidden states.
///
/// Source: Huang, Liang, Liang & Yang, *DIANet: dense-and-implicit attention network*, AAAI 2020.
/// Departure: the first layers have a bias.
///
/// Parameters, `r = max(c/4, 1)`, for the map `input.fc1.weight` `[r, c]`, `input.fc1.bias` `[r]`,
/// `input.fc2.weight` `[4·c, r]`, `input.fc2.bias` `[4·c]`, and the same under `hidden` for `h`.
/// Weights start normal with variance 2/c and 1/r, biases zero.
#[derive(Debug)]
pub struct DiaLstm {
    input: TwoLayers,
    hidden: TwoLayers,
}

/// What is handed on from map to map.
#[derive(Debug, Clone)]
pub struct DiaState {
    /// `h`, by which the map is multiplied, `[n, c]`.
    pub hidden: Tensor,
    /// `c`, `[n, c]`.
    pub cell: Tensor,
}

impl DiaLstm {
    /// Takes its parameters from `vb`'s prefix, for maps of `channels` channels.
    ///
    /// # Errors
    ///
    /// [`Error::Candle`] if `vb` lacks a parameter.
    pub fn new(channels: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let layers = |name: &str| TwoLayers::new(channels, &vb.pp(name));
        Ok(Self { input: layers("input")?, hidden: layers("hidden")? })
    }

    /// The state after a map of means `y`; `None` before the first.
    ///
    /// # Shapes
    ///
    /// - `y`: `[n, c]`
    ///
    /// Differentiable.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another number of channels than the cell was made for.
    pub fn step(&self, y: &Tensor, state: Option<&DiaState>) -> Result<DiaState> {
        let channels = self.input.fc1[0].dim(1)?;
        if !matches!(*y.dims(), [_, of_y] if of_y == channels) {
            let (op, expected) = ("dia", "y: [n, c] with as many channels as the cell has");
            return Err(Error::Shape { op, expected, got: y.dims().to_vec() });
        }
        let none = || -> Result<DiaState> {
            let zeros = y.zeros_like()?;
            Ok(DiaState { hidden: zeros.clone(), cell: zeros })
        };
        let before = state.cloned().map_or_else(none, Ok)?;
        let z = (self.input.forward(y)? + self.hidden.forward(&before.hidden)?)?;
        let part = |nth: usize| z.narrow(D::Minus1, nth * channels, channels);
        let (enter, forget, new, out) =
            (sigmoid(&part(0)?)?, sigmoid(&part(1)?)?, part(2)?.tanh()?, sigmoid(&part(3)?)?);
        let cell = ((forget * before.cell)? + (enter * new)?)?;
        let hidden = (out * sigmoid(&cell)?)?;
        Ok(DiaState { hidden, cell })
    }

    /// The next map, weighed.
    ///
    /// `memory` is empty before the first map and is handed from call to call: what a residual
    /// network gives to the scales of its branches.
    ///
    /// # Shapes
    ///
    /// - `map`: `[n, c, h, w]`
    /// - returns: the same
    ///
    /// Differentiable.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another number of channels than the cell was made for, or a memory that
    /// is not the cell's own; [`Error::Grid`] for an empty map.
    pub fn scaled(&self, map: &Tensor, memory: &mut Vec<Tensor>) -> Result<Tensor> {
        let (n, c, _, _) = map.dims4()?;
        let y = global_avg_pool(map)?.reshape((n, c))?;
        let state = match memory.as_slice() {
            [] => None,
            [hidden, cell] if hidden.dims() == [n, c] && cell.dims() == [n, c] => {
                Some(DiaState { hidden: hidden.clone(), cell: cell.clone() })
            }
            other => {
                let got = other.first().map_or_else(Vec::new, |first| first.dims().to_vec());
                let expected = "memory: nothing, or the two states [n, c] that the cell left there";
                return Err(Error::Shape { op: "dia", expected, got });
            }
        };
        let DiaState { hidden, cell } = self.step(&y, state.as_ref())?;
        let scaled = map.broadcast_mul(&hidden.reshape((n, c, 1, 1))?)?;
        *memory = vec![hidden, cell];
        Ok(scaled)
    }
}

/// `FC2(ReLU(FC1 x))`, weight and bias of each.
#[derive(Debug)]
struct TwoLayers {
    fc1: [Tensor; 2],
    fc2: [Tensor; 2],
}

impl TwoLayers {
    fn new(channels: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let narrow = (channels / 4).max(1);
        let layer = |name: &str, inputs: usize, outputs: usize, variance: f64| -> Result<_> {
            let vb = vb.pp(name);
            let hint = Init::Randn { mean: 0.0, stdev: (variance / inputs as f64).sqrt() };
            let weight = vb.get_with_hints((outputs, inputs), "weight", hint)?;
            Ok([weight, vb.get_with_hints(outputs, "bias", Init::Const(0.0))?])
        };
        let fc1 = layer("fc1", channels, narrow, 2.0)?;
        Ok(Self { fc1, fc2: layer("fc2", narrow, 4 * channels, 1.0)? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let layer = |x: &Tensor, [weight, bias]: &[Tensor; 2]| -> Result<Tensor> {
            Ok(x.matmul(&weight.t()?)?.broadcast_add(bias)?)
        };
        layer(&relu(&layer(x, &self.fc1)?)?, &self.fc2)
    }
}
