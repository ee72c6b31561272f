// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system's state is not generic; other types' may be.

use bento::prelude::*;

#[derive(State)]
struct Pair<T>(#[state(1)] T, #[state(2)] T);

struct Handle;

fn crosses<T: State>() {}

fn check() {
    crosses::<Pair<u64>>();
    crosses::<Pair<Handle>>();
}

fn main() {}
