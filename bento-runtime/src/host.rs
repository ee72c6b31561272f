// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The shim's functions, made safe. In the kernel they are direct calls into `bento.ko`; elsewhere they go through the
//! table a shim handed over (SAFETY.md C7).

use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::ptr;

use crate::abi;
use crate::errno::{Errno, Result};
use crate::faults::access;

/// A call to a function of the shim.
macro_rules! shim {
    ($name:ident, $direct:ident ( $($arg:expr),* )) => {{
        #[cfg(bento_kernel)]
        { abi::$direct($($arg),*) }
        #[cfg(not(bento_kernel))]
        { (table().$name.unwrap())($($arg),*) }
    }};
}

#[cfg(not(bento_kernel))]
mod installed {
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, Ordering};

    use crate::abi;

    static HOST: AtomicPtr<abi::bento_host> = AtomicPtr::new(ptr::null_mut());

    pub(super) fn table() -> &'static abi::bento_host {
        // SAFETY: SAFETY.md C7: only `install` stores here, and it takes a `'static` table.
        unsafe { HOST.load(Ordering::Acquire).as_ref() }.expect("no shim is installed")
    }

    /// Hands over the shim's functions, before any thunk is called.
    ///
    /// # Errors
    /// `EINVAL` when the table is of another ABI version or shorter than this one.
    pub fn install(host: &'static abi::bento_host) -> crate::errno::Result<()> {
        let table = ptr::from_ref(host);
        if host.abi != abi::BENTO_ABI_VERSION || (host.size as usize) < size_of::<abi::bento_host>() {
            return Err(crate::errno::Errno::EINVAL);
        }
        HOST.store(table.cast_mut(), Ordering::Release);
        Ok(())
    }

    /// Is there a shim yet?
    pub fn is_installed() -> bool {
        !HOST.load(Ordering::Acquire).is_null()
    }
}

#[cfg(not(bento_kernel))]
use installed::table;
#[cfg(not(bento_kernel))]
pub use installed::{install, is_installed};

/// A message of at most 400 bytes on the stack: a panic must not allocate.
pub(crate) struct Message {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Message {
    const CAPACITY: usize = 400;

    pub(crate) fn format(args: fmt::Arguments<'_>) -> Message {
        let mut message = Message { bytes: [0; Self::CAPACITY], len: 0 };
        let _ = message.write_fmt(args); // what does not fit is cut
        message
    }

