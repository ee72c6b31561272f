// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Attributes: setattr, getattr, permission, file attributes, symbolic links. The handler agrees first; what follows
//! from it is applied here, in one place.

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::{Op, access};

use crate::caller::{Caller, Object, may};
use crate::inode::Inode;
use crate::superblock::buffer;

/// `FS_*_FL` bits with a meaning for the shim.
pub const IMMUTABLE: u32 = 0x10;
pub const APPEND: u32 = 0x20;
const NODUMP: u32 = 0x40;
const COMPRESSED: u32 = 0x4;
const ENCRYPTED: u32 = 0x800;

const PATH_MAX: usize = 4096;

/// What `stat` shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub attr: abi::bento_attr,
    /// `STATX_ATTR_*`
    pub attributes: u64,
}

impl Inode {
    /// No change at all is allowed.
    pub fn check_immutable(&self) -> Result<()> {
        if self.lock_attr().flags & IMMUTABLE != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// No change but appending is allowed.
    pub fn check_append_only(&self) -> Result<()> {
        if self.lock_attr().flags & (IMMUTABLE | APPEND) != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Changes attributes. `change` holds the new values of the fields in `valid`; with the size, the caller holds
    /// `rwsem` for writing.
    pub fn setattr(&self, caller: &Caller, change: &abi::bento_attr, mut valid: u32) -> Result<()> {
        let sb = self.sb();
        if valid & !(abi::BENTO_ATTR_ATIME | abi::BENTO_ATTR_MTIME | abi::BENTO_ATTR_CTIME) != 0 {
            self.check_append_only()?;
        } else {
            self.check_immutable()?;
        }
        let now = sb.now();
        let mut attr = self.attr();
        apply(&mut attr, &sb.rounded(*change), valid);
        if valid & abi::BENTO_ATTR_CTIME == 0 {
            attr.ctime = now;
            valid |= abi::BENTO_ATTR_CTIME;
        }
        let resize = valid & abi::BENTO_ATTR_SIZE != 0;
        if resize {
            if self.is_dir() {
                return Err(Errno::EISDIR);
            }
            if !self.is_file() {
                return Err(Errno::EINVAL);
            }
            if attr.size > sb.settings().max_file_size {
                return Err(Errno::EFBIG);
            }
            if sb.is_extents() {
                if !sb.has(Op::setattr) {
                    return Err(Errno::EOPNOTSUPP);
                }
                if valid & abi::BENTO_ATTR_MTIME == 0 {
                    attr.mtime = now;
                    valid |= abi::BENTO_ATTR_MTIME;
                }
            }
            self.prepare_resize(caller, attr.size)?;
        }
        // Times alone are stored with the next write of the inode, as those of written bytes are.
        let times = abi::BENTO_ATTR_ATIME | abi::BENTO_ATTR_MTIME | abi::BENTO_ATTR_CTIME;
        let later = sb.is_extents() && valid & !times == 0 && sb.has(Op::write_inode);
        let asked = sb.has(Op::setattr) && !later;
        let chmod = valid == abi::BENTO_ATTR_MODE | abi::BENTO_ATTR_CTIME;
        if chmod && sb.has(Op::set_acl) && self.chmod_acl(caller, attr.mode)? {
            return Ok(());
        }
        if asked {
            let mut args = abi::bento_setattr_args { inode: self.as_raw(), attr: &attr, valid, pad: 0 };
            let done = sb.invoke(Op::setattr, |ops| ops.setattr, caller, &mut args);
            if resize {
                // A truncation goes in steps: even one that failed may have come half-way.
                self.forget_extents(0..u64::MAX);
            }
            done?;
        }
        if resize {
            self.apply_resize(attr.size)?;
        }
        // On a device the handler has staged what became of it.
        if !sb.is_extents() || !asked {
            self.change(|own| {
                apply(own, &attr, valid);
                if resize && valid & abi::BENTO_ATTR_MTIME == 0 {
                    own.mtime = now;
                }
            });
        }
        if valid & abi::BENTO_ATTR_MODE != 0 {
            self.chmod_acl(caller, self.mode())?;
        }
        Ok(())
    }

    /// What `stat` shows: the inode's attributes, as the handler would rather have them.
    pub fn getattr(&self, caller: &Caller, request_mask: u32) -> Result<Shown> {
        let sb = self.sb();
        let mut attr = self.attr();
        if attr.blksize == 0 {
            attr.blksize = sb.settings().block_size;
        }
        let mut attributes = u64::from(attr.flags & (IMMUTABLE | APPEND | NODUMP | COMPRESSED | ENCRYPTED));
        if !sb.has(Op::getattr) {
            return Ok(Shown { attr, attributes });
        }
        let mut args = abi::bento_getattr_args { inode: self.as_raw(), attr, attributes: 0, request_mask, pad: 0 };
        sb.invoke(Op::getattr, |ops| ops.getattr, caller, &mut args)?;
        if (args.attr.mode ^ attr.mode) & !0o7777 != 0 {
            let (new, old) = (args.attr.mode, attr.mode);
            return Err(sb.bad(Op::getattr, format_args!("returned mode {new:#o} for {old:#o}")));
        }
        let mut shown = args.attr;
        // Number and device stay; so does a block size that is none.
        (shown.ino, shown.rdev_major, shown.rdev_minor) = (attr.ino, attr.rdev_major, attr.rdev_minor);
        sb.check_attr(Op::getattr, &shown)?;
        if shown.blksize == 0 || shown.blksize > i32::MAX as u32 {
            shown.blksize = attr.blksize;
        }
        attributes |= args.attributes;
        Ok(Shown { attr: shown, attributes })
    }

    /// May `caller` do `mask` to this inode?
    pub fn permission(&self, caller: &Caller, mask: u32) -> Result<()> {
        let sb = self.sb();
        if mask & access::WRITE != 0 {
            let kind = self.file_type();
            if sb.is_read_only() && [libc::S_IFREG, libc::S_IFDIR, libc::S_IFLNK].contains(&kind) {
                return Err(Errno::EROFS);
            }
            self.check_immutable()?;
        }
        if !sb.has(Op::permission) {
            return self.generic_permission(caller, mask);
        }
        let mut result = Err(Errno::EACCES);
        for _ in 0..3 {
            let mut args = crate::inode::inode_args(self.as_raw());
            args.flags = mask;
            let (asked, need_acl) = sb.invoke_noting(Op::permission, |ops| ops.permission, caller, &mut args);
            // An upgrade may have taken the handler away.
            if !sb.has(Op::permission) {
                return self.generic_permission(caller, mask);
            }
            result = asked.map(drop);
            match need_acl {
                // Now it will be cached: ask again.
                Some(inode) if inode.ino() == self.ino() => drop(self.acl(false)?),
                _ => break,
            }
        }
        result
    }

    /// Mode bits and ACL.
    pub fn generic_permission(&self, caller: &Caller, mask: u32) -> Result<()> {
        let acl = self.acl(false)?;
        let attr = self.attr();
        may(caller, &Object { mode: attr.mode, uid: attr.uid, gid: attr.gid, acl: acl.as_ref() }, mask)
    }

    /// The target of a symbolic link; asked once.
    pub fn get_link(&self, caller: &Caller) -> Result<&[u8]> {
        if let Some(link) = self.cached_link() {
            return Ok(link);
        }
        let sb = self.sb();
        if !self.is_symlink() || !sb.has(Op::get_link) {
            return Err(Errno::EINVAL);
        }
        let mut target = vec![0; PATH_MAX - 1];
        let mut args = abi::bento_get_link_args { inode: self.as_raw(), target: buffer(&mut target) };
        sb.invoke(Op::get_link, |ops| ops.get_link, caller, &mut args)?;
        let len = args.target.len;
        if len == 0 || len >= PATH_MAX {
            return Err(sb.bad(Op::get_link, format_args!("returned a target of {len} bytes")));
        }
        if target[..len].contains(&0) {
            return Err(sb.bad(Op::get_link, format_args!("returned a target with a NUL in it")));
        }
        Ok(self.cache_link(&target[..len]))
    }

    /// `lsattr`: the flags and the project.
    pub fn fileattr_get(&self, caller: &Caller) -> Result<(u32, u32)> {
        let sb = self.sb();
        if !sb.has(Op::fileattr_get) {
            return Err(Errno::ENOTTY);
        }
        let flags = self.lock_attr().flags;
        let mut args = abi::bento_fileattr_args { inode: self.as_raw(), flags, projid: 0 };
        sb.invoke(Op::fileattr_get, |ops| ops.fileattr_get, caller, &mut args)?;
        Ok((args.flags, args.projid))
    }

    /// `chattr`.
    pub fn fileattr_set(&self, caller: &Caller, flags: u32, projid: u32) -> Result<()> {
        let sb = self.sb();
        if !sb.has(Op::fileattr_set) {
            return Err(Errno::ENOTTY);
        }
        if sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        let attr = self.attr();
        if !caller.owns(attr.uid) || ((flags ^ attr.flags) & (IMMUTABLE | APPEND) != 0 && !caller.is_root()) {
            return Err(Errno::EPERM);
        }
        let mut args = abi::bento_fileattr_args { inode: self.as_raw(), flags, projid };
        sb.invoke(Op::fileattr_set, |ops| ops.fileattr_set, caller, &mut args)?;
        if !sb.is_extents() {
            let now = sb.now();
            self.change(|attr| (attr.flags, attr.ctime) = (flags, now));
        }
        Ok(())
    }
}

pub fn apply(to: &mut abi::bento_attr, from: &abi::bento_attr, valid: u32) {
    if valid & abi::BENTO_ATTR_MODE != 0 {
        to.mode = to.mode & libc::S_IFMT | from.mode & 0o7777;
    }
    macro_rules! copy {
        ($($bit:ident $field:ident)*) => {
            $(if valid & abi::$bit != 0 {
                to.$field = from.$field;
            })*
        };
    }
    copy! {
        BENTO_ATTR_UID uid BENTO_ATTR_GID gid BENTO_ATTR_SIZE size BENTO_ATTR_ATIME atime BENTO_ATTR_MTIME mtime
        BENTO_ATTR_CTIME ctime BENTO_ATTR_BTIME btime BENTO_ATTR_NLINK nlink BENTO_ATTR_BLOCKS blocks
        BENTO_ATTR_FLAGS flags BENTO_ATTR_GENERATION generation BENTO_ATTR_PROJECT project
    }
}

/// `bento_inode_update`: a handler changes an inode's attributes itself. From inside the gate.
pub fn update(op: Op, inode: &Inode, new: &abi::bento_attr, valid: u32) -> Result<()> {
    let sb = inode.sb();
    let old = inode.attr();
    if valid & abi::BENTO_ATTR_MODE != 0 && new.mode & libc::S_IFMT != 0 && (new.mode ^ old.mode) & libc::S_IFMT != 0 {
        return Err(sb.bad(op, format_args!("changed the type in mode {:#o} to {:#o}", old.mode, new.mode)));
    }
    let mut after = old;
    apply(&mut after, &sb.rounded(*new), valid);
    sb.check_attr(op, &after)?;
    if valid & abi::BENTO_ATTR_SIZE != 0 && inode.is_file() {
        // A resident file's size and pages go together: setattr.
        if sb.is_resident() {
            return Err(sb.bad(op, format_args!("set the size of a resident file")));
        }
        if new.size < old.size {
            stale(inode, new.size);
        }
    }
    inode.change(|attr| apply(attr, &sb.rounded(*new), valid));
    if valid & abi::BENTO_ATTR_NLINK != 0 {
        inode.set_nlink(|nlink| nlink);
    }
    // The kernel above FUSE knows the old ones.
    crate::call::with_ledger(|ledger| ledger.after.changed.push(inode.ino()));
    Ok(())
}

/// `bento_tx_inode`: could these become the inode's?
pub fn check_staged(op: Op, inode: &Inode, new: &abi::bento_attr, valid: u32) -> Result<()> {
    let sb = inode.sb();
    let old = inode.attr();
    if valid & abi::BENTO_ATTR_MODE != 0 && new.mode & libc::S_IFMT != 0 && (new.mode ^ old.mode) & libc::S_IFMT != 0 {
        return Err(sb.bad(op, format_args!("changed the type in mode {:#o} to {:#o}", old.mode, new.mode)));
    }
    let mut after = old;
    apply(&mut after, &sb.rounded(*new), valid);
    sb.check_attr(op, &after)
}

/// The commit of what [`check_staged`] agreed to. The handler has stored it: the inode is no dirtier than before.
pub fn apply_staged(ledger: &mut crate::call::Ledger<'_>, inode: &Inode, new: &abi::bento_attr, valid: u32) {
    let new = inode.sb().rounded(*new);
    let (before, nlink) = {
        let mut attr = inode.lock_attr();
        let before = attr.size;
        apply(&mut attr, &new, valid);
        if valid & abi::BENTO_ATTR_SIZE != 0 {
            attr.disk_size = attr.size;
        }
        (before, attr.nlink)
    };
    if valid & abi::BENTO_ATTR_NLINK != 0 {
        inode.repin(nlink);
    }
    if inode.ino() == 0 {
        return;
    }
    if !matches!(ledger.op, Op::ioctl | Op::fileattr_set) {
        // Whoever asked for anything else knows which inodes that changes.
        return;
    }
    ledger.after.changed.push(inode.ino());
    if valid & abi::BENTO_ATTR_SIZE != 0 && inode.is_file() && new.size < before {
        // SAFETY: SAFETY.md C5: a live inode; it has a number, so it is in the cache or about to be.
        let inode = unsafe { Inode::ref_from_raw(inode.as_raw()) };
        ledger.after.invalidations.push(crate::call::Invalidation { inode, offset: new.size, len: 0 });
    }
}

/// Pages from `size` on are stale once the call has left the gate.
fn stale(inode: &Inode, size: u64) {
    crate::call::with_ledger(|ledger| {
        // SAFETY: SAFETY.md C5: the handler holds this inode.
        let inode = unsafe { Inode::ref_from_raw(inode.as_raw()) };
        ledger.after.invalidations.push(crate::call::Invalidation { inode, offset: size, len: 0 });
    });
}
