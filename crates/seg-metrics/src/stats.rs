//! Means over seeds, and whether two arms really differ.
//!
//! [`compare`] holds two arms of an ablation against each other: networks trained with the same
//! seeds and evaluated on the same images. What it estimates is the difference of mIoU to be
//! expected of another seed on other images like these, and its 95 % interval has both in it:
//!
//! - **Images.** The paired bootstrap (Efron and Tibshirani, *An introduction to the bootstrap*,
//!   1993, chapters 6 and 8) draws images with replacement, the same for both arms and all seeds,
//!   sums their confusion matrices and takes mIoU of the sums: mIoU is no mean over images, so its
//!   variance has no formula.
//! - **Seeds.** The differences of the pairs of one seed vary about their mean.
//!
//! With `d_s` the difference of seed `s` of `S`, write its deviation as `a_s + b + e_s`: of the
//! seed, of the drawn images for whatever seed, and of how this seed fares on these images. The mean over
//! seeds has the variance `A/S + B + E/S`. Between seeds on the same images, `b` is the same, so
//! the sample variance over `S` estimates `A/S + E/S`: it contains all that seeds do, images'
//! share of it included. Resampling images moves `b` and `e_s`, so the bootstrap's variance of the
//! mean over seeds is `B + E/S`, and adding the two would count `E/S` twice. What is added is `B`
//! alone, the bootstrap's covariance of two seeds: `B = (S · var(mean) - mean(var)) / (S - 1)`,
//! taken as 0 where it comes out negative.
//!
//! The sum of the two has Satterthwaite's degrees of freedom (*An approximate distribution of
//! estimates of variance components*, Biometrics Bulletin 2, 1946): `S - 1` where seeds prevail, the
//! images' number less one where images do. Departure: where the seeds' variance happens to come
//! out small, the approximation claims too many degrees of freedom, and the interval could be
//! narrower than the seeds' own, which knows nothing of images; it is then given that width.
//! The README of this crate shows how often the truth lies inside.
//!
//! **Stills of one drive** are not independent: neighbours show the same street. Drawn one by one,
//! they seem to vary less in the mean than they do. [`compare_stills`] draws blocks of consecutive
//! stills of each drive instead, as many stills as the drive has (Künsch, *The jackknife and the
//! bootstrap for general stationary observations*, Annals of Statistics 17, 1989), in the circular
//! form of Politis and Romano (*A circular block-resampling procedure for stationary data*, 1992):
//! the first still follows on the last, so that each is drawn as often as the others. Blocks are
//! twice as long as [`block_length`] finds from how alike images' differences are to those of their
//! neighbours; an image's difference is that of mIoU, mean over seeds, less what it is without the
//! image. Departure: the rule's own length has the least mean squared error of the variance, but a
//! bias downwards, and its intervals hold the truth too seldom. `n` stills in blocks of `b` weigh as
//! `n/b` independent images, in the variance's bias and its degrees of freedom, which are one fewer
//! for each drive. What is said holds for other stills of drives like these, in the same
//! proportions; of how drives differ a few of them show nothing, and [`Sampling::words`] says so.
//! Sets of [`MANY_DRIVES`] or more have whole drives drawn.
//!
//! **Other scores.** [`compare_scores`] does the same by any score of counts that add up.
//!
//! With one seed nothing is known of seeds: the interval then is that of two given networks over
//! images, and [`Comparison::scope`] says so.
//!
//! Differences of classes have simultaneous intervals, Bonferroni's (Dunn, *Multiple comparisons
//! among means*, JASA 56, 1961): with 95 % probability *all* of them hold, each being as wide as
//! one of 1 - 0.05/m of m classes. Departure from Holm (*A simple sequentially rejective multiple
//! test procedure*, Scandinavian Journal of Statistics 6, 1979), whose test finds slightly more but
//! has no intervals that go with it.

mod blocks;
mod compare;
mod difference;
mod ious;
mod mean;
mod moments;
mod paired;
mod resample;
mod runs;
mod sampling;
mod scored;
mod table;
mod words;

pub use blocks::block_length;
pub use compare::{ClassDifference, Comparison, FEWEST_IMAGES, Scope, compare, compare_stills};
pub use difference::{Difference, Verdict};
pub use mean::{mean, sample_sd};
pub use paired::PairedInterval;
pub use resample::Bootstrap;
pub use runs::Run;
pub use sampling::{MANY_DRIVES, Sampling};
pub use scored::{ScoreComparison, compare_scores};
