// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What `load_inode` makes again extends nothing.

use bento::prelude::*;

#[derive(State)]
#[state(reload, extends = ())]
struct Fine;

#[derive(State)]
#[state(reload, extends = Fine)]
struct Node {
    parent: u64,
}

fn main() {}
