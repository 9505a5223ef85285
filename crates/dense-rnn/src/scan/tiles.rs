//! Scans of one tile of a large grid at a time, with the state of its border handed on.

use attention::kernel::RowShape;
use attention::running::Border;
use attention::{Direction, Tiling, places};
use candle_core::{DType, Device, Tensor, WithDType};
use grid_ops::Real;

use super::kernel::{Plan, Weights, has_border};
use super::running::{self, Borders};
use super::state::State;
use super::{Scan, checked};
use crate::{Error, Result};

/// The state that a scan hands over the border of a tile, as its direction sees it.
///
/// `s` numbers a unit: the `d` channels of a sum, or of what a neighbour hands on, and for a linear
/// score two more. O(h + w) for a tile of `h × w`.
#[derive(Debug, Clone)]
pub struct TileBorder {
    /// By column, `[n, w, s]`: from the tile above, for the tile below.
    pub columns: Tensor,
    /// By row, `[n, h, s]`: from the tile before, for the tile after.
    pub rows: Tensor,
    /// `[n, s]`: for the tile diagonally opposite.
    pub corner: Tensor,
}

/// Runs one direction of a scan over one tile of a grid.
///
/// Tiles must be run in an order in which those behind a tile come first: by rows from the corner
/// at which `direction` begins. Not differentiable: for inference on grids of any size.
///
/// # Shapes
///
/// - `input`: `[n, h, w, d]`: `U x + b` of this direction, in the image's orientation
/// - `weights`: `[d, d]`, or `[d + 1, d]` for a linear score: `W` (on `wh`) of this direction
/// - `corner`: row and column of the tile's first unit in the whole grid, as the direction sees it
/// - `behind`: `columns` of the tile above, `rows` of the tile before and `corner` of the tile
///   diagonally before this one; `None` in the first tile, whose border is the grid's
/// - returns: the hidden states `[n, h, w, d]`, and what this tile hands on
///
/// # Errors
///
/// [`Error::Shape`] where the shapes differ from the above, [`Error::Config`] for a score of pairs,
/// which has no state of less than all units.
pub fn scan_tile(
    input: &Tensor,
    weights: &Tensor,
    scan: &Scan,
    direction: Direction,
    corner: (usize, usize),
    behind: Option<&TileBorder>,
) -> Result<(Tensor, TileBorder)> {
    checked_border(scan)?;
    let op = "scan_tile";
    let (&[_, h, w, d], &[rows, of_weights]) = (input.dims(), weights.dims()) else {
        let expected = "input: [n, h, w, d] and weights: [d + a, d]";
        let got = [input.dims(), weights.dims()].concat();
        return Err(Error::Shape { op, expected, got });
    };
    let keys = usize::from(scan.aggregation.score().is_some());
    if of_weights != d || rows != d + keys || input.elem_count() == 0 {
        let expected = "weights: [d, d] with d as in input, [d + 1, d] for a linear score";
        return Err(Error::Shape { op, expected, got: weights.dims().into() });
    }
    let shape = RowShape { value: d, key: keys };
    let plan = Plan { size: (h, w), corner, shape, scan: *scan };
    match input.dtype() {
        DType::F32 => run::<f32>(input, weights, &plan, direction, behind),
        _ => run::<f64>(input, weights, &plan, direction, behind),
    }
}

/// Refuses scans without a state of less than all units.
fn checked_border(scan: &Scan) -> Result<()> {
    if !has_border(scan) {
        return Err(Error::Config {
            field: "aggregation",
            value: format!("{:?}", scan.aggregation),
            reason: "only sums, means and, over the dense graph, a linear score have a state that \
                     a tile can hand on; scan the whole grid",
        });
    }
    Ok(())
}

fn run<T: Real + WithDType>(
    input: &Tensor,
    weights: &Tensor,
    plan: &Plan,
    direction: Direction,
    behind: Option<&TileBorder>,
) -> Result<(Tensor, TileBorder)> {
    let (n, h, w, _) = input.dims4()?;
    let flat = |t: &Tensor| t.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<T>();
    let (mut hidden, matrix) = (flat(input)?, flat(weights)?);
    let d = plan.shape.value;
    let empty = State::<T>::empty(plan);
    let s = empty.len();
    let places = places(&plan.tiling().order(), direction, plan.size);
    let (mut columns, mut rows, mut corners) = (Vec::new(), Vec::new(), Vec::new());
    for image in 0..n {
        let border = match behind {
            None => Border::outside((h, w), &empty),
            Some(behind) => Border {
                columns: of_image(&behind.columns, (image, n), &[w, s])?,
                rows: of_image(&behind.rows, (image, n), &[h, s])?,
                corner: of_image(&behind.corner, (image, n), &[s])?,
            },
        };
        let mut borders = Borders::new(plan, &border);
        let units = hidden[image * d * h * w..][..d * h * w].chunks_exact_mut(d);
        let mut units: Vec<_> = units.map(Some).collect();
        let mut units: Vec<_> = places.iter().filter_map(|&place| units[place].take()).collect();
        let weights = Weights { matrix: &matrix, vector: &[] };
        running::forward(plan, &mut units, weights, &mut borders);
        let border = borders.into_border(&plan.tiling());
        columns.extend(border.columns);
        rows.extend(border.rows);
        corners.extend(border.corner);
    }
    let on = input.device();
    let border = TileBorder {
        columns: Tensor::from_vec(columns, (n, w, s), on)?,
        rows: Tensor::from_vec(rows, (n, h, s), on)?,
        corner: Tensor::from_vec(corners, (n, s), on)?,
    };
    Ok((Tensor::from_vec(hidden, (n, h, w, d), on)?, border))
}

