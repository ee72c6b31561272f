// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What Rust calls back during a call: `struct bento_host` (SAFETY.md C7).

use std::alloc::Layout;
use std::ffi::c_void;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::Panic;
use crate::alloc::{self, Charge};
use crate::call::{Code, Invalidation, Ledger, with_ledger};
use crate::caller::{Object, may};
use crate::device::Device;
use crate::file::{Sink, Source};
use crate::inode::Inode;
use crate::superblock::Super;

/// The table this shim hands to every file system.
pub static HOST: abi::bento_host = abi::bento_host {
    size: size_of::<abi::bento_host>() as u32,
    abi: abi::BENTO_ABI_VERSION,
    flags: 0,
    pad: 0,
    log: Some(log),
    panicked: Some(panicked),
    poison: Some(poison),
    lock_poisoned: Some(lock_poisoned),
    lock_refused: Some(lock_refused),
    alloc: Some(alloc),
    dealloc: Some(dealloc),
    realloc: Some(realloc),
    inode_attr: Some(inode_attr),
    inode_update: Some(inode_update),
    inode_get: Some(inode_get),
    inode_resolve: Some(inode_resolve),
    inode_wake: Some(inode_wake),
    inode_invalidate: Some(inode_invalidate),
    generic_permission: Some(generic_permission),
    cred: Some(cred),
    now: Some(host_now),
    random: Some(random),
    sink_put: Some(sink_put),
    source_get: Some(source_get),
    state_put: Some(state_put),
    wait: Some(wait),
    wake: Some(wake),
    lock_acquired: Some(lock_acquired),
    lock_released: Some(lock_released),
    abandon: Some(abandon),
    resume: Some(resume),
    device: Some(device),
    device_block_size: Some(device_block_size),
    block_read: Some(block_read),
    block_read_near: Some(block_read_near),
    block_blank: Some(block_blank),
    block_new: Some(block_new),
    block_put: Some(block_put),
    block_checked: Some(block_checked),
    block_ahead: Some(block_ahead),
    blocks_zero: Some(blocks_zero),
    crc32c: Some(crc32c),
    journal_open: Some(journal_open),
    checksum_add: Some(checksum_add),
    tx_begin: Some(tx_begin),
    tx_extend: Some(tx_extend),
    tx_write: Some(tx_write),
    tx_undo_room: Some(tx_undo_room),
    tx_forget: Some(tx_forget),
    tx_inode: Some(tx_inode),
    tx_claim: Some(tx_claim),
    tx_release: Some(tx_release),
    tx_id: Some(tx_id),
    tx_discard: Some(tx_discard),
    tx_is_committed: Some(tx_is_committed),
    tx_end: Some(tx_end),
    fail: Some(fail),
};

/// Hands the table to the `bento` in this program.
pub fn install() -> Result<()> {
    bento::host::install(&HOST)
}

fn errno(result: Result<()>) -> i32 {
    result.map_or_else(|errno| -errno.get(), |()| 0)
}

/// # Safety
/// The bytes live as long as the result is used.
pub unsafe fn slice<'a>(raw: abi::bento_bytes) -> &'a [u8] {
    if raw.len == 0 || raw.ptr.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(raw.ptr, raw.len) }
}

/// # Safety
/// As [`slice`].
unsafe fn text<'a>(raw: abi::bento_bytes) -> std::borrow::Cow<'a, str> {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { slice(raw) })
}

// ---- the log ----

/// Panics a mount remembers; the log has them all.
const REMEMBERED: usize = 100_000;

unsafe extern "C" fn log(sb: *mut abi::bento_super, level: u32, message: abi::bento_bytes) {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C1, C4: the mount and the message live through the call.
    let (sb, message) = unsafe { (Super::from_raw(sb), text(message)) };
    if let Some(sb) = sb {
        sb.log(level, format_args!("{message}"));
    }
}

