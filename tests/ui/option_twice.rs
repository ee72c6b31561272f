// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Two options of one name.

use bento::prelude::*;

#[derive(MountOptions)]
struct Options {
    uid: u32,
    #[option(name = "uid")]
    user: u32,
}

fn main() {}
