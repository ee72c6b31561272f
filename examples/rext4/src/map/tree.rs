// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An extent tree as it lies on the disk: a root in the inode, index blocks, leaves. The way from the root to a leaf is
//! kept, so that neighbouring blocks of the file are found without going it again.

use bento::fs::Field;
use bento::prelude::*;

use crate::Rext4;
use crate::disk::{Ip, inode};
use crate::txn::Txn;

/// `struct ext4_extent_header`, `ext4_extent` and `ext4_extent_idx`.
pub mod node {
    pub const MAGIC: u16 = 0xf30a;
    pub const ENTRIES: usize = 2;
    pub const MAX: usize = 4;
    pub const DEPTH: usize = 6;
    /// Bytes of the header, and of each entry behind it.
    pub const ENTRY: usize = 12;
    /// Offsets in an entry: of an extent, and of an index.
    pub const LEN: usize = 4;
    pub const START_HI: usize = 6;
    pub const START_LO: usize = 8;
    pub const CHILD_LO: usize = 4;
    pub const CHILD_HI: usize = 8;
}

/// Index blocks between the root and a leaf, and the leaf.
pub const MAX_DEPTH: usize = 5;
/// The most blocks of an extent that holds data. Longer ones are unwritten, and that much shorter.
const WRITTEN_MAX: u32 = 1 << 15;
/// Behind the last block a file can have.
pub const END: u64 = 1 << 32;
/// A node that splits needs this much room.
const LEAST_MAX: u16 = 8;

/// Blocks in a row, in the file and on the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    pub logical: u32,
    pub len: u32,
    pub start: u64,
    pub unwritten: bool,
}

impl Run {
    pub fn end(&self) -> u64 {
        u64::from(self.logical) + u64::from(self.len)
    }

    /// The most blocks of an extent of this kind.
    pub fn most(unwritten: bool) -> u32 {
        if unwritten { WRITTEN_MAX - 1 } else { WRITTEN_MAX }
    }

    /// Can `next` be made a part of this extent?
    pub fn joins(&self, next: &Run) -> bool {
        self.unwritten == next.unwritten
            && self.end() == u64::from(next.logical)
            && self.start + u64::from(self.len) == next.start
            && self.len + next.len <= Run::most(self.unwritten)
    }

    /// What of it lies in `from..to`; `None` when that is nothing.
    pub fn part(&self, from: u64, to: u64) -> Option<Run> {
        let (first, end) = (from.max(self.logical.into()), to.min(self.end()));
        if first >= end {
            return None;
        }
        let skip = first - u64::from(self.logical);
        Some(Run { logical: first as u32, len: (end - first) as u32, start: self.start + skip, ..*self })
    }
}

/// What is at a block of a file.
pub enum Found {
    Run(Run),
    /// Nothing until there.
    Hole(u64),
}

#[derive(Default)]
pub struct Node<'call> {
    /// `None` is the root, in the inode.
    pub block: Option<Block<'call>>,
    pub entries: u16,
    pub max: u16,
    /// In an index, the entry the way goes on from. In a leaf, how many begin at or before what was looked for.
    pub at: u16,
    /// Changed, and its checksum is not up to date.
    pub dirty: bool,
}

pub struct Tree<'a, 'call> {
    pub fs: &'a Rext4,
    pub device: Device<'call>,
    pub ip: &'a Ip<'call>,
    pub txn: Option<&'a Txn<'call>>,
    pub nodes: [Node<'call>; MAX_DEPTH + 1],
    /// Of the leaf.
    pub depth: usize,
    /// What the leaf is for: `low..high`.
    pub low: u64,
    pub high: u64,
    /// Do the nodes still lie where the way says?
    pub valid: bool,
    /// Of the tree's own blocks and data, taken and freed.
    pub taken: u32,
    pub freed: u64,
    /// Blocks that the transaction may still change.
    pub credits: u32,
    /// What new blocks of the tree should be near to.
    pub near: u64,
}

impl<'a, 'call> Tree<'a, 'call> {
    pub fn new(fs: &'a Rext4, device: Device<'call>, ip: &'a Ip<'call>) -> Self {
        Tree {
            fs,
            device,
            ip,
            txn: None,
            nodes: Default::default(),
            depth: 0,
            low: 0,
            high: 0,
            valid: false,
            taken: 0,
            freed: 0,
            credits: 0,
            near: 0,
        }
    }

    #[cold]
    pub fn corrupt(&self, what: core::fmt::Arguments<'_>) -> Errno {
        self.fs.corrupt(self.device, format_args!("inode {}: extent tree: {what}", self.ip.ino))
    }