unsafe extern "C" fn panicked(
    call: *mut abi::bento_call,
    message: abi::bento_bytes,
    at: *const abi::bento_location,
    errno: i32,
) {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C1, C4: all live through the call.
    let (sb, op, message, at) =
        unsafe { (Super::from_raw((*call).sb), (*call).op, text(message).into_owned(), at.as_ref()) };
    let Some(sb) = sb else { return };
    let errno = Errno::new(errno.abs());
    // SAFETY: SAFETY.md C4.
    let location = at.filter(|at| at.line != 0).map(|at| (unsafe { text(at.file).into_owned() }, at.line, at.column));
    let handler = Op::ALL.get(op as usize).map_or("?", |op| op.name());
    let panic = Panic { handler, message, location, errno };
    sb.log(abi::BENTO_LOG_ERR, format_args!("handler {panic}; caller got {errno:?}"));
    let mut panics = sb.panics.lock().unwrap_or_else(PoisonError::into_inner);
    if panics.len() < REMEMBERED {
        panics.push(panic);
    }
}

/// `bento_mcount` found too little stack left, at a line of the author's if it is known.
///
/// # Safety
/// `call` is the call in progress on this thread.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub unsafe fn stack_exhausted(call: *mut abi::bento_call, at: &abi::bento_location) {
    // SAFETY: the caller's promise.
    unsafe {
        panicked(call, crate::superblock::bytes(b"stack overflow"), at, Errno::EIO.get());
        poison(call);
    }
}

unsafe extern "C" fn poison(call: *mut abi::bento_call) {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C1.
    let (sb, generation) = unsafe { (Super::from_raw((*call).sb), (*call).generation) };
    if let Some(sb) = sb {
        sb.abandoned(generation);
    }
}

/// Poisons the inode whose data the lock lies in, if it does in any.
unsafe extern "C" fn lock_poisoned(call: *mut abi::bento_call, lock: *const c_void) {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C1.
    let (sb, generation) = unsafe { (Super::from_raw((*call).sb), (*call).generation) };
    let Some(sb) = sb else { return };
    let Some(size) = sb.inode_data_size(generation) else { return };
    if let Some(inode) = sb.table.containing(lock.addr(), size, generation) {
        inode.poison();
        sb.log(abi::BENTO_LOG_ERR, format_args!("inode {} is poisoned: it alone answers EIO", inode.ino()));
    }
}

/// In the instance itself it asks for a restart. One on the heap may be anybody's: with a device all that is there can be made
/// again, so it does, too.
unsafe extern "C" fn lock_refused(call: *mut abi::bento_call, lock: *const c_void) {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C1.
    let (sb, generation, instance) = unsafe { (Super::from_raw((*call).sb), (*call).generation, (*call).instance) };
    let Some(sb) = sb.filter(|sb| generation == sb.slot.generation() && !instance.is_null()) else { return };
    let size = sb.current().ops().instance_size as usize;
    let inside = (instance.addr()..instance.addr() + size).contains(&lock.addr());
    let of_an_inode = || {
        let size = sb.inode_data_size(generation).unwrap_or(0);
        sb.table.containing(lock.addr(), size, generation).is_some()
    };
    if inside || sb.device.is_some() && !of_an_inode() {
        sb.spoil(false);
    }
}

// ---- memory ----

fn layout(size: usize, align: usize) -> Option<Layout> {
    // A block of no bytes still has an address of its own.
    Layout::from_size_align(size.max(1), align).ok()
}

unsafe extern "C" fn alloc(size: usize, align: usize) -> *mut c_void {
    // SAFETY: the size is not 0.
    layout(size, align).map_or(std::ptr::null_mut(), |layout| unsafe { alloc::take(layout).cast() })
}

unsafe extern "C" fn dealloc(block: *mut c_void, size: usize, align: usize) {
    if let Some(layout) = layout(size, align).filter(|_| !block.is_null()) {
        // SAFETY: SAFETY.md C3: Rust gives back what it took, with the same layout.
        unsafe { alloc::give_back(block.cast(), layout) }
    }
}

unsafe extern "C" fn realloc(block: *mut c_void, old: usize, align: usize, new: usize) -> *mut c_void {
    match layout(old, align) {
        // SAFETY: SAFETY.md C3, as above.
        Some(layout) => unsafe { alloc::resize(block.cast(), layout, new.max(1)).cast() },
        None => std::ptr::null_mut(),
    }
}

