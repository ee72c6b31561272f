// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Orphans: inodes without a name that are still open, and files that are being cut. Should we not come to the end of it,
//! the next mount does. They are kept in a list that runs through `i_dtime` from the superblock on, or, with the feature
//! `orphan_file`, in the slots of a file.
//!
//! The lock of the orphans is the last one a transaction takes before the groups. Taking an inode off the list changes
//! another inode, whose node is not locked: its checksum is adjusted for just that change, and who seals an inode that is
//! on the list holds the lock of the orphans ([`Txn::seal`]).

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

use bento::fs::Checksum;
use bento::prelude::*;

use crate::Rext4;
use crate::alloc::Ticket;
use crate::check;
use crate::disk::{Ip, inode, superblock as sb};
use crate::txn::{BlockLock, Txn};

/// The place of an orphan that is in the list, not in the file.
const IN_LIST: u32 = u32::MAX;
/// `ob_magic` at the end of the orphan file's blocks.
const MAGIC: u32 = 0x0b10_ca04;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Settled,
    /// A running transaction puts it there; settled when that commits, else nothing.
    Coming(Ticket),
    /// The other way round.
    Leaving(Ticket),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Member {
    ino: u32,
    /// In the file, or [`IN_LIST`].
    place: u32,
    standing: Standing,
}

/// Which inodes are orphans, so that nobody has to look for them on the disk: in the order of the list, its head last.
#[derive(Default)]
struct Members(Vec<Member>);

impl State for Members {
    const SHAPE: &'static bento::state::Shape = <Vec<(u32, u32)> as State>::SHAPE;

    fn save(&self, out: &mut bento::state::Saver<'_>) -> Result<()> {
        // Nothing runs meanwhile: what is coming did not commit, what is leaving has stayed.
        let mut members = Vec::new();
        members.try_reserve_exact(self.0.len())?;
        let stay = self.0.iter().filter(|member| !matches!(member.standing, Standing::Coming(_)));
        members.extend(stay.map(|member| (member.ino, member.place)));
        members.save(out)
    }

    fn load(from: &mut bento::state::Loader<'_>) -> Result<Self> {
        let members = Vec::<(u32, u32)>::load(from)?;
        Ok(Members(
            members.into_iter().map(|(ino, place)| Member { ino, place, standing: Standing::Settled }).collect(),
        ))
    }
}

#[derive(State, Default)]
pub struct Orphans {
    /// Held by transactions that change them.
    #[state(skip)]
    lock: BlockLock,
    #[state(1)]
    members: Mutex<Members>,
    #[state(2)]
    count: AtomicU32,
    /// The blocks of the orphan file; none without the feature.
    #[state(3)]
    pub file: Vec<u64>,
    #[state(4)]
    pub checksum: Option<Checksum>,
}

/// What a transaction does to them.
#[derive(Default)]
pub(crate) struct Staged {
    locked: Cell<bool>,
    /// Some are coming or leaving, under its ticket.
    changed: Cell<bool>,
}

impl Orphans {
    /// May `ino` be one? Never wrong when it says no.
    #[inline]
    pub fn has(&self, ino: u32) -> bool {
        self.count.load(Ordering::Acquire) != 0 && self.members.lock().0.iter().any(|member| member.ino == ino)
    }

    /// Sweeps up what transactions that were undone had changed.
    fn sweep(&self, members: &mut Members, fs: &Rext4) {
        let running = |ticket| fs.groups.is_running(ticket);
        members.0.retain_mut(|member| match member.standing {
            Standing::Coming(ticket) => running(ticket),
            Standing::Leaving(ticket) if !running(ticket) => {
                member.standing = Standing::Settled;
                true
            }
            _ => true,
        });
        self.count.store(members.0.len() as u32, Ordering::Release);
    }

    fn add(&self, fs: &Rext4, member: Member) -> Result<()> {
        let mut members = self.members.lock();
        self.sweep(&mut members, fs);
        members.0.try_reserve(1)?;
        members.0.push(member);
        self.count.store(members.0.len() as u32, Ordering::Release);
        Ok(())
    }

