// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where the blocks of a file lie: extent trees ([`tree`], [`edit`]), or the indirect blocks of ext2 and ext3
//! ([`indirect`]).

mod edit;
mod indirect;
mod tree;

use bento::fs::Credits;
use bento::prelude::*;

use crate::Rext4;
use crate::disk::{Ip, Super, incompat, inode};
use crate::txn::{Txn, Use};

pub use indirect::Indirect;
pub use tree::{END, Found, Run, Tree};

/// What is remembered of a file's blocks. It may be wrong.
#[derive(Default)]
pub struct Hints {
    /// The block of the device after the last one that the file got.
    pub next: u64,
    /// Another has the block that the file would have grown into.
    pub crossed: bool,
}

/// What [`append`] may change: a node at each depth and its new neighbour, a new root's block, the inode.
pub const APPEND_CREDITS: u32 = 16;

/// Directories that grow in turn leave one another so many blocks: then each is a few extents, and its inode has room for
/// them.
const APART: u64 = 64;

/// What one [`truncate_step`] may change.
pub const STEP_CREDITS: Credits = Credits { blocks: 32, revokes: 256 };

/// What a [`truncate_step`] did.
#[derive(Clone, Copy, Debug)]
pub struct Freed {
    /// Data and tree blocks: to be taken off the inode's count.
    pub blocks: u64,
    /// Nothing is left from where it was asked to cut.
    pub done: bool,
}

/// How much a transaction may still free: so many runs, in so many groups, and so many blocks that the journal is to forget.
pub struct Budget {
    runs: u32,
    groups: u32,
    group: Option<u64>,
    revokes: u32,
}

impl Budget {
    pub fn step() -> Budget {
        Budget { runs: 96, groups: 2, group: None, revokes: 128 }
    }

    /// How many of the `want` blocks before `end`, all of them in `run`, may be freed.
    fn take(&mut self, sb: &Super, run: &Run, end: u64, want: u32, what: Use) -> u32 {
        let (first, per_group) = (u64::from(sb.first_block), u64::from(sb.blocks_per_group).max(1));
        let Some(last) = (run.start + end.saturating_sub(u64::from(run.logical))).checked_sub(first + 1) else {
            return 0;
        };
        let group = last / per_group;
        if self.group != Some(group) {
            if self.groups == 0 {
                return 0;
            }
            self.groups -= 1;
            self.group = Some(group);
        }
        let mut count = u64::from(want).min(last % per_group + 1) as u32;
        if what == Use::Metadata {
            count = count.min(self.revokes);
            self.revokes -= count;
        }
        if self.runs == 0 {
            return 0;
        }
        self.runs -= 1;
        count
    }
}

/// Is a file mapped by an extent tree? Else by indirect blocks.
pub fn has_extents(ip: &Ip<'_>) -> Result<bool> {
    Ok(ip.flags()? & inode::FLAG_EXTENTS != 0)
}

/// What the contents of a file are to the journal.
fn content_use(ip: &Ip<'_>) -> Result<Use> {
    Ok(match FileType::from_mode(ip.mode()?.into()) {
        Some(FileType::Regular) => Use::Data,
        _ => Use::Metadata,
    })
}

/// The map of a file.
#[allow(clippy::large_enum_variant, reason = "made and used in one handler, and no memory is asked for")]
pub enum Map<'a, 'call> {
    Tree(Tree<'a, 'call>),
    Indirect(Indirect<'a, 'call>),
}

impl<'a, 'call> Map<'a, 'call> {
    /// `extents`: see [`has_extents`].
    pub fn new(fs: &'a Rext4, device: Device<'call>, ip: &'a Ip<'call>, extents: bool) -> Self {
        match extents {
            true => Map::Tree(Tree::new(fs, device, ip)),
            false => Map::Indirect(Indirect::new(fs, device, ip)),
        }
    }

    /// For changes; see [`Tree::edit`].
    pub fn edit(txn: &'a Txn<'call>, ip: &'a Ip<'call>, credits: u32, extents: bool) -> Self {
        match extents {
            true => Map::Tree(Tree::edit(txn, ip, credits)),
            false => Map::Indirect(Indirect::edit(txn, ip, credits)),
        }
    }

    pub fn lookup(&mut self, logical: u32) -> Result<Found> {
        match self {
            Map::Tree(tree) => tree.lookup(logical),
            Map::Indirect(map) => map.lookup(logical),
        }
    }

    /// Where the hole that was just looked up would continue its neighbours.
    pub fn goal(&mut self, logical: u32) -> Result<Option<u64>> {
        match self {
            Map::Tree(tree) => tree.goal(logical),
            Map::Indirect(map) => map.goal(logical),
        }
    }

    pub fn reserve(&mut self) -> Result<()> {
        match self {
            Map::Tree(tree) => tree.reserve(),
            Map::Indirect(map) => map.reserve(),
        }
    }

