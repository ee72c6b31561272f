// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Group descriptors: where a group's bitmaps and inode table lie, what is free in it, and their checksums.

use bento::fs::crc32c;
use bento::prelude::*;

use super::{Super, incompat, ro_compat};
use crate::txn::Txn;

/// Offsets and bits of `struct ext4_group_desc`.
mod at {
    pub const BLOCK_BITMAP: usize = 0;
    pub const INODE_BITMAP: usize = 4;
    pub const INODE_TABLE: usize = 8;
    pub const FREE_BLOCKS: usize = 12;
    pub const FREE_INODES: usize = 14;
    pub const USED_DIRS: usize = 16;
    pub const FLAGS: usize = 18;
    pub const BLOCK_BITMAP_CSUM: usize = 24;
    pub const INODE_BITMAP_CSUM: usize = 26;
    pub const ITABLE_UNUSED: usize = 28;
    pub const CHECKSUM: usize = 30;
    /// The upper halves, in descriptors of 64 bytes, follow in the same order from here on.
    pub const BLOCK_BITMAP_HI: usize = 32;
    pub const INODE_BITMAP_HI: usize = 36;
    pub const INODE_TABLE_HI: usize = 40;
    pub const FREE_BLOCKS_HI: usize = 44;
    pub const FREE_INODES_HI: usize = 46;
    pub const USED_DIRS_HI: usize = 48;
    pub const ITABLE_UNUSED_HI: usize = 50;
    pub const BLOCK_BITMAP_CSUM_HI: usize = 56;
    pub const INODE_BITMAP_CSUM_HI: usize = 58;
}

/// The inode bitmap was never written: nothing is used.
pub const INODE_UNINIT: u16 = 1;
/// The block bitmap was never written: only the group's own metadata are used.
pub const BLOCK_UNINIT: u16 = 2;
/// All of the inode table was zeroed.
pub const ITABLE_ZEROED: u16 = 4;

/// Counts of a group, as its descriptor has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    pub free_blocks: u32,
    pub free_inodes: u32,
    pub used_dirs: u32,
    /// Inodes at the end of the table that were never used.
    pub itable_unused: u32,
    pub flags: u16,
}

/// A descriptor where it lies.
pub struct Descriptor<'call> {
    pub group: u32,
    block: Block<'call>,
    at: usize,
    wide: bool,
}

/// The 16-bit checksum of descriptors from before `metadata_csum`: CRC-16/ARC from `seed` on.
fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 != 0 { crc >> 1 ^ 0xa001 } else { crc >> 1 })
    })
}

impl<'call> Descriptor<'call> {
    /// The descriptor of `group`, `at` bytes into `block`.
    pub fn new(sb: &Super, group: u32, block: Block<'call>, at: usize) -> Self {
        Descriptor { group, block, at, wide: sb.desc_size >= 64 }
    }

