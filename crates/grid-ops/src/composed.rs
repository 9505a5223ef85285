//! The same operations composed of candle's own: slower, for every device candle has.
//!
//! What runs where the tensors are not on the CPU, and what the kernels of this crate are held
//! against. Only operations of candle whose gradients are right are used: selections of rows and
//! columns, padding, matrix products, reductions and elementwise arithmetic. Shapes and errors are
//! those of the functions of the same name in the crate's root, and NaN and infinities reach the
//! same outputs.

use std::ops::Range;

use candle_core::{D, Tensor};

use crate::add::checked as checked_sum;
use crate::avg_pool::bins;
use crate::batch_norm::checked as checked_norm;
use crate::conv2d::{checked, mirror_of};
use crate::cross_entropy::{IGNORE, Truth, same_size};
use crate::error::{checked_dtype, checked_grid};
use crate::nearest::sources;
use crate::resize::{Blend, blends, checked_size};
use crate::units::checked as checked_units;
use crate::{Activation, BatchNorm, Conv2d, ConvTranspose2d, Corners, Pool, Result};

/// See [`conv2d`](crate::conv2d()).
///
/// # Errors
///
/// As there.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv2d,
) -> Result<Tensor> {
    let s = checked(x, weight, bias, config)?;
    let Conv2d { stride, padding, dilation, groups, activation } = *config;
    let x = padded(x, [padding; 4])?;
    let taps = taps(&x, (s.kh, s.kw), stride, dilation, (s.oh, s.ow))?;
    let taps_of_group = s.c / groups * s.kh * s.kw;
    // [n, c, kh·kw, oh·ow], by groups.
    let columns = Tensor::stack(&taps, 2)?.reshape((s.n, groups, taps_of_group, s.oh * s.ow))?;
    let weight = weight.reshape((1, groups, s.k / groups, taps_of_group))?;
    let y = weight.broadcast_matmul(&columns)?.reshape((s.n, s.k, s.oh, s.ow))?;
    let y = match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, s.k, 1, 1))?)?,
        None => y,
    };
    activated(&y, activation)
}

/// See [`conv_transpose2d`](crate::conv_transpose2d()): a convolution with the turned kernel over
/// the input with zeros between its cells.
///
/// # Errors
///
/// As there.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &ConvTranspose2d,
) -> Result<Tensor> {
    let s = mirror_of(x, weight, bias, config)?;
    let ConvTranspose2d { stride, padding, dilation, groups, .. } = *config;
    let (n, c, h, w) = x.dims4()?;
    // Zeros after every cell, then the last ones cut off again.
    let apart = x.reshape((n, c, h, 1, w, 1))?.pad_with_zeros(3, 0, stride - 1)?;
    let apart = apart.pad_with_zeros(5, 0, stride - 1)?.reshape((n, c, h * stride, w * stride))?;
    let apart = apart.narrow(2, 0, (h - 1) * stride + 1)?.narrow(3, 0, (w - 1) * stride + 1)?;
    let weight = weight.reshape((groups, c / groups, s.c / groups, s.kh, s.kw))?;
    let weight = weight.transpose(1, 2)?.reshape((s.c, c / groups, s.kh, s.kw))?;
    let turned = |size: usize| (0..size).rev().collect::<Vec<_>>();
    let weight = selected(&weight, &turned(s.kh), &turned(s.kw))?;
    let reach = |kernel: usize| dilation * (kernel - 1);
    let (below, right) = (reach(s.kh) + config.output_padding, reach(s.kw) + config.output_padding);
    let apart = padded(&apart, [reach(s.kh), below, reach(s.kw), right])?;
    // As if nothing were cut off; then the padding is.
    let y = conv2d(&apart, &weight, bias, &Conv2d { dilation, groups, ..Conv2d::default() })?;
    Ok(y.narrow(2, padding, s.h)?.narrow(3, padding, s.w)?.contiguous()?)
}

