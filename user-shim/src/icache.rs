// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The inode cache of a mount: inodes by number, loaded when they are not there, evicted when nobody wants them any more.

use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::caller::Caller;
use crate::device::Numbers;
use crate::inode::{COUNTED, DIRTY, Inode, InodeRef, PINNED, blank_attr, held};
use crate::superblock::Super;

/// The number of a new inode before its handler gave it one.
const UNASSIGNED: u64 = 0;

enum Entry {
    Loading(Arc<Inode>),
    Live(Arc<Inode>),
    Evicting(Arc<Inode>),
}

/// The inode cache of a mount.
#[derive(Default)]
pub struct Table {
    map: Mutex<Numbers<Entry>>,
    /// Inodes about to exist, without a number. Locked after `map`.
    fresh: Mutex<Vec<Arc<Inode>>>,
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

    /// The inodes whose data are of that generation, and how many there are with those that are being loaded. One that is
    /// being named or evicted is among them: who does that may wait at the gate for a restart, which waits for these.
    pub fn made_in(&self, generation: u32) -> (Vec<Arc<Inode>>, usize) {
        let map = held(&self.map);
        let fresh = held(&self.fresh);
        let mut live: Vec<_> = fresh.iter().filter(|inode| inode.made_in() == generation).cloned().collect();
        let mut left = live.len();
        for entry in map.values() {
            let (Entry::Loading(inode) | Entry::Live(inode) | Entry::Evicting(inode)) = entry;
            if inode.made_in() == generation {
                left += 1;
                if !matches!(entry, Entry::Loading(_)) {
                    live.push(Arc::clone(inode));
                }
            }
        }
        (live, left)
    }

    /// The inode whose data, of `size` bytes and of that generation, have `address` in them.
    pub fn containing(&self, address: usize, size: usize, generation: u32) -> Option<Arc<Inode>> {
        let map = held(&self.map);
        let fresh = held(&self.fresh);
        let known = map.values().map(|(Entry::Loading(inode) | Entry::Live(inode) | Entry::Evicting(inode))| inode);
        known
            .chain(fresh.iter())
            .find(|inode| {
                let start = inode.data().addr();
                start != 0 && (start..start + size.max(1)).contains(&address) && inode.made_in() == generation
            })
            .cloned()
    }

    fn not_fresh(&self, inode: &Arc<Inode>) {
        held(&self.fresh).retain(|fresh| !Arc::ptr_eq(fresh, inode));
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
    pub(crate) fn released(&self, inode: &Arc<Inode>) {
        let keep = inode.nlink() > 0 && inode.sb().front.keeps_inodes() && !inode.sb().is_dying();
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
                    *entry = Entry::Evicting(Arc::clone(inode));
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

    /// At unmount: pins go, and with `force` every reference the kernel still had. The mount's own is that of `root`.
    pub fn release_all(&self, force: bool, root: u64) {
        for (ino, entry) in held(&self.map).iter() {
            if let Entry::Live(inode) = entry {
                if inode.clear(PINNED) {
                    inode.count.fetch_sub(1, Ordering::AcqRel);
                }
                if force {
                    inode.count.store(usize::from(*ino == root), Ordering::Release);
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
        let inode = {
            let mut map = held(&self.table.map);
            loop {
                match map.get(&ino) {
                    Some(Entry::Live(inode)) => return Ok(InodeRef::of(inode)),
                    Some(Entry::Loading(_) | Entry::Evicting(_)) => {
                        map = self.table.changed.wait(map).unwrap_or_else(PoisonError::into_inner);
                    }
                    None => break,
                }
            }
            let inode = Inode::new(self, ino, blank_attr());
            map.insert(ino, Entry::Loading(Arc::clone(&inode)));
            inode
        };
        match self.load(ino, &inode) {
            Ok(()) => {
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

    fn load(&self, ino: u64, inode: &Inode) -> Result<()> {
        let mut args = abi::bento_load_inode_args { inode: inode.as_raw(), attr: blank_attr() };
        let loaded = self.invoke(Op::load_inode, |ops| ops.load_inode, &Caller::ROOT, &mut args);
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
            let mut attr = self.rounded(args.attr);
            attr.disk_size = attr.size;
            Ok(attr)
        });
        match checked {
            Ok(attr) => {
                *inode.lock_attr() = attr;
                // What exists already is not held to the limit.
                self.used_inodes.fetch_add(1, Ordering::AcqRel);
                inode.set(COUNTED);
                Ok(())
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
        held(&self.table.fresh).push(Arc::clone(&inode));
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
            let mine = n.min(inode.count.load(Ordering::Acquire).saturating_sub(1));
            inode.count.fetch_sub(mine, Ordering::AcqRel);
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
        let (sb, ino) = (Arc::clone(inode.sb()), inode.ino());
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
                Some(Entry::Evicting(_) | Entry::Loading(_)) => {
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
        // Of a file system on a device, the handler has stored it.
        if !sb.is_extents() {
            inode.set(DIRTY);
        }
        let reference = InodeRef::of(&inode);
        let nlink = inode.nlink();
        inode.repin(nlink);
        map.insert(ino, Entry::Live(Arc::clone(&inode)));
        sb.table.not_fresh(&inode);
        Ok(reference)
    }
}

impl Drop for NewInode {
    fn drop(&mut self) {
        if let Some(inode) = self.inode.take() {
            inode.forget();
            inode.sb().table.not_fresh(&inode);
            inode.sb().used_inodes.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
