// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From a device to an instance and back: options, journal, the walk over the groups, the superblock's state.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bento::fs::{Checksum, Field, Journal, JournalRun, OnError, Space, Why};
use bento::options::{OptionError, OptionValue};
use bento::prelude::*;

use crate::alloc::Groups;
use crate::disk::{INODE_UNINIT, Super, compat, incompat, ro_compat, superblock as sb};
use crate::superblock::{Raw, parse, unwritable};
use crate::txn::Txn;
use crate::{Rext4, journal, node};

/// `barrier`, `barrier=0`, `barrier=1`.
struct Switch(bool);

impl OptionValue for Switch {
    fn from_option(value: Option<&[u8]>) -> Result<Self, OptionError> {
        match value {
            None | Some(b"1") => Ok(Switch(true)),
            Some(b"0") => Ok(Switch(false)),
            Some(_) => Err(OptionError::Invalid("0 or 1")),
        }
    }
}

impl From<bool> for Switch {
    fn from(on: bool) -> Switch {
        Switch(on)
    }
}

/// ext4's, in seconds.
const COMMIT_INTERVAL: u32 = 5;

/// What ext4 has, as far as it makes sense here. Those that only name what is done anyway are taken and not looked at.
#[derive(MountOptions)]
#[allow(dead_code)]
struct Options {
    #[option(default = Vec::new())]
    errors: Vec<u8>,
    noload: bool,
    norecovery: bool,
    #[option(default = b"ordered".to_vec())]
    data: Vec<u8>,
    /// Seconds; 0 is [`COMMIT_INTERVAL`].
    #[option(default = 0)]
    commit: u32,
    #[option(default = Switch(true), off = "nobarrier")]
    barrier: Switch,
    /// Of a copy of the superblock, in units of 1 KiB.
    #[option(default = 1)]
    sb: u64,
    resuid: Option<u32>,
    resgid: Option<u32>,
    #[option(off = "nodiscard")]
    discard: bool,
    #[option(off = "bsddf")]
    minixdf: bool,
    #[option(default = Switch(true), off = "noblock_validity")]
    block_validity: Switch,
    user_xattr: bool,
    acl: bool,
    delalloc: bool,
    /// A file that replaces another is never empty after a crash, whether it was synced or not.
    #[option(default = Switch(true), off = "noauto_da_alloc")]
    auto_da_alloc: Switch,
    journal_checksum: bool,
    nojournal_checksum: bool,
    noinit_itable: bool,
    nogrpid: bool,
    noquota: bool,
}

impl Options {
    /// Values that name what there is not.
    fn wrong(&self) -> Option<&'static str> {
        if self.data != b"ordered" {
            return Some("data= can only be ordered");
        }
        if !matches!(&self.errors[..], b"" | b"continue" | b"remount-ro" | b"panic") {
            return Some("errors= is continue, remount-ro or panic");
        }
        None
    }

    fn on_error(&self, stored: u16) -> u32 {
        let what = match &self.errors[..] {
            b"continue" => OnError::Continue,
            b"remount-ro" => OnError::ReadOnly,
            b"panic" => OnError::Panic,
            _ => match stored {
                2 => OnError::ReadOnly,
                3 => OnError::Panic,
                _ => OnError::Continue,
            },
        };
        what as u32
    }

    /// Seconds.
    fn commit_interval(&self) -> u32 {
        if self.commit == 0 { COMMIT_INTERVAL } else { self.commit }
    }

    fn no_journal(&self) -> bool {
        self.noload || self.norecovery
    }
}

/// What a mount has settled, and counts that statfs shows.
#[derive(State)]
pub struct Settings {
    #[state(1)]
    on_error: AtomicU32,
    #[state(2)]
    pub(crate) super_sum: Option<Checksum>,
    /// Blocks that no file can have, for statfs.
    #[state(3)]
    overhead: AtomicU64,
    #[state(4)]
    minixdf: AtomicBool,
    #[state(5)]
    pub(crate) free_inodes: AtomicU64,
    /// The superblock says that it is mounted.
    #[state(6)]
    in_use: AtomicBool,
    /// `s_state` as it was before.
    #[state(7)]
    state: AtomicU32,
    /// Contradictions found, and when the last one was.
    #[state(8)]
    errors: AtomicU32,
    #[state(9)]
    last_error: AtomicU64,
    #[state(10)]
    has_journal: bool,
    /// What the mount before left half-way is finished; whoever is an orphan since is in use.
    #[state(11)]
    recovered: AtomicBool,
    /// What is freed is also discarded.
    #[state(12)]
    discard: AtomicBool,
}

