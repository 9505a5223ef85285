//! Masked cross-entropy, at the labels' resolution from lower-resolution logits.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use crate::error::checked_grid;
use crate::resize::{Blend, Corners, along_row, blends};
use crate::{Error, Reads, Real, Result, apply1, composed, is_composed, simd, view};

/// The label of pixels that are not counted.
pub const IGNORE: u8 = 255;

/// Output rows that one task works through; part of the result's bits.
const ROWS: usize = 64;

/// Classes up to which vectors along a row of pixels are faster than vectors over the classes.
const FEW_CLASSES: usize = 64;

/// The mean cross-entropy of `logits` against `labels` over the counted pixels.
///
/// # Shapes
///
/// - `logits`: `[n, k, h, w]`, `f32` or `f64`
/// - `labels`: `[n, h, w]`, `u8`: a class below `k`, or [`IGNORE`]
/// - `class_weights`: `k` factors; the mean is then weighted, as PyTorch's is
/// - returns: a scalar; 0 with gradient 0 where no pixel is counted
///
/// Differentiable in the logits.
///
/// # Errors
///
/// [`Error::Shape`] where shapes do not fit, [`Error::Label`] for a label that is no class,
/// [`Error::DType`] for other number types.
pub fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    class_weights: Option<&[f64]>,
) -> Result<Tensor> {
    same_size(logits, labels)?;
    run("cross_entropy", logits, labels, class_weights)
}

/// Refuses labels of another size than the logits'.
pub(crate) fn same_size(logits: &Tensor, labels: &Tensor) -> Result<()> {
    let op = "cross_entropy";
    let (n, _, h, w) = checked_grid(op, logits)?;
    if labels.dims() == [n, h, w] {
        return Ok(());
    }
    let expected = "labels: [n, h, w] with n, h and w as in logits";
    Err(Error::Shape { op, expected, got: labels.dims().to_vec() })
}

/// [`cross_entropy`] of logits resized bilinearly to the size of the labels
/// ([`Corners::Centers`]), without ever holding logits or probabilities of that size.
///
/// Each pixel's logits, probabilities and gradient live in a few registers; what is kept is the
/// gradient of the low-resolution logits.
///
/// # Shapes
///
/// - `logits`: `[n, k, h', w']`, `f32` or `f64`
/// - `labels`: `[n, h, w]`, `u8`
/// - returns: a scalar
///
/// # Errors
///
/// As [`cross_entropy`].
pub fn upsampled_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    class_weights: Option<&[f64]>,
) -> Result<Tensor> {
    run("upsampled_cross_entropy", logits, labels, class_weights)
}

fn run(
    op: &'static str,
    logits: &Tensor,
    labels: &Tensor,
    class_weights: Option<&[f64]>,
) -> Result<Tensor> {
    let truth = Truth::checked(op, logits, labels, class_weights)?;
    if is_composed(logits) {
        return composed::upsampled_cross_entropy(logits, labels, class_weights);
    }
    let (_, classes, h, w) = logits.dims4()?;
    let gradient = (OnceLock::new(), OnceLock::new());
    let loss = Loss { classes, from: (h, w), truth, tracked: logits.track_op(), gradient };
    Ok(apply1(&logits.contiguous()?, loss, Reads::NOTHING)?)
}

/// What logits are held against.
pub(crate) struct Truth {
    /// Rows and columns of the labels.
    pub(crate) size: (usize, usize),
    /// `[n, height, width]`.
    pub(crate) labels: Vec<u8>,
    /// Of each class.
    pub(crate) weights: Vec<f64>,
    /// The sum of the counted pixels' weights.
    pub(crate) total: f64,
}

