// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The attribute on an enum.

use bento::bento_fs;

#[bento_fs(name = "myfs", version = 1)]
enum MyFs {}

fn main() {}
