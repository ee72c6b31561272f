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

/// Sorts in place: a heap, since the library's own sorting needs more stack than a kernel has to give.
pub fn sort_by<T>(list: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let sift = |list: &mut [T], mut at: usize| loop {
        let mut largest = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if let (Some(one), Some(other)) = (list.get(child), list.get(largest))
                && less(other, one)
            {
                largest = child;
            }
        }
        if largest == at {
            break;
        }
        list.swap(at, largest);
        at = largest;
    };
    for at in (0..list.len() / 2).rev() {
        sift(list, at);
    }
    for end in (1..list.len()).rev() {
        list.swap(0, end);
        if let Some(rest) = list.get_mut(..end) {
            sift(rest, 0);
        }
    }
}

/// The same by a key.
pub fn sort_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(list, |one, other| key(one) < key(other));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted() {
        let mut state = 1u32;
        for len in 0..100 {
            let mut list: Vec<u32> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 25
                })
                .collect();
            let mut expected = list.clone();
            expected.sort_unstable();
            sort_by_key(&mut list, |value| *value);
            assert_eq!(list, expected);
        }
    }
}
