// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Inodes as handlers see them: the shim owns the inode and its attributes, the author owns the data attached to it.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU64;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering};

use alloc::boxed::Box;

use super::{FileSystem, Name};
use crate::abi;
use crate::errno::Result;

/// An inode number; never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Ino(NonZeroU64);

impl Ino {
    /// The root's number unless `mount` says otherwise.
    pub const ROOT: Ino = Ino(NonZeroU64::MIN);

    /// `None` for 0, which no inode has.
    pub const fn new(number: u64) -> Option<Ino> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Ino(number)),
            None => None,
        }
    }

    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an inode is: the `S_IFMT` part of its mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FileType {
    Fifo = 1,
    CharDevice = 2,
    Directory = 4,
    BlockDevice = 6,
    Regular = 8,
    Symlink = 10,
    Socket = 12,
}

impl FileType {
    /// From a mode with its `S_IFMT` bits; `None` when they name nothing.
    pub const fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode >> 12 & 0xf {
            1 => FileType::Fifo,
            2 => FileType::CharDevice,
            4 => FileType::Directory,
            6 => FileType::BlockDevice,
            8 => FileType::Regular,
            10 => FileType::Symlink,
            12 => FileType::Socket,
            _ => return None,
        })
    }

    /// The `S_IFMT` bits.
    pub const fn mode(self) -> u32 {
        (self as u32) << 12
    }
}

/// Seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Timestamp {
    pub sec: i64,
    pub nsec: u32,
}

impl Timestamp {
    fn from_abi(time: abi::bento_time) -> Self {
        Timestamp { sec: time.sec, nsec: time.nsec }
    }

    fn to_abi(self) -> abi::bento_time {
        abi::bento_time { sec: self.sec, nsec: self.nsec, pad: 0 }
    }
}

/// An inode's attributes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Type (`S_IFMT`) and permission bits.
    pub mode: u32,
    pub nlink: u32,
    /// Owner and group in the initial user namespace.
    pub uid: u32,
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Space used, in units of 512 bytes.
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// Birth time, which `statx` shows.
    pub btime: Timestamp,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Tells apart two files that had the same number (file handles).
    pub generation: u32,
    /// `FS_*_FL`, as `chattr` sets them.
    pub flags: u32,
    /// With `data = "extents"`: how much of `size` has reached the device, which is the size to store. The shim's.
    pub disk_size: u64,
    /// Project number of project quotas.
    pub project: u32,
}

impl Attr {
    /// One link, owned by root, empty, born at the epoch.
    pub const fn new(file_type: FileType, permissions: u32) -> Attr {
        const EPOCH: Timestamp = Timestamp { sec: 0, nsec: 0 };
        Attr {
            mode: file_type.mode() | (permissions & 0o7777),
            nlink: if matches!(file_type, FileType::Directory) { 2 } else { 1 },
            uid: 0,
            gid: 0,
            size: 0,
            blocks: 0,
            atime: EPOCH,
            mtime: EPOCH,
            ctime: EPOCH,
            btime: EPOCH,
            rdev: (0, 0),
            generation: 0,
            flags: 0,
            disk_size: 0,
            project: 0,
        }
    }

    /// A directory with two links.
    pub const fn directory(permissions: u32) -> Attr {
        Attr::new(FileType::Directory, permissions)
    }

    /// A regular file of `size` bytes.
    pub const fn file(permissions: u32, size: u64) -> Attr {
        let mut attr = Attr::new(FileType::Regular, permissions);
        attr.size = size;
        attr.blocks = size.div_ceil(512);
        attr
    }

