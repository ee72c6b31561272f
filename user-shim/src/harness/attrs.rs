// SPDX-License-Identifier: GPL-2.0 OR MIT
//! System calls about attributes, extended ones too, with the checks the VFS makes before it asks the file system.

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::{Timestamp, access};

use super::task::{Stat, Task, Times};
use crate::dir::write;
use crate::inode::{InodeRef, blank_attr};
use crate::xattr::Kind;

impl Task {
    // ---- attributes ----

    /// Follows a symbolic link at the end of the path.
    pub fn stat(&self, path: impl AsRef<[u8]>) -> Result<Stat> {
        self.stat_inode(&*self.resolve(path.as_ref(), true)?)
    }

    /// Does not.
    pub fn lstat(&self, path: impl AsRef<[u8]>) -> Result<Stat> {
        self.stat_inode(&*self.resolve(path.as_ref(), false)?)
    }

    pub(super) fn stat_inode(&self, inode: &crate::inode::Inode) -> Result<Stat> {
        inode.getattr(&self.caller, libc::STATX_BASIC_STATS | libc::STATX_BTIME).map(|shown| Stat::of(&shown))
    }

    pub fn exists(&self, path: impl AsRef<[u8]>) -> bool {
        self.lstat(path).is_ok()
    }

    /// `access(2)`; `mask` is of [`bento::fs::access`].
    pub fn access(&self, path: impl AsRef<[u8]>, mask: u32) -> Result<()> {
        self.resolve(path.as_ref(), true)?.permission(&self.caller, mask)
    }

    pub fn chmod(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        self.chmod_inode(&*self.resolve(path.as_ref(), true)?, mode)
    }

    pub(super) fn chmod_inode(&self, inode: &crate::inode::Inode, mode: u32) -> Result<()> {
        if inode.is_symlink() {
            return Err(Errno::EOPNOTSUPP);
        }
        let owner = inode.attr();
        if self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        if !self.caller.owns(owner.uid) {
            return Err(Errno::EPERM);
        }
        let mut attr = blank_attr();
        attr.mode = mode & 0o7777;
        if !self.caller.is_root() && !self.caller.in_group(owner.gid) {
            attr.mode &= !libc::S_ISGID;
        }
        self.change(inode, &attr, abi::BENTO_ATTR_MODE)
    }

    /// Owner and group; `None` leaves one as it is.
    pub fn chown(&self, path: impl AsRef<[u8]>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.chown_inode(&*self.resolve(path.as_ref(), true)?, uid, gid)
    }

    pub fn lchown(&self, path: impl AsRef<[u8]>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.chown_inode(&*self.resolve(path.as_ref(), false)?, uid, gid)
    }

    pub(super) fn chown_inode(&self, inode: &crate::inode::Inode, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let before = inode.attr();
        if self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        if !self.caller.is_root() {
            let mine = self.caller.uid == before.uid;
            let uid_ok = uid.is_none_or(|uid| mine && uid == before.uid);
            let gid_ok = gid.is_none_or(|gid| mine && (gid == before.gid || self.caller.in_group(gid)));
            if !uid_ok || !gid_ok {
                return Err(Errno::EPERM);
            }
        }
        let mut attr = before;
        let mut valid = 0;
        if let Some(uid) = uid {
            (attr.uid, valid) = (uid, valid | abi::BENTO_ATTR_UID);
        }
        if let Some(gid) = gid {
            (attr.gid, valid) = (gid, valid | abi::BENTO_ATTR_GID);
        }
        if !inode.is_dir()
            && let Some(mode) = without_privileges(before.mode)
        {
            (attr.mode, valid) = (mode, valid | abi::BENTO_ATTR_MODE);
        }
        self.change(inode, &attr, valid)
    }

    /// Sets times; the owner may, and nobody else.
    pub fn set_times(&self, path: impl AsRef<[u8]>, times: Times) -> Result<()> {
        let inode = self.resolve(path.as_ref(), true)?;
        if self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        if !self.caller.owns(inode.attr().uid) {
            return Err(Errno::EPERM);
        }
        let mut attr = blank_attr();
        let mut valid = 0;
        let raw = |time: Timestamp| abi::bento_time { sec: time.sec, nsec: time.nsec, pad: 0 };
        if let Some(time) = times.atime {
            (attr.atime, valid) = (raw(time), valid | abi::BENTO_ATTR_ATIME);
        }
        if let Some(time) = times.mtime {
            (attr.mtime, valid) = (raw(time), valid | abi::BENTO_ATTR_MTIME);
        }
        self.change(&inode, &attr, valid)
    }

    /// `utimes(path, NULL)`: now, for the owner and those who may write.
    pub fn touch(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let inode = self.resolve(path.as_ref(), true)?;
        if !self.caller.owns(inode.attr().uid) {
            inode.permission(&self.caller, access::WRITE)?;
        }
        let mut attr = blank_attr();
        (attr.atime, attr.mtime) = (self.sb.now(), self.sb.now());
        self.change(&inode, &attr, abi::BENTO_ATTR_ATIME | abi::BENTO_ATTR_MTIME)
    }

