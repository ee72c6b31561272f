// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A name longer than 32 bytes.

use bento::bento_fs;

#[bento_fs(name = "a_name_that_is_longer_than_any_file_system_needs", version = 1)]
struct MyFs;

fn main() {}
