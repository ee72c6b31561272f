// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Inodes: the shim owns them and their attributes, Rust sees the head of each and hangs the author's data on it.
//!
//! An inode is cached while somebody refers to it, and after that as long as the front door likes; the last user of one
//! without names evicts it. A resident mount pins every inode that has a name.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::acl::Acl;
use crate::caller::Caller;
use crate::extents::Map;
use crate::pages::{PAGE, Pages};
use crate::slot::{Health, Migration};
use crate::superblock::Super;

/// Bits of `Inode::state`.
pub(crate) const PINNED: u32 = 2;
pub(crate) const COUNTED: u32 = 4;
pub(crate) const DIRTY: u32 = 8;
/// Out of the cache for good; its data are gone.
pub(crate) const DEAD: u32 = 16;
/// Dirty in more than its times.
pub(crate) const DIRTY_SIZE: u32 = 32;
/// In the list of dirty inodes.
const LISTED: u32 = 64;

/// One inode. The first field is what Rust sees.
#[repr(C)]
pub struct Inode {
    raw: UnsafeCell<abi::bento_inode>,
    sb: Arc<Super>,
    attr: Mutex<abi::bento_attr>,
    pub(crate) count: AtomicUsize,
    pub(crate) state: AtomicU32,
    /// Held for writing while names in this directory, or this file's size and bytes, change.
    pub rwsem: RwLock<()>,
    link: OnceLock<Box<[u8]>>,
    acl: Mutex<AclCache>,
    pub pages: Mutex<Pages>,
    /// Where its bytes lie on the device.
    pub(crate) extents: Mutex<Map>,
    /// A write error that no fsync or close has reported yet.
    write_error: Mutex<Option<Errno>>,
    pub(crate) migration: Migration,
    /// The generation that made the data of an inode that is poisoned.
    poisoned_from: AtomicU32,
    /// The last transaction of the journal that changed it; 0 = none.
    transaction: AtomicU64,
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
    pub(crate) fn of(inode: &Arc<Inode>) -> InodeRef {
        inode.count.fetch_add(1, Ordering::AcqRel);
        InodeRef(Arc::clone(inode))
    }