    pub fn into_block(self) -> Block<'call> {
        self.block
    }

    pub fn block(&self) -> &Block<'call> {
        &self.block
    }

    fn number(&self, low: usize, high: usize) -> Result<u64> {
        let high = if self.wide { self.block.get::<u32>(self.at + high)? } else { 0 };
        Ok(u64::from(self.block.get::<u32>(self.at + low)?) | u64::from(high) << 32)
    }

    fn count(&self, low: usize, high: usize) -> Result<u32> {
        let high = if self.wide { self.block.get::<u16>(self.at + high)? } else { 0 };
        Ok(u32::from(self.block.get::<u16>(self.at + low)?) | u32::from(high) << 16)
    }

    fn put_count(&self, txn: &Txn, low: usize, high: usize, value: u32) -> Result<()> {
        txn.tx.put(&self.block, self.at + low, value as u16)?;
        if self.wide { txn.tx.put(&self.block, self.at + high, (value >> 16) as u16) } else { Ok(()) }
    }

    pub fn block_bitmap(&self) -> Result<u64> {
        self.number(at::BLOCK_BITMAP, at::BLOCK_BITMAP_HI)
    }

    pub fn inode_bitmap(&self) -> Result<u64> {
        self.number(at::INODE_BITMAP, at::INODE_BITMAP_HI)
    }

    pub fn inode_table(&self) -> Result<u64> {
        self.number(at::INODE_TABLE, at::INODE_TABLE_HI)
    }

    /// The counts; flags and unused inodes mean something only in descriptors with checksums.
    pub fn counts(&self, sb: &Super) -> Result<Counts> {
        let summed = sb.group_checksums();
        Ok(Counts {
            free_blocks: self.count(at::FREE_BLOCKS, at::FREE_BLOCKS_HI)?,
            free_inodes: self.count(at::FREE_INODES, at::FREE_INODES_HI)?,
            used_dirs: self.count(at::USED_DIRS, at::USED_DIRS_HI)?,
            itable_unused: if summed { self.count(at::ITABLE_UNUSED, at::ITABLE_UNUSED_HI)? } else { 0 },
            flags: if summed { self.block.get(self.at + at::FLAGS)? } else { ITABLE_ZEROED },
        })
    }

    /// Writes what differs from `old`.
    pub fn put_counts(&self, txn: &Txn, old: &Counts, new: &Counts) -> Result<()> {
        if new.free_blocks != old.free_blocks {
            self.put_count(txn, at::FREE_BLOCKS, at::FREE_BLOCKS_HI, new.free_blocks)?;
        }
        if new.free_inodes != old.free_inodes {
            self.put_count(txn, at::FREE_INODES, at::FREE_INODES_HI, new.free_inodes)?;
        }
        if new.used_dirs != old.used_dirs {
            self.put_count(txn, at::USED_DIRS, at::USED_DIRS_HI, new.used_dirs)?;
        }
        if new.itable_unused != old.itable_unused {
            self.put_count(txn, at::ITABLE_UNUSED, at::ITABLE_UNUSED_HI, new.itable_unused)?;
        }
        if new.flags != old.flags {
            txn.tx.put(&self.block, self.at + at::FLAGS, new.flags)?;
        }
        Ok(())
    }

    fn split(sum: u32, wide: bool) -> (u16, Option<u16>) {
        (sum as u16, wide.then_some((sum >> 16) as u16))
    }

    fn bitmap_sum(sb: &Super, bitmap: &Block<'_>, bits: u32) -> Result<u32> {
        bitmap.crc32c(sb.seed, 0, bits as usize / 8)
    }

    fn matches(&self, sum: u32, low: usize, high: usize) -> Result<bool> {
        let (lo, hi) = Self::split(sum, self.wide);
        Ok(self.block.get::<u16>(self.at + low)? == lo
            && match hi {
                Some(hi) => self.block.get::<u16>(self.at + high)? == hi,
                None => true,
            })
    }

    fn put_sum(&self, txn: &Txn, sum: u32, low: usize, high: usize) -> Result<()> {
        let (lo, hi) = Self::split(sum, self.wide);
        txn.tx.put(&self.block, self.at + low, lo)?;
        hi.map_or(Ok(()), |hi| txn.tx.put(&self.block, self.at + high, hi))
    }

    pub fn block_bitmap_matches(&self, sb: &Super, bitmap: &Block<'_>) -> Result<bool> {
        if !sb.checksums() {
            return Ok(true);
        }
        let sum = Self::bitmap_sum(sb, bitmap, sb.blocks_per_group)?;
        self.matches(sum, at::BLOCK_BITMAP_CSUM, at::BLOCK_BITMAP_CSUM_HI)
    }

    pub fn inode_bitmap_matches(&self, sb: &Super, bitmap: &Block<'_>) -> Result<bool> {
        if !sb.checksums() {
            return Ok(true);
        }
        let sum = Self::bitmap_sum(sb, bitmap, sb.inodes_per_group)?;
        self.matches(sum, at::INODE_BITMAP_CSUM, at::INODE_BITMAP_CSUM_HI)
    }

    pub fn seal_block_bitmap(&self, txn: &Txn, bitmap: &Block<'_>) -> Result<()> {
        if !txn.fs.sb.checksums() {
            return Ok(());
        }
        let sum = Self::bitmap_sum(&txn.fs.sb, bitmap, txn.fs.sb.blocks_per_group)?;
        self.put_sum(txn, sum, at::BLOCK_BITMAP_CSUM, at::BLOCK_BITMAP_CSUM_HI)
    }

    pub fn seal_inode_bitmap(&self, txn: &Txn, bitmap: &Block<'_>) -> Result<()> {
        if !txn.fs.sb.checksums() {
            return Ok(());
        }
        let sum = Self::bitmap_sum(&txn.fs.sb, bitmap, txn.fs.sb.inodes_per_group)?;
        self.put_sum(txn, sum, at::INODE_BITMAP_CSUM, at::INODE_BITMAP_CSUM_HI)
    }

    /// What the descriptor's checksum should be.
    fn sum(&self, sb: &Super) -> Result<u16> {
        // Its number comes first, so that it is summed up in one go.
        let (mut bytes, len) = ([0; 4 + 64], usize::from(sb.desc_size).min(64));
        let (number, descriptor) = bytes.split_at_mut(4);
        number.copy_from_slice(&self.group.to_le_bytes());
        self.block.read(self.at, descriptor.get_mut(..len).ok_or(Errno::EUCLEAN)?)?;
        if sb.checksums() {
            descriptor.get_mut(at::CHECKSUM..at::CHECKSUM + 2).unwrap_or_default().fill(0);
            let mut crc = crc32c(sb.seed, bytes.get(..4 + len).unwrap_or_default());
            // Descriptors may be larger than all we know of them.
            if usize::from(sb.desc_size) > 64 {
                crc = self.block.crc32c(crc, self.at + 64, usize::from(sb.desc_size) - 64)?;
            }
            Ok(crc as u16)
        } else {
            let (before, rest) = descriptor.get(..len).unwrap_or_default().split_at(at::CHECKSUM);
            let after = rest.get(2..).unwrap_or_default();
            let crc = crc16(crc16(!0, &sb.uuid), &self.group.to_le_bytes());
            let crc = crc16(crc, before);
            Ok(if sb.has_incompat(incompat::BIT64) { crc16(crc, after) } else { crc })
        }
    }

    pub fn is_sound(&self, sb: &Super) -> Result<bool> {
        Ok(!sb.group_checksums() || self.sum(sb)? == self.block.get::<u16>(self.at + at::CHECKSUM)?)
    }

    /// Brings the descriptor's checksum up to date.
    pub fn seal(&self, txn: &Txn) -> Result<()> {
        if !txn.fs.sb.group_checksums() {
            return Ok(());
        }
        txn.tx.put(&self.block, self.at + at::CHECKSUM, self.sum(&txn.fs.sb)?)
    }
}

