// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where things are in the blocks of the log, and which checksums they have.

use crate::crc::crc32c;

pub(super) const MAGIC: u32 = 0xc03b_3998;
pub(super) const DESCRIPTOR: u32 = 1;
pub(super) const COMMIT: u32 = 2;
pub(super) const SUPER_V1: u32 = 3;
pub(super) const SUPER_V2: u32 = 4;
pub(super) const REVOKE: u32 = 5;
pub(super) const HEADER: usize = 12;

/// Offsets in the superblock.
pub(super) const S_BLOCKSIZE: usize = 0x0c;
pub(super) const S_MAXLEN: usize = 0x10;
pub(super) const S_FIRST: usize = 0x14;
pub(super) const S_SEQUENCE: usize = 0x18;
pub(super) const S_START: usize = 0x1c;
pub(super) const S_ERRNO: usize = 0x20;
pub(super) const S_COMPAT: usize = 0x24;
pub(super) const S_INCOMPAT: usize = 0x28;
pub(super) const S_RO_COMPAT: usize = 0x2c;
pub(super) const S_UUID: usize = 0x30;
pub(super) const S_CHECKSUM_TYPE: usize = 0x50;
pub(super) const S_FAST_COMMIT: usize = 0x54;
pub(super) const S_CHECKSUM: usize = 0xfc;
pub(super) const SUPER: usize = 1024;

pub(super) const COMPAT_CHECKSUM: u32 = 1;
pub(super) const INCOMPAT_REVOKE: u32 = 1;
pub(super) const INCOMPAT_64BIT: u32 = 2;
pub(super) const INCOMPAT_ASYNC_COMMIT: u32 = 4;
pub(super) const INCOMPAT_CSUM_V2: u32 = 8;
pub(super) const INCOMPAT_CSUM_V3: u32 = 0x10;
pub(super) const INCOMPAT_FAST_COMMIT: u32 = 0x20;
pub(super) const INCOMPAT_ALL: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;
/// crc32c
pub(super) const CHECKSUM_TYPE: u8 = 4;
/// Blocks at the end that a journal with fast commits keeps for them, unless it says so.
pub(super) const FAST_COMMIT_BLOCKS: u32 = 256;

/// Flags of a tag.
pub(super) const ESCAPED: u32 = 1;
pub(super) const SAME_UUID: u32 = 2;
pub(super) const LAST_TAG: u32 = 8;

/// Offsets in a commit block.
pub(super) const C_CHECKSUM: usize = 16;
pub(super) const C_SEC: usize = 48;
pub(super) const C_NSEC: usize = 56;

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes)
}

pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Which checksums the blocks of a journal have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sums {
    None,
    /// Of data blocks, 16 bits.
    V2,
    V3,
}

/// How transactions are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) wide: bool,
    pub(super) sums: Sums,
    pub(super) seed: u32,
    pub(super) block: usize,
}

pub(super) struct Tag {
    pub(super) number: u64,
    pub(super) flags: u32,
    pub(super) sum: u32,
}

impl Format {
    pub(super) fn of(superblock: &[u8]) -> Format {
        let incompat = be32(superblock, S_INCOMPAT);
        let sums = match incompat {
            _ if incompat & INCOMPAT_CSUM_V3 != 0 => Sums::V3,
            _ if incompat & INCOMPAT_CSUM_V2 != 0 => Sums::V2,
            _ => Sums::None,
        };
        Format {
            wide: incompat & INCOMPAT_64BIT != 0,
            sums,
            seed: crc32c(!0, superblock.get(S_UUID..S_UUID + 16).unwrap_or_default()),
            block: be32(superblock, S_BLOCKSIZE) as usize,
        }
    }

    pub(super) fn tag_len(&self) -> usize {
        match (self.sums, self.wide) {
            (Sums::V3, _) => 16,
            (Sums::V2, wide) => 10 + if wide { 4 } else { 0 },
            (Sums::None, wide) => 8 + if wide { 4 } else { 0 },
        }
    }

    pub(super) fn tail_len(&self) -> usize {
        if self.sums == Sums::None { 0 } else { 4 }
    }

