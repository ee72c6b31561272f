// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The superblock: what it says once and for all ([`Super`]), and the features it names.

use bento::prelude::*;

/// `s_feature_compat`: who does not know them may still write.
pub mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const EXT_ATTR: u32 = 0x8;
    pub const RESIZE_INODE: u32 = 0x10;
    pub const DIR_INDEX: u32 = 0x20;
    pub const SPARSE_SUPER2: u32 = 0x200;
    pub const FAST_COMMIT: u32 = 0x400;
    pub const ORPHAN_FILE: u32 = 0x1000;
}

/// `s_feature_incompat`: who does not know one of them must not mount.
pub mod incompat {
    pub const COMPRESSION: u32 = 0x1;
    pub const FILETYPE: u32 = 0x2;
    pub const RECOVER: u32 = 0x4;
    pub const JOURNAL_DEV: u32 = 0x8;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const BIT64: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const EA_INODE: u32 = 0x400;
    pub const DIRDATA: u32 = 0x1000;
    pub const CSUM_SEED: u32 = 0x2000;
    pub const LARGEDIR: u32 = 0x4000;
    pub const INLINE_DATA: u32 = 0x8000;
    pub const ENCRYPT: u32 = 0x10000;
    pub const CASEFOLD: u32 = 0x20000;
}

/// `s_feature_ro_compat`: who does not know one of them must not write.
pub mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const LARGE_FILE: u32 = 0x2;
    pub const HUGE_FILE: u32 = 0x8;
    pub const GDT_CSUM: u32 = 0x10;
    pub const DIR_NLINK: u32 = 0x20;
    pub const EXTRA_ISIZE: u32 = 0x40;
    pub const QUOTA: u32 = 0x100;
    pub const BIGALLOC: u32 = 0x200;
    pub const METADATA_CSUM: u32 = 0x400;
    pub const READONLY: u32 = 0x1000;
    pub const PROJECT: u32 = 0x2000;
    pub const VERITY: u32 = 0x8000;
    pub const ORPHAN_PRESENT: u32 = 0x10000;
}

/// Offsets in the superblock.
pub const INODES: usize = 0;
pub const BLOCKS_LO: usize = 4;
pub const RESERVED_LO: usize = 8;
pub const FREE_BLOCKS_LO: usize = 12;
pub const FREE_INODES: usize = 16;
pub const FIRST_DATA_BLOCK: usize = 20;
pub const LOG_BLOCK_SIZE: usize = 24;
pub const LOG_CLUSTER_SIZE: usize = 28;
pub const BLOCKS_PER_GROUP: usize = 32;
pub const INODES_PER_GROUP: usize = 40;
pub const MOUNT_TIME: usize = 44;
pub const WRITE_TIME: usize = 48;
pub const MOUNT_COUNT: usize = 52;
pub const MAGIC: usize = 56;
pub const STATE: usize = 58;
pub const ERRORS: usize = 60;
pub const REVISION: usize = 76;
pub const RESERVED_UID: usize = 80;
pub const RESERVED_GID: usize = 82;
pub const FIRST_INODE: usize = 84;
pub const INODE_SIZE: usize = 88;
pub const COMPAT: usize = 92;
pub const INCOMPAT: usize = 96;
pub const RO_COMPAT: usize = 100;
pub const UUID: usize = 104;
pub const RESERVED_GDT: usize = 0xce;
pub const JOURNAL_INODE: usize = 0xe0;
pub const JOURNAL_DEVICE: usize = 0xe4;
pub const LAST_ORPHAN: usize = 0xe8;
pub const HASH_SEED: usize = 0xec;
pub const HASH_VERSION: usize = 0xfc;
pub const DESC_SIZE: usize = 0xfe;
pub const FIRST_META_BG: usize = 0x104;
pub const BLOCKS_HI: usize = 0x150;
pub const RESERVED_HI: usize = 0x154;
pub const FREE_BLOCKS_HI: usize = 0x158;
pub const WANT_EXTRA_ISIZE: usize = 0x15e;
pub const FLAGS: usize = 0x160;
pub const LOG_GROUPS_PER_FLEX: usize = 0x174;
pub const CHECKSUM_TYPE: usize = 0x175;
pub const ERROR_COUNT: usize = 0x194;
pub const FIRST_ERROR_TIME: usize = 0x198;
pub const LAST_ERROR_TIME: usize = 0x1cc;
pub const BACKUP_GROUPS: usize = 0x24c;
pub const CHECKSUM_SEED: usize = 0x270;
pub const WRITE_TIME_HI: usize = 0x274;
pub const MOUNT_TIME_HI: usize = 0x275;
pub const FIRST_ERROR_TIME_HI: usize = 0x278;
pub const LAST_ERROR_TIME_HI: usize = 0x279;
pub const ORPHAN_INODE: usize = 0x280;
pub const CHECKSUM: usize = 0x3fc;

