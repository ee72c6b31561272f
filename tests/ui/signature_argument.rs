// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An argument of the wrong type.

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

    fn lookup(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &[u8]) -> Result<Ino> {
        Err(Errno::ENOENT)
    }
}

fn main() {}
