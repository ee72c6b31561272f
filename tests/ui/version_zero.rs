// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Versions start at 1.

use bento::bento_fs;

#[bento_fs(name = "myfs", version = 0)]
struct MyFs;

fn main() {}
