// SPDX-License-Identifier: GPL-2.0 OR MIT
//! bytesfs with one more field, to be put in the place of version 1 and taken out again; with `on=save` and `on=load` the
//! swap itself fails. After a panic it is restarted.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[path = "../../bytesfs/src/faults.rs"]
mod faults;
#[path = "../../bytesfs/src/handlers.rs"]
mod handlers;
mod history {
    pub mod v1;
}
#[path = "../../bytesfs/src/store.rs"]
mod store;

use core::sync::atomic::{AtomicU64, Ordering};

use bento::prelude::*;

use faults::Faults;
use history::v1;
use store::Shared;

#[bento_fs(
    name = "bytesfs",
    version = 2,
    extends = history::v1::BytesFs,
    downgrades = history::v1::BytesFs,
    on_panic = "restart"
)]
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
    #[state(5, default = AtomicU64::new(2))]
    since: AtomicU64,
}

impl Downgrade<v1::BytesFs> for BytesFs {
    fn downgrade(&self) -> Result<v1::BytesFs> {
        let mut inodes = BTreeMap::new();
        for (ino, stored) in self.inodes.try_read().ok_or(Errno::EBUSY)?.iter() {
            inodes.insert(*ino, stored.clone());
        }
        Ok(v1::BytesFs {
            inodes: RwLock::new(inodes),
            next_ino: AtomicU64::new(self.next_ino.load(Ordering::Relaxed)),
            hints: AtomicU64::new(self.hints.load(Ordering::Relaxed)),
            faults: self.faults.copy(),
        })
    }
}