    pub(crate) fn as_abi(&self) -> abi::bento_bytes {
        abi::bento_bytes { ptr: self.bytes.as_ptr(), len: self.len }
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let len = text.len().min(Self::CAPACITY - self.len);
        self.bytes[self.len..self.len + len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        if len == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

pub(crate) fn log(sb: *mut abi::bento_super, level: u32, args: fmt::Arguments<'_>) {
    let message = Message::format(args);
    // SAFETY: SAFETY.md C7; the message lives through the call.
    unsafe { shim!(log, bento_log(sb, level, message.as_abi())) }
}

#[cfg(any(feature = "std", feature = "freestanding"))]
pub(crate) fn panicked(
    call: *mut abi::bento_call,
    message: fmt::Arguments<'_>,
    file: &str,
    line: u32,
    column: u32,
    errno: Errno,
) {
    let message = Message::format(message);
    let location = abi::bento_location { file: abi::bento_bytes { ptr: file.as_ptr(), len: file.len() }, line, column };
    // SAFETY: SAFETY.md C1, C7; message and location live through the call.
    unsafe { shim!(panicked, bento_panicked(call, message.as_abi(), &location, errno.get())) }
}

#[cfg(feature = "freestanding")]
pub(crate) fn poison(call: *mut abi::bento_call) {
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(poison, bento_poison(call)) }
}

#[inline(always)]
pub(crate) fn inode_attr(inode: *const abi::bento_inode) -> abi::bento_attr {
    let mut attr = MaybeUninit::uninit();
    // SAFETY: SAFETY.md C5, C7: the inode is live, and the shim writes every field.
    unsafe {
        shim!(inode_attr, bento_inode_attr(inode, attr.as_mut_ptr()));
        attr.assume_init()
    }
}

pub(crate) fn inode_update(
    call: *mut abi::bento_call,
    inode: *mut abi::bento_inode,
    attr: &abi::bento_attr,
    valid: u32,
) -> Result<()> {
    // SAFETY: SAFETY.md C1, C5, C7.
    Errno::check(unsafe { shim!(inode_update, bento_inode_update(call, inode, attr, valid)) }).map(drop)
}

pub(crate) fn inode_get(call: *mut abi::bento_call, ino: u64) -> Result<*mut abi::bento_inode> {
    let mut inode = ptr::null_mut();
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(inode_get, bento_inode_get(call, ino, &mut inode)) })?;
    if inode.is_null() { Err(Errno::EIO) } else { Ok(inode) }
}

#[cold]
pub(crate) fn inode_resolve(call: *mut abi::bento_call, inode: *mut abi::bento_inode) -> Result<()> {
    // SAFETY: SAFETY.md C1, C5, C7.
    Errno::check(unsafe { shim!(inode_resolve, bento_inode_resolve(call, inode)) }).map(drop)
}

pub(crate) fn state_put(call: *mut abi::bento_call, out: *mut abi::bento_state, bytes: &[u8]) -> Result<()> {
    // SAFETY: SAFETY.md C1, C7: the shim copies.
    Errno::check(unsafe { shim!(state_put, bento_state_put(call, out, bytes.as_ptr(), bytes.len())) }).map(drop)
}

/// A lock was let go by a call that unwinds.
#[cold]
pub(crate) fn lock_poisoned(call: *mut abi::bento_call, lock: *const ()) {
    // SAFETY: SAFETY.md C1, C2, C7: the address is only compared.
    unsafe { shim!(lock_poisoned, bento_lock_poisoned(call, lock.cast())) }
}

/// A call met such a lock.
#[cold]
pub(crate) fn lock_refused(call: *mut abi::bento_call, lock: *const ()) {
    // SAFETY: SAFETY.md C1, C2, C7: the address is only compared.
    unsafe { shim!(lock_refused, bento_lock_refused(call, lock.cast())) }
}

pub(crate) fn inode_wake(call: *mut abi::bento_call, inode: *mut abi::bento_inode) {
    // SAFETY: SAFETY.md C1, C5, C7.
    unsafe { shim!(inode_wake, bento_inode_wake(call, inode)) }
}

pub(crate) fn inode_invalidate(call: *mut abi::bento_call, inode: *mut abi::bento_inode, offset: u64, len: u64) {
    // SAFETY: SAFETY.md C1, C5, C7.
    unsafe { shim!(inode_invalidate, bento_inode_invalidate(call, inode, offset, len)) }
}

pub(crate) fn generic_permission(call: *mut abi::bento_call, inode: *mut abi::bento_inode, mask: u32) -> Result<()> {
    // SAFETY: SAFETY.md C1, C5, C7.
    Errno::check(unsafe { shim!(generic_permission, bento_generic_permission(call, inode, mask)) }).map(drop)
}

pub(crate) fn cred(call: *mut abi::bento_call) -> abi::bento_cred {
    let mut cred = MaybeUninit::zeroed();
    // SAFETY: SAFETY.md C1, C7; all-zero is a valid `bento_cred`.
    unsafe {
        shim!(cred, bento_cred(call, cred.as_mut_ptr()));
        cred.assume_init()
    }
}

pub(crate) fn now(call: *mut abi::bento_call) -> abi::bento_time {
    let mut time = abi::bento_time { sec: 0, nsec: 0, pad: 0 };
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(now, bento_now(call, &mut time)) }
    time
}

pub(crate) fn random(bytes: &mut [u8]) {
    // SAFETY: SAFETY.md C7: pointer and length are those of an exclusive slice.
    unsafe { shim!(random, bento_random(bytes.as_mut_ptr(), bytes.len())) }
}

pub(crate) fn sink_put(call: *mut abi::bento_call, sink: *mut abi::bento_sink, pos: u64, bytes: &[u8]) -> Result<()> {
    // SAFETY: SAFETY.md C1, C4, C7: the shim copies, and checks `pos`.
    Errno::check(unsafe { shim!(sink_put, bento_sink_put(call, sink, pos, bytes.as_ptr(), bytes.len())) }).map(drop)
}

pub(crate) fn source_get(
    call: *mut abi::bento_call,
    source: *mut abi::bento_source,
    pos: u64,
    bytes: &mut [u8],
) -> Result<()> {
    // SAFETY: SAFETY.md C1, C4, C7: the shim copies, and checks `pos`.
    Errno::check(unsafe { shim!(source_get, bento_source_get(call, source, pos, bytes.as_mut_ptr(), bytes.len())) })
        .map(drop)
}

pub(crate) fn device(call: *mut abi::bento_call) -> abi::bento_device {
    let mut device = abi::bento_device { size: 0, block_size: 0, flags: 0 };
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(device, bento_device(call, &mut device)) }
    device
}

pub(crate) fn device_block_size(call: *mut abi::bento_call, size: u32) -> Result<()> {
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(device_block_size, bento_device_block_size(call, size)) }).map(drop)
}

