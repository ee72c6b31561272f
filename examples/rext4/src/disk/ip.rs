// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An inode where it lies: in a block of its group's inode table.

use bento::fs::{Field, crc32c};
use bento::prelude::*;

use super::Super;
use crate::txn::Txn;

/// Offsets and bits of `struct ext4_inode`.
pub mod inode {
    pub const MODE: usize = 0;
    pub const UID: usize = 2;
    pub const SIZE_LO: usize = 4;
    pub const ATIME: usize = 8;
    pub const CTIME: usize = 12;
    pub const MTIME: usize = 16;
    pub const DTIME: usize = 20;
    pub const GID: usize = 24;
    pub const LINKS: usize = 26;
    pub const BLOCKS_LO: usize = 28;
    pub const FLAGS: usize = 32;
    /// 60 bytes: the root of an extent tree, 15 block numbers, a device number, or a short symlink.
    pub const BLOCK: usize = 40;
    pub const BLOCK_LEN: usize = 60;
    pub const GENERATION: usize = 100;
    pub const FILE_ACL_LO: usize = 104;
    /// Size of a regular file or directory beyond 32 bits.
    pub const SIZE_HI: usize = 108;
    pub const BLOCKS_HI: usize = 116;
    pub const FILE_ACL_HI: usize = 118;
    pub const UID_HI: usize = 120;
    pub const GID_HI: usize = 122;
    pub const CHECKSUM_LO: usize = 124;
    /// From here on only when the inode is larger than 128 bytes, and as far as this says.
    pub const EXTRA_ISIZE: usize = 128;
    pub const CHECKSUM_HI: usize = 130;
    pub const CTIME_EXTRA: usize = 132;
    pub const MTIME_EXTRA: usize = 136;
    pub const ATIME_EXTRA: usize = 140;
    pub const CRTIME: usize = 144;
    pub const CRTIME_EXTRA: usize = 148;
    pub const PROJID: usize = 156;

    pub const FLAG_JOURNAL_DATA: u32 = 0x4000;
    /// The directory has an index (htree).
    pub const FLAG_INDEX: u32 = 0x1000;
    /// `i_blocks` counts in blocks of the file system.
    pub const FLAG_HUGE_FILE: u32 = 0x40000;
    pub const FLAG_EXTENTS: u32 = 0x80000;
    pub const FLAG_VERITY: u32 = 0x0010_0000;
    pub const FLAG_EA_INODE: u32 = 0x0020_0000;
    pub const FLAG_INLINE_DATA: u32 = 0x1000_0000;
    /// What children inherit the project from.
    pub const FLAG_PROJINHERIT: u32 = 0x2000_0000;

    /// What `chattr` changes.
    pub const FLAGS_SETTABLE: u32 = 0x2003_c0ff;
    /// What `lsattr` shows.
    pub const FLAGS_VISIBLE: u32 = 0x725b_dfff;

    pub const ROOT: u32 = 2;
}

/// An inode in its table. Who changes it holds the lock of its node through the transaction.
pub struct Ip<'call> {
    pub ino: u32,
    /// Of the inode, in bytes.
    pub size: usize,
    block: Block<'call>,
    at: usize,
}

impl<'call> Ip<'call> {
    /// The inode `ino`, `size` bytes at `at` of `block`.
    pub fn new(ino: u32, block: Block<'call>, at: usize, size: usize) -> Ip<'call> {
        Ip { ino, size, block, at }
    }

    /// The field at `offset` of the inode.
    pub fn get<T: Field>(&self, offset: usize) -> Result<T> {
        self.inside(offset, size_of::<T>())?;
        self.block.get(self.at + offset)
    }

    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.inside(offset, bytes.len())?;
        self.block.read(self.at + offset, bytes)
    }

    pub fn put<T: Field>(&self, txn: &Txn, offset: usize, value: T) -> Result<()> {
        self.inside(offset, size_of::<T>())?;
        txn.tx.put(&self.block, self.at + offset, value)
    }

    pub fn put_bytes(&self, txn: &Txn, offset: usize, bytes: &[u8]) -> Result<()> {
        self.inside(offset, bytes.len())?;
        txn.tx.put_bytes(&self.block, self.at + offset, bytes)
    }

