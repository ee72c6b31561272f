// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Handlers that a macro makes.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "myfs", version = 1)]
struct MyFs;

macro_rules! no_statfs {
    () => {
        fn statfs(&self, _: &Context<Self>, _: &mut bento::fs::Statfs) -> Result<()> {
            Err(Errno::ENOSYS)
        }
    };
}

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

    no_statfs!();
}

fn main() {}
