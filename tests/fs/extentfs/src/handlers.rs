// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The handlers. Attributes are staged with each transaction, as the shim makes none of its own.

use core::sync::atomic::{AtomicU64, Ordering};

use bento::fs::Space;
use bento::prelude::*;

use crate::ExtentFs;
use crate::store::{Cached, Free, Run, Shared};

const SECTOR: u64 = 512;
/// Blocks at the start that no file gets.
const RESERVED: u64 = 16;
/// Runs in one transaction at most: the shim has to ask again.
const RUNS: usize = 3;

#[derive(MountOptions)]
pub struct Options {
    /// Bytes of a block.
    #[option(default = 4096)]
    block: u32,
    /// One in so many calls of `allocate_extents` and `convert_extents` panics; 0: none.
    #[option(default = 0)]
    panics: u64,
    /// `map_extents` tells a lie: 1 outside the device, 2 unaligned, 3 a gap, 4 flags, 5 nothing; of `allocate_extents`
    /// 6 a hole, 7 none; of `trim` 8 that it goes nowhere, 9 that more was trimmed than there is.
    #[option(default = 0)]
    lies: u32,
}

impl ExtentFs {
    fn stored(&self, ino: Ino) -> Result<Shared> {
        self.inodes.read().get(&ino.get()).cloned().ok_or(Errno::ESTALE)
    }

    /// Changes attributes with `tx`, and what is stored of them.
    fn stage(&self, tx: &Transaction<'_>, inode: &Inode<Self>, change: impl FnOnce(&mut Attr)) -> Result<()> {
        let attr = tx.update(inode, change)?;
        *inode.attr.lock() = Attr { size: attr.disk_size, ..attr };
        Ok(())
    }

    fn touch(&self, cx: &Context<Self>, tx: &Transaction<'_>, dir: &Inode<Self>, links: i32) -> Result<()> {
        let now = cx.now();
        self.stage(tx, dir, |attr| {
            (attr.mtime, attr.ctime) = (now, now);
            attr.nlink = attr.nlink.saturating_add_signed(links);
        })
    }

    fn link_count(&self, cx: &Context<Self>, tx: &Transaction<'_>, inode: &Inode<Self>, links: i32) -> Result<()> {
        let now = cx.now();
        self.stage(tx, inode, |attr| {
            attr.ctime = now;
            attr.nlink = attr.nlink.saturating_add_signed(links);
        })
    }

    fn store(&self, new: NewInode<Self>, target: &[u8], parent: Option<Ino>) -> Created {
        let ino = Ino::new(self.next_ino.fetch_add(1, Ordering::Relaxed)).unwrap_or(Ino::ROOT);
        let stored = Shared::new(Attr { size: target.len() as u64, ..new.attr() }, target);
        for (name, value) in new.xattrs() {
            stored.xattrs.write().insert(name.to_owned(), value.into());
        }
        stored.names.write().parent = parent;
        self.inodes.write().insert(ino.get(), stored.clone());
        new.assign(ino, Cached::new(stored))
    }

