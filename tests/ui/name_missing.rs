// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system needs a name.

use bento::bento_fs;

#[bento_fs(version = 1)]
struct MyFs;

fn main() {}
