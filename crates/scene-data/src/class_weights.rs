//! Weights of classes in a loss, from how often they occur.

use crate::Statistics;

/// A rule that weighs classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// Every class counts alike.
    #[default]
    None,
    /// The median of the classes' frequencies by the class's own, a frequency being counted over
    /// the images in which the class occurs (Eigen & Fergus, ICCV 2015).
    MedianFrequency,
    /// `2^⌈log10(η / f)⌉`, f being the class's share of all labelled pixels and η the share of the
    /// class at which the classes, by falling share, hold 85 % of the pixels.
    ///
    /// Reconstruction of the weights of Shuai et al., *Scene segmentation with DAG-recurrent neural
    /// networks*, TPAMI 2017.
    Shuai,
}

/// The share of all pixels that the frequent classes hold.
const FREQUENT_SHARE: f64 = 0.85;

impl ClassWeights {
    /// One weight a class; 1 for a class that does not occur.
    pub fn of(self, statistics: &Statistics) -> Vec<f64> {
        match self {
            Self::None => vec![1.0; statistics.class_pixels.len()],
            Self::MedianFrequency => {
                let counts = statistics.class_pixels.iter().zip(&statistics.class_image_pixels);
                let frequency = |(&pixels, &of): (&u64, &u64)| pixels as f64 / (of as f64).max(1.0);
                median_frequency(&counts.map(frequency).collect::<Vec<f64>>())
            }
            Self::Shuai => shuai(&statistics.class_shares()),
        }
    }
}

fn median_frequency(frequencies: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = frequencies.iter().copied().filter(|&f| f > 0.0).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() {
        0 => return vec![1.0; frequencies.len()],
        odd if odd % 2 == 1 => sorted[middle],
        _ => 0.5 * (sorted[middle - 1] + sorted[middle]),
    };
    frequencies.iter().map(|&f| if f > 0.0 { median / f } else { 1.0 }).collect()
}

fn shuai(shares: &[f64]) -> Vec<f64> {
    let mut falling: Vec<f64> = shares.to_vec();
    falling.sort_by(|a, b| b.total_cmp(a));
    let mut held = 0.0;
    let eta = falling.iter().find(|&&share| {
        held += share;
        held >= FREQUENT_SHARE
    });
    let Some(&eta) = eta else { return vec![1.0; shares.len()] };
    let weight = |&share: &f64| {
        if share > 0.0 { (eta / share).log10().ceil().exp2() } else { 1.0 }
    };
    shares.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published shares of ADE20K's training pixels.
    fn ade20k() -> Vec<f64> {
        let text = include_str!("../../../datasets/ade20k/classes.toml");
        let table: toml::Table = toml::from_str(text).expect("a table");
        let rows = table["label"].as_array().expect("rows");
        let ratios: Vec<f64> =
            rows.iter().filter_map(|row| row.get("pixel_ratio")?.as_float()).collect();
        let sum: f64 = ratios.iter().sum();
        ratios.into_iter().map(|ratio| ratio / sum).collect()
    }

    #[test]
    fn shuais_weights_of_ade20k_are_the_worked_ones() {
        let weights = shuai(&ade20k());
        assert_eq!(weights.len(), 150);
        let of = |weight: f64| weights.iter().filter(|&&w| w == weight).count();
        assert_eq!([of(0.5), of(1.0), of(2.0), of(4.0)], [4, 24, 76, 46]);
    }

    #[test]
    fn median_frequency_gives_the_middle_class_one() {
        assert_eq!(median_frequency(&[0.1, 0.4, 0.2]), [2.0, 0.5, 1.0]);
        assert_eq!(median_frequency(&[0.1, 0.0, 0.3]), [2.0, 1.0, 0.2 / 0.3]);
        assert_eq!(median_frequency(&[0.0, 0.0]), [1.0, 1.0]);
        assert_eq!(shuai(&[0.0, 0.0]), [1.0, 1.0]);
    }
}