impl Settings {
    pub fn on_error(&self) -> OnError {
        match self.on_error.load(Ordering::Relaxed) {
            number if number == OnError::ReadOnly as u32 => OnError::ReadOnly,
            number if number == OnError::Panic as u32 => OnError::Panic,
            _ => OnError::Continue,
        }
    }

    pub fn has_journal(&self) -> bool {
        self.has_journal
    }

    pub fn discards(&self) -> bool {
        self.discard.load(Ordering::Relaxed)
    }

    pub fn count_error(&self, device: Device<'_>) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.last_error.store(device.now().sec as u64, Ordering::Relaxed);
    }
}

/// Reads the superblock at byte `start`, with whatever block size the device has now.
fn read_super(cx: &MountContext, start: u64) -> Result<(Super, u16, u64)> {
    let device = cx.device();
    let size = u64::from(device.block_size());
    let block = device.read(start / size).inspect_err(|_| {
        cx.refuse(format_args!("no superblock can be read at byte {start}"));
    })?;
    let raw = Raw { block: &block, at: (start % size) as usize };
    let sb = parse(cx, &raw, device.size(), start)?;
    Ok((sb, raw.u16(sb::ERRORS)?, raw.wide(sb::RESERVED_LO, sb::RESERVED_HI)?))
}

pub fn mount(cx: &MountContext) -> Result<Rext4> {
    let options: Options = cx.options()?;
    if let Some(wrong) = options.wrong() {
        return Err(cx.refuse(format_args!("{wrong}")));
    }
    let device = cx.device();
    let restart = cx.why() == Why::Restart;
    let start = options.sb.saturating_mul(1024);
    if !restart && [1024, 2048, 4096].into_iter().all(|size| cx.set_block_size(size).is_err()) {
        return Err(cx.refuse(format_args!("the device takes no block size from 1024 to 4096 bytes")));
    }
    let (first, errors, _) = read_super(cx, start)?;
    let read_only = cx.flags().read_only;
    if !restart && device.block_size() != first.block_size {
        let size = first.block_size;
        cx.set_block_size(size)
            .map_err(|_| cx.refuse(format_args!("blocks of {size} bytes are not supported here")))?;
    }
    if options.sb != 1 && first.has_incompat(incompat::META_BG) {
        return Err(cx.refuse(format_args!("sb= with feature meta_bg")));
    }

    let settings = Settings {
        on_error: AtomicU32::new(options.on_error(errors)),
        super_sum: None,
        overhead: AtomicU64::new(0),
        minixdf: AtomicBool::new(options.minixdf),
        free_inodes: AtomicU64::new(0),
        in_use: AtomicBool::new(restart && !read_only),
        state: AtomicU32::new(0),
        errors: AtomicU32::new(0),
        last_error: AtomicU64::new(0),
        recovered: AtomicBool::new(restart && !read_only),
        has_journal: first.journal_inode != 0 && !options.no_journal(),
        discard: AtomicBool::new(options.discard),
    };
    if options.discard && !settings.has_journal {
        return Err(cx.refuse(format_args!("discard needs a journal, which says when what was freed stays so")));
    }
    let groups = Groups::new(first.groups)?;
    let mut fs = Rext4::new(first, groups, settings);
    if fs.sb.checksums() {
        let at = fs.sb.super_offset;
        fs.settings.super_sum = Some(cx.add_checksum(at, sb::CHECKSUM as u32, at + sb::CHECKSUM as u32, !0, false)?);
    }
    let journal = fs.open_journal(cx, &options)?;

    // What was replayed may have changed anything but the shape.
    let (sb, _, reserved) = read_super(cx, start)?;
    if (sb.blocks, sb.groups, sb.inode_size, sb.block_size)
        != (fs.sb.blocks, fs.sb.groups, fs.sb.inode_size, fs.sb.block_size)
    {
        return Err(cx.refuse(format_args!("the journal has changed the size; run e2fsck")));
    }
    fs.sb = sb;
    let free = fs.walk(device)?;
    for run in &journal {
        fs.zones.add(run.physical, run.count)?;
    }
    fs.orphan_file(cx)?;
    fs.zones.check_mappings(options.block_validity.0);
    if let Some(block) = fs.zones.finish()
        && options.block_validity.0
    {
        let what = "superblock, descriptors, bitmaps, inode tables, journal and orphan file";
        return Err(cx.refuse(format_args!("block {block} is used twice for metadata ({what}); run e2fsck")));
    }
    if restart {
        fs.load_orphans(device)?;
        // As the mount found it; without a journal that is not known any more, and e2fsck may as well have a look.
        let state: u16 = fs.super_block(device)?.get(fs.sb.super_at(sb::STATE))?;
        fs.settings.state.store(state.into(), Ordering::Relaxed);
    }

    cx.set_root(Ino::new(crate::disk::inode::ROOT.into()).unwrap_or(Ino::ROOT));
    cx.set_magic(sb::EXT4_MAGIC.into());
    cx.set_name_max(255);
    // Two more bits of seconds come with the nanoseconds.
    let (granularity, last) = if fs.sb.inode_size > 128 { (1, 0x3_7fff_ffff) } else { (1_000_000_000, 0x7fff_ffff) };
    cx.set_time_granularity(granularity);
    cx.set_time_range(-0x8000_0000, last);
    cx.set_max_file_size(fs.max_file_size());
    cx.set_auto_da_alloc(options.auto_da_alloc.0);
    let margin = if fs.sb.has_incompat(incompat::EXTENTS) { (fs.sb.blocks / 50).min(4096) } else { 0 };
    let block = fs.super_block(device)?;
    let owner = |option: Option<u32>, offset| match option {
        Some(id) => Ok(id),
        None => block.get::<u16>(fs.sb.super_at(offset)).map(u32::from),
    };
    let owner = (owner(options.resuid, sb::RESERVED_UID)?, owner(options.resgid, sb::RESERVED_GID)?);
    drop(block);
    cx.set_space(&Space { free, root_only: reserved, margin, owner });
    if !restart && !read_only {
        fs.begin_use(device)?;
    }
    Ok(fs)
}

