// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Thunks about open files and their bytes.

use super::{buffer, bytes, enter};
use crate::abi;
use crate::errno::{Errno, Result};
use crate::fs::{Allocate, Context, Extents, FileSystem, Inode, IoctlArg, ReadSink, SeekFrom, WriteSource, Written};

/// A thunk whose arguments are an inode and the words of `bento_inode_args`.
macro_rules! on_inode {
    ($($op:ident: |$fs:ident, $cx:ident, $inode:ident, $args:ident| $body:expr;)*) => {$(
        pub(super) unsafe extern "C" fn $op<F: FileSystem>(
            call: *mut abi::bento_call,
            args: *mut abi::bento_inode_args,
        ) -> i64 {
            // SAFETY: SAFETY.md C1, C5.
            unsafe { on_inode::<F>(call, args, |$fs, $cx, $inode, $args| $body) }
        }
    )*};
}

/// # Safety
/// Both pointers are this call's (SAFETY.md C1).
#[inline(always)]
unsafe fn on_inode<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_inode_args,
    handler: impl FnOnce(&F, &Context<F>, &Inode<F>, &mut abi::bento_inode_args) -> Result<()>,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            handler(fs, cx, Inode::resolve(call, args.inode)?, args).map(|()| 0)
        })
    }
}

on_inode! {
    open: |fs, cx, inode, args| fs.open(cx, inode, args.flags);
    release: |fs, cx, inode, args| {
        fs.release(cx, inode, args.flags);
        Ok(())
    };
    flush: |fs, cx, inode, _args| fs.flush(cx, inode);
    fsync: |fs, cx, inode, args| fs.fsync(cx, inode, args.flags != 0);
    fallocate: |fs, cx, inode, args| fs.fallocate(cx, inode, args.flags, args.a, args.b);
    poll: |fs, cx, inode, args| {
        args.out = fs.poll(cx, inode, args.flags)?.into();
        Ok(())
    };
    seek: |fs, cx, inode, args| {
        let from = match args.flags {
            3 => SeekFrom::Data(args.a),
            4 => SeekFrom::Hole(args.a),
            _ => return Err(Errno::EINVAL),
        };
        args.out = fs.seek(cx, inode, from)?;
        Ok(())
    };
    fadvise: |fs, cx, inode, args| fs.fadvise(cx, inode, args.a, args.b, args.flags);
}

pub(super) unsafe extern "C" fn read<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_read_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            let mut sink = ReadSink::new(call, args.sink, args.len);
            fs.read(cx, Inode::resolve(call, args.inode)?, args.offset, &mut sink)?;
            Ok(sink.position().try_into().unwrap_or(i64::MAX))
        })
    }
}

pub(super) unsafe extern "C" fn write<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_write_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            let mut source = WriteSource::new(call, args);
            fs.write(cx, Inode::resolve(call, args.inode)?, args.offset, &mut source).map(|()| 0)
        })
    }
}

pub(super) unsafe extern "C" fn ioctl<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_ioctl_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut arg = IoctlArg::new(args.arg, bytes(args.input), buffer(&args.output));
            let value = fs.ioctl(cx, Inode::resolve(call, args.inode)?, args.cmd, &mut arg)?;
            args.output.len = arg.used();
            Ok(value.into())
        })
    }
}

pub(super) unsafe extern "C" fn map_extents<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_map_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut extents = Extents::from_raw(args);
            fs.map_extents(cx, Inode::resolve(call, args.inode)?, args.offset, args.len, &mut extents)?;
            args.count = extents.count();
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn allocate_extents<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_map_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut extents = Extents::from_raw(args);
            let how = Allocate::from_abi(args);
            fs.allocate_extents(cx, Inode::resolve(call, args.inode)?, args.offset, args.len, how, &mut extents)?;
            args.count = extents.count();
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn convert_extents<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_map_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            fs.convert_extents(cx, Inode::resolve(call, args.inode)?, Written::from_raw(args)).map(|()| 0)
        })
    }
}
