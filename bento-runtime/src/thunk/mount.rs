// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Thunks of the mount itself.

use alloc::boxed::Box;

use super::enter;
use crate::abi;
use crate::contain::contain;
use crate::fs::{FileSystem, MountContext, Reconfigure, Statfs, Trim};

pub(super) unsafe extern "C" fn mount<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_mount_args,
) -> i64 {
    contain(call, || {
        // SAFETY: SAFETY.md C1: both are this call's.
        let cx = unsafe { MountContext::from_raw(call, args) };
        let instance = Box::new(F::mount(&cx)?);
        // SAFETY: SAFETY.md C1; `cx` is not used any more.
        unsafe { (*args).instance = Box::into_raw(instance).cast() };
        Ok(0)
    })
}

pub(super) unsafe extern "C" fn unmount<F: FileSystem>(
    call: *mut abi::bento_call,
    _args: *mut abi::bento_unmount_args,
) -> i64 {
    // SAFETY: SAFETY.md C1. The handler first; the instance goes whether or not that panics.
    let result = unsafe {
        enter::<F>(call, |fs, cx| {
            fs.unmount(cx);
            Ok(0)
        })
    };
    // SAFETY: SAFETY.md C2: after an abandoned call nothing of the instance is dropped any more.
    if unsafe { (*call).outcome } == abi::BENTO_OUTCOME_ABANDONED {
        return result;
    }
    let dropped = contain(call, || {
        // SAFETY: SAFETY.md C1: the shim calls this once, last, with the pointer `mount` made.
        drop(unsafe { Box::from_raw((*call).instance.cast::<F>()) });
        Ok(0)
    });
    result.min(dropped)
}

pub(super) unsafe extern "C" fn statfs<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_statfs_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let mut statfs = Statfs::from_abi(&*args);
            fs.statfs(cx, &mut statfs)?;
            statfs.store(&mut *args);
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn sync_fs<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_sync_fs_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { enter::<F>(call, |fs, cx| fs.sync_fs(cx, (*args).wait != 0).map(|()| 0)) }
}

pub(super) unsafe extern "C" fn reconfigure<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_reconfigure_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { enter::<F>(call, |fs, cx| fs.reconfigure(cx, &mut Reconfigure::new(call, &mut *args)).map(|()| 0)) }
}

pub(super) unsafe extern "C" fn trim<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_trim_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { enter::<F>(call, |fs, cx| fs.trim(cx, &mut Trim::new(&mut *args)).map(|()| 0)) }
}

pub(super) unsafe extern "C" fn freeze<F: FileSystem>(
    call: *mut abi::bento_call,
    _args: *mut abi::bento_freeze_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { enter::<F>(call, |fs, cx| fs.freeze(cx).map(|()| 0)) }
}

pub(super) unsafe extern "C" fn thaw<F: FileSystem>(
    call: *mut abi::bento_call,
    _args: *mut abi::bento_freeze_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { enter::<F>(call, |fs, cx| fs.thaw(cx).map(|()| 0)) }
}

pub(super) unsafe extern "C" fn recover<F: FileSystem>(
    call: *mut abi::bento_call,
    _args: *mut abi::bento_freeze_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { enter::<F>(call, |fs, cx| fs.recover(cx).map(|()| 0)) }
}
