// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The index of a large directory: a tree of hashes of names, whose leaves are ordinary directory blocks.
//!
//! Block 0 is the root, which looks like a directory with `.` and `..` only; other nodes look like a block with one unused
//! entry. From byte [`ROOT`] or [`NODE`] on stand entries of 8 bytes, a hash and a block each; limit and count of them
//! stand where the first one's hash would be, which is 0. The lowest bit of a hash says that names with that hash stand in
//! the block before as well.

use bento::prelude::*;

use super::entry::{self, Broken, Entry, HEADER};
use super::hash::{Hash, Hasher};
use super::{Dir, Found, Role, is_dots};
use crate::disk::{incompat, inode};
use crate::list::sort_by_key;
use crate::txn::Txn;

/// Where entries begin: in the root behind `.`, `..` and 8 bytes of `dx_root_info`, elsewhere behind one entry's header.
pub const ROOT: usize = 32;
pub const NODE: usize = 8;
/// `dx_root_info`: 4 bytes of zero, version of the hash, its own length, levels below the root, flags.
const INFO: usize = 24;
const LEVELS: usize = INFO + 6;
/// The upper bits of a block number in the index are not used.
pub const BLOCK_MASK: u32 = 0x0fff_ffff;

/// Levels of nodes at most.
const DEPTH: usize = 3;

/// A node on the way to a leaf.
struct Frame<'call> {
    block: Block<'call>,
    base: usize,
    count: usize,
    limit: usize,
    /// The entry that was taken.
    at: usize,
}

/// The way from the root to a leaf.
pub(super) struct Path<'call> {
    frames: [Option<Frame<'call>>; DEPTH],
    depth: usize,
    hasher: Hasher,
}

impl Frame<'_> {
    fn hash(&self, at: usize) -> Result<u32> {
        if at == 0 { Ok(0) } else { self.block.get(self.base + at * 8) }
    }

    fn target(&self, at: usize) -> Result<u32> {
        Ok(self.block.get::<u32>(self.base + at * 8 + 4)? & BLOCK_MASK)
    }

    /// The last entry whose hash is not beyond `hash`.
    fn search(&self, hash: u32) -> Result<usize> {
        let (mut low, mut high) = (1, self.count);
        while low < high {
            let middle = (low + high) / 2;
            if self.hash(middle)? > hash { high = middle } else { low = middle + 1 }
        }
        Ok(low - 1)
    }

    /// Adds an entry behind the one that was taken.
    fn insert(&mut self, txn: &Txn, hash: u32, target: u32) -> Result<()> {
        let from = self.base + (self.at + 1) * 8;
        let behind = (self.count - self.at - 1) * 8;
        if behind > 0 {
            txn.tx.shift(&self.block, from, from + 8, behind)?;
        }
        txn.tx.put(&self.block, from, u64::from(hash) | u64::from(target) << 32)?;
        self.count += 1;
        txn.tx.put(&self.block, self.base + 2, self.count as u16)
    }
}

impl<'call> Path<'call> {
    fn frame(&mut self, level: usize) -> Result<&mut Frame<'call>> {
        self.frames.get_mut(level).and_then(Option::as_mut).ok_or(Errno::EUCLEAN)
    }

    pub(super) fn hasher(&self) -> Hasher {
        self.hasher
    }

    fn last(&mut self) -> Result<&mut Frame<'call>> {
        self.frame(self.depth.saturating_sub(1))
    }
}

/// A name in a listing: its position ([`position`]), and where it stands: block, offset and length from the highest bits to the
/// lowest, in one word that sorts as they do.
#[derive(Clone, Copy)]
pub(super) struct Listed {
    key: u64,
    place: u64,
}

impl Listed {
    fn new(key: u64, logical: u32, at: u16, len: u8) -> Listed {
        Listed { key, place: u64::from(logical) << 32 | u64::from(at) << 8 | u64::from(len) }
    }

    fn logical(&self) -> u32 {
        (self.place >> 32) as u32
    }