    /// All four times at once.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Attr {
        (self.atime, self.mtime, self.ctime, self.btime) = (time, time, time, time);
        self
    }

    /// `None` when the mode names no type.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::from_mode(self.mode)
    }

    pub(crate) fn from_abi(raw: &abi::bento_attr) -> Attr {
        Attr {
            mode: raw.mode,
            nlink: raw.nlink,
            uid: raw.uid,
            gid: raw.gid,
            size: raw.size,
            blocks: raw.blocks,
            atime: Timestamp::from_abi(raw.atime),
            mtime: Timestamp::from_abi(raw.mtime),
            ctime: Timestamp::from_abi(raw.ctime),
            btime: Timestamp::from_abi(raw.btime),
            rdev: (raw.rdev_major, raw.rdev_minor),
            generation: raw.generation,
            flags: raw.flags,
            disk_size: raw.disk_size,
            project: raw.project,
        }
    }

    /// Writes the fields that are the author's; `ino`, `blksize` and `write_life` stay the shim's.
    pub(crate) fn store(&self, raw: &mut abi::bento_attr) {
        raw.mode = self.mode;
        raw.nlink = self.nlink;
        raw.uid = self.uid;
        raw.gid = self.gid;
        raw.size = self.size;
        raw.blocks = self.blocks;
        raw.atime = self.atime.to_abi();
        raw.mtime = self.mtime.to_abi();
        raw.ctime = self.ctime.to_abi();
        raw.btime = self.btime.to_abi();
        (raw.rdev_major, raw.rdev_minor) = self.rdev;
        raw.generation = self.generation;
        raw.flags = self.flags;
        raw.project = self.project;
    }

    /// Which fields differ from `old`: `BENTO_ATTR_*`. Type and device never change.
    pub(crate) fn changes(&self, old: &abi::bento_attr) -> u32 {
        let differs = |differs: bool, bit: u32| if differs { bit } else { 0 };
        let time = |new: Timestamp, old: abi::bento_time, bit| differs(new != Timestamp::from_abi(old), bit);
        differs(self.mode != old.mode, abi::BENTO_ATTR_MODE)
            | differs(self.uid != old.uid, abi::BENTO_ATTR_UID)
            | differs(self.gid != old.gid, abi::BENTO_ATTR_GID)
            | differs(self.size != old.size, abi::BENTO_ATTR_SIZE)
            | differs(self.nlink != old.nlink, abi::BENTO_ATTR_NLINK)
            | differs(self.blocks != old.blocks, abi::BENTO_ATTR_BLOCKS)
            | differs(self.flags != old.flags, abi::BENTO_ATTR_FLAGS)
            | differs(self.generation != old.generation, abi::BENTO_ATTR_GENERATION)
            | differs(self.project != old.project, abi::BENTO_ATTR_PROJECT)
            | time(self.atime, old.atime, abi::BENTO_ATTR_ATIME)
            | time(self.mtime, old.mtime, abi::BENTO_ATTR_MTIME)
            | time(self.ctime, old.ctime, abi::BENTO_ATTR_CTIME)
            | time(self.btime, old.btime, abi::BENTO_ATTR_BTIME)
    }
}

/// A cached inode during one call. Derefs to the author's per-inode data.
///
/// There are no owned inode references: what must outlive the call is the [`Ino`], and [`super::Context::inode`] finds it again.
#[repr(transparent)]
pub struct Inode<F: FileSystem> {
    raw: UnsafeCell<abi::bento_inode>,
    data: PhantomData<F>,
}

impl<F: FileSystem> Inode<F> {
    /// The inode with data of this call's generation: migrated first if it is older.
    ///
    /// # Safety
    /// `call` is this call's ledger; `raw` is a live inode of that mount of `F`, and stays referenced for `'call`
    /// (SAFETY.md C5).
    #[inline(always)]
    pub(crate) unsafe fn resolve<'call>(
        call: *mut abi::bento_call,
        raw: *mut abi::bento_inode,
    ) -> Result<&'call Inode<F>> {
        // SAFETY: SAFETY.md C5: the shim writes the generation after the data, with release, and only `resolve` may.
        let made = unsafe { AtomicU32::from_ptr(&raw mut (*raw).data_generation) }.load(Ordering::Acquire);
        // SAFETY: SAFETY.md C1.
        if made != unsafe { (*call).generation } {
            crate::host::inode_resolve(call, raw)?;
        }
        // SAFETY: SAFETY.md C5: the shim hands over live inodes; `Inode` is a transparent wrapper.
        Ok(unsafe { &*raw.cast::<Inode<F>>() })
    }

    pub(crate) fn as_raw(&self) -> *mut abi::bento_inode {
        self.raw.get()
    }

    pub fn ino(&self) -> Ino {
        // SAFETY: SAFETY.md C5: the number is set before an inode is handed over and never changes.
        let number = unsafe { (*self.raw.get()).ino };
        Ino::new(number).unwrap_or(Ino::ROOT)
    }

    /// A copy of the attributes as the shim has them now.
    pub fn attr(&self) -> Attr {
        Attr::from_abi(&crate::host::inode_attr(self.raw.get()))
    }

    /// The hint an application gave with `F_SET_RW_HINT` (`RWH_WRITE_LIFE_*`; 0 = none).
    pub fn write_life(&self) -> u32 {
        crate::host::inode_attr(self.raw.get()).write_life
    }
}

