// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mounting, remounting and `statfs`.

use core::cell::Cell;
use core::marker::PhantomData;

use super::{Checksum, Ino};
use crate::abi;
use crate::errno::{Errno, Result};
use crate::host;
use crate::options::{self, MountOptions};

/// The generic VFS flags of a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountFlags {
    pub read_only: bool,
}

/// What `mount` gets and may settle.
pub struct MountContext<'call> {
    call: *mut abi::bento_call,
    args: *mut abi::bento_mount_args,
    why: Why,
    life: PhantomData<Cell<&'call mut ()>>,
}

/// Free blocks of a device.
#[derive(Clone, Default, Debug)]
pub struct Space {
    pub free: u64,
    /// Of those, what only `owner` and privileged tasks may take.
    pub root_only: u64,
    /// Of those, what is kept for the metadata that delayed allocations will need.
    pub margin: u64,
    /// User and group.
    pub owner: (u32, u32),
}

/// Where the journal lies, and how it is used.
#[derive(Debug)]
pub struct Journal<'a> {
    /// In the order of the journal's blocks, without gaps.
    pub runs: &'a [JournalRun],
    /// Block numbers beyond 2^32 occur.
    pub wide: bool,
    /// Its own blocks have checksums (version 3).
    pub checksums: bool,
    /// Writes are ordered by flushing the device's cache.
    pub barrier: bool,
    /// What it holds is dropped instead of replayed.
    pub discard: bool,
    /// Seconds; 0 = as the journal has it.
    pub commit_interval: u32,
}

/// A run of the journal's blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct JournalRun {
    /// Counts in the journal.
    pub logical: u64,
    /// On the device.
    pub physical: u64,
    pub count: u64,
}

const _: () = assert!(size_of::<JournalRun>() == size_of::<abi::bento_run>());

/// What opening the journal found.
#[derive(Debug)]
pub struct OpenJournal {
    /// Transactions replayed just now.
    pub replayed: u64,
    /// Why an earlier mount stopped it.
    pub error: Option<Errno>,
    /// Blocks one transaction can change at most.
    pub max_credits: u32,
}

/// Why an instance is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Why {
    /// `mount(2)`.
    Mount,
    /// A new instance below a live mount: the shim keeps inodes, attributes, pages and open files, so nothing is recovered
    /// and nothing that the mount already did to the device is done again (SAFETY.md S3).
    Restart,
}

impl<'call> MountContext<'call> {
    /// # Safety
    /// Both pointers are this call's and live for `'call` (SAFETY.md C1).
    pub(crate) unsafe fn from_raw(call: *mut abi::bento_call, args: *mut abi::bento_mount_args) -> Self {
        // SAFETY: the caller's promise.
        let why = match unsafe { (*args).why } {
            abi::BENTO_WHY_RESTART => Why::Restart,
            _ => Why::Mount,
        };
        MountContext { call, args, why, life: PhantomData }
    }

    fn args(&self) -> &abi::bento_mount_args {
        // SAFETY: SAFETY.md C1: written only through `set`, which holds no reference meanwhile.
        unsafe { &*self.args }
    }

    fn set(&self, change: impl FnOnce(&mut abi::bento_mount_args)) {
        // SAFETY: SAFETY.md C1: `MountContext` is not `Sync`, and no reference from `args` is kept across this.
        change(unsafe { &mut *self.args });
    }

    pub fn why(&self) -> Why {
        self.why
    }

    /// What is mounted: a device, or any word.
    pub fn source(&self) -> &[u8] {
        // SAFETY: SAFETY.md C4: the shim's, constant during the call.
        unsafe { crate::thunk::bytes((*self.args).source) }
    }

    pub fn flags(&self) -> MountFlags {
        MountFlags { read_only: self.args().flags & abi::BENTO_MOUNT_RDONLY != 0 }
    }

    /// The mount is read-only, whatever was asked for: what is on the device may be read, but not changed. [`flags`](Self::flags)
    /// says so from here on; the log is the handler's to write.
    pub fn set_read_only(&self) {
        self.set(|args| args.flags |= abi::BENTO_MOUNT_RDONLY);
    }

    /// The mount options, checked and typed. What is wrong with one goes to the log in a sentence, the caller gets `EINVAL`.
    pub fn options<T: MountOptions>(&self) -> Result<T> {
        // SAFETY: SAFETY.md C4: the shim's, constant during the call.
        parse(self.call, unsafe { crate::thunk::bytes((*self.args).options) })
    }

