// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a disk file system would keep on its device: inodes, names, where the bytes of files lie, and what is free.

use alloc::sync::Arc;
use core::ops::Deref;

use bento::prelude::*;
use bento::state::{Loader, Saver, Shape};

/// Blocks of a file that lie side by side.
#[derive(Clone, Copy, State)]
pub struct Run {
    #[state(1)]
    pub len: u64,
    #[state(2)]
    pub addr: u64,
    #[state(3)]
    pub written: bool,
}

/// Runs by their first block in the file; no two that could be one.
#[derive(Default, State)]
pub struct Runs {
    #[state(1)]
    map: BTreeMap<u64, Run>,
}

/// Free blocks: first ones and lengths.
#[derive(Default, State)]
pub struct Free {
    #[state(1)]
    runs: BTreeMap<u64, u64>,
}

/// One stored inode.
#[derive(State)]
pub struct Stored {
    #[state(1)]
    pub attr: Mutex<Attr>,
    #[state(2)]
    pub runs: RwLock<Runs>,
    #[state(3)]
    pub names: RwLock<Names>,
    #[state(4)]
    pub target: Box<[u8]>,
    #[state(5)]
    pub xattrs: RwLock<BTreeMap<NameBuf, Vec<u8>>>,
}

/// What the table of inodes and each cached inode point to. In the table it crosses an upgrade, by value.
#[derive(Clone)]
pub struct Shared(Arc<Stored>);

impl Shared {
    pub fn new(attr: Attr, target: &[u8]) -> Shared {
        Shared(Arc::new(Stored {
            attr: Mutex::new(attr),
            runs: RwLock::default(),
            names: RwLock::default(),
            target: target.into(),
            xattrs: RwLock::default(),
        }))
    }
}

impl Deref for Shared {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.0
    }
}

impl State for Shared {
    const SHAPE: &'static Shape = Stored::SHAPE;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        self.0.save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        Ok(Shared(Arc::new(Stored::load(from)?)))
    }
}

/// Per-inode data. It does not cross: `load_inode` finds what is stored again.
#[derive(State)]
#[state(reload)]
pub struct Cached(Shared);

impl Cached {
    pub fn new(stored: Shared) -> Cached {
        Cached(stored)
    }
}

impl Deref for Cached {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.0
    }
}

impl Free {
    pub fn new(from: u64, to: u64) -> Free {
        Free { runs: BTreeMap::from([(from, to - from)]) }
    }

    /// As many as `want` blocks side by side, the first that are found; fewer when there is no such run.
    pub fn take(&mut self, want: u64) -> Option<(u64, u64)> {
        let fits = self.runs.iter().find(|(_, len)| **len >= want);
        let (&addr, &len) = fits.or_else(|| self.runs.iter().max_by_key(|(_, len)| **len))?;
        self.runs.remove(&addr);
        let taken = want.min(len);
        if taken < len {
            self.runs.insert(addr + taken, len - taken);
        }
        Some((addr, taken))
    }

    pub fn give(&mut self, addr: u64, len: u64) {
        let (mut addr, mut len) = (addr, len);
        if let Some((&before, &n)) = self.runs.range(..addr).next_back()
            && before + n == addr
        {
            self.runs.remove(&before);
            (addr, len) = (before, n + len);
        }
        if let Some(n) = self.runs.remove(&(addr + len)) {
            len += n;
        }
        self.runs.insert(addr, len);
    }
}

impl Runs {
    /// The run with block `at`, cut to begin there; or how many blocks the hole there has.
    pub fn at(&self, at: u64) -> core::result::Result<Run, u64> {
        if let Some((&start, run)) = self.map.range(..=at).next_back()
            && at < start + run.len
        {
            let skip = at - start;
            return Ok(Run { len: run.len - skip, addr: run.addr + skip, written: run.written });
        }
        Err(self.map.range(at..).next().map_or(u64::MAX, |(&start, _)| start) - at)
    }

