// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A slip in an option's attribute.

use bento::prelude::*;

#[derive(MountOptions)]
struct Options {
    #[option(defualt = 7)]
    uid: u32,
}

fn main() {}
