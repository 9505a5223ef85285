//! Every `stride`-th element of a slice; the strides that networks use in loops that vectorise.

use crate::Real;

/// `to[j] = from[j · stride]`, as far as both reach.
#[inline(always)]
pub(crate) fn gather<T: Real>(to: &mut [T], from: &[T], stride: usize) {
    match stride {
        1 => {
            let len = to.len().min(from.len());
            to[..len].copy_from_slice(&from[..len]);
        }
        2 => {
            let (pairs, rest) = from.as_chunks::<2>();
            to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
            if let (Some(to), Some(&x)) = (to.get_mut(pairs.len()), rest.first()) {
                *to = x;
            }
        }
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &x)| *to = x),
    }
}

/// `to[j · stride] = f(to[j · stride], from[j])`, as far as both reach.
#[inline(always)]
pub(crate) fn scatter<T: Real>(to: &mut [T], from: &[T], stride: usize, f: impl Fn(T, T) -> T) {
    match stride {
        1 => to.iter_mut().zip(from).for_each(|(to, &x)| *to = f(*to, x)),
        2 => {
            let (pairs, rest) = to.as_chunks_mut::<2>();
            let count = pairs.len();
            // Both of a pair are written, so that whole vectors are.
            pairs.iter_mut().zip(from).for_each(|(to, &x)| *to = [f(to[0], x), to[1]]);
            if let (Some(to), Some(&x)) = (rest.first_mut(), from.get(count)) {
                *to = f(*to, x);
            }
        }
        _ => to.iter_mut().step_by(stride).zip(from).for_each(|(to, &x)| *to = f(*to, x)),
    }
}
