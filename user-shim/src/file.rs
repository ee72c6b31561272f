// SPDX-License-Identifier: GPL-2.0 OR MIT
//! File bytes: pages, the large calls that fill and empty them, and what an open file asks for. Locks: `rwsem`, then
//! the pages, which are let go before every call into Rust.

use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::caller::Caller;
use crate::inode::{DIRTY_SIZE, Inode, inode_args};
use crate::pages::{PAGE, Pages};

/// Most bytes one `write` call takes.
const WRITE_BATCH: usize = 1 << 20;
/// Most bytes one `read` call fills when pages are kept here.
const READ_BATCH: u64 = 4 << 20;
/// Bytes a `read` call fills when fewer are asked for.
const READ_AHEAD: u64 = 128 << 10;

/// `struct bento_sink`: where `read` puts bytes.
pub struct Sink<'a>(pub &'a mut [u8]);

impl Sink<'_> {
    /// # Safety
    /// `from` is readable for `len` bytes.
    pub unsafe fn put(&mut self, pos: u64, from: *const u8, len: usize) -> Result<()> {
        let at = usize::try_from(pos).map_err(|_| Errno::EINVAL)?;
        let room = at.checked_add(len).and_then(|end| self.0.get_mut(at..end)).ok_or(Errno::EINVAL)?;
        // SAFETY: the caller's promise; `room` is `len` bytes of ours.
        unsafe { room.as_mut_ptr().copy_from(from, len) };
        Ok(())
    }
}

/// `struct bento_source`: where `write` takes bytes from.
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    /// # Safety
    /// `to` is writable for `len` bytes.
    pub unsafe fn get(&self, pos: u64, to: *mut u8, len: usize) -> Result<()> {
        let at = usize::try_from(pos).map_err(|_| Errno::EINVAL)?;
        let bytes = at.checked_add(len).and_then(|end| self.0.get(at..end)).ok_or(Errno::EINVAL)?;
        // SAFETY: the caller's promise.
        unsafe { to.copy_from(bytes.as_ptr(), len) };
        Ok(())
    }
}

impl Inode {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Are this file's bytes kept in pages here?
    fn keeps_pages(&self) -> bool {
        self.sb().is_resident() || self.sb().front.keeps_pages()
    }

    // ---- read ----

    /// Reads up to `len` bytes; fewer at the end of the file. The caller holds `rwsem`.
    pub fn read(&self, caller: &Caller, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.read_to(caller, offset, len, &mut out)?;
        Ok(out)
    }

