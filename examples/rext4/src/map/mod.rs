// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where the blocks of a file lie: extent trees ([`tree`], [`edit`]), or the indirect blocks of ext2 and ext3
//! ([`indirect`]).

use bento::fs::Credits;
use bento::prelude::*;

use crate::Rext4;
use crate::disk::Ip;
use crate::txn::Txn;

/// What is remembered of a file's blocks. It may be wrong.
#[derive(Default)]
pub struct Hints {
    /// The block after the last one that was allocated.
    pub next: u64,
}

/// What [`append`] may change: a node at each depth and its new neighbour, a new root's block, the inode.
pub const APPEND_CREDITS: u32 = 12;

/// What one [`truncate_step`] may change.
pub const STEP_CREDITS: Credits = Credits { blocks: 64, revokes: 256 };

/// What a [`truncate_step`] did.
pub struct Freed {
    /// Data and tree blocks: to be taken off the inode's count.
    pub blocks: u64,
    /// Nothing is left from where it was asked to cut.
    pub done: bool,
}

/// The block that `logical` is mapped to; `None` in a hole, and where it is unwritten.
pub fn block_of(fs: &Rext4, device: Device<'_>, ip: &Ip<'_>, logical: u32) -> Result<Option<u64>> {
    let _ = (fs, device, ip, logical);
    Err(Errno::ENOSYS)
}

/// Allocates a block of metadata and maps it at `logical`. Also how many blocks that took in all: the file's tree may have
/// grown.
pub fn append(txn: &Txn<'_>, ip: &Ip<'_>, logical: u32) -> Result<(u64, u32)> {
    let _ = (txn, ip, logical);
    Err(Errno::ENOSYS)
}

/// Nothing is mapped in a new inode. Extents are the inode's flag `FLAG_EXTENTS`, which is set here if they are in use.
pub fn init(txn: &Txn<'_>, ip: &Ip<'_>) -> Result<()> {
    let _ = (txn, ip);
    Err(Errno::ENOSYS)
}

/// Frees blocks from the file's end towards `from`, as many as [`STEP_CREDITS`] allow.
pub fn truncate_step(txn: &Txn<'_>, ip: &Ip<'_>, from: u32) -> Result<Freed> {
    let _ = (txn, ip, from);
    Err(Errno::ENOSYS)
}
