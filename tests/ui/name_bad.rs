// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A name that `mount -t` and sysfs would trip over.

use bento::bento_fs;

#[bento_fs(name = "My-FS", version = 1)]
struct MyFs;

fn main() {}