impl Super {
    /// Group descriptors have checksums, and with them flags.
    pub fn group_checksums(&self) -> bool {
        self.ro_compat & (ro_compat::METADATA_CSUM | ro_compat::GDT_CSUM) != 0
    }

    pub fn first_block_of(&self, group: u32) -> u64 {
        u64::from(self.first_block) + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Blocks of `group`; the last one may be shorter.
    pub fn blocks_of(&self, group: u32) -> u32 {
        let rest = self.blocks.saturating_sub(self.first_block_of(group));
        rest.min(u64::from(self.blocks_per_group)) as u32
    }

    /// The group of `block` and the block's number in it.
    pub fn group_of(&self, block: u64) -> (u32, u32) {
        let (at, per) = (block.saturating_sub(u64::from(self.first_block)), u64::from(self.blocks_per_group));
        ((at / per) as u32, (at % per) as u32)
    }

    fn descriptors_per_block(&self) -> u32 {
        self.block_size / u32::from(self.desc_size)
    }

    fn is_power_of(mut number: u32, base: u32) -> bool {
        while number > 1 && number.is_multiple_of(base) {
            number /= base;
        }
        number == 1
    }

    /// Does a copy of the superblock lie in `group`?
    pub fn has_super(&self, group: u32) -> bool {
        if group == 0 {
            return true;
        }
        if self.has_compat(super::compat::SPARSE_SUPER2) {
            return self.backup_groups.contains(&group);
        }
        group == 1
            || !self.has_ro_compat(ro_compat::SPARSE_SUPER)
            || group & 1 == 1
                && (Self::is_power_of(group, 3) || Self::is_power_of(group, 5) || Self::is_power_of(group, 7))
    }

    /// Blocks that superblock and descriptors take in `group`, from its first on.
    pub fn base_metadata(&self, group: u32) -> u32 {
        let own = u32::from(self.has_super(group));
        let per = self.descriptors_per_block();
        if !self.has_incompat(incompat::META_BG) || group / per < self.first_meta_bg {
            let tables =
                if self.has_incompat(incompat::META_BG) { self.first_meta_bg } else { self.groups.div_ceil(per) };
            return if own == 0 { 0 } else { own + tables + u32::from(self.reserved_gdt) };
        }
        let (first, last) = (group / per * per, group / per * per + per - 1);
        own + u32::from(group == first || group == first + 1 || group == last)
    }

    /// Where the descriptor of `group` lies: block, and offset in it.
    pub fn descriptor_at(&self, group: u32) -> (u64, usize) {
        let per = self.descriptors_per_block();
        let (table, offset) = (group / per, group % per * u32::from(self.desc_size));
        let block = if !self.has_incompat(incompat::META_BG) || table < self.first_meta_bg {
            self.super_block + 1 + u64::from(table)
        } else {
            let first = table * per;
            self.first_block_of(first) + u64::from(self.has_super(first))
        };
        (block, offset as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_is_arc() {
        assert_eq!(crc16(0, b"123456789"), 0xbb3d);
    }

    #[test]
    fn powers() {
        let odd: std::vec::Vec<u32> =
            (2..130).filter(|n| [3, 5, 7].iter().any(|base| Super::is_power_of(*n, *base))).collect();
        assert_eq!(odd, [3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }
}
