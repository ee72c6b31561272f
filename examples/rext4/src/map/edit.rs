// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Changes of an extent tree. All of them replace an extent, or a hole, of one leaf by other extents ([`Tree::replace`]);
//! nodes are split before that and freed after it.

use bento::fs::Field;
use bento::prelude::*;

use super::tree::{END, MAX_DEPTH, Node, Run, Tree, node};
use super::{Budget, content_use};
use crate::disk::{Ip, inode};
use crate::txn::{Txn, Use};

/// A root's entries.
const ROOT_ROOM: usize = inode::BLOCK_LEN - node::ENTRY;
/// Entries that are copied at a time.
const PIECE: usize = 16 * node::ENTRY;

impl<'a, 'call> Tree<'a, 'call> {
    /// For changes: the transaction may change `credits` more blocks. Ends with [`Self::flush`].
    pub fn edit(txn: &'a Txn<'call>, ip: &'a Ip<'call>, credits: u32) -> Self {
        let mut tree = Tree::new(txn.fs, txn.device, ip);
        (tree.txn, tree.credits) = (Some(txn), credits);
        tree
    }

    fn txn(&self) -> Result<&'a Txn<'call>> {
        self.txn.ok_or(Errno::EROFS)
    }

    /// Makes sure that one more change of the tree may be done; `ENOSPC` when the transaction is to end first.
    pub fn reserve(&mut self) -> Result<()> {
        // Each node of the way splits, and the root gets a block.
        let need = 2 * self.depth as u32 + 4;
        if self.credits < need {
            self.txn()?.tx.extend(need - self.credits)?;
            self.credits = need;
        }
        Ok(())
    }

    fn put<T: Field>(&mut self, level: usize, offset: usize, value: T) -> Result<()> {
        let (txn, ip) = (self.txn()?, self.ip);
        let node = self.node_mut(level)?;
        match &node.block {
            None => ip.put(txn, inode::BLOCK + offset, value)?,
            Some(block) => txn.tx.put(block, offset, value)?,
        }
        self.touched(level)
    }

    fn touched(&mut self, level: usize) -> Result<()> {
        let node = self.node_mut(level)?;
        if !node.dirty {
            node.dirty = true;
            self.credits = self.credits.saturating_sub(1);
        }
        Ok(())
    }

    /// Brings the checksums of what was changed up to date. The inode's is the caller's.
    pub fn flush(&mut self) -> Result<()> {
        for level in 0..=self.depth {
            let node = self.node_mut(level)?;
            if core::mem::take(&mut node.dirty) {
                self.seal(level)?;
            }
        }
        Ok(())
    }

    fn seal(&self, level: usize) -> Result<()> {
        let node = self.node(level)?;
        match &node.block {
            Some(block) if self.fs.sb.checksums() => {
                let at = (usize::from(node.max) + 1) * node::ENTRY;
                let sum = self.sum(block, at)?;
                self.txn()?.tx.put(block, at, sum)
            }
            _ => Ok(()),
        }
    }

    fn put_entries(&mut self, level: usize, entries: usize) -> Result<()> {
        let count = u16::try_from(entries).map_err(|_| Errno::EUCLEAN)?;
        self.put(level, node::ENTRIES, count)?;
        self.node_mut(level)?.entries = count;
        Ok(())
    }

    fn put_key(&mut self, level: usize, index: usize, key: u32) -> Result<()> {
        self.put(level, (index + 1) * node::ENTRY, key)
    }

    fn put_child(&mut self, level: usize, index: usize, key: u32, number: u64) -> Result<()> {
        let mut bytes = [0; node::ENTRY];
        let (low, high) = (number as u32, (number >> 32) as u16);
        bytes[..4].copy_from_slice(&key.to_le_bytes());
        bytes[4..8].copy_from_slice(&low.to_le_bytes());
        bytes[8..10].copy_from_slice(&high.to_le_bytes());
        self.put(level, (index + 1) * node::ENTRY, bytes)
    }

