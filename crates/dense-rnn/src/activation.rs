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
    /// `to = φ(scale · x + own)`, as long as `to`.
    #[inline(always)]
    pub(crate) fn join<T: Real>(self, scale: T, x: &[T], own: &[T], to: &mut [T]) {
        let all = to.iter_mut().zip(x).zip(own);
        match self {
            Self::Relu => all.for_each(|((to, &x), &own)| {
                let pre = scale.mul_add(x, own);
                // Not `max`, which would turn NaN into 0.
                *to = if pre < T::zero() { T::zero() } else { pre };
            }),
            Self::Tanh => all.for_each(|((to, &x), &own)| *to = scale.mul_add(x, own).tanh()),
        }
    }

    /// `grad ← grad ⊙ φ'`, from `hidden`, what φ gave.
    #[inline(always)]
    pub(crate) fn back<T: Real>(self, grad: &mut [T], hidden: &[T]) {
        let all = grad.iter_mut().zip(hidden);
        match self {
            Self::Relu => all.for_each(|(grad, &h)| {
                *grad = if h == T::zero() { T::zero() } else { *grad };
            }),
            Self::Tanh => all.for_each(|(grad, &h)| *grad = *grad * (T::one() - h * h)),
        }
    }
}