impl Truth {
    pub(crate) fn checked(
        op: &'static str,
        logits: &Tensor,
        labels: &Tensor,
        class_weights: Option<&[f64]>,
    ) -> Result<Self> {
        let (n, classes, ..) = checked_grid(op, logits)?;
        let &[images, height, width] = labels.dims() else {
            let expected = "labels: [n, h, w]";
            return Err(Error::Shape { op, expected, got: labels.dims().to_vec() });
        };
        if images != n || height == 0 || width == 0 {
            let expected = "labels: [n, h, w] with n as in logits, none of them zero";
            return Err(Error::Shape { op, expected, got: labels.dims().to_vec() });
        }
        if labels.dtype() != DType::U8 {
            return Err(Error::DType { op, expected: "u8 labels", got: labels.dtype() });
        }
        if classes > usize::from(IGNORE) {
            let reason = "expected at most 255 classes";
            return Err(Error::Config { op, field: "classes", value: classes, reason });
        }
        let weights = match class_weights {
            Some(weights) if weights.len() == classes => weights.to_vec(),
            Some(weights) => {
                let expected = "class_weights: one for each of the k classes of logits";
                return Err(Error::Shape { op, expected, got: vec![weights.len()] });
            }
            None => vec![1.0; classes],
        };
        let labels = labels.flatten_all()?.to_vec1::<u8>()?;
        let is_no_class = |&label: &u8| label != IGNORE && usize::from(label) >= classes;
        if let Some(index) = labels.iter().position(is_no_class) {
            return Err(Error::Label { op, label: labels[index], index, classes });
        }
        let mut counts = [0u64; 256];
        labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
        let total = weights.iter().zip(counts).map(|(weight, count)| weight * count as f64).sum();
        Ok(Self { size: (height, width), labels, weights, total })
    }
}

struct Loss {
    classes: usize,
    from: (usize, usize),
    truth: Truth,
    tracked: bool,
    /// Of the low-resolution logits, for an upstream gradient of 1.
    gradient: (OnceLock<Vec<f32>>, OnceLock<Vec<f64>>),
}

/// Interpolates one image's logits `[k, h', w']` row by row, classes innermost.
pub(crate) struct Rows<'a, T> {
    pub(crate) logits: &'a [T],
    pub(crate) classes: usize,
    pub(crate) from: (usize, usize),
}

impl<T: Real> Rows<'_, T> {
    /// The logits between two rows, `[w', k]`.
    #[inline(always)]
    pub(crate) fn read(&self, row: Blend<T>, line: &mut [T]) {
        let (h, w) = self.from;
        for class in 0..self.classes {
            let plane = &self.logits[class * h * w..][..h * w];
            let (above, below) = (&plane[row.first * w..][..w], &plane[row.second * w..][..w]);
            for (j, (&a, &b)) in above.iter().zip(below).enumerate() {
                line[j * self.classes + class] = row.of(a, b);
            }
        }
    }

    /// The logits between two columns of a line, `[k]`.
    #[inline(always)]
    pub(crate) fn blend(&self, line: &[T], column: Blend<T>, to: &mut [T]) {
        let k = self.classes;
        let (a, b) = (&line[column.first * k..][..k], &line[column.second * k..][..k]);
        column.of_rows(a, b, to);
    }
}

/// Loss and gradient of one block of rows.
struct Block<T> {
    loss: f64,
    /// The first row of logits that it touches.
    start: usize,
    /// `[k, rows, w']`.
    gradient: Vec<T>,
}

/// The first row of logits that a block of output rows touches, and how many.
fn touched<T: Real>(rows: &[Blend<T>], block: usize) -> (usize, usize) {
    let rows = &rows[block * ROWS..((block + 1) * ROWS).min(rows.len())];
    let start = rows.first().map_or(0, |row| row.first);
    (start, rows.last().map_or(0, |row| row.second + 1 - start))
}

impl Loss {
    /// Loss and gradient of one block of rows of one image.
    #[inline(always)]
    fn block<T: Real>(&self, logits: &[T], image: usize, block: usize) -> Block<T> {
        if self.classes <= FEW_CLASSES {
            self.block_by_rows(logits, image, block)
        } else {
            self.block_by_pixels(logits, image, block)
        }
    }

