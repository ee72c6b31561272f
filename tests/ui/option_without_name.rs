// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A struct without names.

use bento::prelude::*;

#[derive(MountOptions)]
struct Options(u32);

fn main() {}
