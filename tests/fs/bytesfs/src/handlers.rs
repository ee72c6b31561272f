// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every handler, with a fault in its first line. Version 2 takes this file in as it is.

use core::sync::atomic::{AtomicU64, Ordering};

use bento::fs::Op;
use bento::prelude::*;

use crate::BytesFs;
use crate::faults::FaultOptions;
use crate::store::{Cached, PAGE, Shared};

impl BytesFs {
    fn stored(&self, ino: Ino) -> Result<Shared> {
        self.inodes.read().get(&ino.get()).cloned().ok_or(Errno::ESTALE)
    }

    fn store(&self, cx: &Context<Self>, new: NewInode<Self>, target: &[u8]) -> Created {
        let ino = Ino::new(self.next_ino.fetch_add(1, Ordering::Relaxed)).unwrap_or(Ino::ROOT);
        let attr = Attr {
            uid: new.uid(),
            gid: new.gid(),
            rdev: new.rdev(),
            size: target.len() as u64,
            ..Attr::new(new.file_type(), new.mode())
        };
        let stored = Shared::new(attr.at(cx.now()), target);
        for (name, value) in new.xattrs() {
            stored.xattrs.write().insert(name.to_owned(), value.into());
        }
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
        let created = self.store(cx, new, target);
        dir.names.write().insert(name, created.ino(), file_type)?;
        if file_type == FileType::Directory {
            self.stored(created.ino())?.names.write().parent = Some(dir.ino());
        }
        Ok(created)
    }
}

#[bento_fs]
impl FileSystem for BytesFs {
    type Inode = Cached;

    fn mount(cx: &MountContext) -> Result<Self> {
        let fs = BytesFs { next_ino: AtomicU64::new(Ino::ROOT.get() + 1), ..BytesFs::default() };
        let options: FaultOptions = cx.options()?;
        fs.faults.set(&options)?;
        let root = Shared::new(Attr::directory(0o755), b"");
        root.names.write().parent = Some(Ino::ROOT);
        fs.inodes.write().insert(Ino::ROOT.get(), root);
        fs.faults.at(Op::mount)?;
        Ok(fs)
    }

    fn unmount(&self, _cx: &Context<Self>) {
        let _ = self.faults.at(Op::unmount);
    }

    fn statfs(&self, cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        self.faults.at(Op::statfs)?;
        self.faults.slow(|| cx.now());
        statfs.files = self.inodes.read().len() as u64;
        Ok(())
    }

    fn sync_fs(&self, _cx: &Context<Self>, _wait: bool) -> Result<()> {
        self.faults.at(Op::sync_fs)
    }

    fn reconfigure(&self, _cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        self.faults.at(Op::reconfigure)?;
        let options: FaultOptions = change.options()?;
        self.faults.set(&options)
    }

    fn freeze(&self, _cx: &Context<Self>) -> Result<()> {
        self.faults.at(Op::freeze)
    }

    fn thaw(&self, _cx: &Context<Self>) -> Result<()> {
        self.faults.at(Op::thaw)
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, Cached)> {
        self.faults.at(Op::load_inode)?;
        let stored = self.stored(ino)?;
        let attr = stored.attr.lock().clone();
        Ok((attr, Cached::new(stored)))
    }

    fn write_inode(&self, _cx: &Context<Self>, inode: &Inode<Self>, _wait: bool) -> Result<()> {
        self.faults.at(Op::write_inode)?;
        *inode.attr.lock() = inode.attr();
        Ok(())
    }

    fn evict_inode(&self, _cx: &Context<Self>, inode: &Inode<Self>) -> Result<()> {
        self.inodes.write().remove(&inode.ino().get());
        self.faults.at(Op::evict_inode)
    }

    fn forget_inode(&self, _cx: &Context<Self>, _inode: &Inode<Self>) {
        let _ = self.faults.at(Op::forget_inode);
    }

    fn lookup(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        self.faults.at(Op::lookup)?;
        dir.names.read().find(name).ok_or(Errno::ENOENT)
    }

    fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.faults.at(Op::create)?;
        self.make(cx, dir, name, b"", new)
    }

    fn mkdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.faults.at(Op::mkdir)?;
        self.make(cx, dir, name, b"", new)
    }

    fn mknod(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.faults.at(Op::mknod)?;
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
        self.faults.at(Op::symlink)?;
        self.make(cx, dir, name, target, new)
    }

    fn link(&self, _cx: &Context<Self>, inode: &Inode<Self>, dir: &Inode<Self>, name: &Name) -> Result<()> {
        self.faults.at(Op::link)?;
        let file_type = inode.attr().file_type().unwrap_or(FileType::Regular);
        dir.names.write().insert(name, inode.ino(), file_type)
    }

    fn unlink(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, _inode: &Inode<Self>) -> Result<()> {
        self.faults.at(Op::unlink)?;
        dir.names.write().remove(name).map(drop)
    }

    fn rmdir(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        self.faults.at(Op::rmdir)?;
        if !inode.names.read().is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        dir.names.write().remove(name).map(drop)
    }

    fn rename(&self, cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        self.faults.at(Op::rename)?;
        let moved = rename.old_dir.names.read().get(rename.old_name)?;
        if let Some(target) = rename.target {
            if !rename.exchange && !target.names.read().is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            if rename.exchange {
                let other = rename.new_dir.names.read().get(rename.new_name)?;
                rename.old_dir.names.write().replace(rename.old_name, other.0, other.1)?;
                target.names.write().parent = Some(rename.old_dir.ino());
            }
        }
        rename.new_dir.names.write().replace(rename.new_name, moved.0, moved.1)?;
        rename.inode.names.write().parent = Some(rename.new_dir.ino());
        if let Some(whiteout) = rename.whiteout {
            let created = self.store(cx, whiteout, b"");
            rename.old_dir.names.write().replace(rename.old_name, created.ino(), FileType::CharDevice)?;
        } else if !rename.exchange {
            rename.old_dir.names.write().remove(rename.old_name)?;
        }
        Ok(())
    }

    fn tmpfile(&self, cx: &Context<Self>, _dir: &Inode<Self>, new: NewInode<Self>) -> Result<Created> {
        self.faults.at(Op::tmpfile)?;
        Ok(self.store(cx, new, b""))
    }

    fn iterate(&self, _cx: &Context<Self>, dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        self.faults.at(Op::iterate)?;
        for (next, name, ino, file_type) in dir.names.read().after(pos) {
            if !entries.emit(name, ino, file_type, next) {
                break;
            }
        }
        Ok(())
    }

    fn get_parent(&self, _cx: &Context<Self>, dir: &Inode<Self>) -> Result<Ino> {
        self.faults.at(Op::get_parent)?;
        dir.names.read().parent.ok_or(Errno::ESTALE)
    }

    fn get_link(&self, _cx: &Context<Self>, inode: &Inode<Self>, target: &mut LinkTarget) -> Result<()> {
        self.faults.at(Op::get_link)?;
        target.put(&inode.target);
        Ok(())
    }

    fn setattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        self.faults.at(Op::setattr)?;
        if let Some(size) = change.size() {
            inode.erase(size, u64::MAX / 2);
        }
        Ok(())
    }

    fn getattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, stat: &mut Stat) -> Result<()> {
        self.faults.at(Op::getattr)?;
        if inode.attr().file_type() == Some(FileType::Regular) {
            self.faults.poison(&inode.victim);
        }
        stat.attr.blocks = inode.pages.read().len() as u64 * (PAGE / 512);
        Ok(())
    }

    fn permission(&self, cx: &Context<Self>, inode: &Inode<Self>, mask: u32) -> Result<()> {
        self.faults.at(Op::permission)?;
        cx.generic_permission(inode, mask)
    }

    fn getxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()> {
        self.faults.at(Op::getxattr)?;
        value.put(inode.xattrs.read().get(name).ok_or(Errno::ENODATA)?);
        Ok(())
    }

    fn listxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, names: &mut XattrList) -> Result<()> {
        self.faults.at(Op::listxattr)?;
        inode.xattrs.read().keys().for_each(|name| names.add(name));
        Ok(())
    }

    fn setxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], flags: u32) -> Result<()> {
        self.faults.at(Op::setxattr)?;
        let mut xattrs = inode.xattrs.write();
        match (flags, xattrs.contains_key(name)) {
            (1, true) => return Err(Errno::EEXIST),
            (2, false) => return Err(Errno::ENODATA),
            _ => {}
        }
        xattrs.insert(name.to_owned(), value.into());
        Ok(())
    }

    fn removexattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name) -> Result<()> {
        self.faults.at(Op::removexattr)?;
        inode.xattrs.write().remove(name).map(drop).ok_or(Errno::ENODATA)
    }

    fn fileattr_get(&self, _cx: &Context<Self>, inode: &Inode<Self>, attr: &mut FileAttr) -> Result<()> {
        self.faults.at(Op::fileattr_get)?;
        attr.flags = inode.attr().flags;
        Ok(())
    }

    fn fileattr_set(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _attr: &FileAttr) -> Result<()> {
        self.faults.at(Op::fileattr_set)
    }

    fn open(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _flags: u32) -> Result<()> {
        self.faults.at(Op::open)
    }

    fn release(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _flags: u32) {
        let _ = self.faults.at(Op::release);
    }

    fn flush(&self, _cx: &Context<Self>, _inode: &Inode<Self>) -> Result<()> {
        self.faults.at(Op::flush)
    }

    fn fsync(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _datasync: bool) -> Result<()> {
        self.faults.at(Op::fsync)
    }

    fn read(&self, _cx: &Context<Self>, inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()> {
        self.faults.at(Op::read)?;
        let pages = inode.pages.read();
        let mut at = offset;
        while sink.remaining() > 0 {
            let rest = PAGE - at % PAGE;
            match pages.get(&(at / PAGE)) {
                Some(page) => sink.put(&page[(at % PAGE) as usize..])?,
                None => sink.skip(rest),
            }
            at += rest;
        }
        Ok(())
    }

    fn write(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, source: &mut WriteSource) -> Result<()> {
        self.faults.at(Op::write)?;
        let mut pages = inode.pages.write();
        let mut at = offset;
        while source.remaining() > 0 {
            let page = pages.entry(at / PAGE).or_insert_with(|| [0; PAGE as usize].into());
            at += source.copy_to(&mut page[(at % PAGE) as usize..])? as u64;
        }
        cx.wake(inode);
        Ok(())
    }

    fn fallocate(&self, _cx: &Context<Self>, inode: &Inode<Self>, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.faults.at(Op::fallocate)?;
        const KEEP_SIZE: u32 = 1;
        const PUNCH_HOLE: u32 = 2;
        const ZERO_RANGE: u32 = 16;
        match mode & !KEEP_SIZE {
            0 => Ok(()),
            PUNCH_HOLE | ZERO_RANGE => {
                inode.erase(offset, offset.saturating_add(len));
                Ok(())
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn ioctl(&self, _cx: &Context<Self>, _inode: &Inode<Self>, cmd: u32, arg: &mut IoctlArg) -> Result<u32> {
        self.faults.at(Op::ioctl)?;
        /// `_IOWR('b', 1, char[16])`: the bytes in reverse.
        const REVERSE: u32 = 0xc010_6201;
        /// `_IO('b', 2)`: the plain word, plus one.
        const PLUS_ONE: u32 = 0x0000_6202;
        match cmd {
            REVERSE => {
                let reversed: Vec<u8> = arg.input.iter().rev().copied().collect();
                arg.put(&reversed);
                Ok(0)
            }
            PLUS_ONE => u32::try_from(arg.word + 1).map_err(|_| Errno::EOVERFLOW),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn poll(&self, _cx: &Context<Self>, inode: &Inode<Self>, events: u32) -> Result<u32> {
        self.faults.at(Op::poll)?;
        const IN: u32 = 1;
        const OUT: u32 = 4;
        let readable = if inode.attr().size > 0 { IN } else { 0 };
        Ok(events & (readable | OUT))
    }

    fn seek(&self, _cx: &Context<Self>, inode: &Inode<Self>, from: SeekFrom) -> Result<u64> {
        self.faults.at(Op::seek)?;
        let size = inode.attr().size;
        let pages = inode.pages.read();
        let (start, want_data) = match from {
            SeekFrom::Data(at) => (at, true),
            SeekFrom::Hole(at) => (at, false),
        };
        if start >= size {
            return Err(Errno::ENXIO);
        }
        let mut index = start / PAGE;
        while index * PAGE < size && pages.contains_key(&index) != want_data {
            // Holes can be huge: jump to the next page there is.
            index = match want_data {
                true => pages.range(index..).next().map_or(u64::MAX / PAGE, |(next, _)| *next),
                false => index + 1,
            };
        }
        match (index * PAGE < size, want_data) {
            (true, _) => Ok(start.max(index * PAGE)),
            (false, true) => Err(Errno::ENXIO),
            (false, false) => Ok(size),
        }
    }

    fn fadvise(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _offset: u64, _len: u64, _advice: u32) -> Result<()> {
        self.faults.at(Op::fadvise)?;
        self.hints.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
