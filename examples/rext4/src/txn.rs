// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A transaction of rext4: Bento's, and the blocks and inodes it takes and frees. Those are only noted, and put into
//! bitmaps and descriptors when it commits, group by group: no group is locked while a handler works, and what a transaction
//! that fails had taken was never on the disk.

use bento::fs::Credits;
use bento::prelude::*;

use crate::Rext4;
use crate::disk::Ip;

/// What blocks are wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Contents of a file: what was reserved when they became dirty comes first.
    Data,
    /// Anything else.
    Metadata,
}

pub struct Txn<'call> {
    pub fs: &'call Rext4,
    pub device: Device<'call>,
    pub tx: Transaction<'call>,
}

impl<'call> Txn<'call> {
    /// `credits` are the blocks the caller will change; those of bitmaps, descriptors and the superblock are added here.
    pub fn begin(fs: &'call Rext4, device: Device<'call>, credits: impl Into<Credits>) -> Result<Txn<'call>>;

    /// `1..=want` free blocks in a row, near `goal` (0: wherever): `ENOSPC`.
    pub fn allocate(&self, goal: u64, want: u32, what: Use) -> Result<(u64, u32)>;

    /// Frees blocks with the commit. Metadata are also forgotten by the journal (the caller's credits count revokes).
    pub fn free(&self, start: u64, count: u32, what: Use) -> Result<()>;

    /// A free inode: directories are spread, others stay in their directory's group.
    pub fn allocate_inode(&self, parent: u32, directory: bool) -> Result<Ip<'call>>;

    pub fn free_inode(&self, ino: u32, directory: bool) -> Result<()>;

    /// Puts `inode` on the orphan list: it is freed or cut at the next mount, should we not come to it.
    pub fn orphan_add(&self, ip: &Ip<'call>) -> Result<()>;

    /// Takes it off again, if it is on it.
    pub fn orphan_remove(&self, ip: &Ip<'call>) -> Result<()>;

    /// Writes attributes into the inode (all that `Attr` has; the size from `disk_size`; `i_blocks` from `blocks`).
    pub fn store(&self, ip: &Ip<'call>, attr: &Attr) -> Result<()>;

    /// Brings the inode's checksum up to date: last, after all `put`s of this transaction.
    pub fn seal(&self, ip: &Ip<'call>) -> Result<()>;

    pub fn commit(self) -> Result<()>;
}

impl Rext4 {
    /// The inode in its table.
    pub fn ip<'call>(&self, device: Device<'call>, ino: u32) -> Result<Ip<'call>>;

    /// A block near which the contents of `ino` should lie when nothing better is known.
    pub fn goal(&self, ino: u32) -> u64;

    /// The file system contradicts itself: says what and where, does what `errors=` asks for, and gives `EUCLEAN`.
    pub fn corrupt(&self, device: Device<'_>, what: core::fmt::Arguments<'_>) -> Errno;
}
