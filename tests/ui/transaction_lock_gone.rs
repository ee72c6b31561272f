// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A transaction lets go of its locks when it ends: they are there until then.

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

    fn lookup(&self, cx: &Context<Self>, _: &Inode<Self>, _: &Name) -> Result<Ino> {
        let tx = cx.begin(1)?;
        {
            let short = Mutex::new(1);
            tx.lock(&short)?;
        }
        tx.commit()?;
        Err(Errno::ENOENT)
    }

    fn map_extents(&self, _: &Context<Self>, _: &Inode<Self>, _: u64, _: u64, _: &mut Extents) -> Result<()> {
        Ok(())
    }
}

fn main() {}
