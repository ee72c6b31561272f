// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Resident data that only `load_inode` could make again.

use bento::prelude::*;

#[bento_fs(name = "fs", version = 1, data = "resident")]
struct Fs;

#[derive(State)]
#[state(reload)]
struct Node;

#[bento_fs]
impl FileSystem for Fs {
    type Inode = Node;

    fn mount(_cx: &MountContext) -> Result<Self> {
        todo!()
    }

    fn load_inode(&self, _cx: &Context<Self>, _ino: Ino) -> Result<(Attr, Node)> {
        todo!()
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name) -> Result<Ino> {
        todo!()
    }
}

fn main() {}
