// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A bare word that nothing turns off.

use bento::prelude::*;

#[derive(MountOptions)]
struct Options {
    #[option(default = true)]
    quiet: bool,
}

fn main() {}
