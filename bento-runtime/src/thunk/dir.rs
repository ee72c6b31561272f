// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Thunks about names.

use super::{buffer, bytes, enter};
use crate::abi;
use crate::errno::Result;
use crate::fs::{Context, Created, DirEmitter, FileSystem, Inode, Name, NewInode, Rename};

pub(super) unsafe extern "C" fn lookup<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_lookup_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            args.ino = fs.lookup(cx, Inode::resolve(call, args.dir)?, Name::new(bytes(args.name)))?.get();
            Ok(0)
        })
    }
}

/// The four handlers that make an inode under a name differ in what they are called only.
macro_rules! make {
    ($($op:ident)*) => {$(
        pub(super) unsafe extern "C" fn $op<F: FileSystem>(
            call: *mut abi::bento_call,
            args: *mut abi::bento_make_args,
        ) -> i64 {
            // SAFETY: SAFETY.md C1; the handler is the one of this operation.
            unsafe { make::<F>(call, args, |fs, cx, dir, name, _, new| fs.$op(cx, dir, name, new)) }
        }
    )*};
}

make! { create mkdir mknod }

pub(super) unsafe extern "C" fn symlink<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_make_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { make::<F>(call, args, |fs, cx, dir, name, target, new| fs.symlink(cx, dir, name, target, new)) }
}

pub(super) unsafe extern "C" fn tmpfile<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_make_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { make::<F>(call, args, |fs, cx, dir, _, _, new| fs.tmpfile(cx, dir, new)) }
}

/// # Safety
/// Both pointers are this call's (SAFETY.md C1).
#[inline(always)]
unsafe fn make<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_make_args,
    handler: impl FnOnce(&F, &Context<F>, &Inode<F>, &Name, &[u8], NewInode<F>) -> Result<Created>,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5, S4: the new inode is this call's alone.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let new = NewInode::from_raw(call, &mut args.node);
            let (name, target) = (Name::new(bytes(args.name)), bytes(args.target));
            handler(fs, cx, Inode::resolve(call, args.dir)?, name, target, new).map(|_| 0)
        })
    }
}

pub(super) unsafe extern "C" fn link<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_entry_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { entry::<F>(call, args, |fs, cx, dir, name, inode| fs.link(cx, inode, dir, name)) }
}

pub(super) unsafe extern "C" fn unlink<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_entry_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { entry::<F>(call, args, |fs, cx, dir, name, inode| fs.unlink(cx, dir, name, inode)) }
}

pub(super) unsafe extern "C" fn rmdir<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_entry_args,
) -> i64 {
    // SAFETY: SAFETY.md C1.
    unsafe { entry::<F>(call, args, |fs, cx, dir, name, inode| fs.rmdir(cx, dir, name, inode)) }
}

/// # Safety
/// Both pointers are this call's (SAFETY.md C1).
#[inline(always)]
unsafe fn entry<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_entry_args,
    handler: impl FnOnce(&F, &Context<F>, &Inode<F>, &Name, &Inode<F>) -> Result<()>,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            let (dir, inode) = (Inode::resolve(call, args.dir)?, Inode::resolve(call, args.inode)?);
            handler(fs, cx, dir, Name::new(bytes(args.name)), inode).map(|()| 0)
        })
    }
}

pub(super) unsafe extern "C" fn rename<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_rename_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5, S4.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            let rename = Rename {
                old_dir: Inode::resolve(call, args.old_dir)?,
                old_name: Name::new(bytes(args.old_name)),
                inode: Inode::resolve(call, args.inode)?,
                new_dir: Inode::resolve(call, args.new_dir)?,
                new_name: Name::new(bytes(args.new_name)),
                target: match args.target.is_null() {
                    true => None,
                    false => Some(Inode::resolve(call, args.target)?),
                },
                exchange: args.flags & abi::BENTO_RENAME_EXCHANGE != 0,
                whiteout: args.whiteout.as_mut().map(|new| NewInode::from_raw(call, new)),
            };
            fs.rename(cx, rename).map(|()| 0)
        })
    }
}

pub(super) unsafe extern "C" fn iterate<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_iterate_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5: the buffer is this call's alone.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut entries = DirEmitter::new(buffer(&args.entries));
            fs.iterate(cx, Inode::resolve(call, args.dir)?, args.pos, &mut entries)?;
            let (used, end) = entries.finish();
            args.entries.len = used;
            args.end = end.into();
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn get_parent<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_inode_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            args.out = fs.get_parent(cx, Inode::resolve(call, args.inode)?)?.get();
            Ok(0)
        })
    }
}