    pub fn truncate(&self, path: impl AsRef<[u8]>, size: u64) -> Result<()> {
        let inode = self.resolve(path.as_ref(), true)?;
        if inode.is_dir() {
            return Err(Errno::EISDIR);
        }
        if !inode.is_file() {
            return Err(Errno::EINVAL);
        }
        inode.permission(&self.caller, access::WRITE)?;
        self.truncate_inode(&inode, size)
    }

    pub(super) fn truncate_inode(&self, inode: &crate::inode::Inode, size: u64) -> Result<()> {
        let before = inode.attr();
        let mut attr = before;
        attr.size = size;
        let mut valid = abi::BENTO_ATTR_SIZE;
        if !self.caller.is_root()
            && let Some(mode) = without_privileges(before.mode)
        {
            (attr.mode, valid) = (mode, valid | abi::BENTO_ATTR_MODE);
        }
        self.change(inode, &attr, valid)
    }

    pub(super) fn change(&self, inode: &crate::inode::Inode, attr: &abi::bento_attr, valid: u32) -> Result<()> {
        if self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        let _inode = write(inode);
        inode.setattr(&self.caller, attr, valid)
    }

    /// `lsattr`: `FS_*_FL` and the project.
    pub fn fileattr(&self, path: impl AsRef<[u8]>) -> Result<(u32, u32)> {
        self.resolve(path.as_ref(), true)?.fileattr_get(&self.caller)
    }

    /// `chattr`
    pub fn set_fileattr(&self, path: impl AsRef<[u8]>, flags: u32, project: u32) -> Result<()> {
        self.resolve(path.as_ref(), true)?.fileattr_set(&self.caller, flags, project)
    }

    pub fn statfs(&self) -> Result<bento::fs::Statfs> {
        let raw = self.sb.statfs()?;
        Ok(bento::fs::Statfs {
            blocks: raw.blocks,
            blocks_free: raw.bfree,
            blocks_available: raw.bavail,
            files: raw.files,
            files_free: raw.ffree,
            block_size: raw.bsize,
            name_max: raw.namelen,
        })
    }

    /// `fstrim`: how many bytes the device was told are free.
    pub fn trim(&self, start: u64, len: u64, least: u64) -> Result<u64> {
        self.sb.trim(&self.caller, start, len, least)
    }

    // ---- extended attributes ----

    pub fn getxattr(&self, path: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let inode = self.resolve(path.as_ref(), true)?;
        self.may_xattr(&inode, name.as_ref(), access::READ)?;
        inode.getxattr(&self.caller, name.as_ref())
    }

    /// `flags`: 0, `XATTR_CREATE` (1) or `XATTR_REPLACE` (2).
    pub fn setxattr(
        &self,
        path: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        flags: u32,
    ) -> Result<()> {
        let inode = self.resolve(path.as_ref(), true)?;
        self.may_xattr(&inode, name.as_ref(), access::WRITE)?;
        let _inode = write(&inode);
        inode.setxattr(&self.caller, name.as_ref(), value.as_ref(), flags)
    }

    pub fn removexattr(&self, path: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Result<()> {
        let inode = self.resolve(path.as_ref(), true)?;
        self.may_xattr(&inode, name.as_ref(), access::WRITE)?;
        let _inode = write(&inode);
        inode.removexattr(&self.caller, name.as_ref())
    }

    pub fn listxattr(&self, path: impl AsRef<[u8]>) -> Result<Vec<Vec<u8>>> {
        self.resolve(path.as_ref(), true)?.listxattr(&self.caller)
    }

    fn may_xattr(&self, inode: &InodeRef, name: &[u8], mask: u32) -> Result<()> {
        let writes = mask & access::WRITE != 0;
        if writes && self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        let refused = if writes { Errno::EPERM } else { Errno::ENODATA };
        match Kind::of(name)? {
            Kind::Acl { .. } if writes && !self.caller.owns(inode.attr().uid) => Err(Errno::EPERM),
            Kind::Acl { .. } => Ok(()),
            Kind::Security if writes && !self.caller.is_root() => Err(Errno::EPERM),
            Kind::Security => Ok(()),
            Kind::Trusted if !self.caller.is_root() => Err(refused),
            Kind::Trusted => Ok(()),
            Kind::User => {
                let attr = inode.attr();
                if !inode.is_file() && !inode.is_dir() {
                    return Err(refused);
                }
                let sticky = inode.is_dir() && attr.mode & libc::S_ISVTX != 0;
                if writes && sticky && !self.caller.owns(attr.uid) {
                    return Err(Errno::EPERM);
                }
                inode.permission(&self.caller, mask)
            }
        }
    }
}

/// The mode without set-user-id, and without set-group-id where that means it; `None` when nothing changes.
pub(crate) fn without_privileges(mode: u32) -> Option<u32> {
    let mut left = mode & !libc::S_ISUID;
    if mode & libc::S_IXGRP != 0 {
        left &= !libc::S_ISGID;
    }
    (left != mode).then_some(left)
}