// ---- inodes ----

unsafe extern "C" fn inode_attr(inode: *const abi::bento_inode, out: *mut abi::bento_attr) {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C5: a live inode of this shim.
    unsafe { *out = Inode::from_raw(inode).attr() }
}

unsafe extern "C" fn inode_update(
    call: *mut abi::bento_call,
    inode: *mut abi::bento_inode,
    attr: *const abi::bento_attr,
    valid: u32,
) -> i32 {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C1, C4, C5.
    let (inode, attr, op) = unsafe { (Inode::from_raw(inode), &*attr, (*call).op) };
    let op = Op::ALL.get(op as usize).copied().unwrap_or(Op::mount);
    errno(crate::attr::update(op, inode, attr, valid))
}

unsafe extern "C" fn inode_get(_call: *mut abi::bento_call, ino: u64, out: *mut *mut abi::bento_inode) -> i32 {
    let found = with_ledger(|ledger| {
        let inode = ledger.sb.table.get(ino).ok_or(Errno::ENOENT)?;
        let raw = inode.as_raw();
        ledger.after.refs.push(inode);
        // SAFETY: SAFETY.md C1, C5: a cached inode, referenced by the ledger until the call has left the gate; the runtime
        // resolves it next.
        unsafe { *out = raw };
        Ok(())
    });
    errno(found.unwrap_or(Err(Errno::EINVAL)))
}

unsafe extern "C" fn inode_resolve(call: *mut abi::bento_call, inode: *mut abi::bento_inode) -> i32 {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C1, C5.
    let (sb, inode, generation) = unsafe { (Super::from_raw((*call).sb), Inode::from_raw(inode), (*call).generation) };
    let Some(sb) = sb else { return -Errno::EINVAL.get() };
    let object = sb.current();
    if generation != sb.slot.generation() {
        // Saving and loading reach no inode.
        return -Errno::EINVAL.get();
    }
    errno(sb.resolve(inode, &Code { object: &object, instance: sb.slot.instance(), generation }))
}

unsafe extern "C" fn inode_wake(_call: *mut abi::bento_call, inode: *mut abi::bento_inode) {
    // SAFETY: SAFETY.md C5.
    with_ledger(|ledger| ledger.after.wakes.push(unsafe { Inode::ref_from_raw(inode) }));
}

unsafe extern "C" fn inode_invalidate(
    _call: *mut abi::bento_call,
    inode: *mut abi::bento_inode,
    offset: u64,
    len: u64,
) {
    with_ledger(|ledger| {
        // SAFETY: SAFETY.md C5.
        let inode = unsafe { Inode::ref_from_raw(inode) };
        ledger.after.invalidations.push(Invalidation { inode, offset, len });
    });
}

/// An ACL that is not cached cannot be fetched from inside the gate: the permission call notes it and is made again with
/// it cached (`attr::permission`); anybody else is refused.
unsafe extern "C" fn generic_permission(_call: *mut abi::bento_call, inode: *mut abi::bento_inode, mask: u32) -> i32 {
    let checked = with_ledger(|ledger| {
        // SAFETY: SAFETY.md C5.
        let inode = unsafe { Inode::ref_from_raw(inode) };
        let attr = inode.attr();
        let Some(acl) = inode.cached_acl(false) else {
            ledger.need_acl = Some(inode);
            return Err(Errno::EACCES);
        };
        may(ledger.caller, &Object { mode: attr.mode, uid: attr.uid, gid: attr.gid, acl: acl.as_ref() }, mask)
    });
    errno(checked.unwrap_or(Err(Errno::EINVAL)))
}

// ---- who, when, chance ----

unsafe extern "C" fn cred(_call: *mut abi::bento_call, out: *mut abi::bento_cred) {
    let cred = with_ledger(|ledger| {
        let caller = ledger.caller;
        let mut cred =
            abi::bento_cred { uid: caller.uid, gid: caller.gid, pid: caller.pid, tid: caller.pid, comm: [0; 16] };
        if caller.pid != 0
            && let Ok(name) = std::fs::read(format!("/proc/{}/comm", caller.pid))
        {
            let name = name.strip_suffix(b"\n").unwrap_or(&name);
            let len = name.len().min(15);
            cred.comm[..len].copy_from_slice(&name[..len]);
        }
        cred
    });
    if let Some(cred) = cred {
        // SAFETY: SAFETY.md C4: lent for writing.
        unsafe { *out = cred }
    }
}

