// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A disk for crash tests: it records what is written and flushed, and makes the images that a crash could have left. It
//! can fail, too.

use std::fmt;
use std::sync::{Arc, Mutex};

use bento::errno::{Errno, Result};

use crate::disk::{Disk, range};
use crate::inode::held;

/// What a drive writes whole, unless the test says otherwise.
const SECTOR: usize = 512;

enum Event {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    Flush,
    /// Something was promised to an application.
    Mark(u64),
}

struct Inner {
    /// Before the first event.
    before: Vec<u8>,
    now: Vec<u8>,
    events: Vec<Event>,
    reads: u64,
    writes: u64,
    /// Which read and which write fail, counted from 0; how many in a row.
    bad_read: Option<(u64, u64)>,
    bad_write: Option<(u64, u64)>,
    /// A write that fails does the first half of its sectors.
    tear: bool,
    sector: usize,
}

/// A device in memory that remembers how its bytes came to be there. Clones share it.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk({} bytes)", self.size())
    }
}

impl SimDisk {
    pub fn new(bytes: Vec<u8>) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(Inner {
            before: bytes.clone(),
            now: bytes,
            events: Vec::new(),
            reads: 0,
            writes: 0,
            bad_read: None,
            bad_write: None,
            tear: false,
            sector: SECTOR,
        })))
    }

    /// Writes of so many bytes, at a multiple of them, are never torn.
    pub fn set_sector(&self, bytes: usize) {
        held(&self.0).sector = bytes.max(1);
    }

    /// The bytes of this moment, as if all of them were on the medium.
    pub fn bytes(&self) -> Vec<u8> {
        held(&self.0).now.clone()
    }

    /// Crashes from here on have seen everything so far.
    pub fn forget_history(&self) {
        let mut inner = held(&self.0);
        inner.before = inner.now.clone();
        inner.events.clear();
    }

    /// Notes that something has been promised (an fsync that returned): a crash after this has `mark`.
    pub fn mark(&self, mark: u64) {
        held(&self.0).events.push(Event::Mark(mark));
    }

    /// Reads and writes so far.
    pub fn counts(&self) -> (u64, u64) {
        let inner = held(&self.0);
        (inner.reads, inner.writes)
    }

    /// Writes and flushes that are remembered.
    pub fn history(&self) -> (usize, usize) {
        let inner = held(&self.0);
        let flushes = inner.events.iter().filter(|event| matches!(event, Event::Flush)).count();
        let writes = inner.events.iter().filter(|event| matches!(event, Event::Write { .. })).count();
        (writes, flushes)
    }

    /// The read after `n` more fails with `EIO`, and `count` in all.
    pub fn fail_read(&self, n: u64, count: u64) {
        let mut inner = held(&self.0);
        inner.bad_read = Some((inner.reads + n, count));
    }

    /// The same for writes; with `tear`, part of what fails is written.
    pub fn fail_write(&self, n: u64, count: u64, tear: bool) {
        let mut inner = held(&self.0);
        inner.bad_write = Some((inner.writes + n, count));
        inner.tear = tear;
    }

    pub fn fail_nothing(&self) {
        let mut inner = held(&self.0);
        (inner.bad_read, inner.bad_write) = (None, None);
    }

    /// What a crash could have left: at each flush all that was written before it, and after each flush `samples` times
    /// some of what was written up to a moment before the next one, with sectors of it missing.
    pub fn crash_states(&self, seed: u64, samples: usize) -> CrashStates {
        CrashStates {
            disk: self.clone(),
            durable: held(&self.0).before.clone(),
            from: 0,
            to: None,
            left: 0,
            samples,
            random: Random(seed | 1),
            mark: 0,
            over: false,
        }
    }
}