    fn put_run(&mut self, index: usize, run: &Run) -> Result<()> {
        let mut bytes = [0; node::ENTRY];
        let len = run.len + if run.unwritten { Run::most(false) } else { 0 };
        bytes[..4].copy_from_slice(&run.logical.to_le_bytes());
        bytes[4..6].copy_from_slice(&(len as u16).to_le_bytes());
        bytes[6..8].copy_from_slice(&((run.start >> 32) as u16).to_le_bytes());
        bytes[8..].copy_from_slice(&(run.start as u32).to_le_bytes());
        self.put(self.depth, (index + 1) * node::ENTRY, bytes)
    }

    /// Moves entries `from..from + count` of a node to index `to`.
    fn shift_entries(&mut self, level: usize, from: usize, to: usize, count: usize) -> Result<()> {
        if count == 0 || from == to {
            return Ok(());
        }
        let (txn, ip) = (self.txn()?, self.ip);
        let (from, to, len) = ((from + 1) * node::ENTRY, (to + 1) * node::ENTRY, count * node::ENTRY);
        match &self.node(level)?.block {
            Some(block) => txn.tx.shift(block, from, to, len)?,
            None => {
                let mut bytes = [0; ROOT_ROOM];
                let bytes = bytes.get_mut(..len).ok_or(Errno::EUCLEAN)?;
                ip.read(inode::BLOCK + from, bytes)?;
                ip.put_bytes(txn, inode::BLOCK + to, bytes)?;
            }
        }
        self.touched(level)
    }

    /// A new node with the entries of `level` from `first` on.
    fn copy_to_new(&mut self, level: usize, first: usize) -> Result<u64> {
        let txn = self.txn()?;
        let count = usize::from(self.node(level)?.entries).saturating_sub(first);
        let near = match &self.node(level)?.block {
            Some(block) => block.number(),
            None if self.near != 0 => self.near,
            None => self.fs.goal(self.ip.ino),
        };
        let (number, _) = txn.allocate(near, 1, Use::Metadata)?;
        let block = txn.tx.fresh(number)?;
        self.taken += 1;
        self.credits = self.credits.saturating_sub(1);
        let max = (block.len() - node::ENTRY - 4) / node::ENTRY;
        let depth = (self.depth - level) as u16;
        let mut header = [0; 8];
        header[..2].copy_from_slice(&node::MAGIC.to_le_bytes());
        header[2..4].copy_from_slice(&(count as u16).to_le_bytes());
        header[4..6].copy_from_slice(&(max as u16).to_le_bytes());
        header[6..].copy_from_slice(&depth.to_le_bytes());
        txn.tx.put(&block, 0, header)?;
        let mut piece = [0; PIECE];
        let (mut done, len) = (0, count * node::ENTRY);
        while done < len {
            let bytes = piece.get_mut(..PIECE.min(len - done)).ok_or(Errno::EUCLEAN)?;
            let from = (first + 1) * node::ENTRY + done;
            match &self.node(level)?.block {
                Some(block) => block.read(from, bytes)?,
                None => self.ip.read(inode::BLOCK + from, bytes)?,
            }
            txn.tx.put_bytes(&block, node::ENTRY + done, bytes)?;
            done += bytes.len();
        }
        if self.fs.sb.checksums() {
            let at = (max + 1) * node::ENTRY;
            let sum = self.sum(&block, at)?;
            txn.tx.put(&block, at, sum)?;
        }
        Ok(number)
    }

    /// What the root holds moves to a block of its own: the tree is one deeper.
    fn grow(&mut self) -> Result<()> {
        if self.depth >= MAX_DEPTH {
            return Err(Errno::EFBIG);
        }
        let key = if self.node(0)?.entries > 0 { self.key(0, 0)? } else { 0 };
        let number = self.copy_to_new(0, 0)?;
        let depth = self.depth as u16 + 1;
        self.put(0, node::DEPTH, depth)?;
        self.put_child(0, 0, key, number)?;
        self.put_entries(0, 1)?;
        self.valid = false;
        Ok(())
    }

