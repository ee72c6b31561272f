// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Containment: a handler that panics ends its own call and nothing else.
//!
//! Besides `Ok` and `Err` a call can be *unwound* (destructors ran; the caller gets an errno, the mount goes on) or
//! *abandoned* (destructors could not run: a panic inside a panic, no stack left; the instance is poisoned). With std
//! the panic is std's; in an object without std it is [`crate::unwind`]'s, and the exception is nothing but the errno.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::abi;
use crate::errno::Result;

/// Panics on their way through destructors, in all calls. Guards look here first: it is 0 but for microseconds.
static UNWINDING: AtomicU32 = AtomicU32::new(0);

/// Is this call unwinding? A lock released by such a call is poisoned (SAFETY.md C2).
pub(crate) fn panicking() -> bool {
    UNWINDING.load(Ordering::Relaxed) != 0 && imp::this_call_is_unwinding()
}

/// The innermost call of this task; null where there is none, as in a test without a shim.
pub(crate) fn this_call() -> *mut abi::bento_call {
    imp::this_call()
}

/// Runs one handler; the result is what the thunk returns to the shim.
#[inline(always)]
pub(crate) fn contain(call: *mut abi::bento_call, handler: impl FnOnce() -> Result<i64>) -> i64 {
    imp::run(call, || match handler() {
        Ok(value) => value,
        Err(errno) => -i64::from(errno.get()),
    })
}

pub(crate) use imp::raise;

/// Marks the call as unwound.
fn unwound(call: *mut abi::bento_call) {
    UNWINDING.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: SAFETY.md C1: the ledger lives on the shim's stack, above this frame.
    unsafe {
        (*call).unwinding = 0;
        (*call).outcome = abi::BENTO_OUTCOME_UNWOUND;
    }
}

#[cfg(feature = "freestanding")]
mod imp {
    use core::fmt;
    use core::mem::ManuallyDrop;
    use core::panic::Location;
    use core::sync::atomic::Ordering;

    use super::{UNWINDING, unwound};
    use crate::abi;
    use crate::errno::Errno;
    use crate::host;
    use crate::unwind::frames;
    use crate::unwind::table::Place;

    /// The handler going in, the result coming out.
    union Slot<H> {
        handler: ManuallyDrop<H>,
        value: i64,
    }

    #[inline(always)]
    pub(super) fn run<H: FnOnce() -> i64>(call: *mut abi::bento_call, handler: H) -> i64 {
        fn attempt<H: FnOnce() -> i64>(slot: *mut u8) {
            // SAFETY: SAFETY.md G6: `slot` is the one below, and holds the handler.
            unsafe {
                let slot = slot.cast::<Slot<H>>();
                let handler = ManuallyDrop::take(&mut (*slot).handler);
                (*slot).value = handler();
            }
        }
        fn caught<H: FnOnce() -> i64>(slot: *mut u8, exception: *mut u8) {
            // SAFETY: SAFETY.md G6: the slot is ours and the handler was consumed; the exception is the errno itself.
            unsafe { (*slot.cast::<Slot<H>>()).value = -(exception.addr() as i64) };
        }
        let mut slot = Slot { handler: ManuallyDrop::new(handler) };
        // SAFETY: SAFETY.md G6: both functions take the slot that is passed.
        unsafe {
            if core::intrinsics::catch_unwind(attempt::<H>, (&raw mut slot).cast(), caught::<H>) != 0 {
                unwound(call);
            }
            slot.value
        }
    }

    pub(super) fn this_call() -> *mut abi::bento_call {
        // SAFETY: SAFETY.md G6: Rust runs below a trampoline's record only.
        unsafe { (*frames::record()).call }
    }

    pub(super) fn this_call_is_unwinding() -> bool {
        // SAFETY: SAFETY.md C1: the call lives as long as its record.
        unsafe { (*this_call()).unwinding != 0 }
    }

