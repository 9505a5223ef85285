//! How a pair of units is scored.

/// The score `z(v, u)` of unit `u` as seen from unit `v`, before the softmax.
///
/// `q` is a query made from `v`, `k` a key made from `u`, both with `a` channels.
/// Reconstruction: the paper's exact score was not at hand; additive attention after Bahdanau,
/// Cho & Bengio, *Neural machine translation by jointly learning to align and translate*, ICLR
/// 2015, is the default, scaled dot products after Vaswani et al., *Attention is all you need*,
/// NeurIPS 2017, the alternative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// `z = va · tanh(q + k)`, with a vector `va` of its own per direction.
    #[default]
    TanhAdditive,
    /// `z = q · k / √a`.
    ScaledDot,
}
