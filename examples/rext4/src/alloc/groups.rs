// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What memory knows of the groups beyond their bitmaps: blocks and inodes that running transactions have taken, blocks
//! that are free on the disk but not before the journal's transaction that freed them has committed, and hints.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bento::prelude::*;
use bento::state::{Loader, Saver, Shape};

use crate::Rext4;
use crate::check;
use crate::disk::Descriptor;

/// Blocks of a group that its bitmap has free, and a running transaction has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Taken {
    start: u32,
    count: u32,
    by: Ticket,
}

/// The same, but they were freed in transaction `id` of the journal, which has not committed as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Freed {
    start: u32,
    count: u32,
    id: u64,
}

/// Names a running transaction among those that have taken something. When it ends without a commit it only gives the
/// ticket back: what was noted under it then means nothing, and is swept up by whoever comes across it. So no two are the
/// same, ever: its place, and how often that place was used, which is odd while it is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u64);

const PLACES: usize = 1024;

/// One group. The lock protects its bitmaps and its descriptor on the disk as well.
#[derive(Default)]
pub struct Group {
    /// Few: of those that run now.
    taken: Vec<Taken>,
    /// Perhaps thousands, in ascending order; those of one transaction that lie side by side are one.
    freed: Vec<Freed>,
    /// Of those in `freed`, none is of an older transaction.
    oldest: Option<u64>,
    /// Inodes that running transactions have taken: their indices in the group.
    pub inodes: Vec<(u32, Ticket)>,
    /// No run of free blocks is longer.
    pub longest: Option<u32>,
    /// The bitmap has no free block before this one.
    pub lowest: u32,
    /// Blocks of the inode table up to here are known to be zeroed or in use.
    pub zeroed: u32,
    /// The bitmap of blocks, or that of inodes, was found corrupt: nothing is taken by it any more.
    pub bad_blocks: bool,
    pub bad_inodes: bool,
}

pub struct Slot {
    /// The first block of the inode table; 0 = not known yet. It never changes.
    pub table: AtomicU64,
    /// A search for an inode that begins here has so many full groups before it (the lower half); that is as old as
    /// [`Groups::freed_inodes`] was then (the upper half).
    pub full: AtomicU64,
    pub state: Mutex<Group>,
}

impl Default for Slot {
    /// What a panic leaves noted under a ticket means nothing, and what is noted as freed is kept for too long at worst.
    fn default() -> Slot {
        Slot {
            table: AtomicU64::new(0),
            full: AtomicU64::new(0),
            state: Mutex::mending(Group::default(), |group| group.longest = None),
        }
    }
}

pub struct Groups {
    slots: Vec<Slot>,
    /// The last ticket of each place, or what is one more when it was given back.
    tickets: Vec<AtomicU64>,
    /// Where the next directory of the root goes.
    pub spread: AtomicU64,
    /// How often an inode was freed.
    pub freed_inodes: AtomicU32,
}

impl Groups {
    pub fn new(count: u32) -> Result<Groups> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(count as usize)?;
        slots.resize_with(count as usize, Slot::default);
        let mut tickets = Vec::new();
        tickets.try_reserve_exact(PLACES)?;
        tickets.resize_with(PLACES, AtomicU64::default);
        Ok(Groups { slots, tickets, spread: AtomicU64::new(0), freed_inodes: AtomicU32::new(0) })
    }

    pub fn slot(&self, group: u32) -> Result<&Slot> {
        self.slots.get(group as usize).ok_or(Errno::EUCLEAN)
    }

    pub fn ticket(&self) -> Result<Ticket> {
        for (place, used) in self.tickets.iter().enumerate() {
            let now = used.load(Ordering::Relaxed);
            if now & 1 == 0 && used.compare_exchange(now, now + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(Ticket((now + 1) * PLACES as u64 + place as u64));
            }
        }
        // More than a thousand transactions at once.
        Err(Errno::EAGAIN)
    }

    fn place(&self, ticket: Ticket) -> Option<(&AtomicU64, u64)> {
        Some((self.tickets.get(ticket.0 as usize % PLACES)?, ticket.0 / PLACES as u64))
    }

    pub fn give_back(&self, ticket: Ticket) {
        if let Some((used, number)) = self.place(ticket) {
            used.store(number + 1, Ordering::Release);
        }
    }

    pub fn is_running(&self, ticket: Ticket) -> bool {
        self.place(ticket).is_some_and(|(used, number)| used.load(Ordering::Acquire) == number)
    }
}

