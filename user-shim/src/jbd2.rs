// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The journal on the device, in the format of jbd2: everything in it is big-endian. Block 0 is its superblock; from
//! `first` to `last` lies the log, as a ring. A transaction there: blocks that revoke, then descriptors, each followed by
//! the blocks its tags name, then one commit block. What is in a block's place is older than what the log says, unless a
//! later transaction revoked it.

use std::collections::BTreeMap;
use std::io::IoSlice;

use bento::abi;
use bento::errno::{Errno, Result};

use crate::crc::crc32c;
use crate::device::{Device, Numbers};

const MAGIC: u32 = 0xc03b_3998;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const SUPER_V1: u32 = 3;
const SUPER_V2: u32 = 4;
const REVOKE: u32 = 5;
const HEADER: usize = 12;

/// Offsets in the superblock.
const S_BLOCKSIZE: usize = 0x0c;
const S_MAXLEN: usize = 0x10;
const S_FIRST: usize = 0x14;
const S_SEQUENCE: usize = 0x18;
const S_START: usize = 0x1c;
const S_ERRNO: usize = 0x20;
const S_COMPAT: usize = 0x24;
const S_INCOMPAT: usize = 0x28;
const S_RO_COMPAT: usize = 0x2c;
const S_UUID: usize = 0x30;
const S_CHECKSUM_TYPE: usize = 0x50;
const S_FAST_COMMIT: usize = 0x54;
const S_CHECKSUM: usize = 0xfc;
const SUPER: usize = 1024;

const COMPAT_CHECKSUM: u32 = 1;
const INCOMPAT_REVOKE: u32 = 1;
const INCOMPAT_64BIT: u32 = 2;
const INCOMPAT_ASYNC_COMMIT: u32 = 4;
const INCOMPAT_CSUM_V2: u32 = 8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const INCOMPAT_ALL: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;
/// crc32c
const CHECKSUM_TYPE: u8 = 4;
/// Blocks at the end that a journal with fast commits keeps for them, unless it says so.
const FAST_COMMIT_BLOCKS: u32 = 256;

/// Flags of a tag.
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST_TAG: u32 = 8;

/// Offsets in a commit block.
const C_CHECKSUM: usize = 16;
const C_SEC: usize = 48;
const C_NSEC: usize = 56;

/// Blocks of the log read at once.
const READ: u64 = 256;
/// Blocks replayed at once.
const REPLAY: usize = 1024;
/// Most pieces of one write.
const PIECES: usize = 1024;
/// Room in the log below which it is of no use.
const SHORTEST: u32 = 16;

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes)
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Which checksums the blocks of a journal have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sums {
    None,
    /// Of data blocks, 16 bits.
    V2,
    V3,
}

/// How transactions are written.
#[derive(Clone, Copy, Debug)]
struct Format {
    wide: bool,
    sums: Sums,
    seed: u32,
    block: usize,
}

struct Tag {
    number: u64,
    flags: u32,
    sum: u32,
}

