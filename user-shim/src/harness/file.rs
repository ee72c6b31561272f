// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An open file.

use std::sync::{Mutex, PoisonError};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Extent;

use super::attrs::without_privileges;
use super::task::{Stat, Task};
use crate::dir::{read, write};
use crate::extents::{Kind, Piece};
use crate::inode::InodeRef;

/// Flags of `open(2)`.
pub mod flags {
    pub const READ_ONLY: u32 = libc::O_RDONLY as u32;
    pub const WRITE_ONLY: u32 = libc::O_WRONLY as u32;
    pub const READ_WRITE: u32 = libc::O_RDWR as u32;
    pub const CREATE: u32 = libc::O_CREAT as u32;
    pub const EXCLUSIVE: u32 = libc::O_EXCL as u32;
    pub const TRUNCATE: u32 = libc::O_TRUNC as u32;
    pub const APPEND: u32 = libc::O_APPEND as u32;
    pub const DIRECTORY: u32 = libc::O_DIRECTORY as u32;
    pub const NO_FOLLOW: u32 = libc::O_NOFOLLOW as u32;
    /// What was written is durable before `write` returns: with all attributes, or with what reading it back takes.
    pub const SYNC: u32 = libc::O_SYNC as u32;
    pub const DSYNC: u32 = libc::O_DSYNC as u32;
    pub(crate) const ACCESS: u32 = libc::O_ACCMODE as u32;
}

use std::io::SeekFrom;

/// An open file; dropped, it is closed, and an error of `close` is lost.
#[derive(Debug)]
pub struct File {
    task: Task,
    inode: InodeRef,
    flags: u32,
    pos: Mutex<u64>,
    closed: bool,
}

impl File {
    pub(super) fn new(task: Task, inode: InodeRef, flags: u32) -> File {
        File { task, inode, flags, pos: Mutex::new(0), closed: false }
    }

    pub(super) fn inode(&self) -> &InodeRef {
        &self.inode
    }

    pub fn ino(&self) -> u64 {
        self.inode.ino()
    }

    fn readable(&self) -> Result<()> {
        if self.inode.is_dir() {
            return Err(Errno::EISDIR);
        }
        if self.flags & flags::ACCESS == flags::WRITE_ONLY { Err(Errno::EBADF) } else { Ok(()) }
    }

    fn writable(&self) -> Result<()> {
        if self.flags & flags::ACCESS == flags::READ_ONLY { Err(Errno::EBADF) } else { Ok(()) }
    }

