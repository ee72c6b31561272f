// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A transaction of rext4: Bento's, and the blocks and inodes it takes and frees. Those are only noted, and put into
//! bitmaps and descriptors when it commits, group by group: no group is locked while a handler works, and what a transaction
//! that fails had taken was never on the disk.

use core::cell::{Cell, RefCell};
use core::ops::Deref;
use core::sync::atomic::Ordering;

use bento::fs::Credits;
use bento::prelude::*;

use crate::Rext4;
use crate::alloc::{Change, Groups, Kind, Ticket};
use crate::disk::Ip;
use crate::list::List;
use crate::orphan;

/// A lock for blocks alone: what a panic had changed of them is undone before it is let go.
pub(crate) struct BlockLock(Mutex<()>);

impl Default for BlockLock {
    fn default() -> BlockLock {
        BlockLock(Mutex::mending((), |()| ()))
    }
}

impl Deref for BlockLock {
    type Target = Mutex<()>;

    fn deref(&self) -> &Mutex<()> {
        &self.0
    }
}

/// What blocks are wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Contents of a file: what was reserved when they became dirty comes first.
    Data,
    /// Anything else.
    Metadata,
}

/// Groups a transaction may change without asking for more: a bitmap of blocks, one of inodes, and a descriptor each.
const GROUPS: u32 = 3;
/// The superblock, and a block of the orphan file or an inode of the orphan list.
const OTHERS: u32 = 3;

/// Blocks of an inode table that are read together: who wants one inode will want its neighbours.
const TABLE_AHEAD: u32 = 32;

pub struct Txn<'call> {
    pub fs: &'call Rext4,
    pub device: Device<'call>,
    pub tx: Transaction<'call>,
    pub(crate) pending: Pending<'call>,
}

/// What the commit has to do beyond the blocks that were changed. Dropped after `tx`: it is undone by then.
pub(crate) struct Pending<'call> {
    groups: &'call Groups,
    pub(crate) changes: RefCell<List<Change, 6>>,
    pub(crate) ticket: Cell<Option<Ticket>>,
    /// Different groups among the changes, about.
    touched: Cell<u32>,
    pub(crate) orphans: orphan::Staged,
}

impl Pending<'_> {
    /// What is taken in memory for this transaction carries this.
    pub(crate) fn ticket(&self) -> Result<Ticket> {
        if let Some(ticket) = self.ticket.get() {
            return Ok(ticket);
        }
        let ticket = self.groups.ticket()?;
        self.ticket.set(Some(ticket));
        Ok(ticket)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.get() {
            self.groups.give_back(ticket);
        }
    }
}

impl<'call> Txn<'call> {
    /// `credits` are the blocks the caller will change; those of bitmaps, descriptors and the superblock are added here.
    #[inline(always)]
    pub fn begin(fs: &'call Rext4, device: Device<'call>, credits: impl Into<Credits>) -> Result<Txn<'call>> {
        let mut credits = credits.into();
        credits.blocks += GROUPS * 3 + OTHERS;
        let tx = device.begin(credits)?;
        let pending = Pending {
            groups: &fs.groups,
            changes: RefCell::new(List::new()),
            ticket: Cell::new(None),
            touched: Cell::new(0),
            orphans: orphan::Staged::default(),
        };
        Ok(Txn { fs, device, tx, pending })
    }

    /// Notes something for the commit.
    pub(crate) fn note(&self, change: Change) -> Result<()> {
        let mut changes = self.pending.changes.borrow_mut();
        if let Some(last) = changes.last_mut()
            && last.group == change.group
            && last.kind == change.kind
            && matches!(change.kind, Kind::Take | Kind::Free)
            && last.start + last.count == change.start
        {
            last.count += change.count;
            return Ok(());
        }
        if !changes.iter().any(|other| other.group == change.group) {
            let touched = self.pending.touched.get() + 1;
            if touched > GROUPS {
                self.tx.extend(3)?;
            }
            self.pending.touched.set(touched);
        }
        changes.push(change)
    }

    /// Writes attributes into the inode (all that `Attr` has; the size from `disk_size`; `i_blocks` from `blocks`).
    pub fn store(&self, ip: &Ip<'_>, attr: &Attr) -> Result<()> {
        crate::node::store(self, ip, attr)
    }

    /// Brings the inode's checksum up to date: last, after all `put`s of this transaction.
    pub fn seal(&self, ip: &Ip<'_>) -> Result<()> {
        if !self.fs.sb.checksums() {
            return Ok(());
        }
        // Others may change the link to the next orphan and adjust the checksum for it.
        if self.fs.orphans.has(ip.ino) {
            self.lock_orphans()?;
        }
        ip.seal(self)
    }

    #[inline(never)]
    pub fn commit(self) -> Result<()> {
        let mut group = None;
        loop {
            let next = {
                let changes = self.pending.changes.borrow();
                let later = |change: &&Change| group.is_none_or(|group| change.group > group);
                changes.iter().filter(later).map(|change| change.group).min()
            };
            let Some(next) = next else { break };
            let mut state = self.tx.lock(&self.fs.groups.slot(next)?.state)?;
            self.apply(next, &mut state)?;
            group = Some(next);
        }
        let Txn { fs, tx, ref pending, .. } = self;
        tx.commit()?;
        // Not before: what is not committed is undone, and comes or leaves no more.
        if let Some(ticket) = pending.ticket.get() {
            fs.orphans.settle(&pending.orphans, ticket);
        }
        for change in pending.changes.borrow().iter() {
            match change.kind {
                Kind::TakeInode => fs.settings.free_inodes.fetch_sub(1, Ordering::Relaxed),
                Kind::FreeInode => fs.settings.free_inodes.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
        }
        Ok(())
    }
}

impl Rext4 {
    /// The inode in its table.
    pub fn ip<'call>(&self, device: Device<'call>, ino: u32) -> Result<Ip<'call>> {
        let sb = &self.sb;
        if ino == 0 || ino > sb.inodes {
            return Err(self.corrupt(device, format_args!("there is no inode {ino}")));
        }
        let (group, index) = ((ino - 1) / sb.inodes_per_group, (ino - 1) % sb.inodes_per_group);
        let at = u64::from(index) * u64::from(sb.inode_size);
        let size = u64::from(sb.block_size);
        let (table, block) = (self.inode_table(device, group)?, at / size);
        let ahead = block & !u64::from(TABLE_AHEAD - 1);
        let block =
            device.read_near(table + block, table + ahead, TABLE_AHEAD.min(sb.table_blocks() - ahead as u32))?;
        Ok(Ip::new(ino, block, (at % size) as usize, sb.inode_size.into()))
    }

    /// A block near which the contents of `ino` should lie when nothing better is known.
    pub fn goal(&self, ino: u32) -> u64 {
        let group = ino.saturating_sub(1) / self.sb.inodes_per_group;
        self.sb.first_block_of(group)
    }

    /// The file system contradicts itself: says what and where, does what `errors=` asks for, and gives `EUCLEAN`.
    #[cold]
    pub fn corrupt(&self, device: Device<'_>, what: core::fmt::Arguments<'_>) -> Errno {
        device.error(what);
        self.settings.count_error(device);
        device.fail(self.settings.on_error());
        Errno::EUCLEAN
    }
}
