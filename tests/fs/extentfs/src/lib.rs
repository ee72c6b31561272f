// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system on a device whose metadata are in memory: what it shows is how the shim moves file data. Extents are
//! allocated first fit, unwritten, and freed blocks are free at once.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod handlers;
mod store;

use core::sync::atomic::AtomicU64;

use bento::prelude::*;

use store::{Free, Shared};

#[bento_fs(name = "extentfs", version = 1, data = "extents", on_panic = "restart")]
pub struct ExtentFs {
    #[state(1)]
    inodes: RwLock<BTreeMap<u64, Shared>>,
    #[state(2)]
    next_ino: AtomicU64,
    #[state(3)]
    free: Mutex<Free>,
    /// Bytes of a block, and how many there are.
    #[state(4)]
    block: u64,
    #[state(5)]
    blocks: u64,
    /// What goes wrong on purpose: see [`handlers::Options`].
    #[state(6)]
    panics: AtomicU64,
    #[state(7)]
    lies: u32,
}