    /// `pread(2)`: fewer bytes than `len` at the end of the file, and never more than 2 GiB.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        const MAX_RW_COUNT: usize = 0x7fff_f000;
        self.readable()?;
        let len = len.min(MAX_RW_COUNT);
        let _inode = read(&self.inode);
        self.inode.read(&self.task.caller, offset, len)
    }

    /// Everything from the start.
    pub fn read_all(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let more = self.read_at(all.len() as u64, 1 << 20)?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&more);
        }
    }

    /// `pwrite(2)`: how many bytes went in. With [`flags::APPEND`] they go to the end.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        self.writable()?;
        if self.task.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        let written = {
            let _inode = write(&self.inode);
            let offset = if self.flags & flags::APPEND != 0 { self.inode.size() } else { offset };
            self.drop_privileges()?;
            self.inode.write(&self.task.caller, offset, bytes)?
        };
        if self.flags & flags::DSYNC != 0 {
            self.inode.fsync(&self.task.caller, self.flags & flags::SYNC != flags::SYNC)?;
        }
        Ok(written)
    }

    /// Set-user-id does not survive a write by somebody else than root. Under `rwsem`.
    fn drop_privileges(&self) -> Result<()> {
        if self.task.caller.is_root() {
            return Ok(());
        }
        let mut attr = self.inode.attr();
        match without_privileges(attr.mode) {
            Some(mode) => {
                attr.mode = mode;
                self.inode.setattr(&self.task.caller, &attr, abi::BENTO_ATTR_MODE)
            }
            None => Ok(()),
        }
    }

    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            let written = self.write_at(bytes, offset)?;
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    /// `read(2)`
    pub fn read(&self, len: usize) -> Result<Vec<u8>> {
        let mut pos = self.pos.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.read_at(*pos, len)?;
        *pos += bytes.len() as u64;
        Ok(bytes)
    }

    /// `write(2)`
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        let mut pos = self.pos.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.write_at(bytes, *pos)?;
        *pos = if self.flags & flags::APPEND != 0 { self.inode.size() } else { *pos + written as u64 };
        Ok(written)
    }

    /// `lseek(2)`; see [`seek_data`](Self::seek_data) for the rest of it.
    pub fn seek(&self, to: SeekFrom) -> Result<u64> {
        let mut pos = self.pos.lock().unwrap_or_else(PoisonError::into_inner);
        let new = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => pos.checked_add_signed(by),
            SeekFrom::End(by) => self.inode.size().checked_add_signed(by),
        };
        *pos = new.filter(|new| *new <= self.task.sb.settings().max_file_size).ok_or(Errno::EINVAL)?;
        Ok(*pos)
    }

    /// `SEEK_DATA`
    pub fn seek_data(&self, offset: u64) -> Result<u64> {
        let _inode = read(&self.inode);
        self.inode.seek(&self.task.caller, offset, libc::SEEK_DATA as u32)
    }

    /// `SEEK_HOLE`
    pub fn seek_hole(&self, offset: u64) -> Result<u64> {
        let _inode = read(&self.inode);
        self.inode.seek(&self.task.caller, offset, libc::SEEK_HOLE as u32)
    }

    /// What the file is made of up to its end, holes too, as `FIEMAP` would show it. (`data = "extents"`)
    pub fn extents(&self) -> Result<Vec<Extent>> {
        let _inode = read(&self.inode);
        let pieces = self.inode.pieces(&self.task.caller, 0..self.inode.size())?;
        let shown = |Piece { offset, len, kind }| match kind {
            Kind::Hole => Extent::Hole { offset, len },
            Kind::Mapped(addr) => Extent::Mapped { offset, len, addr, new: false },
            Kind::Unwritten(addr) => Extent::Unwritten { offset, len, addr, new: false },
        };
        Ok(pieces.into_iter().map(shown).collect())
    }

    pub fn fsync(&self) -> Result<()> {
        self.inode.fsync(&self.task.caller, false)
    }

    pub fn fdatasync(&self) -> Result<()> {
        self.inode.fsync(&self.task.caller, true)
    }

    /// `ftruncate(2)`
    pub fn truncate(&self, size: u64) -> Result<()> {
        if self.writable().is_err() || !self.inode.is_file() {
            return Err(Errno::EINVAL);
        }
        self.truncate_unchecked(size)
    }

    pub(super) fn truncate_unchecked(&self, size: u64) -> Result<()> {
        self.task.truncate_inode(&self.inode, size)
    }

    /// `fallocate(2)` with its `FALLOC_FL_*`.
    pub fn fallocate(&self, mode: i32, offset: u64, len: u64) -> Result<()> {
        self.writable()?;
        let _inode = write(&self.inode);
        self.inode.fallocate(&self.task.caller, mode, offset, len)
    }

    /// `posix_fadvise(2)`
    pub fn fadvise(&self, offset: u64, len: u64, advice: u32) -> Result<()> {
        self.inode.fadvise(&self.task.caller, offset, len, advice)
    }

    /// `fcntl(F_SET_RW_HINT)`: `RWH_WRITE_LIFE_*`, which `write` handlers see.
    pub fn set_write_life(&self, hint: u32) {
        self.inode.lock_attr().write_life = hint;
    }

    /// `ioctl(2)`: the argument is copied in and out by the size that `cmd` encodes. The value, and the bytes that came
    /// back. With a command that encodes no size, `arg` is the plain word.
    pub fn ioctl(&self, cmd: u32, arg: u64, input: &[u8]) -> Result<(u32, Vec<u8>)> {
        const WRITE: u32 = 1;
        const READ: u32 = 2;
        let size = (cmd >> 16 & 0x3fff) as usize;
        let direction = cmd >> 30;
        let copied = if direction & WRITE != 0 { size } else { 0 };
        let room = if direction & READ != 0 { size } else { 0 };
        let mut argument = input.to_vec();
        argument.resize(copied, 0);
        let word = if copied + room > 0 { 0 } else { arg };
        self.inode.ioctl(&self.task.caller, cmd, word, &argument, room)
    }

    /// Which of `events` (`EPOLL*`) are ready.
    pub fn poll(&self, events: u32) -> Result<u32> {
        self.inode.poll(&self.task.caller, events)
    }

    pub fn stat(&self) -> Result<Stat> {
        self.task.stat_inode(&self.inode)
    }

    /// `fchmod(2)`
    pub fn chmod(&self, mode: u32) -> Result<()> {
        self.task.chmod_inode(&self.inode, mode)
    }

    /// `linkat(fd, "", …, AT_EMPTY_PATH)`: a name for a temporary file.
    pub fn link(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.task.link_inode(&self.inode, path.as_ref())
    }

    /// `close(2)`, with its error.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        let told = self.inode.flush(&self.task.caller, self.writable().is_ok());
        self.inode.release(&self.task.caller, self.flags);
        told
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
