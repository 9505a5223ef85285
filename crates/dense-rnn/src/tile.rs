//! The layer on one tile of a grid, with what lies behind it given: for training on parts.

use candle_core::Tensor;

use crate::scan::{
    Scan, TileAt, TileBorder, aggregated_behind, behind_in, check_sums, handed_on, nothing_behind,
    scan_in_grid,
};
use crate::{Cell, DenseRnn, DenseRnnConfig, Error, Join, Result};

impl DenseRnnConfig {
    /// The scan of a layer that can be trained on tiles: one of sums or means, its directions summed.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for any other.
    pub fn check_tiles(&self) -> Result<Scan> {
        let Cell::Scan { graph, aggregation } = self.cell else {
            let (field, value) = ("cell", format!("{:?}", self.cell));
            let reason = "only a scan has a state that a tile can hand on";
            return Err(Error::Config { field, value, reason });
        };
        let scan = Scan { graph, aggregation, activation: self.activation };
        check_sums(&scan)?;
        if self.join == Join::Dia {
            let (field, value) = ("join", format!("{:?}", self.join));
            let reason = "its gates are means over the whole grid, which no tile knows";
            return Err(Error::Config { field, value, reason });
        }
        Ok(scan)
    }
}

/// The borders here hold sums of hidden states, `s` = `d`, in the order of
/// [`Direction::ALL`](crate::Direction::ALL), each as its direction sees the tile; those of
/// [`scan_tile`](crate::scan_tile) hold them multiplied by `W`.
impl DenseRnn {
    /// [`forward`](Self::forward) of one tile of a grid, given what lies behind it: the part of the
    /// whole grid's output that belongs to the tile, if `behind` is what the whole grid's scan finds
    /// there. Returns that and what the tile hands on.
    ///
    /// # Shapes
    ///
    /// - `features`: `[n, c, h, w]`, of the tile
    /// - `behind`: for each direction `columns` `[n, w, d]`, `rows` `[n, h, d]`, `corner` `[n, d]`
    /// - returns: `[n, k, h, w]`, and borders of the same shapes
    ///
    /// Differentiable in features and parameters, the recurrent weight of what lies behind included;
    /// the borders are numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a layer without a [tile](DenseRnnConfig::check_tiles) or a tile outside
    /// the grid, [`Error::Shape`] for features or borders of other sizes.
    pub fn forward_tile(
        &self,
        features: &Tensor,
        at: &TileAt,
        behind: &[TileBorder; 4],
    ) -> Result<(Tensor, [TileBorder; 4])> {
        let (scan, recurrent) = self.scan_of(at)?;
        let (_, _, h, w) = features.dims4()?;
        if (h, w) != at.size {
            let expected = "features: [n, c, h, w] with h and w of the tile";
            let got = features.dims().to_vec();
            return Err(Error::Shape { op: "forward_tile", expected, got });
        }
        let input = self.input.by_direction(features)?; //              [n, h, w, 4, d]
        let (n, _, _, _, d) = input.dims5()?;
        // W applied to what lies behind: [4, n·h·w, d] by [4, d, d].
        let found = aggregated_behind(&scan, at, behind)?;
        let found = found.permute((3, 0, 1, 2, 4))?.contiguous()?.reshape((4, n * h * w, d))?;
        let found = found.matmul(&recurrent.transpose(1, 2)?.contiguous()?)?;
        let found = found.reshape((4, n, h, w, d))?.permute((1, 2, 3, 0, 4))?.contiguous()?;
        let hidden = scan_in_grid(&(input + found)?, &recurrent, &scan, at)?;
        let handed = handed_on(&scan, at, &hidden.detach(), behind)?;
        Ok((self.joined(hidden)?, handed))
    }

    /// What lies behind a tile of a grid of `features`, `[n, c, h, w]`.
    ///
    /// # Errors
    ///
    /// As [`forward_tile`](Self::forward_tile).
    pub fn behind(&self, features: &Tensor, at: &TileAt) -> Result<[TileBorder; 4]> {
        let (scan, _) = self.scan_of(at)?;
        let (_, _, h, w) = features.dims4()?;
        if (h, w) != at.grid {
            let expected = "features: [n, c, h, w] with h and w of the grid";
            return Err(Error::Shape { op: "behind", expected, got: features.dims().to_vec() });
        }
        behind_in(&scan, at, &self.hidden(&features.detach())?.detach())
    }

    /// Nothing: what lies behind a tile that is a grid of its own, for `n` images.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn nothing_behind(&self, n: usize, at: &TileAt) -> Result<[TileBorder; 4]> {
        nothing_behind(n, self.config.hidden_channels, at, &self.input.bias)
    }

    /// The scan and its recurrent weights for the grid of a tile.
    fn scan_of(&self, at: &TileAt) -> Result<(Scan, Tensor)> {
        let scan = self.config.check_tiles()?;
        at.check()?;
        let missing = || Error::Candle(candle_core::Error::Msg("a scan without weights".into()));
        Ok((scan, self.recurrent(at.grid)?.ok_or_else(missing)?))
    }
}
