// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Two names.

use bento::bento_fs;

#[bento_fs(name = "myfs", version = 1, name = "yourfs")]
struct MyFs;

fn main() {}
