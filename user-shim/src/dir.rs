// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Names: lookup and every change of a directory. The handler decides first; link counts and times follow here, in one
//! place, once it said yes. The checks the VFS makes from permissions are the front door's.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::acl;
use crate::call::Find;
use crate::caller::Caller;
use crate::icache::NewInode;
use crate::inode::{Inode, InodeRef, blank_attr};
use crate::superblock::{Super, buffer, bytes};

/// Bytes of entries one `iterate` call may fill.
const DIR_BUFFER: usize = 8192;
/// Handler position 0 as `readdir` shows it; "." and ".." are 0 and 1.
const DIR_START: u64 = 2;
/// Past the last entry.
const DIR_END: u64 = i64::MAX as u64;
const COOKIE_MAX: u64 = i64::MAX as u64 - 3;

/// One directory entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub name: Vec<u8>,
    pub ino: u64,
    /// `DT_*`
    pub kind: u8,
    /// Where the listing goes on after it.
    pub next: u64,
}

/// A new inode with what the handler must store, alive until the call is over.
struct Making {
    inode: NewInode,
    node: abi::bento_new,
    values: Vec<(&'static [u8], Vec<u8>)>,
    xattrs: Vec<abi::bento_xattr>,
    acls: (Option<acl::Acl>, Option<acl::Acl>),
}

impl Making {
    /// Owner, mode, ACLs (SAFETY.md S4). `mode` has its type; the caller's umask is applied here, or the directory's
    /// default ACL instead.
    fn new(sb: &Arc<Super>, caller: &Caller, dir: &Inode, mode: u32, rdev: (u32, u32)) -> Result<Making> {
        let parent = dir.attr();
        let mut attr = blank_attr();
        let now = sb.now();
        (attr.atime, attr.mtime, attr.ctime, attr.btime) = (now, now, now, now);
        attr.mode = mode;
        attr.nlink = if mode & libc::S_IFMT == libc::S_IFDIR { 2 } else { 1 };
        (attr.uid, attr.gid) = (caller.uid, caller.gid);
        (attr.rdev_major, attr.rdev_minor) = rdev;
        attr.generation = random_u32();
        if parent.mode & libc::S_ISGID != 0 {
            attr.gid = parent.gid;
            let group_runs = libc::S_ISGID | libc::S_IXGRP;
            if mode & libc::S_IFMT == libc::S_IFDIR {
                attr.mode |= libc::S_ISGID;
            } else if mode & group_runs == group_runs && !caller.is_root() && !caller.in_group(parent.gid) {
                attr.mode &= !libc::S_ISGID;
            }
        }
        let acls = inherit(sb, caller, dir, &mut attr)?;
        let mut values: Vec<(&'static [u8], Vec<u8>)> = Vec::new();
        values.extend(acls.0.as_ref().map(|own| (acl::ACCESS, own.to_value())));
        values.extend(acls.1.as_ref().map(|default| (acl::DEFAULT, default.to_value())));
        let xattrs: Vec<abi::bento_xattr> =
            values.iter().map(|(name, value)| abi::bento_xattr { name: bytes(name), value: bytes(value) }).collect();
        let inode = sb.new_inode(attr)?;
        let node = abi::bento_new {
            inode: inode.as_raw(),
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            rdev_major: attr.rdev_major,
            rdev_minor: attr.rdev_minor,
            assigned: 0,
            xattrs: xattrs.as_ptr(),
            xattr_count: xattrs.len(),
        };
        Ok(Making { inode, node, values, xattrs, acls })
    }

    /// After the handler: checked and into the cache, or everything given back.
    fn finish(self, sb: &Super, op: Op, result: Result<i64>, assigned: u32) -> Result<InodeRef> {
        // Kept until here: the handler's block points at them.
        let Making { inode, values: _values, xattrs: _xattrs, acls, .. } = self;
        result?;
        if assigned != 1 {
            return Err(sb.bad(op, format_args!("assigned no inode number")));
        }
        let inode = inode.insert(op)?;
        inode.cache_acl(false, acls.0);
        inode.cache_acl(true, acls.1);
        Ok(inode)
    }
}

/// The ACLs a new inode inherits; without any, the umask is applied.
fn inherit(
    sb: &Super,
    caller: &Caller,
    dir: &Inode,
    attr: &mut abi::bento_attr,
) -> Result<(Option<acl::Acl>, Option<acl::Acl>)> {
    let kind = attr.mode & libc::S_IFMT;
    if kind == libc::S_IFLNK {
        return Ok((None, None));
    }
    let inherited = if sb.has(Op::setxattr) { dir.acl(true)? } else { None };
    let Some(default) = inherited else {
        attr.mode &= !(caller.umask & 0o777);
        return Ok((None, None));
    };
    let (access, mode) = default.inherit(attr.mode);
    attr.mode = mode;
    let access = (!access.is_mode()).then_some(access);
    Ok((access, (kind == libc::S_IFDIR).then_some(default)))
}

/// Each new `RandomState` has keys of its own, which cost no system call.
fn random_u32() -> u32 {
    RandomState::new().hash_one(()) as u32
}

pub fn write(inode: &Inode) -> RwLockWriteGuard<'_, ()> {
    inode.rwsem.write().unwrap_or_else(PoisonError::into_inner)
}

/// A lock that guards nothing a panic could spoil.
pub fn read_lock(lock: &RwLock<()>) -> RwLockReadGuard<'_, ()> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub fn read(inode: &Inode) -> RwLockReadGuard<'_, ()> {
    inode.rwsem.read().unwrap_or_else(PoisonError::into_inner)
}

/// What a rename is asked to do.
pub struct RenameRequest<'a> {
    pub old_dir: &'a InodeRef,
    pub old_name: &'a [u8],
    pub inode: &'a InodeRef,
    pub new_dir: &'a InodeRef,
    pub new_name: &'a [u8],
    pub target: Option<&'a InodeRef>,
    /// `BENTO_RENAME_*`; NOREPLACE is settled.
    pub flags: u32,
}

