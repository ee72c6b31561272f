// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a crash left in the log: one pass that finds what was committed, another that brings it to its place.

use std::collections::BTreeMap;

use bento::errno::Errno;

use super::format::*;
use super::{Log, Opened, Refusal, refuse};
use crate::device::{Device, Numbers};

/// Blocks of the log read at once.
const READ: u64 = 256;
/// Blocks replayed at once.
const REPLAY: usize = 1024;

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