/// See [`max_pool2d`](crate::max_pool2d()).
///
/// # Errors
///
/// As there.
pub fn max_pool2d(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    let (oh, ow) = pool.checked("max_pool2d", x)?;
    let (n, c, h, w) = x.dims4()?;
    let low = |dims: (usize, usize, usize, usize)| {
        Tensor::full(f64::NEG_INFINITY, dims, x.device())?.to_dtype(x.dtype())
    };
    let Pool { kernel, stride, padding, .. } = *pool;
    let end =
        |out: usize, size: usize| ((out - 1) * stride + kernel).saturating_sub(size + padding);
    let (below, right) = (end(oh, h), end(ow, w));
    let x = Tensor::cat(&[low((n, c, padding, w))?, x.clone(), low((n, c, below, w))?], 2)?;
    let high = h + padding + below;
    let x = Tensor::cat(&[low((n, c, high, padding))?, x, low((n, c, high, right))?], 3)?;
    let taps = taps(&x, (kernel, kernel), stride, 1, (oh, ow))?;
    let windows = Tensor::stack(&taps, 4)?; // [n, c, oh, ow, kernel²]
    // Comparisons pass over NaN, so it is looked for first.
    let seen = windows.detach();
    let is_nan = seen.ne(&seen)?.to_dtype(x.dtype())?;
    let has_nan = is_nan.max_keepdim(4)?.ne(0.0)?;
    let winners = has_nan.where_cond(&is_nan.argmax_keepdim(4)?, &seen.argmax_keepdim(4)?)?;
    Ok(windows.contiguous()?.gather(&winners, 4)?.squeeze(4)?)
}

/// See [`relu_max_pool2d`](crate::relu_max_pool2d()).
///
/// # Errors
///
/// As there.
pub fn relu_max_pool2d(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    relu(&max_pool2d(x, pool)?)
}

/// See [`avg_pool2d`](crate::avg_pool2d()).
///
/// # Errors
///
/// As there.
pub fn avg_pool2d(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    let (oh, ow) = pool.checked("avg_pool2d", x)?;
    let (_, _, h, w) = x.dims4()?;
    let windows = |out: usize, size: usize| -> Vec<Range<usize>> {
        (0..out).map(|at| pool.window(at, size)).collect()
    };
    window_means(x, &windows(oh, h), &windows(ow, w))
}

/// See [`adaptive_avg_pool2d`](crate::adaptive_avg_pool2d()).
///
/// # Errors
///
/// As there.
pub fn adaptive_avg_pool2d(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (h, w) = checked_size("adaptive_avg_pool2d", x, height, width)?;
    window_means(x, &bins(height, h), &bins(width, w))
}

/// The mean of each window of rows and columns.
fn window_means(x: &Tensor, rows: &[Range<usize>], columns: &[Range<usize>]) -> Result<Tensor> {
    let cells =
        rows.iter().flat_map(|row| columns.iter().map(move |column| row.len() * column.len()));
    let cells = Tensor::from_iter(cells.map(|count| count as f64), x.device())?;
    let cells = cells.reshape((rows.len(), columns.len()))?.to_dtype(x.dtype())?;
    Ok(sums(&sums(x, 2, rows)?, 3, columns)?.broadcast_div(&cells)?)
}

/// See [`global_avg_pool`](crate::global_avg_pool()).
///
/// # Errors
///
/// As there.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    checked_grid("global_avg_pool", x)?;
    Ok(x.mean_keepdim((2, 3))?)
}

/// See [`resize_bilinear`](crate::resize_bilinear()).
///
/// # Errors
///
/// As there.
pub fn resize_bilinear(
    x: &Tensor,
    height: usize,
    width: usize,
    corners: Corners,
) -> Result<Tensor> {
    let (h, w) = checked_size("resize_bilinear", x, height, width)?;
    blended(&blended(x, 2, &blends(h, height, corners))?, 3, &blends(w, width, corners))
}

/// See [`upsample_nearest`](crate::upsample_nearest()).
///
/// # Errors
///
/// As there.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (h, w) = checked_size("upsample_nearest", x, height, width)?;
    selected(x, &sources(h, height), &sources(w, width))
}

