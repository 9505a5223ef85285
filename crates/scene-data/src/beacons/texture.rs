//! How the textures look: a dark base colour, a pattern, and noise.

use super::rng::ImageRng;

/// The most textures there are.
pub(super) const MAX_TEXTURES: usize = 8;

/// Base colours, none bright, none black: beacons are both.
const BASE: [[u8; 3]; MAX_TEXTURES] = [
    [138, 62, 56],
    [62, 128, 66],
    [64, 80, 150],
    [140, 126, 58],
    [126, 64, 138],
    [58, 130, 132],
    [110, 110, 110],
    [150, 94, 50],
];

/// The same hues at full brightness, for beacon frames and pictures of labels.
const BRIGHT: [[u8; 3]; MAX_TEXTURES] = [
    [255, 64, 48],
    [64, 240, 80],
    [72, 120, 255],
    [255, 232, 48],
    [240, 72, 255],
    [48, 240, 255],
    [224, 224, 224],
    [255, 150, 32],
];

/// Half the contrast of a pattern.
const PATTERN_REACH: i32 = 22;
/// The largest noise per pixel and channel.
const NOISE_REACH: i32 = 10;
/// The largest change of a texture's colour from image to image.
const TINT_REACH: i32 = 8;

/// The colour of a texture's beacon frame.
pub(super) fn bright(texture: usize) -> [u8; 3] {
    BRIGHT[texture]
}

/// A texture as it looks in one image. Its class plays no part in it.
pub(super) struct Look {
    texture: usize,
    tint: i32,
    /// Shift of the pattern, right and down.
    phase: [usize; 2],
}

impl Look {
    pub(super) fn draw(rng: &mut ImageRng, texture: usize) -> Self {
        let tint = rng.around_zero(TINT_REACH);
        Self { texture, tint, phase: [rng.below(24), rng.below(24)] }
    }

    /// The colour at a pixel; `noise` holds 24 random bits.
    pub(super) fn pixel(&self, x: usize, y: usize, noise: u32) -> [u8; 3] {
        let (x, y) = (x + self.phase[0], y + self.phase[1]);
        let light = match self.texture {
            0 => y / 2 % 2 == 0,              // horizontal stripes
            1 => x / 2 % 2 == 0,              // vertical stripes
            2 => (x / 3 + y / 3) % 2 == 0,    // checker
            3 => x % 5 < 2 && y % 5 < 2,      // dots
            4 => (x + y) / 3 % 2 == 0,        // diagonals
            5 => x % 6 < 2 || y % 6 < 2,      // lattice
            6 => y % 6 < 3 && x / 2 % 2 == 0, // broken bars
            _ => x % 8 < 3 && y % 8 < 3,      // blocks
        };
        let pattern = if light { PATTERN_REACH } else { -PATTERN_REACH };
        std::array::from_fn(|channel| {
            let byte = (noise >> (8 * channel)) & 0xff;
            let noise = ((byte as i32 * (2 * NOISE_REACH + 1)) >> 8) - NOISE_REACH;
            let base = i32::from(BASE[self.texture][channel]);
            (base + self.tint + pattern + noise).clamp(0, 255) as u8
        })
    }
}
