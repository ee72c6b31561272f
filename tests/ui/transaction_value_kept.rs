// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a lock of a transaction protects is out of reach once that has ended.

#![allow(unused_variables)]

use bento::prelude::*;

#[bento_fs(name = "myfs", version = 1, data = "extents")]
struct MyFs {
    #[state(1)]
    count: Mutex<u64>,
}

#[bento_fs]
impl FileSystem for MyFs {
    fn mount(_: &MountContext) -> Result<Self> {
        Ok(MyFs { count: Mutex::new(0) })
    }

    fn load_inode(&self, _: &Context<Self>, _: Ino) -> Result<(Attr, ())> {
        Err(Errno::EIO)
    }

    fn lookup(&self, cx: &Context<Self>, _: &Inode<Self>, _: &Name) -> Result<Ino> {
        let tx = cx.begin(1)?;
        let mut count = tx.lock(&self.count)?;
        tx.commit()?;
        *count += 1;
        Err(Errno::ENOENT)
    }

    fn map_extents(&self, _: &Context<Self>, _: &Inode<Self>, _: u64, _: u64, _: &mut Extents) -> Result<()> {
        Ok(())
    }
}

fn main() {}