/// See [`batch_norm`](crate::batch_norm()).
///
/// # Errors
///
/// As there.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<BatchNorm> {
    let (c, _) = checked_norm(x, gamma, beta)?;
    let mean = x.mean_keepdim((0, 2, 3))?;
    let centred = x.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim((0, 2, 3))?;
    let of_channel = |t: &Tensor| t.reshape((1, c, 1, 1));
    let scale = of_channel(gamma)?.div(&(&var + eps)?.sqrt()?)?;
    let y = centred.broadcast_mul(&scale)?.broadcast_add(&of_channel(beta)?)?;
    let statistic = |t: &Tensor| t.detach().reshape(c);
    Ok(BatchNorm { y: activated(&y, activation)?, mean: statistic(&mean)?, var: statistic(&var)? })
}

/// See [`cross_entropy`](crate::cross_entropy()).
///
/// # Errors
///
/// As there.
pub fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    class_weights: Option<&[f64]>,
) -> Result<Tensor> {
    same_size(logits, labels)?;
    upsampled_cross_entropy(logits, labels, class_weights)
}

/// See [`upsampled_cross_entropy`](crate::upsampled_cross_entropy()); here the logits do take the
/// labels' size.
///
/// # Errors
///
/// As there.
pub fn upsampled_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    class_weights: Option<&[f64]>,
) -> Result<Tensor> {
    let truth = Truth::checked("upsampled_cross_entropy", logits, labels, class_weights)?;
    let (height, width) = truth.size;
    let logits = resize_bilinear(logits, height, width, Corners::Centers)?;
    let n = logits.dim(0)?;
    let (dims, on) = ((n, 1, height, width), logits.device());
    // What is not counted points at class 0 with weight 0, and its logits do not matter.
    let class = |&label: &u8| if label == IGNORE { 0 } else { u32::from(label) };
    let weight = |&label: &u8| match label {
        IGNORE => 0.0,
        label => truth.weights[usize::from(label)] / truth.total,
    };
    let classes: Vec<u32> = truth.labels.iter().map(class).collect();
    let classes = Tensor::from_vec(classes, dims, on)?;
    let weights: Vec<f64> = truth.labels.iter().map(weight).collect();
    let weights = Tensor::from_vec(weights, dims, on)?.to_dtype(logits.dtype())?;
    let counts: Vec<u8> = truth.labels.iter().map(|&label| u8::from(label != IGNORE)).collect();
    let counts = Tensor::from_vec(counts, dims, on)?.broadcast_as(logits.shape())?.contiguous()?;
    let logits = counts.where_cond(&logits, &logits.zeros_like()?)?;
    let top = logits.max_keepdim(1)?.detach();
    let logits = logits.broadcast_sub(&top)?;
    let log_sum = logits.exp()?.sum_keepdim(1)?.log()?;
    let of_label = logits.contiguous()?.gather(&classes, 1)?;
    Ok(((log_sum - of_label)? * weights)?.sum_all()?)
}

/// See [`add`](crate::add()).
///
/// # Errors
///
/// As there.
pub fn add(x: &Tensor, y: &Tensor, activation: Activation) -> Result<Tensor> {
    checked_sum(x, y)?;
    activated(&(x + y)?, activation)
}

/// See [`relu`](crate::relu()).
///
/// # Errors
///
/// As there.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    checked_dtype("relu", x)?;
    // Selected, not `max`, which turns NaN into 0 and passes on half or all of the gradient at 0.
    Ok(x.detach().le(0.0)?.where_cond(&x.zeros_like()?, x)?)
}

fn activated(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::Identity => x.clone(),
        Activation::Relu => relu(x)?,
        Activation::Relu6 => {
            let six = (x.zeros_like()? + 6.0)?;
            x.detach().ge(6.0)?.where_cond(&six, &relu(x)?)?
        }
    })
}

/// Zeros above, below, to the left and to the right.
fn padded(x: &Tensor, [above, below, left, right]: [usize; 4]) -> Result<Tensor> {
    Ok(x.pad_with_zeros(2, above, below)?.pad_with_zeros(3, left, right)?)
}