    pub fn insert(&mut self, run: Run) -> Result<()> {
        match self {
            Map::Tree(tree) => tree.insert(run),
            Map::Indirect(map) => map.insert(run),
        }
    }

    pub fn cut(&mut self, from: u64, to: u64, budget: &mut Budget) -> Result<bool> {
        match self {
            Map::Tree(tree) => tree.cut(from, to, budget),
            Map::Indirect(map) => map.cut(from, to, budget),
        }
    }

    /// Ends changes: how many blocks the map itself came to need, and how many were freed with and in it.
    pub fn finish(&mut self) -> Result<(u32, u64)> {
        match self {
            Map::Tree(tree) => tree.flush().map(|()| (tree.taken, tree.freed)),
            Map::Indirect(map) => Ok((map.taken, map.freed)),
        }
    }
}

/// The block that `logical` is mapped to; `None` in a hole, and where it is unwritten.
pub fn block_of(fs: &Rext4, device: Device<'_>, ip: &Ip<'_>, logical: u32) -> Result<Option<u64>> {
    let run = run_of(fs, device, ip, logical)?;
    Ok(run.map(|run| run.start + u64::from(logical.saturating_sub(run.logical))))
}

/// The same with its neighbours.
pub fn run_of(fs: &Rext4, device: Device<'_>, ip: &Ip<'_>, logical: u32) -> Result<Option<Run>> {
    match Map::new(fs, device, ip, has_extents(ip)?).lookup(logical)? {
        Found::Run(run) if !run.unwritten => Ok(Some(run)),
        _ => Ok(None),
    }
}

/// Allocates a block of metadata and maps it at `logical`. Also how many blocks that took in all: the file's tree may have
/// grown.
pub fn append<'c>(txn: &Txn<'c>, ip: &Ip<'c>, logical: u32) -> Result<(u64, u32)> {
    let mut map = Map::edit(txn, ip, APPEND_CREDITS, has_extents(ip)?);
    if let Found::Run(run) = map.lookup(logical)? {
        let what = format_args!("inode {}: block {logical} is mapped already, to {}", ip.ino, run.start);
        return Err(txn.fs.corrupt(txn.device, what));
    }
    let goal = match map.goal(logical)? {
        Some(goal) if !txn.is_free(goal)? => (goal / APART + 1) * APART,
        Some(goal) => goal,
        None => txn.fs.goal(ip.ino),
    };
    let (start, _) = txn.allocate(goal, 1, Use::Metadata)?;
    map.insert(Run { logical, len: 1, start, unwritten: false })?;
    let (taken, _) = map.finish()?;
    Ok((start, taken + 1))
}

/// Nothing is mapped in a new inode; with the feature its blocks will be in extents, which the inode's flags say then.
pub fn init(txn: &Txn<'_>, ip: &Ip<'_>) -> Result<()> {
    let mut root = [0; inode::BLOCK_LEN];
    let extents = txn.fs.sb.has_incompat(incompat::EXTENTS);
    if extents {
        root[..2].copy_from_slice(&tree::node::MAGIC.to_le_bytes());
        root[4] = (inode::BLOCK_LEN / tree::node::ENTRY - 1) as u8;
    }
    ip.put_bytes(txn, inode::BLOCK, &root)?;
    let flags = ip.flags()?;
    let new = if extents { flags | inode::FLAG_EXTENTS } else { flags & !inode::FLAG_EXTENTS };
    if new != flags { ip.put(txn, inode::FLAGS, new) } else { Ok(()) }
}

/// Frees blocks from the file's end towards `from`, as many as [`STEP_CREDITS`] allow.
pub fn truncate_step<'c>(txn: &Txn<'c>, ip: &Ip<'c>, from: u32) -> Result<Freed> {
    // Others keep a device number or a short target where the map would be.
    let mapped = match FileType::from_mode(ip.mode()?.into()) {
        Some(FileType::Regular | FileType::Directory) => true,
        Some(FileType::Symlink) => has_extents(ip)? || ip.len()? >= inode::BLOCK_LEN as u64,
        _ => false,
    };
    if !mapped {
        return Ok(Freed { blocks: 0, done: true });
    }
    let extents = has_extents(ip)?;
    // Nothing is in it, as in most that are made and removed without having been written.
    if extents
        && ip.get::<u16>(inode::BLOCK)? == tree::node::MAGIC
        && ip.get::<u16>(inode::BLOCK + tree::node::ENTRIES)? == 0
        && ip.get::<u16>(inode::BLOCK + tree::node::DEPTH)? == 0
    {
        return Ok(Freed { blocks: 0, done: true });
    }
    let mut map = Map::edit(txn, ip, STEP_CREDITS.blocks, extents);
    let done = map.cut(from.into(), END, &mut Budget::step())?;
    if let Map::Tree(tree) = &mut map
        && done
        && tree.freed > 0
    {
        tree.shrink()?;
    }
    let (_, blocks) = map.finish()?;
    Ok(Freed { blocks, done })
}
