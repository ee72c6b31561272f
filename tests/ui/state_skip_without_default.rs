// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A skipped field that nothing can make.

use bento::prelude::*;

struct Handle;

#[derive(State)]
struct Limits {
    #[state(skip)]
    handle: Handle,
}

fn main() {}
