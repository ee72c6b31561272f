// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The shim in user space: the same contract as `bento.ko` (`bento_abi.h`), with the same file names and the same order
//! of calls. It owns inodes, pages and the gate of a mount, calls the file system's thunks, and believes nothing that
//! comes back.
//!
//! Two front doors lead to it. [`Harness`] is a VFS in this process, for `cargo test`: no root, no kernel, milliseconds.
//! The module `fuse` (feature `fuse`) is the daemon behind `cargo bento mount`.
//!
//! # A test
//!
//! ```
//! use bento_user_shim::{Harness, flags};
//! use bento::errno::Errno;
//! # use bento::prelude::*;
//! # use bento::fs::*;
//! # use bento::state::*;
//! # struct MemFs;
//! # impl Declared for MemFs { const NAME: &'static str = "memfs"; const VERSION: u32 = 1; const DATA: DataMode = DataMode::Resident; }
//! # impl Handlers for MemFs { const HANDLERS: HandlerSet = HandlerSet::EMPTY.with(Op::mount).with(Op::load_inode).with(Op::lookup).with(Op::create); }
//! # impl State for MemFs {
//! #     const SHAPE: &'static Shape = &Shape::Unit;
//! #     fn save(&self, out: &mut Saver) -> Result<()> { ().save(out) }
//! #     fn load(from: &mut Loader) -> Result<Self> { <()>::load(from).map(|()| MemFs) }
//! # }
//! # impl FileSystem for MemFs {
//! #     type Inode = ();
//! #     fn mount(cx: &MountContext) -> Result<Self> { Ok(MemFs) }
//! #     fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, ())> { Ok((Attr::directory(0o755), ())) }
//! #     fn lookup(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> { Err(Errno::ENOENT) }
//! #     fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> { Ok(new.assign(Ino::new(2).unwrap(), ())) }
//! # }
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let fs = Harness::mount::<MemFs>("")?;
//! let file = fs.create("/greeting", 0o644)?;           // root's call
//! file.write_at(b"hello", 0)?;
//! assert_eq!(file.read_at(1, 100)?, b"ello");
//! file.close()?;                                      // with close(2)'s error
//!
//! let alice = fs.as_user(1000, 1000);                 // the same mount, other credentials
//! assert_eq!(alice.create("/mine", 0o600).err(), Some(Errno::EACCES));
//! assert!(fs.panics().is_empty());
//! fs.unmount()?;                                      // panics if a handler leaked memory
//! # Ok(())
//! # }
//! ```
//!
//! What else it can do: inode-based calls ([`Task::lookup_in`] and its neighbours), [`Harness::drop_caches`],
//! [`Harness::panics`] and [`Harness::log`], failing allocations ([`Harness::fail_allocation`]), closing the gate, and
//! the same over a loaded object ([`Harness::load`]). [`Harness::upgrade`] replaces the running version by another, which is
//! how a migration is tested; [`Harness::restart`] and [`Harness::poison`] are what a panic leads to.

#[path = "super.rs"]
mod superblock;
mod superops;

mod acl;
mod alloc;
mod args;
mod attr;
mod call;
mod caller;
mod control;
mod crc;
mod device;
mod dir;
mod disk;
mod export;
mod extents;
mod file;
#[cfg(feature = "fuse")]
pub mod fuse;
mod harness;
mod helpers;
mod icache;
mod inode;
mod jbd2;
mod journal;
mod migrate;
mod object;
mod pages;
mod simdisk;
mod slot;
mod space;
mod swap;
mod sync;
mod transaction;
mod warm;
mod writeback;
mod xattr;

pub use call::Outcome;
pub use caller::Caller;
pub use disk::{Disk, FileDisk, Image};
pub use export::FileHandle;
pub use harness::{DirEntry, File, Harness, MountOptions, Stat, Task, Times, Unmounted, flags};
pub use inode::InodeRef;
pub use object::{LoadError, Object};
pub use simdisk::{CrashState, CrashStates, SimDisk};
pub use slot::Health;
pub use superblock::MountError;
pub use swap::{SwapError, Swapped};

use bento::errno::Errno;

/// One panic of a handler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Panic {
    /// The handler's name.
    pub handler: &'static str,
    pub message: String,
    /// File, line and column.
    pub location: Option<(String, u32, u32)>,
    /// What the caller got.
    pub errno: Errno,
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Panic { handler, message, location, .. } = self;
        match location {
            Some((file, line, column)) => write!(f, "{handler} panicked at {file}:{line}:{column}: {message}"),
            None => write!(f, "{handler} panicked: {message}"),
        }
    }
}
