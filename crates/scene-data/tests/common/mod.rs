//! Label files of any pixel format.

/// Encodes packed `bytes` as a PNG; a palette is added where the colour type needs one.
pub(crate) fn png(
    width: u32,
    height: u32,
    color: png::ColorType,
    depth: png::BitDepth,
    bytes: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        // Colours that have nothing to do with the indices.
        let colours = 1usize << (depth as usize).min(8);
        encoder.set_palette((0..colours * 3).map(|v| (v * 37 + 11) as u8).collect::<Vec<u8>>());
    }
    let mut writer = encoder.write_header().expect("a valid header");
    writer.write_image_data(bytes).expect("data of the right length");
    writer.finish().expect("a whole file");
    out
}
