// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One call into Rust (SAFETY.md C1): gate, ledger, trampoline, and what is drained once the gate is left.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::alloc::Charge;
use crate::caller::Caller;
use crate::inode::InodeRef;
use crate::superblock::Super;

/// Stack a call needs to be let in, and what stays free below the last checked Rust frame: room to print a panic with
/// std, or to abandon.
const ROOM: usize = 128 << 10;
const RESERVE: usize = 48 << 10;

/// How a call ended (SAFETY.md C2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// `Ok` or `Err`.
    Returned,
    /// A panic; destructors ran.
    Unwound,
    /// No destructors ran: the instance is poisoned.
    Abandoned,
}

/// Bytes of an inode that are stale once the call has left the gate.
#[derive(Debug)]
pub struct Invalidation {
    pub inode: InodeRef,
    pub offset: u64,
    /// 0: to the end.
    pub len: u64,
}

/// The shim's side of the ledger of one call; Rust sees `struct bento_call` only.
pub struct Ledger<'a> {
    pub caller: &'a Caller,
    pub sb: &'a Super,
    /// References lent by `bento_inode_get`.
    pub refs: Vec<InodeRef>,
    pub invalidations: Vec<Invalidation>,
    pub wakes: Vec<InodeRef>,
    /// Numbers of inodes whose attributes the handler changed.
    pub changed: Vec<u64>,
    /// A permission check met an ACL that is not cached.
    pub need_acl: Option<InodeRef>,
}

