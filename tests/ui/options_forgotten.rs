// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mount options without the derive.

use bento::prelude::*;

struct Options;

fn options(cx: &MountContext) -> Result<Options> {
    cx.options()
}

fn main() {}