    fn make(
        &self,
        cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        if dir.names.read().find(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let file_type = new.file_type();
        let tx = cx.begin(0)?;
        self.touch(cx, &tx, dir, i32::from(file_type == FileType::Directory))?;
        tx.commit()?;
        let created = self.store(new, target, Some(dir.ino()));
        dir.names.write().insert(name, created.ino(), file_type)?;
        Ok(created)
    }

    fn maybe_panic(&self) {
        let every = self.panics.load(Ordering::Relaxed);
        if every != 0 && self.calls.fetch_add(1, Ordering::Relaxed) % every == every - 1 {
            panic!("asked for");
        }
    }

    /// Blocks for the holes in `from..to`, at most `limit` runs; how many blocks.
    fn fill(&self, tx: &Transaction<'_>, inode: &Inode<Self>, from: u64, to: u64, limit: usize) -> Result<u64> {
        let mut taken: Vec<(u64, Run)> = Vec::new();
        let mut at = from;
        let mut result = Ok(());
        while at < to && taken.len() < limit {
            // Bound first: the lock is not kept.
            let here = inode.runs.read().at(at);
            match here {
                Ok(run) => at += run.len,
                Err(hole) => {
                    let want = hole.min(to - at);
                    let got = self.free.lock().take(want);
                    let Some((addr, len)) = got else {
                        result = Err(Errno::ENOSPC);
                        break;
                    };
                    taken.push((at, Run { len, addr, written: false }));
                    at += len;
                }
            }
        }
        let blocks = taken.iter().map(|(_, run)| run.len).sum();
        let result = result.and_then(|()| tx.claim(blocks));
        if let Err(error) = result {
            for (_, run) in taken {
                self.free.lock().give(run.addr, run.len);
            }
            return Err(error);
        }
        let mut runs = inode.runs.write();
        for (at, run) in taken {
            runs.insert(at, run);
        }
        Ok(blocks)
    }

    /// Frees what lies in blocks `from..to`; how many there were.
    fn drop_range(&self, tx: &Transaction<'_>, runs: Vec<Run>) -> u64 {
        let mut free = self.free.lock();
        let mut blocks = 0;
        for run in runs {
            free.give(run.addr, run.len);
            blocks += run.len;
        }
        tx.release(blocks);
        blocks
    }

    fn sectors(&self, blocks: u64) -> u64 {
        blocks * self.block / SECTOR
    }

    fn extent(&self, at: u64, len: u64, run: Option<Run>, new: bool) -> Extent {
        let (offset, len) = (at * self.block, len * self.block);
        match run {
            None => Extent::Hole { offset, len },
            Some(run) if run.written => Extent::Mapped { offset, len, addr: run.addr * self.block, new },
            Some(run) => Extent::Unwritten { offset, len, addr: run.addr * self.block, new },
        }
    }

    fn lie(&self, offset: u64, extents: &mut Extents) -> Result<()> {
        let (block, end) = (self.block, self.block * self.blocks);
        match self.lies {
            1 => extents.push(Extent::Mapped { offset, len: block * 2, addr: end - block, new: false }),
            2 => extents.push(Extent::Mapped { offset, len: block, addr: block + 1, new: false }),
            3 => extents.push(Extent::Mapped { offset, len: block / 2, addr: block, new: false }),
            4 => extents.push(Extent::Mapped { offset, len: u64::MAX - offset, addr: block, new: false }),
            _ => Ok(()),
        }
    }
}

#[bento_fs]
impl FileSystem for ExtentFs {
    type Inode = Cached;

    fn mount(cx: &MountContext) -> Result<Self> {
        let options: Options = cx.options()?;
        cx.set_block_size(options.block)?;
        let block = u64::from(options.block);
        let blocks = cx.device().size() / block;
        if blocks <= RESERVED {
            return Err(cx.refuse(format_args!("a device of {blocks} blocks is too small")));
        }
        cx.set_space(&Space { free: blocks - RESERVED, root_only: 0, margin: 0, owner: (0, 0) });
        let root = Shared::new(Attr::directory(0o755), b"");
        root.names.write().parent = Some(Ino::ROOT);
        Ok(ExtentFs {
            inodes: RwLock::new(BTreeMap::from([(Ino::ROOT.get(), root)])),
            next_ino: AtomicU64::new(Ino::ROOT.get() + 1),
            free: Mutex::new(Free::new(RESERVED, blocks)),
            block,
            blocks,
            panics: AtomicU64::new(options.panics),
            calls: AtomicU64::new(0),
            lies: options.lies,
        })
    }

    fn statfs(&self, _cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        statfs.blocks = self.blocks;
        statfs.files = self.inodes.read().len() as u64;
        Ok(())
    }

    fn reconfigure(&self, _cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        let options: Options = change.options()?;
        self.panics.store(options.panics, Ordering::Relaxed);
        Ok(())
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, Cached)> {
        let stored = self.stored(ino)?;
        let attr = stored.attr.lock().clone();
        Ok((attr, Cached::new(stored)))
    }

