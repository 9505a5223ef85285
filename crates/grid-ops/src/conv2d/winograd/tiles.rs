//! How outputs are cut into tiles, and the transforms of all tiles of some lines.

use super::transforms::{
    LANES, Lanes, across_lanes, each, gradient_1d, input_1d, load, output_1d, store,
};
use super::{IN, OUT, PLACES, TILES};
use crate::conv2d::Sizes;
use crate::strided::gather;
use crate::{Real, inlined};

/// One convolution, `x` to `y`.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) n: usize,
    pub(super) c: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) k: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
    pub(super) dilation: usize,
    /// Inputs before the first that exists; more than a kernel's reach crops.
    pub(super) padding: isize,
}

/// The rows of outputs `row + i·dilation` of one image, `i < 4`, cut into tiles.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) image: usize,
    pub(super) row: usize,
}

impl Plan {
    pub(super) fn forward(s: &Sizes) -> Self {
        let (dilation, padding) = (s.config.dilation, s.config.padding as isize);
        let Sizes { n, c, h, w, k, oh, ow, .. } = *s;
        Self { n, c, h, w, k, oh, ow, dilation, padding }
    }

    /// From the outputs' gradient to the inputs'.
    pub(super) fn backward(s: &Sizes) -> Self {
        let (dilation, padding) = (s.config.dilation, s.config.padding as isize);
        let padding = 2 * dilation as isize - padding;
        let Sizes { n, c, h, w, k, oh, ow, .. } = *s;
        Self { n, c: k, h: oh, w: ow, k: c, oh: h, ow: w, dilation, padding }
    }

    /// Tiles side by side in one of the interleaved convolutions.
    fn tiles_across(&self) -> usize {
        self.ow.div_ceil(self.dilation).div_ceil(OUT)
    }

    /// Tiles of one line.
    pub(super) fn tiles_of_line(&self) -> usize {
        self.dilation * self.tiles_across()
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let of_phase = self.oh.div_ceil(self.dilation).div_ceil(OUT);
        let rows = move |image| {
            let starts = (0..self.dilation)
                .flat_map(move |phase| (0..of_phase).map(move |r| phase + r * OUT * self.dilation));
            starts.filter(|&row| row < self.oh).map(move |row| Line { image, row })
        };
        (0..self.n).flat_map(rows).collect()
    }

    /// Lines of one block.
    pub(super) fn lines_of_block(&self, lines: usize) -> usize {
        let most = (TILES / self.tiles_of_line()).max(1);
        // Blocks of about the same size.
        lines.div_ceil(lines.div_ceil(most))
    }

    /// Tiles of a block of lines, rounded up to whole lanes.
    pub(super) fn width(&self, lines: usize) -> usize {
        (lines * self.tiles_of_line()).next_multiple_of(LANES)
    }