    fn at(&self) -> usize {
        usize::from((self.place >> 8) as u16)
    }

    fn len(&self) -> usize {
        usize::from(self.place as u8)
    }
}

/// A position in a directory that is listed by hashes: 31 bits of one, 32 of the other.
fn position(hash: Hash) -> u64 {
    u64::from(hash.major >> 1) << 32 | u64::from(hash.minor)
}

impl<'call> Dir<'_, 'call> {
    /// How many entries a node can have whose entries begin at `base`.
    fn limit(&self, base: usize) -> usize {
        let tail = if self.fs.sb.checksums() { 8 } else { 0 };
        (self.size() - base - tail) / 8
    }

    fn node(&self, logical: u32, base: usize) -> Result<Frame<'call>> {
        let block = self.read(logical, Role::Index(base))?;
        let (limit, count) = (block.get::<u16>(base)?.into(), block.get::<u16>(base + 2)?.into());
        if limit != self.limit(base) || count == 0 || count > limit {
            let most = self.limit(base);
            return Err(
                self.bad_index(format_args!("block {logical} has {count} index entries of {limit}, not {most}"))
            );
        }
        Ok(Frame { block, base, count, limit, at: 0 })
    }

    fn max_depth(&self) -> usize {
        if self.fs.sb.has_incompat(incompat::LARGEDIR) { DEPTH } else { DEPTH - 1 }
    }

    /// The root, and what it says.
    pub(super) fn root(&self) -> Result<Path<'call>> {
        let root = self.node(0, ROOT)?;
        let [version, len, levels, flags] = root.block.get::<[u8; 4]>(INFO + 4)?;
        let reserved: u32 = root.block.get(INFO)?;
        let depth = usize::from(levels) + 1;
        let hasher = Hasher::new(version, self.fs.sb.hash_unsigned, self.fs.sb.hash_seed);
        match hasher {
            Some(hasher) if reserved == 0 && len == 8 && flags & 1 == 0 && depth <= self.max_depth() => {
                Ok(Path { frames: [Some(root), None, None], depth, hasher })
            }
            _ => {
                let what = format_args!("an index with hash version {version}, {levels} levels, flags {flags:#x}");
                Err(self.bad_index(what))
            }
        }
    }

    /// Goes down to the leaf where names with that hash begin, from the root's entries or those of a deeper node.
    fn descend(&self, path: &mut Path<'call>, hash: u32) -> Result<()> {
        for level in 0..path.depth {
            if level > 0 {
                let above = path.frame(level - 1)?;
                let target = above.target(above.at)?;
                let frame = self.node(self.below(target)?, NODE)?;
                *path.frames.get_mut(level).ok_or(Errno::EUCLEAN)? = Some(frame);
            }
            let frame = path.frame(level)?;
            frame.at = frame.search(hash)?;
        }
        Ok(())
    }

    /// A block that an entry may point to: not the root.
    fn below(&self, target: u32) -> Result<u32> {
        if target > 0 && target < self.blocks {
            return Ok(target);
        }
        let (ino, blocks) = (self.ip.ino, self.blocks);
        Err(self.corrupt(format_args!("directory {ino}: its index points to block {target} of {blocks}")))
    }

    fn leaf(&self, path: &mut Path<'call>) -> Result<u32> {
        let last = path.last()?;
        let target = last.target(last.at)?;
        self.below(target)
    }

    /// On to the next leaf, and the hash it begins with. With `only`, just when names with that hash go on there.
    fn next_leaf(&self, path: &mut Path<'call>, only: Option<u32>) -> Result<Option<u32>> {
        let mut level = path.depth;
        let hash = loop {
            if level == 0 {
                return Ok(None);
            }
            level -= 1;
            let frame = path.frame(level)?;
            if frame.at + 1 < frame.count {
                let hash = frame.hash(frame.at + 1)?;
                if only.is_some_and(|only| hash & !1 != only) {
                    return Ok(None);
                }
                frame.at += 1;
                break hash;
            }
        };
        for level in level + 1..path.depth {
            let above = path.frame(level - 1)?;
            let target = above.target(above.at)?;
            let frame = self.node(self.below(target)?, NODE)?;
            *path.frames.get_mut(level).ok_or(Errno::EUCLEAN)? = Some(frame);
        }
        Ok(Some(hash))
    }

    pub(super) fn find_indexed(&self, name: &[u8]) -> Result<Option<Found<'call>>> {
        let mut path = self.root()?;
        let hash = path.hasher.hash(name).major;
        self.descend(&mut path, hash)?;
        // As many leaves as there are blocks, should the index go round in circles.
        for _ in 0..self.blocks {
            let block = self.read(self.leaf(&mut path)?, Role::Leaf)?;
            if let Some(found) = self.find_in(block, name)? {
                return Ok(Some(found));
            }
            if self.next_leaf(&mut path, Some(hash))?.is_none() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    pub(super) fn add_indexed(&mut self, txn: &Txn<'call>, name: &[u8], ino: u32, kind: u8) -> Result<()> {
        let mut path = self.root()?;
        let hash = path.hasher.hash(name).major;
        self.descend(&mut path, hash)?;
        let leaf = self.read(self.leaf(&mut path)?, Role::Leaf)?;
        if self.insert(txn, &leaf, name, ino, kind)? {
            return Ok(());
        }
        self.make_room(txn, &mut path)?;
        let hasher = path.hasher;
        let placed = match self.split_leaf(txn, &leaf, &hasher)? {
            Some((from, target, upper)) => {
                let last = path.last()?;
                last.insert(txn, from, target)?;
                let role = Role::Index(last.base);
                self.seal(txn, &last.block, role)?;
                self.insert(txn, if hash >= from { &upper } else { &leaf }, name, ino, kind)?
            }
            None => self.insert(txn, &leaf, name, ino, kind)?,
        };
        if placed { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// Sees to it that the lowest node can take one more entry: splits those that are full, and the tree grows when all are.
    fn make_room(&mut self, txn: &Txn<'call>, path: &mut Path<'call>) -> Result<()> {
        let has_room = |path: &mut Path<'call>| -> Result<Option<usize>> {
            for level in (0..path.depth).rev() {
                let frame = path.frame(level)?;
                if frame.count < frame.limit {
                    return Ok(Some(level));
                }
            }
            Ok(None)
        };
        let top = match has_room(path)? {
            Some(top) => top,
            None => {
                self.grow(txn, path)?;
                has_room(path)?.ok_or(Errno::EUCLEAN)?
            }
        };
        for level in top + 1..path.depth {
            self.split_node(txn, path, level)?;
        }
        Ok(())
    }

    /// A node with the entries `from..` of `frame`.
    fn node_from(&mut self, txn: &Txn<'call>, frame: &Frame<'_>, from: usize) -> Result<(u32, Frame<'call>)> {
        let (logical, block) = self.append(txn)?;
        let (limit, count) = (self.limit(NODE), frame.count - from);
        let mut entries = Vec::new();
        entries.try_reserve_exact(count * 8)?;
        entries.resize(count * 8, 0);
        frame.block.read(frame.base + from * 8, &mut entries)?;
        txn.tx.put(&block, 0, Entry { ino: 0, rec_len: self.size(), name_len: 0, kind: 0 }.word())?;
        txn.tx.put_bytes(&block, NODE, &entries)?;
        txn.tx.put(&block, NODE, limit as u16 as u32 | (count as u32) << 16)?;
        Ok((logical, Frame { block, base: NODE, count, limit, at: 0 }))
    }

    /// One level more: the root's entries move into a node of their own.
    fn grow(&mut self, txn: &Txn<'call>, path: &mut Path<'call>) -> Result<()> {
        if path.depth >= self.max_depth() {
            return Err(Errno::ENOSPC);
        }
        let root = path.frames[0].take().ok_or(Errno::EUCLEAN)?;
        let (logical, mut node) = self.node_from(txn, &root, 0)?;
        self.seal(txn, &node.block, Role::Index(NODE))?;
        node.at = root.at;
        txn.tx.put(&root.block, ROOT + 2, 1u16)?;
        txn.tx.put(&root.block, ROOT + 4, logical)?;
        txn.tx.put(&root.block, LEVELS, path.depth as u8)?;
        self.seal(txn, &root.block, Role::Index(ROOT))?;
        let [_, second, _] = core::mem::take(&mut path.frames);
        path.frames = [Some(Frame { count: 1, at: 0, ..root }), Some(node), second];
        path.depth += 1;
        Ok(())
    }

    /// Moves the upper half of a node into a new one, which the node above, where there is room, gets as its neighbour.
    fn split_node(&mut self, txn: &Txn<'call>, path: &mut Path<'call>, level: usize) -> Result<()> {
        let mut frame = path.frames.get_mut(level).and_then(Option::take).ok_or(Errno::EUCLEAN)?;
        let half = frame.count / 2;
        let hash = frame.hash(half)?;
        let (logical, mut upper) = self.node_from(txn, &frame, half)?;
        self.seal(txn, &upper.block, Role::Index(NODE))?;
        frame.count = half;
        txn.tx.put(&frame.block, frame.base + 2, half as u16)?;
        self.seal(txn, &frame.block, Role::Index(frame.base))?;
        let above = path.frame(level - 1)?;
        above.insert(txn, hash, logical)?;
        if frame.at >= half {
            above.at += 1;
            upper.at = frame.at - half;
            frame = upper;
        }
        self.seal(txn, &above.block, Role::Index(above.base))?;
        *path.frames.get_mut(level).ok_or(Errno::EUCLEAN)? = Some(frame);
        Ok(())
    }

    /// Moves the names with the larger hashes, about half of the bytes, to a new leaf: the hash it begins with, and it.
    /// `None`: there are too few to do so, but what was unused lies together now.
    fn split_leaf(
        &mut self,
        txn: &Txn<'call>,
        leaf: &Block<'call>,
        hasher: &Hasher,
    ) -> Result<Option<(u32, u32, Block<'call>)>> {
        let end = self.end();
        let bytes = copy(leaf)?;
        let mut names = self.names(leaf, &bytes, 0, hasher)?;
        sort_by_key(&mut names, |name| (name.hash, name.at));
        let mut split = names.len() / 2;
        let mut upper_bytes = 0;
        for (n, name) in names.iter().enumerate().rev() {
            if upper_bytes + name.len / 2 > end / 2 {
                split = n + 1;
                break;
            }
            upper_bytes += name.len;
        }
        if names.len() < 2 {
            self.write_leaf(txn, leaf, &bytes, &names)?;
            return Ok(None);
        }
        let split = split.clamp(1, names.len() - 1);
        let (lower, upper) = names.split_at(split);
        let hash = upper.first().map_or(0, |name| name.hash);
        let more = lower.last().is_some_and(|name| name.hash == hash);
        let (logical, block) = self.append(txn)?;
        self.write_leaf(txn, &block, &bytes, upper)?;
        self.write_leaf(txn, leaf, &bytes, lower)?;
        Ok(Some((hash | u32::from(more), logical, block)))
    }

    /// The entries of a leaf from byte `from` on, whose bytes are `bytes`.
    fn names(&self, block: &Block<'_>, bytes: &[u8], from: usize, hasher: &Hasher) -> Result<Vec<Named>> {
        let end = self.end();
        let mut names = Vec::new();
        names.try_reserve(end / entry::room(1))?;
        let mut at = from;
        while at < end {
            let entry = Entry::at(block, at, end).map_err(|broken| self.broken(block, broken))?;
            if entry.ino != 0 {
                let name = bytes.get(at + HEADER..at + HEADER + entry.name_len);
                match name {
                    Some(name) if !name.is_empty() && entry.used() <= entry.rec_len => {
                        names.push(Named { hash: hasher.hash(name).major, at, len: entry.used() });
                    }
                    _ => return Err(self.broken(block, Broken(at))),
                }
            }
            at += entry.rec_len;
        }
        Ok(names)
    }

    /// Makes `block` a leaf with those `names`, which stand in `bytes`.
    fn write_leaf(&self, txn: &Txn, block: &Block<'_>, bytes: &[u8], names: &[Named]) -> Result<()> {
        let mut leaf = Vec::new();
        leaf.try_reserve_exact(self.size())?;
        let mut last = 0;
        for name in names {
            last = leaf.len();
            let old = bytes.get(name.at..name.at + name.len).ok_or(Errno::EUCLEAN)?;
            let (header, rest) = old.split_first_chunk::<HEADER>().ok_or(Errno::EUCLEAN)?;
            let entry = Entry::of(u64::from_le_bytes(*header));
            entry::push(&mut leaf, entry, rest.get(..entry.name_len).ok_or(Errno::EUCLEAN)?)?;
        }
        entry::finish(&mut leaf, last, &self.fs.sb)?;
        txn.tx.put_bytes(block, 0, &leaf)?;
        self.seal(txn, block, Role::Leaf)
    }

    /// Gives a directory of one full block an index: its names move to a leaf, and the block becomes the root.
    pub(super) fn make_index(&mut self, txn: &Txn<'call>) -> Result<()> {
        let hasher = self.default_hasher();
        let (root, at, parent) = self.dotdot()?;
        let bytes = copy(&root)?;
        let dotdot = Entry::at(&root, at, self.end()).map_err(|broken| self.broken(&root, broken))?;
        let names = self.names(&root, &bytes, at + dotdot.rec_len, &hasher)?;
        let (logical, leaf) = self.append(txn)?;
        self.write_leaf(txn, &leaf, &bytes, &names)?;

        let kind = self.kind_of(FileType::Directory);
        let mut head = [0; ROOT + 8];
        let dot = Entry { ino: self.ip.ino, rec_len: 12, name_len: 1, kind };
        let dotdot = Entry { ino: parent, rec_len: self.size() - 12, name_len: 2, kind };
        head[..8].copy_from_slice(&dot.word().to_le_bytes());
        head[8] = b'.';
        head[12..20].copy_from_slice(&dotdot.word().to_le_bytes());
        head[20..22].copy_from_slice(b"..");
        head[INFO + 4..INFO + 6].copy_from_slice(&[hasher.version, 8]);
        head[ROOT..ROOT + 2].copy_from_slice(&(self.limit(ROOT) as u16).to_le_bytes());
        head[ROOT + 2] = 1;
        head[ROOT + 4..].copy_from_slice(&logical.to_le_bytes());
        txn.tx.fill(&root, head.len(), self.size() - head.len(), 0)?;
        txn.tx.put_bytes(&root, 0, &head)?;
        self.seal(txn, &root, Role::Index(ROOT))?;
        let flags = self.ip.flags()?;
        self.ip.put(txn, inode::FLAGS, flags | inode::FLAG_INDEX)?;
        self.indexed = true;
        Ok(())
    }

    /// Positions are hashes: they stay what they are when leaves are split.
    pub(super) fn iterate_hashed(&self, pos: u64, out: &mut DirEmitter) -> Result<()> {
        let mut list = Vec::new();
        if !self.indexed {
            let block = self.read(0, Role::Leaf)?;
            self.list(&block, 0, &self.default_hasher(), &mut list)?;
            self.emit_listed(&mut list, pos, 0, out)?;
            return Ok(());
        }
        let mut path = self.root()?;
        let mut pos = pos;
        self.descend(&mut path, ((pos >> 32) as u32) << 1)?;
        let mut left = self.blocks;
        loop {
            // A leaf, and those in which names with its last hash go on.
            list.clear();
            let next = loop {
                left = left.checked_sub(1).ok_or_else(|| {
                    let ino = self.ip.ino;
                    self.corrupt(format_args!("directory {ino}: its index has more leaves than there are blocks"))
                })?;
                let logical = self.leaf(&mut path)?;
                let (block, new) = self.read_new(logical, Role::Leaf)?;
                if new {
                    self.read_leaves_ahead(path.last()?);
                }
                self.list(&block, logical, &path.hasher, &mut list)?;
                match self.next_leaf(&mut path, None)? {
                    Some(hash) if hash & 1 != 0 => {}
                    next => break next,
                }
            };
            let after = next.map_or(0, |next| position(Hash { major: next, minor: 0 }));
            if !self.emit_listed(&mut list, pos, after, out)? || next.is_none() {
                return Ok(());
            }
            pos = pos.max(after);
            // One more like this, or none of it: half of it would be read, hashed and sorted again in the next call.
            let bytes = list.iter().map(Listed::len).sum();
            if !out.is_empty() && !out.has_room(list.len(), bytes) {
                return Ok(());
            }
        }
    }

    /// Starts reading the leaves behind the one that was taken, a few at a time.
    fn read_leaves_ahead(&self, frame: &Frame<'_>) {
        const AHEAD: usize = 8;
        if frame.at.is_multiple_of(AHEAD) {
            let last = frame.count.min(frame.at + 1 + 2 * AHEAD);
            self.read_ahead((frame.at + 1..last).map_while(|at| frame.target(at).ok()));
        }
    }

    /// Notes the names of a leaf.
    pub(super) fn list(&self, block: &Block<'_>, logical: u32, hasher: &Hasher, list: &mut Vec<Listed>) -> Result<()> {
        let end = self.end();
        list.try_reserve(end / 2 / entry::room(1))?;
        let (mut at, mut bytes) = (0, [0; 255]);
        while at < end {
            let entry = Entry::at(block, at, end).map_err(|broken| self.broken(block, broken))?;
            if entry.ino != 0 && !is_dots(block, at, entry) {
                let name = bytes.get_mut(..entry.name_len).unwrap_or_default();
                block.read(at + HEADER, name)?;
                list.try_reserve(1)?;
                let offset = u16::try_from(at).map_err(|_| Errno::EUCLEAN)?;
                list.push(Listed::new(position(hasher.hash(name)), logical, offset, entry.name_len as u8));
            }
            at += entry.rec_len;
        }
        Ok(())
    }

    /// Hands on what is at `pos` or behind it; false when there was no more room.
    ///
    /// Names with the same two hashes follow one another at positions of their own, counted from the hash they share. Behind
    /// the last of them comes `after`, where the next leaf begins: nobody is to go through this one to find that out.
    pub(super) fn emit_listed(&self, list: &mut [Listed], pos: u64, after: u64, out: &mut DirEmitter) -> Result<bool> {
        sort_by_key(list, |name| (name.key, name.place));
        let mut held: Option<(u32, Block<'call>)> = None;
        let (end, mut bytes, mut next) = (self.end(), [0; 255], 0);
        let last = list.len();
        for (index, name) in list.iter().enumerate() {
            let at = name.key.max(next);
            next = if index + 1 == last { after.max(at + 1) } else { at + 1 };
            if at < pos {
                continue;
            }
            let block = match held {
                Some((logical, block)) if logical == name.logical() => block,
                _ => self.read(name.logical(), Role::Leaf)?,
            };
            let entry = Entry::at(&block, name.at(), end).map_err(|broken| self.broken(&block, broken))?;
            if !self.emit(&block, name.at(), entry, next, &mut bytes, out)? {
                return Ok(false);
            }
            held = Some((name.logical(), block));
        }
        Ok(true)
    }
}

/// A name of a leaf that is being split.
#[derive(Clone, Copy)]
struct Named {
    hash: u32,
    at: usize,
    /// What its entry takes.
    len: usize,
}

/// The bytes of a block.
fn copy(block: &Block<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(block.len())?;
    bytes.resize(block.len(), 0);
    block.read(0, &mut bytes)?;
    Ok(bytes)
}
