// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A version in quotes.

use bento::bento_fs;

#[bento_fs(name = "myfs", version = "1.0")]
struct MyFs;

fn main() {}