/// The clock inode times are made of.
pub fn now() -> abi::bento_time {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let clock = if cfg!(miri) { libc::CLOCK_REALTIME } else { libc::CLOCK_REALTIME_COARSE };
    // SAFETY: the struct is ours.
    unsafe { libc::clock_gettime(clock, &mut now) };
    abi::bento_time { sec: now.tv_sec, nsec: now.tv_nsec as u32, pad: 0 }
}

unsafe extern "C" fn host_now(_call: *mut abi::bento_call, out: *mut abi::bento_time) {
    let time = with_ledger(|ledger| ledger.sb.now()).unwrap_or_else(now);
    // SAFETY: SAFETY.md C4: lent for writing.
    unsafe { *out = time }
}

unsafe extern "C" fn random(out: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        // SAFETY: SAFETY.md C4: lent for writing, and `done` stays inside.
        let got = unsafe { libc::getrandom(out.add(done).cast(), len - done, 0) };
        match usize::try_from(got) {
            Ok(got) => done += got,
            Err(_) => assert!(
                std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted,
                "the kernel has no random bytes"
            ),
        }
    }
}

// ---- bytes ----

unsafe extern "C" fn sink_put(
    _call: *mut abi::bento_call,
    sink: *mut abi::bento_sink,
    pos: u64,
    from: *const u8,
    len: usize,
) -> i32 {
    // SAFETY: SAFETY.md C1, C4: the sink of this call, and the handler's bytes.
    errno(unsafe { (*sink.cast::<Sink>()).put(pos, from, len) })
}

unsafe extern "C" fn source_get(
    _call: *mut abi::bento_call,
    source: *mut abi::bento_source,
    pos: u64,
    to: *mut u8,
    len: usize,
) -> i32 {
    // SAFETY: SAFETY.md C1, C4: the source of this call, and the handler's buffer.
    errno(unsafe { (*source.cast::<Source>()).get(pos, to, len) })
}

unsafe extern "C" fn state_put(
    _call: *mut abi::bento_call,
    out: *mut abi::bento_state,
    from: *const u8,
    len: usize,
) -> i32 {
    let _charge = Charge::nobody();
    // SAFETY: SAFETY.md C1, C4: the buffer that the shim lent to this call, and the runtime's bytes.
    let (state, more) = unsafe { (&mut *out.cast::<Vec<u8>>(), slice(abi::bento_bytes { ptr: from, len })) };
    if state.try_reserve(len).is_err() {
        return -Errno::ENOMEM.get();
    }
    state.extend_from_slice(more);
    0
}

// ---- the device and its blocks ----

/// Does `then` with the ledger of the call in progress, of a mount with a device.
fn on_device(then: impl FnOnce(&mut Ledger<'_>, &Device) -> Result<()>) -> i32 {
    let done = with_ledger(|ledger| {
        let device = ledger.device()?;
        then(ledger, device)
    });
    errno(done.unwrap_or(Err(Errno::EINVAL)))
}

unsafe extern "C" fn device(_call: *mut abi::bento_call, out: *mut abi::bento_device) {
    let mut found = abi::bento_device { size: 0, block_size: 0, flags: abi::BENTO_DEVICE_RDONLY };
    on_device(|ledger, device| {
        let read_only = device.is_read_only() || ledger.sb.is_read_only();
        found = abi::bento_device {
            size: device.size(),
            block_size: device.block_size(),
            flags: if read_only { abi::BENTO_DEVICE_RDONLY } else { 0 },
        };
        Ok(())
    });
    // SAFETY: SAFETY.md C4: lent for writing.
    unsafe { *out = found }
}

/// Only the mount that is being made may say that.
fn in_mount(ledger: &Ledger<'_>, what: &str) -> Result<()> {
    if ledger.op == Op::mount {
        return Ok(());
    }
    ledger.sb.log(abi::BENTO_LOG_ERR, format_args!("{} {what}: only mount may", ledger.op.name()));
    Err(Errno::EINVAL)
}

unsafe extern "C" fn device_block_size(_call: *mut abi::bento_call, size: u32) -> i32 {
    on_device(|ledger, device| {
        in_mount(ledger, "set the block size")?;
        if !ledger.blocks.is_idle() {
            return Err(Errno::EBUSY);
        }
        // Below a live mount the caches are in use.
        match ledger.sb.is_mounted() {
            true if size == device.block_size() => Ok(()),
            true => Err(Errno::EINVAL),
            false => device.set_block_size(size),
        }
    })
}

unsafe extern "C" fn block_read(call: *mut abi::bento_call, number: u64, out: *mut abi::bento_block) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { block_read_near(call, number, 0, 0, out) }
}

