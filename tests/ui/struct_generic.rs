// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A generic struct.

use bento::bento_fs;

#[bento_fs(name = "myfs", version = 1)]
struct MyFs<T>(T);

fn main() {}
