//! Maps as plain numbers, with the operations that modules are made of as loops.

use candle_core::Tensor;

use crate::common::flat;

/// `[n, c, h, w]`.
#[derive(Clone)]
pub(crate) struct Map {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) x: Vec<f64>,
}

impl Map {
    pub(crate) fn of(x: &Tensor) -> Self {
        let (n, c, h, w) = x.dims4().unwrap();
        Self { n, c, h, w, x: flat(x) }
    }

    fn made(n: usize, c: usize, h: usize, w: usize, f: impl Fn([usize; 4]) -> f64) -> Self {
        let at = |flat: usize| f([flat / (c * h * w), flat / (h * w) % c, flat / w % h, flat % w]);
        Self { n, c, h, w, x: (0..n * c * h * w).map(at).collect() }
    }

    fn at(&self, [n, c, i, j]: [usize; 4]) -> f64 {
        self.x[((n * self.c + c) * self.h + i) * self.w + j]
    }

    /// An odd kernel that keeps the size; zeros beyond the map.
    pub(crate) fn conv(
        &self,
        weight: &Tensor,
        bias: Option<&candle_core::Var>,
        dilation: usize,
    ) -> Self {
        let (k, c, kh, kw) = weight.dims4().unwrap();
        let (weight, bias) = (flat(weight), bias.map(|bias| flat(bias)));
        Self::made(self.n, k, self.h, self.w, |[n, k, i, j]| {
            let mut sum = bias.as_ref().map_or(0.0, |bias| bias[k]);
            for (c, p, q) in (0..c).flat_map(|c| (0..kh * kw).map(move |t| (c, t / kw, t % kw))) {
                let place = |at: usize, tap: usize, taps: usize| {
                    (at + tap * dilation).checked_sub(taps / 2 * dilation)
                };
                let (Some(row), Some(column)) = (place(i, p, kh), place(j, q, kw)) else {
                    continue;
                };
                if row < self.h && column < self.w {
                    let weight = weight[((k * self.c + c) * kh + p) * kw + q];
                    sum += weight * self.at([n, c, row, column]);
                }
            }
            sum
        })
    }

    /// By weight, bias, mean and variance of each channel.
    pub(crate) fn normed(&self, [weight, bias, mean, var]: &[Vec<f64>; 4]) -> Self {
        self.mapped(|x, c| weight[c] * (x - mean[c]) / (var[c] + 1e-5).sqrt() + bias[c])
    }

    pub(crate) fn relu(&self) -> Self {
        self.mapped(|x, _| x.max(0.0))
    }

    fn mapped(&self, f: impl Fn(f64, usize) -> f64) -> Self {
        let Self { n, c, h, w, .. } = *self;
        Self::made(n, c, h, w, |at| f(self.at(at), at[1]))
    }

    /// The means of `bins × bins` bins.
    pub(crate) fn pooled(&self, bins: usize) -> Self {
        let range = |bin: usize, size: usize| {
            let share = size as f64 / bins as f64;
            let first = (bin as f64 * share + 1e-9).floor() as usize;
            first..((bin + 1) as f64 * share - 1e-9).ceil() as usize
        };
        Self::made(self.n, self.c, bins, bins, |[n, c, i, j]| {
            let cells = range(i, self.h).flat_map(|p| range(j, self.w).map(move |q| (p, q)));
            let cells: Vec<f64> = cells.map(|(p, q)| self.at([n, c, p, q])).collect();
            cells.iter().sum::<f64>() / cells.len() as f64
        })
    }

    /// Bilinear, half-pixel centres.
    pub(crate) fn resized(&self, h: usize, w: usize) -> Self {
        let parts = |at: usize, from: usize, to: usize| {
            let place = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let first = (place.floor() as usize).min(from - 1);
            let share = (place - first as f64).min(1.0);
            [(first, 1.0 - share), ((first + 1).min(from - 1), share)]
        };
        Self::made(self.n, self.c, h, w, |[n, c, i, j]| {
            let mut sum = 0.0;
            for (p, of_row) in parts(i, self.h, h) {
                for (q, of_column) in parts(j, self.w, w) {
                    sum += of_row * of_column * self.at([n, c, p, q]);
                }
            }
            sum
        })
    }

    /// The channels of both.
    pub(crate) fn beside(&self, other: &Self) -> Self {
        Self::made(self.n, self.c + other.c, self.h, self.w, |[n, c, i, j]| {
            if c < self.c { self.at([n, c, i, j]) } else { other.at([n, c - self.c, i, j]) }
        })
    }

    /// `self + factor · other`.
    pub(crate) fn plus(&self, factor: f64, other: &Self) -> Self {
        let Self { n, c, h, w, .. } = *self;
        Self::made(n, c, h, w, |at| self.at(at) + factor * other.at(at))
    }

    /// What the units attend to, of queries, keys and values, among those that they see.
    pub(crate) fn attended(
        [query, key, value]: &[Self; 3],
        sees: impl Fn((usize, usize), (usize, usize)) -> bool,
    ) -> Self {
        let (h, w) = (query.h, query.w);
        Self::made(value.n, value.c, h, w, |[n, c, i, j]| {
            let seen = (0..h * w).map(|u| (u / w, u % w)).filter(|&u| sees((i, j), u));
            let (mut sum, mut weighed) = (0.0, 0.0);
            for (p, q) in seen {
                let products = (0..key.c).map(|a| query.at([n, a, i, j]) * key.at([n, a, p, q]));
                let weight = products.sum::<f64>().exp();
                sum += weight;
                weighed += weight * value.at([n, c, p, q]);
            }
            weighed / sum
        })
    }
}
