// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What memory knows of the groups beyond their bitmaps: blocks and inodes that running transactions have taken, blocks
//! that are free on the disk but not before the journal's transaction that freed them has committed, and hints.

use core::sync::atomic::{AtomicU64, Ordering};

use bento::prelude::*;
use bento::state::{Loader, Saver, Shape};

use crate::Rext4;
use crate::disk::Descriptor;

/// Blocks of a group that must not be handed out although its bitmap has them free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    pub start: u32,
    pub count: u32,
    pub why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// A running transaction has taken them.
    Taken(Ticket),
    /// They were freed in this transaction of the journal.
    Freed(u64),
}

/// Names a running transaction among those that have taken something. When it ends without a commit it only gives the
/// ticket back: what was noted under it then means nothing, and is swept up by whoever comes across it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u16);

const WORDS: usize = 16;

/// One group. The lock protects its bitmaps and its descriptor on the disk as well.
#[derive(Default)]
pub struct Group {
    /// In ascending order.
    pub busy: Vec<Busy>,
    /// Inodes that running transactions have taken: their indices in the group.
    pub inodes: Vec<(u32, Ticket)>,
    /// No run of free blocks is longer.
    pub longest: Option<u32>,
    /// Blocks of the inode table up to here are known to be zeroed or in use.
    pub zeroed: u32,
}

pub struct Slot {
    /// The first block of the inode table; 0 = not known yet. It never changes.
    pub table: AtomicU64,
    pub state: Mutex<Group>,
}

impl Default for Slot {
    fn default() -> Self {
        // What an undone transaction had noted is swept up as ever; the bitmap is as it was before.
        Slot { table: AtomicU64::new(0), state: Mutex::mended(Group::default(), |group| group.longest = None) }
    }
}

pub struct Groups {
    slots: Vec<Slot>,
    /// A bit for each ticket that is in use.
    tickets: [AtomicU64; WORDS],
    /// Where the next directory of the root goes.
    pub spread: AtomicU64,
}

impl Groups {
    pub fn new(count: u32) -> Result<Groups> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(count as usize)?;
        slots.resize_with(count as usize, Slot::default);
        Ok(Groups { slots, tickets: Default::default(), spread: AtomicU64::new(0) })
    }

    pub fn slot(&self, group: u32) -> Result<&Slot> {
        self.slots.get(group as usize).ok_or(Errno::EUCLEAN)
    }

    pub fn ticket(&self) -> Result<Ticket> {
        for (index, word) in self.tickets.iter().enumerate() {
            let mut now = word.load(Ordering::Relaxed);
            while now != u64::MAX {
                let bit = now.trailing_ones();
                match word.compare_exchange_weak(now, now | 1 << bit, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => return Ok(Ticket((index * 64) as u16 + bit as u16)),
                    Err(other) => now = other,
                }
            }
        }
        // More than a thousand transactions at once.
        Err(Errno::EAGAIN)
    }

    fn word(&self, ticket: Ticket) -> Option<(&AtomicU64, u64)> {
        Some((self.tickets.get(usize::from(ticket.0 / 64))?, 1 << (ticket.0 % 64)))
    }

    pub fn give_back(&self, ticket: Ticket) {
        if let Some((word, bit)) = self.word(ticket) {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    pub fn is_running(&self, ticket: Ticket) -> bool {
        self.word(ticket).is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }
}

impl Group {
    /// Drops what keeps nobody from anything any more.
    pub fn sweep(&mut self, groups: &Groups, device: Device<'_>) {
        let mut committed = None;
        let before = self.busy.len();
        self.busy.retain(|busy| match busy.why {
            Why::Taken(ticket) => groups.is_running(ticket),
            Why::Freed(id) => {
                if committed.is_none_or(|(known, _)| known != id) {
                    committed = Some((id, device.is_committed(id)));
                }
                committed.is_some_and(|(_, done)| !done)
            }
        });
        if self.busy.len() < before {
            self.longest = None;
        }
    }

    /// Notes blocks that must not be handed out.
    pub fn hold(&mut self, new: Busy) -> Result<()> {
        let at = self.busy.partition_point(|busy| busy.start < new.start);
        if let Some(before) = at.checked_sub(1).and_then(|at| self.busy.get_mut(at))
            && before.why == new.why
            && before.start + before.count == new.start
        {
            before.count += new.count;
            return Ok(());
        }
        self.busy.try_reserve(1)?;
        self.busy.insert(at, new);
        Ok(())
    }

    /// What a transaction had taken is in the bitmaps now.
    pub fn settle(&mut self, ticket: Ticket) {
        self.busy.retain(|busy| busy.why != Why::Taken(ticket));
        self.inodes.retain(|(_, holder)| *holder != ticket);
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
        for group in first..self.sb.groups.min(first.saturating_add(per)) {
            let at = self.sb.descriptor_at(group).1;
            let one = Descriptor::new(&self.sb, group, device.read(block.number())?, at);
            if one.is_sound(&self.sb)? {
                continue;
            }
            // Whoever found all of it right before us may be changing it meanwhile.
            if device.read(block.number())?.is_checked() {
                return Ok(());
            }
            return Err(self.corrupt(device, format_args!("group {group}: the descriptor's checksum is wrong")));
        }
        block.set_checked();
        Ok(())
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
            for busy in &state.busy {
                if let Why::Freed(id) = busy.why {
                    freed.try_reserve(1)?;
                    freed.push((group as u32, busy.start, busy.count, id));
                }
            }
        }
        (self.slots.len() as u32, freed).save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let (count, freed) = <(u32, Vec<(u32, u32, u32, u64)>)>::load(from)?;
        let groups = Groups::new(count)?;
        for (group, start, count, id) in freed {
            let slot = groups.slots.get(group as usize).ok_or(Errno::EINVAL)?;
            slot.state.lock().hold(Busy { start, count, why: Why::Freed(id) })?;
        }
        Ok(groups)
    }
}
