// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system that means harm, as far as safe Rust can: every handler answers with random and extreme values. The
//! shim has to live with it. `-o seed=N` repeats a run, `-o sane=PERCENT` is how often an answer makes sense, so that
//! callers get far enough to be hurt.
#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use bento::prelude::*;

#[derive(MountOptions)]
struct Options {
    #[option(default = 1)]
    seed: u64,
    #[option(default = 70)]
    sane: u32,
}

#[bento_fs(name = "hostilefs", version = 1)]
pub struct HostileFs {
    #[state(1)]
    random: AtomicU64,
    #[state(2)]
    sane: u32,
}

/// Numbers that break things.
const EXTREMES: [u64; 16] = [
    0,
    1,
    2,
    511,
    4095,
    4096,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64 - 4096,
    i64::MAX as u64 - 1,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX - 1,
    u64::MAX,
];

impl HostileFs {
    /// splitmix64
    fn next(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn sane(&self) -> bool {
        self.next() % 100 < self.sane.into()
    }

    /// Extreme, or random.
    fn number(&self) -> u64 {
        if self.next().is_multiple_of(2) { EXTREMES[self.below(EXTREMES.len())] } else { self.next() }
    }

    fn ino(&self) -> Ino {
        let number = if self.sane() { self.next() % 64 + 2 } else { self.number() };
        Ino::new(number).unwrap_or(Ino::ROOT)
    }

    fn errno(&self) -> Errno {
        Errno::new((self.next() % 4200) as i32)
    }

    /// Mostly `Ok`, else any error at all.
    fn maybe(&self) -> Result<()> {
        if self.sane() || self.next().is_multiple_of(2) { Ok(()) } else { Err(self.errno()) }
    }

    fn file_type(&self) -> FileType {
        use FileType::*;
        [Fifo, CharDevice, Directory, BlockDevice, Regular, Symlink, Socket][self.below(7)]
    }

    fn bytes(&self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn length(&self) -> usize {
        [0, 1, 7, 100, 255, 256, 4095, 4096, 4097, 65535, 65536, 70000, 1 << 20][self.below(13)]
    }

    fn time(&self) -> Timestamp {
        Timestamp { sec: self.number() as i64, nsec: self.number() as u32 }
    }

    fn attr(&self) -> Attr {
        if self.sane() {
            let file_type = [FileType::Directory, FileType::Regular, FileType::Symlink][self.below(3)];
            return Attr { size: self.next() % 100_000, ..Attr::new(file_type, 0o777) };
        }
        Attr {
            mode: if self.sane() { self.file_type().mode() | 0o777 } else { self.number() as u32 },
            nlink: self.number() as u32,
            uid: self.number() as u32,
            gid: self.number() as u32,
            size: self.number(),
            blocks: self.number(),
            atime: self.time(),
            mtime: self.time(),
            ctime: self.time(),
            btime: self.time(),
            rdev: (self.number() as u32, self.number() as u32),
            generation: self.number() as u32,
            flags: self.number() as u32,
            disk_size: self.number(),
            project: self.number() as u32,
        }
    }

    fn name(&self) -> Vec<u8> {
        match self.next() % 10 {
            0 => Vec::new(),
            1 => b".".to_vec(),
            2 => b"..".to_vec(),
            3 => b"a/b".to_vec(),
            4 => b"a\0b".to_vec(),
            5 => self.bytes(255),
            6 => self.bytes(256),
            7 => self.bytes(self.length()),
            _ => [b'a' + (self.next() % 26) as u8].to_vec(),
        }
    }

    fn assign(&self, new: NewInode<Self>) -> Result<Created> {
        self.maybe()?;
        let created = new.assign(self.ino(), ());
        self.maybe()?; // an error after the data were attached
        Ok(created)
    }
}

#[bento_fs]
impl FileSystem for HostileFs {
    fn mount(cx: &MountContext) -> Result<Self> {
        let options: Options = cx.options()?;
        let fs = HostileFs { random: AtomicU64::new(options.seed), sane: options.sane };
        if !fs.sane() {
            cx.set_max_file_size(fs.number());
            cx.set_magic(fs.number() as u32);
            cx.set_name_max(fs.number() as u32);
            cx.set_time_granularity(fs.number() as u32);
            cx.set_root(fs.ino());
        }
        Ok(fs)
    }

    fn statfs(&self, _cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        *statfs = Statfs {
            blocks: self.number(),
            blocks_free: self.number(),
            blocks_available: self.number(),
            files: self.number(),
            files_free: self.number(),
            block_size: self.number() as u32,
            name_max: self.number() as u32,
        };
        self.maybe()
    }

    fn sync_fs(&self, _cx: &Context<Self>, _wait: bool) -> Result<()> {
        self.maybe()
    }

    fn reconfigure(&self, _cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        change.set_limits(self.number(), self.number());
        self.maybe()
    }

    fn freeze(&self, _cx: &Context<Self>) -> Result<()> {
        self.maybe()
    }

    fn thaw(&self, _cx: &Context<Self>) -> Result<()> {
        self.maybe()
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, ())> {
        if ino == Ino::ROOT {
            return Ok((Attr::directory(0o777), ()));
        }
        self.maybe()?;
        Ok((self.attr(), ()))
    }

    fn write_inode(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _wait: bool) -> Result<()> {
        self.maybe()
    }

    fn evict_inode(&self, _cx: &Context<Self>, _inode: &Inode<Self>) -> Result<()> {
        self.maybe()
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name) -> Result<Ino> {
        match self.next() % 4 {
            0 => Err(Errno::ENOENT),
            1 if !self.sane() => Err(self.errno()),
            _ => Ok(self.ino()),
        }
    }

    fn create(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.assign(new)
    }

    fn mkdir(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.assign(new)
    }

    fn mknod(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.assign(new)
    }

    fn symlink(
        &self,
        _cx: &Context<Self>,
        _dir: &Inode<Self>,
        _name: &Name,
        _target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.assign(new)
    }

    fn link(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _dir: &Inode<Self>, _name: &Name) -> Result<()> {
        self.maybe()
    }

    fn unlink(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name, _inode: &Inode<Self>) -> Result<()> {
        self.maybe()
    }

    fn rmdir(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name, _inode: &Inode<Self>) -> Result<()> {
        self.maybe()
    }

    fn rename(&self, _cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        if let Some(whiteout) = rename.whiteout
            && self.sane()
        {
            let _ = self.assign(whiteout)?;
        }
        self.maybe()
    }

    fn tmpfile(&self, _cx: &Context<Self>, _dir: &Inode<Self>, new: NewInode<Self>) -> Result<Created> {
        self.assign(new)
    }

    fn iterate(&self, _cx: &Context<Self>, _dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        self.maybe()?;
        for step in 0..self.below(40) as u64 {
            let name = if self.sane() { b"entry".to_vec() } else { self.name() };
            let next = if self.sane() { pos + step + 1 } else { self.number() };
            if !entries.emit(Name::new(&name), self.ino(), self.file_type(), next) && self.sane() {
                break;
            }
            if pos > 200 && self.sane() {
                break;
            }
        }
        Ok(())
    }

    fn get_parent(&self, _cx: &Context<Self>, _dir: &Inode<Self>) -> Result<Ino> {
        self.maybe()?;
        Ok(self.ino())
    }

    fn get_link(&self, _cx: &Context<Self>, _inode: &Inode<Self>, target: &mut LinkTarget) -> Result<()> {
        self.maybe()?;
        if self.sane() {
            target.put(b"a/b");
        } else {
            target.put(&self.bytes(self.length()));
        }
        Ok(())
    }

    fn setattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _change: &SetAttr) -> Result<()> {
        self.maybe()
    }

    fn getattr(&self, cx: &Context<Self>, inode: &Inode<Self>, stat: &mut Stat) -> Result<()> {
        if !self.sane() {
            stat.attr = self.attr();
            stat.attributes = self.number();
            stat.blksize = self.number() as u32;
            // Tell the shim as well: it must not believe that either.
            let _ = cx.set_attr(inode, &self.attr());
            let _ = cx.set_size(inode, self.number(), self.number());
        }
        if !self.sane() {
            let _ = cx.inode(self.ino());
            cx.invalidate(inode, self.number(), self.number());
            cx.wake(inode);
        }
        self.maybe()
    }

    fn permission(&self, cx: &Context<Self>, inode: &Inode<Self>, mask: u32) -> Result<()> {
        if self.sane() { cx.generic_permission(inode, mask) } else { self.maybe() }
    }

    fn getxattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _name: &Name, value: &mut XattrValue) -> Result<()> {
        self.maybe()?;
        value.put(&self.bytes(self.length()));
        Ok(())
    }

