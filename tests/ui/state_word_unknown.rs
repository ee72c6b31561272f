// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Words that `#[state]` does not know.

use bento::prelude::*;

#[derive(State)]
struct Limits {
    #[state(1, defualt = 0)]
    bytes: u64,
    #[state(2, default)]
    inodes: u64,
    #[state(skp)]
    open: u64,
    #[state]
    links: u64,
    #[state(6, skip)]
    users: u64,
    #[state(1u64)]
    groups: u64,
}

#[derive(State)]
#[state(extend = (), 3, skip)]
struct More;

fn main() {}
