// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mutual exclusion.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{poison, poisoned, validator};
use crate::{contain, host};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and someone may sleep.
const CONTENDED: u32 = 2;

/// A lock around a `T`.
pub struct Mutex<T> {
    word: AtomicU32,
    poisoned: AtomicBool,
    site: &'static Location<'static>,
    mend: Option<fn(&mut T)>,
    value: UnsafeCell<T>,
}

// SAFETY: SAFETY.md C6: one guard at a time reaches the value.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: SAFETY.md C6, as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// Access to the value until dropped.
#[must_use]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    // A handler ends on the task it began on.
    not_send: PhantomData<*mut ()>,
}

impl<T> Mutex<T> {
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Mutex::with(value, None, Location::caller())
    }

    /// A lock that no panic poisons: `mend` makes the value whole again, whatever the call that unwinds has left of it. For
    /// hints, and where all that counts stands in blocks, which the transaction has put back by then.
    #[track_caller]
    pub const fn mending(value: T, mend: fn(&mut T)) -> Self {
        Mutex::with(value, Some(mend), Location::caller())
    }

    const fn with(value: T, mend: Option<fn(&mut T)>, site: &'static Location<'static>) -> Self {
        Mutex {
            word: AtomicU32::new(FREE),
            poisoned: AtomicBool::new(false),
            site,
            mend,
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock. A poisoned one ends the call with `EIO`.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_contended();
        }
        validator::acquired(self, self.site, true);
        let guard = MutexGuard { mutex: self, not_send: PhantomData };
        if self.is_poisoned() {
            drop(guard);
            poisoned(self, self.site, Location::caller());
        }
        guard
    }

    /// `None` when it is held or poisoned.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).ok()?;
        validator::acquired(self, self.site, true);
        let guard = MutexGuard { mutex: self, not_send: PhantomData };
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

    #[cold]
    fn lock_contended(&self) {
        while self.word.swap(CONTENDED, Ordering::Acquire) != FREE {
            host::wait(&self.word, CONTENDED);
        }
    }
}

impl<T> MutexGuard<'_, T> {
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.mutex.value.get()
    }

    /// The guard without its type and lifetime.
    pub(crate) fn into_raw(self) -> RawGuard {
        unsafe fn unlock<T>(mutex: *const ()) {
            // SAFETY: SAFETY.md C6: `RawGuard::unlock`'s promise; the guard that was forgotten comes back.
            unsafe { drop(MutexGuard { mutex: &*mutex.cast::<Mutex<T>>(), not_send: PhantomData }) }
        }
        let raw = RawGuard { mutex: core::ptr::from_ref(self.mutex).cast(), unlock: unlock::<T> };
        core::mem::forget(self);
        raw
    }
}

/// A lock that is held, for who keeps locks of many types ([`crate::fs::Transaction`]).
pub(crate) struct RawGuard {
    mutex: *const (),
    unlock: unsafe fn(*const ()),
}

impl RawGuard {
    pub(crate) fn is<T>(&self, mutex: &Mutex<T>) -> bool {
        core::ptr::eq(self.mutex, core::ptr::from_ref(mutex).cast())
    }

    /// # Safety
    /// The mutex is still there, and nobody uses what the lock gave access to any more.
    pub(crate) unsafe fn unlock(self) {
        // SAFETY: the caller's promise.
        unsafe { (self.unlock)(self.mutex) }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if contain::panicking() {
            match self.mutex.mend {
                Some(mend) => mend(self),
                None => poison(self.mutex, &self.mutex.poisoned),
            }
        }
        validator::released(self.mutex, self.mutex.site);
        if self.mutex.word.swap(FREE, Ordering::Release) == CONTENDED {
            host::wake(&self.mutex.word, 1);
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: SAFETY.md C6: the guard holds the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: SAFETY.md C6: the guard holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("site", &self.site).finish_non_exhaustive()
    }
}
