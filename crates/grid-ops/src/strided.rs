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

/// `to[2·j] = even[j]` and `to[2·j + 1] = odd[j]`. Panics if they do not reach to the end.
#[inline(always)]
pub(crate) fn interleave<T: Real>(to: &mut [T], even: &[T], odd: &[T]) {
    let (pairs, rest) = to.as_chunks_mut::<2>();
    let (even, odd) = (&even[..pairs.len() + rest.len()], &odd[..pairs.len()]);
    let last = even.last();
    let both = even.iter().zip(odd);
    pairs.iter_mut().zip(both).for_each(|(to, (&even, &odd))| *to = [even, odd]);
    if let (Some(to), Some(&last)) = (rest.first_mut(), last) {
        *to = last;
    }
}
