// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What lies behind the caches: the "disk" of this file system, in memory.

use alloc::sync::Arc;
use core::ops::Deref;

use bento::prelude::*;
use bento::state::{Loader, Saver, Shape};

pub const PAGE: u64 = 4096;

/// One stored inode.
#[derive(State)]
pub struct Stored {
    #[state(1)]
    pub attr: Mutex<Attr>,
    #[state(2)]
    pub pages: RwLock<BTreeMap<u64, Box<[u8]>>>,
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
            pages: RwLock::default(),
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
pub struct Cached {
    stored: Shared,
    /// For `kind=poison`.
    pub victim: Mutex<u32>,
}

impl Cached {
    pub fn new(stored: Shared) -> Cached {
        Cached { stored, victim: Mutex::default() }
    }
}

impl Deref for Cached {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.stored
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

impl Stored {
    /// Forgets the bytes from `from` up to `to`, whole pages and parts of them.
    pub fn erase(&self, from: u64, to: u64) {
        let mut pages = self.pages.write();
        let touched: Vec<u64> = pages.range(from / PAGE..to.div_ceil(PAGE)).map(|(index, _)| *index).collect();
        for index in touched {
            let (start, end) = (index * PAGE, (index + 1) * PAGE);
            if from <= start && end <= to {
                pages.remove(&index);
            } else if let Some(page) = pages.get_mut(&index) {
                page[(from.max(start) - start) as usize..(to.min(end) - start) as usize].fill(0);
            }
        }
    }
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

    pub fn remove(&mut self, name: &Name) -> Result<(Ino, FileType)> {
        let position = self.positions.remove(name).ok_or(Errno::ENOENT)?;
        self.entries.remove(&position).map(|entry| (entry.1, entry.2)).ok_or(Errno::ENOENT)
    }

    pub fn get(&self, name: &Name) -> Result<(Ino, FileType)> {
        let entry = self.positions.get(name).and_then(|position| self.entries.get(position));
        entry.map(|entry| (entry.1, entry.2)).ok_or(Errno::ENOENT)
    }

    pub fn after(&self, pos: u64) -> impl Iterator<Item = (u64, &Name, Ino, FileType)> {
        self.entries.range(pos + 1..).map(|(position, (name, ino, file_type))| (*position, &**name, *ino, *file_type))
    }
}
