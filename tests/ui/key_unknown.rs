// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A slip in a key.

use bento::bento_fs;

#[bento_fs(name = "myfs", verison = 1, version = 1)]
struct MyFs;

fn main() {}