impl<F: FileSystem> Deref for Inode<F> {
    type Target = F::Inode;

    fn deref(&self) -> &F::Inode {
        // SAFETY: SAFETY.md C5: `resolve` saw data of this generation, so `attach` or `migrate_inode` made it with this very
        // type; it is dropped when no call holds the inode, or by a swap, which waits for this call.
        unsafe { &*(*self.raw.get()).data.cast::<F::Inode>() }
    }
}

/// Attaches the author's data to an inode of the shim.
///
/// # Safety
/// `raw` is a live inode of a mount of `F` with no data yet, visible to no other call; `call` is this call's ledger.
pub(crate) unsafe fn attach<F: FileSystem>(call: *mut abi::bento_call, raw: *mut abi::bento_inode, data: F::Inode) {
    // SAFETY: SAFETY.md C1, C5: the inode is this call's alone.
    unsafe {
        (*raw).data = Box::into_raw(Box::new(data)).cast();
        (*raw).data_generation = (*call).generation;
    }
}

/// Drops the author's data.
///
/// # Safety
/// `raw` is an inode of a mount of `F` that no call holds and none will.
pub(crate) unsafe fn detach<F: FileSystem>(raw: *mut abi::bento_inode) {
    // SAFETY: SAFETY.md C5: the data came from `attach::<F>` and the slot is emptied first, so it is dropped once.
    unsafe {
        let data = core::mem::replace(&mut (*raw).data, core::ptr::null_mut());
        (*raw).data_generation = 0;
        if !data.is_null() {
            drop(Box::from_raw(data.cast::<F::Inode>()));
        }
    }
}

/// An inode about to exist: the shim has allocated it and set owner, mode and times.
pub struct NewInode<'call, F: FileSystem> {
    call: *mut abi::bento_call,
    raw: &'call mut abi::bento_new,
    data: PhantomData<fn(F)>,
}

/// Proof that a [`NewInode`] got its number and data.
#[derive(Debug)]
#[must_use = "return it from the handler"]
pub struct Created(pub(crate) Ino);

impl Created {
    pub fn ino(&self) -> Ino {
        self.0
    }
}

impl<'call, F: FileSystem> NewInode<'call, F> {
    /// # Safety
    /// `raw` is this call's `bento_new`, whose inode has no data and is visible to no other call.
    pub(crate) unsafe fn from_raw(call: *mut abi::bento_call, raw: &'call mut abi::bento_new) -> Self {
        NewInode { call, raw, data: PhantomData }
    }

    pub(crate) fn as_raw(&self) -> *mut abi::bento_inode {
        self.raw.inode
    }

