//! What lies behind a tile of a grid, as sums of hidden states: for training on tiles.

use attention::kernel::RowShape;
use attention::running::Border;
use attention::{Direction, Tile};
use candle_core::{DType, Device, Tensor, WithDType};
use grid_ops::Real;
use rayon::prelude::*;

use super::Scan;
use super::kernel::Plan;
use super::state::State;
use super::tiles::{TileBorder, of_image};
use crate::{Error, Result};

/// Where a tile of units lies in a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileAt {
    /// Row and column of its first unit, in the image's orientation.
    pub corner: (usize, usize),
    /// Its rows and columns.
    pub size: (usize, usize),
    /// Those of the grid.
    pub grid: (usize, usize),
}

impl TileAt {
    /// Its corner as `direction` sees it.
    pub(crate) fn corner_of(&self, direction: Direction) -> (usize, usize) {
        let ((row, column), (h, w), (grid_h, grid_w)) = (self.corner, self.size, self.grid);
        let k = direction as usize;
        let row = if k & 2 == 0 { row } else { grid_h - row - h };
        let column = if k & 1 == 0 { column } else { grid_w - column - w };
        (row, column)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let (ends, grid) = ([self.corner.0 + self.size.0, self.corner.1 + self.size.1], self.grid);
        if self.size.0 == 0 || self.size.1 == 0 || ends[0] > grid.0 || ends[1] > grid.1 {
            let (field, value) = ("tile", format!("{self:?}"));
            let reason = "expected at least one unit, within the grid";
            return Err(Error::Config { field, value, reason });
        }
        Ok(())
    }
}

/// Refuses scans of which the units behind a tile are no plain sum.
pub(crate) fn check_sums(scan: &Scan) -> Result<()> {
    if scan.aggregation.score().is_none() {
        return Ok(());
    }
    Err(Error::Config {
        field: "aggregation",
        value: format!("{:?}", scan.aggregation),
        reason: "only sums and means can be trained on tiles: what lies behind a tile must be a sum \
                 of hidden states",
    })
}

/// What the units of a tile aggregate from behind it, `[n, h, w, 4, d]`.
pub(crate) fn aggregated_behind(
    scan: &Scan,
    at: &TileAt,
    behind: &[TileBorder; 4],
) -> Result<Tensor> {
    let corner = &behind[0].corner;
    let &[n, d] = corner.dims() else { return Err(wrong_border(corner)) };
    let walk = Walk { scan: *scan, at: *at, images: n, channels: d };
    Ok(match corner.dtype() {
        DType::F32 => walk.aggregated::<f32>(behind)?,
        _ => walk.aggregated::<f64>(behind)?,
    }
    .to_device(corner.device())?)
}

/// What a tile of hidden states `[n, h, w, 4, d]` hands on, with what lies behind it.
pub(crate) fn handed_on(
    scan: &Scan,
    at: &TileAt,
    hidden: &Tensor,
    behind: &[TileBorder; 4],
) -> Result<[TileBorder; 4]> {
    let (n, _, _, _, d) = hidden.dims5()?;
    let walk = Walk { scan: *scan, at: *at, images: n, channels: d };
    match hidden.dtype() {
        DType::F32 => walk.handed::<f32>(hidden, behind),
        _ => walk.handed::<f64>(hidden, behind),
    }
}

/// What lies behind a tile, from the hidden states of the whole grid `[n, h, w, 4, d]`.
pub(crate) fn behind_in(scan: &Scan, at: &TileAt, hidden: &Tensor) -> Result<[TileBorder; 4]> {
    let (n, grid_h, grid_w, _, d) = hidden.dims5()?;
    let mut borders = Vec::new();
    for direction in Direction::ALL {
        let ((row, column), (h, w)) = (at.corner_of(direction), at.size);
        // Handed down by all that is above, over the columns up to the tile's last; handed on to
        // the right by all that is before.
        let [above, before] = [((0, 0), (row, column + w)), ((row, 0), (h, column))].map(
            |(corner, size): ((usize, usize), (usize, usize))| -> Result<Option<TileBorder>> {
                if size.0 == 0 || size.1 == 0 {
                    return Ok(None);
                }
                // The part in the image's orientation; the map is its own inverse.
                let seen = TileAt { corner, size, grid: (grid_h, grid_w) };
                let corner = seen.corner_of(direction);
                let part = hidden.narrow(1, corner.0, size.0)?.narrow(2, corner.1, size.1)?;
                let part_at = TileAt { corner, ..seen };
                let nothing = nothing_behind(n, d, &part_at, hidden)?;
                let handed = handed_on(scan, &part_at, &part.contiguous()?, &nothing)?;
                Ok(Some(handed[direction as usize].clone()))
            },
        );
        let (above, before) = (above?, before?);
        let nothing = || nothing_behind(n, d, at, hidden).map(|[first, ..]| first);
        let mut border = nothing()?;
        if let Some(above) = &above {
            border.columns = above.columns.narrow(1, column, w)?.contiguous()?;
            if column > 0 {
                border.corner = above.columns.narrow(1, column - 1, 1)?.squeeze(1)?;
            }
        }
        if let Some(before) = before {
            border.rows = before.rows;
        }
        borders.push(border);
    }
    <[TileBorder; 4]>::try_from(borders)
        .map_err(|_| Error::Candle(candle_core::Error::Msg("four directions".into())))
}