    /// The later entries of the node at `level` move to a new one; the node above has room for it.
    fn split(&mut self, level: usize) -> Result<()> {
        let node = self.node(level)?;
        let (entries, at) = (usize::from(node.entries), usize::from(node.at));
        let last = if level == self.depth { at >= entries } else { at + 1 >= entries };
        // Who appends fills nodes up; others leave room on both sides.
        let first = if last { entries.saturating_sub(1) } else { entries / 2 };
        if first == 0 {
            return Err(self.corrupt(format_args!("a node with {entries} entries has no room")));
        }
        let key = self.key(level, first)?;
        let number = self.copy_to_new(level, first)?;
        self.put_entries(level, first)?;
        let above = self.node(level - 1)?;
        let (index, count) = (usize::from(above.at) + 1, usize::from(above.entries));
        self.shift_entries(level - 1, index, index + 1, count.saturating_sub(index))?;
        self.put_child(level - 1, index, key, number)?;
        self.put_entries(level - 1, count + 1)?;
        self.valid = false;
        Ok(())
    }

    /// Finds the leaf of `logical` with room for `need` more extents.
    #[inline(never)]
    fn make_room(&mut self, logical: u32, need: usize) -> Result<()> {
        loop {
            self.find(logical)?;
            let leaf = self.node(self.depth)?;
            if usize::from(leaf.entries) + need <= usize::from(leaf.max) {
                return Ok(());
            }
            let room = |node: &Node<'_>| node.entries < node.max;
            match (0..self.depth).rev().find(|level| self.nodes.get(*level).is_some_and(room)) {
                Some(level) => self.split(level + 1)?,
                None => self.grow()?,
            }
        }
    }

    /// The first entry of the node at `level` has changed: so do the indices that lead to it.
    fn fix_keys(&mut self, level: usize) -> Result<()> {
        let key = self.key(level, 0)?;
        for above in (0..level).rev() {
            let at = usize::from(self.node(above)?.at);
            if self.key(above, at)? == key {
                break;
            }
            self.put_key(above, at, key)?;
            self.valid = false;
            if at > 0 {
                break;
            }
        }
        Ok(())
    }

    /// Frees the node at `level`, which has no entries left, and those above that have none then.
    fn remove_node(&mut self, mut level: usize) -> Result<()> {
        let txn = self.txn()?;
        self.valid = false;
        while level > 0 {
            self.free_node(txn, level)?;
            level -= 1;
            let above = self.node(level)?;
            let (at, entries) = (usize::from(above.at), usize::from(above.entries));
            if entries > 1 {
                self.shift_entries(level, at + 1, at, entries.saturating_sub(at + 1))?;
                self.put_entries(level, entries - 1)?;
                if at == 0 {
                    self.fix_keys(level)?;
                }
                return Ok(());
            }
        }
        self.put_entries(0, 0)?;
        self.put(0, node::DEPTH, 0u16)
    }

    fn free_node(&mut self, txn: &Txn<'call>, level: usize) -> Result<()> {
        let node = self.node_mut(level)?;
        node.dirty = false;
        let Some(block) = node.block.take() else { return Err(Errno::EUCLEAN) };
        let number = block.number();
        drop(block);
        self.freed += 1;
        txn.free(number, 1, Use::Metadata)
    }

    /// Moves what the root's only child holds into the root, where it fits.
    pub fn shrink(&mut self) -> Result<()> {
        loop {
            self.find(0)?;
            let (root, child) = (self.node(0)?, self.node(1)?);
            if self.depth == 0 || root.entries != 1 || child.entries > root.max {
                return Ok(());
            }
            let txn = self.txn()?;
            let entries = usize::from(child.entries);
            let mut bytes = [0; ROOT_ROOM];
            let bytes = bytes.get_mut(..entries * node::ENTRY).ok_or(Errno::EUCLEAN)?;
            child.block.as_ref().ok_or(Errno::EUCLEAN)?.read(node::ENTRY, bytes)?;
            self.ip.put_bytes(txn, inode::BLOCK + node::ENTRY, bytes)?;
            self.put_entries(0, entries)?;
            let depth = self.depth as u16 - 1;
            self.put(0, node::DEPTH, depth)?;
            self.flush()?;
            self.free_node(txn, 1)?;
            self.valid = false;
        }
    }

