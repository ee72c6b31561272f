// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A type that no option has.

use bento::prelude::*;

#[derive(MountOptions)]
struct Options {
    ratio: f32,
}

fn main() {}