    #[inline]
    pub fn node(&self, level: usize) -> Result<&Node<'call>> {
        self.nodes.get(level).ok_or(Errno::EUCLEAN)
    }

    #[inline]
    pub fn node_mut(&mut self, level: usize) -> Result<&mut Node<'call>> {
        self.nodes.get_mut(level).ok_or(Errno::EUCLEAN)
    }

    #[inline]
    pub fn get<T: Field>(&self, level: usize, offset: usize) -> Result<T> {
        match &self.node(level)?.block {
            None => self.ip.get(inode::BLOCK + offset),
            Some(block) => block.get(offset),
        }
    }

    /// The first block of entry `index`.
    #[inline]
    pub fn key(&self, level: usize, index: usize) -> Result<u32> {
        self.get(level, (index + 1) * node::ENTRY)
    }

    pub fn child(&self, level: usize, index: usize) -> Result<u64> {
        let at = (index + 1) * node::ENTRY;
        let high: u16 = self.get(level, at + node::CHILD_HI)?;
        let low: u32 = self.get(level, at + node::CHILD_LO)?;
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    fn extent(&self, index: usize) -> Result<Run> {
        let (level, at) = (self.depth, (index + 1) * node::ENTRY);
        // What lies before the last field at once, for each access finds the node anew.
        let first: u64 = self.get(level, at)?;
        let low: u32 = self.get(level, at + node::START_LO)?;
        let len = u32::from((first >> (8 * node::LEN)) as u16);
        let unwritten = len > WRITTEN_MAX;
        Ok(Run {
            logical: first as u32,
            len: if unwritten { len - WRITTEN_MAX } else { len },
            start: u64::from(low) | first >> (8 * node::START_HI) << 32,
            unwritten,
        })
    }

    /// Extent `index` of the leaf.
    pub fn run(&self, index: usize) -> Result<Run> {
        let run = self.extent(index)?;
        if run.len == 0 || run.end() > END || !self.fs.for_files(run.start, run.len.into()) {
            let Run { logical, len, start, .. } = run;
            let what = format_args!("block {logical}: {len} blocks at {start} of the device, which are no file's");
            return Err(self.corrupt(what));
        }
        Ok(run)
    }

    /// How many entries begin at or before `logical`.
    fn search(&self, level: usize, logical: u32) -> Result<u16> {
        let (mut low, mut high) = (0, self.node(level)?.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key(level, middle.into())? <= logical {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Goes to the leaf that `logical` belongs to, and to the place in it.
    pub fn find(&mut self, logical: u32) -> Result<()> {
        let wanted = u64::from(logical);
        if !self.valid || wanted < self.low || wanted >= self.high {
            self.descend(logical)?;
        }
        let at = self.search(self.depth, logical)?;
        let depth = self.depth;
        self.node_mut(depth)?.at = at;
        Ok(())
    }

    fn descend(&mut self, logical: u32) -> Result<()> {
        self.flush()?;
        self.valid = false;
        let magic: u16 = self.ip.get(inode::BLOCK)?;
        let entries: u16 = self.ip.get(inode::BLOCK + node::ENTRIES)?;
        let max: u16 = self.ip.get(inode::BLOCK + node::MAX)?;
        let depth = usize::from(self.ip.get::<u16>(inode::BLOCK + node::DEPTH)?);
        let room = (inode::BLOCK_LEN / node::ENTRY - 1) as u16;
        if magic != node::MAGIC || max == 0 || max > room || entries > max || depth > MAX_DEPTH {
            let what = format_args!("bad root: magic {magic:#x}, {entries} of {max} entries, depth {depth}");
            return Err(self.corrupt(what));
        }
        *self.node_mut(0)? = Node { block: None, entries, max, at: 0, dirty: false };
        (self.depth, self.low, self.high) = (depth, 0, END);
        self.check(0)?;
        for level in 0..depth {
            let at = self.search(level, logical)?;
            let (child, entries) = (at.saturating_sub(1), self.node(level)?.entries);
            if entries == 0 {
                return Err(self.corrupt(format_args!("an index without entries, {} above the leaves", depth - level)));
            }
            if at > 0 {
                self.low = self.low.max(self.key(level, child.into())?.into());
            }
            if child + 1 < entries {
                self.high = self.high.min(self.key(level, usize::from(child) + 1)?.into());
            }
            self.node_mut(level)?.at = child;
            let number = self.child(level, child.into())?;
            self.enter(level + 1, number)?;
        }
        self.valid = true;
        Ok(())
    }

    /// Reads a node below the root. What changes with the tree is checked each time, the rest when it comes from the disk.
    fn enter(&mut self, level: usize, number: u64) -> Result<()> {
        if !self.fs.for_files(number, 1) {
            return Err(self.corrupt(format_args!("a node at block {number}, which is no file's")));
        }
        let block = self.device.read(number)?;
        let magic: u16 = block.get(0)?;
        let (entries, max): (u16, u16) = (block.get(node::ENTRIES)?, block.get(node::MAX)?);
        let depth = usize::from(block.get::<u16>(node::DEPTH)?);
        let fits = (usize::from(max) + 1) * node::ENTRY + 4 <= block.len();
        let entries_fit = (1..=max).contains(&entries);
        if magic != node::MAGIC || !fits || max < LEAST_MAX || !entries_fit || depth != self.depth - level {
            let what = format_args!(
                "block {number} is not a node: magic {magic:#x}, {entries} of {max} entries, depth {depth}"
            );
            return Err(self.corrupt(what));
        }
        let checked = block.is_checked();
        if !checked && self.fs.sb.checksums() {
            let at = (usize::from(max) + 1) * node::ENTRY;
            if block.get::<u32>(at)? != self.sum(&block, at)? {
                return Err(self.corrupt(format_args!("block {number}: the checksum is wrong")));
            }
        }
        *self.node_mut(level)? = Node { block: Some(block), entries, max, at: 0, dirty: false };
        if !checked {
            self.check(level)?;
            if let Some(block) = &self.node(level)?.block {
                block.set_checked();
            }
        }
        Ok(())
    }

    pub fn sum(&self, block: &Block<'_>, len: usize) -> Result<u32> {
        block.crc32c(self.fs.sb.inode_seed(self.ip.ino, self.ip.generation()?), 0, len)
    }

    /// Are the entries in order, where the way to this node says, and in blocks that may be a file's? Of the root, which is
    /// read each time, those that are gone to are asked.
    fn check(&self, level: usize) -> Result<()> {
        let mut next = self.low;
        for index in 0..usize::from(self.node(level)?.entries) {
            let (from, end, start, count) = if level == self.depth {
                let run = self.extent(index)?;
                (u64::from(run.logical), run.end(), run.start, u64::from(run.len))
            } else {
                let key = u64::from(self.key(level, index)?);
                (key, key + 1, self.child(level, index)?, 1)
            };
            let lies = if level == 0 { self.fs.sb.holds(start, count) } else { self.fs.for_files(start, count) };
            if from < next || end <= from || end > self.high || !lies {
                let what = format_args!(
                    "entry {index}, {} above the leaves: blocks {from} to {end}, where {next} to {} may be, at {start}",
                    self.depth - level,
                    self.high
                );
                return Err(self.corrupt(what));
            }
            next = end;
        }
        Ok(())
    }

    /// What is at `logical`.
    pub fn lookup(&mut self, logical: u32) -> Result<Found> {
        self.find(logical)?;
        let leaf = self.node(self.depth)?;
        let (at, entries) = (usize::from(leaf.at), usize::from(leaf.entries));
        if at > 0 {
            let run = self.run(at - 1)?;
            if u64::from(logical) < run.end() {
                return Ok(Found::Run(run));
            }
        }
        Ok(Found::Hole(if at < entries { self.key(self.depth, at)?.into() } else { self.high }))
    }

    /// Where on the device the blocks from `logical` on, a hole that was just looked up, would continue their neighbours.
    pub fn goal(&mut self, logical: u32) -> Result<Option<u64>> {
        let leaf = self.node(self.depth)?;
        let (at, entries) = (usize::from(leaf.at), usize::from(leaf.entries));
        if at > 0 {
            let run = self.run(at - 1)?;
            let gap = u64::from(logical).saturating_sub(run.end());
            let after = run.start + u64::from(run.len);
            // A small hole may be filled later; after a large one nearness is nothing.
            return Ok(Some(if gap < 1024 && self.fs.sb.holds(after + gap, 1) { after + gap } else { after }));
        }
        if at < entries {
            let run = self.run(at)?;
            return Ok(run.start.checked_sub(u64::from(run.logical.saturating_sub(logical))).filter(|goal| *goal > 0));
        }
        Ok(None)
    }

    /// Behind the last block that is mapped.
    pub fn last_end(&mut self) -> Result<u64> {
        self.find(u32::MAX)?;
        match usize::from(self.node(self.depth)?.at).checked_sub(1) {
            Some(last) => Ok(self.run(last)?.end()),
            None => Ok(0),
        }
    }
}
