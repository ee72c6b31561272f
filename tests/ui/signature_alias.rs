// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A wrong type behind an alias: rustc sees through it and says so.

#![allow(unused_variables)]

use bento::prelude::*;

type Number = u64;

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

    fn lookup(&self, _: &Context<Self>, _: &Inode<Self>, _: &Name) -> Result<Ino> {
        Err(Errno::ENOENT)
    }

    fn flush(&self, cx: &Context<Self>, inode: &Number) -> Result<()> {
        Ok(())
    }
}

fn main() {}