impl Rext4 {
    pub fn super_block<'call>(&self, device: Device<'call>) -> Result<Block<'call>> {
        device.read(self.sb.super_block)
    }

    /// The blocks of the journal, if it is used.
    fn open_journal(&self, cx: &MountContext, options: &Options) -> Result<Vec<JournalRun>> {
        let device = cx.device();
        let read_only = cx.flags().read_only;
        let (needs_recovery, journal_device, fast) = {
            let block = self.super_block(device)?;
            let features: u32 = block.get(self.sb.super_at(sb::INCOMPAT))?;
            let external: u32 = block.get(self.sb.super_at(sb::JOURNAL_DEVICE))?;
            (features & incompat::RECOVER != 0, external, self.sb.has_compat(compat::FAST_COMMIT))
        };
        if !self.sb.has_compat(compat::HAS_JOURNAL) {
            return match needs_recovery {
                true => Err(cx.refuse(format_args!("it needs recovery, but has no journal; run e2fsck"))),
                false => Ok(Vec::new()),
            };
        }
        if options.no_journal() {
            return match needs_recovery && !read_only {
                true => Err(cx.refuse(format_args!("it needs recovery: noload is for mounts with -o ro"))),
                false => Ok(Vec::new()),
            };
        }
        if journal_device != 0 || self.sb.journal_inode == 0 {
            return Err(
                cx.refuse(format_args!("a journal on another device is not supported; mount with -o ro,noload"))
            );
        }
        if needs_recovery && fast {
            let what = format_args!("it needs recovery, and fast commits cannot be replayed here; run e2fsck");
            return Err(cx.refuse(what));
        }
        let runs = journal::runs(self, device)?;
        let found = cx.open_journal(&Journal {
            runs: &runs,
            wide: self.sb.has_incompat(incompat::BIT64),
            checksums: self.sb.checksums(),
            barrier: options.barrier.0,
            discard: false,
            commit_interval: options.commit_interval(),
        });
        let found = found.map_err(|error| match error {
            // The device's own answer: a mount that only reads recovers as well.
            Errno::EROFS if needs_recovery => cx.refuse(format_args!(
                "it needs recovery, but its device cannot be written to; mount with -o ro,noload"
            )),
            error => error,
        })?;
        if let Some(error) = found.error {
            cx.log(format_args!("an earlier mount stopped the journal ({error}); run e2fsck"));
            self.settings.count_error(device);
        }
        Ok(runs)
    }

    /// Looks at every descriptor once, and notes what it says where. Returns the free blocks.
    fn walk(&mut self, device: Device<'_>) -> Result<u64> {
        let (mut free_blocks, mut free_inodes, mut overhead) = (0u64, 0u64, u64::from(self.sb.first_block));
        let tables = u64::from(self.sb.table_blocks());
        for group in 0..self.sb.groups {
            if group.is_multiple_of(1024) {
                let (number, _) = self.sb.descriptor_at(group);
                device.read_ahead(number, 32);
            }
            let descriptor = self.descriptor(device, group)?;
            let counts = descriptor.counts(&self.sb)?;
            let table = self.inode_table(device, group)?;
            let bitmaps = [descriptor.block_bitmap()?, descriptor.inode_bitmap()?];
            drop(descriptor);
            if let Some(bitmap) = bitmaps.into_iter().find(|bitmap| !self.sb.holds(*bitmap, 1)) {
                return Err(self.corrupt(device, format_args!("group {group}: a bitmap lies at block {bitmap}")));
            }
            self.zones.add(self.sb.first_block_of(group), self.sb.base_metadata(group).into())?;
            for bitmap in bitmaps {
                self.zones.add(bitmap, 1)?;
            }
            self.zones.add(table, tables)?;
            let (blocks, inodes) = (self.sb.blocks_of(group), self.sb.inodes_per_group);
            if counts.free_blocks > blocks || counts.free_inodes > inodes || counts.itable_unused > inodes {
                let what = format_args!("group {group}: more is free than there is");
                return Err(self.corrupt(device, what));
            }
            if counts.flags & INODE_UNINIT != 0 && counts.free_inodes != inodes {
                return Err(self.corrupt(device, format_args!("group {group}: inodes are in use, but have no bitmap")));
            }
            free_blocks += u64::from(counts.free_blocks);
            free_inodes += u64::from(counts.free_inodes);
            overhead += u64::from(self.sb.base_metadata(group)) + tables + 2;
        }
        if self.sb.journal_inode != 0 {
            overhead += self.ip(device, self.sb.journal_inode)?.len()? / u64::from(self.sb.block_size);
        }
        self.settings.overhead.store(overhead, Ordering::Relaxed);
        self.settings.free_inodes.store(free_inodes, Ordering::Relaxed);
        Ok(free_blocks)
    }

    /// Finds the orphan file's blocks.
    fn orphan_file(&mut self, cx: &MountContext) -> Result<()> {
        let device = cx.device();
        if self.sb.orphan_inode == 0 {
            if self.sb.has_compat(compat::ORPHAN_FILE) {
                return Err(cx.refuse(format_args!("feature orphan_file, but no such file; run e2fsck")));
            }
            return Ok(());
        }
        let runs = journal::runs_of(self, device, self.sb.orphan_inode, "orphan file")?;
        let mut blocks = Vec::new();
        for run in &runs {
            self.zones.add(run.physical, run.count)?;
            blocks.try_reserve(usize::try_from(run.count).map_err(|_| Errno::EUCLEAN)?)?;
            blocks.extend(run.physical..run.physical + run.count);
        }
        if self.sb.checksums() {
            let size = self.sb.block_size;
            let seed = self.orphan_seed(device)?;
            self.orphans.checksum = Some(cx.add_checksum(0, (size - 8) / 4 * 4, size - 4, seed, true)?);
        }
        self.orphans.file = blocks;
        Ok(())
    }

    /// The largest size of a file, in bytes.
    fn max_file_size(&self) -> u64 {
        let size = u64::from(self.sb.block_size);
        let huge = self.sb.has_ro_compat(ro_compat::HUGE_FILE);
        let counted = if huge { (1u64 << 48) - 1 } else { u32::MAX.into() };
        if self.sb.has_incompat(incompat::EXTENTS) {
            let by_count = if huge { u64::MAX } else { counted * 512 };
            return (u64::from(u32::MAX) * size).min(by_count).min(i64::MAX as u64);
        }
        let per = size / 4;
        let metadata = 1 + (1 + per) + (1 + per + per * per);
        let blocks = (12 + per + per * per + per * per * per).min(u32::MAX.into());
        (blocks * size).min((counted / (size / 512)).saturating_sub(metadata) * size)
    }

    /// Says in the superblock that it is mounted and may be written.
    fn begin_use(&self, device: Device<'_>) -> Result<()> {
        let txn = Txn::begin(self, device, 1)?;
        txn.lock_orphans()?;
        let block = self.super_block(device)?;
        let get16 = |offset| block.get::<u16>(self.sb.super_at(offset));
        let state = get16(sb::STATE)?;
        if state & sb::STATE_VALID == 0
            || state & sb::STATE_ERROR != 0
            || self.settings.errors.load(Ordering::Relaxed) > 0
        {
            device.error(format_args!("it has errors or was not unmounted; running e2fsck is recommended"));
        }
        self.settings.state.store(state.into(), Ordering::Relaxed);
        txn.put_super(&block, sb::MOUNT_COUNT, get16(sb::MOUNT_COUNT)?.wrapping_add(1))?;
        txn.put_time(&block, sb::MOUNT_TIME, sb::MOUNT_TIME_HI, device.now().sec)?;
        if self.settings.has_journal {
            let features = block.get::<u32>(self.sb.super_at(sb::INCOMPAT))?;
            txn.put_super(&block, sb::INCOMPAT, features | incompat::RECOVER)?;
        } else {
            txn.put_super(&block, sb::STATE, state & !sb::STATE_VALID)?;
        }
        if !self.orphans.file.is_empty() {
            let features = block.get::<u32>(self.sb.super_at(sb::RO_COMPAT))?;
            txn.put_super(&block, sb::RO_COMPAT, features | ro_compat::ORPHAN_PRESENT)?;
        }
        txn.commit()?;
        self.settings.in_use.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Brings the superblock's counts up to date; with `end`, it is not in use any more.
    fn write_super(&self, device: Device<'_>, end: bool) -> Result<()> {
        let (mut free_blocks, mut free_inodes) = (0u64, 0u64);
        for group in 0..self.sb.groups {
            let counts = self.descriptor(device, group)?.counts(&self.sb)?;
            free_blocks += u64::from(counts.free_blocks);
            free_inodes += u64::from(counts.free_inodes);
        }
        self.settings.free_inodes.store(free_inodes, Ordering::Relaxed);
        let block = self.super_block(device)?;
        let at = |offset| self.sb.super_at(offset);
        let raw = Raw { block: &block, at: at(0) };
        let known = (raw.wide(sb::FREE_BLOCKS_LO, sb::FREE_BLOCKS_HI)?, raw.u32(sb::FREE_INODES)?);
        // Before a transaction begins: one that changes nothing is committed all the same, with flushes.
        if known == (free_blocks, free_inodes as u32) && self.settings.errors.load(Ordering::Relaxed) == 0 && !end {
            return Ok(());
        }
        let txn = Txn::begin(self, device, 1)?;
        txn.lock_orphans()?;
        let errors = self.settings.errors.swap(0, Ordering::Relaxed);
        txn.put_super(&block, sb::FREE_BLOCKS_LO, free_blocks as u32)?;
        if self.sb.has_incompat(incompat::BIT64) {
            txn.put_super(&block, sb::FREE_BLOCKS_HI, (free_blocks >> 32) as u32)?;
        }
        txn.put_super(&block, sb::FREE_INODES, free_inodes as u32)?;
        txn.put_time(&block, sb::WRITE_TIME, sb::WRITE_TIME_HI, device.now().sec)?;
        if errors > 0 {
            let before = raw.u32(sb::ERROR_COUNT)?;
            let when = self.settings.last_error.load(Ordering::Relaxed) as i64;
            if before == 0 {
                txn.put_time(&block, sb::FIRST_ERROR_TIME, sb::FIRST_ERROR_TIME_HI, when)?;
            }
            txn.put_super(&block, sb::ERROR_COUNT, before.saturating_add(errors))?;
            txn.put_time(&block, sb::LAST_ERROR_TIME, sb::LAST_ERROR_TIME_HI, when)?;
            self.settings.state.fetch_or(sb::STATE_ERROR.into(), Ordering::Relaxed);
            txn.put_super(&block, sb::STATE, raw.u16(sb::STATE)? | sb::STATE_ERROR)?;
        }
        if end {
            txn.put_super(&block, sb::STATE, self.settings.state.load(Ordering::Relaxed) as u16)?;
            txn.put_super(&block, sb::INCOMPAT, raw.u32(sb::INCOMPAT)? & !incompat::RECOVER)?;
            if !self.orphans.file.is_empty() && self.next_orphan().is_none() {
                txn.put_super(&block, sb::RO_COMPAT, raw.u32(sb::RO_COMPAT)? & !ro_compat::ORPHAN_PRESENT)?;
            }
        }
        txn.commit()
    }

    pub fn statfs(&self, statfs: &mut Statfs) {
        let overhead = match self.settings.minixdf.load(Ordering::Relaxed) {
            true => 0,
            false => self.settings.overhead.load(Ordering::Relaxed),
        };
        statfs.blocks = self.sb.blocks.saturating_sub(overhead);
        statfs.files = self.sb.inodes.into();
        statfs.files_free = self.settings.free_inodes.load(Ordering::Relaxed);
        statfs.block_size = self.sb.block_size;
    }

    pub fn sync_fs(&self, device: Device<'_>) -> Result<()> {
        if self.settings.in_use.load(Ordering::Relaxed) { self.write_super(device, false) } else { Ok(()) }
    }

    pub fn unmount(&self, device: Device<'_>) {
        if !self.settings.in_use.swap(false, Ordering::Relaxed) {
            return;
        }
        // Those whose eviction has failed.
        if self.settings.state.load(Ordering::Relaxed) & u32::from(sb::STATE_ERROR) == 0 {
            self.finish_orphans(device);
        }
        if let Err(error) = self.write_super(device, true) {
            device.error(format_args!("the superblock could not be written: {error}"));
        }
    }

    pub fn reconfigure(&self, device: Device<'_>, change: &mut Reconfigure) -> Result<()> {
        let options: Options = change.options()?;
        if let Some(wrong) = options.wrong() {
            device.error(format_args!("{wrong}"));
            return Err(Errno::EINVAL);
        }
        let stored: u16 = self.super_block(device)?.get(self.sb.super_at(sb::ERRORS))?;
        let in_use = self.settings.in_use.load(Ordering::Relaxed);
        if change.flags().read_only {
            if in_use {
                self.write_super(device, true)?;
                self.settings.in_use.store(false, Ordering::Relaxed);
            }
        } else if !in_use {
            if let Some((bit, name)) = unwritable(self.sb.ro_compat) {
                device.error(format_args!("feature {bit:#x} ({name}) cannot be written to"));
                return Err(Errno::EROFS);
            }
            if self.sb.journal_inode != 0 && !self.settings.has_journal {
                device.error(format_args!("mounted without its journal; unmount it before it is written"));
                return Err(Errno::EROFS);
            }
            self.begin_use(device)?;
            self.recover(device)?;
        }
        self.settings.on_error.store(options.on_error(stored), Ordering::Relaxed);
        self.settings.minixdf.store(options.minixdf, Ordering::Relaxed);
        self.zones.check_mappings(options.block_validity.0);
        change.set_auto_da_alloc(options.auto_da_alloc.0);
        change.set_commit_interval(options.commit_interval());
        self.settings.discard.store(options.discard && self.settings.has_journal, Ordering::Relaxed);
        Ok(())
    }

    /// What an earlier mount left half-way.
    pub fn recover(&self, device: Device<'_>) -> Result<()> {
        if self.settings.recovered.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.load_orphans(device)?;
        if self.settings.state.load(Ordering::Relaxed) & u32::from(sb::STATE_ERROR) != 0 {
            if self.next_orphan().is_some() {
                device.error(format_args!("orphans are left to e2fsck: the file system has errors"));
            }
            return Ok(());
        }
        self.finish_orphans(device);
        Ok(())
    }

    /// Nobody has any of them open.
    fn finish_orphans(&self, device: Device<'_>) {
        let (mut freed, mut cut) = (0, 0);
        while let Some(ino) = self.next_orphan() {
            match node::finish_orphan(self, device, ino) {
                Ok(true) => freed += 1,
                Ok(false) => cut += 1,
                Err(error) => {
                    device.error(format_args!("orphan inode {ino} is left to e2fsck: {error}"));
                    break;
                }
            }
        }
        if freed + cut > 0 {
            device.error(format_args!("orphans: {freed} inodes freed, {cut} files cut"));
        }
    }
}

impl Txn<'_> {
    /// Writes a field of the superblock. The lock of the orphans is its lock.
    pub(crate) fn put_super<T: Field>(&self, block: &Block<'_>, offset: usize, value: T) -> Result<()> {
        if let Some(sum) = self.fs.settings.super_sum {
            self.tx.write_summed(block, sum)?;
        }
        self.tx.put(block, self.fs.sb.super_at(offset), value)
    }

    fn put_time(&self, block: &Block<'_>, low: usize, high: usize, seconds: i64) -> Result<()> {
        self.put_super(block, low, seconds as u32)?;
        self.put_super(block, high, (seconds >> 32) as u8)
    }
}
