// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Directories: names and what they stand for, in blocks ([`entry`]) that are read one after the other ([`linear`]) or
//! found through an index of hashes ([`htree`]).
//!
//! An index whose nodes cannot be what they are is done without, as ext4 does: readers look at every block, and who adds a
//! name gives it up, where no checksums say that somebody meant it.

mod entry;
pub mod hash;
mod htree;
mod linear;
mod unindexed;

use core::cell::Cell;

use bento::prelude::*;

use crate::Rext4;
use crate::check;
use crate::disk::{Ip, compat, file_type_of_entry, incompat, inode};
use crate::map::{self, Run};
use crate::txn::Txn;

use entry::{Broken, Entry, HEADER, Room, TAIL};
use hash::Hasher;

/// Blocks that [`Dir::add`] changes at most, but for what `map::append` takes: a leaf, and one index node of each level,
/// each split in two.
pub const ADD_CREDITS: u32 = 8;
/// What `map::append` may change each time; an `add` appends up to one block a level.
pub const APPEND_CREDITS: u32 = crate::map::APPEND_CREDITS;

/// A directory during one call.
pub struct Dir<'a, 'call> {
    fs: &'a Rext4,
    device: Device<'call>,
    pub ip: &'a Ip<'call>,
    /// So many it has.
    blocks: u32,
    indexed: bool,
    /// The index was found to make no sense.
    bad_index: Cell<bool>,
    /// And is given up.
    unindexed: bool,
    /// The position behind what was listed last.
    reached: Cell<u64>,
    /// Blocks that it and its extent tree have got since.
    added: u32,
    /// Where its blocks lie, as far as was asked last.
    run: Cell<Run>,
}

/// A name that was found.
pub struct Found<'call> {
    block: Block<'call>,
    at: usize,
    /// Offset of the entry before it in the block, or its own.
    before: usize,
    pub ino: u32,
}

/// What a block of a directory is supposed to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Leaf,
    /// A node of the index, whose entries begin at this offset.
    Index(usize),
}

impl<'a, 'call> Dir<'a, 'call> {
    pub fn new(fs: &'a Rext4, device: Device<'call>, ip: &'a Ip<'call>) -> Result<Dir<'a, 'call>> {
        let flags = ip.flags()?;
        let indexed = flags & inode::FLAG_INDEX != 0;
        if flags & inode::FLAG_INLINE_DATA != 0 || indexed && !fs.sb.has_compat(compat::DIR_INDEX) {
            let ino = ip.ino;
            return Err(fs.corrupt(device, format_args!("inode {ino}: a directory with flags {flags:#x}")));
        }
        let blocks = u32::try_from(ip.len()? / u64::from(fs.sb.block_size)).unwrap_or(u32::MAX);
        Ok(Dir {
            fs,
            device,
            ip,
            blocks,
            indexed,
            bad_index: Cell::new(false),
            unindexed: false,
            reached: Cell::new(0),
            added: 0,
            run: Cell::new(Run::default()),
        })
    }

    /// What a directory's attributes become when its entries have changed.
    pub fn touch(&self, attr: &mut Attr, now: Timestamp) {
        (attr.mtime, attr.ctime) = (now, now);
        if self.added > 0 {
            let block = u64::from(self.fs.sb.block_size);
            attr.size = u64::from(self.blocks) * block;
            attr.blocks += u64::from(self.added) * (block / 512);
        }
        if self.indexed {
            attr.flags |= inode::FLAG_INDEX;
        } else if self.unindexed {
            attr.flags &= !inode::FLAG_INDEX;
        }
    }

    /// Blocks that it and its extent tree have got.
    pub fn added(&self) -> u32 {
        self.added
    }

    /// Counts its links beyond 65,000 by saying 1, when it may.
    pub fn links_unlimited(&self) -> bool {
        self.indexed && self.fs.sb.has_ro_compat(crate::disk::ro_compat::DIR_NLINK)
    }

    fn end(&self) -> usize {
        entry::end(&self.fs.sb)
    }

    fn size(&self) -> usize {
        self.fs.sb.block_size as usize
    }

    fn broken(&self, block: &Block<'_>, Broken(at): Broken) -> Errno {
        let (ino, number) = (self.ip.ino, block.number());
        self.corrupt(format_args!("directory {ino}: block {number} has a bad entry at byte {at}"))
    }

    fn corrupt(&self, what: core::fmt::Arguments<'_>) -> Errno {
        self.fs.corrupt(self.device, what)
    }

    fn seed(&self) -> Result<u32> {
        Ok(self.fs.sb.inode_seed(self.ip.ino, self.ip.generation()?))
    }

