// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Without the attribute nobody would know which handlers there are.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "myfs", version = 1)]
struct MyFs;

impl FileSystem for MyFs {
    type Inode = ();

    fn mount(_: &MountContext) -> Result<Self> {
        Ok(MyFs)
    }

    fn load_inode(&self, _: &Context<Self>, _: Ino) -> Result<(Attr, ())> {
        Err(Errno::EIO)
    }

    fn lookup(&self, _: &Context<Self>, _: &Inode<Self>, _: &Name) -> Result<Ino> {
        Err(Errno::ENOENT)
    }
}

fn main() {}