    /// The same into a buffer, which is as long as what was read then.
    pub fn read_to(&self, caller: &Caller, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<()> {
        let sb = self.sb();
        if !sb.is_resident() && !sb.is_extents() && !sb.has(Op::read) {
            return Err(Errno::EINVAL);
        }
        let size = self.size();
        let end = offset.saturating_add(len as u64).min(size);
        let len = end.saturating_sub(offset) as usize;
        if sb.is_extents() {
            // All of it is written below.
            out.resize(len, 0);
            self.read_extents(caller, offset, out)?;
            if len > 0 && !sb.is_read_only() {
                self.accessed(sb.now());
            }
            return Ok(());
        }
        out.clear();
        out.resize(len, 0);
        if len == 0 {
            return Ok(());
        }
        if sb.is_resident() {
            self.pages().read(offset, out);
        } else if self.keeps_pages() {
            self.fill(caller, offset..end, READ_AHEAD)?;
            self.pages().read(offset, out);
        } else {
            self.call_read(caller, offset, out)?;
        }
        Ok(())
    }

    /// One `read` call for the whole of `out`; what is not put is zero.
    fn call_read(&self, caller: &Caller, offset: u64, out: &mut [u8]) -> Result<()> {
        let sb = self.sb();
        let len = out.len() as u64;
        let mut sink = Sink(out);
        let mut args = abi::bento_read_args { inode: self.as_raw(), offset, len, sink: (&raw mut sink).cast() };
        let put = sb.invoke(Op::read, |ops| ops.read, caller, &mut args)?;
        if put as u64 > len {
            return Err(sb.bad(Op::read, format_args!("returned {put} bytes of {len}")));
        }
        Ok(())
    }

    /// Makes the pages of `range` present, `ahead` bytes at least where one is missing.
    fn fill(&self, caller: &Caller, range: Range<u64>, ahead: u64) -> Result<()> {
        let size = self.size();
        loop {
            let whole = range.start..range.end.max(range.start.saturating_add(ahead)).min(size);
            let pages = self.pages();
            if pages.first_gap(&(range.start..range.end.min(size))).is_none() {
                return Ok(());
            }
            let gap = pages.first_gap(&whole);
            drop(pages);
            let Some(gap) = gap else { return Ok(()) };
            let mut bytes = vec![0; (gap.end.min(size) - gap.start).min(READ_BATCH) as usize];
            self.call_read(caller, gap.start, &mut bytes)?;
            self.pages().write(gap.start, &bytes, false);
        }
    }

    // ---- write ----

    /// Writes; how many bytes went in. The caller holds `rwsem` for writing.
    pub fn write(&self, caller: &Caller, offset: u64, bytes: &[u8]) -> Result<usize> {
        let sb = self.sb();
        if !sb.is_resident() && !sb.is_extents() && !sb.has(Op::write) {
            return Err(Errno::EINVAL);
        }
        let most = sb.settings().max_file_size;
        if bytes.is_empty() {
            return Ok(0);
        }
        if offset >= most {
            return Err(Errno::EFBIG);
        }
        let room = usize::try_from(most - offset).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        if sb.is_extents() {
            let written = self.write_extents(caller, offset, bytes)?;
            self.written(offset + written as u64, sb.now());
            return Ok(written);
        }
        let written = if sb.is_resident() {
            self.write_resident(offset, bytes)?
        } else if self.keeps_pages() {
            self.write_cached(caller, offset, bytes)?
        } else {
            self.write_through(caller, offset, bytes)?
        };
        self.grow(offset + written as u64);
        self.touch(sb.now());
        Ok(written)
    }

    fn grow(&self, end: u64) {
        self.change(|attr| attr.size = attr.size.max(end));
    }

    /// As much as the mount's limit allows.
    fn write_resident(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        let sb = self.sb();
        let mut pages = self.pages();
        let missing = pages.missing(offset..offset + bytes.len() as u64);
        if sb.charge(missing * PAGE).is_ok() {
            pages.write(offset, bytes, false);
            return Ok(bytes.len());
        }
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let len = (bytes.len() - done).min((PAGE - at % PAGE) as usize);
            if let Err(full) = sb.charge(pages.missing(at..at + len as u64) * PAGE) {
                return if done > 0 { Ok(done) } else { Err(full) };
            }
            pages.write(at, &bytes[done..done + len], false);
            done += len;
        }
        Ok(done)
    }

    fn write_cached(&self, caller: &Caller, offset: u64, bytes: &[u8]) -> Result<usize> {
        let end = offset + bytes.len() as u64;
        // Pages written in part need the rest of their bytes.
        for edge in [offset, end] {
            if edge % PAGE != 0 && self.sb().has(Op::read) {
                let page = edge - edge % PAGE;
                self.fill(caller, page..page + PAGE, 0)?;
            }
        }
        self.pages().write(offset, bytes, true);
        Ok(bytes.len())
    }

    /// The kernel above has the page cache: these are its dirty pages.
    fn write_through(&self, caller: &Caller, offset: u64, bytes: &[u8]) -> Result<usize> {
        let before = self.size();
        let end = offset + bytes.len() as u64;
        self.grow(end);
        if let Err(errno) = self.call_write(caller, offset, bytes) {
            self.change(|attr| attr.size = if attr.size == end { before } else { attr.size });
            return Err(errno);
        }
        Ok(bytes.len())
    }

    fn call_write(&self, caller: &Caller, offset: u64, bytes: &[u8]) -> Result<()> {
        let sb = self.sb();
        let mut source = Source(bytes);
        let mut args = abi::bento_write_args {
            inode: self.as_raw(),
            offset,
            len: bytes.len() as u64,
            source: (&raw mut source).cast(),
            write_life: self.lock_attr().write_life,
            pad: 0,
        };
        sb.invoke(Op::write, |ops| ops.write, caller, &mut args).map(drop)
    }

