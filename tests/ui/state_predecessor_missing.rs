// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Version 2 that says nothing of version 1.

use bento::prelude::*;

#[derive(State)]
struct Node {
    #[state(1)]
    parent: u64,
}

#[bento_fs(name = "fs", version = 2)]
struct Fs {
    #[state(1)]
    next_ino: u64,
    #[state(2)]
    label: Vec<u8>,
}

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