const NO_BLOCK: abi::bento_block =
    abi::bento_block { data: ptr::null_mut(), number: 0, size: 0, slot: 0, flags: 0, pad: 0 };

pub(crate) fn block_read(call: *mut abi::bento_call, number: u64) -> Result<abi::bento_block> {
    access(call)?;
    let mut block = NO_BLOCK;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(block_read, bento_block_read(call, number, &mut block)) })?;
    if block.data.is_null() { Err(Errno::EIO) } else { Ok(block) }
}

pub(crate) fn block_read_near(
    call: *mut abi::bento_call,
    number: u64,
    first: u64,
    count: u32,
) -> Result<abi::bento_block> {
    access(call)?;
    let mut block = NO_BLOCK;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(block_read_near, bento_block_read_near(call, number, first, count, &mut block)) })?;
    if block.data.is_null() { Err(Errno::EIO) } else { Ok(block) }
}

pub(crate) fn block_blank(call: *mut abi::bento_call, number: u64) -> Result<abi::bento_block> {
    access(call)?;
    let mut block = NO_BLOCK;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(block_blank, bento_block_blank(call, number, &mut block)) })?;
    if block.data.is_null() { Err(Errno::EIO) } else { Ok(block) }
}

pub(crate) fn block_new(call: *mut abi::bento_call, number: u64) -> Result<abi::bento_block> {
    access(call)?;
    let mut block = NO_BLOCK;
    // SAFETY: SAFETY.md C1, C7, T1.
    Errno::check(unsafe { shim!(block_new, bento_block_new(call, number, &mut block)) })?;
    if block.data.is_null() { Err(Errno::EIO) } else { Ok(block) }
}

pub(crate) fn block_put(call: *mut abi::bento_call, slot: u32) {
    // SAFETY: SAFETY.md C1, C7: the `Block` that had the slot is gone.
    unsafe { shim!(block_put, bento_block_put(call, slot)) }
}

pub(crate) fn block_checked(call: *mut abi::bento_call, slot: u32) {
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(block_checked, bento_block_checked(call, slot)) }
}

pub(crate) fn block_ahead(call: *mut abi::bento_call, number: u64, count: u32) {
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(block_ahead, bento_block_ahead(call, number, count)) }
}

pub(crate) fn blocks_zero(call: *mut abi::bento_call, number: u64, count: u64) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(blocks_zero, bento_blocks_zero(call, number, count)) }).map(drop)
}

/// `bytes` may be memory that others change: the sum is then of no use, but nothing worse happens.
pub(crate) fn crc32c(seed: u32, bytes: *const u8, len: usize) -> u32 {
    // SAFETY: SAFETY.md C4, C7: the callers' bytes are readable.
    unsafe { shim!(crc32c, bento_crc32c(seed, bytes, len)) }
}

pub(crate) fn journal_open(call: *mut abi::bento_call, journal: &mut abi::bento_journal) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7: the runs live through the call.
    Errno::check(unsafe { shim!(journal_open, bento_journal_open(call, journal)) }).map(drop)
}

pub(crate) fn checksum_add(call: *mut abi::bento_call, sum: &abi::bento_checksum) -> Result<u32> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(checksum_add, bento_checksum_add(call, sum)) }).map(|index| index.unsigned_abs())
}

pub(crate) fn tx_begin(call: *mut abi::bento_call, blocks: u32, revokes: u32) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(tx_begin, bento_tx_begin(call, blocks, revokes)) }).map(drop)
}

pub(crate) fn tx_extend(call: *mut abi::bento_call, blocks: u32, revokes: u32) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(tx_extend, bento_tx_extend(call, blocks, revokes)) }).map(drop)
}

pub(crate) fn tx_write(call: *mut abi::bento_call, slot: u32, checksum: u32) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(tx_write, bento_tx_write(call, slot, checksum)) }).map(drop)
}

#[cold]
pub(crate) fn tx_undo_room(call: *mut abi::bento_call, len: usize) -> Result<()> {
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(tx_undo_room, bento_tx_undo_room(call, len)) }).map(drop)
}

pub(crate) fn tx_forget(call: *mut abi::bento_call, number: u64) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(tx_forget, bento_tx_forget(call, number)) }).map(drop)
}

pub(crate) fn tx_inode(
    call: *mut abi::bento_call,
    inode: *mut abi::bento_inode,
    attr: &abi::bento_attr,
    valid: u32,
) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C5, C7.
    Errno::check(unsafe { shim!(tx_inode, bento_tx_inode(call, inode, attr, valid)) }).map(drop)
}