    /// The block that one of the directory's is.
    fn physical(&self, logical: u32) -> Result<Option<u64>> {
        let known = self.run.get();
        if let Some(offset) = logical.checked_sub(known.logical)
            && offset < known.len
        {
            return Ok(Some(known.start + u64::from(offset)));
        }
        let Some(run) = map::run_of(self.fs, self.device, self.ip, logical)? else { return Ok(None) };
        self.run.set(run);
        Ok(Some(run.start + u64::from(logical.saturating_sub(run.logical))))
    }

    /// The block, and whether it was just now read from the device.
    fn read_new(&self, logical: u32, role: Role) -> Result<(Block<'call>, bool)> {
        let Some(physical) = self.physical(logical)? else {
            let ino = self.ip.ino;
            return Err(self.corrupt(format_args!("directory {ino}: no block {logical} of {}", self.blocks)));
        };
        let block = self.device.read(physical)?;
        let wrong = || {
            let matches = || Ok::<_, Errno>(self.checksum_at(&block, role)? == Some(self.checksum(&block, role)?));
            // What lies outside of the block is as wrong.
            Ok((self.fs.sb.checksums() && !matches().unwrap_or(false)).then_some(()))
        };
        let new = check::once(self.device, &block, wrong, |()| {
            let ino = self.ip.ino;
            self.corrupt(format_args!("directory {ino}: the checksum of block {physical} is wrong"))
        })?;
        Ok((block, new))
    }

