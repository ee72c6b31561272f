// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One call into Rust (SAFETY.md C1): gate, ledger, trampoline, and what is drained once the gate is left. Which version
//! answers is settled inside the gate.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::Ordering;

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::alloc::Charge;
use crate::args::Args;
use crate::caller::Caller;
use crate::inode::{Inode, InodeRef};
use crate::journal::Hold;
use crate::object::Object;
use crate::slot::{Health, Reader};
use crate::superblock::Super;
use crate::transaction::Blocks;

/// Stack a call needs to be let in, and what stays free below the last checked Rust frame: room to print a panic with
/// std, or to abandon.
const ROOM: usize = 128 << 10;
const RESERVE: usize = 48 << 10;
/// The same for a call within a call.
const NESTED_ROOM: usize = 64 << 10;

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
    /// Whose code runs.
    pub object: &'a Object,
    pub op: Op,
    pub generation: u32,
    /// Blocks it holds, and its transaction.
    pub blocks: Blocks,
    pub after: After,
    /// A permission check met an ACL that is not cached.
    pub need_acl: Option<InodeRef>,
}

/// What a call leaves to be done once it has left the gate (SAFETY.md G4).
#[derive(Default)]
pub struct After {
    /// References lent by `bento_inode_get`.
    pub refs: Vec<InodeRef>,
    pub invalidations: Vec<Invalidation>,
    pub wakes: Vec<InodeRef>,
    /// Numbers of inodes whose attributes the handler changed.
    pub changed: Vec<u64>,
}

impl After {
    fn append(&mut self, mut more: After) {
        self.refs.append(&mut more.refs);
        self.invalidations.append(&mut more.invalidations);
        self.wakes.append(&mut more.wakes);
        self.changed.append(&mut more.changed);
    }
}

/// Does `then` with the ledger of the call this thread is in; `None` outside of calls. What it allocates is the shim's.
pub fn with_ledger<T>(then: impl FnOnce(&mut Ledger<'_>) -> T) -> Option<T> {
    let _charge = Charge::nobody();
    let ledger = LEDGER.get();
    // SAFETY: SAFETY.md C1: `Inside` puts the pointer there for the length of one call, in which the shim itself does not
    // touch the ledger; this is not reentered.
    unsafe { ledger.cast::<Ledger<'_>>().as_mut() }.map(then)
}

/// The type of a thunk.
pub type Thunk<T> = Option<unsafe extern "C" fn(*mut abi::bento_call, *mut T) -> i64>;

/// Where a thunk lies in a version's table.
pub type Find<T> = fn(&abi::bento_ops) -> Thunk<T>;

/// Whose code runs, on which instance.
#[derive(Clone, Copy)]
pub struct Code<'a> {
    pub object: &'a Object,
    pub instance: *mut c_void,
    pub generation: u32,
}

/// A call inside the gate.
pub struct Entered<'a> {
    sb: &'a Super,
    op: Op,
    /// Leaves last.
    reader: Reader<'a, Object>,
}

impl<'a> Entered<'a> {
    /// Counted while inside only: who waits at the gate holds up nobody.
    fn with(sb: &'a Super, op: Op, reader: Reader<'a, Object>) -> Entered<'a> {
        sb.inside[op as usize].fetch_add(1, Ordering::Relaxed);
        Entered { sb, op, reader }
    }

    pub fn code(&self) -> Code<'_> {
        let reader = &self.reader;
        // SAFETY: SAFETY.md G1: the mount keeps the current version, which changes behind the closed gate only.
        let object = unsafe { &*reader.version() };
        Code { object, instance: reader.instance(), generation: reader.generation() }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.sb.inside[self.op as usize].fetch_sub(1, Ordering::Relaxed);
        if self.sb.slot.health() == Health::Restarting {
            self.sb.begin_restart();
        }
    }
}

/// How one entry into Rust ended.
pub struct Answer {
    pub value: i64,
    pub outcome: Outcome,
    /// The transaction that waits for data, which the caller of the call writes now.
    pub held_in: Option<u64>,
    after: After,
    need_acl: Option<InodeRef>,
}

