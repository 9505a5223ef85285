//! Counting images on all cores, and taking the counts in the images' order.

use rayon::prelude::*;

use crate::{ConfusionMatrix, Result};

/// Images that are counted before their counts are taken: enough for all cores, few in memory.
const AT_ONCE: usize = 64;

/// Counts images 0 to `images - 1` on rayon's threads and hands their counts to `take` one by one
/// in that order, so that whatever `take` sums has the same bits for any number of threads.
///
/// # Errors
///
/// The first error in the images' order, of `count` or of `take`; no later image is taken.
pub fn in_order<T, E>(
    images: usize,
    count: impl Fn(usize) -> Result<T, E> + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E>
where
    T: Send,
    E: Send,
{
    for start in (0..images).step_by(AT_ONCE) {
        let end = images.min(start + AT_ONCE);
        let counted: Vec<Result<T, E>> = (start..end).into_par_iter().map(&count).collect();
        counted.into_iter().try_for_each(|counts| take(counts?))?;
    }
    Ok(())
}

impl ConfusionMatrix {
    /// The matrix of many images, counted on rayon's threads; `image` gives the labels and the
    /// predictions of one.
    ///
    /// # Errors
    ///
    /// The first error in the images' order: one of `image`, or of [`ConfusionMatrix::add`].
    pub fn of_images<L, E>(
        classes: usize,
        images: usize,
        image: impl Fn(usize) -> Result<(L, L), E> + Sync,
    ) -> Result<Self, E>
    where
        L: AsRef<[u8]>,
        E: From<crate::Error> + Send,
    {
        let mut total = Self::new(classes);
        let count = |index| -> Result<Self, E> {
            let (truth, prediction) = image(index)?;
            let mut matrix = Self::new(classes);
            matrix.add(truth.as_ref(), prediction.as_ref())?;
            Ok(matrix)
        };
        in_order(images, count, |matrix: Self| Ok(total.merge(&matrix)?))?;
        Ok(total)
    }
}
