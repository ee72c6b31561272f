// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Directories whose index makes no sense: their names are in the leaves all the same.

use bento::prelude::*;

use super::entry::Entry;
use super::{Dir, Found, Role};
use crate::disk::inode;
use crate::txn::Txn;

impl<'call> Dir<'_, 'call> {
    /// Tells what is wrong. Not an error of the file system that `errors=` is for: nothing depends on an index.
    #[cold]
    pub(super) fn bad_index(&self, what: core::fmt::Arguments<'_>) -> Errno {
        let ino = self.ip.ino;
        if !self.bad_index.replace(true) {
            self.device.error(format_args!("directory {ino}: {what}; it is read without, run e2fsck -D"));
        }
        Errno::EUCLEAN
    }

    /// A block, if it is a leaf: a node of the index looks like one unused entry.
    fn leaf_at(&self, logical: u32) -> Result<Option<Block<'call>>> {
        let Some(physical) = self.physical(logical)? else { return self.read(logical, Role::Leaf).map(Some) };
        let first = Entry::of(self.device.read(physical)?.get(0)?);
        match first.ino == 0 && first.rec_len == self.size() {
            true => Ok(None),
            false => self.read(logical, Role::Leaf).map(Some),
        }
    }

    pub(super) fn find_without(&self, name: &[u8]) -> Result<Option<Found<'call>>> {
        for logical in 1..self.blocks {
            if let Some(leaf) = self.leaf_at(logical)?
                && let Some(found) = self.find_in(leaf, name)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Positions are hashes, as they were with the index: whoever is in the middle of the list goes on there.
    pub(super) fn iterate_without(&self, pos: u64, out: &mut DirEmitter) -> Result<()> {
        let hasher = self.root().map_or(self.default_hasher(), |root| root.hasher());
        let mut list = Vec::new();
        for logical in 1..self.blocks {
            if let Some(leaf) = self.leaf_at(logical)? {
                self.list(&leaf, logical, &hasher, &mut list)?;
            }
        }
        self.emit_listed(&mut list, pos, 0, out).map(|_| ())
    }

    /// From here on it is a directory without one.
    pub(super) fn give_up_index(&mut self, txn: &Txn<'call>) -> Result<()> {
        if self.fs.sb.checksums() {
            // Whoever wrote it meant it, or it is not our image.
            let ino = self.ip.ino;
            return Err(
                self.corrupt(format_args!("directory {ino}: its index makes no sense, but has the right checksum"))
            );
        }
        self.ip.put(txn, inode::FLAGS, self.ip.flags()? & !inode::FLAG_INDEX)?;
        (self.indexed, self.unindexed) = (false, true);
        Ok(())
    }
}
