// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Two fields with one tag.

use bento::prelude::*;

#[derive(State)]
struct Limits {
    #[state(1)]
    bytes: u64,
    #[state(1)]
    inodes: u64,
}

#[derive(State)]
enum Kind {
    #[state(1)]
    File,
    #[state(1)]
    Directory,
}

fn main() {}
