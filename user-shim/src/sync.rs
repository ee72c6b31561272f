// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What `slot.rs` is built from: std's here, loom's in `tests/slot_model.rs`.

pub use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
pub use std::sync::{Condvar, Mutex, MutexGuard};