    /// The root's inode number; 1 unless set.
    pub fn set_root(&self, ino: Ino) {
        self.set(|args| args.root_ino = ino.get());
    }

    /// The largest size of a file, in bytes.
    pub fn set_max_file_size(&self, bytes: u64) {
        self.set(|args| args.max_file_size = bytes);
    }

    /// How many bytes of pages and how many inodes a resident mount may hold; 0 = no limit. Beyond them: `ENOSPC`.
    pub fn set_limits(&self, bytes: u64, inodes: u64) {
        self.set(|args| (args.max_bytes, args.max_inodes) = (bytes, inodes));
    }

    /// `statfs`'s `f_type`.
    pub fn set_magic(&self, magic: u32) {
        self.set(|args| args.magic = magic);
    }

    /// Granularity of times in nanoseconds: 1 to 1,000,000,000.
    pub fn set_time_granularity(&self, nanoseconds: u32) {
        self.set(|args| args.time_granularity = nanoseconds);
    }

    /// The first and the last time that can be stored, in seconds past 1970: whoever sets one beyond gets the nearest.
    pub fn set_time_range(&self, first: i64, last: i64) {
        self.set(|args| (args.time_min, args.time_max) = (first, last));
    }

    /// The longest name in bytes; at most 255.
    pub fn set_name_max(&self, bytes: u32) {
        self.set(|args| args.name_max = bytes);
    }

    /// Files that replace others are whole (`data = "extents"`, ext4's `auto_da_alloc`; true unless set): before a rename over
    /// a file the data of the other are written, and those of a file that was emptied when it is closed.
    pub fn set_auto_da_alloc(&self, on: bool) {
        self.set(|args| args.flags = with_auto_da_alloc(args.flags, on));
    }

    pub(super) fn as_raw(&self) -> *mut abi::bento_call {
        self.call
    }

    /// The unit of block numbers from here on, in bytes: a power of two from 512 to a page. `EBUSY` while a block is held.
    pub fn set_block_size(&self, bytes: u32) -> Result<()> {
        host::device_block_size(self.call, bytes)?;
        self.set(|args| args.block_size = bytes);
        Ok(())
    }

    /// The free space, which the shim counts from here on.
    pub fn set_space(&self, space: &Space) {
        self.set(|args| {
            (args.space_free, args.space_root, args.space_margin) = (space.free, space.root_only, space.margin);
            (args.space_uid, args.space_gid) = space.owner;
        });
    }

    /// Replays the journal and opens it. Blocks that were read before are to be read again. Without this call, transactions
    /// are undone as ever, but a crash may tear them.
    pub fn open_journal(&self, journal: &Journal<'_>) -> Result<OpenJournal> {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        let mut raw = abi::bento_journal {
            runs: journal.runs.as_ptr().cast(),
            count: journal.runs.len(),
            flags: flag(journal.wide, abi::BENTO_JOURNAL_64BIT)
                | flag(journal.checksums, abi::BENTO_JOURNAL_CHECKSUMS)
                | flag(!journal.barrier, abi::BENTO_JOURNAL_NO_BARRIER)
                | flag(journal.discard, abi::BENTO_JOURNAL_DISCARD),
            commit_interval: journal.commit_interval,
            replayed: 0,
            error: 0,
            max_credits: 0,
        };
        host::journal_open(self.call, &mut raw)?;
        Ok(OpenJournal {
            replayed: raw.replayed,
            error: (raw.error != 0).then(|| Errno::new(raw.error.saturating_abs())),
            max_credits: raw.max_credits,
        })
    }

    /// A checksum that the shim computes when a block with it is committed: crc32c over `len` bytes from `from`, kept at `at`.
    /// With `number`, the block's number goes before them. At most eight of a mount.
    pub fn add_checksum(&self, from: u32, len: u32, at: u32, seed: u32, number: bool) -> Result<Checksum> {
        let flags = if number { abi::BENTO_CHECKSUM_NUMBER } else { 0 };
        host::checksum_add(self.call, &abi::bento_checksum { from, len, at, seed, flags }).map(Checksum)
    }

    /// One line in the log.
    pub fn log(&self, message: core::fmt::Arguments<'_>) {
        // SAFETY: SAFETY.md C1: constant during the call.
        host::log(unsafe { (*self.call).sb }, abi::BENTO_LOG_INFO, message);
    }

    /// Why the mount is refused, for the log; returns `EINVAL` for the caller.
    pub fn refuse(&self, reason: core::fmt::Arguments<'_>) -> Errno {
        // SAFETY: SAFETY.md C1: constant during the call.
        host::log(unsafe { (*self.call).sb }, abi::BENTO_LOG_ERR, reason);
        Errno::EINVAL
    }
}

