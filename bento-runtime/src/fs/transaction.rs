// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Changes of metadata blocks that happen together or not at all.
//!
//! The shim owns the undo log and the journal. [`Transaction::put`] notes the old bytes there before it writes, so that a
//! transaction that is dropped, on `Err`, by a panic, or never ended at all, leaves every block as it was. Whoever changes
//! journaled bytes holds a lock that the transaction owns ([`Transaction::lock`]) and lets go of after its end: nobody
//! builds on bytes that are undone later (SAFETY.md T1).

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use alloc::vec::Vec;

use super::device::{Block, Credits, Field, copy_in, copy_out};
use super::{Attr, FileSystem, Inode, NewInode};
use crate::abi;
use crate::errno::{Errno, Result};
use crate::sync::{Mutex, MutexGuard, RawGuard};
use crate::{faults, host};

/// A transaction of this call; undone unless [`Self::commit`] says otherwise.
#[must_use = "dropped, it is undone"]
pub struct Transaction<'call> {
    call: *mut abi::bento_call,
    /// Tells the blocks of this transaction from those of an earlier one of the same call.
    serial: u32,
    /// Committed, or it could not be; only the locks are left.
    ended: bool,
    locks: UnsafeCell<Locks>,
    /// Invariant: with a shorter `'call`, [`Self::lock`] would take a mutex that is gone before the transaction ends.
    life: PhantomData<fn(&'call ()) -> &'call ()>,
}

/// The locks of a transaction, in the order they were taken. A few need no memory.
struct Locks {
    few: [Option<RawGuard>; 4],
    many: Vec<RawGuard>,
}

impl Locks {
    const fn new() -> Self {
        Locks { few: [const { None }; 4], many: Vec::new() }
    }

    fn has<T>(&self, mutex: &Mutex<T>) -> bool {
        self.few.iter().flatten().chain(&self.many).any(|guard| guard.is(mutex))
    }

    /// Room for one more: taken before the lock, so that nothing fails after.
    fn reserve(&mut self) {
        if self.few.iter().all(Option::is_some) {
            self.many.reserve(1);
        }
    }

    fn push(&mut self, guard: RawGuard) {
        match self.few.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(guard),
            None => self.many.push(guard),
        }
    }

    fn pop(&mut self) -> Option<RawGuard> {
        self.many.pop().or_else(|| self.few.iter_mut().rev().find_map(Option::take))
    }
}

/// What a lock of the transaction protects.
pub struct Locked<'tx, T> {
    value: *mut T,
    life: PhantomData<&'tx mut T>,
}