/// What each tap of a kernel reads for all outputs, `[n, c, oh, ow]` a tap, row-major.
fn taps(
    x: &Tensor,
    (kh, kw): (usize, usize),
    stride: usize,
    dilation: usize,
    (oh, ow): (usize, usize),
) -> Result<Vec<Tensor>> {
    let reads = |tap: usize, out: usize| -> Vec<usize> {
        (0..out).map(|at| at * stride + tap * dilation).collect()
    };
    let tap = |at: usize| selected(x, &reads(at / kw, oh), &reads(at % kw, ow));
    (0..kh * kw).map(tap).collect()
}

/// The given rows and columns of every plane.
fn selected(x: &Tensor, rows: &[usize], columns: &[usize]) -> Result<Tensor> {
    let indices = |all: &[usize]| Tensor::from_iter(all.iter().map(|&at| at as u32), x.device());
    let rows = x.contiguous()?.index_select(&indices(rows)?, 2)?;
    Ok(rows.index_select(&indices(columns)?, D::Minus1)?)
}

/// The sum over each window of the cells along a dimension; none is empty.
fn sums(x: &Tensor, dim: usize, windows: &[Range<usize>]) -> Result<Tensor> {
    let longest = windows.iter().map(Range::len).max().unwrap_or(0);
    let cells = x.dim(dim)?;
    // One cell of zeros behind the last: for windows that are shorter.
    let x = x.pad_with_zeros(dim, 0, 1)?.contiguous()?;
    let nth_cells = |nth: usize| -> Result<Tensor> {
        let cell = |window: &Range<usize>| window.clone().nth(nth).unwrap_or(cells) as u32;
        Ok(x.index_select(&Tensor::from_iter(windows.iter().map(cell), x.device())?, dim)?)
    };
    (1..longest)
        .try_fold(nth_cells(0)?, |sum, nth| -> Result<Tensor> { Ok((sum + nth_cells(nth)?)?) })
}

/// The blends of the cells along a dimension.
fn blended(x: &Tensor, dim: usize, blends: &[Blend<f64>]) -> Result<Tensor> {
    // An input without a share would turn into NaN if it is not finite: the other one takes its
    // place, with half of the whole each.
    let halves = |&Blend { first, second, share }: &Blend<f64>| match share {
        0.0 => Blend { first, second: first, share: 0.5 },
        1.0 => Blend { first: second, second, share: 0.5 },
        share => Blend { first, second, share },
    };
    let blends: Vec<Blend<f64>> = blends.iter().map(halves).collect();
    let x = x.contiguous()?;
    let part = |of: fn(&Blend<f64>) -> (usize, f64)| -> Result<Tensor> {
        let (cells, shares): (Vec<u32>, Vec<f64>) =
            blends.iter().map(of).map(|(cell, share)| (cell as u32, share)).unzip();
        let cells = x.index_select(&Tensor::new(cells, x.device())?, dim)?;
        let along: Vec<usize> =
            (dim..4).map(|at| if at == dim { shares.len() } else { 1 }).collect();
        let shares = Tensor::from_vec(shares, along, x.device())?.to_dtype(x.dtype())?;
        Ok(cells.broadcast_mul(&shares)?)
    };
    let first = part(|blend| (blend.first, 1.0 - blend.share))?;
    Ok((first + part(|blend| (blend.second, blend.share))?)?)
}

/// See [`rows_of_grid`](crate::rows_of_grid()).
///
/// # Errors
///
/// As there.
pub fn rows_of_grid(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    checked_units("rows_of_grid", x, c, weight, bias)?;
    let rows = x.permute((0, 2, 3, 1))?.reshape((n * h * w, c))?;
    let y = rows.matmul(&weight.t()?)?.broadcast_add(bias)?;
    Ok(y.reshape((n, h, w, weight.dim(0)?))?)
}

/// See [`grid_of_rows`](crate::grid_of_rows()).
///
/// # Errors
///
/// As there.
pub fn grid_of_rows(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let x = x.flatten_from(3)?;
    let (n, h, w, c) = x.dims4()?;
    checked_units("grid_of_rows", &x, c, weight, bias)?;
    let rows = x.contiguous()?.reshape((n * h * w, c))?;
    let y = rows.matmul(&weight.t()?)?.broadcast_add(bias)?;
    Ok(y.reshape((n, h, w, weight.dim(0)?))?.permute((0, 3, 1, 2))?.contiguous()?)
}