    /// Writes dirty pages back; a failure is kept for `fsync` and `close` as well.
    pub fn flush_pages(&self) -> Result<()> {
        let mut first = Ok(());
        let mut from = 0;
        loop {
            let size = self.size();
            let Some((offset, bytes)) = self.pages().take_dirty(from, size, WRITE_BATCH) else { return first };
            from = offset + PAGE;
            if bytes.is_empty() {
                continue;
            }
            if let Err(errno) = self.call_write(&Caller::ROOT, offset, &bytes) {
                self.set_write_error(errno);
                first = first.and(Err(errno));
            }
        }
    }

    /// `fsync(2)`: pages, attributes, then the handler.
    pub fn fsync(&self, caller: &Caller, datasync: bool) -> Result<()> {
        let sb = self.sb();
        let _ = self.flush_pages();
        self.take_write_error()?;
        if !datasync || !sb.is_extents() || self.has(DIRTY_SIZE) {
            self.write_back(true)?;
        }
        if sb.has(Op::fsync) {
            let mut args = inode_args(self.as_raw());
            args.flags = datasync.into();
            sb.invoke(Op::fsync, |ops| ops.fsync, caller, &mut args)?;
        }
        sb.wait_commit(self)
    }

    // ---- open, close ----

    pub fn open(&self, caller: &Caller, flags: u32) -> Result<()> {
        self.call_simple(Op::open, |ops| ops.open, caller, flags)
    }

    pub fn release(&self, caller: &Caller, flags: u32) {
        let _ = self.call_simple(Op::release, |ops| ops.release, caller, flags);
    }

    /// `close(2)`. A failed write-back shows here without being used up: fsync tells it again.
    pub fn flush(&self, caller: &Caller, writable: bool) -> Result<()> {
        let written = if writable { self.flush_pages() } else { Ok(()) };
        let told = self.call_simple(Op::flush, |ops| ops.flush, caller, 0);
        written.and(told)
    }

    fn call_simple(
        &self,
        op: Op,
        find: crate::call::Find<abi::bento_inode_args>,
        caller: &Caller,
        flags: u32,
    ) -> Result<()> {
        let sb = self.sb();
        if !sb.has(op) {
            return Ok(());
        }
        let mut args = inode_args(self.as_raw());
        args.flags = flags;
        sb.invoke(op, find, caller, &mut args).map(drop)
    }

    // ---- sizes ----

    /// Before a handler is asked to cut a file: nothing may be dirty past the new end, or a later write-back would bring
    /// the bytes back. A failure is kept for `fsync`.
    pub fn prepare_resize(&self, caller: &Caller, size: u64) -> Result<()> {
        if self.sb().is_extents() {
            return self.zero_tail(caller, size);
        }
        if !self.sb().is_resident() && size < self.size() {
            let _ = self.flush_pages();
        }
        Ok(())
    }

    pub fn apply_resize(&self, size: u64) -> Result<()> {
        let sb = self.sb();
        if sb.is_extents() {
            return match self.size() {
                staged if staged == size => Ok(()),
                staged => Err(sb.bad(Op::setattr, format_args!("left the size at {staged}, asked for {size}"))),
            };
        }
        let mut pages = self.pages();
        let before = pages.count();
        pages.truncate(size);
        let after = pages.count();
        drop(pages);
        self.uncharge_pages(before - after);
        Ok(())
    }

    fn uncharge_pages(&self, pages: u64) {
        if self.sb().is_resident() {
            self.sb().uncharge(pages * PAGE);
        }
    }

    // ---- fallocate ----

