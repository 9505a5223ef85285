//! The non-linearity of the recurrence.

use grid_ops::Real;

/// φ in `h(v) = φ(U x(v) + b + W hhat(v))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(x, 0)`; NaN stays NaN.
    #[default]
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// φ(x).
    #[inline(always)]
    pub fn apply<T: Real>(self, x: T) -> T {
        match self {
            // Not `max`, which would turn NaN into 0.
            Self::Relu if x < T::zero() => T::zero(),
            Self::Relu => x,
            Self::Tanh => x.tanh(),
        }
    }

    /// φ'(x) from φ(x).
    #[inline(always)]
    pub fn slope<T: Real>(self, applied: T) -> T {
        match self {
            Self::Relu if applied == T::zero() => T::zero(),
            Self::Relu => T::one(),
            Self::Tanh => T::one() - applied * applied,
        }
    }
}
