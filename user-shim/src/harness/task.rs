// SPDX-License-Identifier: GPL-2.0 OR MIT
//! System calls by path, as some caller makes them. Paths start at the mount's root, with or without a slash.

use std::sync::{Arc, PoisonError};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::{Op, Timestamp, access};

use super::file::{File, flags};
use super::namei::Found;
use crate::attr::Shown;
use crate::caller::Caller;
use crate::dir::{Make, RenameRequest, read, write};
use crate::inode::InodeRef;
use crate::superblock::Super;

/// What `stat(2)` and `statx(2)` show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Of 512 bytes.
    pub blocks: u64,
    pub blksize: u32,
    pub rdev: (u32, u32),
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    /// `STATX_ATTR_*`
    pub attributes: u64,
}

impl Stat {
    /// The permission bits.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    pub fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    pub fn is_symlink(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }

    pub(super) fn of(shown: &Shown) -> Stat {
        let time = |time: abi::bento_time| Timestamp { sec: time.sec, nsec: time.nsec };
        let attr = &shown.attr;
        Stat {
            ino: attr.ino,
            mode: attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            size: attr.size,
            blocks: attr.blocks,
            blksize: attr.blksize,
            rdev: (attr.rdev_major, attr.rdev_minor),
            atime: time(attr.atime),
            mtime: time(attr.mtime),
            ctime: time(attr.ctime),
            btime: time(attr.btime),
            attributes: shown.attributes,
        }
    }
}

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    pub name: Vec<u8>,
    pub ino: u64,
    /// `DT_*`
    pub kind: u8,
}

/// `utimensat(2)`: `None` leaves a time as it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Times {
    pub atime: Option<Timestamp>,
    pub mtime: Option<Timestamp>,
}

/// A caller and the mount it works in.
#[derive(Clone)]
pub struct Task {
    pub(super) sb: Arc<Super>,
    pub(super) caller: Caller,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task({:?})", self.caller)
    }
}

impl Task {
    /// The same mount, used by `caller`.
    pub fn with(&self, caller: Caller) -> Task {
        Task { sb: Arc::clone(&self.sb), caller }
    }

    /// The same mount, used by an ordinary user with umask 022.
    pub fn as_user(&self, uid: u32, gid: u32) -> Task {
        self.with(Caller::user(uid, gid))
    }

    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    // ---- files ----

