//! The numbers in weights files, as `f32`.

use candle_core::{Device, Tensor};

/// A number type of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    F16,
    Bf16,
    F32,
    F64,
}

impl Number {
    /// Bytes of one.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The numbers that these bytes are, the lowest byte first.
    pub(super) fn widened(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => words(bytes).map(f32::from_le_bytes).collect(),
            Self::F64 => words(bytes).map(|word| f64::from_le_bytes(word) as f32).collect(),
            Self::Bf16 => words(bytes).map(|word| bf16(u16::from_le_bytes(word))).collect(),
            Self::F16 => words(bytes).map(|word| f16(u16::from_le_bytes(word))).collect(),
        }
    }
}

/// Whether this is the counter of a batch norm, which no network here has a use for.
pub(super) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// The tensor `name`, or why it cannot be a network's.
pub(super) fn weight(name: &str, values: Vec<f32>, shape: &[usize]) -> Result<Tensor, String> {
    if let Some(bad) = values.iter().find(|x| !x.is_finite()) {
        return Err(format!("{name} holds the value {bad}"));
    }
    if name.rsplit('.').next() == Some("running_var") && values.iter().any(|&x| x < 0.0) {
        return Err(format!("{name} holds a negative variance"));
    }
    Tensor::from_vec(values, shape, &Device::Cpu).map_err(|error| format!("{name}: {error}"))
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// A `bfloat16` is the upper half of an `f32`.
fn bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// IEEE 754 half precision: 1 sign bit, 5 of exponent, 10 of fraction.
fn f16(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precisions_are_widened_exactly() {
        // 1, -2, 65504 (the largest), 2⁻¹⁴ (the smallest normal), 2⁻²⁴ (the smallest), -0.
        let bits = [0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000];
        let expected = [1.0, -2.0, 65504.0, 2f32.powi(-14), 2f32.powi(-24), -0.0];
        assert_eq!(bits.map(f16), expected);
        assert!(f16(0x7c00).is_infinite() && f16(0xfe00).is_nan());
        assert_eq!([0x3f80, 0xc000, 0x4049].map(bf16), [1.0, -2.0, 3.140625]);
    }
}