/// The numbers of one image in a part of a border.
pub(super) fn of_image<T: WithDType>(
    t: &Tensor,
    (image, images): (usize, usize),
    expected: &[usize],
) -> Result<Vec<T>> {
    let of_images = [&[images], expected].concat();
    if t.dims() != of_images {
        let expected = "behind: columns [n, w, s], rows [n, h, s] and corner [n, s] of this scan";
        return Err(Error::Shape { op: "scan_tile", expected, got: t.dims().into() });
    }
    Ok(t.get(image)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<T>()?)
}

/// The whole [`scan`](crate::scan()), tile by tile: the same hidden states, without their gradient.
///
/// # Shapes
///
/// - `input`, `weights`: as of [`scan`](crate::scan()), for a scan that [`scan_tile`] can run
/// - `tile`: rows and columns of units
///
/// # Errors
///
/// As [`scan_tile`]; [`Error::Config`] for a tile without units.
pub fn scan_by_tiles(
    input: &Tensor,
    weights: &Tensor,
    scan: &Scan,
    tile: (usize, usize),
) -> Result<Tensor> {
    checked_border(scan)?;
    checked(input.dims(), weights, None, scan)?;
    let (_, h, w, _, _) = input.dims5()?;
    if tile.0 == 0 || tile.1 == 0 {
        let (value, reason) = (format!("{tile:?}"), "expected at least one row and one column");
        return Err(Error::Config { field: "tile", value, reason });
    }
    let tiling = Tiling::new((h, w), tile);
    let mut directions = Vec::new();
    for direction in Direction::ALL {
        let k = direction as usize;
        let units = input.narrow(3, k, 1)?.squeeze(3)?;
        let weights = weights.get(k)?;
        let mut borders: Vec<TileBorder> = Vec::new();
        let mut rows_of_tiles = Vec::new();
        let (down, across) = tiling.shape();
        for p in 0..down {
            let mut row = Vec::new();
            for q in 0..across {
                let at = tiling.tile(tiling.index((p, q)));
                let place = in_image(direction, at.corner, at.size, (h, w));
                let tile = units.narrow(1, place.0, at.size.0)?.narrow(2, place.1, at.size.1)?;
                let behind = behind(&borders, &tiling, (p, q), &tile, scan)?;
                let (hidden, border) =
                    scan_tile(&tile, &weights, scan, direction, at.corner, behind.as_ref())?;
                borders.push(border);
                row.push(hidden);
            }
            if direction as usize & 1 != 0 {
                row.reverse();
            }
            rows_of_tiles.push(Tensor::cat(&row, 2)?);
        }
        if direction as usize & 2 != 0 {
            rows_of_tiles.reverse();
        }
        directions.push(Tensor::cat(&rows_of_tiles, 1)?);
    }
    Ok(Tensor::stack(&directions, 3)?)
}

/// Where a tile that a direction sees at `corner` begins in the image.
fn in_image(
    direction: Direction,
    corner: (usize, usize),
    size: (usize, usize),
    (h, w): (usize, usize),
) -> (usize, usize) {
    let k = direction as usize;
    let row = if k & 2 == 0 { corner.0 } else { h - corner.0 - size.0 };
    let column = if k & 1 == 0 { corner.1 } else { w - corner.1 - size.1 };
    (row, column)
}

/// What is behind a tile, from the borders of the tiles before it by rows.
fn behind(
    borders: &[TileBorder],
    tiling: &Tiling,
    (p, q): (usize, usize),
    tile: &Tensor,
    scan: &Scan,
) -> Result<Option<TileBorder>> {
    if borders.is_empty() {
        return Ok(None);
    }
    let outside = outside(tile, scan)?;
    let of = |p: usize, q: usize| &borders[tiling.index((p, q))];
    Ok(Some(TileBorder {
        columns: if p > 0 { of(p - 1, q).columns.clone() } else { outside.columns },
        rows: if q > 0 { of(p, q - 1).rows.clone() } else { outside.rows },
        corner: if p > 0 && q > 0 { of(p - 1, q - 1).corner.clone() } else { outside.corner },
    }))
}

/// The border of the grid itself, for a tile `[n, h, w, d]`: nothing is behind it.
fn outside(tile: &Tensor, scan: &Scan) -> Result<TileBorder> {
    let (n, h, w, d) = tile.dims4()?;
    let keys = usize::from(scan.aggregation.score().is_some());
    let shape = RowShape { value: d, key: keys };
    let plan = Plan { size: (h, w), corner: (0, 0), shape, scan: *scan };
    let empty = Tensor::new(State::<f64>::empty(&plan), tile.device())?.to_dtype(tile.dtype())?;
    let s = empty.elem_count();
    Ok(TileBorder {
        columns: empty.broadcast_as((n, w, s))?.contiguous()?,
        rows: empty.broadcast_as((n, h, s))?.contiguous()?,
        corner: empty.broadcast_as((n, s))?.contiguous()?,
    })
}