    fn write_inode(&self, _cx: &Context<Self>, inode: &Inode<Self>, _wait: bool) -> Result<()> {
        let attr = inode.attr();
        *inode.attr.lock() = Attr { size: attr.disk_size, ..attr };
        Ok(())
    }

    fn evict_inode(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()> {
        let tx = cx.begin(0)?;
        let runs = inode.runs.write().remove(0, u64::MAX);
        self.drop_range(&tx, runs);
        tx.commit()?;
        self.inodes.write().remove(&inode.ino().get());
        Ok(())
    }

    fn lookup(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        dir.names.read().find(name).ok_or(Errno::ENOENT)
    }

    fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(cx, dir, name, b"", new)
    }

    fn mkdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(cx, dir, name, b"", new)
    }

    fn mknod(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(cx, dir, name, b"", new)
    }

    fn symlink(
        &self,
        cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.make(cx, dir, name, target, new)
    }

    fn link(&self, cx: &Context<Self>, inode: &Inode<Self>, dir: &Inode<Self>, name: &Name) -> Result<()> {
        let file_type = inode.attr().file_type().unwrap_or(FileType::Regular);
        let tx = cx.begin(0)?;
        dir.names.write().insert(name, inode.ino(), file_type)?;
        self.touch(cx, &tx, dir, 0)?;
        self.link_count(cx, &tx, inode, 1)?;
        tx.commit()
    }

    fn unlink(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        let tx = cx.begin(0)?;
        dir.names.write().remove(name)?;
        self.touch(cx, &tx, dir, 0)?;
        self.link_count(cx, &tx, inode, -1)?;
        tx.commit()
    }

