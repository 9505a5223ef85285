//! One image seen in several sizes, mirrored and through windows: the average of what is predicted.

use anyhow::ensure;
use candle_core::{Device, Tensor};
use grid_ops::{Corners, resize_bilinear};
use scene_data::{IMAGENET_MEAN, IMAGENET_STD, normalised_planes, resized};

use crate::config::{EvaluationConfig, Mirror};
use crate::data::{Inputs, View};
use crate::parser::{Parser, Phase};

/// The predicted class of every pixel of a photograph, row-major at its own size: probabilities
/// averaged over the views that `config` names, then the most probable class, the first of equals.
///
/// Memory: one probability a pixel and class of the largest view, besides the network's own.
///
/// # Errors
///
/// An image the parser cannot take.
pub(crate) fn predict_views(
    parser: &Parser,
    image: &image::RgbImage,
    config: &EvaluationConfig,
) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut total: Option<Tensor> = None;
    for &scale in &config.scales {
        let size = [width, height].map(|n| ((n as f64 * scale).round() as usize).max(1));
        let seen = resized(image, size[0], size[1]);
        let views: &[View] = match config.mirror {
            Mirror::Off => &[View::Plain],
            Mirror::Averaged => &[View::Plain, View::Mirrored],
        };
        for &view in views {
            let map = through_windows(parser, &seen, view, config)?;
            let map = resize_bilinear(&map, height, width, Corners::Centers)?;
            total = Some(match total {
                Some(total) => (total + map)?,
                None => map,
            });
        }
    }
    let Some(total) = total else { anyhow::bail!("evaluation.scales is empty") };
    Ok(grid_ops::argmax_upsampled(&total, height, width)?)
}

/// Probabilities of every pixel, `[1, k, h, w]`, turned back where the view was mirrored.
fn through_windows(
    parser: &Parser,
    image: &image::RgbImage,
    view: View,
    config: &EvaluationConfig,
) -> anyhow::Result<Tensor> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut planes = normalised_planes(image, IMAGENET_MEAN, IMAGENET_STD);
    if view == View::Mirrored {
        planes.chunks_exact_mut(width).for_each(<[f32]>::reverse);
    }
    let pixels = Tensor::from_vec(planes, (1, 3, height, width), &Device::Cpu)?;
    let columns = windows(width, config.window_px[0], config.window_stride_px[0]);
    let rows = windows(height, config.window_px[1], config.window_stride_px[1]);
    let classes = parser.classes();
    let mut sums = vec![0f32; classes * height * width];
    let mut counts = vec![0f32; height * width];
    for &(top, high) in &rows {
        for &(left, wide) in &columns {
            let part = pixels.narrow(2, top, high)?.narrow(3, left, wide)?.contiguous()?;
            let logits = parser.logits(&Inputs::Pixels(part), Phase::Eval)?;
            let logits = resize_bilinear(&logits, high, wide, Corners::Centers)?;
            let shares = candle_nn::ops::softmax(&logits, 1)?.flatten_all()?.to_vec1::<f32>()?;
            for (class, plane) in shares.chunks_exact(high * wide).enumerate() {
                for (y, row) in plane.chunks_exact(wide).enumerate() {
                    let at = (class * height + top + y) * width + left;
                    sums[at..at + wide].iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
                }
            }
            for y in top..top + high {
                let at = y * width + left;
                counts[at..at + wide].iter_mut().for_each(|count| *count += 1.0);
            }
        }
    }
    for plane in sums.chunks_exact_mut(height * width) {
        plane.iter_mut().zip(&counts).for_each(|(sum, count)| *sum /= count);
        if view == View::Mirrored {
            plane.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
    }
    Ok(Tensor::from_vec(sums, (1, classes, height, width), &Device::Cpu)?)
}

/// First pixel and length of every window along one side: a stride apart, the last one shifted
/// inside. 0 stands for one window over all.
fn windows(length: usize, window: usize, stride: usize) -> Vec<(usize, usize)> {
    if window == 0 || window >= length {
        return vec![(0, length)];
    }
    let last = length - window;
    let mut starts: Vec<usize> = (0..last).step_by(stride.max(1)).collect();
    starts.push(last);
    starts.into_iter().map(|start| (start, window)).collect()
}

/// Whether the whole image is seen once, as it is.
pub(super) fn is_plain(config: &EvaluationConfig) -> bool {
    config.window_px == [0, 0] && config.scales == [1.0] && config.mirror == Mirror::Off
}

/// Sides of windows: fewer pixels are no view of a scene, more than any image has is a slip.
const WINDOWS: std::ops::RangeInclusive<usize> = 16..=65_536;

/// The most sizes in which an image is seen.
const SCALES: usize = 32;

