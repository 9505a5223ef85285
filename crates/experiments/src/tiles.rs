//! Steps on the tiles of a batch's images, with what lies behind each (MPTT).

use anyhow::ensure;
use candle_core::Tensor;
use dense_rnn::{TileAt, TileBorder};
use rand::seq::SliceRandom;

use crate::clock::{Clock, Part};
use crate::config::{TileBorders, TilesConfig};
use crate::data::{Batch, View};
use crate::parameters::generator;
use crate::parser::{Parser, Phase};
use crate::step::{Gradients, Objective, gradients};
use crate::tensor_file::Tensors;
use crate::tile_memory::TileMemory;

/// More memory than this is taken for a slip.
const MAX_MEMORY_BYTES: usize = 4 << 30;

/// What a batch is cut into, a step each.
pub(crate) enum Cutting {
    /// Nothing: the images are seen whole.
    Whole,
    /// Tiles.
    Tiles(Tiles),
}

/// The tiles of all images, and what is remembered of their borders.
pub(crate) struct Tiles {
    config: TilesConfig,
    /// Images of the split; each has a plain and a mirrored view.
    images: usize,
    /// Columns and rows of these images, each size once.
    sizes: Vec<[usize; 2]>,
    memory: TileMemory,
}

impl Cutting {
    /// As `config` says, of a split of so many images, of these sizes.
    pub(crate) fn new(config: Option<&TilesConfig>, images: usize, sizes: &[[usize; 2]]) -> Self {
        let Some(config) = config.cloned() else { return Self::Whole };
        let memory = TileMemory::new(2 * images, config.smoothing);
        Self::Tiles(Tiles { config, images, sizes: sizes.to_vec(), memory })
    }

    /// Checks that all images divide into tiles, before the first step.
    ///
    /// # Errors
    ///
    /// The first size that does not.
    pub(crate) fn check(&self, parser: &Parser) -> anyhow::Result<()> {
        let Self::Tiles(Tiles { config, sizes, .. }) = self else { return Ok(()) };
        let units =
            |[width, height]: &[usize; 2]| parser.tile_units((*height, *width), config.grid);
        sizes.iter().try_for_each(|size| units(size).map(|_| ()))
    }

    /// The parts of a batch in the order of their steps: a draw of `(seed, epoch, batch)` alone.
    pub(crate) fn parts(&self, seed: u64, epoch: usize, batch: usize) -> Vec<usize> {
        let Self::Tiles(tiles) = self else { return vec![0] };
        let [rows, columns] = tiles.config.grid;
        let mut parts: Vec<usize> = (0..rows * columns).collect();
        parts.shuffle(&mut generator(seed, &format!("tiles/{epoch}/{batch}")));
        parts
    }

    /// The gradients of one part.
    ///
    /// # Errors
    ///
    /// Images that do not divide into tiles, or that the network cannot take.
    pub(crate) fn gradients(
        &mut self,
        parser: &Parser,
        batch: &Batch,
        part: usize,
        objective: &Objective<'_>,
        clock: &mut Clock,
    ) -> anyhow::Result<Gradients> {
        match self {
            Self::Whole => gradients(parser, batch, objective, clock),
            Self::Tiles(tiles) => tiles.gradients(parser, batch, part, objective, clock),
        }
    }

    /// Ends an epoch.
    pub(crate) fn end_epoch(&mut self) {
        if let Self::Tiles(tiles) = self {
            tiles.memory.pass();
        }
    }

    /// What is remembered, as tensors.
    pub(crate) fn state(&self) -> anyhow::Result<Tensors> {
        match self {
            Self::Whole => Ok(Tensors::new()),
            Self::Tiles(tiles) => tiles.memory.state(),
        }
    }

    /// Goes on from a [`Self::state`].
    ///
    /// # Errors
    ///
    /// The state of another split.
    pub(crate) fn resume(&mut self, state: &Tensors) -> anyhow::Result<()> {
        match self {
            Self::Whole => Ok(()),
            Self::Tiles(tiles) => tiles.memory.resume(state),
        }
    }
}

