// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From a path to an inode, and the checks the VFS makes on the way.

use std::collections::VecDeque;

use bento::errno::{Errno, Result};
use bento::fs::{Op, access};

use super::task::Task;
use crate::dir::read;
use crate::inode::InodeRef;

const PATH_MAX: usize = 4096;
const MAX_SYMLINKS: usize = 40;

/// Where a path leads.
pub struct Found {
    /// The directories from the root to the one that holds the name.
    pub dirs: Vec<InodeRef>,
    /// The last name; `None` for the root itself, "." and "..".
    pub name: Option<Vec<u8>>,
    /// What it names, if anything.
    pub inode: Option<InodeRef>,
    /// A slash followed: only a directory will do.
    pub slash: bool,
}

impl Found {
    pub fn dir(&self) -> Result<&InodeRef> {
        self.dirs.last().ok_or(Errno::ENOENT)
    }

    pub fn name(&self) -> Result<&[u8]> {
        self.name.as_deref().ok_or(Errno::EBUSY)
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

impl Task {
    /// What `path` names; `ENOENT` when nothing.
    pub(super) fn resolve(&self, path: &[u8], follow: bool) -> Result<InodeRef> {
        self.walk(path, follow)?.inode.ok_or(Errno::ENOENT)
    }

    /// The directory that holds the last name, and what that names if anything.
    pub(super) fn walk(&self, path: &[u8], follow: bool) -> Result<Found> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut slash = path.ends_with(b"/");
        let mut rest: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut dirs = vec![self.sb.root()?];
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            let last = rest.is_empty();
            let dir = dirs.last().ok_or(Errno::ENOENT)?.clone();
            dir.permission(&self.caller, access::EXECUTE)?;
            match &name[..] {
                b"." => continue,
                b".." => {
                    if dirs.len() > 1 {
                        dirs.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let found = {
                let _dir = read(&dir);
                self.sb.lookup(&self.caller, &dir, &name)
            };
            let inode = match found {
                Ok(inode) => inode,
                Err(Errno::ENOENT) if last => return Ok(Found { dirs, name: Some(name), inode: None, slash }),
                Err(errno) => return Err(errno),
            };
            if inode.is_symlink() && (!last || follow || slash) {
                links += 1;
                if links > MAX_SYMLINKS {
                    return Err(Errno::ELOOP);
                }
                let target = inode.get_link(&self.caller)?;
                if target.starts_with(b"/") {
                    dirs.truncate(1);
                }
                slash |= last && target.ends_with(b"/");
                components(target).rev().for_each(|name| rest.push_front(name.to_vec()));
                continue;
            }
            if !inode.is_dir() {
                if !last || slash {
                    return Err(Errno::ENOTDIR);
                }
                return Ok(Found { dirs, name: Some(name), inode: Some(inode), slash });
            }
            if last {
                return Ok(Found { dirs, name: Some(name), inode: Some(inode), slash });
            }
            dirs.push(inode);
        }
        let inode = dirs.last().cloned();
        Ok(Found { dirs, name: None, inode, slash })
    }

    // ---- may_create, may_delete, may_open ----

    pub(super) fn may_create(&self, dir: &InodeRef) -> Result<()> {
        if dir.nlink() == 0 {
            return Err(Errno::ENOENT);
        }
        dir.permission(&self.caller, access::WRITE | access::EXECUTE)
    }

    pub(super) fn may_delete(&self, dir: &InodeRef, victim: &InodeRef, directory: bool) -> Result<()> {
        dir.permission(&self.caller, access::WRITE | access::EXECUTE)?;
        dir.check_append_only()?;
        let (parent, attr) = (dir.attr(), victim.attr());
        let sticky = parent.mode & libc::S_ISVTX != 0;
        if sticky && !self.caller.owns(attr.uid) && !self.caller.owns(parent.uid) {
            return Err(Errno::EPERM);
        }
        victim.check_append_only()?;
        match (directory, victim.is_dir()) {
            (true, false) => Err(Errno::ENOTDIR),
            (true, true) if *victim == self.sb.root()? => Err(Errno::EBUSY),
            (false, true) => Err(Errno::EISDIR),
            _ if dir.nlink() == 0 => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }

    /// An absent handler answers before anything else is looked at, as a NULL in the VFS's tables does not: the VFS
    /// asks for permission first, and so do we; this is for what comes after.
    pub(super) fn needs(&self, op: Op, errno: Errno) -> Result<()> {
        if self.sb.has(op) { Ok(()) } else { Err(errno) }
    }
}
