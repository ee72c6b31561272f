// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The journal on the device, in the format of jbd2: everything in it is big-endian. Block 0 is its superblock; from
//! `first` to `last` lies the log, as a ring. A transaction there: blocks that revoke, then descriptors, each followed by
//! the blocks its tags name, then one commit block. What is in a block's place is older than what the log says, unless a
//! later transaction revoked it.

mod format;
mod recovery;

use std::io::IoSlice;

use bento::abi;
use bento::errno::{Errno, Result};

use crate::device::Device;
use format::*;

/// Most pieces of one write.
const PIECES: usize = 1024;
/// Room in the log below which it is of no use.
const SHORTEST: u32 = 16;

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
