// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Inodes: the shim owns them and their attributes, Rust sees the head of each and hangs the author's data on it.
//!
//! An inode is cached while somebody refers to it, and after that as long as the front door likes; the last user of one
//! without names evicts it. A resident mount pins every inode that has a name.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::acl::Acl;
use crate::caller::Caller;
use crate::pages::{PAGE, Pages};
use crate::superblock::Super;

/// Bits of `Inode::state`.
const PINNED: u32 = 2;
const COUNTED: u32 = 4;
const DIRTY: u32 = 8;

/// The number of a new inode before its handler gave it one.
const UNASSIGNED: u64 = 0;

/// One inode. The first field is what Rust sees.
#[repr(C)]
pub struct Inode {
    raw: UnsafeCell<abi::bento_inode>,
    sb: Arc<Super>,
    attr: Mutex<abi::bento_attr>,
    count: AtomicUsize,
    state: AtomicU32,
    /// Held for writing while names in this directory, or this file's size and bytes, change.
    pub rwsem: RwLock<()>,
    link: OnceLock<Box<[u8]>>,
    acl: Mutex<AclCache>,
    pub pages: Mutex<Pages>,
    /// A write error that no fsync or close has reported yet.
    write_error: Mutex<Option<Errno>>,
}

// SAFETY: SAFETY.md C5: `raw` is written by the shim before others see the inode, and by thunks that alone hold it.
unsafe impl Send for Inode {}
// SAFETY: SAFETY.md C5, as above; everything else is behind locks or atomic.
unsafe impl Sync for Inode {}

#[derive(Default)]
struct AclCache {
    access: Option<Option<Acl>>,
    default: Option<Option<Acl>>,
}

/// A counted reference to a cached inode.
pub struct InodeRef(Arc<Inode>);

impl std::ops::Deref for InodeRef {
    type Target = Inode;

    fn deref(&self) -> &Inode {
        &self.0
    }
}

impl Clone for InodeRef {
    fn clone(&self) -> InodeRef {
        InodeRef::of(&self.0)
    }
}

impl Drop for InodeRef {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.sb.table.released(&self.0);
        }
    }
}

impl std::fmt::Debug for InodeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "inode {}", self.ino())
    }
}