impl Tiles {
    fn gradients(
        &mut self,
        parser: &Parser,
        batch: &Batch,
        part: usize,
        objective: &Objective<'_>,
        clock: &mut Clock,
    ) -> anyhow::Result<Gradients> {
        let (_, height, width) = batch.labels.dims3()?;
        let [rows, columns] = self.config.grid;
        let size = parser.tile_units((height, width), self.config.grid)?;
        let place = (part / columns, part % columns);
        let grid = (rows * size.0, columns * size.1);
        let at = TileAt { corner: (place.0 * size.0, place.1 * size.1), size, grid };
        let behind = match self.config.border {
            TileBorders::Zero => None,
            TileBorders::Stale => Some(self.remembered(parser, batch, place, &at)?),
            // Once more what the step itself will see, so that no statistics move.
            TileBorders::Exact => Some(parser.behind(&batch.inputs, &at, Phase::TrainAgain)?),
        };
        let inputs = &batch.inputs;
        let (logits, handed) = parser.tile_logits(inputs, &at, behind.as_ref(), objective.phase)?;
        if self.config.border == TileBorders::Stale {
            let largest = self.largest(parser, size)?;
            self.remember(batch, place, &handed, largest)?;
        }
        clock.ran(Part::Forward);
        let (h, w) = (height / rows, width / columns);
        let labels = batch.labels.narrow(1, place.0 * h, h)?.narrow(2, place.1 * w, w)?;
        objective.gradients(&logits, None, &labels.contiguous()?, clock)
    }

    /// What the tiles before one handed on when they were last seen.
    fn remembered(
        &self,
        parser: &Parser,
        batch: &Batch,
        place: (usize, usize),
        at: &TileAt,
    ) -> anyhow::Result<[TileBorder; 4]> {
        let d = parser.hidden_channels()?;
        let [rows, columns] = self.config.grid;
        let (h, w) = self.largest(parser, at.size)?;
        // Kept and mean of both views, of all sides of a tile.
        let bytes = 2 * 2 * self.images * rows * columns * 4 * (h + w + 1) * d * size_of::<f32>();
        ensure!(
            bytes <= MAX_MEMORY_BYTES,
            "training.tiles: remembering the borders of {} images takes {:.1} GiB, at most {} are \
             taken; use fewer tiles, or border = \"exact\" or \"zero\"",
            self.images,
            bytes as f64 / f64::from(1 << 30),
            MAX_MEMORY_BYTES >> 30
        );
        let (n, (h, w)) = (batch.picks.len(), at.size);
        let part = |k: usize, side: Side, units: usize| -> anyhow::Result<Tensor> {
            let (head, len) = (head(place, k, side), units * d);
            let all = batch.picks.iter();
            let all: Vec<f32> =
                all.flat_map(|pick| self.memory.fetch(&head, slot(pick), len)).collect();
            let shape = if side == Side::Corner { vec![n, d] } else { vec![n, units, d] };
            Ok(Tensor::from_vec(all, shape, parser.device())?)
        };
        let border = |k: usize| -> anyhow::Result<TileBorder> {
            Ok(TileBorder {
                columns: part(k, Side::Columns, w)?,
                rows: part(k, Side::Rows, h)?,
                corner: part(k, Side::Corner, 1)?,
            })
        };
        Ok([border(0)?, border(1)?, border(2)?, border(3)?])
    }

    /// Units of the highest and of the widest tile: what is remembered has room for these.
    fn largest(&self, parser: &Parser, of: (usize, usize)) -> anyhow::Result<(usize, usize)> {
        self.sizes.iter().try_fold(of, |(h, w), [width, height]| {
            let (rows, columns) = parser.tile_units((*height, *width), self.config.grid)?;
            Ok((h.max(rows), w.max(columns)))
        })
    }

    /// Remembers what a tile hands on, where the tiles after it will look.
    fn remember(
        &mut self,
        batch: &Batch,
        place: (usize, usize),
        handed: &[TileBorder; 4],
        (h, w): (usize, usize),
    ) -> anyhow::Result<()> {
        for (k, TileBorder { columns, rows, corner }) in handed.iter().enumerate() {
            for (side, state) in
                [(Side::Columns, columns), (Side::Rows, rows), (Side::Corner, corner)]
            {
                let Some(next) = after(place, k, side, self.config.grid) else { continue };
                let name = head(next, k, side);
                let room = corner.dim(1)?
                    * match side {
                        Side::Columns => w,
                        Side::Rows => h,
                        Side::Corner => 1,
                    };
                for (image, pick) in batch.picks.iter().enumerate() {
                    let state = state.get(image)?.flatten_all()?.to_vec1::<f32>()?;
                    self.memory.update(&name, slot(pick), &state, room);
                }
            }
        }
        Ok(())
    }
}

