// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Locks for handlers: one atomic word, and the shim to sleep on it (SAFETY.md C6). Const-constructible, movable while
//! free, the same code in the kernel and in user space.
//!
//! A lock that was held for writing when a panic unwound is *poisoned*: what it guards may be half-changed. Locking it
//! later ends that call with `EIO`. Not one that says how to make it whole again ([`Mutex::mended`]).

mod mutex;
mod rwlock;

pub(crate) use mutex::RawGuard;
pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::errno::Errno;
use crate::{contain, host};

/// A call that unwinds lets go of `lock`, held for writing: the shim may know whose data it is.
#[cold]
fn poison<T>(lock: *const T, mark: &AtomicBool) {
    mark.store(true, Ordering::Relaxed);
    let call = contain::this_call();
    if !call.is_null() {
        host::lock_poisoned(call, lock.cast());
    }
}

#[cold]
fn poisoned<T>(lock: *const T, site: &'static Location<'static>, caller: &Location<'_>) -> ! {
    let call = contain::this_call();
    if !call.is_null() {
        host::lock_refused(call, lock.cast());
    }
    contain::raise(Errno::EIO, format_args!("the lock made at {site} was poisoned by an earlier panic"), caller)
}

/// What a lock validator is told. Only kernels that have one are compiled for it.
#[cfg(bento_lockdep)]
mod validator {
    use core::panic::Location;

    use crate::abi;

    fn location(site: &'static Location<'static>) -> abi::bento_location {
        abi::bento_location {
            file: abi::bento_bytes { ptr: site.file().as_ptr(), len: site.file().len() },
            line: site.line(),
            column: site.column(),
        }
    }

    pub(super) fn acquired<T>(lock: *const T, site: &'static Location<'static>, exclusive: bool) {
        // SAFETY: SAFETY.md C6: the address is an identity, the location is constant.
        unsafe { abi::bento_lock_acquired(lock.cast(), &location(site), exclusive.into()) }
    }

    pub(super) fn released<T>(lock: *const T, site: &'static Location<'static>) {
        // SAFETY: SAFETY.md C6, as above.
        unsafe { abi::bento_lock_released(lock.cast(), &location(site)) }
    }
}

#[cfg(not(bento_lockdep))]
mod validator {
    use core::panic::Location;

    #[inline(always)]
    pub(super) fn acquired<T>(_: *const T, _: &'static Location<'static>, _: bool) {}
    #[inline(always)]
    pub(super) fn released<T>(_: *const T, _: &'static Location<'static>) {}
}