    /// [`Self::block`] with vectors along the rows: every class's row of logits is blended, and all
    /// steps of the softmax are loops over it.
    #[inline(always)]
    fn block_by_rows<T: Real>(&self, logits: &[T], image: usize, block: usize) -> Block<T> {
        let (k, (h, w), (height, width)) = (self.classes, self.from, self.truth.size);
        let rows = blends::<T>(h, height, Corners::Centers);
        let columns = blends::<T>(w, width, Corners::Centers);
        let logits = &logits[image * k * h * w..][..k * h * w];
        let (start, count) = touched(&rows, block);
        let mut gradient = vec![T::zero(); if self.tracked { k * count * w } else { 0 }];
        let mut line = vec![T::zero(); w];
        let mut z = vec![T::zero(); k * width];
        let [mut top, mut sum, mut scale] = [(); 3].map(|()| vec![T::zero(); width]);
        let mut of_label = vec![T::zero(); width];
        let mut loss = 0.0;
        for (i, &row) in rows.iter().enumerate().skip(block * ROWS).take(ROWS) {
            let labels = &self.truth.labels[(image * height + i) * width..][..width];
            top.fill(T::neg_infinity());
            for (plane, z) in logits.chunks_exact(h * w).zip(z.chunks_exact_mut(width)) {
                let (above, below) = (&plane[row.first * w..][..w], &plane[row.second * w..][..w]);
                row.of_rows(above, below, &mut line);
                if w == width {
                    z.copy_from_slice(&line);
                } else {
                    along_row(&columns, &line, z);
                }
                for (top, &z) in top.iter_mut().zip(z.iter()) {
                    *top = if z > *top { z } else { *top };
                }
            }
            for (j, (&label, of_label)) in labels.iter().zip(&mut of_label).enumerate() {
                if label != IGNORE {
                    *of_label = z[usize::from(label) * width + j] - top[j];
                }
            }
            sum.fill(T::zero());
            for z in z.chunks_exact_mut(width) {
                for ((z, sum), &top) in z.iter_mut().zip(&mut sum).zip(&top) {
                    *z = (*z - top).exp_inline();
                    *sum = *sum + *z;
                }
            }
            for (j, &label) in labels.iter().enumerate() {
                scale[j] = T::zero();
                if label != IGNORE {
                    let weight = self.truth.weights[usize::from(label)] / self.truth.total;
                    loss += weight * (sum[j].ln() - of_label[j]).to_f64().unwrap_or(f64::NAN);
                    scale[j] = T::of(weight) / sum[j];
                }
            }
            if !self.tracked {
                continue;
            }
            for z in z.chunks_exact_mut(width) {
                for (z, &scale) in z.iter_mut().zip(&scale) {
                    // Whatever an ignored pixel's logits are, even NaN.
                    *z = if scale == T::zero() { T::zero() } else { *z * scale };
                }
            }
            for (j, &label) in labels.iter().enumerate().filter(|(_, label)| **label != IGNORE) {
                let at = usize::from(label) * width + j;
                z[at] = z[at] - T::of(self.truth.weights[usize::from(label)] / self.truth.total);
            }
            for (gradient, d) in gradient.chunks_exact_mut(count * w).zip(z.chunks_exact(width)) {
                if w == width {
                    line.copy_from_slice(d);
                } else {
                    line.fill(T::zero());
                    for (&g, column) in d.iter().zip(&columns) {
                        let second = column.share * g;
                        line[column.first] = line[column.first] + (g - second);
                        line[column.second] = line[column.second] + second;
                    }
                }
                for (row, share) in [(row.first, T::one() - row.share), (row.second, row.share)] {
                    for (to, &d) in gradient[(row - start) * w..][..w].iter_mut().zip(&line) {
                        *to = share.mul_add(d, *to);
                    }
                }
            }
        }
        Block { loss, start, gradient }
    }