    /// Puts `pieces` in the place of the extent that has `logical` (`whole`), or into the hole that is there, and joins them
    /// with what lies beside if `join`.
    #[inline(never)]
    pub fn replace(&mut self, logical: u32, whole: bool, pieces: &[Run], join: bool) -> Result<()> {
        loop {
            self.find(logical)?;
            let leaf = self.node(self.depth)?;
            let (at, entries) = (usize::from(leaf.at), usize::from(leaf.entries));
            let mut first = if whole { at.checked_sub(1).ok_or(Errno::EUCLEAN)? } else { at };
            let mut end = at;
            let mut list = [Run::default(); 5];
            let mut count = 0usize;
            let before = if join && first > 0 { Some(self.run(first - 1)?) } else { None };
            let after = if join && end < entries { Some(self.run(end)?) } else { None };
            if let (Some(run), Some(piece)) = (before, pieces.first())
                && run.joins(piece)
            {
                list[0] = run;
                (count, first) = (1, first - 1);
            }
            let last = pieces.last().copied();
            let after = after.filter(|run| last.is_some_and(|last| last.joins(run)));
            if after.is_some() {
                end += 1;
            }
            for piece in pieces.iter().chain(after.as_ref()) {
                match count.checked_sub(1).and_then(|last| list.get_mut(last)) {
                    Some(last) if join && last.joins(piece) => last.len += piece.len,
                    _ => {
                        *list.get_mut(count).ok_or(Errno::EINVAL)? = *piece;
                        count += 1;
                    }
                }
            }
            let removed = end - first;
            let list = list.get(..count).unwrap_or_default();
            if entries - removed + count > usize::from(self.node(self.depth)?.max) {
                self.make_room(logical, count - removed)?;
                continue;
            }
            return self.splice(first, removed, list);
        }
    }

    /// Puts `list` in the place of `removed` extents of the leaf, which has room.
    #[inline(never)]
    fn splice(&mut self, first: usize, removed: usize, list: &[Run]) -> Result<()> {
        let level = self.depth;
        let entries = usize::from(self.node(level)?.entries);
        let left = entries - removed + list.len();
        if left == 0 && level > 0 {
            return self.remove_node(level);
        }
        self.shift_entries(level, first + removed, first + list.len(), entries - first - removed)?;
        for (index, run) in list.iter().enumerate() {
            self.put_run(first + index, run)?;
        }
        if left != entries {
            self.put_entries(level, left)?;
        }
        if first == 0 && level > 0 {
            self.fix_keys(level)?;
        }
        Ok(())
    }

    /// Maps `run` where a hole is.
    pub fn insert(&mut self, run: Run) -> Result<()> {
        self.near = run.start;
        self.replace(run.logical, false, &[run], true)
    }

    /// Makes `from..to` of the extent `run` of the other kind.
    #[inline(never)]
    pub fn mark(&mut self, run: &Run, from: u64, to: u64, unwritten: bool) -> Result<Run> {
        let middle = Run { unwritten, ..run.part(from, to).ok_or(Errno::EUCLEAN)? };
        // One that holds data may be a block longer than one that does not.
        if middle.len > Run::most(unwritten) {
            let (head, tail) = (middle.end() - 1, middle.end());
            let tail = middle.part(head, tail).ok_or(Errno::EUCLEAN)?;
            let head = middle.part(0, head).ok_or(Errno::EUCLEAN)?;
            self.replace(run.logical, true, &[head, tail], false)?;
            return Ok(middle);
        }
        let pieces = [run.part(0, from), Some(middle), run.part(to, END)];
        let mut list = [Run::default(); 3];
        let mut count = 0;
        for (place, piece) in list.iter_mut().zip(pieces.into_iter().flatten()) {
            *place = piece;
            count += 1;
        }
        self.replace(run.logical, true, list.get(..count).unwrap_or_default(), true)?;
        Ok(middle)
    }

