// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A read-write file system for the tests: its bytes lie behind `read` and `write`, its inodes come and go through
//! `load_inode`, `write_inode` and `evict_inode`, every handler is there, and every handler can be made to fail
//! ([`faults`]).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod faults;
mod handlers;
mod store;

use core::sync::atomic::AtomicU64;

use bento::prelude::*;

use faults::Faults;
use store::Shared;

#[bento_fs(name = "bytesfs", version = 1)]
#[derive(Default)]
pub struct BytesFs {
    #[state(1)]
    inodes: RwLock<BTreeMap<u64, Shared>>,
    #[state(2)]
    next_ino: AtomicU64,
    #[state(3)]
    hints: AtomicU64,
    #[state(4)]
    faults: Faults,
}
