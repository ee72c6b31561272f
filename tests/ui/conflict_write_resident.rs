// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Resident data has no handlers to read and write it.

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

    fn read(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()> {
        Ok(())
    }

    fn write(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, source: &mut WriteSource) -> Result<()> {
        Ok(())
    }
}

fn main() {}
