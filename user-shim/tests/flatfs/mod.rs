// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system whose data lie on the device below it, scattered on purpose, and whose metadata are in this program: they
//! outlive the mount as a disk would. The mount option is the number of its [`Store`].

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use bento::fs::*;
use bento::prelude::*;
use bento::state::*;

pub struct Node {
    pub attr: Attr,
    pub names: BTreeMap<Vec<u8>, u64>,
    pub target: Vec<u8>,
    /// Block of the file: block of the device, and does it hold data?
    pub blocks: BTreeMap<u64, (u64, bool)>,
}

/// What is on the device besides data.
pub struct Store {
    pub block: u64,
    used: Vec<bool>,
    /// Where the search for a free block begins.
    hand: usize,
    pub nodes: BTreeMap<u64, Node>,
    next: u64,
    /// How often handlers were called.
    pub calls: BTreeMap<&'static str, u64>,
    /// Answer unwritten extents whatever is asked for.
    pub never_written: bool,
    pub restarts: u32,
}

fn stores() -> &'static Mutex<Vec<Store>> {
    static STORES: OnceLock<Mutex<Vec<Store>>> = OnceLock::new();
    STORES.get_or_init(Mutex::default)
}

/// A new one; its number is the mount option.
pub fn store(block: u64, blocks: u64) -> usize {
    let mut all = stores().lock().unwrap_or_else(PoisonError::into_inner);
    let root = Node::new(Attr::directory(0o755));
    all.push(Store {
        block,
        // The first one is nobody's, as a superblock would be.
        used: (0..blocks).map(|block| block == 0).collect(),
        hand: 1,
        nodes: BTreeMap::from([(1, root)]),
        next: 2,
        calls: BTreeMap::new(),
        never_written: false,
        restarts: 0,
    });
    all.len() - 1
}

pub fn with_store<T>(number: usize, then: impl FnOnce(&mut Store) -> T) -> T {
    then(&mut stores().lock().unwrap_or_else(PoisonError::into_inner)[number])
}

impl Node {
    fn new(attr: Attr) -> Node {
        Node { attr, names: BTreeMap::new(), target: Vec::new(), blocks: BTreeMap::new() }
    }
}

impl Store {
    pub fn free(&self) -> u64 {
        self.used.iter().filter(|used| !**used).count() as u64
    }

    /// Every block is one file's, or free.
    pub fn check(&self) {
        let mut seen = vec![false; self.used.len()];
        seen[0] = true;
        for (ino, node) in &self.nodes {
            for (block, (addr, _)) in &node.blocks {
                assert!(!std::mem::replace(&mut seen[*addr as usize], true), "block {block} of inode {ino}");
            }
        }
        assert!(seen == self.used, "blocks are used that nobody has, or the other way round");
    }

    /// Now and then a jump.
    fn take(&mut self) -> Option<u64> {
        let len = self.used.len();
        if self.hand.is_multiple_of(5) {
            self.hand = (self.hand * 7 + 3) % len;
        }
        let found = (0..len).map(|by| (self.hand + by) % len).find(|at| !self.used[*at])?;
        self.used[found] = true;
        self.hand = (found + 1) % len;
        Some(found as u64)
    }

    fn node(&mut self, ino: Ino) -> Result<&mut Node> {
        self.nodes.get_mut(&ino.get()).ok_or(Errno::ESTALE)
    }

    /// Blocks of a file go; how many.
    fn cut(&mut self, ino: Ino, blocks: std::ops::Range<u64>) -> Result<u64> {
        let node = self.node(ino)?;
        let gone: Vec<(u64, u64)> = node.blocks.range(blocks).map(|(block, (addr, _))| (*block, *addr)).collect();
        for (block, _) in &gone {
            node.blocks.remove(block);
        }
        for (_, addr) in &gone {
            self.used[*addr as usize] = false;
        }
        Ok(gone.len() as u64)
    }

    /// Unwritten blocks where there are none.
    fn fill(&mut self, tx: &Transaction, ino: Ino, blocks: std::ops::Range<u64>, written: bool) -> Result<u64> {
        let known = &self.node(ino)?.blocks;
        let missing: Vec<u64> = blocks.filter(|block| !known.contains_key(block)).collect();
        tx.claim(missing.len() as u64)?;
        for block in &missing {
            let addr = self.take().ok_or(Errno::ENOSPC)?;
            self.node(ino)?.blocks.insert(*block, (addr, written));
        }
        Ok(missing.len() as u64)
    }

