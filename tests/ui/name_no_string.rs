// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A name that is not in quotes.

use bento::bento_fs;

#[bento_fs(name = myfs, version = 1)]
struct MyFs;

fn main() {}