impl PartialEq for InodeRef {
    fn eq(&self, other: &InodeRef) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl InodeRef {
    fn of(inode: &Arc<Inode>) -> InodeRef {
        inode.count.fetch_add(1, Ordering::AcqRel);
        InodeRef(Arc::clone(inode))
    }

    /// Leaves `n` references behind, for the kernel to give back with `Super::put_many`.
    pub fn lend(&self, n: usize) {
        self.0.count.fetch_add(n, Ordering::AcqRel);
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inode {
    fn new(sb: &Arc<Super>, ino: u64, attr: abi::bento_attr) -> Arc<Inode> {
        let inode = Arc::new(Inode {
            raw: UnsafeCell::new(abi::bento_inode { ino, data: ptr::null_mut(), data_generation: 0, flags: 0 }),
            sb: Arc::clone(sb),
            attr: Mutex::new(attr),
            count: AtomicUsize::new(0),
            state: AtomicU32::new(0),
            rwsem: RwLock::new(()),
            link: OnceLock::new(),
            acl: Mutex::new(AclCache::default()),
            pages: Mutex::new(Pages::default()),
            write_error: Mutex::new(None),
        });
        // Rust hands back pointers to the head; `from_raw` needs the whole.
        Arc::as_ptr(&inode).expose_provenance();
        inode
    }

    /// For argument blocks.
    pub fn as_raw(&self) -> *mut abi::bento_inode {
        self.raw.get()
    }

    /// # Safety
    /// `raw` is the head of a live inode of this shim (SAFETY.md C5).
    pub unsafe fn from_raw<'call>(raw: *const abi::bento_inode) -> &'call Inode {
        // SAFETY: SAFETY.md C5: the head is the first field.
        unsafe { &*ptr::with_exposed_provenance(raw.addr()) }
    }

    /// # Safety
    /// As [`Inode::from_raw`], and the inode is in the cache.
    pub unsafe fn ref_from_raw(raw: *const abi::bento_inode) -> InodeRef {
        // SAFETY: SAFETY.md C5: live inodes are kept by the table's `Arc`.
        let inode = unsafe {
            let whole = ptr::with_exposed_provenance::<Inode>(raw.addr());
            Arc::increment_strong_count(whole);
            Arc::from_raw(whole)
        };
        InodeRef::of(&inode)
    }

    pub fn sb(&self) -> &Arc<Super> {
        &self.sb
    }

    pub fn ino(&self) -> u64 {
        // SAFETY: SAFETY.md C5: set before the inode is in the cache, constant afterwards.
        unsafe { (*self.raw.get()).ino }
    }

    pub fn has_data(&self) -> bool {
        // SAFETY: SAFETY.md C5: set before the inode is in the cache, cleared by the last call that holds it.
        unsafe { !(*self.raw.get()).data.is_null() }
    }

    /// The attributes. Not to be held across a call into Rust, which takes this lock as well.
    pub fn lock_attr(&self) -> MutexGuard<'_, abi::bento_attr> {
        held(&self.attr)
    }

    pub fn attr(&self) -> abi::bento_attr {
        let mut attr = *self.lock_attr();
        attr.ino = self.ino();
        if attr.mode & libc::S_IFMT == libc::S_IFREG && self.sb.is_resident() {
            attr.blocks = held(&self.pages).count() * (PAGE / 512);
        }
        attr
    }

    pub fn mode(&self) -> u32 {
        self.lock_attr().mode
    }

    pub fn size(&self) -> u64 {
        self.lock_attr().size
    }

    pub fn file_type(&self) -> u32 {
        self.mode() & libc::S_IFMT
    }

    pub fn is_dir(&self) -> bool {
        self.file_type() == libc::S_IFDIR
    }

    pub fn is_file(&self) -> bool {
        self.file_type() == libc::S_IFREG
    }

    pub fn is_symlink(&self) -> bool {
        self.file_type() == libc::S_IFLNK
    }

    fn set(&self, bit: u32) -> bool {
        self.state.fetch_or(bit, Ordering::AcqRel) & bit != 0
    }

    fn clear(&self, bit: u32) -> bool {
        self.state.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Changes attributes and marks the inode dirty.
    pub fn change<T>(&self, change: impl FnOnce(&mut abi::bento_attr) -> T) -> T {
        let result = change(&mut self.lock_attr());
        self.set(DIRTY);
        result
    }

    /// mtime and ctime are now: a directory whose entries changed, a file whose bytes did.
    pub fn touch(&self, now: abi::bento_time) {
        self.change(|attr| (attr.mtime, attr.ctime) = (now, now));
    }

    pub fn touch_ctime(&self, now: abi::bento_time) {
        self.change(|attr| attr.ctime = now);
    }

    /// Changes the link count; a resident inode is pinned while it is not 0. The caller holds a reference.
    pub fn set_nlink(self: &Inode, change: impl FnOnce(u32) -> u32) {
        let nlink = self.change(|attr| {
            attr.nlink = change(attr.nlink);
            attr.nlink
        });
        self.repin(nlink);
    }

    fn repin(&self, nlink: u32) {
        if nlink > 0 && self.sb.is_resident() {
            if !self.set(PINNED) {
                self.count.fetch_add(1, Ordering::AcqRel);
            }
        } else if self.clear(PINNED) {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub fn nlink(&self) -> u32 {
        self.lock_attr().nlink
    }

    /// The symbolic link's target, once it is known.
    pub fn cached_link(&self) -> Option<&[u8]> {
        self.link.get().map(|link| &**link)
    }

    pub fn cache_link(&self, target: &[u8]) -> &[u8] {
        self.link.get_or_init(|| target.into())
    }

    /// What is known of an ACL; the outer `None`: nothing.
    pub fn cached_acl(&self, default: bool) -> Option<Option<Acl>> {
        let cache = held(&self.acl);
        if default { cache.default.clone() } else { cache.access.clone() }
    }

    pub fn cache_acl(&self, default: bool, acl: Option<Acl>) {
        let mut cache = held(&self.acl);
        *(if default { &mut cache.default } else { &mut cache.access }) = Some(acl);
    }

    pub fn forget_acls(&self) {
        *held(&self.acl) = AclCache::default();
    }

    pub fn set_write_error(&self, errno: Errno) {
        *held(&self.write_error) = Some(errno);
    }

    /// Reports a write error once.
    pub fn take_write_error(&self) -> Result<()> {
        held(&self.write_error).take().map_or(Ok(()), Err)
    }

    /// Pages (and what the kernel caches of them) are stale.
    pub fn invalidate(&self, offset: u64, len: u64) {
        if !self.sb.is_resident() {
            let end = if len == 0 { u64::MAX } else { offset.saturating_add(len) };
            held(&self.pages).invalidate(offset..end);
        }
        self.forget_acls();
        self.sb.front.invalidate(self.ino(), offset, len);
    }

    /// Writes attributes back, if they changed and there is a handler.
    pub fn write_back(&self, wait: bool) -> Result<()> {
        if !self.clear(DIRTY) || !self.sb.has(Op::write_inode) {
            return Ok(());
        }
        let mut args = inode_args(self.as_raw());
        args.flags = wait.into();
        let written = self.sb.invoke(Op::write_inode, self.sb.ops.write_inode, &Caller::ROOT, &mut args);
        if written.is_err() {
            self.set(DIRTY);
        }
        written.map(drop)
    }

    /// The data goes, the author's last word said; nothing but the table refers to the inode any more.
    fn evict(&self) {
        let sb = &self.sb;
        let orphan = self.nlink() == 0;
        if self.has_data() && !orphan && !sb.slot.is_poisoned() {
            if let Err(errno) = self.flush_pages() {
                sb.log(abi::BENTO_LOG_ERR, format_args!("inode {}: lost dirty pages: {errno}", self.ino()));
            }
            if let Err(errno) = self.write_back(true) {
                sb.log(abi::BENTO_LOG_ERR, format_args!("inode {}: lost attributes: {errno}", self.ino()));
            }
        }
        self.drop_pages();
        if self.has_data() && orphan && sb.has(Op::evict_inode) {
            let mut args = inode_args(self.as_raw());
            let _ = sb.invoke(Op::evict_inode, sb.ops.evict_inode, &Caller::ROOT, &mut args);
        }
        self.forget();
        if self.clear(COUNTED) {
            sb.used_inodes.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn drop_pages(&self) {
        let mut pages = held(&self.pages);
        if self.sb.is_resident() {
            self.sb.uncharge(pages.count() * PAGE);
        }
        *pages = Pages::default();
    }

    /// Drops the author's data, once. After an abandoned call it is leaked instead (SAFETY.md C2).
    fn forget(&self) {
        if !self.has_data() || self.sb.slot.is_poisoned() {
            return;
        }
        let mut args = inode_args(self.as_raw());
        let _ = self.sb.invoke(Op::forget_inode, self.sb.ops.forget_inode, &Caller::ROOT, &mut args);
    }
}

/// The argument block of calls that need an inode and a word or two.
pub fn inode_args(inode: *mut abi::bento_inode) -> abi::bento_inode_args {
    abi::bento_inode_args { inode, a: 0, b: 0, flags: 0, pad: 0, out: 0 }
}

enum Entry {
    Loading,
    Live(Arc<Inode>),
    Evicting,
}

/// The inode cache of a mount.
#[derive(Default)]
pub struct Table {
    map: Mutex<HashMap<u64, Entry>>,
    changed: Condvar,
}

impl Table {
    /// The cached inode of that number.
    pub fn get(&self, ino: u64) -> Option<InodeRef> {
        match held(&self.map).get(&ino) {
            Some(Entry::Live(inode)) => Some(InodeRef::of(inode)),
            _ => None,
        }
    }

    /// Every cached inode.
    pub fn all(&self) -> Vec<InodeRef> {
        let map = held(&self.map);
        map.values()
            .filter_map(|entry| match entry {
                Entry::Live(inode) => Some(InodeRef::of(inode)),
                _ => None,
            })
            .collect()
    }

    pub fn len(&self) -> usize {
        held(&self.map).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// References beyond those of the shim itself (pins); `root` is known to be held once more.
    pub fn users(&self, root: u64) -> usize {
        let map = held(&self.map);
        let users = |inode: &Arc<Inode>| {
            let pins = usize::from(inode.state.load(Ordering::Acquire) & PINNED != 0);
            inode.count.load(Ordering::Acquire) - pins - usize::from(inode.ino() == root)
        };
        map.values().map(|entry| if let Entry::Live(inode) = entry { users(inode) } else { 0 }).sum()
    }

    fn put(&self, ino: u64, entry: Option<Entry>) {
        let mut map = held(&self.map);
        match entry {
            Some(entry) => map.insert(ino, entry),
            None => map.remove(&ino),
        };
        self.changed.notify_all();
    }

    /// The last reference went. Nobody may stay without a name; others as the front door likes.
    fn released(&self, inode: &Arc<Inode>) {
        let keep = inode.nlink() > 0 && inode.sb.front.keeps_inodes() && !inode.sb.is_dying();
        if !keep {
            self.evict(inode);
        }
    }

    /// Evicts `inode` unless somebody refers to it.
    fn evict(&self, inode: &Arc<Inode>) -> bool {
        let ino = inode.ino();
        {
            let mut map = held(&self.map);
            match map.get_mut(&ino) {
                Some(entry @ Entry::Live(_)) => {
                    let same = matches!(&*entry, Entry::Live(live) if Arc::ptr_eq(live, inode));
                    if !same || inode.count.load(Ordering::Acquire) != 0 {
                        return false;
                    }
                    *entry = Entry::Evicting;
                }
                _ => return false,
            }
        }
        inode.evict();
        self.put(ino, None);
        true
    }

    /// Evicts every inode nobody refers to (`drop_caches`); how many.
    pub fn shrink(&self) -> usize {
        let idle: Vec<Arc<Inode>> = {
            let map = held(&self.map);
            let idle = |inode: &Arc<Inode>| inode.count.load(Ordering::Acquire) == 0;
            map.values()
                .filter_map(|entry| match entry {
                    Entry::Live(inode) if idle(inode) => Some(Arc::clone(inode)),
                    _ => None,
                })
                .collect()
        };
        idle.iter().filter(|inode| self.evict(inode)).count()
    }

    /// At unmount: pins go, and with `force` every reference the kernel still had.
    pub fn release_all(&self, force: bool) {
        for entry in held(&self.map).values() {
            if let Entry::Live(inode) = entry {
                if inode.clear(PINNED) {
                    inode.count.fetch_sub(1, Ordering::AcqRel);
                }
                if force {
                    inode.count.store(0, Ordering::Release);
                }
            }
        }
    }
}

impl Super {
    /// The inode of that number, cached or loaded. `op` is named in the complaint about a bad number. Outside the gate.
    pub fn iget(self: &Arc<Self>, ino: u64, op: Op) -> Result<InodeRef> {
        if ino == UNASSIGNED {
            return Err(self.bad(op, format_args!("returned inode number 0")));
        }
        {
            let mut map = held(&self.table.map);
            loop {
                match map.get(&ino) {
                    Some(Entry::Live(inode)) => return Ok(InodeRef::of(inode)),
                    Some(Entry::Loading | Entry::Evicting) => {
                        map = self.table.changed.wait(map).unwrap_or_else(PoisonError::into_inner);
                    }
                    None => break,
                }
            }
            map.insert(ino, Entry::Loading);
        }
        match self.load(ino) {
            Ok(inode) => {
                let reference = InodeRef::of(&inode);
                let nlink = inode.nlink();
                inode.repin(nlink);
                self.table.put(ino, Some(Entry::Live(inode)));
                Ok(reference)
            }
            Err(errno) => {
                self.table.put(ino, None);
                Err(errno)
            }
        }
    }

    fn load(self: &Arc<Self>, ino: u64) -> Result<Arc<Inode>> {
        let inode = Inode::new(self, ino, blank_attr());
        let mut args = abi::bento_load_inode_args { inode: inode.as_raw(), attr: blank_attr() };
        let loaded = self.invoke(Op::load_inode, self.ops.load_inode, &Caller::ROOT, &mut args);
        // SAFETY: SAFETY.md C5: nobody else sees this inode yet. Its number is the shim's, whatever the thunk did.
        unsafe { (*inode.as_raw()).ino = ino };
        let checked = loaded.and_then(|_| {
            if !inode.has_data() {
                return Err(self.bad(Op::load_inode, format_args!("attached no data to inode {ino}")));
            }
            self.check_attr(Op::load_inode, &args.attr)?;
            let number = |what: &str, value: u64| {
                Err(self.bad(Op::load_inode, format_args!("returned {what} {value} for inode {ino}")))
            };
            if args.attr.nlink == 0 {
                return number("nlink", 0);
            }
            if args.attr.ino != 0 && args.attr.ino != ino {
                return number("number", args.attr.ino);
            }
            if args.attr.blksize != 0 && (!args.attr.blksize.is_power_of_two() || args.attr.blksize > 16 << 20) {
                return number("block size", args.attr.blksize.into());
            }
            Ok(self.rounded(args.attr))
        });
        match checked {
            Ok(attr) => {
                *inode.lock_attr() = attr;
                // What exists already is not held to the limit.
                self.used_inodes.fetch_add(1, Ordering::AcqRel);
                inode.set(COUNTED);
                Ok(inode)
            }
            Err(errno) => {
                inode.forget();
                Err(errno)
            }
        }
    }

    /// Are these attributes possible?
    pub fn check_attr(&self, op: Op, attr: &abi::bento_attr) -> Result<()> {
        let bad = |what: &str, value: u64| Err(self.bad(op, format_args!("returned {what} {value:#o}")));
        let known =
            [libc::S_IFREG, libc::S_IFDIR, libc::S_IFLNK, libc::S_IFCHR, libc::S_IFBLK, libc::S_IFIFO, libc::S_IFSOCK];
        if !known.contains(&(attr.mode & libc::S_IFMT)) || attr.mode & !(libc::S_IFMT | 0o7777) != 0 {
            return bad("mode", attr.mode.into());
        }
        let number = |what: &str, value: u64| Err(self.bad(op, format_args!("returned {what} {value}")));
        let largest = match attr.mode & libc::S_IFMT == libc::S_IFREG {
            true => self.settings().max_file_size,
            false => i64::MAX as u64,
        };
        if attr.size > largest {
            return number("size", attr.size);
        }
        if attr.blocks > i64::MAX as u64 / 512 {
            return number("block count", attr.blocks);
        }
        if attr.uid == u32::MAX || attr.gid == u32::MAX {
            return number("owner", u32::MAX.into());
        }
        if attr.rdev_major >= 1 << 12 || attr.rdev_minor >= 1 << 20 {
            return Err(self.bad(op, format_args!("returned device {}:{}", attr.rdev_major, attr.rdev_minor)));
        }
        for time in [attr.atime, attr.mtime, attr.ctime, attr.btime] {
            if time.nsec >= 1_000_000_000 {
                return number("nanoseconds", time.nsec.into());
            }
        }
        Ok(())
    }

    /// An inode about to exist, outside the cache.
    pub fn new_inode(self: &Arc<Self>, attr: abi::bento_attr) -> Result<NewInode> {
        self.charge_inode()?;
        let inode = Inode::new(self, UNASSIGNED, attr);
        inode.set(COUNTED);
        Ok(NewInode { inode: Some(inode) })
    }

    fn charge_inode(&self) -> Result<()> {
        let most = self.max_inodes.load(Ordering::Acquire);
        let charged = self
            .used_inodes
            .try_update(Ordering::AcqRel, Ordering::Acquire, |used| (most == 0 || used < most).then_some(used + 1));
        charged.map(drop).map_err(|_| Errno::ENOSPC)
    }

    /// The kernel gave back `n` references to an inode (`InodeRef::lend`).
    pub fn put_many(&self, ino: u64, n: usize) {
        // The table's lock keeps the inode alive between the look-up and the last reference's own drop.
        if let Some(inode) = self.table.get(ino) {
            let mine = n.min(inode.0.count.load(Ordering::Acquire).saturating_sub(1));
            inode.0.count.fetch_sub(mine, Ordering::AcqRel);
        }
    }
}

/// An inode that a `create` handler and its kin are about to name; given back if dropped.
pub struct NewInode {
    inode: Option<Arc<Inode>>,
}

impl NewInode {
    pub fn as_raw(&self) -> *mut abi::bento_inode {
        self.inode.as_ref().map_or(ptr::null_mut(), |inode| inode.as_raw())
    }

    /// The handler gave it a number and data: into the cache with it (SAFETY.md S4).
    pub fn insert(mut self, op: Op) -> Result<InodeRef> {
        let Some(inode) = self.inode.as_ref() else { return Err(Errno::EIO) };
        let (sb, ino) = (Arc::clone(&inode.sb), inode.ino());
        if ino == UNASSIGNED {
            return Err(sb.bad(op, format_args!("assigned inode number 0")));
        }
        if !inode.has_data() {
            return Err(sb.bad(op, format_args!("assigned no data to inode {ino}")));
        }
        let mut map = held(&sb.table.map);
        loop {
            match map.get(&ino) {
                // The number was freed by an eviction that has not finished yet.
                Some(Entry::Evicting | Entry::Loading) => {
                    map = sb.table.changed.wait(map).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Entry::Live(_)) => {
                    drop(map);
                    return Err(sb.bad(op, format_args!("assigned inode number {ino}, which is in use")));
                }
                None => break,
            }
        }
        let Some(inode) = self.inode.take() else { return Err(Errno::EIO) };
        inode.set(DIRTY);
        let reference = InodeRef::of(&inode);
        let nlink = inode.nlink();
        inode.repin(nlink);
        map.insert(ino, Entry::Live(inode));
        Ok(reference)
    }
}

impl Drop for NewInode {
    fn drop(&mut self) {
        if let Some(inode) = self.inode.take() {
            inode.forget();
            inode.sb.used_inodes.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// All zero.
pub fn blank_attr() -> abi::bento_attr {
    // SAFETY: integers and structs of integers: all-zero is valid.
    unsafe { std::mem::zeroed() }
}