    fn emit(&mut self, ino: Ino, range: std::ops::Range<u64>, fresh: &[u64], out: &mut Extents) -> Result<()> {
        let size = self.block;
        let blocks = &self.node(ino)?.blocks;
        let mut at = range.start;
        while at < range.end && out.has_room() {
            let Some((addr, written)) = blocks.get(&at).copied() else {
                let end = blocks.range(at..range.end).next().map_or(range.end, |(block, _)| *block);
                out.push(Extent::Hole { offset: at * size, len: (end - at) * size })?;
                at = end;
                continue;
            };
            let new = fresh.contains(&at);
            let run = (0..range.end - at)
                .take_while(|by| {
                    blocks.get(&(at + by)) == Some(&(addr + by, written)) && fresh.contains(&(at + by)) == new
                })
                .count() as u64;
            let (offset, len, addr) = (at * size, run * size, addr * size);
            out.push(match written {
                true => Extent::Mapped { offset, len, addr, new },
                false => Extent::Unwritten { offset, len, addr, new },
            })?;
            at += run;
        }
        Ok(())
    }
}

/// Version `V`; they all do the same.
pub struct Flat<const V: u32> {
    number: u32,
}

impl<const V: u32> Declared for Flat<V> {
    const NAME: &'static str = "flatfs";
    const VERSION: u32 = V;
    const DATA: DataMode = DataMode::Extents;
    const ON_PANIC: OnPanic = OnPanic::Restart;
}

impl<const V: u32> Handlers for Flat<V> {
    const HANDLERS: HandlerSet = HandlerSet::EMPTY
        .with(Op::mount)
        .with(Op::load_inode)
        .with(Op::write_inode)
        .with(Op::evict_inode)
        .with(Op::lookup)
        .with(Op::create)
        .with(Op::mkdir)
        .with(Op::symlink)
        .with(Op::get_link)
        .with(Op::link)
        .with(Op::unlink)
        .with(Op::rmdir)
        .with(Op::rename)
        .with(Op::iterate)
        .with(Op::setattr)
        .with(Op::fallocate)
        .with(Op::map_extents)
        .with(Op::allocate_extents)
        .with(Op::convert_extents);
}

impl<const V: u32> State for Flat<V> {
    const SHAPE: &'static Shape = u32::SHAPE;

    fn save(&self, out: &mut Saver) -> Result<()> {
        self.number.save(out)
    }

    fn load(from: &mut Loader) -> Result<Self> {
        u32::load(from).map(|number| Flat { number })
    }
}

#[derive(State)]
#[state(reload)]
pub struct Loaded;

#[derive(MountOptions)]
struct Options {
    #[option(default = 0)]
    store: u32,
}

impl<const V: u32> Flat<V> {
    fn with<T>(&self, what: &'static str, then: impl FnOnce(&mut Store) -> Result<T>) -> Result<T> {
        with_store(self.number as usize, |store| {
            *store.calls.entry(what).or_default() += 1;
            then(store)
        })
    }

    fn make(
        &self,
        cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        new: NewInode<Self>,
        target: &[u8],
    ) -> Result<Created> {
        let tx = cx.begin(0)?;
        let now = cx.now();
        let is_dir = new.file_type() == FileType::Directory;
        let attr = tx.update_new(&new, |attr| attr.size = target.len() as u64)?;
        let above = tx.update(dir, |attr| {
            (attr.mtime, attr.ctime) = (now, now);
            attr.nlink += u32::from(is_dir);
        })?;
        let ino = self.with("make", |store| {
            let ino = store.next;
            store.next += 1;
            store.nodes.insert(ino, Node { target: target.to_vec(), ..Node::new(attr) });
            let dir = store.node(dir.ino())?;
            dir.attr = above;
            dir.names.insert(name.as_bytes().to_vec(), ino);
            Ok(ino)
        })?;
        let created = new.assign(Ino::new(ino).ok_or(Errno::EIO)?, Loaded);
        tx.commit()?;
        Ok(created)
    }

    fn remove(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        let tx = cx.begin(0)?;
        let now = cx.now();
        let is_dir = inode.attr().file_type() == Some(FileType::Directory);
        let above = tx.update(dir, |attr| {
            (attr.mtime, attr.ctime) = (now, now);
            attr.nlink -= u32::from(is_dir);
        })?;
        let attr = tx.update(inode, |attr| {
            attr.ctime = now;
            attr.nlink = if is_dir { 0 } else { attr.nlink - 1 };
        })?;
        self.with("remove", |store| {
            if is_dir && !store.node(inode.ino())?.names.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            store.node(inode.ino())?.attr = attr;
            let dir = store.node(dir.ino())?;
            dir.attr = above;
            dir.names.remove(name.as_bytes()).map(drop).ok_or(Errno::ENOENT)
        })?;
        tx.commit()
    }
}

