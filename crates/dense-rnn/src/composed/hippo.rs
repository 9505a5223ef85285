//! The cell with a memory, and the memory alone.

use attention::Direction;
use attention::composed::{turned, weighted_sum};
use attention::diagonals_of;
use candle_core::{Device, Tensor};
use candle_nn::ops::sigmoid;

use crate::hippo::{checked, checked_sequences, step::Step};
use crate::{Graph, Legs, Result};

/// See [`hippo_scan`](crate::hippo_scan).
///
/// # Errors
///
/// As there.
pub fn hippo_scan(
    input: &Tensor,
    to_memory: &Tensor,
    from_memory: &Tensor,
    legs: &Legs,
) -> Result<Tensor> {
    checked(input.dims(), to_memory, from_memory, legs)?;
    let mut out = Vec::new();
    for (k, direction) in Direction::ALL.into_iter().enumerate().take(input.dim(3)?) {
        let units = turned(&input.narrow(3, k, 1)?.squeeze(3)?, direction)?;
        let weights = (&to_memory.get(k)?, &from_memory.get(k)?);
        out.push(turned(&one_direction(&units, weights, legs)?, direction)?);
    }
    Ok(Tensor::stack(&out, 3)?)
}

/// `units` `[n, h, w, m + 2 d]`; returns `[n, h, w, d]`.
fn one_direction(
    units: &Tensor,
    (to_memory, from_memory): (&Tensor, &Tensor),
    legs: &Legs,
) -> Result<Tensor> {
    let (n, h, w, width) = units.dims4()?;
    let (m, d) = to_memory.dims2()?;
    let (units, device) = (units.reshape((n, h * w, width))?, units.device());
    let (to_memory, from_memory) = (to_memory.t()?, from_memory.t()?);
    let mut all: Vec<Tensor> = Vec::new();
    let mut places = vec![0u32; h * w];
    let mut known = 0;
    // Hidden states and memories of the anti-diagonal before, and its units.
    let mut last: Option<(Tensor, Tensor, Vec<usize>)> = None;
    for (t, (first, count)) in diagonals_of((h, w)).enumerate() {
        let here: Vec<usize> = (0..count).map(|k| first + k * (w - 1)).collect();
        here.iter().zip(known..).for_each(|(&unit, place)| places[unit] = place);
        known += count as u32;
        let index: Vec<u32> = here.iter().map(|&unit| unit as u32).collect();
        let rows = units.index_select(&Tensor::new(index, device)?, 1)?; // [n, count, m + 2 d]
        let (before, memory) = match &last {
            None => {
                let zeros = Tensor::zeros((n, count, d), units.dtype(), device)?;
                (zeros.clone(), zeros)
            }
            Some((hidden, memory, from)) => {
                let mean = means(&here, from, w, hidden)?;
                let mean = mean.broadcast_as((n, count, from.len()))?.contiguous()?;
                (weighted_sum(&mean, hidden)?, weighted_sum(&mean, memory)?)
            }
        };
        let taken = (rows.narrow(2, 0, m)? + before.broadcast_matmul(&to_memory)?)?;
        let [of_memory, of_input] = matrices(legs, t, &units)?;
        let memory = memory.reshape((n, count, legs.order, m))?;
        let memory = of_memory.broadcast_matmul(&memory)?;
        let memory = (memory + of_input.broadcast_matmul(&taken.unsqueeze(2)?)?)?;
        let memory = memory.reshape((n, count, d))?;
        let made = (rows.narrow(2, m, 2 * d)? + memory.broadcast_matmul(&from_memory)?)?;
        let (candidate, gate) = (made.narrow(2, 0, d)?.tanh()?, sigmoid(&made.narrow(2, d, d)?)?);
        let hidden = (&before + (gate * (candidate - &before)?)?)?;
        all.push(hidden.clone());
        last = Some((hidden, memory, here));
    }
    let places = Tensor::new(places, device)?;
    Ok(Tensor::cat(&all, 1)?.index_select(&places, 1)?.reshape((n, h, w, d))?)
}

/// See [`legs_memory`](crate::legs_memory).
///
/// # Errors
///
/// As there.
pub fn legs_memory(input: &Tensor, legs: &Legs) -> Result<Tensor> {
    let m = checked_sequences(input, legs)?;
    let (n, count, _) = input.dims3()?;
    let mut memory = Tensor::zeros((n, legs.order, m), input.dtype(), input.device())?;
    let mut all = Vec::with_capacity(count);
    for t in 0..count {
        let [of_memory, of_input] = matrices(legs, t, input)?;
        let taken = of_input.broadcast_matmul(&input.narrow(1, t, 1)?)?;
        memory = (of_memory.broadcast_matmul(&memory)? + taken)?;
        all.push(memory.clone());
    }
    Ok(Tensor::stack(&all, 1)?) //                       [n, t, order, m]
}

/// The share of each unit of `from` in the mean before one of `here`, `[here, from]`.
fn means(here: &[usize], from: &[usize], w: usize, like: &Tensor) -> Result<Tensor> {
    let mut shares = Vec::with_capacity(here.len() * from.len());
    for &v in here {
        let at = (v / w, v % w);
        let share = 1.0 / Graph::Dag4.count(at) as f64;
        let before: Vec<usize> = Graph::Dag4.predecessors(at, w).flatten().collect();
        shares.extend(from.iter().map(|u| if before.contains(u) { share } else { 0.0 }));
    }
    let shares = Tensor::from_vec(shares, (here.len(), from.len()), &Device::Cpu)?;
    Ok(shares.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// The step at `t` as matrices of the memory, `[order, order]`, and of the input, `[order, 1]`.
fn matrices(legs: &Legs, t: usize, like: &Tensor) -> Result<[Tensor; 2]> {
    let order = legs.order;
    let step = Step::<f64>::new(legs, t);
    let (mut of_memory, mut of_input) = (vec![0.0; order * order], vec![0.0; order]);
    // All unit memories side by side, then none with an input of 1.
    (0..order).for_each(|k| of_memory[k * order + k] = 1.0);
    step.run(&mut of_memory, &vec![0.0; order]);
    step.run(&mut of_input, &[1.0]);
    let tensor = |values: Vec<f64>, columns: usize| -> Result<Tensor> {
        let tensor = Tensor::from_vec(values, (order, columns), &Device::Cpu)?;
        Ok(tensor.to_dtype(like.dtype())?.to_device(like.device())?)
    };
    Ok([tensor(of_memory, order)?, tensor(of_input, 1)?])
}