impl Format {
    fn of(superblock: &[u8]) -> Format {
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

    fn tag_len(&self) -> usize {
        match (self.sums, self.wide) {
            (Sums::V3, _) => 16,
            (Sums::V2, wide) => 10 + if wide { 4 } else { 0 },
            (Sums::None, wide) => 8 + if wide { 4 } else { 0 },
        }
    }

    fn tail_len(&self) -> usize {
        if self.sums == Sums::None { 0 } else { 4 }
    }

    fn revoke_len(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// How many blocks one descriptor names; the first tag has an UUID behind it.
    fn tags(&self) -> usize {
        (self.block - HEADER - 16 - self.tail_len()) / self.tag_len()
    }

    fn revokes(&self) -> usize {
        (self.block - HEADER - 4 - self.tail_len()) / self.revoke_len()
    }

    fn header(&self, kind: u32, sequence: u32) -> Vec<u8> {
        let mut block = vec![0; self.block];
        put(&mut block, 0, &MAGIC.to_be_bytes());
        put(&mut block, 4, &kind.to_be_bytes());
        put(&mut block, 8, &sequence.to_be_bytes());
        block
    }

    /// The sum in the last bytes of a descriptor or of a block that revokes.
    fn seal(&self, block: &mut [u8]) {
        if self.sums != Sums::None {
            let sum = crc32c(self.seed, block);
            let at = block.len() - 4;
            put(block, at, &sum.to_be_bytes());
        }
    }

    fn is_sealed(&self, block: &[u8]) -> bool {
        if self.sums == Sums::None {
            return true;
        }
        let at = block.len() - 4;
        crc32c(crc32c(self.seed, &block[..at]), &[0; 4]) == be32(block, at)
    }

    fn commit_sum(&self, block: &[u8]) -> u32 {
        let sum = crc32c(self.seed, &block[..C_CHECKSUM]);
        crc32c(crc32c(sum, &[0; 4]), &block[C_CHECKSUM + 4..])
    }

    fn is_committed(&self, block: &[u8]) -> bool {
        self.sums == Sums::None || self.commit_sum(block) == be32(block, C_CHECKSUM)
    }

    /// Of a block as it lies in the log.
    fn data_sum(&self, sequence: u32, data: &[u8]) -> u32 {
        let sum = crc32c(crc32c(self.seed, &sequence.to_be_bytes()), data);
        match self.sums {
            Sums::None => 0,
            Sums::V2 => sum & 0xffff,
            Sums::V3 => sum,
        }
    }

    fn put_tag(&self, block: &mut [u8], at: usize, tag: &Tag) {
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
    fn tags_of(&self, block: &[u8]) -> Vec<Tag> {
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
    fn revoked_in(&self, block: &[u8]) -> Option<Vec<u64>> {
        let end = be32(block, HEADER) as usize;
        if !(HEADER + 4..=block.len() - self.tail_len()).contains(&end) {
            return None;
        }
        let records = block[HEADER + 4..end].chunks_exact(self.revoke_len());
        Some(records.map(|record| if self.wide { be64(record, 0) } else { be32(record, 0).into() }).collect())
    }
}

/// Is `a` later than `b`? Sequence numbers wrap around.
fn later(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// What opening a journal found.
#[derive(Debug)]
pub struct Opened {
    pub replayed: u64,
    /// As in the superblock: negative.
    pub error: i32,
}

/// Why a journal is not opened.
pub type Refusal = (Errno, String);

fn refuse<T>(errno: Errno, why: impl Into<String>) -> std::result::Result<T, Refusal> {
    Err((errno, why.into()))
}

/// The journal of one mount.
#[derive(Debug)]
pub struct Log {
    runs: Vec<abi::bento_run>,
    superblock: Vec<u8>,
    format: Format,
    first: u32,
    last: u32,
    /// Where the next transaction goes.
    head: u32,
    /// Does the superblock on the device say that the log is empty?
    clean: bool,
    pub barrier: bool,
    /// Sequence number of the next transaction.
    pub next: u32,
}

/// One pass over the log, up to the transaction that is not whole.
struct Scan {
    end: u32,
    revoked: Numbers<u32>,
    replay: BTreeMap<u64, Source>,
    transactions: u64,
}

/// The last that is to be known of a block.
struct Source {
    at: u32,
    sequence: u32,
    flags: u32,
    sum: u32,
}

impl Log {
    /// Reads the superblock and checks it.
    pub fn open(
        device: &Device,
        raw: &abi::bento_journal,
        runs: &[abi::bento_run],
    ) -> std::result::Result<Log, Refusal> {
        let block = device.block_size();
        let mut logical = 0u64;
        for run in runs {
            let inside = run.physical.checked_add(run.count).is_some_and(|end| end <= device.blocks());
            if run.logical != logical || run.count == 0 || run.physical == 0 || !inside {
                return refuse(Errno::EUCLEAN, format!("journal: its blocks from {logical} on are not on the device"));
            }
            logical += run.count;
        }
        if logical == 0 {
            return refuse(Errno::EUCLEAN, "journal: it has no blocks");
        }
        if raw.flags & abi::BENTO_JOURNAL_64BIT == 0 && device.blocks() > 1 << 32 {
            return refuse(Errno::EINVAL, format!("journal: 32 bits are too few for {} blocks", device.blocks()));
        }
        let mut superblock = vec![0; SUPER];
        let offset = runs.first().map_or(0, |run| run.physical) * u64::from(block);
        device
            .read_bytes(offset, &mut superblock)
            .map_err(|errno| (errno, "journal: its superblock cannot be read".to_owned()))?;
        let word = |at| be32(&superblock, at);
        if word(0) != MAGIC || ![SUPER_V1, SUPER_V2].contains(&word(4)) {
            return refuse(Errno::EUCLEAN, format!("journal: no superblock in block {}", offset / u64::from(block)));
        }
        if word(4) == SUPER_V1 {
            return refuse(Errno::EOPNOTSUPP, "journal: its superblock is of version 1");
        }
        let (incompat, compat) = (word(S_INCOMPAT), word(S_COMPAT));
        if incompat & !INCOMPAT_ALL != 0 || word(S_RO_COMPAT) != 0 {
            let unknown = (incompat & !INCOMPAT_ALL, word(S_RO_COMPAT));
            return refuse(Errno::EOPNOTSUPP, format!("journal: unknown features {:#x}, {:#x}", unknown.0, unknown.1));
        }
        let both = INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3;
        if incompat & both == both || incompat & both != 0 && compat & COMPAT_CHECKSUM != 0 {
            return refuse(Errno::EUCLEAN, "journal: more than one kind of checksums");
        }
        if incompat & both != 0 {
            if superblock[S_CHECKSUM_TYPE] != CHECKSUM_TYPE {
                return refuse(
                    Errno::EOPNOTSUPP,
                    format!("journal: checksums of type {}", superblock[S_CHECKSUM_TYPE]),
                );
            }
            if super_sum(&superblock) != word(S_CHECKSUM) {
                return refuse(Errno::EUCLEAN, "journal: the checksum of its superblock is wrong");
            }
        }
        if word(S_BLOCKSIZE) != block {
            return refuse(Errno::EUCLEAN, format!("journal: blocks of {} bytes, not {block}", word(S_BLOCKSIZE)));
        }
        let (first, length, start) = (word(S_FIRST), word(S_MAXLEN), word(S_START));
        let fast = match (incompat & INCOMPAT_FAST_COMMIT, word(S_FAST_COMMIT)) {
            (0, _) => 0,
            (_, 0) => FAST_COMMIT_BLOCKS,
            (_, blocks) => blocks,
        };
        let last = length.saturating_sub(fast);
        if u64::from(length) > logical || first == 0 || last < first.saturating_add(SHORTEST) {
            return refuse(Errno::EUCLEAN, format!("journal: {length} blocks from {first} on, and it has {logical}"));
        }
        if start != 0 && !(first..last).contains(&start) {
            return refuse(Errno::EUCLEAN, format!("journal: it begins at block {start} of {first} to {last}"));
        }
        let format = Format::of(&superblock);
        Ok(Log {
            runs: runs.to_vec(),
            next: word(S_SEQUENCE),
            superblock,
            format,
            first,
            last,
            head: first,
            clean: start == 0,
            barrier: raw.flags & abi::BENTO_JOURNAL_NO_BARRIER == 0,
        })
    }

    /// Brings everything that was committed to its place, if that has not been done. `discard`: leaves it undone.
    pub fn recover(&mut self, device: &Device, discard: bool) -> std::result::Result<Opened, Refusal> {
        let error = be32(&self.superblock, S_ERRNO) as i32;
        if self.clean {
            return Ok(Opened { replayed: 0, error });
        }
        if device.is_read_only() {
            return refuse(Errno::EROFS, "journal: it needs recovery, and the device can only be read");
        }
        if be32(&self.superblock, S_INCOMPAT) & INCOMPAT_FAST_COMMIT != 0 && !discard {
            return refuse(Errno::EOPNOTSUPP, "journal: it needs recovery, and may have fast commits: run e2fsck");
        }
        let scan = self.scan(device)?;
        let replayed = if discard { 0 } else { scan.transactions };
        if !discard {
            self.replay(device, &scan)?;
        }
        // One is left out: what there is of the transaction that was not whole has its number.
        self.next = scan.end.wrapping_add(1);
        self.head = self.first;
        let failed = |errno| (errno, "journal: what was replayed did not reach the device".to_owned());
        if self.barrier {
            device.flush().map_err(failed)?;
        }
        self.mark_empty(device).map_err(failed)?;
        Ok(Opened { replayed, error })
    }

    fn step(&self, at: u32, by: u32) -> u32 {
        let length = self.last - self.first;
        self.first + (at - self.first + by % length) % length
    }

    /// Where on the device.
    fn offset(&self, at: u32) -> Result<u64> {
        let at = u64::from(at);
        let run = self.runs.iter().find(|run| (run.logical..run.logical + run.count).contains(&at));
        let run = run.ok_or(Errno::EUCLEAN)?;
        Ok((run.physical + (at - run.logical)) * self.format.block as u64)
    }

    /// Is that block of the device one of the journal's?
    pub fn contains(&self, number: u64) -> bool {
        self.runs.iter().any(|run| (run.physical..run.physical + run.count).contains(&number))
    }

    fn scan(&self, device: &Device) -> std::result::Result<Scan, Refusal> {
        let format = self.format;
        let mut reader = Reader::new(self, device);
        let mut scan = Scan { end: self.next, revoked: Numbers::default(), replay: BTreeMap::new(), transactions: 0 };
        let mut at = be32(&self.superblock, S_START);
        let mut left = self.last - self.first;
        // Of the transaction that is being read, kept when its commit block is there.
        let (mut tags, mut revoked, mut doubt) = (Vec::new(), Vec::new(), false);
        let mut last_time = (0, 0);
        while left > 0 {
            let block = reader.read(at)?;
            if be32(block, 0) != MAGIC || be32(block, 8) != scan.end {
                break;
            }
            let kind = be32(block, 4);
            let here = at;
            at = self.step(at, 1);
            left -= 1;
            match kind {
                DESCRIPTOR => {
                    // Stale blocks of an earlier life of the log look like this; which it is, the commit block tells.
                    doubt |= !format.is_sealed(block);
                    let found = format.tags_of(block);
                    let count = found.len() as u32;
                    if count >= left {
                        break;
                    }
                    for tag in found {
                        tags.push((at, tag));
                        at = self.step(at, 1);
                    }
                    left -= count;
                }
                REVOKE => {
                    doubt |= !format.is_sealed(block);
                    match format.revoked_in(block) {
                        Some(numbers) => revoked.extend(numbers),
                        None => doubt = true,
                    }
                }
                COMMIT => {
                    let time = (be64(block, C_SEC), be32(block, C_NSEC));
                    let sequence = scan.end;
                    let torn = !format.is_committed(block);
                    if torn || doubt {
                        // A commit block that is not whole ends the log, unless there is more; one that is whole, behind
                        // blocks that are not, was damaged later or is from an earlier life of the log.
                        let next = reader.read(at)?;
                        let more = be32(next, 0) == MAGIC && be32(next, 8) == sequence.wrapping_add(1);
                        if (more || !torn) && time >= last_time {
                            return refuse(
                                Errno::EUCLEAN,
                                format!("journal: transaction {sequence}, committed in block {here} of it, is damaged"),
                            );
                        }
                        break;
                    }
                    last_time = time;
                    for (at, Tag { number, flags, sum }) in tags.drain(..) {
                        scan.replay.insert(number, Source { at, sequence: scan.end, flags, sum });
                    }
                    for number in revoked.drain(..) {
                        scan.revoked.insert(number, scan.end);
                    }
                    scan.end = scan.end.wrapping_add(1);
                    scan.transactions += 1;
                }
                _ => break,
            }
        }
        Ok(scan)
    }

    fn replay(&self, device: &Device, scan: &Scan) -> std::result::Result<(), Refusal> {
        let format = self.format;
        // In the order of the log, so that reading goes forward; `write_home` sorts.
        let wanted = |(number, source): &(&u64, &Source)| match scan.revoked.get(number) {
            Some(sequence) => later(source.sequence, *sequence),
            None => true,
        };
        let mut sources: Vec<_> = scan.replay.iter().filter(wanted).collect();
        sources.sort_unstable_by_key(|(_, source)| (source.sequence, source.at));
        let mut reader = Reader::new(self, device);
        for part in sources.chunks(REPLAY) {
            let mut bytes = Vec::with_capacity(part.len() * format.block);
            let mut places = Vec::with_capacity(part.len());
            for (number, source) in part {
                if **number >= device.blocks() || self.contains(**number) {
                    return refuse(
                        Errno::EUCLEAN,
                        format!("journal: transaction {} has block {number}, which is none of its", source.sequence),
                    );
                }
                let block = reader.read(source.at)?;
                if format.data_sum(source.sequence, block) != source.sum && format.sums != Sums::None {
                    return refuse(
                        Errno::EUCLEAN,
                        format!("journal: checksum of block {number} in transaction {} is wrong", source.sequence),
                    );
                }
                places.push((**number, bytes.len()));
                let start = bytes.len();
                bytes.extend_from_slice(block);
                if source.flags & ESCAPED != 0 {
                    put(&mut bytes, start, &MAGIC.to_be_bytes());
                }
            }
            device.write_home(&mut places, &bytes).map_err(|errno| (errno, "journal: replay failed".to_owned()))?;
        }
        Ok(())
    }

    // ---- writing ----

    /// Blocks in the ring.
    pub fn len(&self) -> u32 {
        self.last - self.first
    }

    pub fn head(&self) -> u32 {
        self.head
    }

    /// How many blocks a descriptor names, and how many one that revokes.
    pub fn rates(&self) -> (u64, u64) {
        (self.format.tags() as u64, self.format.revokes() as u64)
    }

    /// Does the device say that nothing is to be replayed?
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// From here on transactions are written as the mount asks. The log is empty.
    pub fn adopt(&mut self, flags: u32) {
        let mut incompat = be32(&self.superblock, S_INCOMPAT) & INCOMPAT_FAST_COMMIT | INCOMPAT_REVOKE;
        if flags & abi::BENTO_JOURNAL_64BIT != 0 {
            incompat |= INCOMPAT_64BIT;
        }
        if flags & abi::BENTO_JOURNAL_CHECKSUMS != 0 {
            incompat |= INCOMPAT_CSUM_V3;
            put(&mut self.superblock, S_CHECKSUM_TYPE, &[CHECKSUM_TYPE]);
        }
        let compat = be32(&self.superblock, S_COMPAT) & !COMPAT_CHECKSUM;
        put(&mut self.superblock, S_COMPAT, &compat.to_be_bytes());
        put(&mut self.superblock, S_INCOMPAT, &incompat.to_be_bytes());
        self.format = Format::of(&self.superblock);
    }

    fn write_super(&mut self, device: &Device, start: u32, sequence: u32) -> Result<()> {
        put(&mut self.superblock, S_START, &start.to_be_bytes());
        put(&mut self.superblock, S_SEQUENCE, &sequence.to_be_bytes());
        let sum = if self.format.sums == Sums::None { 0 } else { super_sum(&self.superblock) };
        put(&mut self.superblock, S_CHECKSUM, &sum.to_be_bytes());
        device.write_bytes(self.offset(0)?, &self.superblock)
    }

    /// Nothing is left to be replayed; what went to its place before has been flushed.
    pub fn mark_empty(&mut self, device: &Device) -> Result<()> {
        self.write_super(device, 0, self.next)?;
        if self.barrier {
            device.flush()?;
        }
        self.clean = true;
        Ok(())
    }

    /// What an earlier mount ended with; 0 = well.
    pub fn error(&self) -> i32 {
        be32(&self.superblock, S_ERRNO) as i32
    }

    /// The error a mount ended with, or none.
    pub fn set_error(&mut self, error: i32) {
        put(&mut self.superblock, S_ERRNO, &(error as u32).to_be_bytes());
    }

    pub fn write_error(&mut self, device: &Device, error: i32) -> Result<()> {
        self.set_error(error);
        let (start, sequence) = (be32(&self.superblock, S_START), be32(&self.superblock, S_SEQUENCE));
        self.write_super(device, start, sequence)
    }

    /// The log begins at `tail` now: what was before it is at its place, and has been flushed.
    pub fn move_tail(&mut self, device: &Device, tail: u32, sequence: u32) -> Result<()> {
        self.write_super(device, tail, sequence)?;
        // Before anything there is written again.
        if self.barrier { device.flush() } else { Ok(()) }
    }

    /// Writes transaction [`Self::next`]: `numbers` of blocks and their bytes, one after another, and what it revokes. It
    /// is there for good when this returns. The caller knows that there is room; how many blocks it took.
    pub fn write(&mut self, device: &Device, numbers: &[u64], bytes: &mut [u8], revoked: &[u64]) -> Result<u32> {
        let format = self.format;
        let sequence = self.next;
        if self.clean {
            self.write_super(device, self.head, sequence)?;
            self.clean = false;
        }
        let mut made: Vec<Vec<u8>> = Vec::new();
        for part in revoked.chunks(format.revokes()) {
            let mut block = format.header(REVOKE, sequence);
            let end = HEADER + 4 + part.len() * format.revoke_len();
            put(&mut block, HEADER, &(end as u32).to_be_bytes());
            for (n, number) in part.iter().enumerate() {
                let at = HEADER + 4 + n * format.revoke_len();
                match format.wide {
                    true => put(&mut block, at, &number.to_be_bytes()),
                    false => put(&mut block, at, &(*number as u32).to_be_bytes()),
                }
            }
            format.seal(&mut block);
            made.push(block);
        }
        let revokes = made.len();
        let size = format.block;
        for (part, data) in numbers.chunks(format.tags()).zip(bytes.chunks_mut(format.tags() * size)) {
            let mut block = format.header(DESCRIPTOR, sequence);
            let mut at = HEADER;
            for (n, (number, data)) in part.iter().zip(data.chunks_exact_mut(size)).enumerate() {
                let mut flags = if n == 0 { 0 } else { SAME_UUID };
                if be32(data, 0) == MAGIC {
                    flags |= ESCAPED;
                    put(data, 0, &[0; 4]);
                }
                if n + 1 == part.len() {
                    flags |= LAST_TAG;
                }
                let sum = format.data_sum(sequence, data);
                format.put_tag(&mut block, at, &Tag { number: *number, flags, sum });
                at += format.tag_len();
                if n == 0 {
                    put(&mut block, at, &self.superblock[S_UUID..S_UUID + 16]);
                    at += 16;
                }
            }
            format.seal(&mut block);
            made.push(block);
        }
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(made.len() + numbers.len());
        pieces.extend(made[..revokes].iter().map(Vec::as_slice));
        let mut data = bytes.chunks(format.tags() * size);
        for descriptor in &made[revokes..] {
            pieces.push(descriptor);
            pieces.extend(data.next().into_iter().flat_map(|data| data.chunks_exact(size)));
        }
        let count = pieces.len() as u32 + 1;
        if count > self.len() {
            return Err(Errno::ENOSPC);
        }
        self.write_pieces(device, self.head, &pieces)?;
        let mut commit = format.header(COMMIT, sequence);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        put(&mut commit, C_SEC, &now.as_secs().to_be_bytes());
        put(&mut commit, C_NSEC, &now.subsec_nanos().to_be_bytes());
        if format.sums != Sums::None {
            let sum = format.commit_sum(&commit);
            put(&mut commit, C_CHECKSUM, &sum.to_be_bytes());
        }
        // Data and log first, for good; then what says that they count.
        if self.barrier {
            device.flush()?;
        }
        self.write_pieces(device, self.step(self.head, count - 1), &[&commit])?;
        if self.barrier {
            device.flush()?;
        }
        self.head = self.step(self.head, count);
        self.next = sequence.wrapping_add(1);
        Ok(count)
    }

    /// Blocks from `at` on; what lies together on the device goes there at once.
    fn write_pieces(&self, device: &Device, mut at: u32, pieces: &[&[u8]]) -> Result<()> {
        let mut from = 0;
        while from < pieces.len() {
            let offset = self.offset(at)?;
            let mut count = 1;
            at = self.step(at, 1);
            while from + count < pieces.len()
                && count < PIECES
                && self.offset(at)? == offset + (count * self.format.block) as u64
            {
                count += 1;
                at = self.step(at, 1);
            }
            let slices: Vec<IoSlice<'_>> = pieces[from..from + count].iter().map(|piece| IoSlice::new(piece)).collect();
            device.write_vectored(offset, &slices)?;
            from += count;
        }
        Ok(())
    }
}

fn super_sum(superblock: &[u8]) -> u32 {
    let sum = crc32c(!0, &superblock[..S_CHECKSUM]);
    crc32c(crc32c(sum, &[0; 4]), &superblock[S_CHECKSUM + 4..SUPER])
}

/// Reads the log forward, many blocks at a time.
struct Reader<'a> {
    log: &'a Log,
    device: &'a Device,
    bytes: Vec<u8>,
    from: u32,
    count: u32,
}

impl<'a> Reader<'a> {
    fn new(log: &'a Log, device: &'a Device) -> Reader<'a> {
        Reader { log, device, bytes: Vec::new(), from: 0, count: 0 }
    }

    fn read(&mut self, at: u32) -> std::result::Result<&[u8], Refusal> {
        let size = self.log.format.block;
        if !(self.from..self.from + self.count).contains(&at) {
            let failed = |errno| (errno, format!("journal: block {at} of it cannot be read"));
            let offset = self.log.offset(at).map_err(failed)?;
            let mut count = 1;
            while u64::from(count) < READ
                && at + count < self.log.last
                && self.log.offset(at + count) == Ok(offset + u64::from(count) * size as u64)
            {
                count += 1;
            }
            self.bytes.resize(count as usize * size, 0);
            self.device.read_bytes(offset, &mut self.bytes).map_err(failed)?;
            (self.from, self.count) = (at, count);
        }
        let at = (at - self.from) as usize * size;
        Ok(&self.bytes[at..at + size])
    }
}
