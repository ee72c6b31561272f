// SPDX-License-Identifier: GPL-2.0 OR MIT
//! rext4: the ext4 on-disk format, also ext2's and ext3's.
//!
//! The device's blocks are the only truth. Nothing that a transaction changes is mirrored in memory, so undoing one, a
//! restart and a live upgrade have nothing to repair: what the instance holds is either constant ([`disk::Super`]) or can be
//! made again from the blocks ([`alloc::Groups`]). An inode is read and written where it lies, in its table ([`disk::Ip`]).
//!
//! BlockLock of locks (the transaction's, held to its end): directory nodes, other nodes, orphans, groups in ascending order.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod alloc;
mod check;
mod dir;
mod disk;
mod file;
mod handlers;
mod journal;
mod list;
mod map;
mod mount;
mod namei;
mod node;
mod orphan;
mod own;
mod superblock;
mod txn;
mod xattr;
mod zones;

use bento::prelude::*;

use disk::Super;
pub use node::Node;

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
    /// 5 is version 2's.
    #[state(6)]
    pub(crate) zones: zones::Zones,
    /// Held by transactions that change blocks of attributes which inodes share.
    #[state(skip)]
    pub(crate) shared_xattrs: txn::BlockLock,
}

impl Rext4 {
    fn new(sb: Super, groups: alloc::Groups, settings: mount::Settings) -> Self {
        Rext4 {
            sb,
            groups,
            settings,
            orphans: orphan::Orphans::default(),
            zones: zones::Zones::default(),
            shared_xattrs: txn::BlockLock::default(),
        }
    }
}
