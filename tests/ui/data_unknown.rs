// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A way to keep file data that there is not.

use bento::bento_fs;

#[bento_fs(name = "myfs", version = 1, data = "byte")]
struct MyFs;

fn main() {}