    /// `fallocate(2)`. The caller holds `rwsem` for writing.
    pub fn fallocate(&self, caller: &Caller, mode: i32, offset: u64, len: u64) -> Result<()> {
        const SHIFTS: i32 = libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE;
        const CLEARS: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
        let sb = self.sb();
        if !self.is_file() {
            return Err(if self.is_dir() { Errno::EISDIR } else { Errno::ENODEV });
        }
        if !sb.is_resident() && !sb.has(Op::fallocate) {
            return Err(Errno::EOPNOTSUPP);
        }
        if len == 0 || offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Errno::EINVAL);
        }
        let clears = (mode & CLEARS).count_ones() + (mode & SHIFTS).count_ones();
        let unknown = mode & !(libc::FALLOC_FL_KEEP_SIZE | SHIFTS | CLEARS) != 0;
        let punch_without_keep = mode & libc::FALLOC_FL_PUNCH_HOLE != 0 && mode & libc::FALLOC_FL_KEEP_SIZE == 0;
        if unknown || clears > 1 || punch_without_keep {
            return Err(Errno::EOPNOTSUPP);
        }
        self.check_append_only()?;
        let size = self.size_after(mode, offset, len)?;
        if sb.is_extents() {
            return self.fallocate_extents(caller, mode, offset, len, size);
        }
        if !sb.is_resident() && mode & (SHIFTS | CLEARS) != 0 {
            let _ = self.flush_pages();
        }
        if sb.has(Op::fallocate) {
            self.call_fallocate(caller, mode, offset, len)?;
        }
        if sb.is_resident() {
            self.fallocate_resident(mode & !libc::FALLOC_FL_KEEP_SIZE, offset, len)?;
        } else {
            let mut pages = self.pages();
            match mode & (SHIFTS | CLEARS) {
                0 => {}
                clear if clear & CLEARS != 0 => pages.punch(offset..offset + len),
                _ => pages.invalidate(offset - offset % PAGE..u64::MAX),
            }
        }
        let now = sb.now();
        self.change(|attr| (attr.size, attr.mtime, attr.ctime) = (size, now, now));
        Ok(())
    }

    pub fn call_fallocate(&self, caller: &Caller, mode: i32, offset: u64, len: u64) -> Result<()> {
        let mut args = inode_args(self.as_raw());
        (args.flags, args.a, args.b) = (mode as u32, offset, len);
        let mut call = || self.sb().invoke(Op::fallocate, |ops| ops.fallocate, caller, &mut args).map(drop);
        // What shifts a file's blocks may have come half-way.
        if mode & (libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE) == 0 {
            self.sb().with_space(call)
        } else {
            call()
        }
    }

    /// The handler moves blocks and stages the size; what it cannot do by whole blocks is done here first.
    fn fallocate_extents(&self, caller: &Caller, mode: i32, offset: u64, len: u64, size: u64) -> Result<()> {
        const CLEARS: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
        if self.sb().is_read_only() {
            return Err(Errno::EROFS);
        }
        if size > self.size() {
            self.zero_tail(caller, size)?;
        }
        let done = self.call_fallocate(caller, mode, offset, len);
        // Whether it failed or not: it may have come half-way.
        self.forget_extents(0..u64::MAX);
        done?;
        // Not before: what is refused has changed nothing.
        if mode & CLEARS != 0 {
            self.zero_edges(caller, offset..offset + len)?;
        }
        Ok(())
    }

    fn size_after(&self, mode: i32, offset: u64, len: u64) -> Result<u64> {
        let settings = self.sb().settings();
        let size = self.size();
        let block = u64::from(settings.block_size);
        let aligned = (offset | len).is_multiple_of(block);
        let after = if mode & libc::FALLOC_FL_COLLAPSE_RANGE != 0 {
            if offset + len >= size || !aligned {
                return Err(Errno::EINVAL);
            }
            size - len
        } else if mode & libc::FALLOC_FL_INSERT_RANGE != 0 {
            if offset >= size || !aligned {
                return Err(Errno::EINVAL);
            }
            size + len
        } else if mode & libc::FALLOC_FL_KEEP_SIZE != 0 {
            size
        } else {
            size.max(offset + len)
        };
        if after > settings.max_file_size { Err(Errno::EFBIG) } else { Ok(after) }
    }

    fn fallocate_resident(&self, mode: i32, offset: u64, len: u64) -> Result<()> {
        let sb = self.sb();
        let range = offset..offset + len;
        let mut pages = self.pages();
        match mode {
            libc::FALLOC_FL_PUNCH_HOLE => {
                let before = pages.count();
                pages.punch(range);
                let gone = before - pages.count();
                drop(pages);
                self.uncharge_pages(gone);
                Ok(())
            }
            0 | libc::FALLOC_FL_ZERO_RANGE => {
                sb.charge(pages.missing(range.clone()) * PAGE)?;
                if mode != 0 {
                    pages.zero(range.clone());
                }
                pages.allocate(range);
                Ok(())
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    // ---- seek, ioctl, poll, hints ----

    /// `SEEK_DATA` (3) and `SEEK_HOLE` (4).
    pub fn seek(&self, caller: &Caller, offset: u64, whence: u32) -> Result<u64> {
        let sb = self.sb();
        let data = whence == libc::SEEK_DATA as u32;
        let size = self.size();
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        let found = if sb.is_resident() {
            let pages = self.pages();
            if data { pages.next_data(offset).unwrap_or(size) } else { pages.next_hole(offset) }
        } else if sb.is_extents() && !sb.has(Op::seek) {
            self.seek_extents(caller, offset, data, size)?
        } else if sb.has(Op::seek) {
            self.flush_pages()?;
            let mut args = inode_args(self.as_raw());
            (args.flags, args.a) = (whence, offset);
            args.out = if data { offset } else { size };
            sb.invoke(Op::seek, |ops| ops.seek, caller, &mut args)?;
            if args.out < offset || args.out > i64::MAX as u64 {
                return Err(sb.bad(Op::seek, format_args!("returned offset {} for {offset}", args.out)));
            }
            args.out
        } else if data {
            offset
        } else {
            size
        };
        // The end of the file is a hole, and the handler's idea of it is old.
        match found >= size {
            true if data => Err(Errno::ENXIO),
            true => Ok(size),
            false => Ok(found),
        }
    }

    /// `ioctl(2)` of the author's own: the value and the bytes for user space.
    pub fn ioctl(&self, caller: &Caller, cmd: u32, arg: u64, input: &[u8], room: usize) -> Result<(u32, Vec<u8>)> {
        let sb = self.sb();
        if !sb.has(Op::ioctl) {
            return Err(Errno::ENOTTY);
        }
        let mut output = vec![0; room];
        let mut args = abi::bento_ioctl_args {
            inode: self.as_raw(),
            cmd,
            flags: 0,
            arg,
            input: crate::superblock::bytes(input),
            output: crate::superblock::buffer(&mut output),
        };
        let value = sb.invoke(Op::ioctl, |ops| ops.ioctl, caller, &mut args)?;
        if value > i64::from(i32::MAX) {
            return Err(sb.bad(Op::ioctl, format_args!("returned value {value}")));
        }
        if args.output.len > room {
            let len = args.output.len;
            return Err(sb.bad(Op::ioctl, format_args!("returned {len} bytes of {room}")));
        }
        output.truncate(args.output.len);
        Ok((value as u32, output))
    }

    /// Which of `events` are ready.
    pub fn poll(&self, caller: &Caller, events: u32) -> Result<u32> {
        let sb = self.sb();
        // What NULL means: always ready to read and write.
        let ready = events & (libc::POLLIN | libc::POLLOUT | libc::POLLRDNORM | libc::POLLWRNORM) as u32;
        if !sb.has(Op::poll) {
            return Ok(ready);
        }
        let mut args = inode_args(self.as_raw());
        (args.flags, args.out) = (events, ready.into());
        sb.invoke(Op::poll, |ops| ops.poll, caller, &mut args)?;
        if args.out > u32::from(u16::MAX).into() {
            return Err(sb.bad(Op::poll, format_args!("returned events {:#x}", args.out)));
        }
        Ok(args.out as u32)
    }

    /// `posix_fadvise(2)`
    pub fn fadvise(&self, caller: &Caller, offset: u64, len: u64, advice: u32) -> Result<()> {
        let sb = self.sb();
        if !sb.has(Op::fadvise) {
            return Ok(());
        }
        let mut args = inode_args(self.as_raw());
        (args.flags, args.a, args.b) = (advice, offset, len);
        sb.invoke(Op::fadvise, |ops| ops.fadvise, caller, &mut args).map(drop)
    }
}
