// SPDX-License-Identifier: GPL-2.0 OR MIT
//! rext4: the ext4 on-disk format, also ext2's and ext3's.
//!
//! The device's blocks are the only truth. Nothing that a transaction changes is mirrored in memory, so undoing one, a
//! restart and a live upgrade have nothing to repair: what the instance holds is either constant ([`disk::Super`]) or can be
//! made again from the blocks ([`alloc::Groups`]). An inode is read and written where it lies, in its table ([`Ip`]).
//!
//! Order of locks (the transaction's, held to its end): directory nodes, other nodes, orphans, groups in ascending order.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod alloc;
mod disk;
mod journal;
mod list;
mod map;
mod mount;
mod node;
mod orphan;
mod superblock;
mod txn;
mod xattr {
    pub fn release(_: &crate::Txn, _: &crate::Ip) -> bento::errno::Result<()> {
        Ok(())
    }
}

use bento::prelude::*;

use disk::{Ip, Super};
use txn::Txn;

/// What is kept of a cached inode.
#[derive(State, Default)]
#[state(reload)]
pub struct Node {
    /// Held by whoever reads or changes the inode's bytes in its table, its extent tree or its attributes, where the VFS's
    /// lock of the inode does not do. What is inside are hints.
    pub map: Mutex<map::Hints>,
}

#[bento_fs(name = "rext4", version = 1, data = "extents", on_panic = "restart")]
pub struct Rext4 {
    #[state(1)]
    pub(crate) sb: Super,
    #[state(2)]
    pub(crate) groups: alloc::Groups,
    #[state(3)]
    pub(crate) orphans: orphan::Orphans,
    #[state(4)]
    pub(crate) settings: mount::Settings,
}

#[bento_fs]
impl FileSystem for Rext4 {
    type Inode = Node;

    fn mount(cx: &MountContext) -> Result<Self> {
        mount::mount(cx)
    }

    fn unmount(&self, cx: &Context<Self>) {
        self.unmount(cx.device());
    }

    fn statfs(&self, _cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        self.statfs(statfs);
        Ok(())
    }

    fn sync_fs(&self, cx: &Context<Self>, _wait: bool) -> Result<()> {
        self.sync_fs(cx.device())
    }

    fn reconfigure(&self, cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        self.reconfigure(cx.device(), change)
    }

    fn recover(&self, cx: &Context<Self>) -> Result<()> {
        self.recover(cx.device())
    }

    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Node)> {
        node::load_inode(self, cx, ino)
    }

    fn write_inode(&self, cx: &Context<Self>, inode: &Inode<Self>, _wait: bool) -> Result<()> {
        node::write_inode(self, cx, inode)
    }

    fn evict_inode(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()> {
        node::evict_inode(self, cx, inode)
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name) -> Result<Ino> {
        Err(Errno::ENOENT)
    }

    fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        node::setattr(self, cx, inode, change)
    }

    fn fileattr_get(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &mut FileAttr) -> Result<()> {
        node::fileattr_get(self, cx, inode, attr)
    }

    fn fileattr_set(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &FileAttr) -> Result<()> {
        node::fileattr_set(self, cx, inode, attr)
    }
}
