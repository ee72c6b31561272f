// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One block of a directory: entries one behind the other, each as long as its `rec_len` says, the last one to the end.

use bento::prelude::*;

use crate::disk::Super;
use crate::txn::Txn;

/// `struct ext4_dir_entry_2`: inode (4 bytes), `rec_len` (2), `name_len` (1), type (1), then the name.
pub const HEADER: usize = 8;
/// Of a leaf with a checksum: an entry without a name, of which the last 4 bytes are the checksum.
pub const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;

/// What an entry with such a name takes.
pub const fn room(name_len: usize) -> usize {
    (HEADER + name_len + 3) & !3
}

/// Are there bytes in it that no name has? Eight at a time: it is asked of each name that is listed.
pub fn has_slash_or_nul(name: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const SLASHES: u64 = u64::from_ne_bytes([b'/'; 8]);
    // Exact as to whether there is one; which one, a borrow may hide.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let bad = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        zero(word) | zero(word ^ SLASHES) != 0
    };
    match name.last_chunk::<8>() {
        Some(last) => bad(last) || name.as_chunks::<8>().0.iter().any(bad),
        None => name.iter().any(|byte| matches!(byte, 0 | b'/')),
    }
}

/// An entry's header.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub ino: u32,
    pub rec_len: usize,
    pub name_len: usize,
    pub kind: u8,
}

/// There is no sane entry at this offset of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(pub usize);

impl Entry {
    pub fn of(word: u64) -> Entry {
        Entry {
            ino: word as u32,
            rec_len: usize::from((word >> 32) as u16),
            name_len: usize::from((word >> 48) as u8),
            kind: (word >> 56) as u8,
        }
    }

    pub fn word(&self) -> u64 {
        u64::from(self.ino)
            | (self.rec_len as u64 & 0xffff) << 32
            | (self.name_len as u64 & 0xff) << 48
            | u64::from(self.kind) << 56
    }

    /// The entry at `at` of `block`, whose entries end at `end`.
    #[inline(always)]
    pub fn at(block: &Block<'_>, at: usize, end: usize) -> Result<Entry, Broken> {
        let entry = Entry::of(block.get(at).map_err(|_| Broken(at))?);
        if entry.rec_len < TAIL || !entry.rec_len.is_multiple_of(4) || at + entry.rec_len > end {
            return Err(Broken(at));
        }
        Ok(entry)
    }

    /// What its name takes of `rec_len`: nothing when it is unused.
    #[inline(always)]
    pub fn used(&self) -> usize {
        if self.ino == 0 { 0 } else { room(self.name_len) }
    }
}

/// Where the entries of a leaf end.
pub fn end(sb: &Super) -> usize {
    let size = sb.block_size as usize;
    if sb.checksums() { size - TAIL } else { size }
}

/// A name that is looked for. Its last bytes as one word tell it from almost all others: names differ at their ends.
struct Wanted<'a> {
    name: &'a [u8],
    word: u64,
    mask: u64,
    /// Where that word stands in an entry.
    from: usize,
}

impl Wanted<'_> {
    fn new(name: &[u8]) -> Wanted<'_> {
        match name.last_chunk::<8>() {
            Some(last) => Wanted { name, word: u64::from_le_bytes(*last), mask: u64::MAX, from: name.len() },
            None => {
                let word = name.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
                Wanted { name, word, mask: !(u64::MAX << (name.len() * 8)), from: HEADER }
            }
        }
    }

    /// Does the entry at `at` with this header have that name?
    #[inline(always)]
    fn is(&self, block: &Block<'_>, at: usize, header: u64) -> bool {
        if (header >> 48) as u8 as usize != self.name.len() || header as u32 == 0 {
            return false;
        }
        match block.get::<u64>(at + self.from) {
            Ok(word) if word & self.mask != self.word => false,
            // A short name at the end of the block, too.
            _ => block.equals(at + HEADER, self.name),
        }
    }
}

/// Where an entry ends that begins at `at` and has this header.
#[inline(always)]
fn next(at: usize, header: u64, end: usize) -> Result<usize, Broken> {
    let len = (header >> 32) as u16 as usize;
    if len < TAIL || len & 3 != 0 || at + len > end { Err(Broken(at)) } else { Ok(at + len) }
}