    /// A new file, open for reading and writing; `EEXIST` if there is one.
    pub fn create(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<File> {
        self.open_with(path, flags::READ_WRITE | flags::CREATE | flags::EXCLUSIVE, mode)
    }

    /// Opens a file that exists; see [`flags`].
    pub fn open(&self, path: impl AsRef<[u8]>, flags: u32) -> Result<File> {
        self.open_with(path, flags & !flags::CREATE, 0)
    }

    /// `open(2)`
    pub fn open_with(&self, path: impl AsRef<[u8]>, open: u32, mode: u32) -> Result<File> {
        let follow = open & (flags::NO_FOLLOW | flags::EXCLUSIVE) == 0
            || open & flags::CREATE == 0 && open & flags::NO_FOLLOW == 0;
        let found = self.walk(path.as_ref(), follow)?;
        if open & flags::CREATE == 0 {
            return self.open_inode(found.inode.ok_or(Errno::ENOENT)?, open, false);
        }
        if found.slash {
            return Err(Errno::EISDIR);
        }
        if let Some(inode) = &found.inode {
            if open & flags::EXCLUSIVE != 0 {
                return Err(Errno::EEXIST);
            }
            if inode.is_dir() {
                return Err(Errno::EISDIR);
            }
            return self.open_inode(inode.clone(), open, false);
        }
        let exclusive = open & flags::EXCLUSIVE != 0;
        let inode = self.make(&found, mode, Make::File { exclusive })?;
        self.open_inode(inode, open, true)
    }

    /// `O_TMPFILE`: a file without a name in the directory `path`, open for reading and writing.
    pub fn tmpfile(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<File> {
        let dir = self.resolve(path.as_ref(), true)?;
        if !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        self.needs(Op::tmpfile, Errno::EOPNOTSUPP)?;
        self.may_create(&dir)?;
        let inode = {
            let _names = self.names();
            let _dir = write(&dir);
            self.sb.tmpfile(&self.caller, &dir, mode)?
        };
        self.open_inode(inode, flags::READ_WRITE, true)
    }

    pub(super) fn open_inode(&self, inode: InodeRef, open: u32, created: bool) -> Result<File> {
        let mask = match open & flags::ACCESS {
            flags::READ_ONLY => access::READ,
            flags::WRITE_ONLY => access::WRITE,
            _ => access::READ | access::WRITE,
        };
        if inode.is_symlink() {
            return Err(Errno::ELOOP);
        }
        if open & flags::DIRECTORY != 0 && !inode.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if inode.is_dir() && (mask & access::WRITE != 0 || open & flags::TRUNCATE != 0) {
            return Err(Errno::EISDIR);
        }
        if !created {
            inode.permission(&self.caller, mask)?;
            let append_only = inode.lock_attr().flags & crate::attr::APPEND != 0;
            if append_only && (mask & access::WRITE != 0 && open & flags::APPEND == 0 || open & flags::TRUNCATE != 0) {
                return Err(Errno::EPERM);
            }
        }
        if !inode.is_file() && !inode.is_dir() {
            // Devices, pipes and sockets are the kernel's.
            return Err(Errno::ENXIO);
        }
        inode.open(&self.caller, open)?;
        let file = File::new(self.clone(), inode, open);
        if open & flags::TRUNCATE != 0 && !created && file.inode().is_file() {
            file.inode().permission(&self.caller, access::WRITE)?;
            file.truncate_unchecked(0)?;
        }
        Ok(file)
    }

    /// Writes a whole file, made if need be.
    pub fn write_file(&self, path: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Result<()> {
        let file = self.open_with(path, flags::WRITE_ONLY | flags::CREATE | flags::TRUNCATE, 0o666)?;
        file.write_all_at(bytes.as_ref(), 0)?;
        file.close()
    }

    /// Reads a whole file.
    pub fn read_file(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        self.open(path, flags::READ_ONLY)?.read_all()
    }

    // ---- names ----

    fn names(&self) -> std::sync::RwLockReadGuard<'_, ()> {
        self.sb.rename_lock.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, found: &Found, mode: u32, what: Make<'_>) -> Result<InodeRef> {
        let (dir, name) = (found.dir()?, found.name().map_err(|_| Errno::EEXIST)?);
        if found.inode.is_some() {
            return Err(Errno::EEXIST);
        }
        if self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        self.may_create(dir)?;
        self.make_in(dir, name, mode, what)
    }

    pub(super) fn make_in(&self, dir: &InodeRef, name: &[u8], mode: u32, what: Make<'_>) -> Result<InodeRef> {
        let _names = self.names();
        let _dir = write(dir);
        // Between the walk and the lock somebody may have been faster.
        match self.sb.lookup(&self.caller, dir, name) {
            Err(Errno::ENOENT) => self.sb.make(&self.caller, dir, name, mode, what),
            Ok(_) => Err(Errno::EEXIST),
            Err(errno) => Err(errno),
        }
    }

    pub fn mkdir(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        self.make(&self.walk(path.as_ref(), false)?, mode, Make::Directory).map(drop)
    }

    /// Every directory of the path that is not there yet, with mode 0755.
    pub fn mkdir_all(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        for end in (1..path.len()).filter(|at| path[*at] == b'/').chain([path.len()]) {
            match self.mkdir(&path[..end], 0o755) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// A device, fifo or socket: `mode` has its type; `rdev` is major and minor.
    pub fn mknod(&self, path: impl AsRef<[u8]>, mode: u32, rdev: (u32, u32)) -> Result<()> {
        let found = self.walk(path.as_ref(), false)?;
        if found.slash {
            return Err(Errno::ENOENT);
        }
        let kind = mode & libc::S_IFMT;
        if kind == libc::S_IFDIR {
            return Err(Errno::EPERM);
        }
        if [libc::S_IFCHR, libc::S_IFBLK].contains(&kind) && !self.caller.is_root() {
            return Err(Errno::EPERM);
        }
        let what = match kind {
            0 | libc::S_IFREG => Make::File { exclusive: true },
            _ => Make::Node { mode: kind, rdev },
        };
        self.make(&found, mode, what).map(drop)
    }

    pub fn symlink(&self, target: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> Result<()> {
        let found = self.walk(path.as_ref(), false)?;
        if found.slash && found.inode.is_none() {
            return Err(Errno::ENOENT);
        }
        self.make(&found, 0o777, Make::Symlink { target: target.as_ref() }).map(drop)
    }

    pub fn readlink(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let inode = self.resolve(path.as_ref(), false)?;
        inode.get_link(&self.caller).map(<[u8]>::to_vec)
    }

    /// A second name for `from`, which is not followed if it is a symbolic link.
    pub fn link(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let inode = self.resolve(from.as_ref(), false)?;
        self.link_inode(&inode, to.as_ref())
    }

    pub(super) fn link_inode(&self, inode: &InodeRef, to: &[u8]) -> Result<()> {
        let found = self.walk(to, false)?;
        if found.slash && found.inode.is_none() {
            return Err(Errno::ENOENT);
        }
        let (dir, name) = (found.dir()?, found.name().map_err(|_| Errno::EEXIST)?);
        if found.inode.is_some() {
            return Err(Errno::EEXIST);
        }
        if self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        self.may_create(dir)?;
        let _names = self.names();
        let _dir = write(dir);
        match self.sb.lookup(&self.caller, dir, name) {
            Err(Errno::ENOENT) => self.sb.link(&self.caller, inode, dir, name),
            Ok(_) => Err(Errno::EEXIST),
            Err(errno) => Err(errno),
        }
    }

    pub fn unlink(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let found = self.walk(path.as_ref(), false)?;
        let name = found.name().map_err(|_| Errno::EISDIR)?;
        if found.slash {
            return Err(if found.inode.is_some() { Errno::EISDIR } else { Errno::ENOENT });
        }
        self.unlink_in(found.dir()?, name)
    }

    pub(super) fn unlink_in(&self, dir: &InodeRef, name: &[u8]) -> Result<()> {
        self.remove(dir, name, false, |dir, inode| self.sb.unlink(&self.caller, dir, name, inode))
    }

    pub fn rmdir(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let found = self.walk(path, false)?;
        match found.name() {
            Ok(name) => self.rmdir_in(found.dir()?, name),
            Err(_) => Err(match path.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty()) {
                Some(b".") => Errno::EINVAL,
                Some(b"..") => Errno::ENOTEMPTY,
                _ => Errno::EBUSY,
            }),
        }
    }

    pub(super) fn rmdir_in(&self, dir: &InodeRef, name: &[u8]) -> Result<()> {
        self.remove(dir, name, true, |dir, inode| self.sb.rmdir(&self.caller, dir, name, inode))
    }

    fn remove(
        &self,
        dir: &InodeRef,
        name: &[u8],
        directory: bool,
        then: impl FnOnce(&InodeRef, &InodeRef) -> Result<()>,
    ) -> Result<()> {
        let _names = self.names();
        let guard = write(dir);
        let victim = self.sb.lookup(&self.caller, dir, name)?;
        if self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        self.may_delete(dir, &victim, directory)?;
        let result = then(dir, &victim);
        // The last reference may evict, which is the victim's business and not the directory's.
        drop(guard);
        result
    }

    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        self.rename_with(from, to, 0)
    }

    /// `renameat2(2)` with its `RENAME_*` flags.
    pub fn rename_with(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>, flags: u32) -> Result<()> {
        let (noreplace, exchange, whiteout) =
            (abi::BENTO_RENAME_NOREPLACE, abi::BENTO_RENAME_EXCHANGE, abi::BENTO_RENAME_WHITEOUT);
        let both = flags & exchange != 0 && flags & (noreplace | whiteout) != 0;
        if flags & !(noreplace | exchange | whiteout) != 0 || both {
            return Err(Errno::EINVAL);
        }
        if flags & whiteout != 0 && !self.caller.is_root() {
            return Err(Errno::EPERM);
        }
        let _names = self.sb.rename_lock.write().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (self.walk(from.as_ref(), false)?, self.walk(to.as_ref(), false)?);
        let (old_dir, old_name) = (old.dir()?, old.name()?);
        let (new_dir, new_name) =
            (new.dir()?, new.name().map_err(|busy| if flags & noreplace != 0 { Errno::EEXIST } else { busy })?);
        let inode = old.inode.as_ref().ok_or(Errno::ENOENT)?;
        if self.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        match &new.inode {
            Some(_) if flags & noreplace != 0 => return Err(Errno::EEXIST),
            None if flags & exchange != 0 => return Err(Errno::ENOENT),
            _ => {}
        }
        if !inode.is_dir() && (old.slash || new.slash && flags & exchange == 0) {
            return Err(Errno::ENOTDIR);
        }
        if new.dirs.contains(inode) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = &new.inode
            && old.dirs.contains(target)
        {
            return Err(if flags & exchange != 0 { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        if new.inode.as_ref() == Some(inode) {
            return Ok(());
        }
        self.may_delete(old_dir, inode, inode.is_dir())?;
        match &new.inode {
            None => self.may_create(new_dir)?,
            Some(target) if flags & exchange != 0 => self.may_delete(new_dir, target, target.is_dir())?,
            Some(target) => self.may_delete(new_dir, target, inode.is_dir())?,
        }
        if old_dir != new_dir {
            // ".." of a moved directory changes.
            let moved = [Some(inode), new.inode.as_ref().filter(|_| flags & exchange != 0)];
            for moved in moved.into_iter().flatten().filter(|moved| moved.is_dir()) {
                moved.permission(&self.caller, access::WRITE)?;
            }
        }
        let _old = write(old_dir);
        let _new = (old_dir != new_dir).then(|| write(new_dir));
        let request = RenameRequest { old_dir, old_name, inode, new_dir, new_name, target: new.inode.as_ref(), flags };
        self.sb.rename(&self.caller, &request)
    }

    /// Every name in a directory but "." and "..".
    pub fn read_dir(&self, path: impl AsRef<[u8]>) -> Result<Vec<DirEntry>> {
        let dir = self.resolve(path.as_ref(), true)?;
        dir.permission(&self.caller, access::READ)?;
        let mut all = Vec::new();
        let mut pos = 2;
        loop {
            let _dir = read(&dir);
            let entries = self.sb.iterate(&self.caller, &dir, pos, dir.ino())?;
            let Some(last) = entries.last() else { return Ok(all) };
            pos = last.next;
            all.extend(entries.into_iter().map(|entry| DirEntry {
                name: entry.name,
                ino: entry.ino,
                kind: entry.kind,
            }));
        }
    }

    /// The names in a directory, sorted, as text.
    pub fn names_in(&self, path: impl AsRef<[u8]>) -> Result<Vec<String>> {
        let entries = self.read_dir(path)?;
        let mut names: Vec<String> =
            entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
        names.sort();
        Ok(names)
    }
}
