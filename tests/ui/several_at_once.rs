// SPDX-License-Identifier: GPL-2.0 OR MIT
//! All mistakes are reported at once, and a type error in a body survives them.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "MyFs", version = 0)]
struct MyFs;

#[bento_fs]
impl FileSystem for MyFs {
    fn mount(_: &MountContext) -> Result<Self> {
        Ok(MyFs)
    }

    fn load_inode(&self, _: &Context<Self>, _: Ino) -> Result<(Attr, ())> {
        Err(Errno::EIO)
    }

    fn lookup(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &str) -> Result<u64> {
        Err(Errno::ENOENT)
    }

    fn statfs(&self, cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        statfs.blocks = "many";
        Ok(())
    }

    fn readlink(&self) {}
}

fn main() {}
