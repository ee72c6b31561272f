// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The names in one directory, in the order of their hashes: a listing that was interrupted goes on at a hash, whatever
//! came and went meanwhile.

use bento::prelude::*;

/// A name and what it names.
#[derive(Clone, State)]
pub struct Entry {
    #[state(1)]
    pub name: NameBuf,
    #[state(2)]
    pub ino: Ino,
    #[state(3)]
    pub file_type: FileType,
}

impl Entry {
    pub fn new(name: &Name, ino: Ino, file_type: FileType) -> Entry {
        Entry { name: name.to_owned(), ino, file_type }
    }

    /// The same inode under another name.
    pub fn with_name(&self, name: &Name) -> Entry {
        Entry::new(name, self.ino, self.file_type)
    }
}

/// A key is 54 bits of a name's hash and 8 that tell apart names with the same one.
const COLLISIONS: u64 = 1 << 8;

#[derive(Clone, Default, State)]
pub struct Directory {
    #[state(1)]
    entries: BTreeMap<u64, Entry>,
}

impl Directory {
    fn base(name: &Name) -> u64 {
        (name.hash64() >> 10) << 8
    }

    /// Where `name` is, or where it would go; `None` when its hash has no room left.
    fn place(&self, name: &Name) -> (Option<u64>, Option<u64>) {
        let base = Self::base(name);
        let mut free = Some(base);
        for (key, entry) in self.entries.range(base..base + COLLISIONS) {
            if *entry.name == *name {
                return (Some(*key), free);
            }
            if free == Some(*key) {
                free = (key + 1 < base + COLLISIONS).then_some(key + 1);
            }
        }
        (None, free)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn find(&self, name: &Name) -> Option<&Entry> {
        let base = Self::base(name);
        self.entries.range(base..base + COLLISIONS).map(|(_, entry)| entry).find(|entry| *entry.name == *name)
    }

    /// `EEXIST` when the name is taken.
    pub fn insert(&mut self, entry: Entry) -> Result<()> {
        match self.place(&entry.name) {
            (Some(_), _) => Err(Errno::EEXIST),
            (None, None) => Err(Errno::ENOSPC),
            (None, Some(key)) => {
                self.entries.insert(key, entry);
                Ok(())
            }
        }
    }

    /// Adds the entry or puts it in the place of the one with its name, which is returned.
    pub fn replace(&mut self, entry: Entry) -> Result<Option<Entry>> {
        match self.place(&entry.name) {
            (Some(key), _) | (None, Some(key)) => Ok(self.entries.insert(key, entry)),
            (None, None) => Err(Errno::ENOSPC),
        }
    }

    pub fn remove(&mut self, name: &Name) -> Result<Entry> {
        let key = self.place(name).0.ok_or(Errno::ENOENT)?;
        self.entries.remove(&key).ok_or(Errno::ENOENT)
    }

    /// The entries at `pos` and after it, each with the position that follows it.
    pub fn from(&self, pos: u64) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.range(pos..).map(|(key, entry)| (key + 1, entry))
    }
}
