// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Two ways from one version.

use bento::prelude::*;

mod history {
    pub mod v1 {
        use bento::prelude::*;

        #[derive(State)]
        #[state(fs = "fs", version = 1, inode = Node)]
        pub struct Fs {
            #[state(1)]
            pub next_ino: u64,
            #[state(2)]
            pub label: Vec<u8>,
        }

        #[derive(State)]
        pub struct Node {
            #[state(1)]
            pub parent: u64,
        }
    }
}

#[derive(State)]
struct Node {
    #[state(1)]
    parent: u64,
}

#[bento_fs(name = "fs", version = 2, extends = history::v1::Fs, migrates = history::v1::Fs)]
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
