//! One image of the synthetic set. Integers only, so that every machine makes the same bytes.

use image::{Rgb, RgbImage};

use super::BeaconsConfig;
use super::emblem::{Ink, ink};
use super::rng::ImageRng;
use super::texture::{Look, bright};
use crate::{LabelMap, Sample, Split, UNDEFINED_DISTANCE_PX};

/// Makes image `index` of a split from a configuration that was checked.
pub(super) fn generate(config: &BeaconsConfig, split: Split, index: usize, id: String) -> Sample {
    let rng = &mut ImageRng::new(config.seed, split, index);
    // Coins and places are drawn for every texture, present or not, before anything that could
    // depend on the regions: nothing but the beacon's shape tells which class holds.
    let mut coins = draw_coins(rng, config);
    if index % 2 == 1 {
        // Every second image turns the coins of the one before it, so that in a split each class
        // of a texture holds in half of the images and a guess is right half of the time.
        let before = &mut ImageRng::new(config.seed, split, index - 1);
        coins = draw_coins(before, config).into_iter().map(|coin| 1 - coin).collect();
    }
    let beacons = place_beacons(rng, config);
    let regions = Regions::draw(rng, config);
    let looks: Vec<Look> = (0..config.textures).map(|texture| Look::draw(rng, texture)).collect();

    let size = config.size_px;
    let mut image = RgbImage::new(size as u32, size as u32);
    let mut labels = LabelMap { width: size, height: size, data: vec![0; size * size] };
    let mut distance_px = vec![UNDEFINED_DISTANCE_PX; size * size];
    for y in 0..size {
        for x in 0..size {
            let at = y * size + x;
            let mut texture = regions.texture_at(x, y);
            let mut colour = looks[texture].pixel(x, y, rng.bits());
            let hit = beacons.iter().position(|beacon| beacon.covers(x, y, config.beacon_px));
            if let Some(told) = hit {
                texture = told;
                let Corner { left, top } = beacons[told];
                colour = match ink(config.beacon_px, coins[told], x - left, y - top) {
                    Ink::Frame => bright(told),
                    Ink::Shape => [255; 3],
                    Ink::Ground => [0; 3],
                };
            } else {
                distance_px[at] = beacons[texture].distance_px(x, y, config.beacon_px);
            }
            labels.data[at] = (2 * texture + coins[texture]) as u8;
            image.put_pixel(x as u32, y as u32, Rgb(colour));
        }
    }
    Sample { id, image, labels, beacon_distance_px: Some(distance_px) }
}

/// Which class of each texture holds.
fn draw_coins(rng: &mut ImageRng, config: &BeaconsConfig) -> Vec<usize> {
    (0..config.textures).map(|_| rng.coin()).collect()
}

/// The top left pixel of a beacon.
#[derive(Debug, Clone, Copy)]
struct Corner {
    left: usize,
    top: usize,
}

impl Corner {
    fn covers(self, x: usize, y: usize, beacon_px: usize) -> bool {
        (self.left..self.left + beacon_px).contains(&x)
            && (self.top..self.top + beacon_px).contains(&y)
    }

    /// From a pixel to the beacon's middle pixel, rounded down.
    fn distance_px(self, x: usize, y: usize, beacon_px: usize) -> u16 {
        let dx = x.abs_diff(self.left + beacon_px / 2);
        let dy = y.abs_diff(self.top + beacon_px / 2);
        // At most 2047·√2, which fits.
        (dx * dx + dy * dy).isqrt() as u16
    }
}

/// Places each texture's beacon uniformly, but apart from the others by at least a pixel.
fn place_beacons(rng: &mut ImageRng, config: &BeaconsConfig) -> Vec<Corner> {
    let places = config.size_px - config.beacon_px + 1;
    let mut placed: Vec<Corner> = Vec::with_capacity(config.textures);
    while placed.len() < config.textures {
        let (left, top) = (rng.below(places), rng.below(places));
        let apart = |other: &Corner| {
            left.abs_diff(other.left) > config.beacon_px
                || top.abs_diff(other.top) > config.beacon_px
        };
        // `BeaconsConfig::check` made sure that at least every second trial succeeds on average.
        if placed.iter().all(apart) {
            placed.push(Corner { left, top });
        }
    }
    placed
}

/// A Voronoi partition whose cells carry a texture each.
struct Regions {
    /// Column, row and texture of each cell's seed.
    seeds: Vec<[usize; 3]>,
}

impl Regions {
    /// Seeds are jittered in different squares of a coarse grid, so that no region is tiny.
    fn draw(rng: &mut ImageRng, config: &BeaconsConfig) -> Self {
        let textures = draw_textures(rng, config);
        let across = (1..).find(|n| n * n >= config.regions).unwrap_or(config.regions);
        let mut squares: Vec<usize> = (0..across * across).collect();
        rng.shuffle(&mut squares);
        let mut jitter = |square: usize| {
            let from = square * config.size_px / across;
            from + rng.below((square + 1) * config.size_px / across - from)
        };
        let seeds = squares.iter().zip(textures);
        let seeds = seeds.map(|(&at, texture)| [jitter(at % across), jitter(at / across), texture]);
        Self { seeds: seeds.collect() }
    }

    fn texture_at(&self, x: usize, y: usize) -> usize {
        let squared = |seed: &&[usize; 3]| x.abs_diff(seed[0]).pow(2) + y.abs_diff(seed[1]).pow(2);
        self.seeds.iter().min_by_key(squared).map_or(0, |seed| seed[2])
    }
}

/// The texture of each region: at least three different ones (where there are as many).
fn draw_textures(rng: &mut ImageRng, config: &BeaconsConfig) -> Vec<usize> {
    let most = config.textures.min(config.regions);
    let least = most.min(3);
    let present = least + rng.below(most - least + 1);
    let mut textures: Vec<usize> = (0..config.textures).collect();
    rng.shuffle(&mut textures);
    // One region for each that is present, the others as it comes.
    let of_region = |region| textures[if region < present { region } else { rng.below(present) }];
    (0..config.regions).map(of_region).collect()
}