unsafe extern "C" fn block_read_near(
    _call: *mut abi::bento_call,
    number: u64,
    first: u64,
    count: u32,
    out: *mut abi::bento_block,
) -> i32 {
    on_device(|ledger, device| {
        if count > 0 && !device.cached(number).is_some_and(|buf| buf.is_uptodate()) {
            device.ahead(first, count.into());
        }
        let buf = device.read(number).inspect_err(|errno| match *errno {
            Errno::EUCLEAN => ledger.past_the_end(number),
            errno => ledger.sb.log(abi::BENTO_LOG_ERR, format_args!("block {number} cannot be read: {errno}")),
        })?;
        // SAFETY: SAFETY.md C4: lent for writing.
        ledger.blocks.lend(buf, unsafe { &mut *out });
        Ok(())
    })
}

unsafe extern "C" fn block_blank(_call: *mut abi::bento_call, number: u64, out: *mut abi::bento_block) -> i32 {
    on_device(|ledger, device| {
        let buf = device.unread(number).inspect_err(|_| ledger.past_the_end(number))?;
        buf.blank_unread();
        // SAFETY: SAFETY.md C4: lent for writing.
        ledger.blocks.lend(buf, unsafe { &mut *out });
        Ok(())
    })
}

unsafe extern "C" fn block_new(call: *mut abi::bento_call, number: u64, out: *mut abi::bento_block) -> i32 {
    // SAFETY: SAFETY.md C1, C4: this call's, and lent for writing.
    on_device(|ledger, _| ledger.block_new(call, number, unsafe { &mut *out }))
}

unsafe extern "C" fn block_put(_call: *mut abi::bento_call, slot: u32) {
    with_ledger(|ledger| ledger.blocks.put(slot));
}

unsafe extern "C" fn block_checked(_call: *mut abi::bento_call, slot: u32) {
    with_ledger(|ledger| {
        if let Some(buf) = ledger.blocks.block(slot) {
            buf.set_checked();
        }
    });
}

unsafe extern "C" fn block_ahead(_call: *mut abi::bento_call, number: u64, count: u32) {
    on_device(|_, device| {
        device.ahead(number, count.into());
        Ok(())
    });
}

unsafe extern "C" fn blocks_zero(_call: *mut abi::bento_call, number: u64, count: u64) -> i32 {
    on_device(|ledger, device| {
        if ledger.sb.is_read_only() {
            return Err(Errno::EROFS);
        }
        device.zero(number, count).inspect_err(|errno| {
            let end = number.saturating_add(count);
            ledger.sb.log(abi::BENTO_LOG_ERR, format_args!("blocks {number} to {end} cannot be zeroed: {errno}"));
        })
    })
}

unsafe extern "C" fn crc32c(seed: u32, from: *const u8, len: usize) -> u32 {
    // SAFETY: SAFETY.md C4: the runtime's bytes, or a block's, which are only copied into the sum.
    crate::crc::crc32c(seed, unsafe { slice(abi::bento_bytes { ptr: from, len }) })
}

// ---- transactions ----

