// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fields that do not say whether they cross.

use bento::prelude::*;

#[derive(State)]
struct Limits {
    #[state(1)]
    bytes: u64,
    inodes: u64,
}

#[derive(State)]
struct Pair(u64, #[state(7)] u64);

#[derive(State)]
enum Kind {
    #[state(1)]
    File,
    Directory,
}

fn main() {}