    /// The transaction that had `ticket` has committed. Its locks are let go: others may have changed the same inodes since.
    pub(crate) fn settle(&self, staged: &Staged, ticket: Ticket) {
        if !staged.changed.get() {
            return;
        }
        let mut members = self.members.lock();
        members.0.retain_mut(|member| match member.standing {
            Standing::Coming(by) if by == ticket => {
                member.standing = Standing::Settled;
                true
            }
            Standing::Leaving(by) => by != ticket,
            _ => true,
        });
        self.count.store(members.0.len() as u32, Ordering::Release);
    }
}

/// Slots in a block of the orphan file.
fn slots(block: &Block<'_>) -> u32 {
    (block.len() as u32).saturating_sub(8) / 4
}

impl<'call> Txn<'call> {
    pub(crate) fn lock_orphans(&self) -> Result<()> {
        if !self.pending.orphans.locked.replace(true) {
            self.tx.lock(&self.fs.orphans.lock)?;
        }
        Ok(())
    }

    /// Puts `inode` on the orphan list: it is freed or cut at the next mount, should we not come to it.
    pub fn orphan_add(&self, ip: &Ip<'_>) -> Result<()> {
        self.lock_orphans()?;
        let orphans = &self.fs.orphans;
        {
            let mut members = orphans.members.lock();
            orphans.sweep(&mut members, self.fs);
            if members.0.iter().any(|member| member.ino == ip.ino && !matches!(member.standing, Standing::Leaving(_))) {
                return Ok(());
            }
        }
        let place = match self.orphan_slot(ip.ino)? {
            Some(place) => place,
            None => {
                let block = self.fs.super_block(self.device)?;
                let head: u32 = block.get(self.fs.sb.super_at(sb::LAST_ORPHAN))?;
                ip.put(self, inode::DTIME, head)?;
                self.put_super(&block, sb::LAST_ORPHAN, ip.ino)?;
                IN_LIST
            }
        };
        self.pending.orphans.changed.set(true);
        orphans.add(self.fs, Member { ino: ip.ino, place, standing: Standing::Coming(self.pending.ticket()?) })
    }

    /// Puts `ino` into a free slot of the orphan file, if there is one.
    fn orphan_slot(&self, ino: u32) -> Result<Option<u32>> {
        for (index, number) in self.fs.orphans.file.iter().enumerate() {
            let block = self.device.read(*number)?;
            let slots = slots(&block);
            for slot in 0..slots {
                let at = slot as usize * 4;
                if block.get::<u32>(at)? == 0 {
                    self.put_orphan(&block, at, ino)?;
                    return Ok(Some(index as u32 * slots + slot));
                }
            }
        }
        Ok(None)
    }

    fn put_orphan(&self, block: &Block<'call>, at: usize, value: u32) -> Result<()> {
        if let Some(checksum) = self.fs.orphans.checksum {
            self.tx.write_summed(block, checksum)?;
        }
        self.tx.put(block, at, value)
    }

    /// Takes it off again, if it is on it.
    pub fn orphan_remove(&self, ip: &Ip<'_>) -> Result<()> {
        let (fs, orphans) = (self.fs, &self.fs.orphans);
        if !orphans.has(ip.ino) {
            return Ok(());
        }
        self.lock_orphans()?;
        let ticket = self.pending.ticket()?;
        // The member, and who comes after it: the one whose link names it.
        let found = {
            let mut members = orphans.members.lock();
            orphans.sweep(&mut members, fs);
            let gone = |member: &Member| matches!(member.standing, Standing::Leaving(_));
            let index = members.0.iter().position(|member| member.ino == ip.ino && !gone(member));
            index.and_then(|index| {
                let mut later = members.0.iter().skip(index + 1);
                let next = later.find(|member| member.place == IN_LIST && !gone(member)).map(|member| member.ino);
                let member = members.0.get_mut(index)?;
                member.standing = Standing::Leaving(ticket);
                Some((member.place, next))
            })
        };
        let Some((place, next)) = found else { return Ok(()) };
        self.pending.orphans.changed.set(true);
        if place != IN_LIST {
            return self.clear_orphan_slot(ip.ino, place);
        }
        let behind: u32 = ip.get(inode::DTIME)?;
        match next {
            None => {
                let block = fs.super_block(self.device)?;
                if block.get::<u32>(fs.sb.super_at(sb::LAST_ORPHAN))? != ip.ino {
                    return Err(self.bad_list(ip.ino));
                }
                self.put_super(&block, sb::LAST_ORPHAN, behind)?;
            }
            Some(next) => {
                let other = fs.ip(self.device, next)?;
                if other.get::<u32>(inode::DTIME)? != ip.ino {
                    return Err(self.bad_list(ip.ino));
                }
                other.relink(self, behind)?;
            }
        }
        ip.put(self, inode::DTIME, 0u32)
    }