/// `s_magic`.
pub const EXT4_MAGIC: u16 = 0xef53;
/// Bits of `s_state`.
pub const STATE_VALID: u16 = 1;
pub const STATE_ERROR: u16 = 2;

/// What the superblock says and no mount changes.
#[derive(State, Clone, Debug)]
pub struct Super {
    #[state(1)]
    pub block_size: u32,
    #[state(2)]
    pub blocks: u64,
    #[state(3)]
    pub inodes: u32,
    /// The block that group 0 begins with: 1 with blocks of 1 KiB.
    #[state(4)]
    pub first_block: u32,
    #[state(5)]
    pub blocks_per_group: u32,
    #[state(6)]
    pub inodes_per_group: u32,
    #[state(7)]
    pub groups: u32,
    #[state(8)]
    pub inode_size: u16,
    /// Of a group descriptor: 32, or as `s_desc_size` says.
    #[state(9)]
    pub desc_size: u16,
    #[state(10)]
    pub compat: u32,
    #[state(11)]
    pub incompat: u32,
    #[state(12)]
    pub ro_compat: u32,
    /// What checksums of metadata begin with (`metadata_csum`).
    #[state(13)]
    pub seed: u32,
    #[state(14)]
    pub uuid: [u8; 16],
    /// Seed and default version of directory hashes; whether `char` was unsigned where they were made.
    #[state(15)]
    pub hash_seed: [u32; 4],
    #[state(16)]
    pub hash_version: u8,
    #[state(17)]
    pub hash_unsigned: bool,
    /// The first inode that is not reserved.
    #[state(18)]
    pub first_inode: u32,
    #[state(19)]
    pub flex_size: u32,
    /// What `s_want_extra_isize` asks for in new inodes.
    #[state(20)]
    pub extra_isize: u16,
    #[state(21)]
    pub first_meta_bg: u32,
    #[state(22)]
    pub reserved_gdt: u16,
    /// Where this superblock lies: block, and offset in it.
    #[state(23)]
    pub super_block: u64,
    #[state(24)]
    pub super_offset: u32,
    /// The only groups with copies, with `sparse_super2`.
    #[state(25)]
    pub backup_groups: [u32; 2],
    /// 0 without the feature, as the next one.
    #[state(26)]
    pub orphan_inode: u32,
    #[state(27)]
    pub journal_inode: u32,
}

impl Super {
    pub fn has_compat(&self, bit: u32) -> bool {
        self.compat & bit != 0
    }

    pub fn has_incompat(&self, bit: u32) -> bool {
        self.incompat & bit != 0
    }

    pub fn has_ro_compat(&self, bit: u32) -> bool {
        self.ro_compat & bit != 0
    }

    /// Metadata blocks have checksums.
    pub fn checksums(&self) -> bool {
        self.has_ro_compat(ro_compat::METADATA_CSUM)
    }

    /// What checksums of what belongs to an inode begin with: extent blocks, directory blocks, the inode itself.
    pub fn inode_seed(&self, ino: u32, generation: u32) -> u32 {
        bento::fs::crc32c(self.seed, &Super::owner(ino, generation))
    }

    /// What that seed is made of, besides the file system's.
    pub fn owner(ino: u32, generation: u32) -> [u8; 8] {
        (u64::from(ino) | u64::from(generation) << 32).to_le_bytes()
    }

    /// Where a field of the superblock lies in its block.
    pub fn super_at(&self, offset: usize) -> usize {
        self.super_offset as usize + offset
    }

    /// Blocks of a group's inode table.
    pub fn table_blocks(&self) -> u32 {
        let bytes = u64::from(self.inodes_per_group) * u64::from(self.inode_size);
        bytes.div_ceil(self.block_size.into()) as u32
    }

    /// Does a range of blocks lie where data may?
    pub fn holds(&self, start: u64, count: u64) -> bool {
        start > u64::from(self.first_block)
            && count > 0
            && start.checked_add(count).is_some_and(|end| end <= self.blocks)
    }
}
