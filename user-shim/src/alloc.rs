// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What handlers allocate: counted per mount, so that an unmount can tell what leaked, and made to fail on demand.
//!
//! In process, handlers use std's heap; [`Counting`] is the global allocator that tells a handler's allocations from
//! everybody else's by what the thread is doing. Loaded objects come through `bento_alloc` instead (see `helpers`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Allocations up to this size never fail (SAFETY.md C3).
pub const NEVER_FAILS: usize = 2 * 4096;

/// The heap of one mount's handlers.
#[derive(Debug, Default)]
pub struct Account {
    live: AtomicI64,
    bytes: AtomicI64,
    made: AtomicU64,
    /// How many more allocations that may fail go through before one fails; negative: none is to fail.
    countdown: AtomicI64,
    failed: AtomicU64,
}

thread_local! {
    static CURRENT: Cell<*const Account> = const { Cell::new(ptr::null()) };
}

impl Account {
    pub fn new() -> Account {
        Account { countdown: AtomicI64::new(-1), ..Account::default() }
    }

    /// Allocations not given back.
    pub fn live(&self) -> i64 {
        self.live.load(Ordering::Relaxed)
    }

    pub fn live_bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Allocations ever made.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// How many were made to fail.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The allocation after `n` more of those that may fail is refused.
    pub fn fail_after(&self, n: u64) {
        self.countdown.store(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    pub fn fail_none(&self) {
        self.countdown.store(-1, Ordering::Relaxed);
    }

    fn refuses(&self, size: usize) -> bool {
        if size <= NEVER_FAILS || self.countdown.load(Ordering::Relaxed) < 0 {
            return false;
        }
        let refused = self.countdown.fetch_sub(1, Ordering::Relaxed) == 0;
        if refused {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        refused
    }

    fn took(&self, size: usize) {
        self.live.fetch_add(1, Ordering::Relaxed);
        self.made.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size as i64, Ordering::Relaxed);
    }

    fn gave_back(&self, size: usize) {
        self.live.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size as i64, Ordering::Relaxed);
    }
}

/// While it lives, this thread's allocations are `account`'s; null: the shim's own, not counted.
#[derive(Debug)]
pub struct Charge {
    before: *const Account,
}

impl Charge {
    pub fn to(account: *const Account) -> Charge {
        Charge { before: CURRENT.replace(account) }
    }

    /// For the shim's functions that handlers call.
    pub fn nobody() -> Charge {
        Charge::to(ptr::null())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

fn with_current<T>(then: impl FnOnce(&Account) -> T) -> Option<T> {
    let account = CURRENT.try_with(Cell::get).ok()?;
    // SAFETY: SAFETY.md C1: set for the length of one call only, while the mount is held.
    unsafe { account.as_ref() }.map(then)
}

/// The heap behind `bento_alloc`: null when it is made to fail.
///
/// # Safety
/// As [`GlobalAlloc::alloc`].
pub unsafe fn take(layout: Layout) -> *mut u8 {
    if with_current(|account| account.refuses(layout.size())) == Some(true) {
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    let block = unsafe { System.alloc(layout) };
    if !block.is_null() {
        with_current(|account| account.took(layout.size()));
    }
    block
}

/// # Safety
/// As [`GlobalAlloc::dealloc`]; the block came from [`take`].
pub unsafe fn give_back(block: *mut u8, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe { System.dealloc(block, layout) };
    with_current(|account| account.gave_back(layout.size()));
}

/// # Safety
/// As [`GlobalAlloc::realloc`]; the block came from [`take`].
pub unsafe fn resize(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    if size > layout.size() && with_current(|account| account.refuses(size)) == Some(true) {
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    let block = unsafe { System.realloc(block, layout, size) };
    if !block.is_null() {
        with_current(|account| account.bytes.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed));
    }
    block
}

/// std's heap with a note of whose allocation it was.
#[cfg_attr(not(feature = "count-allocations"), allow(dead_code))]
#[derive(Debug)]
pub struct Counting;

// SAFETY: SAFETY.md C3: every call goes to `System` unchanged; the bookkeeping does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { take(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { give_back(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { resize(block, layout, size) }
    }
}

#[cfg(feature = "count-allocations")]
#[global_allocator]
static HEAP: Counting = Counting;
