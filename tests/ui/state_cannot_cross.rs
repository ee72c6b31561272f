// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A field whose type is not `State`.

use bento::prelude::*;

struct Handle;

#[derive(State)]
struct Limits {
    #[state(1)]
    handle: Handle,
    #[state(2)]
    handles: Vec<Handle>,
}

fn main() {}
