// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What several requests of the kernel have in common.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::PoisonError;
use std::time::Duration;

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::{Op, access};
use fuser::{FopenFlags, Generation, INodeNo, RenameFlags, ReplyEntry, ReplyXattr, Request};

use super::convert::{self, FOREVER};
use super::daemon::Daemon;
use crate::caller::Caller;
use crate::dir::{Make, RenameRequest, write};
use crate::inode::InodeRef;

/// The kernel throws away an answer with a number that is its own business (`ERESTARTSYS` is 512), and whoever asked
/// waits for ever.
const ERRNO_MAX: i32 = 511;

pub fn errno(errno: Errno) -> fuser::Errno {
    if errno.get() > ERRNO_MAX { fuser::Errno::EIO } else { fuser::Errno::from_i32(errno.get()) }
}

pub fn generation(attr: &abi::bento_attr) -> Generation {
    Generation(attr.generation.into())
}

/// Answers `$reply` with an error, or goes on with the value.
macro_rules! or_error {
    ($reply:ident, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return $reply.error($crate::fuse::work::errno(error)),
        }
    };
}
pub(super) use or_error;

impl Daemon {
    pub(super) fn inode(&self, node: INodeNo) -> Result<InodeRef> {
        self.sb.table.get(convert::ino(&self.sb, node)).ok_or(Errno::ESTALE)
    }

    pub(super) fn by_number(&self, node: INodeNo) -> Result<InodeRef> {
        match self.sb.iget(convert::ino(&self.sb, node), Op::load_inode) {
            Err(Errno::ENOENT) => Err(Errno::ESTALE),
            // Gone, though the kernel's last word on it has not arrived.
            Ok(inode) if inode.nlink() == 0 => Err(Errno::ESTALE),
            other => other,
        }
    }

    /// How long the kernel may believe attributes: not at all when a handler makes them up.
    pub(super) fn attr_ttl(&self) -> Duration {
        if self.sb.has(Op::getattr) { Duration::ZERO } else { FOREVER }
    }

    /// How long it may believe names: a `permission` handler wants to be asked on each walk.
    pub(super) fn entry_ttl(&self) -> Duration {
        if self.sb.has(Op::permission) { Duration::ZERO } else { FOREVER }
    }

    pub(super) fn allowed(&self, request: &Request, inode: &InodeRef, mask: u32) -> Result<()> {
        if !self.sb.has(Op::permission) {
            return Ok(());
        }
        inode.permission(&convert::caller_with_groups(request), mask)
    }

    pub(super) fn may_change(&self, request: &Request, dir: &InodeRef) -> Result<()> {
        self.allowed(request, dir, access::WRITE | access::EXECUTE)
    }

    /// Shows an inode to the kernel, which holds a reference from here on.
    pub(super) fn entry(&self, caller: &Caller, inode: &InodeRef, reply: ReplyEntry) {
        let shown = or_error!(reply, inode.getattr(caller, 0));
        inode.lend(1);
        let attr = convert::attr(&self.sb, &shown.attr);
        reply.entry_with_ttls(&self.attr_ttl(), &self.entry_ttl(), &attr, generation(&shown.attr));
    }

    pub(super) fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        what: Make<'_>,
    ) -> Result<InodeRef> {
        let dir = self.inode(parent)?;
        self.may_change(request, &dir)?;
        let caller = convert::caller(request, umask);
        let _dir = write(&dir);
        self.sb.make(&caller, &dir, name.as_bytes(), mode, what)
    }

    pub(super) fn make_entry(
        &self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        mode: u32,
        umask: u32,
        what: Make<'_>,
        reply: ReplyEntry,
    ) {
        let inode = or_error!(reply, self.make(request, parent, name, mode, umask, what));
        self.entry(&convert::caller(request, umask), &inode, reply);
    }

    pub(super) fn remove(&self, request: &Request, parent: INodeNo, name: &OsStr, directory: bool) -> Result<()> {
        let dir = self.inode(parent)?;
        self.may_change(request, &dir)?;
        let (caller, name) = (convert::caller(request, 0), name.as_bytes());
        let guard = write(&dir);
        let inode = self.sb.lookup(&caller, &dir, name)?;
        let result = match directory {
            true => self.sb.rmdir(&caller, &dir, name, &inode),
            false => self.sb.unlink(&caller, &dir, name, &inode),
        };
        drop(guard);
        result
    }

    pub(super) fn rename_request(
        &self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        (newparent, newname): (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        let (old_dir, new_dir) = (self.inode(parent)?, self.inode(newparent)?);
        self.may_change(request, &old_dir)?;
        self.may_change(request, &new_dir)?;
        let caller = convert::caller(request, 0);
        let (old_name, new_name) = (name.as_bytes(), newname.as_bytes());
        let _names = self.sb.rename_lock.write().unwrap_or_else(PoisonError::into_inner);
        let inode = self.sb.lookup(&caller, &old_dir, old_name)?;
        let target = match self.sb.lookup(&caller, &new_dir, new_name) {
            Ok(target) => Some(target),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno),
        };
        let flags = flags.bits();
        if target.is_some() && flags & abi::BENTO_RENAME_NOREPLACE != 0 {
            return Err(Errno::EEXIST);
        }
        let _old = write(&old_dir);
        let _new = (old_dir != new_dir).then(|| write(&new_dir));
        self.sb.rename(
            &caller,
            &RenameRequest {
                old_dir: &old_dir,
                old_name,
                inode: &inode,
                new_dir: &new_dir,
                new_name,
                target: target.as_ref(),
                flags,
            },
        )
    }

    /// An open for writing of what `chattr` forbids.
    pub(super) fn check_open(&self, request: &Request, inode: &InodeRef, flags: i32) -> Result<()> {
        let mask = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => access::READ,
            libc::O_WRONLY => access::WRITE,
            _ => access::READ | access::WRITE,
        };
        if mask & access::WRITE != 0 && inode.is_file() {
            inode.check_immutable()?;
            if flags & libc::O_APPEND == 0 {
                inode.check_append_only()?;
            }
        }
        self.allowed(request, inode, mask)
    }

    pub(super) fn opened(&self) -> FopenFlags {
        FopenFlags::FOPEN_KEEP_CACHE
    }

    /// Set-user-id and capabilities do not survive a change by somebody else than root (`FUSE_HANDLE_KILLPRIV_V2`).
    pub(super) fn drop_privileges(&self, inode: &InodeRef) -> Result<()> {
        if self.sb.has(Op::removexattr) {
            match inode.removexattr(&Caller::ROOT, b"security.capability") {
                Ok(()) | Err(Errno::ENODATA | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        let mut attr = inode.attr();
        match crate::harness::without_privileges(attr.mode) {
            Some(mode) => {
                attr.mode = mode;
                inode.setattr(&Caller::ROOT, &attr, abi::BENTO_ATTR_MODE)
            }
            None => Ok(()),
        }
    }
}

/// A value for a caller who says how much room there is, or 0 to hear the size.
pub fn answer(value: &[u8], size: u32, reply: ReplyXattr) {
    match size as usize {
        0 => reply.size(value.len() as u32),
        room if room < value.len() => reply.error(fuser::Errno::ERANGE),
        _ => reply.data(value),
    }
}