/// What a NULL means where it is no default but an errno; for the others the arguments hold the default already.
fn absent(op: Op) -> Result<i64> {
    Err(match op {
        Op::lookup | Op::iterate => Errno::ENOTDIR,
        Op::create | Op::permission => Errno::EACCES,
        Op::mkdir | Op::mknod | Op::symlink | Op::link | Op::unlink | Op::rmdir | Op::rename => Errno::EPERM,
        Op::tmpfile | Op::getxattr | Op::listxattr | Op::setxattr | Op::removexattr | Op::set_acl => Errno::EOPNOTSUPP,
        Op::get_link | Op::read | Op::write | Op::reconfigure => Errno::EINVAL,
        Op::fileattr_get | Op::fileattr_set | Op::ioctl => Errno::ENOTTY,
        Op::get_parent => Errno::ESTALE,
        _ => return Ok(0),
    })
}

impl Super {
    /// Through the gate, as a call of `op`.
    pub fn enter(&self, op: Op) -> Result<Entered<'_>> {
        assert!(!in_call(), "a call into Rust from within a call");
        Ok(Entered::with(self, op, self.slot.enter()?))
    }

    /// The same, whatever the health: for what only concerns inode data.
    pub fn enter_anyhow(&self, op: Op) -> Result<Entered<'_>> {
        assert!(!in_call(), "a call into Rust from within a call");
        Ok(Entered::with(self, op, self.slot.enter_anyhow()?))
    }

    /// Calls a thunk with its argument block. Outputs in `args` are still to be distrusted; the value is what the thunk
    /// returned. `EIO` without entering when the slot is quarantined. A handler that this version has not (its callers asked
    /// before an upgrade took it away) answers what NULL would have meant.
    pub fn invoke<T: Args>(&self, op: Op, find: Find<T>, caller: &Caller, args: &mut T) -> Result<i64> {
        self.invoke_noting(op, find, caller, args).0
    }

    /// The same, and the inode whose ACL the call would have needed, if any.
    pub fn invoke_noting<T: Args>(
        &self,
        op: Op,
        find: Find<T>,
        caller: &Caller,
        args: &mut T,
    ) -> (Result<i64>, Option<InodeRef>) {
        let entered = match self.enter(op) {
            Ok(entered) => entered,
            Err(errno) => return (Err(errno), None),
        };
        let answer = self.run(&entered.code(), op, find, caller, args);
        drop(entered);
        let Some(answer) = answer else { return (absent(op), None) };
        let Answer { value, outcome, held_in, after, need_acl } = answer;
        drop(self.hold(held_in));
        self.note_outcome(op, outcome);
        self.drain(after);
        (self.checked_result(op, value), need_acl)
    }

    /// A call of `allocate_extents` whose extents hold data at once: the transaction does not commit before the hold goes,
    /// and until then this thread begins no other and waits for none.
    pub fn invoke_holding<T: Args>(
        &self,
        op: Op,
        find: Find<T>,
        caller: &Caller,
        args: &mut T,
    ) -> (Result<i64>, Option<Hold<'_>>) {
        let entered = match self.enter(op) {
            Ok(entered) => entered,
            Err(errno) => return (Err(errno), None),
        };
        let answer = self.run(&entered.code(), op, find, caller, args);
        drop(entered);
        let Some(Answer { value, outcome, held_in, after, .. }) = answer else { return (absent(op), None) };
        let hold = self.hold(held_in);
        self.note_outcome(op, outcome);
        self.drain(after);
        (self.checked_result(op, value), hold)
    }

    fn hold(&self, tid: Option<u64>) -> Option<Hold<'_>> {
        Some(self.device.as_ref()?.journal.hold(tid?))
    }

    /// Runs a thunk where nothing can change beneath it: inside the gate, behind it when it is closed, or on what no call
    /// reaches any more. `None` when there is no such thunk.
    pub fn run<T: Args>(
        &self,
        code: &Code<'_>,
        op: Op,
        find: Find<T>,
        caller: &Caller,
        args: &mut T,
    ) -> Option<Answer> {
        let thunk = find(code.object.ops())?;
        let nested = !LEDGER.get().is_null();
        let low = stack_low();
        let errno = |errno: Errno| Answer {
            value: -i64::from(errno.get()),
            outcome: Outcome::Returned,
            held_in: None,
            after: After::default(),
            need_acl: None,
        };
        if here() < low + if nested { NESTED_ROOM } else { ROOM } {
            return Some(errno(Errno::ENOMEM));
        }
        let mut call = abi::bento_call {
            instance: code.instance,
            sb: self.as_raw(),
            op: op as u32,
            outcome: abi::BENTO_OUTCOME_RETURNED,
            stack_limit: low + RESERVE,
            unwinding: 0,
            generation: code.generation,
            undo: ptr::null_mut(),
        };
        let mut ledger = Ledger {
            caller,
            sb: self,
            object: code.object,
            op,
            generation: code.generation,
            blocks: Blocks::new(args.promised(), args.holds()),
            after: After::default(),
            need_acl: None,
        };
        let value = {
            let _inside = Inside::begin(low + RESERVE, (&raw mut ledger).cast());
            let _charge = Charge::to(&raw const self.account);
            // SAFETY: SAFETY.md C1, G6: the call and the arguments live through it, and the thunk takes a `T`.
            unsafe { trampoline(&raw mut call, thunk, args) }
        };
        let outcome = match call.outcome {
            abi::BENTO_OUTCOME_RETURNED => Outcome::Returned,
            abi::BENTO_OUTCOME_UNWOUND => Outcome::Unwound,
            _ => Outcome::Abandoned,
        };
        if outcome == Outcome::Abandoned {
            self.abandoned(code.generation);
        }
        // SAFETY: SAFETY.md C1: the call is over; what it did not commit has not been.
        unsafe { ledger.finish(&raw mut call, false) };
        let Ledger { blocks, after, need_acl, .. } = ledger;
        args.keep_promised(blocks.promised);
        if blocks.last != 0 {
            args.inodes(&mut |inode| {
                if !inode.is_null() {
                    // SAFETY: SAFETY.md C5: an inode of the shim's that this call was about.
                    unsafe { Inode::from_raw(inode) }.note_transaction(blocks.last);
                }
            });
        }
        Some(Answer { value, outcome, held_in: blocks.held_in, after, need_acl })
    }

    /// The end of a call made with [`Super::run`]: its value, checked.
    pub fn settle(&self, op: Op, answer: Option<Answer>) -> Result<i64> {
        let Some(Answer { value, held_in, after, .. }) = answer else { return absent(op) };
        drop(self.hold(held_in));
        let mut after = Some(after);
        // Within another call, that one's end is the end of this one too.
        with_ledger(|ledger| after.take().map(|after| ledger.after.append(after)));
        if let Some(after) = after {
            self.drain(after);
        }
        self.checked_result(op, value)
    }

    /// Only outside of the gate may references go (SAFETY.md G4) and the front door be told.
    fn drain(&self, after: After) {
        let After { refs, invalidations, wakes, changed } = after;
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

/// Is this thread in a call? Entering the gate a second time would wait for itself when it closes (SAFETY.md G1).
pub fn in_call() -> bool {
    !LEDGER.get().is_null()
}

/// This thread is in a call; perhaps within another one, which brings inode data up to date.
struct Inside {
    limit: usize,
    ledger: *mut c_void,
}

impl Inside {
    fn begin(limit: usize, ledger: *mut c_void) -> Inside {
        Inside { limit: STACK_LIMIT.replace(limit), ledger: LEDGER.replace(ledger) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        STACK_LIMIT.set(self.limit);
        LEDGER.set(self.ledger);
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
    /// `regs` are those of a frame of this thread, inside a call (SAFETY.md G6).
    pub unsafe extern "C" fn overflow(regs: *const abi::bento_regs) {
        // SAFETY: the caller's promise; SAFETY.md C2.
        unsafe {
            let record = record(ptr::with_exposed_provenance_mut((*regs).rsp as usize));
            let call = (*record).call;
            let mut place = abi::bento_place_args { regs, at: std::mem::zeroed() };
            if let Some(thunk) = with_ledger(|ledger| ledger.object.ops().place).flatten() {
                bento_user_trampoline(call, thunk as *const c_void, (&raw mut place).cast());
            }
            (*call).outcome = abi::BENTO_OUTCOME_ABANDONED;
            crate::helpers::stack_exhausted(call, &place.at);
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