    /// Leaves `n` references behind, for the kernel to give back with `Super::put_many`.
    pub fn lend(&self, n: usize) {
        self.0.count.fetch_add(n, Ordering::AcqRel);
    }
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inode {
    pub(crate) fn new(sb: &Arc<Super>, ino: u64, attr: abi::bento_attr) -> Arc<Inode> {
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
            extents: Mutex::new(Map::default()),
            write_error: Mutex::new(None),
            migration: Migration::new(),
            poisoned_from: AtomicU32::new(0),
            transaction: AtomicU64::new(0),
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
    /// As [`Inode::from_raw`].
    pub unsafe fn arc_from_raw(raw: *const abi::bento_inode) -> Arc<Inode> {
        // SAFETY: SAFETY.md C5: live inodes are kept by an `Arc`.
        unsafe {
            let whole = ptr::with_exposed_provenance::<Inode>(raw.addr());
            Arc::increment_strong_count(whole);
            Arc::from_raw(whole)
        }
    }

    /// # Safety
    /// As [`Inode::from_raw`], and the inode is in the cache.
    pub unsafe fn ref_from_raw(raw: *const abi::bento_inode) -> InodeRef {
        // SAFETY: SAFETY.md C5: live inodes are kept by the table's `Arc`.
        let inode = unsafe { Inode::arc_from_raw(raw) };
        InodeRef::of(&inode)
    }

    pub fn sb(&self) -> &Arc<Super> {
        &self.sb
    }

    pub fn ino(&self) -> u64 {
        // SAFETY: SAFETY.md C5: set before the inode is in the cache, constant afterwards.
        unsafe { (*self.raw.get()).ino }
    }

    /// That transaction has changed this inode.
    pub fn note_transaction(&self, tid: u64) {
        self.transaction.fetch_max(tid, Ordering::AcqRel);
    }

    /// The last one that did; 0 = none.
    pub fn transaction(&self) -> u64 {
        self.transaction.load(Ordering::Acquire)
    }

    // ---- the author's data (`bento::slot`) ----

    fn data_slot(&self) -> &AtomicPtr<c_void> {
        // SAFETY: SAFETY.md C5: a pointer of a live inode; thunks write it only before others see the inode.
        unsafe { AtomicPtr::from_ptr(&raw mut (*self.raw.get()).data) }
    }

    fn generation_slot(&self) -> &AtomicU32 {
        // SAFETY: SAFETY.md C5, as above.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.raw.get()).data_generation) }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: SAFETY.md C5, as above.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.raw.get()).flags) }
    }

    pub fn data(&self) -> *mut c_void {
        self.data_slot().load(Ordering::Acquire)
    }

    pub fn has_data(&self) -> bool {
        !self.data().is_null()
    }

    /// Can a call of that generation use the data as they are?
    pub fn is_current(&self, generation: u32) -> bool {
        self.generation_slot().load(Ordering::Acquire) == generation
    }

    /// The generation whose version made the data; 0: there are none.
    pub fn made_in(&self) -> u32 {
        match self.generation_slot().load(Ordering::Acquire) {
            _ if !self.has_data() => 0,
            0 => self.poisoned_from.load(Ordering::Acquire),
            generation => generation,
        }
    }

    pub fn is_poisoned(&self) -> bool {
        self.flags().load(Ordering::Acquire) & abi::BENTO_INODE_POISONED != 0
    }

    /// No call gets the data any more; those that have them end.
    pub fn poison(&self) {
        let made = self.generation_slot().load(Ordering::Acquire);
        if made != 0 {
            self.poisoned_from.store(made, Ordering::Release);
        }
        self.flags().fetch_or(abi::BENTO_INODE_POISONED, Ordering::AcqRel);
        // Last: whoever sees it sees who made the data, which are still to be dropped.
        self.generation_slot().store(0, Ordering::Release);
    }

    /// Other data, made in `generation`; the old ones are returned. With none (null, 0) it stays poisoned if it was. Under
    /// the lock of `migration`.
    pub fn publish(&self, data: *mut c_void, generation: u32) -> *mut c_void {
        if generation != 0 {
            self.flags().fetch_and(!abi::BENTO_INODE_POISONED, Ordering::AcqRel);
        }
        let before = self.data_slot().swap(data, Ordering::AcqRel);
        self.generation_slot().store(generation, Ordering::Release);
        self.poisoned_from.store(0, Ordering::Release);
        before
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

    pub(crate) fn has(&self, bit: u32) -> bool {
        self.state.load(Ordering::Acquire) & bit != 0
    }

    pub(crate) fn set(&self, bit: u32) -> bool {
        self.state.fetch_or(bit, Ordering::AcqRel) & bit != 0
    }

    pub(crate) fn clear(&self, bit: u32) -> bool {
        self.state.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Changes attributes and marks the inode dirty.
    pub fn change<T>(&self, change: impl FnOnce(&mut abi::bento_attr) -> T) -> T {
        let result = change(&mut self.lock_attr());
        self.set(DIRTY | DIRTY_SIZE);
        self.list();
        result
    }

    /// mtime and ctime are now: a directory whose entries changed, a file whose bytes did.
    pub fn touch(&self, now: abi::bento_time) {
        self.change(|attr| (attr.mtime, attr.ctime) = (now, now));
    }

    /// The same after bytes were written up to `end`.
    pub fn written(&self, end: u64, now: abi::bento_time) {
        let grown = {
            let mut attr = self.lock_attr();
            (attr.mtime, attr.ctime) = (now, now);
            let grown = end > attr.disk_size;
            // Here bytes reach the device when they are written.
            (attr.size, attr.disk_size) = (attr.size.max(end), attr.disk_size.max(end));
            grown
        };
        self.set(if grown { DIRTY | DIRTY_SIZE } else { DIRTY });
        self.list();
    }

    /// It has been read: now and then its atime says so, and is stored when something else is.
    pub fn accessed(&self, now: abi::bento_time) {
        const DAY: i64 = 24 * 60 * 60;
        let mut attr = self.lock_attr();
        let at = |time: abi::bento_time| (time.sec, time.nsec);
        let before = at(attr.atime);
        if before <= at(attr.mtime) || before <= at(attr.ctime) || before.0 <= now.sec - DAY {
            attr.atime = now;
            self.set(DIRTY);
        }
    }

    /// To be written when its time comes.
    fn list(&self) {
        if self.sb.is_extents() && self.ino() != 0 && !self.set(LISTED) {
            self.sb.dirty.push(self.ino());
        }
    }

    /// Out of the list: who took it writes it.
    pub(crate) fn unlist(&self) {
        self.clear(LISTED);
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

    pub(crate) fn repin(&self, nlink: u32) {
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
            self.forget_extents(0..u64::MAX);
        }
        self.forget_acls();
        self.sb.front.invalidate(self.ino(), offset, len);
    }

    /// Writes attributes back, if they changed and there is a handler.
    pub fn write_back(&self, wait: bool) -> Result<()> {
        if !self.clear(DIRTY | DIRTY_SIZE) || !self.sb.has(Op::write_inode) {
            return Ok(());
        }
        if self.sb.is_extents() && self.sb.is_read_only() {
            // It became so below: nothing is written any more.
            return Err(Errno::EROFS);
        }
        let mut args = inode_args(self.as_raw());
        args.flags = wait.into();
        let written = self.sb.invoke(Op::write_inode, |ops| ops.write_inode, &Caller::ROOT, &mut args);
        if written.is_err() {
            self.set(DIRTY | DIRTY_SIZE);
            self.list();
        }
        written.map(drop)
    }

    /// The data goes, the author's last word said; nothing but the table refers to the inode any more.
    pub(crate) fn evict(&self) {
        let sb = &self.sb;
        let orphan = self.nlink() == 0;
        if self.has_data() && !orphan && sb.slot.health() != Health::Quarantined {
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
            let _ = sb.invoke(Op::evict_inode, |ops| ops.evict_inode, &Caller::ROOT, &mut args);
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

    /// Drops the author's data, once.
    pub(crate) fn forget(&self) {
        if self.has_data() {
            self.sb.forget_data(self);
        }
    }
}

/// The argument block of calls that need an inode and a word or two.
pub fn inode_args(inode: *mut abi::bento_inode) -> abi::bento_inode_args {
    abi::bento_inode_args { inode, a: 0, b: 0, flags: 0, pad: 0, out: 0 }
}

/// All zero.
pub fn blank_attr() -> abi::bento_attr {
    // SAFETY: integers and structs of integers: all-zero is valid.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Harness;

    #[test]
    fn who_made_the_data_is_known_while_an_inode_is_poisoned() {
        let fs = Harness::mount::<hellofs::HelloFs>("").unwrap();
        let inodes: Vec<_> = (1..=2000).map(|ino| Inode::new(fs.sb(), ino, blank_attr())).collect();
        for inode in &inodes {
            inode.publish(ptr::dangling_mut(), 7);
        }
        let looked_at = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let looker = scope.spawn(|| {
                let mut seen = BTreeSet::new();
                for inode in &inodes {
                    looked_at.fetch_add(1, Ordering::Release);
                    while !inode.is_poisoned() || !inode.is_current(0) {
                        seen.insert(inode.made_in());
                    }
                    seen.insert(inode.made_in());
                }
                seen
            });
            for (before, inode) in inodes.iter().enumerate() {
                while looked_at.load(Ordering::Acquire) == before {
                    std::hint::spin_loop();
                }
                inode.poison();
            }
            assert_eq!(looker.join().unwrap(), BTreeSet::from([7]));
        });
    }
}