    #[cold]
    fn bad_list(&self, ino: u32) -> Errno {
        self.fs.corrupt(self.device, format_args!("the orphan list does not lead to inode {ino}"))
    }

    fn clear_orphan_slot(&self, ino: u32, place: u32) -> Result<()> {
        let per_block = self.fs.sb.block_size.saturating_sub(8) / 4;
        let number = self.fs.orphans.file.get((place / per_block) as usize).ok_or(Errno::EUCLEAN)?;
        let block = self.device.read(*number)?;
        let at = (place % per_block) as usize * 4;
        if block.get::<u32>(at)? != ino {
            let what = format_args!("slot {place} of the orphan file is not that of inode {ino}");
            return Err(self.fs.corrupt(self.device, what));
        }
        self.put_orphan(&block, at, 0)
    }
}

impl Rext4 {
    /// Reads who is an orphan from the disk.
    pub fn load_orphans(&self, device: Device<'_>) -> Result<()> {
        let mut found = Vec::new();
        let block = self.super_block(device)?;
        let mut ino: u32 = block.get(self.sb.super_at(sb::LAST_ORPHAN))?;
        drop(block);
        while ino != 0 {
            // The list runs from the newest to the oldest, and cannot be longer than there are inodes.
            if found.len() > self.sb.inodes as usize || ino < self.sb.first_inode || ino > self.sb.inodes {
                return Err(self.corrupt(device, format_args!("the orphan list leads to inode {ino}")));
            }
            found.try_reserve(1)?;
            found.push(Member { ino, place: IN_LIST, standing: Standing::Settled });
            ino = self.ip(device, ino)?.get(inode::DTIME)?;
        }
        found.reverse();
        for (index, number) in self.orphans.file.iter().enumerate() {
            let block = device.read(*number)?;
            let slots = slots(&block);
            self.check_orphan_block(device, &block)?;
            for slot in 0..slots {
                let ino: u32 = block.get(slot as usize * 4)?;
                if ino == 0 {
                    continue;
                }
                if ino < self.sb.first_inode || ino > self.sb.inodes {
                    return Err(self.corrupt(device, format_args!("the orphan file names inode {ino}")));
                }
                found.try_reserve(1)?;
                found.push(Member { ino, place: index as u32 * slots + slot, standing: Standing::Settled });
            }
        }
        let mut members = self.orphans.members.lock();
        self.orphans.count.store(found.len() as u32, Ordering::Release);
        members.0 = found;
        Ok(())
    }

    fn check_orphan_block(&self, device: Device<'_>, block: &Block<'_>) -> Result<()> {
        let (end, number) = (block.len(), block.number());
        let wrong = || {
            if block.get::<u32>(end.saturating_sub(8))? != MAGIC {
                return Ok(Some("is none"));
            }
            if !self.sb.checksums() {
                return Ok(None);
            }
            let seed = bento::fs::crc32c(self.orphan_seed(device)?, &number.to_le_bytes());
            let sum = block.crc32c(seed, 0, slots(block) as usize * 4)?;
            Ok((block.get::<u32>(end - 4)? != sum).then_some("has a wrong checksum"))
        };
        let bad = |what| self.corrupt(device, format_args!("block {number} of the orphan file {what}"));
        check::once(device, block, wrong, bad).map(drop)
    }

    /// What checksums of the orphan file's blocks begin with.
    pub fn orphan_seed(&self, device: Device<'_>) -> Result<u32> {
        let ip = self.ip(device, self.sb.orphan_inode)?;
        Ok(self.sb.inode_seed(ip.ino, ip.generation()?))
    }

    /// The newest orphan, if there is one.
    pub fn next_orphan(&self) -> Option<u32> {
        let mut members = self.orphans.members.lock();
        self.orphans.sweep(&mut members, self);
        members.0.last().map(|member| member.ino)
    }
}