    fn rmdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        if !inode.names.read().is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        let tx = cx.begin(0)?;
        dir.names.write().remove(name)?;
        self.touch(cx, &tx, dir, -1)?;
        self.link_count(cx, &tx, inode, -2)?;
        tx.commit()
    }

    fn rename(&self, cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        let is_dir = |inode: &Inode<Self>| inode.attr().file_type() == Some(FileType::Directory);
        let moved = rename.old_dir.names.read().get(rename.old_name)?;
        let (old_dir, new_dir) = (rename.old_dir, rename.new_dir);
        let across = old_dir.ino() != new_dir.ino();
        let (mut old_links, mut new_links) = (0, 0);
        if across && is_dir(rename.inode) {
            (old_links, new_links) = (-1, 1);
        }
        let tx = cx.begin(0)?;
        if let Some(target) = rename.target {
            if rename.exchange {
                let other = new_dir.names.read().get(rename.new_name)?;
                old_dir.names.write().replace(rename.old_name, other.0, other.1)?;
                target.names.write().parent = Some(old_dir.ino());
                if across && is_dir(target) {
                    (old_links, new_links) = (old_links + 1, new_links - 1);
                }
                self.link_count(cx, &tx, target, 0)?;
            } else {
                if !target.names.read().is_empty() {
                    return Err(Errno::ENOTEMPTY);
                }
                if is_dir(target) {
                    new_links -= 1;
                }
                self.link_count(cx, &tx, target, if is_dir(target) { -2 } else { -1 })?;
            }
        }
        new_dir.names.write().replace(rename.new_name, moved.0, moved.1)?;
        rename.inode.names.write().parent = Some(new_dir.ino());
        if across {
            self.touch(cx, &tx, old_dir, old_links)?;
            self.touch(cx, &tx, new_dir, new_links)?;
        } else {
            self.touch(cx, &tx, new_dir, old_links + new_links)?;
        }
        self.link_count(cx, &tx, rename.inode, 0)?;
        tx.commit()?;
        if let Some(whiteout) = rename.whiteout {
            let created = self.store(whiteout, b"", None);
            old_dir.names.write().replace(rename.old_name, created.ino(), FileType::CharDevice)?;
        } else if !rename.exchange {
            old_dir.names.write().remove(rename.old_name)?;
        }
        Ok(())
    }

    fn tmpfile(&self, _cx: &Context<Self>, _dir: &Inode<Self>, new: NewInode<Self>) -> Result<Created> {
        Ok(self.store(new, b"", None))
    }

    fn iterate(&self, _cx: &Context<Self>, dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        for (next, name, ino, file_type) in dir.names.read().after(pos) {
            if !entries.emit(name, ino, file_type, next) {
                break;
            }
        }
        Ok(())
    }

    fn get_parent(&self, _cx: &Context<Self>, dir: &Inode<Self>) -> Result<Ino> {
        dir.names.read().parent.ok_or(Errno::ESTALE)
    }

    fn get_link(&self, _cx: &Context<Self>, inode: &Inode<Self>, target: &mut LinkTarget) -> Result<()> {
        target.put(&inode.target);
        Ok(())
    }

    fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        let tx = cx.begin(0)?;
        let mut freed = 0;
        if let Some(size) = change.size()
            && inode.attr().file_type() == Some(FileType::Regular)
        {
            let runs = inode.runs.write().remove(size.div_ceil(self.block), u64::MAX);
            freed = self.drop_range(&tx, runs);
        }
        self.stage(&tx, inode, |attr| {
            attr.mode = change.mode().unwrap_or(attr.mode);
            attr.uid = change.uid().unwrap_or(attr.uid);
            attr.gid = change.gid().unwrap_or(attr.gid);
            attr.size = change.size().unwrap_or(attr.size);
            attr.atime = change.atime().unwrap_or(attr.atime);
            attr.mtime = change.mtime().unwrap_or(attr.mtime);
            attr.ctime = change.ctime().unwrap_or(attr.ctime);
            attr.blocks -= self.sectors(freed);
        })?;
        tx.commit()
    }

    fn getxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()> {
        value.put(inode.xattrs.read().get(name).ok_or(Errno::ENODATA)?);
        Ok(())
    }

    fn listxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, names: &mut XattrList) -> Result<()> {
        inode.xattrs.read().keys().for_each(|name| names.add(name));
        Ok(())
    }

    fn setxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], flags: u32) -> Result<()> {
        let tx = cx.begin(0)?;
        let mut xattrs = inode.xattrs.write();
        match (flags, xattrs.contains_key(name)) {
            (1, true) => return Err(Errno::EEXIST),
            (2, false) => return Err(Errno::ENODATA),
            _ => {}
        }
        xattrs.insert(name.to_owned(), value.into());
        self.link_count(cx, &tx, inode, 0)?;
        tx.commit()
    }

    fn removexattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name) -> Result<()> {
        let tx = cx.begin(0)?;
        inode.xattrs.write().remove(name).ok_or(Errno::ENODATA)?;
        self.link_count(cx, &tx, inode, 0)?;
        tx.commit()
    }

    fn fileattr_get(&self, _cx: &Context<Self>, inode: &Inode<Self>, attr: &mut FileAttr) -> Result<()> {
        attr.flags = inode.attr().flags;
        Ok(())
    }

    fn fileattr_set(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &FileAttr) -> Result<()> {
        let (now, flags) = (cx.now(), attr.flags);
        let tx = cx.begin(0)?;
        self.stage(&tx, inode, |attr| (attr.flags, attr.ctime) = (flags, now))?;
        tx.commit()
    }

    fn map_extents(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        extents: &mut Extents,
    ) -> Result<()> {
        if (1..=5).contains(&self.lies) {
            return self.lie(offset, extents);
        }
        let (mut at, end) = (offset / self.block, (offset + len) / self.block);
        let runs = inode.runs.read();
        while at < end && extents.has_room() {
            let (run, blocks) = match runs.at(at) {
                Ok(run) => (Some(run), run.len),
                Err(hole) => (None, hole),
            };
            let blocks = blocks.min(end - at);
            extents.push(self.extent(at, blocks, run, false))?;
            at += blocks;
        }
        Ok(())
    }

    /// There is nothing to be told: what is free is known in memory alone.
    fn trim(&self, _cx: &Context<Self>, trim: &mut Trim) -> Result<()> {
        match self.lies {
            8 => trim.advance(trim.start(), 0),
            9 => trim.advance(trim.start() + 1, 2),
            _ => trim.advance(trim.end(), 0),
        }
        Ok(())
    }

    fn allocate_extents(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        _how: Allocate,
        extents: &mut Extents,
    ) -> Result<()> {
        if self.lies == 6 {
            return extents.push(Extent::Hole { offset, len });
        }
        if self.lies == 7 {
            return Ok(());
        }
        let (mut at, end) = (offset / self.block, (offset + len) / self.block);
        let tx = cx.begin(0)?;
        let blocks = self.fill(&tx, inode, at, end, RUNS)?;
        let sectors = self.sectors(blocks);
        self.stage(&tx, inode, |attr| attr.blocks += sectors)?;
        tx.commit()?;
        self.maybe_panic();
        let runs = inode.runs.read();
        while at < end && extents.has_room() {
            let Ok(run) = runs.at(at) else { break };
            let blocks = run.len.min(end - at);
            extents.push(self.extent(at, blocks, Some(run), !run.written))?;
            at += blocks;
        }
        Ok(())
    }

    fn convert_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, written: Written) -> Result<()> {
        self.maybe_panic();
        let (at, end) = (written.offset / self.block, (written.offset + written.len) / self.block);
        let tx = cx.begin(0)?;
        let mut runs = inode.runs.write();
        let mut next = written.addr / self.block;
        let mut place = at;
        while place < end {
            match runs.at(place) {
                Ok(run) if run.addr == next => {
                    let len = run.len.min(end - place);
                    (place, next) = (place + len, next + len);
                }
                _ => return Err(Errno::EUCLEAN),
            }
        }
        let _ = runs.remove(at, end);
        runs.insert(at, Run { len: end - at, addr: written.addr / self.block, written: true });
        self.stage(&tx, inode, |_| {})?;
        tx.commit()
    }

    fn fallocate(&self, cx: &Context<Self>, inode: &Inode<Self>, mode: u32, offset: u64, len: u64) -> Result<()> {
        const KEEP_SIZE: u32 = 1;
        const PUNCH_HOLE: u32 = 2;
        const COLLAPSE_RANGE: u32 = 8;
        const ZERO_RANGE: u32 = 16;
        const INSERT_RANGE: u32 = 32;
        let (now, end) = (cx.now(), offset + len);
        // What is touched at all, and whole blocks inside.
        let (low, high) = (offset / self.block, end.div_ceil(self.block));
        let (first, last) = (offset.div_ceil(self.block), end / self.block);
        let (mut freed, mut taken) = (0, 0);
        let mut size = inode.attr().size;
        let tx = cx.begin(0)?;
        match mode & !KEEP_SIZE {
            0 => taken = self.fill(&tx, inode, low, high, usize::MAX)?,
            PUNCH_HOLE | ZERO_RANGE => {
                if first < last {
                    let runs = inode.runs.write().remove(first, last);
                    freed = self.drop_range(&tx, runs);
                }
                if mode & ZERO_RANGE != 0 {
                    taken = self.fill(&tx, inode, low, high, usize::MAX)?;
                }
            }
            COLLAPSE_RANGE => {
                let mut runs = inode.runs.write();
                let gone = runs.remove(low, high);
                freed = self.drop_range(&tx, gone);
                runs.shift(high, low);
                size -= len;
            }
            INSERT_RANGE => {
                let mut runs = inode.runs.write();
                runs.cut(low);
                runs.shift(low, high);
                size += len;
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        if mode & (KEEP_SIZE | COLLAPSE_RANGE | INSERT_RANGE) == 0 {
            size = size.max(end);
        }
        let (freed, taken) = (self.sectors(freed), self.sectors(taken));
        self.stage(&tx, inode, |attr| {
            (attr.mtime, attr.ctime, attr.size) = (now, now, size);
            attr.blocks = attr.blocks + taken - freed;
        })?;
        tx.commit()
    }
}
