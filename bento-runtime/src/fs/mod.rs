// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The words an author writes a file system in.
//!
//! [`FileSystem`] lists every handler. Only three must be written; one that is left out is absent from the VFS's
//! operation tables as well and means there what a NULL pointer means to the VFS: it is never a stub and never "success".
//! The data path runs VFS → shim → [thunk](crate::thunk) → handler, and this module is the last step of it.

mod context;
mod device;
mod dir;
mod extent;
mod file;
mod inode;
mod mount;
mod transaction;
mod xattr;

pub use context::{Context, Credentials};
pub use device::{Block, Credits, Device, Field, OnError, crc32c};
pub use dir::{DirEmitter, Name, NameBuf, Rename};
pub use extent::{Allocate, Extent, Extents, Written};
pub use file::{IoctlArg, ReadSink, SeekFrom, WriteSource};
pub use inode::{
    Attr, Created, FileAttr, FileType, Ino, Inode, NewInode, SetAttr, Stat, Timestamp, access, attributes,
};
pub(crate) use inode::{attach, detach};
pub use mount::{Journal, JournalRun, MountContext, MountFlags, OpenJournal, Reconfigure, Space, Statfs, Trim, Why};
pub use transaction::{Checksum, Locked, Transaction};
pub use xattr::{LinkTarget, XattrList, XattrValue};

use crate::errno::{Errno, Result};
use crate::state::State;

/// How a file's bytes are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum DataMode {
    /// `read` and `write` handlers behind the page cache: synthetic and remote file systems.
    Bytes = crate::abi::BENTO_DATA_BYTES,
    /// On a block device: handlers say where data lie, the shim moves them; metadata change in transactions.
    Extents = crate::abi::BENTO_DATA_EXTENTS,
    /// Nothing lies behind the page cache, as in ramfs; the shim pins inodes and pages.
    Resident = crate::abi::BENTO_DATA_RESIDENT,
}

/// What becomes of an instance that a panic has spoiled ([`crate::slot`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum OnPanic {
    /// Every call gets `EIO` until it is upgraded or unmounted.
    Quarantine = crate::abi::BENTO_ON_PANIC_QUARANTINE,
    /// A new one is made, from its state or, with [`Why::Restart`], by `mount`.
    Restart = crate::abi::BENTO_ON_PANIC_RESTART,
}

/// What `#[bento_fs(name = "…", version = …)]` on the struct says. Written by the macro.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no file system name and version",
    label = "this type is not declared as a file system",
    note = "write `#[bento_fs(name = \"…\", version = 1)]` above `struct {Self}`"
)]
pub trait Declared: State {
    const NAME: &'static str;
    const VERSION: u32;
    const DATA: DataMode;
    const ON_PANIC: OnPanic = OnPanic::Quarantine;
}

/// Which handlers the author wrote. Written by `#[bento_fs]` on the impl.
#[diagnostic::on_unimplemented(
    message = "`#[bento_fs]` is missing on `impl FileSystem for {Self}`",
    label = "the macro did not see this file system's handlers",
    note = "write `#[bento_fs]` above `impl FileSystem for {Self}`: without it no handler would be called"
)]
pub trait Handlers {
    const HANDLERS: HandlerSet;
}

/// A set of handlers: bit *n* is operation *n* of `enum bento_op`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandlerSet(u64);

impl HandlerSet {
    pub const EMPTY: Self = Self(0);

    /// The set with one more operation.
    #[must_use]
    pub const fn with(self, op: Op) -> Self {
        Self(self.0 | 1 << op as u32)
    }

    pub const fn has(self, op: Op) -> bool {
        self.0 & (1 << op as u32) != 0
    }

    /// As `bento_ops.handlers`.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

macro_rules! ops {
    ($($name:ident)* ; $($state:ident)*) => {
        /// An operation of the table; the number is its presence bit.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Op { $($name,)* $($state),* }

        impl Op {
            /// Every operation, in the order of the table.
            pub const ALL: &'static [Op] = &[$(Op::$name,)* $(Op::$state),*];

            /// Those that an author may write, each with a presence bit.
            pub const HANDLERS: &'static [Op] = &[$(Op::$name),*];

            /// The handler's name.
            pub const fn name(self) -> &'static str {
                match self { $(Op::$name => stringify!($name),)* $(Op::$state => stringify!($state)),* }
            }
        }
    };
}

ops! {
    mount unmount statfs sync_fs reconfigure freeze thaw recover
    load_inode write_inode evict_inode forget_inode
    lookup create mkdir mknod symlink link unlink rmdir rename tmpfile
    get_link setattr getattr permission getxattr listxattr setxattr removexattr set_acl fileattr_get fileattr_set
    iterate open release flush fsync read write fallocate ioctl poll seek fadvise get_parent
    map_extents allocate_extents convert_extents trim
    ; save load drop_instance save_inode migrate_inode drop_inode
}

const _: () = assert!(Op::ALL.len() == crate::abi::BENTO_OP_COUNT as usize);
const _: () = assert!(Op::HANDLERS.len() == Op::save as usize);

