// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A mandatory handler is missing.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "myfs", version = 1)]
struct MyFs;

#[bento_fs]
impl FileSystem for MyFs {
    fn mount(_: &MountContext) -> Result<Self> {
        Ok(MyFs)
    }

    fn load_inode(&self, _: &Context<Self>, _: Ino) -> Result<(Attr, ())> {
        Err(Errno::EIO)
    }
}

fn main() {}
