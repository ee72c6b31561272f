// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system for every `T`.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "layer", version = 1)]
struct Layer<T>(T);

#[bento_fs]
impl<T: Send + Sync + 'static> FileSystem for Layer<T> {
    fn mount(_: &MountContext) -> Result<Self> {
        Err(Errno::EIO)
    }

    fn load_inode(&self, _: &Context<Self>, _: Ino) -> Result<(Attr, ())> {
        Err(Errno::EIO)
    }

    fn lookup(&self, _: &Context<Self>, _: &Inode<Self>, _: &Name) -> Result<Ino> {
        Err(Errno::ENOENT)
    }
}

fn main() {}
