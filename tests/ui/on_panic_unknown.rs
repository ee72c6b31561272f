// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A word that `on_panic` does not know.

use bento::prelude::*;

#[bento_fs(name = "fs", version = 1, on_panic = "restrat")]
struct Fs;

#[bento_fs(name = "fs", version = 1, on_panic = true)]
struct Other;

fn main() {}