/// `mount -o remount`: new options, and the limits of a resident mount.
pub struct Reconfigure<'call> {
    call: *mut abi::bento_call,
    args: &'call mut abi::bento_reconfigure_args,
}

impl<'call> Reconfigure<'call> {
    pub(crate) fn new(call: *mut abi::bento_call, args: &'call mut abi::bento_reconfigure_args) -> Self {
        Reconfigure { call, args }
    }

    pub fn flags(&self) -> MountFlags {
        MountFlags { read_only: self.args.flags & abi::BENTO_MOUNT_RDONLY != 0 }
    }

    /// The options of the remount, as in [`MountContext::options`].
    pub fn options<T: MountOptions>(&self) -> Result<T> {
        // SAFETY: SAFETY.md C4: the shim's, constant during the call.
        parse(self.call, unsafe { crate::thunk::bytes(self.args.options) })
    }

    /// As [`MountContext::set_auto_da_alloc`]; unless set it stays as it is.
    pub fn set_auto_da_alloc(&mut self, on: bool) {
        self.args.flags = with_auto_da_alloc(self.args.flags, on);
    }

    /// Seconds after which the journal commits by itself, as [`super::Journal::commit_interval`]; unless set it stays as it is.
    pub fn set_commit_interval(&mut self, seconds: u32) {
        self.args.commit_interval = seconds;
    }

    /// New limits of a resident mount; 0 = none.
    pub fn set_limits(&mut self, bytes: u64, inodes: u64) {
        (self.args.max_bytes, self.args.max_inodes) = (bytes, inodes);
    }
}

fn with_auto_da_alloc(flags: u32, on: bool) -> u32 {
    match on {
        true => flags & !abi::BENTO_MOUNT_NOAUTO_DA_ALLOC,
        false => flags | abi::BENTO_MOUNT_NOAUTO_DA_ALLOC,
    }
}

/// A step of `FITRIM` ([`super::FileSystem::trim`]), in bytes of the device.
pub struct Trim<'call> {
    args: &'call mut abi::bento_trim_args,
}

impl<'call> Trim<'call> {
    pub(crate) fn new(args: &'call mut abi::bento_trim_args) -> Self {
        Trim { args }
    }

    /// Where this step begins.
    pub fn start(&self) -> u64 {
        self.args.start
    }

    /// Where the last step is to end; may lie behind the device's end.
    pub fn end(&self) -> u64 {
        self.args.end
    }

    /// Runs of fewer bytes are not worth it.
    pub fn least(&self) -> u64 {
        self.args.least
    }

    /// The next step begins at `next`, further on than this one, or that was all: `end` or behind it. Of what lies between,
    /// `trimmed` bytes are discarded.
    pub fn advance(&mut self, next: u64, trimmed: u64) {
        (self.args.next, self.args.trimmed) = (next, trimmed);
    }
}

fn parse<T: MountOptions>(call: *mut abi::bento_call, text: &[u8]) -> Result<T> {
    options::parse(text).map_err(|error| {
        // SAFETY: SAFETY.md C1: constant during the call.
        host::log(unsafe { (*call).sb }, abi::BENTO_LOG_ERR, format_args!("{error}"));
        Errno::EINVAL
    })
}

/// What `statfs(2)` shows; counts of blocks are in units of `block_size`.
#[derive(Clone, Default, Debug)]
pub struct Statfs {
    pub blocks: u64,
    pub blocks_free: u64,
    /// Free to users who are not root.
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    /// Bytes.
    pub block_size: u32,
    pub name_max: u32,
}

impl Statfs {
    pub(crate) fn from_abi(raw: &abi::bento_statfs_args) -> Statfs {
        Statfs {
            blocks: raw.blocks,
            blocks_free: raw.bfree,
            blocks_available: raw.bavail,
            files: raw.files,
            files_free: raw.ffree,
            block_size: raw.bsize,
            name_max: raw.namelen,
        }
    }

    pub(crate) fn store(&self, raw: &mut abi::bento_statfs_args) {
        (raw.blocks, raw.bfree, raw.bavail) = (self.blocks, self.blocks_free, self.blocks_available);
        (raw.files, raw.ffree) = (self.files, self.files_free);
        (raw.bsize, raw.frsize, raw.namelen) = (self.block_size, self.block_size, self.name_max);
    }
}
