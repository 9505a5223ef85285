//! How much arithmetic a network is: multiplications with an addition, as papers count them.

use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Runs `work` and returns with its result the multiplications with an addition of the
/// convolutions, products and scans that it called on this thread, forward passes only.
///
/// As the operations are defined, not as they are carried out: a convolution counts
/// `n·k·(c/groups)·kh·kw·h'·w'` whatever its algorithm. Norms, activations, poolings, resizing and
/// softmax count nothing.
pub fn counted_macs<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.replace(0);
    let result = work();
    let count = COUNT.replace(before);
    (result, count)
}

/// Adds to the count of [`counted_macs`]; for operations of other crates.
pub fn count_macs(macs: usize) {
    COUNT.set(COUNT.get().saturating_add(macs as u64));
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::{Conv2d, ConvTranspose2d, conv_transpose2d, conv2d, rows_of_grid};

    #[test]
    fn operations_count_what_their_definitions_say() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let of = |work: &dyn Fn()| counted_macs(work).1;
        let x = zeros(&[2, 4, 6, 8]);
        let config = Conv2d { stride: 2, padding: 1, groups: 2, ..Conv2d::default() };
        let conv = of(&|| drop(conv2d(&x, &zeros(&[6, 2, 3, 3]), None, &config).unwrap()));
        assert_eq!(conv, 2 * 6 * 2 * 9 * 3 * 4);
        let config = ConvTranspose2d { stride: 2, ..ConvTranspose2d::default() };
        let up = of(&|| drop(conv_transpose2d(&x, &zeros(&[4, 5, 2, 2]), None, &config).unwrap()));
        assert_eq!(up, 2 * 4 * 5 * 4 * 6 * 8);
        let rows = of(&|| drop(rows_of_grid(&x, &zeros(&[7, 4]), &zeros(&[7])).unwrap()));
        assert_eq!(rows, 2 * 7 * 4 * 48);
        assert_eq!(of(&|| ()), 0, "nothing is left of earlier work");
    }
}