impl<const V: u32> FileSystem for Flat<V> {
    type Inode = Loaded;

    fn mount(cx: &MountContext) -> Result<Self> {
        let Options { store: number } = cx.options()?;
        let (block, free) = with_store(number as usize, |store| (store.block, store.free()));
        cx.set_block_size(block as u32)?;
        cx.set_space(&Space { free, ..Space::default() });
        cx.set_max_file_size(1 << 44);
        if cx.why() == Why::Restart {
            with_store(number as usize, |store| store.restarts += 1);
        }
        Ok(Flat { number })
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, Loaded)> {
        self.with("load_inode", |store| Ok((store.node(ino)?.attr.clone(), Loaded)))
    }

    fn write_inode(&self, cx: &Context<Self>, inode: &Inode<Self>, _wait: bool) -> Result<()> {
        let tx = cx.begin(0)?;
        let mut attr = inode.attr();
        attr.size = attr.disk_size;
        self.with("write_inode", |store| store.node(inode.ino()).map(|node| node.attr = attr))?;
        tx.commit()
    }

    fn evict_inode(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()> {
        let tx = cx.begin(0)?;
        let freed = self.with("evict_inode", |store| {
            let freed = store.cut(inode.ino(), 0..u64::MAX);
            store.nodes.remove(&inode.ino().get());
            freed
        })?;
        tx.release(freed);
        tx.commit()
    }

    fn lookup(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        self.with("lookup", |store| store.node(dir.ino()).map(|node| node.names.get(name.as_bytes()).copied()))?
            .and_then(Ino::new)
            .ok_or(Errno::ENOENT)
    }

    fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(cx, dir, name, new, b"")
    }