    /// `Bᵀ d B` of every tile of `lines` for one channel of `x`: lanes by place and first tile.
    #[inline(always)]
    pub(super) fn transform_inputs<T: Real>(
        &self,
        x: &[T],
        channel: usize,
        lines: &[Line],
        scratch: &mut Scratch<T>,
        mut put: impl FnMut(usize, usize, Lanes<T>),
    ) {
        let width = self.width(lines.len());
        let stride = width + LANES;
        let d = self.dilation;
        let across = self.tiles_across();
        let Scratch { raw, line } = scratch;
        raw.resize(PLACES * stride, T::zero());
        line.resize((across + LANES) * OUT + IN, T::zero());
        for (nth, at) in lines.iter().enumerate() {
            let plane = &x[(at.image * self.c + channel) * self.h * self.w..][..self.h * self.w];
            for i in 0..IN {
                let row = (at.row + i * d) as isize - self.padding;
                let inside = (0..self.h as isize).contains(&row);
                for phase in 0..d {
                    let first = (nth * d + phase) * across;
                    if !inside {
                        for u in 0..IN {
                            raw[(i * IN + u) * stride + first..][..across].fill(T::zero());
                        }
                        continue;
                    }
                    let row = &plane[row as usize * self.w..][..self.w];
                    self.read(row, phase as isize - self.padding, &mut line[..across * OUT + 2]);
                    // In steps of whole lanes, beyond the end: what follows is written later.
                    for j in (0..across).step_by(LANES) {
                        let line = &line[j * OUT..][..LANES * OUT + IN];
                        for u in 0..IN {
                            let mut taken = [T::zero(); LANES];
                            for l in 0..LANES {
                                taken[l] = line[l * OUT + u];
                            }
                            store(&mut raw[(i * IN + u) * stride + first + j..], taken);
                        }
                    }
                }
            }
        }
        for at in (0..width).step_by(LANES) {
            for u in 0..IN {
                let column = each(|i| load(&raw[(i * IN + u) * stride + at..]));
                for (i, lanes) in across_lanes(column, input_1d).into_iter().enumerate() {
                    store(&mut raw[(i * IN + u) * stride + at..], lanes);
                }
            }
            for i in 0..IN {
                let row = each(|u| load(&raw[(i * IN + u) * stride + at..]));
                for (u, lanes) in across_lanes(row, input_1d).into_iter().enumerate() {
                    put(i * IN + u, at, lanes);
                }
            }
        }
    }

    /// `to[m] = row[first + m·dilation]`, zero where there is no such input.
    #[inline(always)]
    fn read<T: Real>(&self, row: &[T], first: isize, to: &mut [T]) {
        let d = self.dilation;
        let begin = (-first).max(0) as usize;
        let begin = begin.div_ceil(d).min(to.len());
        let end = (row.len() as isize - first).max(0) as usize;
        let end = end.div_ceil(d).clamp(begin, to.len());
        to[..begin].fill(T::zero());
        to[end..].fill(T::zero());
        if begin == end {
            return;
        }
        gather(&mut to[begin..end], &row[(first + (begin * d) as isize) as usize..], d);
    }

    /// `A e Aᵀ` of every tile of `lines` for one channel of the outputs' gradient, likewise.
    #[allow(clippy::needless_range_loop, reason = "the indices are those of places")]
    #[inline(always)]
    pub(super) fn transform_gradients<T: Real>(
        &self,
        grad: &[T],
        channel: usize,
        lines: &[Line],
        scratch: &mut Scratch<T>,
        mut put: impl FnMut(usize, usize, Lanes<T>),
    ) {
        let width = self.width(lines.len());
        let stride = width + LANES;
        let d = self.dilation;
        let across = self.tiles_across();
        let Scratch { raw, line } = scratch;
        raw.resize(PLACES * stride, T::zero());
        line.resize((across + LANES) * OUT + IN, T::zero());
        let filled = lines.len() * self.tiles_of_line();
        let of_plane = self.oh * self.ow;
        for (nth, at) in lines.iter().enumerate() {
            let plane = &grad[(at.image * self.k + channel) * of_plane..][..of_plane];
            for i in 0..OUT {
                let row = at.row + i * d;
                for phase in 0..d {
                    let first = (nth * d + phase) * across;
                    if row >= self.oh {
                        for u in 0..OUT {
                            raw[(i * OUT + u) * stride + first..][..across].fill(T::zero());
                        }
                        continue;
                    }
                    let row = &plane[row * self.ow..][..self.ow];
                    self.read(row, phase as isize, &mut line[..across * OUT]);
                    for j in (0..across).step_by(LANES) {
                        let line = &line[j * OUT..][..LANES * OUT];
                        for u in 0..OUT {
                            let mut taken = [T::zero(); LANES];
                            for l in 0..LANES {
                                taken[l] = line[l * OUT + u];
                            }
                            store(&mut raw[(i * OUT + u) * stride + first + j..], taken);
                        }
                    }
                }
            }
        }
        // The last lanes hold no tile: their zeros add nothing to the sum over tiles.
        for u in 0..OUT * OUT {
            raw[u * stride + filled..(u + 1) * stride].fill(T::zero());
        }
        for at in (0..width).step_by(LANES) {
            let mut columns = [[[T::zero(); LANES]; IN]; OUT];
            for (u, to) in columns.iter_mut().enumerate() {
                let column = each(|i| load(&raw[(i * OUT + u) * stride + at..]));
                *to = across_lanes(column, gradient_1d);
            }
            for i in 0..IN {
                let row: [Lanes<T>; OUT] = each(|u| columns[u][i]);
                for (u, lanes) in across_lanes(row, gradient_1d).into_iter().enumerate() {
                    put(i * IN + u, at, lanes);
                }
            }
        }
    }