    /// Forgets blocks `from..to` and returns what lay there.
    pub fn remove(&mut self, from: u64, to: u64) -> Vec<Run> {
        let first = self.map.range(..from).next_back().map_or(from, |(&start, _)| start);
        let touched: Vec<(u64, Run)> = self.map.range(first..to).map(|(&start, &run)| (start, run)).collect();
        let mut gone = Vec::new();
        for (start, run) in touched {
            let (low, high) = (start.max(from), (start + run.len).min(to));
            if low >= high {
                continue;
            }
            self.map.remove(&start);
            if start < low {
                self.map.insert(start, Run { len: low - start, ..run });
            }
            if high < start + run.len {
                let tail = Run { len: start + run.len - high, addr: run.addr + (high - start), ..run };
                self.map.insert(high, tail);
            }
            gone.push(Run { len: high - low, addr: run.addr + (low - start), ..run });
        }
        gone
    }

    /// Puts a run where nothing lies; joins what can be joined.
    pub fn insert(&mut self, at: u64, run: Run) {
        let (mut at, mut run) = (at, run);
        if let Some((&start, before)) = self.map.range(..at).next_back()
            && start + before.len == at
            && before.addr + before.len == run.addr
            && before.written == run.written
        {
            run = Run { len: before.len + run.len, ..*before };
            at = start;
        }
        if let Some(&next) = self.map.get(&(at + run.len))
            && run.addr + run.len == next.addr
            && next.written == run.written
        {
            self.map.remove(&(at + run.len));
            run.len += next.len;
        }
        self.map.insert(at, run);
    }

    /// What lies from block `from` on moves to block `to`.
    pub fn shift(&mut self, from: u64, to: u64) {
        let tail: Vec<(u64, Run)> = self.map.split_off(&from).into_iter().collect();
        for (start, run) in tail {
            self.insert(start - from + to, run);
        }
    }

    /// Cuts a run that goes across block `at` in two, so that [`Self::shift`] can begin there.
    pub fn cut(&mut self, at: u64) {
        if let Some((&start, &run)) = self.map.range(..at).next_back()
            && at < start + run.len
        {
            self.map.insert(start, Run { len: at - start, ..run });
            self.map.insert(at, Run { len: start + run.len - at, addr: run.addr + (at - start), ..run });
        }
    }
}

/// A directory: entries by position, positions by name.
#[derive(Default, State)]
pub struct Names {
    #[state(1)]
    entries: BTreeMap<u64, (NameBuf, Ino, FileType)>,
    #[state(2)]
    positions: BTreeMap<NameBuf, u64>,
    #[state(3)]
    last: u64,
    #[state(4)]
    pub parent: Option<Ino>,
}

impl Names {
    pub fn find(&self, name: &Name) -> Option<Ino> {
        self.entries.get(self.positions.get(name)?).map(|entry| entry.1)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn insert(&mut self, name: &Name, ino: Ino, file_type: FileType) -> Result<()> {
        if self.positions.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.last += 1;
        self.entries.insert(self.last, (name.to_owned(), ino, file_type));
        self.positions.insert(name.to_owned(), self.last);
        Ok(())
    }

    /// Puts another inode behind a name, which may be new.
    pub fn replace(&mut self, name: &Name, ino: Ino, file_type: FileType) -> Result<()> {
        match self.positions.get(name).and_then(|position| self.entries.get_mut(position)) {
            Some(entry) => {
                (entry.1, entry.2) = (ino, file_type);
                Ok(())
            }
            None => self.insert(name, ino, file_type),
        }
    }

    pub fn remove(&mut self, name: &Name) -> Result<()> {
        let position = self.positions.remove(name).ok_or(Errno::ENOENT)?;
        self.entries.remove(&position).map(drop).ok_or(Errno::ENOENT)
    }

    pub fn get(&self, name: &Name) -> Result<(Ino, FileType)> {
        let entry = self.positions.get(name).and_then(|position| self.entries.get(position));
        entry.map(|entry| (entry.1, entry.2)).ok_or(Errno::ENOENT)
    }

    pub fn after(&self, pos: u64) -> impl Iterator<Item = (u64, &Name, Ino, FileType)> {
        self.entries.range(pos + 1..).map(|(position, (name, ino, file_type))| (*position, &**name, *ino, *file_type))
    }
}
