// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Walking a live stack: from a panic up to the landing pad that catches it, or to the trampoline when there is none.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::cfi::{Reg, Row};
use super::lsda::Action;
use super::table::{Place, Table};
use crate::abi;
use crate::contain;
use crate::errno::{Errno, Result};
use crate::host::{self, jump};

static TABLE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static TABLE_LEN: AtomicUsize = AtomicUsize::new(0);

/// The pre-link step finds this function in the text and the unwinder finds it in memory: the difference is where the
/// text was loaded. Its body is its own, so that link-time optimisation does not merge it with another empty function.
#[unsafe(no_mangle)]
pub extern "C" fn bento_text_anchor() {
    // SAFETY: SAFETY.md G6: does nothing.
    unsafe { asm!("nop", options(nomem, nostack, preserves_flags)) }
}

/// Takes the table of this object.
///
/// # Safety
/// `object` is the shim's and its table outlives the object (SAFETY.md G6).
pub(crate) unsafe fn install(object: *const abi::bento_object) -> Result<()> {
    // SAFETY: the caller's promise.
    let object = unsafe { object.as_ref() }.ok_or(Errno::EINVAL)?;
    // SAFETY: the caller's promise.
    let bytes = unsafe { crate::thunk::slice(object.unwind, object.unwind_len) };
    Table::parse(bytes).ok_or(Errno::EINVAL)?;
    TABLE.store(object.unwind.cast_mut(), Ordering::Relaxed);
    TABLE_LEN.store(object.unwind_len, Ordering::Relaxed);
    Ok(())
}

fn table() -> Option<Table<'static>> {
    // SAFETY: SAFETY.md G6: `install` took both from the shim; they never change afterwards.
    Table::parse(unsafe { crate::thunk::slice(TABLE.load(Ordering::Relaxed), TABLE_LEN.load(Ordering::Relaxed)) })
}

/// The record of the innermost trampoline: the first word above the stack pointer that matches its own address. The
/// trampoline clears it on every way out, so a match is never stale.
pub(crate) fn record() -> *mut abi::bento_record {
    let at: *mut u64;
    // SAFETY: SAFETY.md G6: reads the stack pointer.
    unsafe { asm!("mov {}, rsp", out(reg) at, options(nomem, nostack, preserves_flags)) };
    // SAFETY: SAFETY.md G6: Rust runs below a record only.
    unsafe { record_above(at) }
}

/// # Safety
/// `at` is aligned and lies in this stack, below a record (SAFETY.md G6).
unsafe fn record_above(mut at: *mut u64) -> *mut abi::bento_record {
    loop {
        // SAFETY: SAFETY.md G6: the walk ends at the record, inside this stack.
        unsafe {
            if at.read_volatile() == abi::BENTO_RECORD_MAGIC ^ at.addr() as u64 {
                return at.cast();
            }
            at = at.add(1);
        }
    }
}

/// Ends the call without running destructors; its instance is never entered again.
///
/// # Safety
/// `record` is the innermost one (SAFETY.md G6, C2).
#[cold]
pub(crate) unsafe fn abandon(record: *mut abi::bento_record) -> ! {
    // SAFETY: the caller's promise.
    unsafe {
        let call = (*record).call;
        (*call).unwinding = 0;
        (*call).outcome = abi::BENTO_OUTCOME_ABANDONED;
        host::poison(call);
        jump::abandon(record, -i64::from(Errno::EIO.get()))
    }
}

/// Stores the registers at this very place into a `MaybeUninit<bento_regs>`. A macro: it must run in the frame that the
/// walk starts from.
macro_rules! capture {
    ($regs:ident) => {
        asm!(
            "mov [{regs}], rbx",
            "mov [{regs} + 8], rbp",
            "mov [{regs} + 16], r12",
            "mov [{regs} + 24], r13",
            "mov [{regs} + 32], r14",
            "mov [{regs} + 40], r15",
            "mov [{regs} + 48], rsp",
            "lea {here}, [rip]",
            "mov [{regs} + 56], {here}",
            regs = in(reg) $regs.as_mut_ptr(),
            here = out(reg) _,
            options(nostack, preserves_flags),
        )
    };
}

/// Unwinds from here with `errno` as the exception.
///
/// # Safety
/// Below a trampoline's record, with `unwinding` set in its call (SAFETY.md G6).
#[inline(never)]
pub(crate) unsafe fn throw(errno: Errno) -> ! {
    let mut regs = MaybeUninit::<abi::bento_regs>::zeroed();
    // SAFETY: SAFETY.md G6: fills eight words of a zeroed structure of ten.
    unsafe {
        capture!(regs);
        walk(regs.assume_init_mut(), errno.get() as u64)
    }
}

/// The author's line that the caller of this function serves.
///
/// # Safety
/// Below a trampoline's record (SAFETY.md G6).
#[inline(never)]
pub(crate) unsafe fn caller() -> Option<Place<'static>> {
    let mut regs = MaybeUninit::<abi::bento_regs>::zeroed();
    // SAFETY: as in `throw`.
    unsafe {
        capture!(regs);
        place_above(regs.assume_init_mut(), record().addr() as u64)
    }
}