    pub(super) fn revoke_len(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// How many blocks one descriptor names; the first tag has an UUID behind it.
    pub(super) fn tags(&self) -> usize {
        (self.block - HEADER - 16 - self.tail_len()) / self.tag_len()
    }

    pub(super) fn revokes(&self) -> usize {
        (self.block - HEADER - 4 - self.tail_len()) / self.revoke_len()
    }

    pub(super) fn header(&self, kind: u32, sequence: u32) -> Vec<u8> {
        let mut block = vec![0; self.block];
        put(&mut block, 0, &MAGIC.to_be_bytes());
        put(&mut block, 4, &kind.to_be_bytes());
        put(&mut block, 8, &sequence.to_be_bytes());
        block
    }

    /// The sum in the last bytes of a descriptor or of a block that revokes.
    pub(super) fn seal(&self, block: &mut [u8]) {
        if self.sums != Sums::None {
            let sum = crc32c(self.seed, block);
            let at = block.len() - 4;
            put(block, at, &sum.to_be_bytes());
        }
    }

    pub(super) fn is_sealed(&self, block: &[u8]) -> bool {
        if self.sums == Sums::None {
            return true;
        }
        let at = block.len() - 4;
        crc32c(crc32c(self.seed, &block[..at]), &[0; 4]) == be32(block, at)
    }

    pub(super) fn commit_sum(&self, block: &[u8]) -> u32 {
        let sum = crc32c(self.seed, &block[..C_CHECKSUM]);
        crc32c(crc32c(sum, &[0; 4]), &block[C_CHECKSUM + 4..])
    }

    pub(super) fn is_committed(&self, block: &[u8]) -> bool {
        self.sums == Sums::None || self.commit_sum(block) == be32(block, C_CHECKSUM)
    }

    /// Of a block as it lies in the log.
    pub(super) fn data_sum(&self, sequence: u32, data: &[u8]) -> u32 {
        let sum = crc32c(crc32c(self.seed, &sequence.to_be_bytes()), data);
        match self.sums {
            Sums::None => 0,
            Sums::V2 => sum & 0xffff,
            Sums::V3 => sum,
        }
    }

    pub(super) fn put_tag(&self, block: &mut [u8], at: usize, tag: &Tag) {
        put(block, at, &(tag.number as u32).to_be_bytes());
        let high = ((tag.number >> 32) as u32).to_be_bytes();
        match self.sums {
            Sums::V3 => {
                put(block, at + 4, &tag.flags.to_be_bytes());
                put(block, at + 8, &high);
                put(block, at + 12, &tag.sum.to_be_bytes());
            }
            _ => {
                put(block, at + 4, &(tag.sum as u16).to_be_bytes());
                put(block, at + 6, &(tag.flags as u16).to_be_bytes());
                if self.wide {
                    put(block, at + 8, &high);
                }
            }
        }
    }

    /// Every tag of a descriptor.
    pub(super) fn tags_of(&self, block: &[u8]) -> Vec<Tag> {
        let mut tags = Vec::new();
        let mut at = HEADER;
        while at + self.tag_len() <= block.len() - self.tail_len() {
            let (flags, sum, high) = match self.sums {
                Sums::V3 => (be32(block, at + 4), be32(block, at + 12), be32(block, at + 8)),
                _ => (be16(block, at + 6).into(), be16(block, at + 4).into(), be32(block, at + 8)),
            };
            let high = if self.wide { u64::from(high) << 32 } else { 0 };
            tags.push(Tag { number: high | u64::from(be32(block, at)), flags, sum });
            at += self.tag_len() + if flags & SAME_UUID == 0 { 16 } else { 0 };
            if flags & LAST_TAG != 0 {
                break;
            }
        }
        tags
    }

    /// Every number in a block that revokes; `None` when it cannot be right.
    pub(super) fn revoked_in(&self, block: &[u8]) -> Option<Vec<u64>> {
        let end = be32(block, HEADER) as usize;
        if !(HEADER + 4..=block.len() - self.tail_len()).contains(&end) {
            return None;
        }
        let records = block[HEADER + 4..end].chunks_exact(self.revoke_len());
        Some(records.map(|record| if self.wide { be64(record, 0) } else { be32(record, 0).into() }).collect())
    }
}

/// Is `a` later than `b`? Sequence numbers wrap around.
pub(super) fn later(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

pub(super) fn super_sum(superblock: &[u8]) -> u32 {
    let sum = crc32c(!0, &superblock[..S_CHECKSUM]);
    crc32c(crc32c(sum, &[0; 4]), &superblock[S_CHECKSUM + 4..SUPER])
}