    /// Writes `φ(Aᵀ m A + bias)` of every tile of `lines` for one channel, into the rows that
    /// `row_of` gives by line and row; two places of `m` are `of_place` apart.
    #[inline(always)]
    pub(super) fn transform_outputs<'y, T: Real>(
        &self,
        (m, of_place): (&[T], usize),
        lines: &[Line],
        scratch: &mut Scratch<T>,
        finish: impl Fn(T) -> T,
        row_of: impl Fn(Line, usize) -> &'y mut [T],
    ) {
        let width = self.width(lines.len());
        let stride = width + LANES;
        let d = self.dilation;
        let across = self.tiles_across();
        let raw = &mut scratch.raw;
        raw.resize(PLACES * stride, T::zero());
        for at in (0..width).step_by(LANES) {
            let mut rows = [[[T::zero(); LANES]; OUT]; IN];
            for (i, to) in rows.iter_mut().enumerate() {
                let row = each(|u| load(&m[(i * IN + u) * of_place + at..]));
                *to = across_lanes(row, output_1d);
            }
            for u in 0..OUT {
                let column: [Lanes<T>; IN] = each(|i| rows[i][u]);
                for (i, lanes) in across_lanes(column, output_1d).into_iter().enumerate() {
                    let mut finished = lanes;
                    for l in 0..LANES {
                        finished[l] = finish(lanes[l]);
                    }
                    store(&mut raw[(i * OUT + u) * stride + at..], finished);
                }
            }
        }
        for (nth, &at) in lines.iter().enumerate() {
            for i in 0..OUT {
                let row = at.row + i * d;
                if row >= self.oh {
                    break;
                }
                let to = row_of(at, row);
                for phase in 0..d.min(to.len()) {
                    let raw = &raw[i * OUT * stride + (nth * d + phase) * across..];
                    // The outputs of `LANES` tiles side by side.
                    let outputs = inlined(
                        #[inline(always)]
                        |tile: usize| {
                            let lanes: [Lanes<T>; OUT] = each(|u| load(&raw[u * stride + tile..]));
                            let mut line = [T::zero(); LANES * OUT];
                            for l in 0..LANES {
                                for u in 0..OUT {
                                    line[l * OUT + u] = lanes[u][l];
                                }
                            }
                            line
                        },
                    );
                    let starts = (0..across).step_by(LANES);
                    if d == 1 {
                        for (to, tile) in to.chunks_mut(LANES * OUT).zip(starts) {
                            let line = outputs(tile);
                            match <&mut [T; LANES * OUT]>::try_from(&mut *to) {
                                Ok(to) => *to = line,
                                Err(_) => to.copy_from_slice(&line[..to.len()]),
                            }
                        }
                    } else {
                        let mut to = to[phase..].iter_mut().step_by(d);
                        for tile in starts {
                            let line = outputs(tile);
                            line.iter().zip(to.by_ref()).for_each(|(&y, to)| *to = y);
                        }
                    }
                }
            }
        }
    }
}

/// Memory that every channel uses anew.
pub(super) struct Scratch<T> {
    raw: Vec<T>,
    line: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { raw: Vec::new(), line: Vec::new() }
    }
}
