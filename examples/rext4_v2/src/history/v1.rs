// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What rext4 version 1 saves, as `cargo bento freeze` wrote it. It is never changed: state of that version
//! is read by it.

#![allow(dead_code)]

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use bento::fs::Checksum;
use bento::prelude::*;
use bento::state::{Loader, Saver, Shape};

#[derive(State)]
#[state(fs = "rext4", version = 1, inode = Node)]
pub struct Rext4 {
    #[state(1)]
    pub sb: Super,
    #[state(2)]
    pub groups: Groups,
    #[state(3)]
    pub orphans: Orphans,
    #[state(4)]
    pub settings: Settings,
    /// 5 is version 2's.
    #[state(6)]
    pub zones: Zones,
}

#[derive(State, Default)]
pub struct Zones {
    /// From a block to the one before another, in ascending order, with something between each two.
    #[state(1)]
    pub list: Vec<(u64, u64)>,
    /// `block_validity`: mappings are looked at, too.
    #[state(2)]
    pub mappings: AtomicBool,
}

/// What is kept of a cached inode.
#[derive(State, Default)]
#[state(reload)]
pub struct Node;

/// What the superblock says and no mount changes.
#[derive(State, Clone, Debug)]
pub struct Super {
    #[state(1)]
    pub block_size: u32,
    #[state(2)]
    pub blocks: u64,
    #[state(3)]
    pub inodes: u32,
    /// The block that group 0 begins with: 1 with blocks of 1 KiB.
    #[state(4)]
    pub first_block: u32,
    #[state(5)]
    pub blocks_per_group: u32,
    #[state(6)]
    pub inodes_per_group: u32,
    #[state(7)]
    pub groups: u32,
    #[state(8)]
    pub inode_size: u16,
    /// Of a group descriptor: 32, or as `s_desc_size` says.
    #[state(9)]
    pub desc_size: u16,
    #[state(10)]
    pub compat: u32,
    #[state(11)]
    pub incompat: u32,
    #[state(12)]
    pub ro_compat: u32,
    /// What checksums of metadata begin with (`metadata_csum`).
    #[state(13)]
    pub seed: u32,
    #[state(14)]
    pub uuid: [u8; 16],
    /// Seed and default version of directory hashes; whether `char` was unsigned where they were made.
    #[state(15)]
    pub hash_seed: [u32; 4],
    #[state(16)]
    pub hash_version: u8,
    #[state(17)]
    pub hash_unsigned: bool,
    /// The first inode that is not reserved.
    #[state(18)]
    pub first_inode: u32,
    #[state(19)]
    pub flex_size: u32,
    /// What `s_want_extra_isize` asks for in new inodes.
    #[state(20)]
    pub extra_isize: u16,
    #[state(21)]
    pub first_meta_bg: u32,
    #[state(22)]
    pub reserved_gdt: u16,
    /// Where this superblock lies: block, and offset in it.
    #[state(23)]
    pub super_block: u64,
    #[state(24)]
    pub super_offset: u32,
    /// The only groups with copies, with `sparse_super2`.
    #[state(25)]
    pub backup_groups: [u32; 2],
    /// 0 without the feature, as the next one.
    #[state(26)]
    pub orphan_inode: u32,
    #[state(27)]
    pub journal_inode: u32,
}

pub struct Groups {
    pub slots: Vec<Slot>,
    /// A bit for each ticket that is in use.
    pub tickets: [AtomicU64; WORDS],
    /// Where the next directory of the root goes.
    pub spread: AtomicU64,
}

impl Groups {
    fn new(count: u32) -> Result<Groups> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(count as usize)?;
        slots.resize_with(count as usize, Slot::default);
        Ok(Groups { slots, tickets: Default::default(), spread: AtomicU64::new(0) })
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

#[derive(State, Default)]
pub struct Orphans {
    #[state(1)]
    pub members: Mutex<Members>,
    #[state(2)]
    pub count: AtomicU32,
    /// The blocks of the orphan file; none without the feature.
    #[state(3)]
    pub file: Vec<u64>,
    #[state(4)]
    pub checksum: Option<Checksum>,
}

/// What a mount has settled, and counts that statfs shows.
#[derive(State)]
pub struct Settings {
    #[state(1)]
    pub on_error: AtomicU32,
    #[state(2)]
    pub super_sum: Option<Checksum>,
    /// Blocks that no file can have, for statfs.
    #[state(3)]
    pub overhead: AtomicU64,
    #[state(4)]
    pub minixdf: AtomicBool,
    #[state(5)]
    pub free_inodes: AtomicU64,
    /// The superblock says that it is mounted.
    #[state(6)]
    pub in_use: AtomicBool,
    /// `s_state` as it was before.
    #[state(7)]
    pub state: AtomicU32,
    /// Contradictions found, and when the last one was.
    #[state(8)]
    pub errors: AtomicU32,
    #[state(9)]
    pub last_error: AtomicU64,
    #[state(10)]
    pub has_journal: bool,
    /// What the mount before left half-way is finished; whoever is an orphan since is in use.
    #[state(11)]
    pub recovered: AtomicBool,
    /// What is freed is also discarded.
    #[state(12)]
    pub discard: AtomicBool,
}

#[derive(Default)]
pub struct Slot {
    /// The first block of the inode table; 0 = not known yet. It never changes.
    pub table: AtomicU64,
    pub state: Mutex<Group>,
}

const WORDS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// A running transaction has taken them.
    Taken(Ticket),
    /// They were freed in this transaction of the journal.
    Freed(u64),
}

/// Blocks of a group that must not be handed out although its bitmap has them free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    pub start: u32,
    pub count: u32,
    pub why: Why,
}

/// Which inodes are orphans, so that nobody has to look for them on the disk: in the order of the list, its head last.
#[derive(Default)]
pub struct Members(pub Vec<Member>);

impl State for Members {
    const SHAPE: &'static bento::state::Shape = <Vec<(u32, u32)> as State>::SHAPE;
    fn save(&self, out: &mut bento::state::Saver<'_>) -> Result<()> {
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

impl Group {
    /// Notes blocks that must not be handed out.
    fn hold(&mut self, new: Busy) -> Result<()> {
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
}

/// Names a running transaction among those that have taken something. When it ends without a commit it only gives the
/// ticket back: what was noted under it then means nothing, and is swept up by whoever comes across it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(pub u16);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    pub ino: u32,
    /// In the file, or [`IN_LIST`].
    pub place: u32,
    pub standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    Settled,
    /// A running transaction puts it there; settled when that commits, else nothing.
    Coming(Ticket),
    /// The other way round.
    Leaving(Ticket),
}
