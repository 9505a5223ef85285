//! Bins of probabilities, and sums that have the same bits in any order.

use crate::scores::ratio;
use crate::{Error, Result};

/// Units of a sum in 1.
const ONE: f64 = (1u64 << 32) as f64;

/// How much above 1 a probability may be: rounding of a mean of several makes some so.
const SLACK: f32 = 1e-5;

/// Pixels, or pixels and a class, whose probability is in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bin {
    /// How many.
    pub pixels: u64,
    /// How many of them are labelled as predicted, or with the class.
    pub hits: u64,
    /// Sum of the probabilities, in units of 2^-32.
    pub confidence_units: u128,
}

impl Bin {
    /// Share of the hits; `None` of no pixels.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.hits, self.pixels)
    }

    /// Mean probability; `None` of no pixels.
    pub fn confidence(&self) -> Option<f64> {
        (self.pixels > 0).then(|| self.confidence_units as f64 / ONE / self.pixels as f64)
    }

    pub(super) fn count(&mut self, hit: bool, units: u64) {
        self.pixels += 1;
        self.hits += u64::from(hit);
        self.confidence_units += u128::from(units);
    }

    /// Pixels, hits, and the probabilities' sum in whole numbers and units of 2^-32.
    pub(super) fn numbers(&self) -> [u64; NUMBERS] {
        let whole = (self.confidence_units >> 32) as u64;
        let units = self.confidence_units as u64 & u64::from(u32::MAX);
        [self.pixels, self.hits, whole, units]
    }

    /// Adds the number at an index of [`Bin::numbers`].
    pub(super) fn add_number(&mut self, index: usize, number: u64) {
        match index {
            0 => self.pixels += number,
            1 => self.hits += number,
            2 => self.confidence_units += u128::from(number) << 32,
            _ => self.confidence_units += u128::from(number),
        }
    }
}

/// Numbers that make a bin.
pub(super) const NUMBERS: usize = 4;

/// By how many hits the probabilities of a bin are off, from sums of its numbers.
pub(super) fn gap([_, hits, whole, units]: &[f64; NUMBERS]) -> f64 {
    (hits - (whole + units / ONE)).abs()
}

/// Bins of nothing.
pub(super) fn empty(bins: usize) -> Result<Vec<Bin>> {
    if (1..=1000).contains(&bins) {
        Ok(vec![Bin::default(); bins])
    } else {
        Err(Error::Bins { found: bins })
    }
}

/// A probability in units of 2^-32.
pub(super) fn units(probability: f32, position: usize) -> Result<u64> {
    if (0.0..=1.0 + SLACK).contains(&probability) {
        Ok((f64::from(probability.min(1.0)) * ONE).round_ties_even() as u64)
    } else {
        Err(Error::Probability { value: probability, position })
    }
}

/// The index of the bin whose interval, open below, holds a probability.
///
/// The product of a number of 24 bits and one of 10 is exact, so no edge is off.
pub(super) fn bin_of(probability: f32, bins: usize) -> usize {
    let above = (f64::from(probability) * bins as f64).ceil() as usize;
    above.clamp(1, bins) - 1
}

pub(super) fn same_number(left: &[Bin], right: &[Bin]) -> Result<()> {
    let (left, right) = (left.len(), right.len());
    if left == right { Ok(()) } else { Err(Error::BinNumbers { left, right }) }
}

pub(super) fn merge(bins: &mut [Bin], others: &[Bin]) {
    for (bin, more) in bins.iter_mut().zip(others) {
        bin.pixels += more.pixels;
        bin.hits += more.hits;
        bin.confidence_units += more.confidence_units;
    }
}

/// `Σ_m |B_m|/n · |acc(B_m) - conf(B_m)|`; `None` of no pixels.
pub(super) fn expected_error(bins: &[Bin]) -> Option<f64> {
    let pixels: u64 = bins.iter().map(|bin| bin.pixels).sum();
    let gaps = bins.iter().map(|bin| gap(&bin.numbers().map(|n| n as f64)));
    (pixels > 0).then(|| gaps.sum::<f64>() / pixels as f64)
}