unsafe extern "C" fn journal_open(_call: *mut abi::bento_call, journal: *mut abi::bento_journal) -> i32 {
    on_device(|ledger, device| {
        in_mount(ledger, "opened the journal")?;
        // SAFETY: SAFETY.md C1, C4: this call's, lent for writing.
        let journal = unsafe { &mut *journal };
        (journal.replayed, journal.error) = (0, 0);
        // Below a live mount it is open already.
        if !ledger.sb.is_mounted() {
            let runs = match journal.runs.is_null() || journal.count == 0 {
                true => &[],
                // SAFETY: SAFETY.md C1: this call's.
                false => unsafe { std::slice::from_raw_parts(journal.runs, journal.count) },
            };
            let opened = device.journal.open(device, journal, runs).map_err(|(errno, why)| {
                ledger.sb.log(abi::BENTO_LOG_ERR, format_args!("{why}"));
                errno
            })?;
            (journal.replayed, journal.error) = (opened.replayed, opened.error);
            if opened.replayed > 0 {
                let count = opened.replayed;
                ledger.sb.log(abi::BENTO_LOG_INFO, format_args!("journal: {count} transactions replayed"));
            }
        }
        journal.max_credits = device.journal.max_credits();
        Ok(())
    })
}

unsafe extern "C" fn checksum_add(_call: *mut abi::bento_call, sum: *const abi::bento_checksum) -> i32 {
    let mut index = 0;
    let failed = on_device(|ledger, device| {
        in_mount(ledger, "added a checksum")?;
        // SAFETY: SAFETY.md C1: this call's.
        let sum = unsafe { *sum };
        index = device.add_sum(sum).inspect_err(|errno| {
            let abi::bento_checksum { from, len, at, .. } = sum;
            ledger.sb.log(
                abi::BENTO_LOG_ERR,
                format_args!("no checksum at byte {at} over {len} bytes from {from}: {errno}"),
            );
        })?;
        Ok(())
    });
    if failed != 0 { failed } else { index as i32 }
}

unsafe extern "C" fn tx_begin(_call: *mut abi::bento_call, blocks: u32, revokes: u32) -> i32 {
    on_device(|ledger, _| ledger.tx_begin(blocks, revokes))
}

unsafe extern "C" fn tx_extend(_call: *mut abi::bento_call, blocks: u32, revokes: u32) -> i32 {
    on_device(|ledger, _| ledger.tx_extend(blocks, revokes))
}

unsafe extern "C" fn tx_write(_call: *mut abi::bento_call, slot: u32, checksum: u32) -> i32 {
    on_device(|ledger, _| ledger.tx_write(slot, checksum))
}

unsafe extern "C" fn tx_undo_room(call: *mut abi::bento_call, len: usize) -> i32 {
    // SAFETY: SAFETY.md C1: this call's.
    on_device(|ledger, _| unsafe { ledger.undo_room(call, len) })
}

unsafe extern "C" fn tx_forget(_call: *mut abi::bento_call, number: u64) -> i32 {
    on_device(|ledger, _| ledger.tx_forget(number))
}

unsafe extern "C" fn tx_inode(
    _call: *mut abi::bento_call,
    inode: *mut abi::bento_inode,
    attr: *const abi::bento_attr,
    valid: u32,
) -> i32 {
    // SAFETY: SAFETY.md C1, C4, C5: a live inode, and the runtime's copy of attributes.
    on_device(|ledger, _| unsafe { ledger.tx_inode(inode, &*attr, valid) })
}

unsafe extern "C" fn tx_claim(_call: *mut abi::bento_call, blocks: u64) -> i32 {
    on_device(|ledger, _| ledger.tx_claim(blocks))
}

unsafe extern "C" fn tx_release(_call: *mut abi::bento_call, blocks: u64) {
    with_ledger(|ledger| ledger.tx_release(blocks));
}

unsafe extern "C" fn tx_discard(_call: *mut abi::bento_call, number: u64, count: u64) -> i32 {
    on_device(|ledger, _| ledger.tx_discard(number, count))
}

unsafe extern "C" fn tx_id(_call: *mut abi::bento_call) -> u64 {
    with_ledger(|ledger| ledger.tx_id()).unwrap_or(0)
}

unsafe extern "C" fn tx_is_committed(_call: *mut abi::bento_call, id: u64) -> i32 {
    let mut committed = false;
    on_device(|_, device| {
        committed = device.journal.is_durable(id);
        Ok(())
    });
    committed.into()
}