    /// Frees blocks of `from..to`, from the end, as many as `budget` allows. `true` when none is left.
    #[inline(never)]
    pub fn cut(&mut self, from: u64, mut to: u64, budget: &mut Budget) -> Result<bool> {
        let txn = self.txn()?;
        let what = content_use(self.ip)?;
        while from < to {
            self.find((to - 1) as u32)?;
            let at = usize::from(self.node(self.depth)?.at);
            let Some(last) = at.checked_sub(1) else {
                to = self.low.min(to - 1);
                continue;
            };
            let run = self.run(last)?;
            let end = run.end().min(to);
            if end <= from {
                return Ok(true);
            }
            let first = from.max(run.logical.into());
            let count = budget.take(&self.fs.sb, &run, end, (end - first) as u32, what);
            if count == 0 || self.reserve().is_err() {
                return Ok(false);
            }
            let first = end - u64::from(count);
            let part = run.part(first, end).ok_or(Errno::EUCLEAN)?;
            txn.free(part.start, part.len, what)?;
            self.freed += u64::from(part.len);
            match (run.part(0, first), run.part(end, END)) {
                (Some(left), Some(right)) => self.replace(run.logical, true, &[left, right], false)?,
                (Some(rest), None) | (None, Some(rest)) => self.replace(run.logical, true, &[rest], false)?,
                (None, None) => self.replace(run.logical, true, &[], false)?,
            }
            to = first;
        }
        Ok(true)
    }

    /// An extent begins at `logical`, if one is there.
    pub fn divide(&mut self, logical: u32) -> Result<()> {
        if let super::tree::Found::Run(run) = self.lookup(logical)?
            && let (Some(left), Some(right)) = (run.part(0, logical.into()), run.part(logical.into(), END))
        {
            self.replace(run.logical, true, &[left, right], false)?;
        }
        Ok(())
    }

    /// Moves the extents of one leaf that begin at `from` or later `by` blocks towards the start; they do not collide there.
    /// Where to go on, unless that was all.
    #[inline(never)]
    pub fn shift_left(&mut self, from: u32, by: u32) -> Result<Option<u32>> {
        self.find(from)?;
        let (level, high) = (self.depth, self.high);
        let first = self.first_from(from)?;
        let entries = usize::from(self.node(level)?.entries);
        for index in first..entries {
            let key = self.key(level, index)?.checked_sub(by).ok_or(Errno::EUCLEAN)?;
            self.put_key(level, index, key)?;
        }
        if first < entries {
            let moved = self.run(first)?;
            if first == 0 && level > 0 {
                self.fix_keys(level)?;
            }
            self.valid = false;
            // Joins it with what it has come to lie beside.
            self.replace(moved.logical, true, &[moved], true)?;
        }
        self.valid = false;
        Ok((high < END).then_some(high as u32))
    }

    /// The same towards the end, beginning with the last leaf: below `limit`, which [`END`] is at first.
    #[inline(never)]
    pub fn shift_right(&mut self, from: u32, limit: u64, by: u32) -> Result<Option<u64>> {
        self.find((limit.max(1) - 1) as u32)?;
        let (level, low) = (self.depth, self.low);
        let first = self.first_from(from)?;
        // Those from `limit` on have been moved.
        let end = usize::from(self.node(level)?.at);
        for index in (first..end).rev() {
            let key = self.key(level, index)?.checked_add(by).ok_or(Errno::EFBIG)?;
            self.put_key(level, index, key)?;
        }
        if first == 0 && end > 0 && level > 0 {
            self.fix_keys(level)?;
        }
        self.valid = false;
        Ok((first == 0 && low > from.into()).then_some(low))
    }

    /// The first extent of the leaf that begins at `from` or later.
    fn first_from(&self, from: u32) -> Result<usize> {
        let entries = usize::from(self.node(self.depth)?.entries);
        let (mut low, mut high) = (0, entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key(self.depth, middle)? < from { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}
