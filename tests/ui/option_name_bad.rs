// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A name that cannot be typed.

use bento::prelude::*;

#[derive(MountOptions)]
struct Options {
    #[option(name = "user id")]
    uid: u32,
}

fn main() {}
