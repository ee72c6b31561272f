// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What bytesfs version 1 saves. Not frozen by the tool: the types inside are shared with version 1, so that a downgrade
//! copies pointers and no bytes.

use core::sync::atomic::AtomicU64;

use bento::prelude::*;

use crate::faults::Faults;
use crate::store::{Cached, Shared};

#[derive(State)]
#[state(fs = "bytesfs", version = 1, inode = Cached)]
pub struct BytesFs {
    #[state(1)]
    pub inodes: RwLock<BTreeMap<u64, Shared>>,
    #[state(2)]
    pub next_ino: AtomicU64,
    #[state(3)]
    pub hints: AtomicU64,
    #[state(4)]
    pub faults: Faults,
}