unsafe extern "C" fn tx_end(call: *mut abi::bento_call, commit: u32) -> i32 {
    // SAFETY: SAFETY.md C1: this call's.
    on_device(|ledger, _| unsafe { ledger.tx_end(call, commit != 0) })
}

/// There is no machine to stop here: `BENTO_FAIL_PANIC` is the end of this mount's writing.
unsafe extern "C" fn fail(_call: *mut abi::bento_call, what: u32) {
    on_device(|ledger, device| {
        if what == abi::BENTO_FAIL_CONTINUE {
            return Ok(());
        }
        if !ledger.sb.read_only.swap(true, Ordering::AcqRel) {
            ledger.sb.log(
                abi::BENTO_LOG_ERR,
                format_args!("{} found the file system corrupt: it is read-only from now on", ledger.op.name()),
            );
        }
        device.journal.fail(device, Errno::EUCLEAN);
        Ok(())
    });
}

// ---- sleeping on a word (SAFETY.md C6) ----

/// How long a waiter sleeps before it looks whether its mount is still alive.
const PATIENCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Whoever was abandoned never lets go of the locks it held, so on a poisoned instance a call that waits for one is
/// abandoned as well (SAFETY.md C2).
unsafe extern "C" fn wait(word: *const u32, expected: u32) {
    // SAFETY: SAFETY.md C6: the word lives through the call; futex(2) reads it only.
    let unchanged = || unsafe { (*word.cast::<AtomicU32>()).load(Ordering::Acquire) == expected };
    let stuck = || with_ledger(|ledger| ledger.object.is_freestanding() && ledger.sb.slot.is_abandoned()) == Some(true);
    if unchanged() {
        let _asleep = Asleep::on(word);
        // Looked at after the word is known: whoever abandons either sees it, or is seen.
        if !stuck() {
            // SAFETY: as above, and the timeout is constant.
            unsafe {
                libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, &PATIENCE);
            }
        }
    }
    if unchanged() && stuck() {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: SAFETY.md G6: inside a call of an object whose frames may be left behind.
        unsafe {
            crate::call::asm::give_up()
        }
    }
}

/// This thread's call sleeps on a word, for `Super::wake_sleepers`.
struct Asleep(usize);

impl Asleep {
    fn on(word: *const u32) -> Asleep {
        with_ledger(|ledger| ledger.sb.swaps.sleepers.lock().unwrap_or_else(PoisonError::into_inner).push(word.addr()));
        Asleep(word.addr())
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        with_ledger(|ledger| {
            let mut sleepers = ledger.sb.swaps.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = sleepers.iter().position(|word| *word == self.0) {
                sleepers.swap_remove(at);
            }
        });
    }
}

/// Whoever sleeps on the word at that address looks again.
pub fn wake_word(address: usize) {
    // SAFETY: SAFETY.md C6: the address is only compared.
    unsafe {
        libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX);
    }
}

unsafe extern "C" fn wake(word: *const u32, n: u32) {
    // SAFETY: SAFETY.md C6: the address is only compared.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, n.min(i32::MAX as u32));
    }
}

/// This shim has no lock validator: `flags` lacks `BENTO_HOST_LOCKDEP`.
unsafe extern "C" fn lock_acquired(_lock: *const c_void, _site: *const abi::bento_location, _exclusive: u32) {}

unsafe extern "C" fn lock_released(_lock: *const c_void, _site: *const abi::bento_location) {}

// ---- ways out that are no return ----

unsafe extern "C" fn abandon(record: *mut abi::bento_record, value: i64) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SAFETY.md G6: the runtime found the record on this stack.
    unsafe {
        crate::call::asm::bento_user_abandon(record, value)
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        let _ = (record, value);
        std::process::abort()
    }
}

unsafe extern "C" fn resume(regs: *const abi::bento_regs) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SAFETY.md G6: a landing pad of a live frame.
    unsafe {
        crate::call::asm::bento_user_resume(regs)
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        let _ = regs;
        std::process::abort()
    }
}
