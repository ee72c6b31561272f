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

mod alloc;
mod dir;
mod disk;
mod map;
mod txn;
mod xattr;

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
