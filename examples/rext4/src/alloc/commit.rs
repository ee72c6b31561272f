// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a transaction took and freed goes into bitmaps and descriptors, group by group in ascending order, each locked
//! until the transaction has ended.

use core::sync::atomic::Ordering;

use bento::prelude::*;

use super::groups::Group;
use crate::check;
use crate::disk::{BLOCK_UNINIT, Counts, Descriptor, INODE_UNINIT};
use crate::txn::Txn;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Take,
    Free,
    /// An inode; `count` is 1 for a directory.
    TakeInode,
    FreeInode,
}

/// A range of blocks of a group, or an inode of it.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub group: u32,
    pub start: u32,
    pub count: u32,
    pub kind: Kind,
}

impl crate::Rext4 {
    /// The blocks of a group, from the first to behind the last, that are the file system's own: in use also where there
    /// is no bitmap to say so ([`BLOCK_UNINIT`]).
    fn own_blocks(&self, group: u32) -> impl Iterator<Item = (usize, usize)> {
        let start = self.sb.first_block_of(group);
        let zones = self.zones.within(start, start + u64::from(self.sb.blocks_of(group)));
        zones.map(move |(from, to)| ((from - start) as usize, (to - start) as usize))
    }

    /// A bitmap, checked when it was just read. The group is locked.
    pub fn block_bitmap<'call>(&self, device: Device<'call>, descriptor: &Descriptor<'_>) -> Result<Block<'call>> {
        let (group, number) = (descriptor.group, descriptor.block_bitmap()?);
        self.check_place(device, group, number, "block bitmap")?;
        let bitmap = device.read(number)?;
        let wrong = || {
            if !descriptor.block_bitmap_matches(&self.sb, &bitmap)? {
                return Ok(Some(Wrong::Sum));
            }
            let free = self.own_blocks(group).find_map(|(from, to)| bitmap.find_bit(false, from, to));
            Ok(free.map(|at| Wrong::Free(self.sb.first_block_of(group) + at as u64)))
        };
        check::once(device, &bitmap, wrong, |wrong| match wrong {
            Wrong::Sum => self.corrupt(device, format_args!("group {group}: the block bitmap's checksum is wrong")),
            Wrong::Free(own) => {
                self.corrupt(device, format_args!("group {group}: the block bitmap has metadata, block {own}, as free"))
            }
        })?;
        Ok(bitmap)
    }

    pub fn inode_bitmap<'call>(&self, device: Device<'call>, descriptor: &Descriptor<'_>) -> Result<Block<'call>> {
        let (group, number) = (descriptor.group, descriptor.inode_bitmap()?);
        self.check_place(device, group, number, "inode bitmap")?;
        let bitmap = device.read(number)?;
        let wrong = || Ok((!descriptor.inode_bitmap_matches(&self.sb, &bitmap)?).then_some(()));
        check::once(device, &bitmap, wrong, |()| {
            self.corrupt(device, format_args!("group {group}: the inode bitmap's checksum is wrong"))
        })?;
        Ok(bitmap)
    }

    fn check_place(&self, device: Device<'_>, group: u32, number: u64, what: &str) -> Result<()> {
        if self.sb.holds(number, 1) {
            return Ok(());
        }
        Err(self.corrupt(device, format_args!("group {group}: the {what} lies at block {number}")))
    }
}

/// What a block bitmap can have wrong.
enum Wrong {
    Sum,
    /// A block of metadata is free in it.
    Free(u64),
}

/// A group's bitmaps, those that a transaction has come to need.
struct Work<'call> {
    blocks: Option<Block<'call>>,
    inodes: Option<Block<'call>>,
    counts: Counts,
}

