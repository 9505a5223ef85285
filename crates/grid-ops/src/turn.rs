//! Rows and columns of a matrix exchanged.

use crate::{Real, simd};

/// Rows and columns of a block: a few cache lines of either side.
const BLOCK: usize = 16;

/// The matrix of `rows × columns`, whose rows begin `stride` apart, as `[columns, rows]`.
///
/// Panics if the matrix does not lie within `from`.
pub fn turned<T: Real>(from: &[T], (rows, columns): (usize, usize), stride: usize) -> Vec<T> {
    let mut to = Vec::with_capacity(rows * columns);
    if rows * columns == 0 {
        return to;
    }
    assert!((rows - 1) * stride + columns <= from.len(), "a matrix beyond its slice");
    let room = &mut to.spare_capacity_mut()[..rows * columns];
    simd(
        #[inline(always)]
        || {
            for first_row in (0..rows).step_by(BLOCK) {
                let high = BLOCK.min(rows - first_row);
                for first in (0..columns).step_by(BLOCK) {
                    let wide = BLOCK.min(columns - first);
                    if (high, wide) == (BLOCK, BLOCK) {
                        let mut block = [[T::zero(); BLOCK]; BLOCK];
                        for (i, row) in block.iter_mut().enumerate() {
                            let at = (first_row + i) * stride + first;
                            row.copy_from_slice(&from[at..at + BLOCK]);
                        }
                        for j in 0..wide {
                            let at = (first + j) * rows + first_row;
                            for (to, row) in room[at..at + BLOCK].iter_mut().zip(&block) {
                                to.write(row[j]);
                            }
                        }
                    } else {
                        for j in 0..wide {
                            for i in 0..high {
                                let x = from[(first_row + i) * stride + first + j];
                                room[(first + j) * rows + first_row + i].write(x);
                            }
                        }
                    }
                }
            }
        },
    );
    // SAFETY: the blocks cover the matrix, and each wrote all of its elements.
    #[allow(unsafe_code, reason = "zeroing what is written anyway costs as much as the copy")]
    unsafe {
        to.set_len(rows * columns);
    }
    to
}

#[cfg(test)]
mod tests {
    use super::turned;

    #[test]
    fn every_element_finds_its_place() {
        for (rows, columns, stride) in
            [(1, 1, 1), (16, 32, 40), (17, 5, 9), (3, 50, 50), (33, 34, 35)]
        {
            let from: Vec<f64> = (0..rows * stride).map(|i| i as f64).collect();
            let to = turned(&from, (rows, columns), stride);
            assert_eq!(to.len(), rows * columns);
            for i in 0..rows {
                for j in 0..columns {
                    assert_eq!(to[j * rows + i], from[i * stride + j]);
                }
            }
        }
        assert!(turned::<f32>(&[], (0, 3), 3).is_empty());
    }
}