impl Disk for SimDisk {
    fn size(&self) -> u64 {
        held(&self.0).now.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let mut inner = held(&self.0);
        let n = inner.reads;
        inner.reads += 1;
        if inner.bad_read.is_some_and(|(first, count)| n >= first && n - first < count) {
            return Err(Errno::EIO);
        }
        let range = range(inner.now.len(), offset, bytes.len())?;
        bytes.copy_from_slice(&inner.now[range]);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut inner = held(&self.0);
        let n = inner.writes;
        inner.writes += 1;
        let whole = range(inner.now.len(), offset, bytes.len())?;
        let bad = inner.bad_write.is_some_and(|(first, count)| n >= first && n - first < count);
        let done = match bad {
            false => bytes.len(),
            true if inner.tear => bytes.len() / 2 / inner.sector * inner.sector,
            true => 0,
        };
        let bytes = &bytes[..done];
        inner.now[whole.start..whole.start + done].copy_from_slice(bytes);
        inner.events.push(Event::Write { offset, bytes: bytes.to_vec() });
        if bad { Err(Errno::EIO) } else { Ok(()) }
    }

    /// Written as any other bytes are, so that a crash may come before or after.
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.zero(offset, len)
    }

    fn flush(&self) -> Result<()> {
        held(&self.0).events.push(Event::Flush);
        Ok(())
    }
}

/// A small generator: the same seed, the same states.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

/// One image that a crash could have left.
pub struct CrashState {
    pub image: Vec<u8>,
    /// The last mark before the crash; 0 = none.
    pub mark: u64,
    /// Which one this is, for a message: events that happened, and those of them that are surely there.
    pub happened: usize,
    pub durable: usize,
}

impl fmt::Debug for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CrashState { mark, happened, durable, .. } = self;
        write!(f, "crash after event {happened}, of which the first {durable} are there for sure; mark {mark}")
    }
}

/// What [`SimDisk::crash_states`] makes, one after another.
pub struct CrashStates {
    disk: SimDisk,
    /// The image with all before `from`.
    durable: Vec<u8>,
    from: usize,
    /// The next flush, or the end; `None`: a boundary is to be shown.
    to: Option<usize>,
    left: usize,
    samples: usize,
    random: Random,
    mark: u64,
    over: bool,
}

fn apply(image: &mut [u8], offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    image[start..start + bytes.len()].copy_from_slice(bytes);
}

impl Iterator for CrashStates {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        if self.over {
            return None;
        }
        let disk = self.disk.clone();
        let inner = held(&disk.0);
        let events = &inner.events;
        let Some(to) = self.to else {
            // At a boundary: what is there is there, and promises made until the next write hold.
            while let Some(Event::Mark(mark)) = events.get(self.from) {
                self.mark = *mark;
                self.from += 1;
            }
            let flush = events[self.from..].iter().position(|event| matches!(event, Event::Flush));
            self.to = Some(flush.map_or(events.len(), |at| self.from + at));
            self.left = if self.to == Some(self.from) { 0 } else { self.samples };
            let (mark, happened) = (self.mark, self.from);
            return Some(CrashState { image: self.durable.clone(), mark, happened, durable: happened });
        };
        if self.left > 0 {
            self.left -= 1;
            let happened = self.from + 1 + self.random.below(to - self.from);
            let mut image = self.durable.clone();
            let mut mark = self.mark;
            // All in order, or some: drives reorder.
            let keeps = self.random.below(4);
            for event in &events[self.from..happened] {
                match event {
                    Event::Mark(made) => mark = *made,
                    Event::Flush => {}
                    Event::Write { offset, bytes } => match keeps {
                        0 => apply(&mut image, *offset, bytes),
                        1 if self.random.below(2) == 0 => apply(&mut image, *offset, bytes),
                        1 => {}
                        _ => {
                            for (n, sector) in bytes.chunks(inner.sector).enumerate() {
                                if self.random.below(4) < keeps {
                                    apply(&mut image, offset + (n * inner.sector) as u64, sector);
                                }
                            }
                        }
                    },
                }
            }
            return Some(CrashState { image, mark, happened, durable: self.from });
        }
        for event in &events[self.from..to] {
            match event {
                Event::Write { offset, bytes } => apply(&mut self.durable, *offset, bytes),
                Event::Mark(mark) => self.mark = *mark,
                Event::Flush => {}
            }
        }
        if to == events.len() {
            // What was written after the last flush, all of it.
            self.over = true;
            return Some(CrashState { image: self.durable.clone(), mark: self.mark, happened: to, durable: self.from });
        }
        self.from = to + 1;
        self.to = None;
        drop(inner);
        self.next()
    }
}