/// `bento_ops.place`: the same for a stack that ran out, from the registers of the function that was about to begin.
///
/// # Safety
/// Called by the shim through its trampoline, with registers of a frame below an older record (SAFETY.md G6).
pub(crate) unsafe extern "C" fn place(call: *mut abi::bento_call, args: *mut abi::bento_place_args) -> i64 {
    // SAFETY: the caller's promise.
    unsafe {
        if (*call).unwinding != 0 {
            contain::no_landing_pad();
        }
        let mut regs = *(*args).regs;
        let limit = record_above(ptr::with_exposed_provenance_mut(regs.rsp as usize)).addr() as u64;
        if let Some(Place { file, line, column }) = place_above(&mut regs, limit) {
            let file = abi::bento_bytes { ptr: file.as_ptr(), len: file.len() };
            (*args).at = abi::bento_location { file, line, column };
        }
    }
    0
}

/// Of the calls that led to the frame of `regs`, the innermost one that the author wrote.
///
/// # Safety
/// `regs` describe a live frame of this stack, below `limit`.
unsafe fn place_above(regs: &mut abi::bento_regs, limit: u64) -> Option<Place<'static>> {
    let table = table()?;
    let text = (bento_text_anchor as *const () as u64).wrapping_sub(table.anchor_offset.into());
    let mut pc = regs.rip;
    loop {
        let offset = u32::try_from(pc.wrapping_sub(text)).ok()?;
        // SAFETY: the row is that of this frame.
        unsafe { step(regs, &table.find(offset)?.row(offset).ok()?, limit)? };
        let back = u32::try_from(regs.rip.wrapping_sub(text)).ok()?;
        if let Some(place) = table.place(back) {
            return Some(place);
        }
        pc = regs.rip.wrapping_sub(1);
    }
}

/// Where a landing pad that has run its destructors goes on.
///
/// # Safety
/// Called by generated code only, with the exception it received.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C-unwind" fn _Unwind_Resume(exception: u64) -> ! {
    let mut regs = MaybeUninit::<abi::bento_regs>::zeroed();
    // SAFETY: as in `throw`.
    unsafe {
        capture!(regs);
        walk(regs.assume_init_mut(), exception)
    }
}

/// # Safety
/// `regs` were captured in the calling frame.
#[inline(never)]
unsafe fn walk(regs: &mut abi::bento_regs, exception: u64) -> ! {
    let record = record();
    // SAFETY: SAFETY.md G6.
    unsafe {
        if let Some(table) = table() {
            if find_landing_pad(&table, regs, record.addr() as u64).is_some() {
                regs.rax = exception;
                regs.rdx = 0;
                jump::resume(regs)
            }
        }
        contain::no_landing_pad();
        abandon(record)
    }
}

/// Steps from frame to frame until one has a landing pad for the call it made; `None` when there is no way on.
///
/// # Safety
/// `regs` describe a live frame of this stack, below `limit`.
unsafe fn find_landing_pad(table: &Table<'_>, regs: &mut abi::bento_regs, limit: u64) -> Option<()> {
    let text = (bento_text_anchor as *const () as u64).wrapping_sub(table.anchor_offset.into());
    let mut pc = regs.rip;
    loop {
        let offset = u32::try_from(pc.wrapping_sub(text)).ok()?;
        let entry = table.find(offset)?;
        match entry.action(offset).ok()? {
            Action::Continue => {}
            Action::Terminate => return None,
            Action::Land(pad) => {
                regs.rsp += u64::from(entry.row(offset).ok()?.pushed);
                regs.rip = text + u64::from(entry.start) + pad;
                return Some(());
            }
        }
        // SAFETY: the row is that of this frame.
        unsafe { step(regs, &entry.row(offset).ok()?, limit)? };
        // A return address is the instruction after the call.
        pc = regs.rip.wrapping_sub(1);
    }
}

/// From a frame to its caller's.
///
/// # Safety
/// `row` describes the frame of `regs`.
unsafe fn step(regs: &mut abi::bento_regs, row: &Row, limit: u64) -> Option<()> {
    let base = match row.cfa_register {
        Reg::Rsp => regs.rsp,
        Reg::Rbp => regs.rbp,
        Reg::Rbx => regs.rbx,
        _ => return None,
    };
    let cfa = base.checked_add_signed(row.cfa_offset.into())?;
    if cfa <= regs.rsp || cfa > limit {
        return None;
    }
    let registers: [&mut u64; Reg::SAVED] =
        [&mut regs.rbx, &mut regs.rbp, &mut regs.r12, &mut regs.r13, &mut regs.r14, &mut regs.r15, &mut regs.rip];
    for (register, offset) in registers.into_iter().zip(row.saved) {
        if offset != 0 {
            // SAFETY: SAFETY.md G6: inside this frame, between its stack pointer and its CFA.
            *register =
                unsafe { ptr::with_exposed_provenance::<u64>(cfa.checked_add_signed(offset.into())? as usize).read() };
        }
    }
    regs.rsp = cfa;
    Some(())
}
