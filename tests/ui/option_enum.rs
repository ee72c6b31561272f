// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Options that are no struct.

use bento::prelude::*;

#[derive(MountOptions)]
enum Options {
    Uid(u32),
}

fn main() {}