/// Where `name` stands in a leaf: its offset, that of the entry before it (the same when there is none), and the entry.
pub fn find(block: &Block<'_>, end: usize, name: &[u8]) -> Result<Option<(usize, usize, Entry)>, Broken> {
    let wanted = Wanted::new(name);
    let (mut at, mut before) = (0, 0);
    while at < end {
        let header: u64 = block.get(at).map_err(|_| Broken(at))?;
        let behind = next(at, header, end)?;
        if wanted.is(block, at, header) {
            let entry = Entry::of(header);
            return if entry.used() <= entry.rec_len { Ok(Some((at, before, entry))) } else { Err(Broken(at)) };
        }
        (before, at) = (at, behind);
    }
    Ok(None)
}

/// Where an entry finds room.
pub enum Room {
    /// In that of the entry at this offset.
    At(usize, Entry),
    Full,
    /// The name is there.
    Taken,
}

/// Looks for room for `name`.
pub fn find_room(block: &Block<'_>, end: usize, name: &[u8]) -> Result<Room, Broken> {
    let (wanted, need) = (Wanted::new(name), room(name.len()));
    let mut at = 0;
    while at < end {
        let header: u64 = block.get(at).map_err(|_| Broken(at))?;
        let behind = next(at, header, end)?;
        if wanted.is(block, at, header) {
            return Ok(Room::Taken);
        }
        let entry = Entry::of(header);
        match entry.rec_len.checked_sub(entry.used()) {
            Some(free) if free >= need => return Ok(Room::At(at, entry)),
            Some(_) => at = behind,
            None => return Err(Broken(at)),
        }
    }
    Ok(Room::Full)
}

/// Puts a name where [`find_room`] found room.
pub fn insert(txn: &Txn, block: &Block<'_>, (at, has): (usize, Entry), name: &[u8], ino: u32, kind: u8) -> Result<()> {
    let used = has.used();
    if used > 0 {
        txn.tx.put(block, at + 4, used as u16)?;
    }
    let entry = Entry { ino, rec_len: has.rec_len - used, name_len: name.len(), kind };
    txn.tx.put(block, at + used, entry.word())?;
    txn.tx.put_bytes(block, at + used + HEADER, name)
}

/// The end of a leaf with a checksum: all but the checksum.
pub fn tail() -> u64 {
    Entry { ino: 0, rec_len: TAIL, name_len: 0, kind: TAIL_TYPE }.word()
}

/// Appends an entry to a leaf that is being made in memory.
pub fn push(leaf: &mut Vec<u8>, entry: Entry, name: &[u8]) -> Result<()> {
    let len = room(name.len());
    leaf.try_reserve(len)?;
    let at = leaf.len();
    leaf.extend_from_slice(&Entry { rec_len: len, name_len: name.len(), ..entry }.word().to_le_bytes());
    leaf.extend_from_slice(name);
    leaf.resize(at + len, 0);
    Ok(())
}

/// Lets the last entry of such a leaf, which begins at `last`, go to the end, and puts the tail behind it.
pub fn finish(leaf: &mut Vec<u8>, last: usize, sb: &Super) -> Result<()> {
    let end = end(sb);
    leaf.try_reserve((sb.block_size as usize).saturating_sub(leaf.len()))?;
    if leaf.is_empty() {
        leaf.extend_from_slice(&Entry { ino: 0, rec_len: end, name_len: 0, kind: 0 }.word().to_le_bytes());
    } else {
        let rec_len = end.checked_sub(last).ok_or(Errno::EUCLEAN)?;
        leaf.get_mut(last + 4..last + 6).ok_or(Errno::EUCLEAN)?.copy_from_slice(&(rec_len as u16).to_le_bytes());
    }
    leaf.resize(end, 0);
    if sb.checksums() {
        leaf.extend_from_slice(&tail().to_le_bytes());
        leaf.extend_from_slice(&[0; 4]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slash_and_nul_are_found_wherever_they_are() {
        for len in 0..40 {
            for fill in [b'a', 1, 0x2e, 0x30, 0x80, 0xff] {
                let mut name = [fill; 40];
                let name = &mut name[..len];
                assert!(!has_slash_or_nul(name), "{name:x?}");
                for at in 0..len {
                    for bad in [0, b'/'] {
                        name[at] = bad;
                        assert!(has_slash_or_nul(name), "{name:x?}");
                        name[at] = fill;
                    }
                }
            }
        }
    }
}
