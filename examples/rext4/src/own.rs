// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The attribute that a version keeps by itself: this one keeps none. Version 2 has a module of its own in this one's place.

use bento::prelude::*;

use crate::Rext4;

/// Nobody may set it, and it is not listed: programs that copy all attributes would fail.
pub fn is(_name: &[u8]) -> bool {
    false
}

/// What a new inode of this kind is born with: a name, and a value.
pub fn of_new(_fs: &Rext4, _cx: &Context<Rext4>, _kind: FileType) -> Option<(&'static [u8], Vec<u8>)> {
    None
}