    fn listxattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, names: &mut XattrList) -> Result<()> {
        self.maybe()?;
        for _ in 0..self.below(20) {
            names.add(Name::new(&self.name()));
        }
        Ok(())
    }

    fn setxattr(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        _name: &Name,
        _value: &[u8],
        _flags: u32,
    ) -> Result<()> {
        self.maybe()
    }

    fn removexattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _name: &Name) -> Result<()> {
        self.maybe()
    }

    fn fileattr_get(&self, _cx: &Context<Self>, _inode: &Inode<Self>, attr: &mut FileAttr) -> Result<()> {
        attr.flags = self.number() as u32;
        attr.project = self.number() as u32;
        self.maybe()
    }

    fn fileattr_set(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _attr: &FileAttr) -> Result<()> {
        self.maybe()
    }

    fn open(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _flags: u32) -> Result<()> {
        self.maybe()
    }

    fn flush(&self, _cx: &Context<Self>, _inode: &Inode<Self>) -> Result<()> {
        self.maybe()
    }

    fn fsync(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _datasync: bool) -> Result<()> {
        self.maybe()
    }

    fn read(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _offset: u64, sink: &mut ReadSink) -> Result<()> {
        self.maybe()?;
        while !self.sane() {
            let _ = sink.put(&self.bytes(self.length()));
            sink.skip(self.number());
        }
        Ok(())
    }

    fn write(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _offset: u64, source: &mut WriteSource) -> Result<()> {
        let mut taken = self.bytes(self.length());
        let _ = source.copy_to(&mut taken);
        self.maybe()
    }

    fn fallocate(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        self.maybe()
    }

    fn ioctl(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _cmd: u32, arg: &mut IoctlArg) -> Result<u32> {
        self.maybe()?;
        arg.put(&self.bytes(self.length()));
        Ok(self.number() as u32)
    }

    fn poll(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _events: u32) -> Result<u32> {
        self.maybe()?;
        Ok(self.number() as u32)
    }

    fn seek(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _from: SeekFrom) -> Result<u64> {
        self.maybe()?;
        Ok(self.number())
    }

    fn fadvise(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _offset: u64, _len: u64, _advice: u32) -> Result<()> {
        self.maybe()
    }
}
