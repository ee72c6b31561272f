// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The attribute on the impl of another trait.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "myfs", version = 1)]
struct MyFs;

#[bento_fs]
impl Default for MyFs {
    fn default() -> Self {
        MyFs
    }
}

fn main() {}