impl<'call> Txn<'call> {
    /// Puts the changes of one group on the disk.
    pub(crate) fn apply(&self, group: u32, state: &mut Group) -> Result<()> {
        let descriptor = self.fs.descriptor(self.device, group)?;
        let old = descriptor.counts(&self.fs.sb)?;
        let mut work = Work { blocks: None, inodes: None, counts: old };
        let id = self.tx.id();
        let at_once = self.device.is_committed(id);
        let changes = self.pending.changes.borrow();
        for change in changes.iter().filter(|change| change.group == group) {
            match change.kind {
                Kind::Take | Kind::Free => {
                    self.apply_blocks(&descriptor, &mut work, change)
                        .inspect_err(|error| state.bad_blocks |= *error == Errno::EUCLEAN)?;
                    if change.kind == Kind::Free {
                        state.longest = None;
                        state.lowest = state.lowest.min(change.start);
                        if !at_once {
                            state.free(change.start, change.count, id)?;
                            if self.fs.settings.discards() {
                                let start = self.fs.sb.first_block_of(group) + u64::from(change.start);
                                self.tx.discard(start, change.count.into())?;
                            }
                        }
                    }
                }
                Kind::TakeInode | Kind::FreeInode => {
                    self.apply_inode(&descriptor, &mut work, change)
                        .inspect_err(|error| state.bad_inodes |= *error == Errno::EUCLEAN)?;
                    if change.kind == Kind::FreeInode {
                        self.fs.groups.freed_inodes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        if let Some(ticket) = self.pending.ticket.get() {
            state.settle(ticket);
        }
        if let Some(bitmap) = &work.blocks {
            descriptor.seal_block_bitmap(self, bitmap)?;
        }
        if let Some(bitmap) = &work.inodes {
            descriptor.seal_inode_bitmap(self, bitmap)?;
        }
        descriptor.put_counts(self, &old, &work.counts)?;
        descriptor.seal(self)
    }

    fn apply_blocks(&self, descriptor: &Descriptor<'call>, work: &mut Work<'call>, change: &Change) -> Result<()> {
        let (group, fs) = (change.group, self.fs);
        if work.blocks.is_none() {
            work.blocks = Some(self.bitmap_to_change(descriptor, &mut work.counts)?);
        }
        let Some(bitmap) = &work.blocks else { return Err(Errno::EUCLEAN) };
        let take = change.kind == Kind::Take;
        let (start, count) = (change.start as usize, change.count as usize);
        if bitmap.find_bit(take, start, start + count).is_some() {
            let (from, word) =
                (fs.sb.first_block_of(group) + u64::from(change.start), if take { "used" } else { "free" });
            let what = format_args!("group {group}: of {count} blocks from {from}, some are {word} already");
            return Err(fs.corrupt(self.device, what));
        }
        self.tx.put_bits(bitmap, start, count, take)?;
        let free = &mut work.counts.free_blocks;
        let new = if take { free.checked_sub(change.count) } else { free.checked_add(change.count) };
        match new.filter(|new| *new <= fs.sb.blocks_of(group)) {
            Some(new) => *free = new,
            None => {
                let what = format_args!("group {group}: the count of free blocks ({free}) contradicts the bitmap");
                return Err(fs.corrupt(self.device, what));
            }
        }
        Ok(())
    }

    /// The block bitmap, written for the first time if it never was.
    fn bitmap_to_change(&self, descriptor: &Descriptor<'call>, counts: &mut Counts) -> Result<Block<'call>> {
        let fs = self.fs;
        if counts.flags & BLOCK_UNINIT == 0 {
            return fs.block_bitmap(self.device, descriptor);
        }
        fs.check_place(self.device, descriptor.group, descriptor.block_bitmap()?, "block bitmap")?;
        let bitmap = self.tx.fresh(descriptor.block_bitmap()?)?;
        for (from, to) in fs.own_blocks(descriptor.group) {
            self.tx.put_bits(&bitmap, from, to - from, true)?;
        }
        let (end, bits) = (fs.sb.blocks_of(descriptor.group) as usize, bitmap.len() * 8);
        if end < bits {
            self.tx.put_bits(&bitmap, end, bits - end, true)?;
        }
        counts.flags &= !BLOCK_UNINIT;
        Ok(bitmap)
    }

    fn apply_inode(&self, descriptor: &Descriptor<'call>, work: &mut Work<'call>, change: &Change) -> Result<()> {
        let (group, fs) = (change.group, self.fs);
        let per_group = fs.sb.inodes_per_group;
        if work.inodes.is_none() {
            work.inodes = Some(if work.counts.flags & INODE_UNINIT == 0 {
                fs.inode_bitmap(self.device, descriptor)?
            } else {
                fs.check_place(self.device, group, descriptor.inode_bitmap()?, "inode bitmap")?;
                let bitmap = self.tx.fresh(descriptor.inode_bitmap()?)?;
                let (end, bits) = (per_group as usize, bitmap.len() * 8);
                if end < bits {
                    self.tx.put_bits(&bitmap, end, bits - end, true)?;
                }
                work.counts.flags &= !INODE_UNINIT;
                work.counts.itable_unused = per_group;
                bitmap
            });
            // A group with inodes in use has a bitmap of blocks, too: its table takes some.
            if work.counts.flags & BLOCK_UNINIT != 0 && work.blocks.is_none() {
                work.blocks = Some(self.bitmap_to_change(descriptor, &mut work.counts)?);
            }
        }
        let Some(bitmap) = &work.inodes else { return Err(Errno::EUCLEAN) };
        let take = change.kind == Kind::TakeInode;
        let index = change.start as usize;
        if bitmap.find_bit(take, index, index + 1).is_some() {
            let word = if take { "used" } else { "free" };
            let ino = u64::from(group) * u64::from(per_group) + u64::from(change.start) + 1;
            return Err(fs.corrupt(self.device, format_args!("group {group}: inode {ino} is {word} already")));
        }
        self.tx.put_bits(bitmap, index, 1, take)?;
        let counts = &mut work.counts;
        let step = |count: u32, by: u32, up: bool| if up { count.checked_add(by) } else { count.checked_sub(by) };
        let free = step(counts.free_inodes, 1, !take).filter(|free| *free <= per_group);
        let dirs = step(counts.used_dirs, change.count, take).filter(|dirs| *dirs <= per_group);
        let (Some(free), Some(dirs)) = (free, dirs) else {
            let what = format_args!("group {group}: the counts of inodes contradict the bitmap");
            return Err(fs.corrupt(self.device, what));
        };
        (counts.free_inodes, counts.used_dirs) = (free, dirs);
        if take && fs.sb.group_checksums() {
            counts.itable_unused = counts.itable_unused.min(per_group - change.start - 1);
        }
        Ok(())
    }
}