    fn read(&self, logical: u32, role: Role) -> Result<Block<'call>> {
        Ok(self.read_new(logical, role)?.0)
    }

    /// Whichever it is: an index node looks like a block with one unused entry.
    fn read_any(&self, logical: u32) -> Result<(Block<'call>, bool)> {
        let role = match logical {
            _ if !self.indexed => Role::Leaf,
            0 => Role::Index(htree::ROOT),
            _ => {
                let Some(physical) = self.physical(logical)? else {
                    return self.read_new(logical, Role::Leaf);
                };
                let first = Entry::of(self.device.read(physical)?.get(0)?);
                if first.rec_len == self.size() && self.fs.sb.checksums() {
                    Role::Index(htree::NODE)
                } else {
                    Role::Leaf
                }
            }
        };
        self.read_new(logical, role)
    }

    /// The checksum that stands in the block, if there is one.
    fn checksum_at(&self, block: &Block<'_>, role: Role) -> Result<Option<u32>> {
        match role {
            Role::Leaf => {
                let at = self.size() - TAIL;
                Ok(if block.get::<u64>(at)? == entry::tail() { Some(block.get(at + 8)?) } else { None })
            }
            Role::Index(base) => {
                let at = self.index_tail(block, base)?;
                Ok(Some(block.get(at + 4)?))
            }
        }
    }

    /// Where the tail of an index node is: behind as many entries as it can have.
    fn index_tail(&self, block: &Block<'_>, base: usize) -> Result<usize> {
        let limit: u16 = block.get(base)?;
        Ok(base + usize::from(limit) * 8)
    }

    fn checksum(&self, block: &Block<'_>, role: Role) -> Result<u32> {
        let seed = self.seed()?;
        match role {
            Role::Leaf => block.crc32c(seed, 0, self.size() - TAIL),
            Role::Index(base) => {
                let count: u16 = block.get(base + 2)?;
                let sum = block.crc32c(seed, 0, base + usize::from(count) * 8)?;
                let sum = block.crc32c(sum, self.index_tail(block, base)?, 4)?;
                Ok(bento::fs::crc32c(sum, &[0; 4]))
            }
        }
    }

    /// After the changes of a block.
    fn seal(&self, txn: &Txn, block: &Block<'_>, role: Role) -> Result<()> {
        if !self.fs.sb.checksums() {
            return Ok(());
        }
        let at = match role {
            Role::Leaf => self.size() - 4,
            Role::Index(base) => self.index_tail(block, base)? + 4,
        };
        txn.tx.put(block, at, self.checksum(block, role)?)
    }

    /// One more block, without anything in it.
    fn append(&mut self, txn: &Txn<'call>) -> Result<(u32, Block<'call>)> {
        let logical = self.blocks;
        if logical >= htree::BLOCK_MASK {
            return Err(Errno::ENOSPC);
        }
        let (physical, used) = map::append(txn, self.ip, logical)?;
        self.blocks += 1;
        self.added += used;
        Ok((logical, txn.tx.fresh(physical)?))
    }

    /// Looks for `name`.
    pub fn find(&self, name: &[u8]) -> Result<Option<Found<'call>>> {
        if !self.indexed {
            return self.find_linear(name);
        }
        match self.find_indexed(name) {
            Err(_) if self.bad_index.get() => self.find_without(name),
            found => found,
        }
    }

    /// The same when it has to be there, and stand for `ino`.
    pub fn find_known(&self, name: &[u8], ino: u32) -> Result<Found<'call>> {
        match self.find(name)? {
            Some(found) if found.ino == ino => Ok(found),
            _ => Err(Errno::ENOENT),
        }
    }

    fn find_in(&self, block: Block<'call>, name: &[u8]) -> Result<Option<Found<'call>>> {
        match entry::find(&block, self.end(), name) {
            Ok(Some((at, before, entry))) => Ok(Some(Found { block, at, before, ino: entry.ino })),
            Ok(None) => Ok(None),
            Err(broken) => Err(self.broken(&block, broken)),
        }
    }

    /// Adds a name, which is not there.
    pub fn add(&mut self, txn: &Txn<'call>, name: &[u8], ino: u32, file_type: FileType) -> Result<()> {
        let kind = self.kind_of(file_type);
        if self.indexed {
            match self.add_indexed(txn, name, ino, kind) {
                Err(_) if self.bad_index.get() => self.give_up_index(txn)?,
                added => return added,
            }
        }
        self.add_linear(txn, name, ino, kind)
    }

    /// The type byte of an entry.
    fn kind_of(&self, file_type: FileType) -> u8 {
        if self.fs.sb.has_incompat(incompat::FILETYPE) { crate::disk::entry_type(file_type) } else { 0 }
    }

    /// Adds it to this leaf, if there is room.
    fn insert(&self, txn: &Txn, block: &Block<'_>, name: &[u8], ino: u32, kind: u8) -> Result<bool> {
        match entry::find_room(block, self.end(), name) {
            Ok(Room::At(at, has)) => {
                entry::insert(txn, block, (at, has), name, ino, kind)?;
                self.seal(txn, block, Role::Leaf)?;
                Ok(true)
            }
            Ok(Room::Full) => Ok(false),
            Ok(Room::Taken) => Err(Errno::EEXIST),
            Err(broken) => Err(self.broken(block, broken)),
        }
    }

    /// Takes a name away: the entry before it takes its room.
    pub fn remove(&self, txn: &Txn, found: &Found<'_>) -> Result<()> {
        let (block, end) = (&found.block, self.end());
        if found.before == found.at {
            txn.tx.put(block, found.at, 0u32)?;
        } else {
            let read = |at| Entry::at(block, at, end).map_err(|broken| self.broken(block, broken));
            let (before, gone) = (read(found.before)?, read(found.at)?);
            if found.before + before.rec_len != found.at {
                return Err(self.broken(block, Broken(found.before)));
            }
            txn.tx.put(block, found.before + 4, (before.rec_len + gone.rec_len) as u16)?;
            // So that no tool takes it for a file that can be brought back.
            txn.tx.put(block, found.at, 0u32)?;
        }
        self.seal(txn, block, Role::Leaf)
    }

    /// Lets a name stand for another inode.
    pub fn replace(&self, txn: &Txn, found: &Found<'_>, ino: u32, file_type: FileType) -> Result<()> {
        txn.tx.put(&found.block, found.at, ino)?;
        txn.tx.put(&found.block, found.at + 7, self.kind_of(file_type))?;
        self.seal(txn, &found.block, Role::Leaf)
    }

    /// Makes the first block of a new directory.
    pub fn begin(&mut self, txn: &Txn<'call>, parent: u32) -> Result<()> {
        let (_, block) = self.append(txn)?;
        let kind = self.kind_of(FileType::Directory);
        let dot = Entry { ino: self.ip.ino, rec_len: room(1), name_len: 1, kind };
        let dotdot = Entry { ino: parent, rec_len: self.end() - room(1), name_len: 2, kind };
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&dot.word().to_le_bytes());
        bytes[8] = b'.';
        bytes[12..20].copy_from_slice(&dotdot.word().to_le_bytes());
        bytes[20..22].copy_from_slice(b"..");
        txn.tx.put_bytes(&block, 0, &bytes)?;
        if self.fs.sb.checksums() {
            txn.tx.put(&block, self.size() - TAIL, entry::tail())?;
        }
        self.seal(txn, &block, Role::Leaf)
    }

    /// The block with `.` and `..`, the offset of `..`, and the parent.
    fn dotdot(&self) -> Result<(Block<'call>, usize, u32)> {
        let (block, _) = self.read_any(0)?;
        let size = self.size();
        let read = |at| Entry::at(&block, at, size).map_err(|broken| self.broken(&block, broken));
        let dot = read(0)?;
        if dot.ino != self.ip.ino || dot.name_len != 1 || !block.equals(HEADER, b".") {
            return Err(self.broken(&block, Broken(0)));
        }
        let at = dot.rec_len;
        let dotdot = read(at)?;
        if dotdot.ino == 0 || dotdot.name_len != 2 || !block.equals(at + HEADER, b"..") {
            return Err(self.broken(&block, Broken(at)));
        }
        Ok((block, at, dotdot.ino))
    }

    /// What `..` stands for.
    pub fn parent(&self) -> Result<u32> {
        let (_, _, parent) = self.dotdot()?;
        self.valid(parent)
    }

    /// Lets `..` stand for another directory.
    pub fn set_parent(&self, txn: &Txn, parent: u32) -> Result<()> {
        let (block, at, _) = self.dotdot()?;
        txn.tx.put(&block, at, parent)?;
        self.seal(txn, &block, if self.indexed { Role::Index(htree::ROOT) } else { Role::Leaf })
    }

    /// An inode number that a name may stand for.
    pub fn valid(&self, ino: u32) -> Result<u32> {
        let sb = &self.fs.sb;
        if ino == inode::ROOT || ino >= sb.first_inode && ino <= sb.inodes {
            return Ok(ino);
        }
        let dir = self.ip.ino;
        Err(self.corrupt(format_args!("directory {dir}: a name stands for inode {ino}")))
    }

    /// Are `.` and `..` all there is?
    pub fn is_empty(&self) -> Result<bool> {
        self.dotdot()?;
        for logical in 0..self.blocks {
            let (block, _) = self.read_any(logical)?;
            // An index node's one entry goes to the end of the block.
            let first = Entry::of(block.get(0)?);
            let index = self.indexed && (logical == 0 || first.rec_len == self.size());
            let end = if index { self.size() } else { self.end() };
            let mut at = 0;
            while at < end {
                let entry = Entry::at(&block, at, end).map_err(|broken| self.broken(&block, broken))?;
                let dots = logical == 0 && (at == 0 || at == Entry::of(block.get(0)?).rec_len);
                if entry.ino != 0 && !dots {
                    return Ok(false);
                }
                at += entry.rec_len;
            }
        }
        Ok(true)
    }

    /// The entries from position `pos` on.
    pub fn iterate(&self, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        // Positions in a directory that gets its index while it is read mean the same before and after.
        if self.indexed || self.blocks == 1 && self.fs.sb.has_compat(compat::DIR_INDEX) {
            match self.iterate_hashed(pos, entries) {
                Err(_) if self.bad_index.get() => self.iterate_without(pos.max(self.reached.get()), entries),
                listed => listed,
            }
        } else {
            self.iterate_linear(pos, entries)
        }
    }

    /// Hands on one entry; `bytes` are for its name, lent by who lists many, so that they are zeroed once.
    fn emit(
        &self,
        block: &Block<'_>,
        at: usize,
        entry: Entry,
        next: u64,
        bytes: &mut [u8; 255],
        out: &mut DirEmitter,
    ) -> Result<bool> {
        let name = bytes.get_mut(..entry.name_len).unwrap_or_default();
        block.read(at + HEADER, name)?;
        if name.is_empty() || entry::has_slash_or_nul(name) || entry.used() > entry.rec_len {
            return Err(self.broken(block, Broken(at)));
        }
        let ino = self.valid(entry.ino)?;
        let file_type = match file_type_of_entry(entry.kind) {
            Some(file_type) => file_type,
            None => {
                let mode = self.fs.ip(self.device, ino)?.mode()?;
                FileType::from_mode(mode.into()).ok_or_else(|| self.broken(block, Broken(at)))?
            }
        };
        let ino = Ino::new(ino.into()).ok_or(Errno::EUCLEAN)?;
        let more = out.emit(Name::new(name), ino, file_type, next);
        if more {
            self.reached.set(next);
        }
        Ok(more)
    }

    /// Starts reading `count` blocks from `logical` on.
    fn read_ahead(&self, blocks: impl Iterator<Item = u32>) {
        let mut run = (0, 0);
        for logical in blocks {
            let Ok(Some(physical)) = self.physical(logical) else { break };
            if run.1 > 0 && run.0 + u64::from(run.1) == physical {
                run.1 += 1;
                continue;
            }
            if run.1 > 0 {
                self.device.read_ahead(run.0, run.1);
            }
            run = (physical, 1);
        }
        if run.1 > 0 {
            self.device.read_ahead(run.0, run.1);
        }
    }

    /// The way a directory without an index would hash, if it had one.
    fn default_hasher(&self) -> Hasher {
        let sb = &self.fs.sb;
        let version = if sb.hash_version > hash::TEA { hash::HALF_MD4 } else { sb.hash_version };
        Hasher { version, unsigned: sb.hash_unsigned, seed: sb.hash_seed }
    }
}

use entry::room;

/// Is it `.` or `..`?
fn is_dots(block: &Block<'_>, at: usize, entry: Entry) -> bool {
    match entry.name_len {
        1 => block.equals(at + HEADER, b"."),
        2 => block.equals(at + HEADER, b".."),
        _ => false,
    }
}