    /// [`Self::block`] with vectors over the classes, pixel by pixel.
    #[inline(always)]
    fn block_by_pixels<T: Real>(&self, logits: &[T], image: usize, block: usize) -> Block<T> {
        let (k, (h, w), (height, width)) = (self.classes, self.from, self.truth.size);
        let rows = blends::<T>(h, height, Corners::Centers);
        let columns = blends::<T>(w, width, Corners::Centers);
        let source =
            Rows { logits: &logits[image * k * h * w..][..k * h * w], classes: k, from: self.from };
        let (start, count) = touched(&rows, block);
        let mut gradient = vec![T::zero(); if self.tracked { k * count * w } else { 0 }];
        let (mut line, mut d_line) = (vec![T::zero(); w * k], vec![T::zero(); w * k]);
        let mut z = vec![T::zero(); k];
        let mut loss = 0.0;
        for (i, &row) in rows.iter().enumerate().skip(block * ROWS).take(ROWS) {
            source.read(row, &mut line);
            d_line.fill(T::zero());
            let labels = &self.truth.labels[(image * height + i) * width..][..width];
            for (&label, &column) in labels.iter().zip(&columns) {
                if label == IGNORE {
                    continue;
                }
                let label = usize::from(label);
                source.blend(&line, column, &mut z);
                let top = z.iter().fold(T::neg_infinity(), |top, &z| if z > top { z } else { top });
                let of_label = z[label] - top;
                let mut sum = T::zero();
                for z in &mut z {
                    *z = (*z - top).exp_inline();
                    sum = sum + *z;
                }
                let weight = self.truth.weights[label] / self.truth.total;
                loss += weight * (sum.ln() - of_label).to_f64().unwrap_or(f64::NAN);
                if !self.tracked {
                    continue;
                }
                let (scale, weight) = (T::of(weight) / sum, T::of(weight));
                z.iter_mut().for_each(|z| *z = *z * scale);
                z[label] = z[label] - weight;
                let second = column.share;
                let first = T::one() - second;
                for (d, &g) in d_line[column.first * k..][..k].iter_mut().zip(&z) {
                    *d = first.mul_add(g, *d);
                }
                for (d, &g) in d_line[column.second * k..][..k].iter_mut().zip(&z) {
                    *d = second.mul_add(g, *d);
                }
            }
            if !self.tracked {
                continue;
            }
            for (row, share) in [(row.first, T::one() - row.share), (row.second, row.share)] {
                for class in 0..k {
                    let to = &mut gradient[(class * count + row - start) * w..][..w];
                    for (j, to) in to.iter_mut().enumerate() {
                        *to = share.mul_add(d_line[j * k + class], *to);
                    }
                }
            }
        }
        Block { loss, start, gradient }
    }

    fn forward<T: Real>(&self, logits: &[T]) -> (T, Vec<T>) {
        let image_len = self.classes * self.from.0 * self.from.1;
        let (images, blocks) = (logits.len() / image_len, self.truth.size.0.div_ceil(ROWS));
        let mut gradient = vec![T::zero(); if self.tracked { logits.len() } else { 0 }];
        if self.truth.total == 0.0 {
            return (T::zero(), gradient);
        }
        let parts: Vec<Block<T>> = (0..images * blocks)
            .into_par_iter()
            .map(|at| {
                simd(
                    #[inline(always)]
                    || self.block(logits, at / blocks, at % blocks),
                )
            })
            .collect();
        // In a fixed order: the bits must not depend on the number of threads.
        let loss: f64 = parts.iter().map(|part| part.loss).sum();
        let (h, w) = self.from;
        gradient.par_chunks_mut(h * w).enumerate().for_each(|(plane, to)| {
            let (image, class) = (plane / self.classes, plane % self.classes);
            for part in &parts[image * blocks..][..blocks] {
                let len = part.gradient.len() / self.classes;
                let to = &mut to[part.start * w..][..len];
                let from = &part.gradient[class * len..][..len];
                to.iter_mut().zip(from).for_each(|(to, &d)| *to = *to + d);
            }
        });
        (T::of(loss), gradient)
    }
}

impl CustomOp1 for Loss {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        // The same instance runs forward once only, so `set` cannot fail.
        let loss = match logits.dtype() {
            DType::F32 => {
                let (loss, gradient) = self.forward(view::<f32>((logits, layout))?);
                let _ = self.gradient.0.set(gradient);
                f32::to_cpu_storage_owned(vec![loss])
            }
            DType::F64 => {
                let (loss, gradient) = self.forward(view::<f64>((logits, layout))?);
                let _ = self.gradient.1.set(gradient);
                f64::to_cpu_storage_owned(vec![loss])
            }
            other => bail!("cross-entropy: expected f32 or f64, got {other:?}"),
        };
        Ok((loss, Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        _loss: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let (shape, on) = (logits.shape(), logits.device());
        let gradient = match (logits.dtype(), &self.gradient) {
            (DType::F32, (kept, _)) => {
                let scale = grad.to_scalar::<f32>()?;
                kept.get().map(|g| Tensor::from_vec(scaled(g, scale), shape, on))
            }
            (_, (_, kept)) => {
                let scale = grad.to_scalar::<f64>()?;
                kept.get().map(|g| Tensor::from_vec(scaled(g, scale), shape, on))
            }
        };
        let Some(gradient) = gradient else { bail!("cross-entropy: backward before forward") };
        Ok(Some(gradient?))
    }
}

fn scaled<T: Real>(values: &[T], scale: T) -> Vec<T> {
    values.par_iter().with_min_len(1 << 14).map(|&x| x * scale).collect()
}