impl Group {
    /// Drops what keeps nobody from anything any more.
    pub fn sweep(&mut self, groups: &Groups, device: Device<'_>) {
        let before = self.taken.len() + self.freed.len();
        self.taken.retain(|taken| groups.is_running(taken.by));
        if self.oldest.is_some_and(|oldest| device.is_committed(oldest)) {
            let mut committed = None;
            self.freed.retain(|freed| {
                if committed.is_none_or(|(known, _)| known != freed.id) {
                    committed = Some((freed.id, device.is_committed(freed.id)));
                }
                committed.is_some_and(|(_, done)| !done)
            });
            self.oldest = self.freed.iter().map(|freed| freed.id).min();
        }
        if self.taken.len() + self.freed.len() < before {
            self.longest = None;
        }
    }

    /// A running transaction takes blocks.
    pub fn take(&mut self, start: u32, count: u32, by: Ticket) -> Result<()> {
        self.taken.try_reserve(1)?;
        self.taken.push(Taken { start, count, by });
        Ok(())
    }

    /// Blocks are free as soon as transaction `id` of the journal has committed.
    pub fn free(&mut self, start: u32, count: u32, id: u64) -> Result<()> {
        let at = self.freed.partition_point(|freed| freed.start < start);
        let before = at.checked_sub(1).and_then(|before| self.freed.get(before));
        let joins_before = before.is_some_and(|before| before.id == id && before.start + before.count == start);
        let after = self.freed.get(at).filter(|after| after.id == id && start + count == after.start).copied();
        if joins_before && let Some(before) = self.freed.get_mut(at - 1) {
            before.count += count + after.map_or(0, |after| after.count);
            if after.is_some() {
                self.freed.remove(at);
            }
        } else if after.is_some()
            && let Some(after) = self.freed.get_mut(at)
        {
            (after.start, after.count) = (start, after.count + count);
        } else {
            self.freed.try_reserve(1)?;
            self.freed.insert(at, Freed { start, count, id });
        }
        self.oldest.get_or_insert(id);
        Ok(())
    }

    /// What a transaction had taken is in the bitmaps now.
    pub fn settle(&mut self, ticket: Ticket) {
        self.taken.retain(|taken| taken.by != ticket);
        self.inodes.retain(|(_, holder)| *holder != ticket);
    }

    /// If block `at` is not to be handed out whatever the bitmap says: the end of that range.
    pub fn held(&self, at: u32) -> Option<u32> {
        let covers = |start: u32, count: u32| start <= at && at - start < count;
        let taken = self.taken.iter().find(|taken| covers(taken.start, taken.count));
        if let Some(taken) = taken {
            return Some(taken.start + taken.count);
        }
        let last = self.freed.partition_point(|freed| freed.start <= at).checked_sub(1)?;
        let freed = self.freed.get(last).filter(|freed| covers(freed.start, freed.count))?;
        Some(freed.start + freed.count)
    }

    /// Where the first such range begins behind `at`.
    pub fn next_held(&self, at: u32) -> Option<u32> {
        let taken = self.taken.iter().map(|taken| taken.start).filter(|start| *start > at).min();
        let freed = self.freed.get(self.freed.partition_point(|freed| freed.start <= at)).map(|freed| freed.start);
        match (taken, freed) {
            (Some(taken), Some(freed)) => Some(taken.min(freed)),
            (taken, freed) => taken.or(freed),
        }
    }
}