/// The new inode's kind and what comes with it.
#[derive(Clone, Copy, Debug)]
pub enum Make<'a> {
    File { exclusive: bool },
    Directory,
    Node { mode: u32, rdev: (u32, u32) },
    Symlink { target: &'a [u8] },
}

impl Super {
    fn check_name(&self, name: &[u8]) -> Result<()> {
        if name.len() > self.settings().name_max as usize { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
    }

    fn check_writable(&self) -> Result<()> {
        if self.is_read_only() { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// What `name` names in `dir`. The caller holds `dir.rwsem`.
    pub fn lookup(self: &Arc<Self>, caller: &Caller, dir: &Inode, name: &[u8]) -> Result<InodeRef> {
        self.check_name(name)?;
        if !dir.is_dir() || !self.has(Op::lookup) {
            return Err(Errno::ENOTDIR);
        }
        let mut args = abi::bento_lookup_args { dir: dir.as_raw(), name: bytes(name), ino: 0 };
        self.invoke(Op::lookup, |ops| ops.lookup, caller, &mut args)?;
        self.iget(args.ino, Op::lookup)
    }

    /// create, mkdir, mknod and symlink. `mode` is what was asked for, before the umask. The caller holds `dir.rwsem`.
    pub fn make(
        self: &Arc<Self>,
        caller: &Caller,
        dir: &Inode,
        name: &[u8],
        mode: u32,
        what: Make<'_>,
    ) -> Result<InodeRef> {
        self.check_writable()?;
        self.check_name(name)?;
        dir.check_immutable()?;
        let mut flags = 0;
        let mut link: &[u8] = &[];
        let (op, find, mode, rdev): (Op, Find<abi::bento_make_args>, u32, (u32, u32)) = match what {
            Make::File { exclusive } => {
                flags = exclusive.into();
                (Op::create, |ops| ops.create, mode & 0o7777 | libc::S_IFREG, (0, 0))
            }
            Make::Directory => (Op::mkdir, |ops| ops.mkdir, mode & 0o1777 | libc::S_IFDIR, (0, 0)),
            Make::Node { mode: kind, rdev } => (Op::mknod, |ops| ops.mknod, mode & 0o7777 | kind & libc::S_IFMT, rdev),
            Make::Symlink { target } => {
                link = target;
                (Op::symlink, |ops| ops.symlink, 0o777 | libc::S_IFLNK, (0, 0))
            }
        };
        if !self.has(op) {
            // What vfs_create says of a NULL, and what all the others do.
            return Err(if op == Op::create { Errno::EACCES } else { Errno::EPERM });
        }
        if op == Op::symlink && (link.is_empty() || link.len() >= 4096) {
            return Err(if link.is_empty() { Errno::ENOENT } else { Errno::ENAMETOOLONG });
        }
        let inode = self.with_space(|| {
            let making = Making::new(self, caller, dir, mode, rdev)?;
            let mut args = make_args(dir, name, &making);
            (args.target, args.flags) = (bytes(link), flags);
            let result = self.invoke(op, find, caller, &mut args);
            let assigned = args.node.assigned;
            making.finish(self, op, result, assigned)
        })?;
        if op == Op::symlink {
            inode.cache_link(link);
        }
        if self.is_extents() {
            // The handler has staged what became of both.
            if inode.is_file() {
                inode.knows_empty();
            }
            return Ok(inode);
        }
        if op == Op::symlink {
            inode.change(|attr| attr.size = link.len() as u64);
        }
        if op == Op::mkdir {
            add_subdir(dir);
        }
        dir.touch(self.now());
        Ok(inode)
    }

    /// A file without a name.
    pub fn tmpfile(self: &Arc<Self>, caller: &Caller, dir: &Inode, mode: u32) -> Result<InodeRef> {
        self.check_writable()?;
        if !self.has(Op::tmpfile) {
            return Err(Errno::EOPNOTSUPP);
        }
        let making = Making::new(self, caller, dir, mode & 0o7777 | libc::S_IFREG, (0, 0))?;
        let mut args = make_args(dir, b"", &making);
        let result = self.invoke(Op::tmpfile, |ops| ops.tmpfile, caller, &mut args);
        let assigned = args.node.assigned;
        let inode = making.finish(self, Op::tmpfile, result, assigned)?;
        if self.is_extents() {
            inode.knows_empty();
        } else {
            inode.set_nlink(|_| 0);
        }
        Ok(inode)
    }

    /// The caller holds `dir.rwsem`.
    pub fn link(&self, caller: &Caller, inode: &Inode, dir: &Inode, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        self.check_name(name)?;
        dir.check_immutable()?;
        inode.check_append_only()?;
        if inode.is_dir() || !self.has(Op::link) {
            return Err(Errno::EPERM);
        }
        if inode.nlink() == u32::MAX {
            return Err(Errno::EMLINK);
        }
        self.call_entry(Op::link, |ops| ops.link, caller, dir, name, inode)?;
        if self.is_extents() {
            return Ok(());
        }
        let now = self.now();
        inode.set_nlink(|nlink| nlink + 1);
        inode.touch_ctime(now);
        dir.touch(now);
        Ok(())
    }

    /// The caller holds `dir.rwsem` and refers to `inode`.
    pub fn unlink(&self, caller: &Caller, dir: &Inode, name: &[u8], inode: &Inode) -> Result<()> {
        self.check_writable()?;
        dir.check_append_only()?;
        inode.check_append_only()?;
        if inode.is_dir() {
            return Err(Errno::EISDIR);
        }
        if !self.has(Op::unlink) {
            return Err(Errno::EPERM);
        }
        self.call_entry(Op::unlink, |ops| ops.unlink, caller, dir, name, inode)?;
        if self.is_extents() {
            return Ok(());
        }
        let now = self.now();
        dir.touch(now);
        gone(inode, now);
        Ok(())
    }

    /// The caller holds `dir.rwsem` and refers to `inode`.
    pub fn rmdir(&self, caller: &Caller, dir: &Inode, name: &[u8], inode: &Inode) -> Result<()> {
        self.check_writable()?;
        dir.check_append_only()?;
        inode.check_append_only()?;
        if !inode.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if !self.has(Op::rmdir) {
            return Err(Errno::EPERM);
        }
        self.call_entry(Op::rmdir, |ops| ops.rmdir, caller, dir, name, inode)?;
        if self.is_extents() {
            return Ok(());
        }
        let now = self.now();
        drop_subdir(dir);
        dir.touch(now);
        gone(inode, now);
        Ok(())
    }

    fn call_entry(
        &self,
        op: Op,
        find: Find<abi::bento_entry_args>,
        caller: &Caller,
        dir: &Inode,
        name: &[u8],
        inode: &Inode,
    ) -> Result<()> {
        let mut args = abi::bento_entry_args { dir: dir.as_raw(), name: bytes(name), inode: inode.as_raw() };
        self.with_space(|| self.invoke(op, find, caller, &mut args).map(drop))
    }

    /// The caller holds both directories' `rwsem`.
    pub fn rename(self: &Arc<Self>, caller: &Caller, request: &RenameRequest<'_>) -> Result<()> {
        let RenameRequest { old_dir, old_name, inode, new_dir, new_name, target, flags } = *request;
        self.check_writable()?;
        self.check_name(new_name)?;
        old_dir.check_append_only()?;
        inode.check_append_only()?;
        new_dir.check_immutable()?;
        if let Some(target) = target {
            new_dir.check_append_only()?;
            target.check_append_only()?;
        }
        if !self.has(Op::rename) {
            return Err(Errno::EPERM);
        }
        let whiteout = match flags & abi::BENTO_RENAME_WHITEOUT {
            0 => None,
            _ => Some(Making::new(self, caller, old_dir, libc::S_IFCHR, (0, 0))?),
        };
        let mut node = whiteout.as_ref().map(|making| making.node);
        let mut args = abi::bento_rename_args {
            old_dir: old_dir.as_raw(),
            old_name: bytes(old_name),
            inode: inode.as_raw(),
            new_dir: new_dir.as_raw(),
            new_name: bytes(new_name),
            target: target.map_or(std::ptr::null_mut(), |target| target.as_raw()),
            whiteout: node.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut),
            flags,
            pad: 0,
        };
        let mut call = || self.invoke(Op::rename, |ops| ops.rename, caller, &mut args);
        let result = if whiteout.is_none() { self.with_space(call) } else { call() };
        match whiteout {
            // Nobody refers to it: the next lookup of the old name finds it.
            Some(making) => {
                let assigned = node.map_or(0, |node| node.assigned);
                drop(making.finish(self, Op::rename, result, assigned)?);
            }
            None => drop(result?),
        }
        if !self.is_extents() {
            self.renamed(request);
        }
        Ok(())
    }

    fn renamed(&self, request: &RenameRequest<'_>) {
        let RenameRequest { old_dir, inode, new_dir, target, flags, .. } = *request;
        let now = self.now();
        moved_subdir(inode, old_dir, new_dir);
        if flags & abi::BENTO_RENAME_EXCHANGE != 0 {
            if let Some(target) = target {
                moved_subdir(target, new_dir, old_dir);
                target.touch_ctime(now);
            }
        } else if let Some(target) = target {
            if target.is_dir() {
                drop_subdir(new_dir);
            }
            gone(target, now);
        }
        inode.touch_ctime(now);
        old_dir.touch(now);
        if new_dir != old_dir {
            new_dir.touch(now);
        }
    }

    /// Entries from position `pos` on, at most a buffer full; the end is an empty list. `parent` is the number shown for
    /// "..". The caller holds `dir.rwsem`.
    pub fn iterate(&self, caller: &Caller, dir: &Inode, pos: u64, parent: u64) -> Result<Vec<Entry>> {
        if !dir.is_dir() || !self.has(Op::iterate) {
            return Err(Errno::ENOTDIR);
        }
        let dot = |name: &[u8], ino, next| Entry { name: name.to_vec(), ino, kind: libc::DT_DIR, next };
        let mut entries = Vec::new();
        if pos == 0 {
            entries.push(dot(b".", dir.ino(), 1));
        }
        if pos <= 1 {
            entries.push(dot(b"..", parent, DIR_START));
        }
        if pos >= DIR_END {
            return Ok(entries);
        }
        // 8-byte aligned, as a kernel buffer is.
        let mut words = vec![0u64; DIR_BUFFER / 8];
        // SAFETY: any bytes of initialised integers are bytes.
        let room = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), DIR_BUFFER) };
        let start = pos.max(DIR_START) - DIR_START;
        let mut args = abi::bento_iterate_args { dir: dir.as_raw(), pos: start, entries: buffer(room), end: 0, pad: 0 };
        self.invoke(Op::iterate, |ops| ops.iterate, caller, &mut args)?;
        let used = args.entries.len;
        if used > DIR_BUFFER {
            return Err(self.bad(Op::iterate, format_args!("returned {used} bytes of entries for {DIR_BUFFER}")));
        }
        if used == 0 && args.end == 0 {
            return Err(self.bad(Op::iterate, format_args!("returned nothing at position {start} and not the end")));
        }
        self.unpack(&room[..used], start, &mut entries)?;
        if args.end != 0
            && let Some(last) = entries.last_mut()
            && used > 0
        {
            last.next = DIR_END;
        }
        Ok(entries)
    }

    /// Checks each record of a handler's buffer.
    fn unpack(&self, mut rest: &[u8], start: u64, entries: &mut Vec<Entry>) -> Result<()> {
        const HEADER: usize = size_of::<abi::bento_dirent>();
        let whole = rest.len();
        while !rest.is_empty() {
            let at = whole - rest.len();
            let cut = || Err(self.bad(Op::iterate, format_args!("returned an entry cut off at byte {at} of {whole}")));
            let Some((header, names)) = rest.split_first_chunk::<HEADER>() else { return cut() };
            let word = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&header[at..at + 8]);
                u64::from_ne_bytes(word)
            };
            let (ino, next) = (word(0), word(8));
            let namelen = usize::from(u16::from_ne_bytes([header[16], header[17]]));
            let kind = header[18];
            let Some(name) = names.get(..namelen) else { return cut() };
            self.check_entry(ino, next, name, kind, start)?;
            entries.push(Entry { name: name.to_vec(), ino, kind, next: next + DIR_START });
            rest = &rest[(HEADER + namelen).next_multiple_of(8).min(rest.len())..];
        }
        Ok(())
    }

    fn check_entry(&self, ino: u64, next: u64, name: &[u8], kind: u8, start: u64) -> Result<()> {
        let bad = |what: std::fmt::Arguments<'_>| Err(self.bad(Op::iterate, format_args!("returned {what}")));
        let shown = name[..name.len().min(64)].escape_ascii();
        if ino == 0 {
            return bad(format_args!("inode number 0"));
        }
        if name.is_empty() || name.len() > self.settings().name_max as usize {
            return bad(format_args!("a name of {} bytes", name.len()));
        }
        if name.contains(&b'/') || name.contains(&0) {
            return bad(format_args!("the name \"{shown}\" with a slash or NUL"));
        }
        if name == b"." || name == b".." {
            return bad(format_args!("\"{shown}\", which the kernel adds itself"));
        }
        if ![0, 1, 2, 4, 6, 8, 10, 12, 14].contains(&kind) {
            return bad(format_args!("type {kind} for \"{shown}\""));
        }
        if next == 0 || next > COOKIE_MAX {
            return bad(format_args!("cookie {next}, outside 1..={COOKIE_MAX}"));
        }
        if next == start {
            return bad(format_args!("cookie {next} for the entry after it"));
        }
        Ok(())
    }
}

fn make_args(dir: &Inode, name: &[u8], making: &Making) -> abi::bento_make_args {
    abi::bento_make_args {
        dir: dir.as_raw(),
        name: bytes(name),
        target: bytes(b""),
        node: making.node,
        flags: 0,
        pad: 0,
    }
}

/// File systems may keep directories at one link (not counted), and hostile ones at anything.
fn drop_subdir(dir: &Inode) {
    dir.set_nlink(|nlink| if nlink > 2 { nlink - 1 } else { nlink });
}

fn add_subdir(dir: &Inode) {
    dir.set_nlink(|nlink| if nlink > 1 { nlink.saturating_add(1) } else { nlink });
}

fn moved_subdir(inode: &Inode, from: &InodeRef, to: &InodeRef) {
    if inode.is_dir() && from != to {
        drop_subdir(from);
        add_subdir(to);
    }
}

/// No name leads to it any more (a file may have others).
fn gone(inode: &Inode, now: abi::bento_time) {
    let directory = inode.is_dir();
    inode.set_nlink(|nlink| if directory { 0 } else { nlink.saturating_sub(1) });
    inode.touch_ctime(now);
}
