// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Extended attributes, and the two of them that are POSIX ACLs. Rust knows them by their full names.

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::acl::{self, Acl};
use crate::caller::Caller;
use crate::inode::Inode;
use crate::superblock::{buffer, bytes};

const NAME_MAX: usize = 255;
const SIZE_MAX: usize = abi::BENTO_XATTR_SIZE_MAX as usize;
const LIST_MAX: usize = 65536;
/// The first guess at how long a list is.
const LIST_FIRST: usize = 1024;

/// Whose attribute is it?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    User,
    Trusted,
    Security,
    Acl { default: bool },
}

impl Kind {
    /// `EOPNOTSUPP` for names of no known kind, `ERANGE` for impossible ones.
    pub fn of(name: &[u8]) -> Result<Kind> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Errno::ERANGE);
        }
        let after = |prefix: &[u8]| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        match name {
            acl::ACCESS => Ok(Kind::Acl { default: false }),
            acl::DEFAULT => Ok(Kind::Acl { default: true }),
            _ if after(b"user.") => Ok(Kind::User),
            _ if after(b"trusted.") => Ok(Kind::Trusted),
            _ if after(b"security.") => Ok(Kind::Security),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

impl Inode {
    /// The value of an attribute.
    pub fn getxattr(&self, caller: &Caller, name: &[u8]) -> Result<Vec<u8>> {
        if let Kind::Acl { default } = Kind::of(name)? {
            if !self.sb().has(Op::setxattr) {
                return Err(Errno::EOPNOTSUPP);
            }
            return self.acl(default)?.map(|acl| acl.to_value()).ok_or(Errno::ENODATA);
        }
        self.get_value(caller, name)
    }

    fn get_value(&self, caller: &Caller, name: &[u8]) -> Result<Vec<u8>> {
        let sb = self.sb();
        if !sb.has(Op::getxattr) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut value = vec![0; 256];
        loop {
            let mut args =
                abi::bento_getxattr_args { inode: self.as_raw(), name: bytes(name), value: buffer(&mut value) };
            sb.invoke(Op::getxattr, |ops| ops.getxattr, caller, &mut args)?;
            let len = args.value.len;
            if len > SIZE_MAX {
                let name = name.escape_ascii();
                return Err(sb.bad(Op::getxattr, format_args!("returned {len} bytes for \"{name}\"")));
            }
            if len <= value.len() {
                value.truncate(len);
                return Ok(value);
            }
            // Grown meanwhile? Once more, with all the room there may be.
            let room = if value.len() == 256 { len } else { SIZE_MAX };
            value.resize(room, 0);
        }
    }

    /// Sets an attribute; `flags` of `setxattr(2)`.
    pub fn setxattr(&self, caller: &Caller, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.check_append_only()?;
        if value.len() > SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        if flags & !(abi::BENTO_XATTR_CREATE | abi::BENTO_XATTR_REPLACE) != 0 {
            return Err(Errno::EINVAL);
        }
        if let Kind::Acl { default } = Kind::of(name)? {
            return self.set_acl(caller, Acl::parse(value)?, default);
        }
        self.set_value(caller, name, value, flags)?;
        if !self.sb().is_extents() {
            self.touch_ctime(self.sb().now());
        }
        Ok(())
    }

    fn set_value(&self, caller: &Caller, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let sb = self.sb();
        if !sb.has(Op::setxattr) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut args =
            abi::bento_setxattr_args { inode: self.as_raw(), name: bytes(name), value: bytes(value), flags, pad: 0 };
        sb.with_space(|| sb.invoke(Op::setxattr, |ops| ops.setxattr, caller, &mut args).map(drop))
    }

    pub fn removexattr(&self, caller: &Caller, name: &[u8]) -> Result<()> {
        self.check_append_only()?;
        if let Kind::Acl { default } = Kind::of(name)? {
            return self.set_acl(caller, None, default);
        }
        self.remove_value(caller, name)?;
        if !self.sb().is_extents() {
            self.touch_ctime(self.sb().now());
        }
        Ok(())
    }

    fn remove_value(&self, caller: &Caller, name: &[u8]) -> Result<()> {
        let sb = self.sb();
        if !sb.has(Op::removexattr) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut args = abi::bento_removexattr_args { inode: self.as_raw(), name: bytes(name) };
        sb.invoke(Op::removexattr, |ops| ops.removexattr, caller, &mut args).map(drop)
    }

    /// The names the caller may see.
    pub fn listxattr(&self, caller: &Caller) -> Result<Vec<Vec<u8>>> {
        let sb = self.sb();
        if !sb.has(Op::listxattr) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut list = vec![0; LIST_FIRST];
        let len = loop {
            let mut args = abi::bento_listxattr_args { inode: self.as_raw(), names: buffer(&mut list) };
            sb.invoke(Op::listxattr, |ops| ops.listxattr, caller, &mut args)?;
            let len = args.names.len;
            if len > LIST_MAX {
                return Err(sb.bad(Op::listxattr, format_args!("returned {len} bytes of names")));
            }
            if len <= list.len() {
                break len;
            }
            let room = if list.len() == LIST_FIRST { len } else { LIST_MAX };
            list.resize(room, 0);
        };
        let mut names = Vec::new();
        let mut rest = &list[..len];
        while !rest.is_empty() {
            let at = rest.iter().position(|byte| *byte == 0);
            match at {
                Some(end @ 1..=NAME_MAX) => {
                    let name = &rest[..end];
                    if caller.is_root() || !name.starts_with(b"trusted.") {
                        names.push(name.to_vec());
                    }
                    rest = &rest[end + 1..];
                }
                _ => {
                    let (n, at) = (at.unwrap_or(rest.len()), len - rest.len());
                    let what = format_args!("returned a name of {n} bytes at byte {at} of {len}");
                    return Err(sb.bad(Op::listxattr, what));
                }
            }
        }
        Ok(names)
    }

    // ---- ACLs ----

    /// The ACL, from the cache or the handler. Outside the gate.
    pub fn acl(&self, default: bool) -> Result<Option<Acl>> {
        if let Some(known) = self.cached_acl(default) {
            return Ok(known);
        }
        let sb = self.sb();
        let name = if default { acl::DEFAULT } else { acl::ACCESS };
        let acl = match self.get_value(&Caller::ROOT, name) {
            Ok(value) => Acl::parse(&value).map_err(|_| {
                let (name, len) = (name.escape_ascii(), value.len());
                sb.bad(Op::getxattr, format_args!("returned a malformed \"{name}\" of {len} bytes"))
            })?,
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => None,
            Err(errno) => return Err(errno),
        };
        self.cache_acl(default, acl.clone());
        Ok(acl)
    }

    /// With a device the handler has the mode as well: in one transaction if it has a handler for that, else as chmod's,
    /// before the ACL.
    fn store_acl(&self, caller: &Caller, acl: Option<Acl>, default: bool, mode: u32) -> Result<()> {
        let sb = self.sb();
        let name = if default { acl::DEFAULT } else { acl::ACCESS };
        let value = acl.as_ref().map_or(Vec::new(), Acl::to_value);
        if sb.has(Op::set_acl) {
            let (inode, name) = (self.as_raw(), bytes(name));
            let mut args = abi::bento_set_acl_args { inode, name, value: bytes(&value), mode, pad: 0 };
            sb.with_space(|| sb.invoke(Op::set_acl, |ops| ops.set_acl, caller, &mut args).map(drop))?;
        } else {
            if sb.is_extents() && mode != self.mode() {
                self.store_mode(caller, mode)?;
            }
            match &acl {
                Some(_) => self.set_value(caller, name, &value, 0)?,
                None => match self.remove_value(caller, name) {
                    Err(Errno::ENODATA) => {}
                    result => result?,
                },
            }
        }
        self.cache_acl(default, acl);
        Ok(())
    }

    /// Sets or removes an ACL; the mode follows an access ACL.
    fn set_acl(&self, caller: &Caller, acl: Option<Acl>, default: bool) -> Result<()> {
        let sb = self.sb();
        if !sb.has(Op::setxattr) || self.is_symlink() {
            return Err(Errno::EOPNOTSUPP);
        }
        if default && !self.is_dir() {
            return if acl.is_some() { Err(Errno::EACCES) } else { Ok(()) };
        }
        let attr = self.attr();
        let mut mode = attr.mode;
        let mut kept = acl;
        if let Some(acl) = kept.as_ref().filter(|_| !default) {
            mode = mode & !0o777 | acl.mode();
            if !caller.is_root() && !caller.in_group(attr.gid) {
                mode &= !libc::S_ISGID;
            }
            // One that says no more than the mode becomes the mode.
            if acl.is_mode() {
                kept = None;
            }
        }
        self.store_acl(caller, kept, default, mode)?;
        if !sb.is_extents() {
            let now = sb.now();
            self.change(|attr| (attr.mode, attr.ctime) = (mode, now));
        }
        Ok(())
    }

    /// The mode that follows from an ACL, on a device: the handler stores it.
    fn store_mode(&self, caller: &Caller, mode: u32) -> Result<()> {
        let sb = self.sb();
        if !sb.has(Op::setattr) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut attr = self.attr();
        (attr.mode, attr.ctime) = (mode, sb.now());
        let valid = abi::BENTO_ATTR_MODE | abi::BENTO_ATTR_CTIME;
        let mut args = abi::bento_setattr_args { inode: self.as_raw(), attr: &attr, valid, pad: 0 };
        sb.invoke(Op::setattr, |ops| ops.setattr, caller, &mut args).map(drop)
    }

    /// After a `chmod`, or instead of it where a handler stores both: the entries of the access ACL that the mode shows.
    /// Whether there is one.
    pub fn chmod_acl(&self, caller: &Caller, mode: u32) -> Result<bool> {
        if !self.sb().has(Op::setxattr) || self.is_symlink() {
            return Ok(false);
        }
        let Some(mut acl) = self.acl(false)? else { return Ok(false) };
        acl.chmod(mode);
        self.store_acl(caller, Some(acl), false, mode)?;
        Ok(true)
    }
}