    fn mkdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(cx, dir, name, new, b"")
    }

    fn symlink(
        &self,
        cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.make(cx, dir, name, new, target)
    }

    fn get_link(&self, _cx: &Context<Self>, inode: &Inode<Self>, target: &mut LinkTarget) -> Result<()> {
        let bytes = self.with("get_link", |store| store.node(inode.ino()).map(|node| node.target.clone()))?;
        target.put(&bytes);
        Ok(())
    }

    fn link(&self, cx: &Context<Self>, inode: &Inode<Self>, dir: &Inode<Self>, name: &Name) -> Result<()> {
        let tx = cx.begin(0)?;
        let now = cx.now();
        let attr = tx.update(inode, |attr| (attr.nlink, attr.ctime) = (attr.nlink + 1, now))?;
        let above = tx.update(dir, |attr| (attr.mtime, attr.ctime) = (now, now))?;
        self.with("link", |store| {
            store.node(inode.ino())?.attr = attr;
            let dir = store.node(dir.ino())?;
            dir.attr = above;
            dir.names.insert(name.as_bytes().to_vec(), inode.ino().get());
            Ok(())
        })?;
        tx.commit()
    }

    fn unlink(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        self.remove(cx, dir, name, inode)
    }

    fn rmdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        self.remove(cx, dir, name, inode)
    }

    /// Files only, in one directory or to another.
    fn rename(&self, cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        let tx = cx.begin(0)?;
        if let Some(target) = rename.target {
            tx.update(target, |attr| attr.nlink -= 1)?;
        }
        self.with("rename", |store| {
            store.node(rename.old_dir.ino())?.names.remove(rename.old_name.as_bytes());
            let to = store.node(rename.new_dir.ino())?;
            to.names.insert(rename.new_name.as_bytes().to_vec(), rename.inode.ino().get());
            Ok(())
        })?;
        tx.commit()
    }

    fn iterate(&self, _cx: &Context<Self>, dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        self.with("iterate", |store| {
            let names: Vec<(Vec<u8>, u64)> =
                store.node(dir.ino())?.names.iter().map(|(name, ino)| (name.clone(), *ino)).collect();
            for (at, (name, ino)) in names.iter().enumerate().skip(pos as usize) {
                let ino = Ino::new(*ino).ok_or(Errno::EIO)?;
                let kind = store.node(ino)?.attr.file_type().ok_or(Errno::EIO)?;
                if !entries.emit(Name::new(name), ino, kind, at as u64 + 1) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        let tx = cx.begin(0)?;
        self.with("setattr", |store| {
            let mut freed = 0;
            if let Some(size) = change.size() {
                freed = store.cut(inode.ino(), size.div_ceil(store.block)..u64::MAX)?;
                tx.release(freed);
            }
            let sectors = freed * store.block / 512;
            let attr = tx.update(inode, |attr| {
                attr.mode = change.mode().unwrap_or(attr.mode);
                attr.uid = change.uid().unwrap_or(attr.uid);
                attr.gid = change.gid().unwrap_or(attr.gid);
                attr.size = change.size().unwrap_or(attr.size);
                attr.atime = change.atime().unwrap_or(attr.atime);
                attr.mtime = change.mtime().unwrap_or(attr.mtime);
                attr.ctime = change.ctime().unwrap_or(attr.ctime);
                attr.blocks -= sectors;
            })?;
            store.node(inode.ino())?.attr = attr;
            Ok(())
        })?;
        tx.commit()
    }

    fn fallocate(&self, cx: &Context<Self>, inode: &Inode<Self>, mode: u32, offset: u64, len: u64) -> Result<()> {
        const KEEP: u32 = 1;
        const PUNCH: u32 = 2;
        const COLLAPSE: u32 = 8;
        const ZERO: u32 = 16;
        const INSERT: u32 = 32;
        let tx = cx.begin(0)?;
        let now = cx.now();
        self.with("fallocate", |store| {
            let (ino, size) = (inode.ino(), store.block);
            let touched = offset / size..(offset + len).div_ceil(size);
            let whole = offset.div_ceil(size)..((offset + len) / size).max(offset.div_ceil(size));
            let mut end = inode.attr().size;
            let (mut taken, mut freed) = (0, 0);
            match mode & !KEEP {
                0 => taken = store.fill(&tx, ino, touched, false)?,
                PUNCH => freed = store.cut(ino, whole)?,
                ZERO => {
                    for (_, block) in store.node(ino)?.blocks.range_mut(whole) {
                        block.1 = false;
                    }
                    taken = store.fill(&tx, ino, touched, false)?;
                }
                COLLAPSE => {
                    freed = store.cut(ino, whole.clone())?;
                    let node = store.node(ino)?;
                    let moved = node.blocks.split_off(&whole.end);
                    node.blocks.extend(moved.into_iter().map(|(block, at)| (block - len / size, at)));
                    end -= len;
                }
                INSERT => {
                    let node = store.node(ino)?;
                    let moved = node.blocks.split_off(&whole.start);
                    node.blocks.extend(moved.into_iter().map(|(block, at)| (block + len / size, at)));
                    end += len;
                }
                _ => return Err(Errno::EOPNOTSUPP),
            }
            if mode & KEEP == 0 && mode & (COLLAPSE | INSERT) == 0 {
                end = end.max(offset + len);
            }
            tx.release(freed);
            let sectors = size / 512;
            let attr = tx.update(inode, |attr| {
                (attr.mtime, attr.ctime, attr.size) = (now, now, end);
                attr.blocks = attr.blocks + taken * sectors - freed * sectors;
            })?;
            store.node(ino)?.attr = attr;
            Ok(())
        })?;
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
        self.with("map_extents", |store| {
            let size = store.block;
            store.emit(inode.ino(), offset / size..(offset + len) / size, &[], extents)
        })
    }

    fn allocate_extents(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        how: Allocate,
        extents: &mut Extents,
    ) -> Result<()> {
        const MOST: u64 = 24;
        let tx = cx.begin(0)?;
        self.with("allocate_extents", |store| {
            let size = store.block;
            let blocks = offset / size..(offset + len) / size;
            let blocks = blocks.start..blocks.end.min(blocks.start + MOST);
            let mut fresh = Vec::new();
            let mut end = blocks.start;
            for block in blocks.clone() {
                if !store.node(inode.ino())?.blocks.contains_key(&block) {
                    match store.fill(&tx, inode.ino(), block..block + 1, how.written && !store.never_written) {
                        Ok(_) => fresh.push(block),
                        Err(errno) if end == blocks.start => return Err(errno),
                        // As much as there is.
                        Err(_) => break,
                    }
                }
                end = block + 1;
            }
            let sectors = fresh.len() as u64 * size / 512;
            let attr = tx.update(inode, |attr| attr.blocks += sectors)?;
            store.node(inode.ino())?.attr.blocks = attr.blocks;
            store.emit(inode.ino(), blocks.start..end, &fresh, extents)
        })?;
        tx.commit()
    }

    fn convert_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, written: Written) -> Result<()> {
        let tx = cx.begin(0)?;
        self.with("convert_extents", |store| {
            let size = store.block;
            let first = written.offset / size;
            for by in 0..written.len / size {
                let block = store.node(inode.ino())?.blocks.get_mut(&(first + by)).ok_or(Errno::EUCLEAN)?;
                assert_eq!(block.0, written.addr / size + by);
                block.1 = true;
            }
            Ok(())
        })?;
        tx.commit()
    }
}
