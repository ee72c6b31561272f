// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The device below a file system with `data = "extents"`, and its metadata blocks in the buffer cache.
//!
//! A [`Block`] is looked up once and then read through inlined copies: a field costs no call into the shim. Others may
//! change the bytes meanwhile, so no reference into them exists (SAFETY.md C4); what must hold together is read under the
//! lock that its writers hold ([`super::Transaction::lock`]).

use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr;

use super::{Context, FileSystem, MountContext, Timestamp, Transaction};
use crate::abi;
use crate::errno::{Errno, Result};
use crate::host;

/// The device of a mount, during one call.
#[derive(Clone, Copy)]
pub struct Device<'call> {
    call: *mut abi::bento_call,
    life: PhantomData<&'call ()>,
}

/// What a transaction may change: blocks, and blocks that are freed ([`Transaction::forget`]).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Credits {
    pub blocks: u32,
    pub revokes: u32,
}

impl From<u32> for Credits {
    fn from(blocks: u32) -> Credits {
        Credits { blocks, revokes: 0 }
    }
}

impl<F: FileSystem> Context<F> {
    /// The device of this mount.
    pub fn device(&self) -> Device<'_> {
        Device { call: self.as_raw(), life: PhantomData }
    }

    /// Begins a transaction that may change so many blocks. A call has at most one at a time.
    pub fn begin(&self, credits: impl Into<Credits>) -> Result<Transaction<'_>> {
        self.device().begin(credits)
    }
}

impl MountContext<'_> {
    /// The device that is being mounted.
    pub fn device(&self) -> Device<'_> {
        Device { call: self.as_raw(), life: PhantomData }
    }
}

impl<'call> Device<'call> {
    fn info(&self) -> abi::bento_device {
        host::device(self.call)
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.info().size
    }

    /// Bytes: the unit of block numbers.
    pub fn block_size(&self) -> u32 {
        self.info().block_size
    }

    /// Neither it nor the mount may be written.
    pub fn read_only(&self) -> bool {
        self.info().flags & abi::BENTO_DEVICE_RDONLY != 0
    }

    /// A metadata block: `EIO` when it cannot be read, `EUCLEAN` when the device has no such block.
    pub fn read(&self, number: u64) -> Result<Block<'call>> {
        let raw = host::block_read(self.call, number)?;
        Ok(Block::new(self.call, raw))
    }

    /// The same for a block of a table, of which `count` blocks from `first` on will be wanted soon: when this one has to be
    /// read, reading them starts as well.
    pub fn read_near(&self, number: u64, first: u64, count: u32) -> Result<Block<'call>> {
        let raw = host::block_read_near(self.call, number, first, count)?;
        Ok(Block::new(self.call, raw))
    }

    /// A block of which it is known that it holds nothing: not read, but zeroes, unless it is cached.
    pub fn blank(&self, number: u64) -> Result<Block<'call>> {
        let raw = host::block_blank(self.call, number)?;
        Ok(Block::new(self.call, raw))
    }

    /// Starts to read blocks that will be needed; never waits.
    pub fn read_ahead(&self, number: u64, count: u32) {
        host::block_ahead(self.call, number, count);
    }

    /// Writes zeroes to blocks that no [`Block`] was ever read of.
    pub fn zero(&self, number: u64, count: u64) -> Result<()> {
        host::blocks_zero(self.call, number, count)
    }

    /// Begins a transaction ([`Context::begin`]); in `mount`, before there is an instance.
    #[inline(always)]
    pub fn begin(&self, credits: impl Into<Credits>) -> Result<Transaction<'call>> {
        let Credits { blocks, revokes } = credits.into();
        host::tx_begin(self.call, blocks, revokes)?;
        Ok(Transaction::new(self.call))
    }

    /// Has the journal's transaction `id` ([`Transaction::id`]) reached the device?
    pub fn is_committed(&self, id: u64) -> bool {
        host::tx_is_committed(self.call, id)
    }

    /// One line in the log, as an error.
    pub fn error(&self, message: core::fmt::Arguments<'_>) {
        // SAFETY: SAFETY.md C1: `sb` is set before the call and constant.
        host::log(unsafe { (*self.call).sb }, abi::BENTO_LOG_ERR, message);
    }

    /// The current time, as [`Context::now`].
    pub fn now(&self) -> Timestamp {
        let time = host::now(self.call);
        Timestamp { sec: time.sec, nsec: time.nsec }
    }

    /// Random bytes from the kernel.
    pub fn random(&self, bytes: &mut [u8]) {
        host::random(bytes);
    }

    /// The file system found itself corrupt: what the administrator wants to happen then.
    pub fn fail(&self, what: OnError) {
        host::fail(self.call, what as u32);
    }
}