pub(crate) fn tx_claim(call: *mut abi::bento_call, blocks: u64) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(tx_claim, bento_tx_claim(call, blocks)) }).map(drop)
}

pub(crate) fn tx_release(call: *mut abi::bento_call, blocks: u64) {
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(tx_release, bento_tx_release(call, blocks)) }
}

pub(crate) fn tx_discard(call: *mut abi::bento_call, number: u64, count: u64) -> Result<()> {
    access(call)?;
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(tx_discard, bento_tx_discard(call, number, count)) }).map(drop)
}

pub(crate) fn tx_id(call: *mut abi::bento_call) -> u64 {
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(tx_id, bento_tx_id(call)) }
}

pub(crate) fn tx_is_committed(call: *mut abi::bento_call, id: u64) -> bool {
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(tx_is_committed, bento_tx_is_committed(call, id)) > 0 }
}

pub(crate) fn tx_end(call: *mut abi::bento_call, commit: bool) -> Result<()> {
    // SAFETY: SAFETY.md C1, C7.
    Errno::check(unsafe { shim!(tx_end, bento_tx_end(call, commit.into())) }).map(drop)
}

pub(crate) fn fail(call: *mut abi::bento_call, what: u32) {
    // SAFETY: SAFETY.md C1, C7.
    unsafe { shim!(fail, bento_fail(call, what)) }
}

/// Sleeps while `*word == expected`; may return early.
pub(crate) fn wait(word: &core::sync::atomic::AtomicU32, expected: u32) {
    // SAFETY: SAFETY.md C6, C7: the word lives through the call.
    unsafe { shim!(wait, bento_wait(word.as_ptr(), expected)) }
}

pub(crate) fn wake(word: &core::sync::atomic::AtomicU32, count: u32) {
    // SAFETY: SAFETY.md C6, C7: the address is only compared, never read.
    unsafe { shim!(wake, bento_wake(word.as_ptr(), count)) }
}

#[cfg(feature = "freestanding")]
pub(crate) mod memory {
    //! The heap of an object without std.
    use super::*;

    pub(crate) fn alloc(size: usize, align: usize) -> *mut u8 {
        // SAFETY: SAFETY.md C3, C7.
        unsafe { shim!(alloc, bento_alloc(size, align)).cast() }
    }

    /// # Safety
    /// `ptr` came from here with this size and alignment.
    pub(crate) unsafe fn dealloc(ptr: *mut u8, size: usize, align: usize) {
        // SAFETY: SAFETY.md C3, C7; the caller's promise.
        unsafe { shim!(dealloc, bento_dealloc(ptr.cast(), size, align)) }
    }

    /// # Safety
    /// As [`dealloc`].
    pub(crate) unsafe fn realloc(ptr: *mut u8, old: usize, align: usize, new: usize) -> *mut u8 {
        // SAFETY: SAFETY.md C3, C7; the caller's promise.
        unsafe { shim!(realloc, bento_realloc(ptr.cast(), old, align, new)).cast() }
    }
}

#[cfg(feature = "freestanding")]
pub(crate) mod jump {
    //! The two ways out that are not a return.
    use super::*;

    /// What follows a call that does not return. A trap would be a way to stop the kernel, which the build refuses.
    fn never_reached() -> ! {
        loop {
            core::hint::spin_loop();
        }
    }

    /// # Safety
    /// `record` is the innermost record of this stack (SAFETY.md G6).
    pub(crate) unsafe fn abandon(record: *mut abi::bento_record, value: i64) -> ! {
        // SAFETY: SAFETY.md G6, C7.
        unsafe {
            shim!(abandon, bento_abandon(record, value));
            never_reached()
        }
    }

    /// # Safety
    /// `regs` describes a live frame of this stack at one of its landing pads.
    pub(crate) unsafe fn resume(regs: &abi::bento_regs) -> ! {
        // To the compiler this call unwinds: else it would take every caller of `raise` for one that does not, and leave
        // its calls out of the tables.
        #[cfg(bento_kernel)]
        {
            #[allow(clashing_extern_declarations)]
            unsafe extern "C-unwind" {
                fn bento_resume(regs: *const abi::bento_regs) -> !;
            }
            // SAFETY: SAFETY.md G6, C7.
            unsafe { bento_resume(regs) }
        }
        #[cfg(not(bento_kernel))]
        {
            type Resume = unsafe extern "C-unwind" fn(*const abi::bento_regs) -> !;
            // SAFETY: SAFETY.md G6, C7: the same signature but for what it says of its end.
            unsafe {
                core::mem::transmute::<unsafe extern "C" fn(*const abi::bento_regs), Resume>(table().resume.unwrap())(
                    regs,
                )
            }
        }
    }
}