    /// Ends this call with `errno`: unwinds, or abandons when it is unwinding already.
    #[cold]
    #[inline(never)]
    pub(crate) fn raise(errno: Errno, message: fmt::Arguments<'_>, at: &Location<'_>) -> ! {
        raise_at(errno, message, Place { file: at.file(), line: at.line(), column: at.column() })
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn raise_at(errno: Errno, message: fmt::Arguments<'_>, Place { file, line, column }: Place<'_>) -> ! {
        // SAFETY: SAFETY.md G6, C1: the record is live, and its call is this one.
        unsafe {
            let record = frames::record();
            let call = (*record).call;
            if (*call).unwinding != 0 {
                host::panicked(call, message, file, line, column, Errno::EIO);
                UNWINDING.fetch_sub(1, Ordering::Relaxed);
                frames::abandon(record)
            }
            (*call).unwinding = 1;
            UNWINDING.fetch_add(1, Ordering::Relaxed);
            host::panicked(call, message, file, line, column, errno);
            frames::throw(errno)
        }
    }
}

#[cfg(all(feature = "std", not(feature = "freestanding")))]
mod imp {
    use core::fmt;
    use core::panic::Location;
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
    use std::string::{String, ToString};
    use std::sync::Once;
    use std::sync::atomic::Ordering;

    use super::{UNWINDING, unwound};
    use crate::abi;
    use crate::errno::Errno;
    use crate::host;

    std::thread_local! {
        /// The innermost contained call of this thread.
        static CALL: Cell<*mut abi::bento_call> = const { Cell::new(core::ptr::null_mut()) };
    }

    /// What `raise` throws: reported already.
    struct Raised(Errno);

    pub(super) fn run<H: FnOnce() -> i64>(call: *mut abi::bento_call, handler: H) -> i64 {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = take_hook();
            set_hook(std::boxed::Box::new(move |info| {
                let call = CALL.get();
                if call.is_null() {
                    return before(info);
                }
                let message = info.payload_as_str().unwrap_or("a panic without a message");
                match info.location() {
                    Some(at) => report(call, Errno::EIO, message, at),
                    None => before(info),
                }
            }));
        });
        let outer = CALL.replace(call);
        let result = catch_unwind(AssertUnwindSafe(handler));
        CALL.set(outer);
        result.unwrap_or_else(|thrown| {
            unwound(call);
            let errno = thrown.downcast_ref::<Raised>().map_or(Errno::EIO, |raised| raised.0);
            -i64::from(errno.get())
        })
    }

    fn report(call: *mut abi::bento_call, errno: Errno, message: &str, at: &Location<'_>) {
        UNWINDING.fetch_add(1, Ordering::Relaxed);
        // SAFETY: SAFETY.md C1: `run` is below this frame, so the call is live.
        unsafe { (*call).unwinding = 1 };
        host::panicked(call, format_args!("{message}"), at.file(), at.line(), at.column(), errno);
    }

    pub(super) fn this_call() -> *mut abi::bento_call {
        CALL.get()
    }

    pub(super) fn this_call_is_unwinding() -> bool {
        std::thread::panicking()
    }

    /// Ends this call with `errno`.
    pub(crate) fn raise(errno: Errno, message: fmt::Arguments<'_>, at: &Location<'_>) -> ! {
        let call = CALL.get();
        if call.is_null() {
            let message: String = message.to_string();
            panic!("{message}");
        }
        report(call, errno, &message.to_string(), at);
        resume_unwind(std::boxed::Box::new(Raised(errno)))
    }
}

/// A build that only checks types has neither: nothing ever calls a thunk there.
#[cfg(not(any(feature = "std", feature = "freestanding")))]
mod imp {
    use core::fmt;
    use core::panic::Location;

    use crate::abi;
    use crate::errno::Errno;

    pub(super) fn run<H: FnOnce() -> i64>(call: *mut abi::bento_call, handler: H) -> i64 {
        let _ = super::unwound as fn(*mut abi::bento_call);
        let _ = call;
        handler()
    }

    pub(super) fn this_call() -> *mut abi::bento_call {
        core::ptr::null_mut()
    }

    pub(super) fn this_call_is_unwinding() -> bool {
        false
    }

    pub(crate) fn raise(_: Errno, message: fmt::Arguments<'_>, _: &Location<'_>) -> ! {
        panic!("{message}")
    }
}

#[cfg(feature = "freestanding")]
pub(crate) use imp::raise_at;

/// A panic found no way up and is about to be abandoned.
#[cfg(feature = "freestanding")]
pub(crate) fn no_landing_pad() {
    UNWINDING.fetch_sub(1, Ordering::Relaxed);
}
