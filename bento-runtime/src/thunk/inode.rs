// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Thunks that bring inodes in and out of the cache, and those about attributes.

use super::{buffer, enter};
use crate::abi;
use crate::contain::contain;
use crate::errno::Errno;
use crate::fs::{Attr, FileAttr, FileSystem, Ino, Inode, LinkTarget, Op, SetAttr, Stat, attach, detach};

pub(super) unsafe extern "C" fn load_inode<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_load_inode_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5: the inode is new, has no data, and no other call sees it.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let ino = Ino::new((*(*args).inode).ino).ok_or(Errno::ESTALE)?;
            let (attr, data) = fs.load_inode(cx, ino)?;
            attr.store(&mut (*args).attr);
            attach::<F>(call, (*args).inode, data);
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn forget_inode<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_inode_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5: the last call that holds this inode.
    let told = unsafe {
        match F::HANDLERS.has(Op::forget_inode) {
            true => enter::<F>(call, |fs, cx| {
                fs.forget_inode(cx, Inode::resolve(call, (*args).inode)?);
                Ok(0)
            }),
            false => 0,
        }
    };
    // SAFETY: SAFETY.md C2: after an abandoned call nothing is dropped any more.
    if unsafe { (*call).outcome } == abi::BENTO_OUTCOME_ABANDONED {
        return told;
    }
    let dropped = contain(call, || {
        // SAFETY: SAFETY.md C5: no call holds the inode any more.
        unsafe { detach::<F>((*args).inode) };
        Ok(0)
    });
    told.min(dropped)
}

pub(super) unsafe extern "C" fn write_inode<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_inode_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            fs.write_inode(cx, Inode::resolve(call, args.inode)?, args.flags != 0).map(|()| 0)
        })
    }
}

pub(super) unsafe extern "C" fn evict_inode<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_inode_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe { enter::<F>(call, |fs, cx| fs.evict_inode(cx, Inode::resolve(call, (*args).inode)?).map(|()| 0)) }
}

pub(super) unsafe extern "C" fn permission<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_inode_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            fs.permission(cx, Inode::resolve(call, args.inode)?, args.flags).map(|()| 0)
        })
    }
}

pub(super) unsafe extern "C" fn get_link<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_get_link_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C4, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut target = LinkTarget::new(buffer(&args.target));
            fs.get_link(cx, Inode::resolve(call, args.inode)?, &mut target)?;
            args.target.len = target.len();
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn setattr<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_setattr_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5: `attr` is the shim's and constant.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            let change = SetAttr::from_abi(&*args.attr, args.valid);
            fs.setattr(cx, Inode::resolve(call, args.inode)?, &change).map(|()| 0)
        })
    }
}

pub(super) unsafe extern "C" fn getattr<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_getattr_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut stat = Stat {
                attr: Attr::from_abi(&args.attr),
                attributes: args.attributes,
                blksize: args.attr.blksize,
                request_mask: args.request_mask,
            };
            fs.getattr(cx, Inode::resolve(call, args.inode)?, &mut stat)?;
            stat.attr.store(&mut args.attr);
            args.attr.blksize = stat.blksize;
            args.attributes = stat.attributes;
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn fileattr_get<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_fileattr_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &mut *args;
            let mut attr = FileAttr { flags: args.flags, project: args.projid };
            fs.fileattr_get(cx, Inode::resolve(call, args.inode)?, &mut attr)?;
            (args.flags, args.projid) = (attr.flags, attr.project);
            Ok(0)
        })
    }
}

pub(super) unsafe extern "C" fn fileattr_set<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_fileattr_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, C5.
    unsafe {
        enter::<F>(call, |fs, cx| {
            let args = &*args;
            let attr = FileAttr { flags: args.flags, project: args.projid };
            fs.fileattr_set(cx, Inode::resolve(call, args.inode)?, &attr).map(|()| 0)
        })
    }
}
