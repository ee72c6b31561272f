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
        self.first.iter().flatten().chain(&self.more)
    }
}
