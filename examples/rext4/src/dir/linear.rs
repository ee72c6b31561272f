// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Directories without an index: small ones, and all on file systems without `dir_index`.

use bento::prelude::*;

use super::entry::{self, Entry};
use super::{Dir, Found, Role, is_dots};
use crate::disk::compat;
use crate::txn::Txn;

/// Blocks that are read ahead at a time.
const AHEAD: u32 = 16;

impl<'call> Dir<'_, 'call> {
    pub(super) fn find_linear(&self, name: &[u8]) -> Result<Option<Found<'call>>> {
        for logical in 0..self.blocks {
            let block = self.read_in_turn(logical)?;
            if let Some(found) = self.find_in(block, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A leaf of a directory that is read from one end to the other.
    fn read_in_turn(&self, logical: u32) -> Result<Block<'call>> {
        let (block, new) = self.read_new(logical, Role::Leaf)?;
        if new && logical.is_multiple_of(AHEAD) {
            self.read_ahead(logical + 1..self.blocks.min(logical + 1 + AHEAD));
        }
        Ok(block)
    }

    pub(super) fn add_linear(&mut self, txn: &Txn<'call>, name: &[u8], ino: u32, kind: u8) -> Result<()> {
        for logical in 0..self.blocks {
            if self.insert(txn, &self.read_in_turn(logical)?, name, ino, kind)? {
                return Ok(());
            }
        }
        if self.blocks == 1 && self.fs.sb.has_compat(compat::DIR_INDEX) {
            self.make_index(txn)?;
            return self.add_indexed(txn, name, ino, kind);
        }
        let (_, block) = self.append(txn)?;
        let whole = Entry { ino: 0, rec_len: self.end(), name_len: 0, kind: 0 };
        entry::insert(txn, &block, (0, whole), name, ino, kind)?;
        if self.fs.sb.checksums() {
            txn.tx.put(&block, self.end(), entry::tail())?;
        }
        self.seal(txn, &block, Role::Leaf)
    }

    /// Positions are offsets in the directory.
    pub(super) fn iterate_linear(&self, pos: u64, out: &mut DirEmitter) -> Result<()> {
        let (size, end, mut bytes) = (self.size(), self.end(), [0; 255]);
        let first = u32::try_from(pos / size as u64).unwrap_or(u32::MAX);
        for logical in first..self.blocks {
            let block = if logical == first { self.read(logical, Role::Leaf)? } else { self.read_in_turn(logical)? };
            let start = u64::from(logical) * size as u64;
            // Entries may have been merged since: the walk begins where one surely does.
            let mut at = 0;
            while at < end {
                let entry = Entry::at(&block, at, end).map_err(|broken| self.broken(&block, broken))?;
                let next = start + (at + entry.rec_len) as u64;
                let next = if at + entry.rec_len == end { start + size as u64 } else { next };
                if entry.ino != 0
                    && start + at as u64 >= pos
                    && !is_dots(&block, at, entry)
                    && !self.emit(&block, at, entry, next, &mut bytes, out)?
                {
                    return Ok(());
                }
                at += entry.rec_len;
            }
        }
        Ok(())
    }
}