/// Does `then` with the ledger of the call this thread is in; `None` outside of calls. What it allocates is the shim's.
pub fn with_ledger<T>(then: impl FnOnce(&mut Ledger<'_>) -> T) -> Option<T> {
    let _charge = Charge::nobody();
    let ledger = LEDGER.get();
    // SAFETY: SAFETY.md C1: `Inside` puts the pointer there for the length of one call, in which the shim itself does not
    // touch the ledger; a thread is in one call at most, and this is not reentered.
    unsafe { ledger.cast::<Ledger<'_>>().as_mut() }.map(then)
}

/// The type of a thunk.
pub type Thunk<T> = Option<unsafe extern "C" fn(*mut abi::bento_call, *mut T) -> i64>;

impl Super {
    /// Calls a thunk with its argument block. Outputs in `args` are still to be distrusted; the value is what the thunk
    /// returned. `EIO` without entering when the instance is poisoned.
    pub fn invoke<T>(&self, op: Op, thunk: Thunk<T>, caller: &Caller, args: &mut T) -> Result<i64> {
        self.invoke_noting(op, thunk, caller, args).0
    }

    /// The same, and the inode whose ACL the call would have needed, if any.
    pub fn invoke_noting<T>(
        &self,
        op: Op,
        thunk: Thunk<T>,
        caller: &Caller,
        args: &mut T,
    ) -> (Result<i64>, Option<InodeRef>) {
        let Some(thunk) = thunk else { return (Err(Errno::ENOSYS), None) };
        let reader = match self.slot.enter() {
            Ok(reader) => reader,
            Err(errno) => return (Err(errno), None),
        };
        let low = stack_low();
        if here() < low + ROOM {
            return (Err(Errno::ENOMEM), None);
        }
        let mut call = abi::bento_call {
            instance: self.slot.instance(),
            sb: self.as_raw(),
            op: op as u32,
            outcome: abi::BENTO_OUTCOME_RETURNED,
            stack_limit: low + RESERVE,
            unwinding: 0,
            generation: self.slot.generation(),
        };
        let mut ledger = Ledger {
            caller,
            sb: self,
            refs: Vec::new(),
            invalidations: Vec::new(),
            wakes: Vec::new(),
            changed: Vec::new(),
            need_acl: None,
        };
        let result = {
            let _inside = Inside::begin(low + RESERVE, (&raw mut ledger).cast());
            let _charge = Charge::to(&raw const self.account);
            // SAFETY: SAFETY.md C1, G6: the call and the arguments live through it, and the thunk takes a `T`.
            unsafe { trampoline(&raw mut call, thunk, args) }
        };
        drop(reader);
        let Ledger { refs, invalidations, wakes, changed, need_acl, .. } = ledger;
        let outcome = match call.outcome {
            abi::BENTO_OUTCOME_RETURNED => Outcome::Returned,
            abi::BENTO_OUTCOME_UNWOUND => Outcome::Unwound,
            _ => Outcome::Abandoned,
        };
        self.note_outcome(op, outcome);
        if outcome == Outcome::Abandoned {
            self.slot.poison();
        }
        // Only now may references go (SAFETY.md G4) and the front door be told.
        for stale in invalidations {
            stale.inode.invalidate(stale.offset, stale.len);
        }
        for ino in changed {
            self.front.changed(ino);
        }
        for inode in &wakes {
            self.front.wake(inode.ino());
        }
        drop(refs);
        (self.checked_result(op, result), need_acl)
    }

    /// What a thunk returned: at least 0, or a negative errno. Anything else is a lie.
    fn checked_result(&self, op: Op, value: i64) -> Result<i64> {
        match value {
            0.. => Ok(value),
            -4095..=-1 => Err(Errno::new(-value as i32)),
            _ => Err(self.bad(op, format_args!("returned error {value}"))),
        }
    }
}

thread_local! {
    /// What `bento_mcount` compares the stack pointer with; 0 outside of calls.
    static STACK_LIMIT: Cell<usize> = const { Cell::new(0) };
    static STACK_LOW: Cell<usize> = const { Cell::new(0) };
    static LEDGER: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
}

/// This thread is in a call.
struct Inside;

impl Inside {
    fn begin(limit: usize, ledger: *mut c_void) -> Inside {
        // Entering twice on one thread would wait for itself at a closing gate (SAFETY.md G1).
        assert!(LEDGER.get().is_null(), "a call into Rust from within a call");
        STACK_LIMIT.set(limit);
        LEDGER.set(ledger);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        STACK_LIMIT.set(0);
        LEDGER.set(ptr::null_mut());
    }
}

/// Where [`STACK_LIMIT`] lies, counted from the thread pointer: the same in every thread, since the variable is in the
/// program's own static TLS.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub fn stack_limit_slot() -> isize {
    let thread: usize;
    // SAFETY: the x86-64 ABI keeps the thread pointer at %fs:0; reading it changes nothing.
    unsafe {
        std::arch::asm!("mov {}, fs:[0]", out(reg) thread, options(nostack, readonly, preserves_flags));
    }
    STACK_LIMIT.with(|slot| slot.as_ptr() as isize).wrapping_sub(thread as isize)
}

fn here() -> usize {
    let local = 0u8;
    (&raw const local).addr()
}

/// The lowest usable address of this thread's stack.
fn stack_low() -> usize {
    match STACK_LOW.get() {
        0 => {
            let low = thread_stack_low();
            STACK_LOW.set(low);
            low
        }
        low => low,
    }
}

#[cfg(miri)]
fn thread_stack_low() -> usize {
    here().saturating_sub(1 << 20)
}

#[cfg(not(miri))]
fn thread_stack_low() -> usize {
    let mut low = ptr::null_mut();
    let (mut size, mut guard) = (0, 0);
    // SAFETY: the attributes are initialised by pthread_getattr_np before they are read, and destroyed once.
    let known = unsafe {
        let mut attr = std::mem::zeroed();
        let known = libc::pthread_getattr_np(libc::pthread_self(), &mut attr) == 0;
        if known {
            libc::pthread_attr_getstack(&attr, &mut low, &mut size);
            libc::pthread_attr_getguardsize(&attr, &mut guard);
            libc::pthread_attr_destroy(&mut attr);
        }
        known
    };
    match known {
        true => low.addr() + guard,
        false => here().saturating_sub(1 << 20),
    }
}

/// # Safety
/// As [`Super::invoke`]: both pointers live through the call, `thunk` takes a `T`.
#[cfg(any(miri, not(target_arch = "x86_64")))]
unsafe fn trampoline<T>(
    call: *mut abi::bento_call,
    thunk: unsafe extern "C" fn(*mut abi::bento_call, *mut T) -> i64,
    args: &mut T,
) -> i64 {
    // SAFETY: the caller's promise. Where there is no trampoline, only std's unwinding ends a handler early.
    unsafe { thunk(call, args) }
}

/// # Safety
/// As [`Super::invoke`]: both pointers live through the call, `thunk` takes a `T`.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn trampoline<T>(
    call: *mut abi::bento_call,
    thunk: unsafe extern "C" fn(*mut abi::bento_call, *mut T) -> i64,
    args: &mut T,
) -> i64 {
    // SAFETY: the caller's promise; SAFETY.md G6.
    unsafe { asm::bento_user_trampoline(call, thunk as *const c_void, ptr::from_mut(args).cast()) }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
pub mod asm {
    //! The way in and the two ways out that are no return (SAFETY.md G6). `struct bento_record` lies between the shim's
    //! frame and the first Rust frame; whoever abandons finds it there.
    use super::*;

    std::arch::global_asm!(
        ".pushsection .text.bento_trampoline,\"ax\",@progbits",
        ".globl bento_user_trampoline",
        ".hidden bento_user_trampoline",
        ".type bento_user_trampoline,@function",
        "bento_user_trampoline:",
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "push r12",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r12, 0",
        "push r13",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r13, 0",
        "push r14",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r14, 0",
        "push r15",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r15, 0",
        // Room for the record: 16 bytes, 16-byte aligned, and one word so that it is.
        "sub rsp, 24",
        ".cfi_adjust_cfa_offset 24",
        "mov [rsp + 8], rdi",
        "movabs rax, {magic}",
        "xor rax, rsp",
        "mov [rsp], rax",
        "mov rax, rsi",
        "mov rsi, rdx",
        "call rax",
        "3:",
        // A stale record must never be found.
        "mov qword ptr [rsp], 0",
        "add rsp, 24",
        ".cfi_remember_state",
        ".cfi_adjust_cfa_offset -24",
        "pop r15",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r15",
        "pop r14",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r14",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r13",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbp",
        "ret",
        // bento_abandon(record, value): back to that frame, with its value.
        ".globl bento_user_abandon",
        ".hidden bento_user_abandon",
        ".type bento_user_abandon,@function",
        "bento_user_abandon:",
        ".cfi_restore_state",
        "mov rsp, rdi",
        "mov rax, rsi",
        "cld",
        "jmp 3b",
        ".cfi_endproc",
        ".size bento_user_trampoline, . - bento_user_trampoline",
        // bento_resume(regs): a landing pad's registers, then its address.
        ".globl bento_user_resume",
        ".hidden bento_user_resume",
        ".type bento_user_resume,@function",
        "bento_user_resume:",
        ".cfi_startproc",
        "mov rbx, [rdi]",
        "mov rbp, [rdi + 8]",
        "mov r12, [rdi + 16]",
        "mov r13, [rdi + 24]",
        "mov r14, [rdi + 32]",
        "mov r15, [rdi + 40]",
        "mov rcx, [rdi + 56]",
        "mov rax, [rdi + 64]",
        "mov rdx, [rdi + 72]",
        "mov rsp, [rdi + 48]",
        "jmp rcx",
        ".cfi_endproc",
        ".size bento_user_resume, . - bento_user_resume",
        ".popsection",
        magic = const abi::BENTO_RECORD_MAGIC as i64,
    );

    unsafe extern "C" {
        pub fn bento_user_trampoline(call: *mut abi::bento_call, thunk: *const c_void, args: *mut c_void) -> i64;
        pub fn bento_user_abandon(record: *mut abi::bento_record, value: i64);
        pub fn bento_user_resume(regs: *const abi::bento_regs);
    }

    /// The record of the call in progress on this thread: the first word from `rsp` up that matches its own address.
    ///
    /// # Safety
    /// `rsp` is a stack pointer of this thread, inside a call (SAFETY.md G6).
    unsafe fn record(rsp: *mut u64) -> *mut abi::bento_record {
        let mut word = rsp.map_addr(|address| (address + 7) & !7);
        // SAFETY: SAFETY.md G6: inside a call, a record lies above every Rust frame of this stack.
        unsafe {
            while word.read_volatile() != abi::BENTO_RECORD_MAGIC ^ word.addr() as u64 {
                word = word.add(1);
            }
        }
        word.cast()
    }

    /// Where `bento_mcount` of a loaded object goes when too little stack is left: abandons the call in progress.
    ///
    /// # Safety
    /// `rsp` is a stack pointer of this thread, inside a call (SAFETY.md G6); `at` is where the check was made.
    pub unsafe extern "C" fn overflow(rsp: *mut u64, at: *const c_void) {
        // SAFETY: the caller's promise; SAFETY.md C2.
        unsafe {
            let record = record(rsp);
            let call = (*record).call;
            (*call).outcome = abi::BENTO_OUTCOME_ABANDONED;
            crate::helpers::stack_exhausted(call, at);
            bento_user_abandon(record, -i64::from(Errno::EIO.get()));
        }
    }

    /// Abandons the call in progress from one of the shim's own functions.
    ///
    /// # Safety
    /// Inside a call of a freestanding object (SAFETY.md G6), with nothing of the shim's held.
    #[inline(never)]
    pub unsafe fn give_up() {
        let mut here = 0u64;
        // SAFETY: the caller's promise; SAFETY.md C2.
        unsafe {
            let record = record(&raw mut here);
            (*(*record).call).outcome = abi::BENTO_OUTCOME_ABANDONED;
            bento_user_abandon(record, -i64::from(Errno::EIO.get()));
        }
    }
}
