// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A list that needs no memory while it is short.

use bento::prelude::*;

pub struct List<T, const N: usize> {
    first: [Option<T>; N],
    len: usize,
    more: Vec<T>,
}

impl<T: Copy, const N: usize> List<T, N> {
    pub const fn new() -> Self {
        List { first: [None; N], len: 0, more: Vec::new() }
    }

    pub fn push(&mut self, value: T) -> Result<()> {
        match self.first.get_mut(self.len) {
            Some(place) => {
                *place = Some(value);
                self.len += 1;
            }
            None => {
                self.more.try_reserve(1)?;
                self.more.push(value);
            }
        }
        Ok(())
    }

    pub fn last_mut(&mut self) -> Option<&mut T> {
        match self.more.last_mut() {
            Some(last) => Some(last),
            None => self.first.get_mut(self.len.checked_sub(1)?)?.as_mut(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.get(..self.len).unwrap_or_default().iter().flatten().chain(&self.more)
    }
}

/// Sorts in place, by insertion at ever smaller distances (Shell's): the library's own sorting needs more stack than a kernel has
/// to give, and a list of a few hundred names is not worth memory for merging.
pub fn sort_by<T: Copy>(list: &mut [T], less: impl Fn(&T, &T) -> bool) {
    // The distances that were found to compare least (M. Ciura, 2001); those beyond grow by 9/4.
    const SMALL: [usize; 8] = [1, 4, 10, 23, 57, 132, 301, 701];
    let mut distance = 701;
    while distance < list.len() / 3 {
        distance = distance * 9 / 4;
    }
    while distance > 701 {
        insert_apart(list, distance, &less);
        // Down the same way, but for what division leaves out; what counts is that it ends.
        distance = (distance * 4).div_ceil(9).max(701);
    }
    for distance in SMALL.into_iter().rev() {
        insert_apart(list, distance, &less);
    }
}

/// Sorts each of the lists that every `distance`th element makes.
#[inline(always)]
fn insert_apart<T: Copy>(list: &mut [T], distance: usize, less: &impl Fn(&T, &T) -> bool) {
    for from in distance..list.len() {
        let Some(one) = list.get(from).copied() else { break };
        let mut at = from;
        while let Some(before) = at.checked_sub(distance)
            && let Some(other) = list.get(before).copied()
            && less(&one, &other)
            && let Some(place) = list.get_mut(at)
        {
            *place = other;
            at = before;
        }
        if let Some(place) = list.get_mut(at) {
            *place = one;
        }
    }
}

/// The same by a key.
pub fn sort_by_key<T: Copy, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(list, |one, other| key(one) < key(other));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted() {
        let mut state = 1u32;
        for len in (0..100).chain([700, 2500, 20_000]) {
            let mut list: Vec<u32> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 20
                })
                .collect();
            let mut expected = list.clone();
            expected.sort_unstable();
            sort_by_key(&mut list, |value| *value);
            assert_eq!(list, expected);
        }
    }
}
