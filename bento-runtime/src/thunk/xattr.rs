// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Thunks about extended attributes.

use super::{buffer, bytes, enter};
use crate::abi;
use crate::fs::{FileSystem, Inode, Name, XattrList, XattrValue};

pub(super) unsafe extern "C" fn getxattr<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_getxattr_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut value = XattrValue::new(buffer(&args.value));
            fs.getxattr(cx, Inode::resolve(call, args.inode)?, Name::new(bytes(args.name)), &mut value)?;
            args.value.len = value.len();
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn listxattr<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_listxattr_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut names = XattrList::new(buffer(&args.names));
            fs.listxattr(cx, Inode::resolve(call, args.inode)?, &mut names)?;
            args.names.len = names.len();
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn setxattr<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_setxattr_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            let (name, value) = (Name::new(bytes(args.name)), bytes(args.value));
            #[cfg(feature = "faults")]
            if name.as_bytes() == crate::faults::requested::ATTRIBUTE {
                return crate::faults::requested::arm(value).map(|()| 0);
            }
            fs.setxattr(cx, Inode::resolve(call, args.inode)?, name, value, args.flags).map(|()| 0)
        })
    }
}

pub(super) unsafe extern "C" fn removexattr<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_removexattr_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            fs.removexattr(cx, Inode::resolve(call, args.inode)?, Name::new(bytes(args.name))).map(|()| 0)
        })
    }
}

pub(super) unsafe extern "C" fn set_acl<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_set_acl_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            let value = bytes(args.value);
            let acl = if value.is_empty() { None } else { Some(value) };
            fs.set_acl(cx, Inode::resolve(call, args.inode)?, Name::new(bytes(args.name)), acl, args.mode).map(|()| 0)
        })
    }
}
