// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who makes a call, and the mode-bit check that follows from it.

use std::borrow::Cow;

use bento::errno::{Errno, Result};
use bento::fs::access;

use crate::acl::Acl;

/// A caller's credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Cow<'static, [u32]>,
    /// Permission bits that new files do not get.
    pub umask: u32,
    pub pid: u32,
}

impl Caller {
    /// The superuser, with umask 022.
    pub const ROOT: Caller = Caller { uid: 0, gid: 0, groups: Cow::Borrowed(&[]), umask: 0o022, pid: 0 };

    /// An ordinary user with umask 022.
    pub const fn user(uid: u32, gid: u32) -> Caller {
        Caller { uid, gid, groups: Cow::Borrowed(&[]), umask: 0o022, pid: 0 }
    }

    #[must_use]
    pub fn umask(mut self, umask: u32) -> Caller {
        self.umask = umask & 0o777;
        self
    }

    #[must_use]
    pub fn groups(mut self, groups: &[u32]) -> Caller {
        self.groups = Cow::Owned(groups.to_vec());
        self
    }

    /// The capabilities that override file permissions.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// The owner, or the superuser.
    pub fn owns(&self, uid: u32) -> bool {
        self.is_root() || self.uid == uid
    }
}

/// What the check looks at.
#[derive(Debug)]
pub struct Object<'a> {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub acl: Option<&'a Acl>,
}

/// Mode bits and ACL as the VFS reads them; `mask` is of [`access`].
pub fn may(caller: &Caller, object: &Object<'_>, mask: u32) -> Result<()> {
    let want = mask & (access::READ | access::WRITE | access::EXECUTE);
    let granted = if caller.uid == object.uid {
        object.mode >> 6 & want == want
    } else if let Some(acl) = object.acl.filter(|_| object.mode & 0o070 != 0) {
        acl.grants(caller, object.uid, object.gid, want)
    } else if caller.in_group(object.gid) {
        object.mode >> 3 & want == want
    } else {
        object.mode & want == want
    };
    let directory = object.mode & libc::S_IFMT == libc::S_IFDIR;
    let overridden = caller.is_root() && (directory || want & access::EXECUTE == 0 || object.mode & 0o111 != 0);
    if granted || overridden { Ok(()) } else { Err(Errno::EACCES) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32) -> Object<'static> {
        Object { mode: libc::S_IFREG | mode, uid: 5, gid: 50, acl: None }
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let owner = Caller::user(5, 50);
        assert_eq!(may(&owner, &file(0o077), access::READ), Err(Errno::EACCES));
        let member = Caller::user(6, 1).groups(&[50]);
        assert_eq!(may(&member, &file(0o707), access::READ), Err(Errno::EACCES));
        assert_eq!(may(&member, &file(0o070), access::READ | access::WRITE), Ok(()));
        assert_eq!(may(&Caller::user(7, 7), &file(0o001), access::EXECUTE), Ok(()));
    }

    #[test]
    fn root_runs_only_what_somebody_may_run() {
        assert_eq!(may(&Caller::ROOT, &file(0), access::WRITE), Ok(()));
        assert_eq!(may(&Caller::ROOT, &file(0o666), access::EXECUTE), Err(Errno::EACCES));
        assert_eq!(may(&Caller::ROOT, &file(0o100), access::EXECUTE), Ok(()));
    }
}