/// A file system: the handlers, and the type of its per-inode data.
///
/// An instance is shared by every task that uses the mount, so handlers take `&self` and keep what changes behind the
/// locks of [`crate::sync`]. A handler that panics unwinds: its caller gets `EIO`, one line is logged, the mount goes on.
///
/// The VFS inode is the authority for attributes. After a handler returns `Ok` the shim makes the updates POSIX asks for
/// (link counts, times of the inode and of its directory), so a handler changes its own names and data and nothing else.
#[allow(unused_variables)]
pub trait FileSystem: Declared + Handlers + Sized + Send + Sync + 'static {
    /// The author's data for one cached inode; left out, it is `()`. Dropped when the inode leaves the cache.
    /// It crosses upgrades as [`State`]; `#[state(reload)]` on its type says that `load_inode` makes it again instead.
    type Inode: State + Send + Sync + 'static;

    // ---- the mount ----

    /// Makes the instance of a mount. Options and source are in `cx`.
    fn mount(cx: &MountContext) -> Result<Self>;

    /// The last call of a mount, before the instance is dropped.
    fn unmount(&self, cx: &Context<Self>) {}

    /// Sizes and counts for `statfs(2)`; `statfs` comes with the mount's block size and longest name filled in.
    fn statfs(&self, cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        absent()
    }

    /// Makes the whole file system durable; data pages have been written before. `wait` is false for the first pass of `sync(2)`.
    fn sync_fs(&self, cx: &Context<Self>, wait: bool) -> Result<()> {
        absent()
    }

    /// `mount -o remount`.
    fn reconfigure(&self, cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        absent()
    }

    /// Everything is written and no call changes the file system until `thaw`.
    fn freeze(&self, cx: &Context<Self>) -> Result<()> {
        absent()
    }

    /// The end of `freeze`.
    fn thaw(&self, cx: &Context<Self>) -> Result<()> {
        absent()
    }

    /// The last step of mounting a device that may be written: what an earlier mount left half-way is finished. Not called
    /// when an instance is restarted. (`data = "extents"`)
    fn recover(&self, cx: &Context<Self>) -> Result<()> {
        absent()
    }

    // ---- inodes in and out of the cache ----

    /// Attributes and data of an inode that is not cached. The first call is for the root.
    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Self::Inode)>;

    /// Makes the attributes of `inode` durable (`inode.attr()`); `wait` as for `fsync`.
    fn write_inode(&self, cx: &Context<Self>, inode: &Inode<Self>, wait: bool) -> Result<()> {
        absent()
    }

    /// The last name and the last user of `inode` are gone: free its number and its space.
    fn evict_inode(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()> {
        absent()
    }

    /// `inode` leaves the cache, whether it lives on or not; its data is dropped next.
    fn forget_inode(&self, cx: &Context<Self>, inode: &Inode<Self>) {}

    // ---- names ----

    /// The inode number behind `name`, or `ENOENT`, which the VFS remembers.
    fn lookup(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino>;

    /// A regular file. `new` has its owner, mode and xattrs already; give it a number and data with [`NewInode::assign`].
    fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        absent()
    }

    /// A directory.
    fn mkdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        absent()
    }

    /// A device, fifo or socket: see [`NewInode::file_type`] and [`NewInode::rdev`].
    fn mknod(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        absent()
    }

    /// A symbolic link to `target`, which is any bytes but NUL.
    fn symlink(
        &self,
        cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        absent()
    }

    /// One more name for `inode`.
    fn link(&self, cx: &Context<Self>, inode: &Inode<Self>, dir: &Inode<Self>, name: &Name) -> Result<()> {
        absent()
    }

    /// Removes the name of a file.
    fn unlink(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        absent()
    }

    /// Removes a directory; `ENOTEMPTY` when it has entries.
    fn rmdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        absent()
    }

    /// Renames, exchanges, or leaves a whiteout behind. `RENAME_NOREPLACE` has been checked.
    fn rename(&self, cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        absent()
    }

    /// A file without a name (`O_TMPFILE`).
    fn tmpfile(&self, cx: &Context<Self>, dir: &Inode<Self>, new: NewInode<Self>) -> Result<Created> {
        absent()
    }

    /// The entries of `dir` after position `pos`: 0 at the start, else the `next` of the last one taken.
    fn iterate(&self, cx: &Context<Self>, dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        absent()
    }

    /// The directory that contains `dir`: with this handler the mount can be exported over NFS and has file handles.
    fn get_parent(&self, cx: &Context<Self>, dir: &Inode<Self>) -> Result<Ino> {
        absent()
    }

    // ---- attributes ----

    /// The target of a symbolic link. Asked once; the shim remembers it.
    fn get_link(&self, cx: &Context<Self>, inode: &Inode<Self>, target: &mut LinkTarget) -> Result<()> {
        absent()
    }

    /// A change of attributes that the VFS has allowed; applied to the inode when this returns `Ok`. With
    /// `data = "extents"`, what the handler stages is applied instead.
    fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        absent()
    }

    /// `stat` comes filled from the inode, birth time included; change what should read otherwise.
    fn getattr(&self, cx: &Context<Self>, inode: &Inode<Self>, stat: &mut Stat) -> Result<()> {
        absent()
    }

    /// May the caller do `mask` ([`access`]) to `inode`? Left out, mode bits and ACLs decide ([`Context::generic_permission`]).
    fn permission(&self, cx: &Context<Self>, inode: &Inode<Self>, mask: u32) -> Result<()> {
        absent()
    }

    /// The value of an extended attribute, or `ENODATA`. `name` has its prefix; ACLs are `system.posix_acl_access` and `…_default`.
    fn getxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()> {
        absent()
    }

    /// The names of all extended attributes.
    fn listxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, names: &mut XattrList) -> Result<()> {
        absent()
    }

    /// Sets one; `flags` is 0, 1 (must be new: `EEXIST`) or 2 (must exist: `ENODATA`).
    fn setxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], flags: u32) -> Result<()> {
        absent()
    }

    /// Removes one, or `ENODATA`.
    fn removexattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name) -> Result<()> {
        absent()
    }

    /// Stores an ACL, or takes it away, and the mode that goes with it, in one transaction: when one is set, and for a `chmod` of a file that has one. Without this handler they come one after the other, as `setattr` and `setxattr` or `removexattr`. (`data = "extents"`)
    fn set_acl(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        name: &Name,
        acl: Option<&[u8]>,
        mode: u32,
    ) -> Result<()> {
        absent()
    }

    /// What `lsattr` shows.
    fn fileattr_get(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &mut FileAttr) -> Result<()> {
        absent()
    }

    /// `chattr`: the new set of flags.
    fn fileattr_set(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &FileAttr) -> Result<()> {
        absent()
    }

    // ---- open files ----

    /// A file is being opened with `flags` (`O_*`).
    fn open(&self, cx: &Context<Self>, inode: &Inode<Self>, flags: u32) -> Result<()> {
        absent()
    }

    /// The last descriptor of an open file is gone.
    fn release(&self, cx: &Context<Self>, inode: &Inode<Self>, flags: u32) {}

    /// `close(2)`: an error here is what `close` returns.
    fn flush(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()> {
        absent()
    }

    /// Makes `inode` durable; its pages and attributes have been written before.
    fn fsync(&self, cx: &Context<Self>, inode: &Inode<Self>, datasync: bool) -> Result<()> {
        absent()
    }

    /// Fills a range of the page cache from `offset`: `sink.remaining()` bytes, what is not put reads as zero. (`data = "bytes"`)
    fn read(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()> {
        absent()
    }

    /// Takes a range of dirty pages at `offset`: `source.remaining()` bytes. (`data = "bytes"`)
    fn write(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, source: &mut WriteSource) -> Result<()> {
        absent()
    }

    /// `fallocate(2)` with its `mode` flags; the shim has dropped or will drop the pages concerned.
    fn fallocate(&self, cx: &Context<Self>, inode: &Inode<Self>, mode: u32, offset: u64, len: u64) -> Result<()> {
        absent()
    }

    /// A command of the author's own; the shim copies the argument by the size that `cmd` encodes.
    fn ioctl(&self, cx: &Context<Self>, inode: &Inode<Self>, cmd: u32, arg: &mut IoctlArg) -> Result<u32> {
        absent()
    }

    /// Which of `events` (`EPOLL*`) are ready; wake pollers with [`Context::wake`].
    fn poll(&self, cx: &Context<Self>, inode: &Inode<Self>, events: u32) -> Result<u32> {
        absent()
    }

    /// The next data or hole at or after an offset; `ENXIO` beyond the end.
    fn seek(&self, cx: &Context<Self>, inode: &Inode<Self>, from: SeekFrom) -> Result<u64> {
        absent()
    }

    /// `posix_fadvise(2)`: a hint about a range.
    fn fadvise(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, len: u64, advice: u32) -> Result<()> {
        absent()
    }

    /// Where a range of the file lies, holes included; may stop early. (`data = "extents"`)
    fn map_extents(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        extents: &mut Extents,
    ) -> Result<()> {
        absent()
    }

    /// Allocates what is not allocated yet of a range; may stop early, and an error means that none of it was allocated. With
    /// `how.written`, what was unwritten in the range is data afterwards as well. (`data = "extents"`)
    fn allocate_extents(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        how: Allocate,
        extents: &mut Extents,
    ) -> Result<()> {
        absent()
    }

    /// The data of a range have reached the device: what was unwritten there is data from now on. (`data = "extents"`)
    fn convert_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, written: Written) -> Result<()> {
        absent()
    }

    /// A step of `FITRIM`: free blocks are given to [`Transaction::discard`]. Called until it has come to the end; what one
    /// step holds is nobody's until the device has heard of it. (`data = "extents"`)
    fn trim(&self, cx: &Context<Self>, trim: &mut Trim) -> Result<()> {
        absent()
    }
}

/// The body of a handler nobody wrote. The table has no thunk for it, so nothing reaches it.
fn absent<T>() -> Result<T> {
    Err(Errno::ENOSYS)
}
