// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Shared and exclusive access.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{poison, poisoned, validator};
use crate::{contain, host};

/// Held for writing.
const WRITER: u32 = 1 << 31;
/// Someone may sleep; a reader that sees it queues up behind, so that writers are not starved.
const WAITERS: u32 = 1 << 30;
const READERS: u32 = WAITERS - 1;

/// A lock around a `T` that many may read or one may change.
pub struct RwLock<T> {
    word: AtomicU32,
    poisoned: AtomicBool,
    site: &'static Location<'static>,
    value: UnsafeCell<T>,
}

// SAFETY: SAFETY.md C6: readers share, a writer is alone.
unsafe impl<T: Send> Send for RwLock<T> {}
// SAFETY: SAFETY.md C6, as above.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

/// Shared access until dropped.
#[must_use]
pub struct RwLockReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    not_send: PhantomData<*mut ()>,
}

/// Exclusive access until dropped.
#[must_use]
pub struct RwLockWriteGuard<'a, T> {
    lock: &'a RwLock<T>,
    not_send: PhantomData<*mut ()>,
}

impl<T> RwLock<T> {
    #[track_caller]
    pub const fn new(value: T) -> Self {
        RwLock {
            word: AtomicU32::new(0),
            poisoned: AtomicBool::new(false),
            site: Location::caller(),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for shared access. A poisoned lock ends the call with `EIO`.
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        loop {
            let now = self.word.load(Ordering::Relaxed);
            if now & (WRITER | WAITERS) != 0 {
                self.sleep(now);
                continue;
            }
            if self.word.compare_exchange_weak(now, now + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        validator::acquired(self, self.site, false);
        let guard = RwLockReadGuard { lock: self, not_send: PhantomData };
        if self.is_poisoned() {
            drop(guard);
            poisoned(self, self.site, Location::caller());
        }
        guard
    }

    /// Waits for exclusive access. A poisoned lock ends the call with `EIO`.
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        loop {
            let now = self.word.load(Ordering::Relaxed);
            if now & (WRITER | READERS) != 0 {
                self.sleep(now);
                continue;
            }
            // WAITERS stays: others may sleep too.
            if self.word.compare_exchange_weak(now, now | WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        validator::acquired(self, self.site, true);
        let guard = RwLockWriteGuard { lock: self, not_send: PhantomData };
        if self.is_poisoned() {
            drop(guard);
            poisoned(self, self.site, Location::caller());
        }
        guard
    }

    /// Shared access, or `None` when a writer holds it, someone waits, or it is poisoned.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let now = self.word.load(Ordering::Relaxed);
        if now & (WRITER | WAITERS) != 0 {
            return None;
        }
        self.word.compare_exchange(now, now + 1, Ordering::Acquire, Ordering::Relaxed).ok()?;
        validator::acquired(self, self.site, false);
        let guard = RwLockReadGuard { lock: self, not_send: PhantomData };
        (!self.is_poisoned()).then_some(guard)
    }

    /// Did a panic leave it poisoned? That does not change any more.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Sleeps while the word says what it said, marked so that whoever lets go wakes us.
    #[cold]
    fn sleep(&self, now: u32) {
        let marked = now | WAITERS;
        if now & (WRITER | READERS) == 0 {
            // Free, but the mark of an earlier sleeper is still there: clear it and try again.
            let _ = self.word.compare_exchange(now, 0, Ordering::Relaxed, Ordering::Relaxed);
            return;
        }
        if now == marked || self.word.compare_exchange(now, marked, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            host::wait(&self.word, marked);
        }
    }

    /// The last holder is gone: everyone who sleeps tries again. Also when the mark is gone already: a reader may have
    /// cleared it in `sleep` since the caller saw it.
    fn wake(&self) {
        self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        host::wake(&self.word, u32::MAX);
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        validator::released(self.lock, self.lock.site);
        if self.lock.word.fetch_sub(1, Ordering::Release) == WAITERS | 1 {
            self.lock.wake();
        }
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        if contain::panicking() {
            poison(self.lock, &self.lock.poisoned);
        }
        validator::released(self.lock, self.lock.site);
        if self.lock.word.swap(0, Ordering::Release) & WAITERS != 0 {
            host::wake(&self.lock.word, u32::MAX);
        }
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: SAFETY.md C6: the guard holds the lock, shared.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: SAFETY.md C6: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: SAFETY.md C6: the guard holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("site", &self.site).finish_non_exhaustive()
    }
}
