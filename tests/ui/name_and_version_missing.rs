// SPDX-License-Identifier: GPL-2.0 OR MIT
//! On a struct the attribute alone says nothing.

use bento::bento_fs;

#[bento_fs]
struct MyFs;

fn main() {}
