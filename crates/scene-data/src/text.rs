//! Words in pictures, in a bitmap font.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// Height of a line; a letter takes 8 by 8 pixels in its middle.
pub(crate) const LINE_PX: usize = 16;

const INK: Rgb<u8> = Rgb([235; 3]);

/// Writes a line whose upper left is at `(x, y)`; what does not fit is cut off.
pub(crate) fn write_text(picture: &mut RgbImage, x: usize, y: usize, text: &str) {
    for (at, letter) in text.chars().enumerate() {
        let glyph = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter));
        let Some(glyph) = glyph.or_else(|| BASIC_FONTS.get('?')) else { continue };
        for (row, bits) in glyph.into_iter().enumerate() {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                let (x, y) = ((x + 8 * at + column) as u32, (y + 4 + row) as u32);
                if let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
                    *pixel = INK;
                }
            }
        }
    }
}
