//! The options of the synthetic set.

use crate::beacons::texture::MAX_TEXTURES;
use crate::{Error, Split};

/// The options of the synthetic set "beacons"; [`check`](Self::check) says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BeaconsConfig {
    /// Width and height of every image. Default: 96.
    pub size_px: usize,
    /// Number of textures; there are twice as many classes. Default: 4.
    pub textures: usize,
    /// Images of the training split. Default: 1,500.
    pub train_images: usize,
    /// Images of the validation split. Default: 150.
    pub val_images: usize,
    /// Images of the test split. Default: 600.
    pub test_images: usize,
    /// Seed of all images. Default: 0.
    pub seed: u64,
    /// Regions of one texture each, per image. Default: 7.
    pub regions: usize,
    /// Width and height of a beacon, odd. Default: 9.
    pub beacon_px: usize,
}

impl Default for BeaconsConfig {
    fn default() -> Self {
        Self {
            size_px: 96,
            textures: 4,
            train_images: 1500,
            val_images: 150,
            test_images: 600,
            seed: 0,
            regions: 7,
            beacon_px: 9,
        }
    }
}

impl BeaconsConfig {
    /// Checks that images can be made from these values.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the first value outside its range.
    pub fn check(&self) -> Result<(), Error> {
        let within = |field, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            let (config, value, expected) =
                ("beacons", value.to_string(), format!("{low} to {high}"));
            Err(Error::Config { config, field, value, expected })
        };
        within("size_px", self.size_px, 32, 2048)?;
        within("textures", self.textures, 1, MAX_TEXTURES)?;
        within("regions", self.regions, self.textures.min(3), 64)?;
        within("beacon_px", self.beacon_px, 7, self.size_px)?;
        if self.beacon_px.is_multiple_of(2) {
            return Err(Error::Config {
                config: "beacons",
                field: "beacon_px",
                value: self.beacon_px.to_string(),
                expected: "an odd number, so that a beacon has a middle pixel".to_owned(),
            });
        }
        // Beacons are placed by trial; half of the trials must succeed even for the last one.
        let blocked = self.textures * (2 * self.beacon_px + 1).pow(2);
        let places = (self.size_px - self.beacon_px + 1).pow(2);
        if blocked * 2 > places {
            return Err(Error::Config {
                config: "beacons",
                field: "beacon_px",
                value: self.beacon_px.to_string(),
                expected: format!(
                    "a size at which {} beacons fit loosely into {size}×{size} pixels",
                    self.textures,
                    size = self.size_px
                ),
            });
        }
        for split in Split::ALL {
            let field = match split {
                Split::Train => "train_images",
                Split::Val => "val_images",
                Split::Test => "test_images",
            };
            within(field, self.images(split), 0, 1_000_000)?;
        }
        Ok(())
    }

    /// The number of images in a split.
    pub fn images(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train_images,
            Split::Val => self.val_images,
            Split::Test => self.test_images,
        }
    }
}
