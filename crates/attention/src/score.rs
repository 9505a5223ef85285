//! How a pair of units is scored.

use grid_ops::Real;

/// The score `z(v, u)` of unit `u` as seen from unit `v`, before the softmax.
///
/// `q` is a query made from `v`, `k` a key made from `u`, both with `a` channels.
/// Reconstruction: the paper's exact score was not at hand; additive attention after Bahdanau,
/// Cho & Bengio, *Neural machine translation by jointly learning to align and translate*, ICLR
/// 2015, is the default, scaled dot products after Vaswani et al., *Attention is all you need*,
/// NeurIPS 2017, and a score linear in both are the alternatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// `z = va · tanh(q + k)`, with a vector `va` of its own per direction.
    #[default]
    TanhAdditive,
    /// `z = q · k / √a`.
    ScaledDot,
    /// `z = k`, one channel: in a score linear in query and key, the query's part is the same for
    /// all units that are compared and cancels in the softmax.
    LinearAdditive,
}

impl Score {
    /// The channels of a key, of the `channels` that a configuration allows.
    pub fn key_channels(self, channels: usize) -> usize {
        if self == Self::LinearAdditive { 1 } else { channels }
    }

    /// The channels of a query, of those of a key.
    pub fn query_channels(self, keys: usize) -> usize {
        if self == Self::LinearAdditive { 0 } else { keys }
    }
}

/// `1/√a`, the factor of scaled dot products of `a` channels.
pub(crate) fn dot_scale<T: Real>(a: usize) -> T {
    T::of(a as f64).sqrt().recip()
}