impl Rext4 {
    /// The descriptor of `group`, its checksum verified.
    pub fn descriptor<'call>(&self, device: Device<'call>, group: u32) -> Result<Descriptor<'call>> {
        if group >= self.sb.groups {
            return Err(self.corrupt(device, format_args!("there is no group {group}")));
        }
        let (number, at) = self.sb.descriptor_at(group);
        let block = device.read(number)?;
        if !block.is_checked() {
            self.check_descriptors(device, &block, group)?;
        }
        Ok(Descriptor::new(&self.sb, group, block, at))
    }

    /// All descriptors of a block that was just read.
    #[cold]
    fn check_descriptors(&self, device: Device<'_>, block: &Block<'_>, member: u32) -> Result<()> {
        let per = self.sb.block_size / u32::from(self.sb.desc_size);
        let first = member / per * per;
        let wrong = || {
            for group in first..self.sb.groups.min(first.saturating_add(per)) {
                let at = self.sb.descriptor_at(group).1;
                if !Descriptor::new(&self.sb, group, device.read(block.number())?, at).is_sound(&self.sb)? {
                    return Ok(Some(group));
                }
            }
            Ok(None)
        };
        let bad = |group| self.corrupt(device, format_args!("group {group}: the descriptor's checksum is wrong"));
        check::once(device, block, wrong, bad).map(drop)
    }

    /// The first block of a group's inode table.
    pub fn inode_table(&self, device: Device<'_>, group: u32) -> Result<u64> {
        let slot = self.groups.slot(group)?;
        let known = slot.table.load(Ordering::Relaxed);
        if known != 0 {
            return Ok(known);
        }
        let table = self.descriptor(device, group)?.inode_table()?;
        if !self.sb.holds(table, u64::from(self.sb.table_blocks())) {
            return Err(self.corrupt(device, format_args!("group {group}: the inode table lies at block {table}")));
        }
        slot.table.store(table, Ordering::Relaxed);
        Ok(table)
    }
}

/// What crosses an upgrade: the blocks that are free only once the journal has committed. Nothing runs meanwhile, so
/// nothing is taken; all else is made again.
impl State for Groups {
    const SHAPE: &'static Shape = <(u32, Vec<(u32, u32, u32, u64)>) as State>::SHAPE;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        let mut freed = Vec::new();
        for (group, slot) in self.slots.iter().enumerate() {
            let state = slot.state.try_lock().ok_or(Errno::EBUSY)?;
            for one in &state.freed {
                freed.try_reserve(1)?;
                freed.push((group as u32, one.start, one.count, one.id));
            }
        }
        (self.slots.len() as u32, freed).save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let (count, freed) = <(u32, Vec<(u32, u32, u32, u64)>)>::load(from)?;
        let groups = Groups::new(count)?;
        for (group, start, count, id) in freed {
            let slot = groups.slots.get(group as usize).ok_or(Errno::EINVAL)?;
            slot.state.lock().free(start, count, id)?;
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_runs_join_on_both_sides() {
        let mut group = Group::default();
        for (start, count, id) in [(10, 5, 7), (20, 5, 7), (15, 5, 7), (25, 5, 8), (5, 5, 7)] {
            group.free(start, count, id).unwrap();
        }
        let freed = [Freed { start: 5, count: 20, id: 7 }, Freed { start: 25, count: 5, id: 8 }];
        assert_eq!(group.freed, freed);
    }

    /// What is held is what was taken or freed, block by block.
    #[test]
    fn held_is_what_a_plain_list_says() {
        let (mut group, mut plain) = (Group::default(), [false; 512]);
        let mut state = 88_172_645_463_325_252u64;
        for step in 0..400 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (start, count) = ((state % 500) as u32, (state >> 32) as u32 % 6 + 1);
            let range = start as usize..(start + count) as usize;
            if plain[range.clone()].iter().any(|held| *held) {
                continue;
            }
            plain[range].fill(true);
            match step % 8 {
                0 => group.take(start, count, Ticket(step)).unwrap(),
                _ => group.free(start, count, step / 100).unwrap(),
            }
            for at in 0..510u32 {
                let end = group.held(at);
                assert_eq!(end.is_some(), plain[at as usize], "block {at}");
                assert!(end.is_none_or(|end| plain[at as usize..end as usize].iter().all(|held| *held)));
                // Where nothing is held, the next that is.
                let next = (at + 1..512).find(|next| plain[*next as usize]);
                if end.is_none() {
                    assert_eq!(group.next_held(at), next, "after block {at}");
                }
            }
        }
    }
}
