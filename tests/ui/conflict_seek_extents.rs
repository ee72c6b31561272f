// SPDX-License-Identifier: GPL-2.0 OR MIT
//! With extents the shim knows data from holes.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "myfs", version = 1, data = "extents")]
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

    fn map_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, len: u64, extents: &mut Extents) -> Result<()> {
        Ok(())
    }

    fn seek(&self, cx: &Context<Self>, inode: &Inode<Self>, from: SeekFrom) -> Result<u64> {
        Ok(0)
    }
}

fn main() {}