/// What `errors=` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum OnError {
    /// Nothing but the log line.
    Continue = abi::BENTO_FAIL_CONTINUE,
    /// Nothing is written any more.
    ReadOnly = abi::BENTO_FAIL_RDONLY,
    /// The machine stops, where the shim is a kernel.
    Panic = abi::BENTO_FAIL_PANIC,
}

/// crc32c without the inversions at either end, as ext4 and jbd2 use it.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    host::crc32c(seed, bytes.as_ptr(), bytes.len())
}

/// A metadata block, held until dropped.
pub struct Block<'call> {
    call: *mut abi::bento_call,
    raw: abi::bento_block,
    checked: Cell<bool>,
    /// Serial number of the transaction that got write access; 0 = none.
    pub(super) writer: Cell<u32>,
    life: PhantomData<&'call ()>,
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        host::block_put(self.call, self.raw.slot);
    }
}

mod sealed {
    /// # Safety
    /// Any bytes are a value, and there is no padding.
    pub unsafe trait Plain: Copy {
        /// Into the byte order of the disk, or back.
        fn disk_order(self) -> Self;
    }
}

/// What can be copied out of a block and into it: little-endian integers and arrays of bytes.
pub trait Field: sealed::Plain {}

macro_rules! integers {
    ($($int:ty)*) => {$(
        // SAFETY: SAFETY.md C4: an integer has no padding and no invalid value.
        unsafe impl sealed::Plain for $int {
            #[inline(always)]
            fn disk_order(self) -> Self {
                <$int>::from_le(self)
            }
        }
        impl Field for $int {}
    )*};
}

integers! { u8 u16 u32 u64 }

// SAFETY: SAFETY.md C4: bytes have no padding and no invalid value.
unsafe impl<const N: usize> sealed::Plain for [u8; N] {
    #[inline(always)]
    fn disk_order(self) -> Self {
        self
    }
}
impl<const N: usize> Field for [u8; N] {}

impl<'call> Block<'call> {
    pub(super) fn new(call: *mut abi::bento_call, raw: abi::bento_block) -> Self {
        let checked = Cell::new(raw.flags & abi::BENTO_BLOCK_CHECKED != 0);
        Block { call, raw, checked, writer: Cell::new(0), life: PhantomData }
    }

    pub fn number(&self) -> u64 {
        self.raw.number
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.raw.size as usize
    }

    pub(super) fn slot(&self) -> u32 {
        self.raw.slot
    }

    pub(super) fn call(&self) -> *mut abi::bento_call {
        self.call
    }

    /// Did [`Self::set_checked`] happen since it was read from the device?
    pub fn is_checked(&self) -> bool {
        self.checked.get()
    }

    /// Its checksum was found right: not to be computed again while it stays cached.
    pub fn set_checked(&self) {
        if !self.checked.replace(true) {
            host::block_checked(self.call, self.raw.slot);
        }
    }

    /// `len` bytes at `offset`, or `EUCLEAN`: offsets come from the disk.
    #[inline(always)]
    pub(super) fn range(&self, offset: usize, len: usize) -> Result<*mut u8> {
        match offset.checked_add(len) {
            // SAFETY: SAFETY.md C4: inside the block, which the ledger holds.
            Some(end) if end <= self.raw.size as usize => Ok(unsafe { self.raw.data.add(offset) }),
            _ => Err(Errno::EUCLEAN),
        }
    }

    /// A copy of the field at `offset` bytes; `EUCLEAN` when it is not all inside.
    #[inline(always)]
    pub fn get<T: Field>(&self, offset: usize) -> Result<T> {
        let from = self.range(offset, size_of::<T>())?;
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: SAFETY.md C4: `range` checked it; every pattern of bytes is a `T`.
        unsafe {
            copy_out(from, value.as_mut_ptr().cast(), size_of::<T>());
            Ok(value.assume_init().disk_order())
        }
    }

