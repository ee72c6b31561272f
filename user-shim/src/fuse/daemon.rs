// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Requests of the kernel, each answered by the core. The kernel has made the VFS's checks (`default_permissions`) and
//! holds the VFS's locks; a `permission` handler is asked here besides, and can only take away. Hardly a request is answered
//! by `ENOSYS`, which the kernel remembers: the next version may have that handler.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bento::abi;
use bento::errno::Errno;
use bento::fs::{Op, access};
use fuser::{
    BsdFileFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::busy_poll::BusyPoll;
use super::convert::{self, FOREVER};
use super::ioctl;
use super::notify::Line;
use super::work::{answer, errno, generation, or_error};
use crate::caller::Caller;
use crate::dir::{Make, read, write};
use crate::inode::blank_attr;
use crate::superblock::Super;

/// Largest write the kernel sends.
const MAX_WRITE: u32 = 1 << 20;

pub struct Daemon {
    pub sb: Arc<Super>,
    pub line: Arc<Line>,
    pub poll: Arc<BusyPoll>,
}

impl Filesystem for Daemon {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let sb = &self.sb;
        let mut wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DONT_MASK
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_HAS_IOCTL_DIR
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_ASYNC_DIO;
        if sb.is_resident() || sb.has(Op::write) || sb.is_extents() && !sb.is_read_only() {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
        if sb.is_extents() {
            wanted |= InitFlags::FUSE_NO_OPENDIR_SUPPORT;
        }
        if sb.has(Op::setxattr) {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        if sb.has(Op::get_parent) {
            wanted |= InitFlags::FUSE_EXPORT_SUPPORT;
        }
        let known = wanted & config.capabilities();
        let _ = config.add_capabilities(known);
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_readahead(MAX_WRITE).map_err(|most| config.set_max_readahead(most));
        let _ = config.set_max_background(64);
        let granularity = Duration::from_nanos(sb.settings().time_granularity.into());
        let _ = config.set_time_granularity(granularity).map_err(|near| config.set_time_granularity(near));
        Ok(())
    }

    fn destroy(&mut self) {
        if let Err(error) = self.sb.unmount(true) {
            self.sb.log(abi::BENTO_LOG_ERR, format_args!("unmount: not everything was written: {error}"));
        }
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _after = self.poll.after();
        let caller = convert::caller(request, 0);
        let dots = matches!(name.as_bytes(), b"." | b"..");
        // A file handle (FUSE_EXPORT_SUPPORT) may name an inode that neither of us has cached.
        let dir = or_error!(reply, if dots { self.by_number(parent) } else { self.inode(parent) });
        if !dots {
            or_error!(reply, self.allowed(request, &dir, access::EXECUTE));
        }
        let found = match name.as_bytes() {
            b"." => Ok(dir.clone()),
            b".." => self.sb.get_parent(&caller, &dir),
            name => {
                let _dir = read(&dir);
                self.sb.lookup(&caller, &dir, name)
            }
        };
        match found {
            Ok(inode) => self.entry(&caller, &inode, reply),
            Err(Errno::ENOENT) => {
                // A node number of 0: there is none, and the kernel may remember that.
                let mut attr = convert::attr(&self.sb, &blank_attr());
                attr.ino = INodeNo(0);
                reply.entry_with_ttls(&FOREVER, &self.entry_ttl(), &attr, Generation(0));
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn forget(&self, _request: &Request, node: INodeNo, nlookup: u64) {
        self.sb.put_many(convert::ino(&self.sb, node), usize::try_from(nlookup).unwrap_or(usize::MAX));
    }

    fn getattr(&self, request: &Request, node: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let _after = self.poll.after();
        let inode = or_error!(reply, self.inode(node));
        let shown = or_error!(reply, inode.getattr(&convert::caller(request, 0), libc::STATX_BASIC_STATS));
        reply.attr(&self.attr_ttl(), &convert::attr(&self.sb, &shown.attr));
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _after = self.poll.after();
        let inode = or_error!(reply, self.inode(node));
        let caller = convert::caller(request, 0);
        let mut attr = inode.attr();
        let mut valid = 0;
        let now = self.sb.now();
        let when = |time: TimeOrNow| match time {
            TimeOrNow::SpecificTime(time) => convert::from_time(time),
            TimeOrNow::Now => now,
        };
        macro_rules! take {
            ($($field:ident $bit:ident $value:expr;)*) => {
                $(if let Some(value) = $value {
                    attr.$field = value;
                    valid |= abi::$bit;
                })*
            };
        }
        take! {
            mode BENTO_ATTR_MODE mode;
            uid BENTO_ATTR_UID uid;
            gid BENTO_ATTR_GID gid;
            size BENTO_ATTR_SIZE size;
            atime BENTO_ATTR_ATIME atime.map(when);
            mtime BENTO_ATTR_MTIME mtime.map(when);
            ctime BENTO_ATTR_CTIME ctime.map(convert::from_time);
        }
        let chown = valid & (abi::BENTO_ATTR_UID | abi::BENTO_ATTR_GID) != 0 && !inode.is_dir();
        let cut = valid & abi::BENTO_ATTR_SIZE != 0 && !caller.is_root();
        let changed = {
            let _inode = write(&inode);
            if chown || cut {
                if self.sb.has(Op::removexattr) && inode.is_file() {
                    let _ = inode.removexattr(&Caller::ROOT, b"security.capability");
                }
                if let Some(mode) = crate::harness::without_privileges(attr.mode).filter(|_| mode.is_none()) {
                    (attr.mode, valid) = (mode, valid | abi::BENTO_ATTR_MODE);
                }
            }
            inode.setattr(&caller, &attr, valid)
        };
        or_error!(reply, changed);
        let shown = or_error!(reply, inode.getattr(&caller, libc::STATX_BASIC_STATS));
        reply.attr(&self.attr_ttl(), &convert::attr(&self.sb, &shown.attr));
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let _after = self.poll.after();
        let inode = or_error!(reply, self.inode(node));
        let target = or_error!(reply, inode.get_link(&convert::caller(request, 0)));
        reply.data(target);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let _after = self.poll.after();
        let what = match mode & libc::S_IFMT {
            0 | libc::S_IFREG => Make::File { exclusive: true },
            kind => Make::Node { mode: kind, rdev: convert::device(rdev) },
        };
        self.make_entry(request, (parent, name), mode, umask, what, reply);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let _after = self.poll.after();
        self.make_entry(request, (parent, name), mode, umask, Make::Directory, reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let _after = self.poll.after();
        let target = target.as_os_str().as_bytes();
        self.make_entry(request, (parent, name), 0o777, 0, Make::Symlink { target }, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let _after = self.poll.after();
        let exclusive = flags & libc::O_EXCL != 0;
        let inode = or_error!(reply, self.make(request, parent, name, mode, umask, Make::File { exclusive }));
        let caller = convert::caller(request, umask);
        or_error!(reply, inode.open(&caller, flags as u32));
        let shown = or_error!(reply, inode.getattr(&caller, 0));
        inode.lend(1);
        let attr = convert::attr(&self.sb, &shown.attr);
        reply.created(&self.attr_ttl(), &attr, generation(&shown.attr), FileHandle(0), self.opened());
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _after = self.poll.after();
        or_error!(reply, self.remove(request, parent, name, false));
        reply.ok();
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _after = self.poll.after();
        or_error!(reply, self.remove(request, parent, name, true));
        reply.ok();
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _after = self.poll.after();
        or_error!(reply, self.rename_request(request, (parent, name), (newparent, newname), flags));
        reply.ok();
    }

    fn link(&self, request: &Request, node: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let _after = self.poll.after();
        let caller = convert::caller(request, 0);
        let linked = || {
            let (inode, dir) = (self.inode(node)?, self.inode(newparent)?);
            self.may_change(request, &dir)?;
            let _dir = write(&dir);
            self.sb.link(&caller, &inode, &dir, newname.as_bytes())?;
            Ok(inode)
        };
        let inode = or_error!(reply, linked());
        self.entry(&caller, &inode, reply);
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _after = self.poll.after();
        let inode = or_error!(reply, self.inode(node));
        or_error!(reply, self.check_open(request, &inode, flags.0));
        or_error!(reply, inode.open(&convert::caller(request, 0), flags.0 as u32));
        reply.opened(FileHandle(0), self.opened());
    }

    fn release(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _after = self.poll.after();
        if let Ok(inode) = self.inode(node) {
            inode.release(&convert::caller(request, 0), flags.0 as u32);
            self.line.forget_pollers(inode.ino());
        }
        reply.ok();
    }

    fn flush(&self, request: &Request, node: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        let _after = self.poll.after();
        if self.sb.is_extents() && !self.sb.has(Op::flush) {
            // Nothing of such a file waits here: the kernel need not ask again.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let inode = or_error!(reply, self.inode(node));
        or_error!(reply, inode.flush(&convert::caller(request, 0), true));
        reply.ok();
    }

    fn fsync(&self, request: &Request, node: INodeNo, _handle: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let _after = self.poll.after();
        let inode = or_error!(reply, self.inode(node));
        or_error!(reply, inode.fsync(&convert::caller(request, 0), datasync));
        reply.ok();
    }

    fn fsyncdir(&self, request: &Request, node: INodeNo, handle: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.fsync(request, node, handle, datasync, reply);
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _after = self.poll.after();
        thread_local! {
            /// As large as the largest answer of this thread.
            static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let inode = or_error!(reply, self.inode(node));
        BYTES.with_borrow_mut(|bytes| {
            let _inode = read(&inode);
            or_error!(reply, inode.read_to(&convert::caller(request, 0), offset, size as usize, bytes));
            reply.data(bytes);
        });
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _after = self.poll.after();
        let inode = or_error!(reply, self.inode(node));
        let caller = convert::caller(request, 0);
        let locked = write(&inode);
        if write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            or_error!(reply, self.drop_privileges(&inode));
        }
        let written = or_error!(reply, inode.write(&caller, offset, data));
        drop(locked);
        if write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            if written < data.len() {
                // A short answer to write-back would be taken for a whole one.
                return reply.error(fuser::Errno::ENOSPC);
            }
        } else if self.sb.is_extents() && flags.0 & libc::O_DSYNC != 0 {
            // Past the kernel's cache, nobody asks for the rest of what O_SYNC means.
            or_error!(reply, inode.fsync(&caller, flags.0 & libc::O_SYNC != libc::O_SYNC));
        }
        reply.written(u32::try_from(written).unwrap_or(u32::MAX));
    }

    fn opendir(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _after = self.poll.after();
        if self.sb.is_extents() && ![Op::open, Op::release, Op::permission].iter().any(|op| self.sb.has(*op)) {
            // Then the kernel opens directories by itself, and shows again what it has read of them.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let inode = or_error!(reply, self.inode(node));
        or_error!(reply, self.allowed(request, &inode, access::READ));
        or_error!(reply, inode.open(&convert::caller(request, 0), flags.0 as u32));
        // What the kernel has read of a directory it may show again, unless somebody wants to be asked.
        let asked = [Op::open, Op::release, Op::permission].iter().any(|op| self.sb.has(*op));
        let cached = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
        reply.opened(FileHandle(0), if asked { FopenFlags::empty() } else { cached });
    }

    fn releasedir(&self, request: &Request, node: INodeNo, _handle: FileHandle, flags: OpenFlags, reply: ReplyEmpty) {
        if let Ok(inode) = self.inode(node) {
            inode.release(&convert::caller(request, 0), flags.0 as u32);
        }
        reply.ok();
    }

    fn readdir(&self, request: &Request, node: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let _after = self.poll.after();
        let dir = or_error!(reply, self.inode(node));
        let caller = convert::caller(request, 0);
        let mut pos = offset;
        loop {
            let _dir = read(&dir);
            let entries = match self.sb.iterate(&caller, &dir, pos, dir.ino()) {
                Ok(entries) => entries,
                // What is there already is shown; the next request meets the error again.
                Err(_) if pos != offset => return reply.ok(),
                Err(error) => return reply.error(errno(error)),
            };
            let Some(last) = entries.last() else { return reply.ok() };
            pos = last.next;
            for entry in &entries {
                let kind = convert::file_type(u32::from(entry.kind) << 12);
                let name = OsStr::from_bytes(&entry.name);
                if reply.add(convert::node(&self.sb, entry.ino), entry.next, kind, name) {
                    return reply.ok();
                }
            }
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _after = self.poll.after();
        let dir = or_error!(reply, self.inode(node));
        let caller = convert::caller(request, 0);
        let mut pos = offset;
        loop {
            let entries = {
                let _dir = read(&dir);
                self.sb.iterate(&caller, &dir, pos, dir.ino())
            };
            let entries = match entries {
                Ok(entries) => entries,
                Err(_) if pos != offset => return reply.ok(),
                Err(error) => return reply.error(errno(error)),
            };
            let Some(last) = entries.last() else { return reply.ok() };
            pos = last.next;
            for entry in &entries {
                let dots = entry.name == b"." || entry.name == b"..";
                let found = match dots {
                    true => Err(Errno::ENOENT),
                    false => self.sb.iget(entry.ino, Op::iterate),
                };
                let shown = found.as_ref().ok().and_then(|inode| inode.getattr(&caller, 0).ok());
                let mut attr = shown.map_or_else(blank_attr, |shown| shown.attr);
                if shown.is_none() {
                    // A name without attributes: the kernel looks it up when somebody asks.
                    (attr.ino, attr.mode) = (entry.ino, u32::from(entry.kind) << 12);
                }
                let node = if shown.is_some() { convert::node(&self.sb, entry.ino) } else { INodeNo(0) };
                let name = OsStr::from_bytes(&entry.name);
                let shown_attr = convert::attr(&self.sb, &attr);
                if reply.add(node, entry.next, name, &self.attr_ttl(), &shown_attr, generation(&attr)) {
                    return reply.ok();
                }
                if let (Ok(inode), true) = (found, shown.is_some()) {
                    inode.lend(1);
                }
            }
        }
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        match self.sb.statfs() {
            Ok(raw) => reply.statfs(
                raw.blocks,
                raw.bfree,
                raw.bavail,
                raw.files,
                raw.ffree,
                raw.bsize,
                raw.namelen,
                raw.frsize,
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let inode = or_error!(reply, self.inode(node));
        let caller = convert::caller_with_groups(request);
        let _inode = write(&inode);
        or_error!(reply, inode.setxattr(&caller, name.as_bytes(), value, flags as u32));
        reply.ok();
    }

    fn getxattr(&self, request: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _after = self.poll.after();
        let inode = or_error!(reply, self.inode(node));
        let value = or_error!(reply, inode.getxattr(&convert::caller(request, 0), name.as_bytes()));
        answer(&value, size, reply);
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let inode = or_error!(reply, self.inode(node));
        let names = or_error!(reply, inode.listxattr(&convert::caller(request, 0)));
        let list: Vec<u8> = names.into_iter().flat_map(|name| [&name[..], b"\0"].concat()).collect();
        answer(&list, size, reply);
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let inode = or_error!(reply, self.inode(node));
        let _inode = write(&inode);
        or_error!(reply, inode.removexattr(&convert::caller(request, 0), name.as_bytes()));
        reply.ok();
    }

    fn ioctl(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        cmd: u32,
        input: &[u8],
        room: u32,
        reply: ReplyIoctl,
    ) {
        let inode = or_error!(reply, self.inode(node));
        let caller = convert::caller(request, 0);
        let (value, output) = or_error!(reply, ioctl::answer(&inode, &caller, cmd, input, room as usize));
        reply.ioctl(value, &output);
    }

    fn poll(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        notifier: PollNotifier,
        events: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        let inode = or_error!(reply, self.inode(node));
        // First, or a wake between the answer and the wait would be lost.
        if flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY) {
            self.line.poll(inode.ino(), notifier);
        }
        let ready = or_error!(reply, inode.poll(&convert::caller(request, 0), events.bits()));
        reply.poll(PollEvents::from_bits_truncate(ready));
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let inode = or_error!(reply, self.inode(node));
        let _inode = write(&inode);
        or_error!(reply, inode.fallocate(&convert::caller(request, 0), mode, offset, length));
        reply.ok();
    }

    fn lseek(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let inode = or_error!(reply, self.inode(node));
        let offset = or_error!(reply, u64::try_from(offset).map_err(|_| Errno::ENXIO));
        let caller = convert::caller(request, 0);
        // The kernel's dirty pages are not ours to see: it writes them before we look for holes.
        self.line.flushed(node, move || {
            let _inode = read(&inode);
            let found = or_error!(reply, inode.seek(&caller, offset, whence as u32));
            reply.offset(found as i64);
        });
    }
}
