// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The free blocks of a device, which the shim counts: claims of transactions, and what delayed allocations have been
//! promised.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bento::abi;
use bento::errno::{Errno, Result};

use crate::caller::Caller;
use crate::inode::held;
use crate::superblock::Super;

#[derive(Default)]
pub struct Space {
    counters: Mutex<Counters>,
    /// The last transaction that freed blocks; 0 = none has.
    freed: AtomicU64,
}

/// So often a handler that found no space is called again: others may be faster.
const TRIES: u32 = 2;

#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    pub free: u64,
    /// Of the free ones, promised to dirty pages.
    pub reserved: u64,
    /// Of the free ones, for root and `owner` only.
    pub root: u64,
    /// Of the free ones, for the metadata that keeping those promises takes.
    pub margin: u64,
    pub owner: (u32, u32),
}

/// What a transaction took, to be given back if it does not commit.
#[derive(Clone, Copy, Default, Debug)]
pub struct Claimed {
    pub blocks: u64,
    /// Of those, from what had been reserved.
    pub reserved: u64,
}

impl Counters {
    fn available(&self, caller: &Caller, margin: bool) -> u64 {
        let privileged = caller.is_root()
            || caller.uid == self.owner.0 && self.owner.0 != 0
            || caller.in_group(self.owner.1) && self.owner.1 != 0;
        self.free
            .saturating_sub(self.reserved)
            .saturating_sub(if privileged { 0 } else { self.root })
            .saturating_sub(if margin { 0 } else { self.margin })
    }
}

impl Space {
    pub fn set(&self, args: &abi::bento_mount_args) {
        *held(&self.counters) = Counters {
            free: args.space_free,
            reserved: 0,
            root: args.space_root,
            margin: args.space_margin,
            owner: (args.space_uid, args.space_gid),
        };
    }

    pub fn counters(&self) -> Counters {
        *held(&self.counters)
    }

    /// Promises blocks to pages that become dirty, or `ENOSPC`.
    pub fn reserve(&self, caller: &Caller, blocks: u64) -> Result<()> {
        let mut counters = held(&self.counters);
        if counters.available(caller, false) < blocks {
            return Err(Errno::ENOSPC);
        }
        counters.reserved += blocks;
        Ok(())
    }

    /// They are not needed after all.
    pub fn unreserve(&self, blocks: u64) {
        let mut counters = held(&self.counters);
        counters.reserved = counters.reserved.saturating_sub(blocks);
    }

    /// Takes `blocks`, up to `promised` of them from what is reserved. With `margin`, the rest may use that.
    pub fn claim(&self, caller: &Caller, blocks: u64, promised: u64, margin: bool) -> Result<Claimed> {
        let mut counters = held(&self.counters);
        let reserved = blocks.min(promised).min(counters.reserved).min(counters.free);
        if blocks - reserved > counters.available(caller, margin) {
            return Err(Errno::ENOSPC);
        }
        counters.free -= blocks;
        counters.reserved -= reserved;
        Ok(Claimed { blocks, reserved })
    }

    pub fn freed_by(&self, tid: u64) {
        self.freed.fetch_max(tid, Ordering::AcqRel);
    }

    pub fn give_back(&self, claimed: Claimed) {
        let mut counters = held(&self.counters);
        counters.free = counters.free.saturating_add(claimed.blocks);
        counters.reserved = counters.reserved.saturating_add(claimed.reserved);
    }
}

impl Super {
    /// Calls a handler, and again when it found no space, after waiting for what was freed: that counts as free at once, and
    /// can be had when it is durable. Never within a call.
    pub fn with_space<T>(&self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            let result = call();
            let Some(device) = self.device.as_ref() else { return result };
            let freed = device.space.freed.load(Ordering::Acquire);
            if result.as_ref().err() != Some(&Errno::ENOSPC) || freed == 0 || tries == TRIES {
                return result;
            }
            tries += 1;
            device.journal.commit(device, freed)?;
        }
    }
}