/// Zeros: the border of the grid itself, for `n` images of `d` channels.
pub(crate) fn nothing_behind(
    n: usize,
    d: usize,
    at: &TileAt,
    like: &Tensor,
) -> Result<[TileBorder; 4]> {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, like.dtype(), like.device());
    let border = TileBorder {
        columns: zeros(&[n, at.size.1, d])?,
        rows: zeros(&[n, at.size.0, d])?,
        corner: zeros(&[n, d])?,
    };
    Ok([border.clone(), border.clone(), border.clone(), border])
}

/// The way of every direction through a tile of some images.
struct Walk {
    scan: Scan,
    at: TileAt,
    images: usize,
    channels: usize,
}

impl Walk {
    fn plan(&self, direction: Direction) -> Plan {
        Plan {
            size: self.at.size,
            corner: self.at.corner_of(direction),
            shape: RowShape { value: self.channels, key: 0 },
            scan: self.scan,
        }
    }

    /// The borders of all images and directions.
    fn borders<T: Real + WithDType>(&self, behind: &[TileBorder; 4]) -> Result<Vec<Border<T>>> {
        let ((h, w), n, d) = (self.at.size, self.images, self.channels);
        let of = |image: usize, border: &TileBorder| -> Result<Border<T>> {
            Ok(Border {
                columns: of_image(&border.columns, (image, n), &[w, d])?,
                rows: of_image(&border.rows, (image, n), &[h, d])?,
                corner: of_image(&border.corner, (image, n), &[d])?,
            })
        };
        (0..n * 4).map(|task| of(task / 4, &behind[task % 4])).collect()
    }

    fn aggregated<T: Real + WithDType>(&self, behind: &[TileBorder; 4]) -> Result<Tensor> {
        let ((h, w), n, d) = (self.at.size, self.images, self.channels);
        let borders = self.borders::<T>(behind)?;
        let zeros = vec![T::zero(); d];
        let run = |(task, border): (usize, Border<T>)| -> Vec<T> {
            let plan = self.plan(Direction::ALL[task % 4]);
            let whole = Tile { place: (0, 0), corner: (0, 0), size: (h, w), first: 0 };
            let mut state = State::new(&plan, (h, w), border);
            let mut all = vec![T::zero(); h * w * d];
            for (unit, out) in all.chunks_exact_mut(d).enumerate() {
                let at = (unit / w, unit % w);
                state.before(at, out);
                let scale: T = plan.scale(&whole, at);
                out.iter_mut().for_each(|x| *x *= scale);
                state.pass(at, &zeros);
            }
            all
        };
        let parts: Vec<Vec<T>> = borders.into_par_iter().enumerate().map(run).collect();
        let mut all = vec![T::zero(); n * h * w * 4 * d];
        for (task, part) in parts.iter().enumerate() {
            let (image, direction) = (task / 4, Direction::ALL[task % 4]);
            for (unit, row) in part.chunks_exact(d).enumerate() {
                let place = direction.raster((unit / w, unit % w), (h, w));
                let at = ((image * h * w + place) * 4 + task % 4) * d;
                all[at..at + d].copy_from_slice(row);
            }
        }
        Ok(Tensor::from_vec(all, (n, h, w, 4, d), &Device::Cpu)?)
    }

    fn handed<T: Real + WithDType>(
        &self,
        hidden: &Tensor,
        behind: &[TileBorder; 4],
    ) -> Result<[TileBorder; 4]> {
        let ((h, w), n, d) = (self.at.size, self.images, self.channels);
        let all = hidden.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<T>()?;
        let run = |(task, border): (usize, Border<T>)| -> Border<T> {
            let direction = Direction::ALL[task % 4];
            let mut state = State::new(&self.plan(direction), (h, w), border);
            for unit in 0..h * w {
                let at = (unit / w, unit % w);
                let place = direction.raster(at, (h, w));
                let row = ((task / 4 * h * w + place) * 4 + task % 4) * d;
                state.pass(at, &all[row..row + d]);
            }
            state.into_border()
        };
        let borders = self.borders::<T>(behind)?;
        let handed: Vec<Border<T>> = borders.into_par_iter().enumerate().map(run).collect();
        let on = hidden.device();
        let of = |k: usize| -> Result<TileBorder> {
            let images = || handed.iter().skip(k).step_by(4);
            let columns: Vec<T> = images().flat_map(|b| b.columns.iter().copied()).collect();
            let rows: Vec<T> = images().flat_map(|b| b.rows.iter().copied()).collect();
            let corner: Vec<T> = images().flat_map(|b| b.corner.iter().copied()).collect();
            Ok(TileBorder {
                columns: Tensor::from_vec(columns, (n, w, d), on)?,
                rows: Tensor::from_vec(rows, (n, h, d), on)?,
                corner: Tensor::from_vec(corner, (n, d), on)?,
            })
        };
        Ok([of(0)?, of(1)?, of(2)?, of(3)?])
    }
}

fn wrong_border(got: &Tensor) -> Error {
    let expected = "behind: columns [n, w, d], rows [n, h, d] and corner [n, d] of this tile";
    Error::Shape { op: "forward_tile", expected, got: got.dims().into() }
}
