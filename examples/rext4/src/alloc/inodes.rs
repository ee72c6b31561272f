// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Finding free inodes: files in their directory's group, directories near theirs, those of the root spread.

use core::sync::atomic::Ordering;

use bento::prelude::*;

use super::commit::{Change, Kind};
use super::groups::Group;
use crate::disk::{Counts, INODE_UNINIT, ITABLE_ZEROED, Ip, inode};
use crate::txn::Txn;

/// Blocks of an inode table that are zeroed at once when it grows into new ones: as many as it has, from and up to so many.
/// The caller waits for them.
const ZERO_AHEAD: (u32, u32) = (16, 128);

impl<'call> Txn<'call> {
    /// A free inode, all zero: directories are spread, others stay in their directory's group.
    pub fn allocate_inode(&self, parent: u32, directory: bool) -> Result<Ip<'call>> {
        let sb = &self.fs.sb;
        let home = parent.saturating_sub(1) / sb.inodes_per_group % sb.groups.max(1);
        let first = if directory { self.place_of_directory(parent, home)? } else { home };
        // Where a million files are in one directory, the groups near it are full: they are not looked at each time.
        let full = &self.fs.groups.slot(first)?.full;
        let known = full.load(Ordering::Relaxed);
        let now = self.fs.groups.freed_inodes.load(Ordering::Relaxed);
        let skip = if (known >> 32) as u32 == now { known as u32 } else { 0 };
        // Whoever took the last one of a group may have given it back: then what was skipped is looked at after all.
        for step in (skip..sb.groups).chain(0..skip) {
            let group = ((u64::from(first) + u64::from(step)) % u64::from(sb.groups)) as u32;
            if let Some(index) = self.try_inode(group, directory)? {
                if step != skip {
                    full.store(u64::from(now) << 32 | u64::from(step), Ordering::Relaxed);
                }
                return self.new_inode(group * sb.inodes_per_group + index + 1);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// The group where to begin looking for a new directory's inode.
    fn place_of_directory(&self, parent: u32, home: u32) -> Result<u32> {
        let (fs, sb) = (self.fs, &self.fs.sb);
        let start = if parent == inode::ROOT {
            // A hash of a count is spread well enough, and the same tree made twice looks the same.
            let next = fs.groups.spread.fetch_add(1, Ordering::Relaxed);
            let spread = (next.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % u64::from(sb.groups);
            let flex = sb.flex_size.max(1);
            if next == 0 { home } else { spread as u32 / flex * flex }
        } else {
            home
        };
        // Where there is room for what the directory will have.
        for step in 0..sb.groups.min(2 * sb.flex_size.max(4)) {
            let group = ((u64::from(start) + u64::from(step)) % u64::from(sb.groups)) as u32;
            let counts = fs.descriptor(self.device, group)?.counts(sb)?;
            if counts.free_inodes > sb.inodes_per_group / 8 && counts.free_blocks > sb.blocks_per_group / 16 {
                return Ok(group);
            }
        }
        Ok(start)
    }

    fn try_inode(&self, group: u32, directory: bool) -> Result<Option<u32>> {
        let (fs, device) = (self.fs, self.device);
        let mut state = fs.groups.slot(group)?.state.lock();
        let descriptor = fs.descriptor(device, group)?;
        let counts = descriptor.counts(&fs.sb)?;
        if counts.free_inodes == 0 || state.bad_inodes {
            return Ok(None);
        }
        state.inodes.retain(|(_, ticket)| fs.groups.is_running(*ticket));
        let end = fs.sb.inodes_per_group;
        let mut from = fs.sb.first_inode.saturating_sub(1).saturating_sub(group.saturating_mul(end));
        let bitmap = match counts.flags & INODE_UNINIT {
            0 => match fs.inode_bitmap(device, &descriptor) {
                Err(Errno::EUCLEAN) => {
                    state.bad_inodes = true;
                    return Ok(None);
                }
                bitmap => Some(bitmap?),
            },
            _ => None,
        };
        let index = loop {
            if from >= end {
                return Ok(None);
            }
            let index = match &bitmap {
                Some(bitmap) => match bitmap.find_bit(false, from as usize, end as usize) {
                    Some(index) => index as u32,
                    None => return Ok(None),
                },
                None => from,
            };
            if !state.inodes.iter().any(|(taken, _)| *taken == index) {
                break index;
            }
            from = index + 1;
        };
        self.zero_table(group, &mut state, &counts, index)?;
        self.blank_table(group, &state, bitmap.as_ref(), index)?;
        state.inodes.try_reserve(1)?;
        state.inodes.push((index, self.pending.ticket()?));
        self.note(Change { group, start: index, count: directory.into(), kind: Kind::TakeInode })?;
        Ok(Some(index))
    }

    /// Sees to it that the table's block with inode `index` was written once: what `mke2fs` left out is zeroed here.
    fn zero_table(&self, group: u32, state: &mut Group, counts: &Counts, index: u32) -> Result<()> {
        let sb = &self.fs.sb;
        if counts.flags & ITABLE_ZEROED != 0 {
            return Ok(());
        }
        let per_block = sb.block_size / u32::from(sb.inode_size);
        let unused = if counts.flags & INODE_UNINIT != 0 { sb.inodes_per_group } else { counts.itable_unused };
        let used = sb.inodes_per_group.saturating_sub(unused).div_ceil(per_block);
        let zeroed = state.zeroed.max(used);
        let block = index / per_block;
        if block < zeroed {
            return Ok(());
        }
        let (least, most) = ZERO_AHEAD;
        let end = (block + zeroed.clamp(least, most)).min(sb.table_blocks());
        let table = self.fs.inode_table(self.device, group)?;
        self.device.zero(table + u64::from(zeroed), u64::from(end.saturating_sub(zeroed)))?;
        state.zeroed = end;
        Ok(())
    }

    /// Where no inode of the table's block with inode `index` is in use, what it holds need not be read.
    fn blank_table(&self, group: u32, state: &Group, bitmap: Option<&Block<'_>>, index: u32) -> Result<()> {
        let sb = &self.fs.sb;
        let per_block = sb.block_size / u32::from(sb.inode_size);
        let (from, end) = (index / per_block * per_block, (index / per_block + 1) * per_block);
        let (from, end) = (from as usize, end.min(sb.inodes_per_group) as usize);
        let taken = |(taken, _): &(u32, _)| (from..end).contains(&(*taken as usize));
        if bitmap.is_some_and(|bitmap| bitmap.find_bit(true, from, end).is_some()) || state.inodes.iter().any(taken) {
            return Ok(());
        }
        let table = self.fs.inode_table(self.device, group)?;
        self.device.blank(table + u64::from(index / per_block)).map(drop)
    }

    fn new_inode(&self, ino: u32) -> Result<Ip<'call>> {
        let ip = self.fs.ip(self.device, ino)?;
        let links: u16 = ip.get(inode::LINKS)?;
        let dtime: u32 = ip.get(inode::DTIME)?;
        if links != 0 && dtime == 0 {
            return Err(self.fs.corrupt(self.device, format_args!("inode {ino} is free in its bitmap, but has links")));
        }
        ip.clear(self)?;
        if ip.size > inode::EXTRA_ISIZE {
            ip.put(self, inode::EXTRA_ISIZE, self.fs.sb.extra_isize)?;
        }
        Ok(ip)
    }

    /// Frees the inode with the commit. Its links are 0 and its time of deletion is set.
    pub fn free_inode(&self, ino: u32, directory: bool) -> Result<()> {
        let sb = &self.fs.sb;
        if ino < sb.first_inode || ino > sb.inodes {
            return Err(self.fs.corrupt(self.device, format_args!("inode {ino} is not one to be freed")));
        }
        let (group, index) = ((ino - 1) / sb.inodes_per_group, (ino - 1) % sb.inodes_per_group);
        self.note(Change { group, start: index, count: directory.into(), kind: Kind::FreeInode })
    }
}
