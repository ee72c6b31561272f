// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What lies behind the caches: the "disk" of this file system, in memory.

use alloc::sync::Arc;

use bento::prelude::*;

pub const PAGE: u64 = 4096;

/// One stored inode.
pub struct Stored {
    pub attr: Mutex<Attr>,
    pub pages: RwLock<BTreeMap<u64, Box<[u8]>>>,
    pub names: RwLock<Names>,
    pub target: Box<[u8]>,
    pub xattrs: RwLock<BTreeMap<NameBuf, Vec<u8>>>,
}

/// A directory: entries by position, positions by name.
#[derive(Default)]
pub struct Names {
    entries: BTreeMap<u64, (NameBuf, Ino, FileType)>,
    positions: BTreeMap<NameBuf, u64>,
    last: u64,
    pub parent: Option<Ino>,
}

impl Stored {
    pub fn new(attr: Attr, target: &[u8]) -> Arc<Stored> {
        Arc::new(Stored {
            attr: Mutex::new(attr),
            pages: RwLock::default(),
            names: RwLock::default(),
            target: target.into(),
            xattrs: RwLock::default(),
        })
    }

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