/// Checks that images can be seen so.
pub(crate) fn check(config: &EvaluationConfig) -> anyhow::Result<()> {
    let EvaluationConfig { window_px, window_stride_px, scales, .. } = config;
    ensure!(
        window_px.iter().all(|side| *side == 0 || WINDOWS.contains(side)),
        "evaluation.window_px = {window_px:?}: expected {} to {} columns and rows, or 0, 0 for \
         whole images",
        WINDOWS.start(),
        WINDOWS.end()
    );
    for (side, (&window, &stride)) in window_px.iter().zip(window_stride_px).enumerate() {
        ensure!(
            window == 0 || (1..=window).contains(&stride),
            "evaluation.window_stride_px[{side}] = {stride}: expected 1 to \
             evaluation.window_px[{side}] = {window}, or pixels would be left out"
        );
    }
    ensure!(
        (window_px[0] == 0) == (window_px[1] == 0),
        "evaluation.window_px = {window_px:?}: expected columns and rows, or 0, 0 for whole images"
    );
    let fine = |scale: &f64| (0.1..=4.0).contains(scale);
    ensure!(
        (1..=SCALES).contains(&scales.len()) && scales.iter().all(fine),
        "evaluation.scales: expected 1 to {SCALES} factors of 0.1 to 4, found {} of them{}",
        scales.len(),
        scales.iter().find(|scale| !fine(scale)).map_or(String::new(), |s| format!(", one {s}"))
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;

    fn photograph(width: u32, height: u32) -> image::RgbImage {
        image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 5 % 256) as u8, (y * 7 % 256) as u8, ((x * y) % 256) as u8])
        })
    }

    #[test]
    fn windows_cover_everything_and_stay_inside() {
        assert_eq!(windows(10, 0, 0), [(0, 10)]);
        assert_eq!(windows(10, 12, 4), [(0, 10)]);
        assert_eq!(windows(10, 4, 3), [(0, 4), (3, 4), (6, 4)]);
        assert_eq!(windows(11, 4, 3), [(0, 4), (3, 4), (6, 4), (7, 4)]);
        for (length, window, stride) in [(97, 32, 32), (64, 32, 5), (33, 32, 1), (100, 7, 7)] {
            let mut covered = vec![false; length];
            for (start, size) in windows(length, window, stride) {
                covered[start..start + size].fill(true);
            }
            assert!(covered.into_iter().all(|c| c), "{length} {window} {stride}");
        }
    }

    #[test]
    fn one_plain_view_is_the_plain_prediction() -> anyhow::Result<()> {
        let (parser, _) = Parser::build(&ModelConfig::default(), 4, 0, None, &Device::Cpu)?;
        let image = photograph(56, 40);
        let plain = predict_views(&parser, &image, &EvaluationConfig::default())?;
        let planes = normalised_planes(&image, IMAGENET_MEAN, IMAGENET_STD);
        let pixels = Tensor::from_vec(planes, (1, 3, 40, 56), &Device::Cpu)?;
        let logits = parser.logits(&Inputs::Pixels(pixels), Phase::Eval)?;
        // Softmax keeps the order of classes at every pixel, but for rounding.
        let direct = grid_ops::argmax_upsampled(&logits, 40, 56)?;
        let same = plain.iter().zip(&direct).filter(|(a, b)| a == b).count();
        assert!(same * 1000 >= 999 * direct.len(), "{same} of {}", direct.len());
        Ok(())
    }

    #[test]
    fn mirrored_views_make_the_prediction_symmetric() -> anyhow::Result<()> {
        let (parser, _) = Parser::build(&ModelConfig::default(), 4, 0, None, &Device::Cpu)?;
        let config = EvaluationConfig {
            mirror: Mirror::Averaged,
            scales: vec![0.75, 1.0],
            ..EvaluationConfig::default()
        };
        let image = photograph(64, 48);
        let turned = image::imageops::flip_horizontal(&image);
        let there = predict_views(&parser, &image, &config)?;
        let back: Vec<u8> = predict_views(&parser, &turned, &config)?
            .chunks_exact(64)
            .flat_map(|row| row.iter().rev().copied().collect::<Vec<_>>())
            .collect();
        let same = there.iter().zip(&back).filter(|(a, b)| a == b).count();
        assert!(same * 100 >= 99 * there.len(), "{same} of {}", there.len());
        Ok(())
    }

    #[test]
    fn what_leaves_pixels_out_is_refused() {
        let with = |window_px, window_stride_px, scales: &[f64]| EvaluationConfig {
            window_px,
            window_stride_px,
            scales: scales.to_vec(),
            mirror: Mirror::Off,
        };
        assert!(check(&EvaluationConfig::default()).is_ok());
        assert!(check(&with([32, 32], [16, 32], &[1.0])).is_ok());
        for (config, word) in [
            (with([32, 32], [0, 16], &[1.0]), "window_stride_px[0] = 0"),
            (with([32, 32], [16, 33], &[1.0]), "window_stride_px[1] = 33"),
            (with([32, 0], [16, 0], &[1.0]), "window_px"),
            (with([0, 0], [0, 0], &[]), "scales"),
            (with([0, 0], [0, 0], &[f64::NAN]), "scales"),
        ] {
            let message = check(&config).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