    /// Type and permission bits, umask and default ACL applied.
    pub fn mode(&self) -> u32 {
        self.raw.mode
    }

    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.raw.mode).unwrap_or(FileType::Regular)
    }

    pub fn uid(&self) -> u32 {
        self.raw.uid
    }

    pub fn gid(&self) -> u32 {
        self.raw.gid
    }

    /// Major and minor number of a device.
    pub fn rdev(&self) -> (u32, u32) {
        (self.raw.rdev_major, self.raw.rdev_minor)
    }

    /// Extended attributes to be stored with the inode: inherited ACLs, the security label.
    pub fn xattrs(&self) -> impl Iterator<Item = (&Name, &[u8])> {
        // SAFETY: SAFETY.md C4: the array and what it points to are the shim's and constant during the call.
        let list = unsafe { crate::thunk::slice(self.raw.xattrs, self.raw.xattr_count) };
        list.iter().map(|xattr| {
            // SAFETY: SAFETY.md C4, as above.
            unsafe { (Name::new(crate::thunk::bytes(xattr.name)), crate::thunk::bytes(xattr.value)) }
        })
    }

    /// Its attributes so far. With `data = "extents"` the handler stores them.
    pub fn attr(&self) -> Attr {
        Attr::from_abi(&crate::host::inode_attr(self.raw.inode))
    }

    /// Gives the inode its number and its data.
    pub fn assign(self, ino: Ino, data: F::Inode) -> Created {
        // SAFETY: SAFETY.md S4: the inode is not yet in the cache, so this call alone sees it.
        unsafe {
            (*self.raw.inode).ino = ino.get();
            attach::<F>(self.call, self.raw.inode, data);
        }
        self.raw.assigned = 1;
        Created(ino)
    }
}

/// The attributes a `setattr` asks to change; each is `None` when it stays.
#[derive(Debug)]
pub struct SetAttr {
    attr: Attr,
    valid: u32,
}

impl SetAttr {
    pub(crate) fn from_abi(raw: &abi::bento_attr, valid: u32) -> SetAttr {
        SetAttr { attr: Attr::from_abi(raw), valid }
    }

    fn when<T>(&self, bit: u32, value: T) -> Option<T> {
        (self.valid & bit != 0).then_some(value)
    }

    /// Type and permission bits.
    pub fn mode(&self) -> Option<u32> {
        self.when(abi::BENTO_ATTR_MODE, self.attr.mode)
    }

    pub fn uid(&self) -> Option<u32> {
        self.when(abi::BENTO_ATTR_UID, self.attr.uid)
    }

    pub fn gid(&self) -> Option<u32> {
        self.when(abi::BENTO_ATTR_GID, self.attr.gid)
    }

    /// Truncation or extension, in bytes.
    pub fn size(&self) -> Option<u64> {
        self.when(abi::BENTO_ATTR_SIZE, self.attr.size)
    }

    pub fn atime(&self) -> Option<Timestamp> {
        self.when(abi::BENTO_ATTR_ATIME, self.attr.atime)
    }

    pub fn mtime(&self) -> Option<Timestamp> {
        self.when(abi::BENTO_ATTR_MTIME, self.attr.mtime)
    }

    pub fn ctime(&self) -> Option<Timestamp> {
        self.when(abi::BENTO_ATTR_CTIME, self.attr.ctime)
    }
}

/// What `stat` and `statx` will show.
#[derive(Debug)]
pub struct Stat {
    pub attr: Attr,
    /// [`attributes`] that are set.
    pub attributes: u64,
    /// Preferred I/O size in bytes; 0 = the mount's block size.
    pub blksize: u32,
    /// The `STATX_*` fields the caller asked for.
    pub request_mask: u32,
}

/// Bits of [`Stat::attributes`] (`STATX_ATTR_*` of `statx(2)`).
pub mod attributes {
    pub const COMPRESSED: u64 = 0x4;
    pub const IMMUTABLE: u64 = 0x10;
    pub const APPEND: u64 = 0x20;
    pub const NODUMP: u64 = 0x40;
    pub const ENCRYPTED: u64 = 0x800;
}

/// Bits of the mask of `permission` (`MAY_*`).
pub mod access {
    pub const EXECUTE: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const READ: u32 = 4;
    pub const APPEND: u32 = 8;
}

/// The flags of `lsattr` and `chattr`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FileAttr {
    /// `FS_*_FL`.
    pub flags: u32,
    /// Project number of project quotas.
    pub project: u32,
}
