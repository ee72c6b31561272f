// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Without a device there is nothing to recover.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "myfs", version = 1, data = "resident")]
struct MyFs;

#[bento_fs]
impl FileSystem for MyFs {
    fn mount(_: &MountContext) -> Result<Self> {
        Ok(MyFs)
    }

    fn load_inode(&self, _: &Context<Self>, _: Ino) -> Result<(Attr, ())> {
        Err(Errno::EIO)
    }

    fn lookup(&self, _: &Context<Self>, _: &Inode<Self>, _: &Name) -> Result<Ino> {
        Err(Errno::ENOENT)
    }

    fn recover(&self, cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