/// A part of a border.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// From the tile above to the one below, as the direction sees them.
    Columns,
    /// From the tile before to the one after.
    Rows,
    /// From the tile diagonally before to the one diagonally after.
    Corner,
}

/// The name of what lies on one side behind a tile in the `k`-th direction.
fn head((row, column): (usize, usize), k: usize, side: Side) -> String {
    let side = match side {
        Side::Columns => "columns",
        Side::Rows => "rows",
        Side::Corner => "corner",
    };
    format!("{row}.{column}.{k}.{side}")
}

/// Each image has two views, which are remembered apart.
fn slot((index, view): &(usize, View)) -> usize {
    2 * index + usize::from(*view == View::Mirrored)
}

/// The tile that gets what one hands on in the `k`-th direction, if there is one: bit 0 of `k` turns
/// columns round, bit 1 rows.
fn after(
    (row, column): (usize, usize),
    k: usize,
    side: Side,
    [rows, columns]: [usize; 2],
) -> Option<(usize, usize)> {
    let next = |at: usize, turned: bool| if turned { at.checked_sub(1) } else { Some(at + 1) };
    let row = if side == Side::Rows { Some(row) } else { next(row, k & 2 != 0) };
    let column = if side == Side::Columns { Some(column) } else { next(column, k & 1 != 0) };
    row.zip(column).filter(|&(row, column)| row < rows && column < columns)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::config::{CellConfig, ModelConfig};
    use crate::data::Inputs;

    fn model(graph: &str) -> ModelConfig {
        let value = serde_json::json!({
            "dataset": { "kind": "beacons" },
            "model": { "skip_stride": 4, "context": {
                "hidden_channels": 4,
                "cell": { "kind": "scan", "graph": graph, "aggregation": "mean" },
            } },
        });
        CellConfig::from_value(&value).unwrap().model
    }

    fn batch(classes: u8) -> Batch {
        let (n, h, w) = (2, 48, 64);
        let wave: Vec<f32> = (0..n * 3 * h * w).map(|at| (at as f32 * 0.37).sin()).collect();
        let inputs = Inputs::Pixels(Tensor::from_vec(wave, (n, 3, h, w), &Device::Cpu).unwrap());
        let labels: Vec<u8> =
            (0..n * h * w).map(|at| (at / 7 % usize::from(classes)) as u8).collect();
        let labels = Tensor::from_vec(labels, (n, h, w), &Device::Cpu).unwrap();
        Batch { inputs, labels, picks: vec![(0, View::Plain), (3, View::Mirrored)] }
    }

    fn flat(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_tile_after_one_is_behind_it_in_its_direction() {
        let grid = [3, 4];
        assert_eq!(after((1, 1), 0, Side::Columns, grid), Some((2, 1)));
        assert_eq!(after((1, 1), 1, Side::Rows, grid), Some((1, 0)));
        assert_eq!(after((1, 1), 2, Side::Corner, grid), Some((0, 2)));
        assert_eq!(after((0, 0), 3, Side::Rows, grid), None);
        assert_eq!(after((2, 3), 0, Side::Corner, grid), None);
    }

    /// With parameters that stay as they are, and no smoothing, what is remembered becomes what the
    /// network finds there: after as many rounds as the grid of tiles is long.
    #[test]
    fn what_is_remembered_becomes_exact_where_nothing_changes() {
        for graph in ["dag4", "dag8", "dense"] {
            let (parser, _) = Parser::build(&model(graph), 3, 1, None, &Device::Cpu).unwrap();
            let batch = batch(3);
            let mut tiles = Tiles {
                config: TilesConfig { grid: [2, 2], border: TileBorders::Stale, smoothing: 0.0 },
                images: 4,
                sizes: vec![[64, 48]],
                memory: TileMemory::new(8, 0.0),
            };
            let maps = parser.maps(&batch.inputs, Phase::Eval).unwrap();
            let inputs = Inputs::Features(maps);
            let size = parser.tile_units((48, 64), [2, 2]).unwrap();
            assert_eq!(size, (3, 4));
            let grid = (6, 8);
            let places = [(0, 0), (0, 1), (1, 0), (1, 1)];
            let at = |(row, column): (usize, usize)| TileAt {
                corner: (row * size.0, column * size.1),
                size,
                grid,
            };
            for _ in 0..4 {
                for place in places {
                    let behind = tiles.remembered(&parser, &batch, place, &at(place)).unwrap();
                    let logits =
                        parser.tile_logits(&inputs, &at(place), Some(&behind), Phase::Eval);
                    // Forgets what this epoch found before.
                    tiles.remember(&batch, place, &logits.unwrap().1, size).unwrap();
                    tiles.memory.pass();
                }
            }
            for place in places {
                let found = tiles.remembered(&parser, &batch, place, &at(place)).unwrap();
                let exact = parser.behind(&inputs, &at(place), Phase::Eval).unwrap();
                for (found, exact) in found.iter().zip(&exact) {
                    for (a, b) in [(&found.columns, &exact.columns), (&found.rows, &exact.rows)] {
                        let pairs = flat(a).into_iter().zip(flat(b));
                        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(worst < 1e-4, "{graph} {place:?}: {worst}");
                    }
                }
            }
        }
    }

    /// From the features of whole images, tiles with what lies exactly behind them are whole images.
    #[test]
    fn tiles_of_features_are_parts_of_the_whole() {
        let (parser, _) = Parser::build(&model("dense"), 3, 1, None, &Device::Cpu).unwrap();
        let inputs = Inputs::Features(parser.maps(&batch(3).inputs, Phase::Eval).unwrap());
        let whole = parser.logits(&inputs, Phase::Eval).unwrap(); // [2, 3, 12, 16]
        let at = TileAt { corner: (3, 4), size: (3, 4), grid: (6, 8) };
        let behind = parser.behind(&inputs, &at, Phase::Eval).unwrap();
        let (logits, _) = parser.tile_logits(&inputs, &at, Some(&behind), Phase::Eval).unwrap();
        // Resizing to the skip's stride blends one unit over the tile's edge.
        let inner = |map: &Tensor, row: usize, column: usize| {
            flat(&map.narrow(2, row + 1, 4).unwrap().narrow(3, column + 1, 6).unwrap())
        };
        let pairs = inner(&logits, 0, 0).into_iter().zip(inner(&whole, 6, 8));
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst}");
    }

    #[test]
    fn the_views_of_an_image_are_remembered_apart() {
        let picks = (0..4).flat_map(|index| [(index, View::Plain), (index, View::Mirrored)]);
        assert!(picks.map(|pick| slot(&pick)).eq(0..8));
    }

    /// A look at the whole image ahead of a step leaves no trace in running statistics.
    #[test]
    fn exact_borders_move_no_statistics() {
        let statistics = |border| {
            let (parser, _) = Parser::build(&model("dense"), 3, 1, None, &Device::Cpu).unwrap();
            let config = TilesConfig { grid: [2, 2], border, smoothing: 1.0 };
            let objective = Objective { class_weights: None, units: None, phase: Phase::Train };
            let mut clock = Clock::start();
            let mut cutting = Cutting::new(Some(&config), 4, &[]);
            let made = cutting.gradients(&parser, &batch(3), 1, &objective, &mut clock);
            assert!(made.unwrap().of.is_some());
            let of = |(name, t): (String, Tensor)| {
                (!name.starts_with("fusion")).then(|| (name, flat(&t)))
            };
            parser.running_statistics().into_iter().filter_map(of).collect::<Vec<_>>()
        };
        assert_eq!(statistics(TileBorders::Exact), statistics(TileBorders::Zero));
    }

    #[test]
    fn images_that_do_not_divide_are_refused_with_what_would() {
        let (parser, _) = Parser::build(&model("dense"), 3, 1, None, &Device::Cpu).unwrap();
        let message = parser.tile_units((48, 60), [2, 2]).unwrap_err().to_string();
        assert!(message.ends_with("expected multiples of 16 rows and 16 columns"), "{message}");
    }

    #[test]
    fn every_tile_is_stepped_on_once_a_batch_in_an_order_of_its_own() {
        let config = TilesConfig { grid: [3, 3], border: TileBorders::Zero, smoothing: 1.0 };
        let cutting = Cutting::new(Some(&config), 4, &[]);
        let mut parts = cutting.parts(0, 1, 2);
        assert_eq!(parts, cutting.parts(0, 1, 2));
        assert_ne!(parts, cutting.parts(0, 1, 3));
        parts.sort_unstable();
        assert!(parts.into_iter().eq(0..9));
        assert_eq!(Cutting::new(None, 4, &[]).parts(0, 1, 2), [0]);
    }
}