    fn inside(&self, offset: usize, len: usize) -> Result<()> {
        if offset.checked_add(len).is_some_and(|end| end <= self.size) { Ok(()) } else { Err(Errno::EUCLEAN) }
    }

    /// All zero.
    pub fn clear(&self, txn: &Txn) -> Result<()> {
        txn.tx.fill(&self.block, self.at, self.size, 0)
    }

    /// Does the extra part reach to `end`?
    pub fn extends_to(&self, end: usize) -> bool {
        self.size > inode::EXTRA_ISIZE
            && self.get::<u16>(inode::EXTRA_ISIZE).is_ok_and(|extra| inode::EXTRA_ISIZE + usize::from(extra) >= end)
    }

    /// The checksum as it should be.
    fn sum(&self, sb: &Super) -> Result<u32> {
        // What the seed is made of goes before it: each call takes longer than the bytes do.
        let mut bytes = [0; 8 + 256];
        let first = self.size.min(256);
        let Some((owner, part)) = bytes.get_mut(..8 + first).and_then(<[u8]>::split_first_chunk_mut) else {
            return Err(Errno::EUCLEAN);
        };
        *owner = Super::owner(self.ino, self.generation()?);
        self.read(0, part)?;
        let wide = self.extends_to(inode::CHECKSUM_HI + 2);
        for at in [Some(inode::CHECKSUM_LO), wide.then_some(inode::CHECKSUM_HI)].into_iter().flatten() {
            if let Some(sum) = part.get_mut(at..at + 2) {
                sum.fill(0);
            }
        }
        let sum = crc32c(sb.seed, bytes.get(..8 + first).unwrap_or_default());
        if self.size > first { self.block.crc32c(sum, self.at + first, self.size - first) } else { Ok(sum) }
    }

    fn stored_sum(&self) -> Result<(u32, u32)> {
        let low: u16 = self.get(inode::CHECKSUM_LO)?;
        if self.extends_to(inode::CHECKSUM_HI + 2) {
            let high: u16 = self.get(inode::CHECKSUM_HI)?;
            return Ok((u32::from(low) | u32::from(high) << 16, u32::MAX));
        }
        Ok((low.into(), 0xffff))
    }

    fn put_sum(&self, txn: &Txn, sum: u32) -> Result<()> {
        self.put(txn, inode::CHECKSUM_LO, sum as u16)?;
        if self.extends_to(inode::CHECKSUM_HI + 2) {
            self.put(txn, inode::CHECKSUM_HI, (sum >> 16) as u16)?;
        }
        Ok(())
    }

    /// Is the checksum right?
    pub fn is_sound(&self, sb: &Super) -> Result<bool> {
        if !sb.checksums() {
            return Ok(true);
        }
        let (stored, mask) = self.stored_sum()?;
        Ok(self.sum(sb)? & mask == stored)
    }

    pub fn seal(&self, txn: &Txn) -> Result<()> {
        self.put_sum(txn, self.sum(&txn.fs.sb)?)
    }

    /// Another link of the orphan list, in an inode whose node is not locked. The rest of it may be half-changed by who holds
    /// that lock, so the checksum is not made anew but adjusted: a crc is linear.
    pub fn relink(&self, txn: &Txn, link: u32) -> Result<()> {
        let old: u32 = self.get(inode::DTIME)?;
        self.put(txn, inode::DTIME, link)?;
        if !txn.fs.sb.checksums() {
            return Ok(());
        }
        let mut delta = crc32c(0, &(old ^ link).to_le_bytes());
        let mut rest = self.size.saturating_sub(inode::DTIME + 4);
        while rest > 0 {
            let step = rest.min(64);
            delta = crc32c(delta, [0; 64].get(..step).unwrap_or_default());
            rest -= step;
        }
        let (stored, _) = self.stored_sum()?;
        self.put_sum(txn, stored ^ delta)
    }

    pub fn flags(&self) -> Result<u32> {
        self.get(inode::FLAGS)
    }

    pub fn generation(&self) -> Result<u32> {
        self.get(inode::GENERATION)
    }

    pub fn mode(&self) -> Result<u16> {
        self.get(inode::MODE)
    }

    /// Bytes of a file or directory.
    pub fn len(&self) -> Result<u64> {
        Ok(u64::from(self.get::<u32>(inode::SIZE_LO)?) | u64::from(self.get::<u32>(inode::SIZE_HI)?) << 32)
    }
}
