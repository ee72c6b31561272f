// SPDX-License-Identifier: GPL-2.0 OR MIT
//! # Bento: Linux file systems in safe Rust
//!
//! An author declares a struct and an impl with [`bento_fs`]; this crate turns it into a table of C functions
//! ([`thunk::ops`]) that a shim calls: `bento.ko` in the kernel, `bento-user-shim` under FUSE or in `cargo test`.
//! All `unsafe` of the Rust side is here; SAFETY.md numbers what it relies on.
//!
//! The road of a call: shim → [`thunk`] → [`contain`] → handler ([`fs::FileSystem`]), and back through [`host`].

#![no_std]
#![cfg_attr(feature = "freestanding", allow(internal_features))]
#![cfg_attr(feature = "freestanding", feature(core_intrinsics, lang_items, alloc_error_handler))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[rustfmt::skip] // a test compares it with what bindgen makes
#[allow(
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    missing_docs,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub mod abi;
pub mod contain;
pub mod errno;
pub mod faults;
pub mod fs;
pub mod host;
#[cfg(feature = "freestanding")]
mod object;
pub mod options;
pub mod slot;
pub mod state;
pub mod sync;
pub mod thunk;
pub mod unwind;

pub use bento_macros::{MountOptions, State, bento_fs};

/// What a file system's source begins with: `use bento::prelude::*;`.
pub mod prelude {
    pub use alloc::boxed::Box;
    pub use alloc::collections::BTreeMap;
    pub use alloc::vec::Vec;

    pub use crate::errno::{Errno, Result};
    pub use crate::fs::{
        Allocate, Attr, Block, Context, Created, Credentials, Device, DirEmitter, Extent, Extents, FileAttr,
        FileSystem, FileType, Ino, Inode, IoctlArg, LinkTarget, MountContext, Name, NameBuf, NewInode, ReadSink,
        Reconfigure, Rename, SeekFrom, SetAttr, Stat, Statfs, Timestamp, Transaction, Trim, WriteSource, Written,
        XattrList, XattrValue, access, attributes,
    };
    pub use crate::options::{Octal, Size};
    pub use crate::state::{Downgrade, Migrate, State};
    pub use crate::sync::{Mutex, RwLock};
    pub use crate::{MountOptions, State, bento_fs};
}

/// Makes a crate the entry of one file system: the only place with linker-visible names.
#[macro_export]
macro_rules! entry {
    ($fs:ty) => {
        #[unsafe(no_mangle)]
        pub static bento_fs_main: $crate::thunk::Module = $crate::thunk::Module::of::<$fs>();
    };
}