/// Which of the checksums that the shim keeps ([`super::MountContext::add_checksum`]) a block has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksum(pub(crate) u32);

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl<'call> Transaction<'call> {
    pub(super) fn new(call: *mut abi::bento_call) -> Self {
        // Never 0: that is a block nobody has write access to.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed) | 1 << 31;
        Transaction { call, serial, ended: false, locks: UnsafeCell::new(Locks::new()), life: PhantomData }
    }

    /// Asks for room for more blocks; `ENOSPC` when the journal's running transaction has none. Then this one is to end,
    /// and a new one to go on: long operations are steps, each a transaction.
    pub fn extend(&self, credits: impl Into<Credits>) -> Result<()> {
        let Credits { blocks, revokes } = credits.into();
        host::tx_extend(self.call, blocks, revokes)
    }

    fn access(&self, block: &Block<'_>, checksum: u32) -> Result<()> {
        if block.writer.get() != self.serial {
            // Of another mount it would be a slot of this ledger all the same.
            if block.call() != self.call {
                return Err(Errno::EINVAL);
            }
            host::tx_write(self.call, block.slot(), checksum)?;
            block.writer.set(self.serial);
        }
        Ok(())
    }

    /// Declares that `block` will change: what can fail about that fails here. Done by the first `put` otherwise.
    pub fn write(&self, block: &Block<'_>) -> Result<()> {
        self.access(block, 0)
    }

    /// The same for a block with a checksum that the shim keeps.
    pub fn write_summed(&self, block: &Block<'_>, checksum: Checksum) -> Result<()> {
        // A fresh block has write access, and has not said which it has.
        block.writer.set(0);
        self.access(block, checksum.0)
    }

    /// Notes `len` bytes at `at` in the undo log.
    #[inline(always)]
    fn note(&self, at: *mut u8, len: usize) -> Result<()> {
        const HEADER: usize = size_of::<abi::bento_undo_record>();
        let need = HEADER + len.next_multiple_of(8);
        faults::access(self.call)?;
        // SAFETY: SAFETY.md C1, T1: the chunk is this call's, and what lies behind `used` is nobody's yet.
        unsafe {
            let mut chunk = (*self.call).undo;
            if chunk.is_null() || (((*chunk).cap - (*chunk).used) as usize) < need {
                host::tx_undo_room(self.call, need)?;
                chunk = (*self.call).undo;
            }
            let record = chunk.add(1).cast::<u8>().add((*chunk).used as usize);
            record.cast::<abi::bento_undo_record>().write(abi::bento_undo_record { at, len: len as u64 });
            copy_out(at, record.add(HEADER), len);
            (*chunk).used += need as u32;
        }
        Ok(())
    }

    /// Writes the field at `offset` bytes of `block`; `EUCLEAN` when it is not all inside.
    #[inline(always)]
    pub fn put<T: Field>(&self, block: &Block<'_>, offset: usize, value: T) -> Result<()> {
        let value = value.disk_order();
        let to = block.range(offset, size_of::<T>())?;
        self.access(block, 0)?;
        self.note(to, size_of::<T>())?;
        // SAFETY: SAFETY.md C4, T1: inside the block, and undone if need be.
        unsafe { copy_in((&raw const value).cast(), to, size_of::<T>()) };
        Ok(())
    }

    /// Writes `bytes` at `offset`.
    pub fn put_bytes(&self, block: &Block<'_>, offset: usize, bytes: &[u8]) -> Result<()> {
        let to = block.range(offset, bytes.len())?;
        self.access(block, 0)?;
        self.note(to, bytes.len())?;
        // SAFETY: SAFETY.md C4, T1, as above.
        unsafe { copy_in(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Writes `len` times `byte`.
    pub fn fill(&self, block: &Block<'_>, offset: usize, len: usize, byte: u8) -> Result<()> {
        let to = block.range(offset, len)?;
        self.access(block, 0)?;
        self.note(to, len)?;
        let word = [byte; 8];
        for at in (0..len).step_by(8) {
            // SAFETY: SAFETY.md C4, T1, as above.
            unsafe { copy_in(word.as_ptr(), to.add(at), 8.min(len - at)) };
        }
        Ok(())
    }

    /// Moves `len` bytes inside the block; the ranges may overlap.
    pub fn shift(&self, block: &Block<'_>, from: usize, to: usize, len: usize) -> Result<()> {
        let (source, target) = (block.range(from, len)?, block.range(to, len)?);
        self.access(block, 0)?;
        self.note(target, len)?;
        let mut piece = MaybeUninit::<[u8; 64]>::uninit();
        let mut done = 0;
        while done < len {
            let step = 64.min(len - done);
            // Upwards from the end, downwards from the start: a piece is read before it is overwritten.
            let at = if to > from { len - done - step } else { done };
            // SAFETY: SAFETY.md C4, T1: inside the block; the piece is filled before it is read.
            unsafe {
                copy_out(source.add(at), piece.as_mut_ptr().cast(), step);
                copy_in(piece.as_ptr().cast(), target.add(at), step);
            }
            done += step;
        }
        Ok(())
    }

    /// Sets or clears bits `from..from + count`; bit 0 is the lowest of the first byte.
    pub fn put_bits(&self, block: &Block<'_>, from: usize, count: usize, set: bool) -> Result<()> {
        let end = from.checked_add(count).ok_or(Errno::EUCLEAN)?;
        let (first, last) = (from / 8, end.div_ceil(8));
        let to = block.range(first, last - first)?;
        self.access(block, 0)?;
        self.note(to, last - first)?;
        for byte in first..last {
            let low = from.saturating_sub(byte * 8).min(8);
            let high = (end - byte * 8).min(8);
            let mask = ((0xffu16 << low) & (0xffu16 >> (8 - high))) as u8;
            let old: u8 = block.get(byte)?;
            let new = if set { old | mask } else { old & !mask };
            // SAFETY: SAFETY.md C4, T1, as above.
            unsafe { copy_in(&new, to.add(byte - first), 1) };
        }
        Ok(())
    }

    /// A block that this transaction gives a meaning: not read, but zeroed.
    pub fn fresh(&self, number: u64) -> Result<Block<'call>> {
        let raw = host::block_new(self.call, number)?;
        let block = Block::new(self.call, raw);
        block.set_checked();
        block.writer.set(self.serial);
        Ok(block)
    }

    /// A metadata block that this transaction frees: it is not replayed any more, whoever has the block next. It counts
    /// as one of the [`Credits::revokes`].
    pub fn forget(&self, number: u64) -> Result<()> {
        host::tx_forget(self.call, number)
    }

    /// Takes free blocks, or `ENOSPC`; given back unless this commits.
    pub fn claim(&self, blocks: u64) -> Result<()> {
        host::tx_claim(self.call, blocks)
    }

    /// Gives blocks back when this commits.
    pub fn release(&self, blocks: u64) {
        host::tx_release(self.call, blocks);
    }

    /// Free blocks, or blocks that this transaction frees, of which the device is told once it has been committed.
    /// [`super::Device::is_committed`] says so only after that, and whoever hands out blocks waits for it.
    /// `EOPNOTSUPP` without a journal.
    pub fn discard(&self, number: u64, count: u64) -> Result<()> {
        host::tx_discard(self.call, number, count)
    }

    /// Changes attributes with the commit: what `change` makes of them, which is also returned, for the disk. Once for each
    /// inode and transaction: it does not see what an earlier `update` will do.
    pub fn update<F: FileSystem>(&self, inode: &Inode<F>, change: impl FnOnce(&mut Attr)) -> Result<Attr> {
        self.update_raw(inode.as_raw(), change)
    }

    /// The same for an inode in the making.
    pub fn update_new<F: FileSystem>(&self, new: &NewInode<'_, F>, change: impl FnOnce(&mut Attr)) -> Result<Attr> {
        self.update_raw(new.as_raw(), change)
    }

    fn update_raw(&self, inode: *mut abi::bento_inode, change: impl FnOnce(&mut Attr)) -> Result<Attr> {
        let mut raw = host::inode_attr(inode);
        let mut attr = Attr::from_abi(&raw);
        change(&mut attr);
        let valid = attr.changes(&raw);
        if valid & abi::BENTO_ATTR_SIZE != 0 {
            attr.disk_size = attr.size;
        }
        attr.store(&mut raw);
        if valid != 0 {
            host::tx_inode(self.call, inode, &raw, valid)?;
        }
        Ok(attr)
    }

    /// Names the journal's transaction that this one becomes durable with: see [`super::Device::is_committed`].
    pub fn id(&self) -> u64 {
        host::tx_id(self.call)
    }

    /// Locks `mutex` until this transaction has ended. A lock it holds already is refused with `EDEADLK`.
    #[track_caller]
    pub fn lock<'tx, T>(&'tx self, mutex: &'call Mutex<T>) -> Result<Locked<'tx, T>> {
        if self.held(|held| held.has(mutex)) {
            return Err(Errno::EDEADLK);
        }
        self.held(Locks::reserve);
        Ok(self.keep(mutex.lock()))
    }

    /// The same, but `None` when another holds it.
    pub fn try_lock<'tx, T>(&'tx self, mutex: &'call Mutex<T>) -> Option<Locked<'tx, T>> {
        self.held(Locks::reserve);
        Some(self.keep(mutex.try_lock()?))
    }

    fn held<R>(&self, look: impl FnOnce(&mut Locks) -> R) -> R {
        // SAFETY: SAFETY.md T1: `Transaction` is not `Sync`, and what `look` does here comes back to no transaction.
        look(unsafe { &mut *self.locks.get() })
    }

    fn keep<'tx, T>(&'tx self, guard: MutexGuard<'call, T>) -> Locked<'tx, T> {
        let value = guard.as_ptr();
        self.held(|held| held.push(guard.into_raw()));
        Locked { value, life: PhantomData }
    }

    fn unlock(&mut self) {
        while let Some(guard) = self.locks.get_mut().pop() {
            // SAFETY: SAFETY.md T1: `lock` took it; the mutex lives for `'call`, and `Locked` borrowed us, so none is left.
            unsafe { guard.unlock() };
        }
    }

    /// Makes all of it happen. An error means that nothing has: the instance is spoiled, or the journal has stopped.
    pub fn commit(mut self) -> Result<()> {
        faults::access(self.call)?;
        self.ended = true;
        host::tx_end(self.call, true)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let _ = host::tx_end(self.call, false);
        }
        self.unlock();
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: SAFETY.md T1: the transaction holds the lock as long as we borrow it.
        unsafe { &*self.value }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: SAFETY.md T1, as above; `lock` gives one of these for each time the lock is held.
        unsafe { &mut *self.value }
    }
}
