// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A field that only `load_inode` could make.

use bento::prelude::*;

#[derive(State)]
#[state(reload)]
struct Node {
    parent: u64,
}

#[derive(State)]
#[state(extends = ())]
struct Table {
    #[state(1)]
    nodes: Vec<Node>,
}

const _: &bento::state::Shape = Table::SHAPE;

fn main() {}
