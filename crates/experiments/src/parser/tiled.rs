//! The network on one tile of its images, with what lies behind the tile given.

use anyhow::{Context, ensure};
use candle_core::Tensor;
use dense_rnn::{DenseRnn, TileAt, TileBorder};
use grid_ops::{Activation, add};

use super::{Parser, Phase};
use crate::data::Inputs;

impl Parser {
    /// The grid of the context module for images of these rows and columns, and how many of its
    /// units there are to a tile, if images divide so.
    ///
    /// # Errors
    ///
    /// Images that do not divide.
    pub(crate) fn tile_units(
        &self,
        (height, width): (usize, usize),
        [rows, columns]: [usize; 2],
    ) -> anyhow::Result<(usize, usize)> {
        let stride = self.context_stride;
        ensure!(
            height.is_multiple_of(rows * stride) && width.is_multiple_of(columns * stride),
            "training.tiles.grid = [{rows}, {columns}]: images of {height} rows and {width} columns \
             do not divide into such tiles of whole units of {stride} pixels; expected multiples of \
             {} rows and {} columns",
            rows * stride,
            columns * stride
        );
        Ok((height / rows / stride, width / columns / stride))
    }

    /// The logits of one tile of the images, `[n, classes, h', w']`, given what lies behind it, and
    /// what it hands on.
    ///
    /// Pixels go through the backbone as if the tile were an image; features are a part of those of
    /// the whole image.
    ///
    /// # Errors
    ///
    /// A network whose context has no tiles.
    pub(crate) fn tile_logits(
        &self,
        inputs: &Inputs,
        at: &TileAt,
        behind: Option<&[TileBorder; 4]>,
        phase: Phase,
    ) -> anyhow::Result<(Tensor, [TileBorder; 4])> {
        let stride = self.context_stride;
        // A part of a map in which `units` of the context's grid span `each` cells.
        let part = |map: &Tensor, each: usize| -> anyhow::Result<Tensor> {
            let rows = map.narrow(2, at.corner.0 * each, at.size.0 * each)?;
            Ok(rows.narrow(3, at.corner.1 * each, at.size.1 * each)?.contiguous()?)
        };
        let (skip, joined) = match inputs {
            Inputs::Pixels(pixels) => {
                let maps = self.maps(&Inputs::Pixels(part(pixels, stride)?), phase)?;
                let (skip, joined) = self.joined(&maps)?;
                (skip.cloned(), joined)
            }
            Inputs::Features(_) => {
                let maps = self.maps(inputs, phase)?;
                let (skip, joined) = self.joined(&maps)?;
                let each = |map: &Tensor| map.dim(2).map(|rows| rows / at.grid.0);
                let skip = skip.map(|map| part(map, each(map)?)).transpose()?;
                (skip, part(&joined, 1)?)
            }
        };
        let x = self.neck.adapter.forward(&joined, phase)?;
        let context = self.tiled()?;
        let (out, handed) = match behind {
            Some(behind) => context.forward_tile(&x, at, behind)?,
            None => context.forward_tile(&x, at, &context.nothing_behind(x.dim(0)?, at)?)?,
        };
        Ok((self.decoded(&add(&x, &out, Activation::Identity)?, skip.as_ref(), phase)?, handed))
    }

    /// What lies behind a tile of the images; `phase` must leave everything as it is.
    ///
    /// # Errors
    ///
    /// As [`Self::tile_logits`].
    pub(crate) fn behind(
        &self,
        inputs: &Inputs,
        at: &TileAt,
        phase: Phase,
    ) -> anyhow::Result<[TileBorder; 4]> {
        let (_, x) = self.adapted(&self.maps(inputs, phase)?, phase)?;
        Ok(self.tiled()?.behind(&x, at)?)
    }

    /// Channels of the hidden state of each of its directions.
    ///
    /// # Errors
    ///
    /// As [`Self::tile_logits`].
    pub(crate) fn hidden_channels(&self) -> anyhow::Result<usize> {
        Ok(self.tiled()?.config().hidden_channels)
    }

    fn tiled(&self) -> anyhow::Result<&DenseRnn> {
        self.neck.context.as_ref().context("a network without a context module has no tiles")
    }
}
