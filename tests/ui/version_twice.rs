// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Two versions.

use bento::bento_fs;

#[bento_fs(name = "myfs", version = 1, version = 2)]
struct MyFs;

fn main() {}
