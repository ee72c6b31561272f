// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system needs a version.

use bento::bento_fs;

#[bento_fs(name = "myfs")]
struct MyFs;

fn main() {}
