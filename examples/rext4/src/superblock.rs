// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reading the superblock: what it says is checked against itself and the device, and refused by name where we do not
//! know it.

use bento::fs::crc32c;
use bento::prelude::*;

use crate::disk::{Super, compat, incompat, inode, ro_compat, superblock as sb};

/// A bit that stands for something, and its name in `mke2fs -O`.
type Named = (u32, &'static str);

/// What needs code that is not there.
const REFUSED: [Named; 8] = [
    (incompat::COMPRESSION, "compression"),
    (incompat::JOURNAL_DEV, "journal_dev"),
    (incompat::EA_INODE, "ea_inode"),
    (incompat::DIRDATA, "dirdata"),
    (incompat::INLINE_DATA, "inline_data"),
    (incompat::ENCRYPT, "encrypt"),
    (incompat::CASEFOLD, "casefold"),
    (incompat::MMP, "mmp"),
];

const KNOWN_INCOMPAT: u32 = incompat::FILETYPE
    | incompat::RECOVER
    | incompat::META_BG
    | incompat::EXTENTS
    | incompat::BIT64
    | incompat::FLEX_BG
    | incompat::CSUM_SEED
    | incompat::LARGEDIR;

/// What may be written to. 0x4 (`btree_dir`) was never used.
const KNOWN_RO_COMPAT: u32 = ro_compat::SPARSE_SUPER
    | ro_compat::LARGE_FILE
    | 0x4
    | ro_compat::HUGE_FILE
    | ro_compat::GDT_CSUM
    | ro_compat::DIR_NLINK
    | ro_compat::EXTRA_ISIZE
    | ro_compat::METADATA_CSUM
    | ro_compat::PROJECT
    | ro_compat::ORPHAN_PRESENT;

const READ_ONLY: [Named; 5] = [
    (ro_compat::QUOTA, "quota"),
    (ro_compat::READONLY, "read-only"),
    (ro_compat::VERITY, "verity"),
    (0x4000, "shared_blocks"),
    (0x800, "replica"),
];

/// Flags of `s_flags`.
const UNSIGNED_HASH: u32 = 2;

/// The superblock's bytes.
pub struct Raw<'a, 'call> {
    pub block: &'a Block<'call>,
    pub at: usize,
}

impl Raw<'_, '_> {
    pub fn u32(&self, offset: usize) -> Result<u32> {
        self.block.get(self.at + offset)
    }

    pub fn u16(&self, offset: usize) -> Result<u16> {
        self.block.get(self.at + offset)
    }

    fn u8(&self, offset: usize) -> Result<u8> {
        self.block.get(self.at + offset)
    }

    /// A number in two halves; the upper one only with the feature `64bit`.
    pub fn wide(&self, low: usize, high: usize) -> Result<u64> {
        let high = if self.u32(sb::INCOMPAT)? & incompat::BIT64 != 0 { self.u32(high)? } else { 0 };
        Ok(u64::from(self.u32(low)?) | u64::from(high) << 32)
    }
}

/// Why features `features` cannot be mounted, for the log.
pub fn refuse_features(cx: &MountContext, incompat: u32, ro_compat: u32, read_only: bool) -> Result<()> {
    let unknown = incompat & !KNOWN_INCOMPAT;
    if unknown != 0 {
        let bit = 1 << unknown.trailing_zeros();
        let name = REFUSED.iter().find(|(known, _)| *known == bit).map_or("unknown", |(_, name)| name);
        return Err(cx.refuse(format_args!("feature {bit:#x} ({name}) is not supported; mount it as ext4")));
    }
    if ro_compat & ro_compat::BIGALLOC != 0 {
        return Err(cx.refuse(format_args!("feature bigalloc is not supported; mount it as ext4")));
    }
    if let Some((bit, name)) = unwritable(ro_compat)
        && !read_only
    {
        cx.log(format_args!("feature {bit:#x} ({name}) cannot be written to: mounted read-only"));
        cx.set_read_only();
    }
    Ok(())
}

/// A feature that keeps us from writing.
pub fn unwritable(ro_compat: u32) -> Option<Named> {
    let unknown = ro_compat & !KNOWN_RO_COMPAT;
    if unknown == 0 {
        return None;
    }
    let bit = 1 << unknown.trailing_zeros();
    Some((bit, READ_ONLY.iter().find(|(known, _)| *known == bit).map_or("unknown", |(_, name)| name)))
}

/// Reads and checks the superblock. `device` is in bytes.
pub fn parse(cx: &MountContext, raw: &Raw<'_, '_>, device: u64, start: u64) -> Result<Super> {
    if raw.u16(sb::MAGIC)? != sb::EXT4_MAGIC {
        return Err(cx.refuse(format_args!(
            "there is no ext2, ext3 or ext4 superblock at byte {start}; if there was one, \
             `mke2fs -n` says where its copies are, for e2fsck -b or -o ro,sb="
        )));
    }
    let refuse = |what: core::fmt::Arguments<'_>| {
        Err(cx.refuse(format_args!("the superblock at byte {start} says {what}, which cannot be; run e2fsck")))
    };
    let (compat, incompat, ro_compat) = match raw.u32(sb::REVISION)? {
        0 => (0, 0, 0),
        _ => (raw.u32(sb::COMPAT)?, raw.u32(sb::INCOMPAT)?, raw.u32(sb::RO_COMPAT)?),
    };
    refuse_features(cx, incompat, ro_compat, cx.flags().read_only)?;
    if ro_compat & ro_compat::METADATA_CSUM != 0 {
        if raw.u8(sb::CHECKSUM_TYPE)? != 1 {
            return refuse(format_args!("that checksums are not crc32c"));
        }
        // Below a live mount it may have changed since it was last on its way to the disk; the shim sums it then.
        if !raw.block.is_checked() && raw.block.crc32c(!0, raw.at, sb::CHECKSUM)? != raw.u32(sb::CHECKSUM)? {
            return Err(cx.refuse(format_args!("the superblock's checksum is wrong (at byte {start}); run e2fsck")));
        }
    }

    let log = raw.u32(sb::LOG_BLOCK_SIZE)?;
    if log > 6 {
        return refuse(format_args!("a block size of 2^{} bytes", u64::from(log) + 10));
    }
    let block_size = 1024u32 << log;
    if raw.u32(sb::LOG_CLUSTER_SIZE)? != log {
        return refuse(format_args!("that clusters are not blocks, without feature bigalloc"));
    }
    let (inode_size, first_inode) = match raw.u32(sb::REVISION)? {
        0 => (128, 11),
        _ => (raw.u16(sb::INODE_SIZE)?, raw.u32(sb::FIRST_INODE)?),
    };
    if !inode_size.is_power_of_two() || inode_size < 128 || u32::from(inode_size) > block_size {
        return refuse(format_args!("an inode size of {inode_size} bytes"));
    }
    let desc_size = if incompat & incompat::BIT64 != 0 { raw.u16(sb::DESC_SIZE)? } else { 32 };
    let least = if incompat & incompat::BIT64 != 0 { 64 } else { 32 };
    if !desc_size.is_power_of_two() || desc_size < least || desc_size > 1024 {
        return refuse(format_args!("group descriptors of {desc_size} bytes"));
    }
    let first_block = raw.u32(sb::FIRST_DATA_BLOCK)?;
    if first_block != u32::from(block_size == 1024) {
        return refuse(format_args!("first data block {first_block} with blocks of {block_size} bytes"));
    }
    let blocks = raw.wide(sb::BLOCKS_LO, sb::BLOCKS_HI)?;
    if blocks <= u64::from(first_block) + 1 {
        return refuse(format_args!("{blocks} blocks"));
    }
    if blocks > device / u64::from(block_size) {
        let have = device / u64::from(block_size);
        return Err(cx.refuse(format_args!(
            "{blocks} blocks of {block_size} bytes, but the device has only {have}; \
             make it as large as it was, or shrink the file system with resize2fs"
        )));
    }
    let (blocks_per_group, inodes_per_group) = (raw.u32(sb::BLOCKS_PER_GROUP)?, raw.u32(sb::INODES_PER_GROUP)?);
    let bits = block_size * 8;
    if blocks_per_group == 0 || blocks_per_group > bits || !blocks_per_group.is_multiple_of(8) {
        return refuse(format_args!("{blocks_per_group} blocks in a group"));
    }
    let per_block = block_size / u32::from(inode_size);
    if inodes_per_group < per_block || inodes_per_group > bits || !inodes_per_group.is_multiple_of(8) {
        return refuse(format_args!("{inodes_per_group} inodes in a group"));
    }
    let groups = (blocks - u64::from(first_block)).div_ceil(blocks_per_group.into());
    let inodes = raw.u32(sb::INODES)?;
    if groups > u64::from(u32::MAX) / u64::from(inodes_per_group)
        || groups * u64::from(inodes_per_group) != inodes.into()
    {
        return refuse(format_args!("{inodes} inodes in {groups} groups of {inodes_per_group}"));
    }
    if first_inode < 11 || first_inode > inodes_per_group {
        return refuse(format_args!("{first_inode} as the first inode"));
    }
    let reserved = raw.wide(sb::RESERVED_LO, sb::RESERVED_HI)?;
    if reserved > blocks {
        return refuse(format_args!("{reserved} of {blocks} blocks are reserved"));
    }
    let flex = raw.u8(sb::LOG_GROUPS_PER_FLEX)?;
    if incompat & incompat::FLEX_BG != 0 && flex > 31 {
        return refuse(format_args!("2^{flex} groups in a flexible one"));
    }
    let tables = (groups as u32).div_ceil(block_size / u32::from(desc_size));
    let first_meta_bg = if incompat & incompat::META_BG != 0 { raw.u32(sb::FIRST_META_BG)? } else { 0 };
    let reserved_gdt = if compat & compat::RESIZE_INODE != 0 { raw.u16(sb::RESERVED_GDT)? } else { 0 };
    if first_meta_bg > tables || u32::from(reserved_gdt) > block_size / 4 {
        let what = format_args!("{first_meta_bg} blocks of descriptors before meta_bg, {reserved_gdt} reserved");
        return refuse(what);
    }
    if incompat & incompat::CSUM_SEED != 0 && ro_compat & ro_compat::METADATA_CSUM == 0 {
        return refuse(format_args!("metadata_csum_seed without metadata_csum"));
    }

    let mut uuid = [0; 16];
    raw.block.read(raw.at + sb::UUID, &mut uuid)?;
    let mut hash_seed = [0; 4];
    for (index, word) in hash_seed.iter_mut().enumerate() {
        *word = raw.u32(sb::HASH_SEED + index * 4)?;
    }
    let extra = match inode_size {
        128 => 0,
        _ => {
            let room = inode_size - inode::EXTRA_ISIZE as u16;
            let want = raw.u16(sb::WANT_EXTRA_ISIZE)?.max(32) & !3;
            if want > room { 32.min(room) } else { want }
        }
    };
    Ok(Super {
        block_size,
        blocks,
        inodes,
        first_block,
        blocks_per_group,
        inodes_per_group,
        groups: groups as u32,
        inode_size,
        desc_size,
        compat,
        incompat,
        ro_compat,
        seed: if incompat & incompat::CSUM_SEED != 0 { raw.u32(sb::CHECKSUM_SEED)? } else { crc32c(!0, &uuid) },
        uuid,
        hash_seed,
        hash_version: raw.u8(sb::HASH_VERSION)?,
        hash_unsigned: raw.u32(sb::FLAGS)? & UNSIGNED_HASH != 0,
        first_inode,
        flex_size: if incompat & incompat::FLEX_BG != 0 { 1 << flex } else { 1 },
        extra_isize: extra,
        first_meta_bg,
        reserved_gdt,
        super_block: start / u64::from(block_size),
        super_offset: (start % u64::from(block_size)) as u32,
        backup_groups: [raw.u32(sb::BACKUP_GROUPS)?, raw.u32(sb::BACKUP_GROUPS + 4)?],
        orphan_inode: if compat & compat::ORPHAN_FILE != 0 { raw.u32(sb::ORPHAN_INODE)? } else { 0 },
        journal_inode: if compat & compat::HAS_JOURNAL != 0 { raw.u32(sb::JOURNAL_INODE)? } else { 0 },
    })
}