    /// Fills `bytes` from `offset`.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let from = self.range(offset, bytes.len())?;
        // SAFETY: SAFETY.md C4: `range` checked it.
        unsafe { copy_out(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Are the bytes at `offset` these?
    pub fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        let Ok(from) = self.range(offset, bytes.len()) else { return false };
        let (words, rest) = bytes.as_chunks::<8>();
        // SAFETY: SAFETY.md C4: `range` checked it.
        unsafe {
            words.iter().enumerate().all(|(n, word)| load::<u64>(from.add(n * 8)) == u64::from_ne_bytes(*word))
                && rest.iter().enumerate().all(|(n, byte)| load::<u8>(from.add(words.len() * 8 + n)) == *byte)
        }
    }

    /// The first bit in `from..to` that is `set`; bit 0 is the lowest of the first byte.
    pub fn find_bit(&self, set: bool, from: usize, to: usize) -> Option<usize> {
        let to = to.min(self.len() * 8);
        let flip = if set { 0 } else { u64::MAX };
        let mut at = from;
        while at < to {
            let word = self.get::<u64>(at / 64 * 8).ok()? ^ flip;
            let rest = word & (u64::MAX << (at % 64));
            if rest != 0 {
                let found = at / 64 * 64 + rest.trailing_zeros() as usize;
                return (found < to).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// How many bits of `from..to` are set.
    pub fn count_bits(&self, from: usize, to: usize) -> usize {
        let (mut at, to, mut count) = (from, to.min(self.len() * 8), 0);
        while at < to {
            let Ok(word) = self.get::<u64>(at / 64 * 8) else { break };
            let mut word = word & (u64::MAX << (at % 64));
            if to - at / 64 * 64 < 64 {
                word &= !(u64::MAX << (to % 64));
            }
            count += word.count_ones() as usize;
            at = (at / 64 + 1) * 64;
        }
        count
    }

    /// [`crc32c`] of `len` bytes at `offset`.
    pub fn crc32c(&self, seed: u32, offset: usize, len: usize) -> Result<u32> {
        let from = self.range(offset, len)?;
        Ok(host::crc32c(seed, from, len))
    }
}

/// # Safety
/// `from` is readable, of `T`'s size.
#[inline(always)]
unsafe fn load<T: Copy>(from: *const u8) -> T {
    // SAFETY: SAFETY.md C4: volatile, since others may write there; the packed wrapper asks for no alignment.
    unsafe { ptr::read_volatile(from.cast::<Unaligned<T>>()).0 }
}

/// # Safety
/// `to` is writable, of `T`'s size.
#[inline(always)]
unsafe fn store<T: Copy>(to: *mut u8, value: T) {
    // SAFETY: SAFETY.md C4, as for `load`.
    unsafe { ptr::write_volatile(to.cast::<Unaligned<T>>(), Unaligned(value)) }
}

#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned<T>(T);

/// Copies out of memory that others may change.
///
/// # Safety
/// `len` bytes at both ends; `to` is this call's alone.
#[inline(always)]
pub(super) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    // SAFETY: SAFETY.md C4; the caller's promise.
    unsafe {
        // An inode is copied out each time it changes: four words at a time.
        while at + 32 <= len {
            let words = [0, 8, 16, 24].map(|word| load::<u64>(from.add(at + word)));
            to.add(at).cast::<Unaligned<[u64; 4]>>().write(Unaligned(words));
            at += 32;
        }
        while at + 8 <= len {
            to.add(at).cast::<Unaligned<u64>>().write(Unaligned(load::<u64>(from.add(at))));
            at += 8;
        }
        // A field of four bytes or two is one access.
        if at + 4 <= len {
            to.add(at).cast::<Unaligned<u32>>().write(Unaligned(load::<u32>(from.add(at))));
            at += 4;
        }
        if at + 2 <= len {
            to.add(at).cast::<Unaligned<u16>>().write(Unaligned(load::<u16>(from.add(at))));
            at += 2;
        }
        if at < len {
            to.add(at).write(load::<u8>(from.add(at)));
        }
    }
}

/// Copies into memory that others may read meanwhile.
///
/// # Safety
/// `len` bytes at both ends; `from` is this call's alone.
#[inline(always)]
pub(super) unsafe fn copy_in(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    // SAFETY: SAFETY.md C4; the caller's promise.
    unsafe {
        while at + 8 <= len {
            store::<u64>(to.add(at), from.add(at).cast::<Unaligned<u64>>().read().0);
            at += 8;
        }
        if at + 4 <= len {
            store::<u32>(to.add(at), from.add(at).cast::<Unaligned<u32>>().read().0);
            at += 4;
        }
        if at + 2 <= len {
            store::<u16>(to.add(at), from.add(at).cast::<Unaligned<u16>>().read().0);
            at += 2;
        }
        if at < len {
            store::<u8>(to.add(at), from.add(at).read());
        }
    }
}
