// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The slot of one mount (`bento::slot`): the gate, the instance behind it, its version and generation, its health. Every
//! call into Rust is a reader of the gate (SAFETY.md G1). `tests/slot_model.rs` runs this very file under loom.

use std::ffi::c_void;
use std::ptr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bento::errno::{Errno, Result};

use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};

/// Set in `gate` while it is closed.
const CLOSED: u64 = 1 << 63;
/// Health: nobody enters, callers wait; nobody enters, callers get `EIO`. Neither: `ok`.
const RESTARTING: u64 = 1 << 62;
const QUARANTINED: u64 = 1 << 61;
/// Nothing of the instance is touched ever again (SAFETY.md C2).
const ABANDONED: u64 = 1 << 60;
/// The mount ends: no restart comes any more.
const LAST: u64 = 1 << 59;
/// The rest counts readers.
const READERS: u64 = LAST - 1;

/// Who may enter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    Ok,
    Restarting,
    Quarantined,
}

impl Health {
    pub fn name(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Restarting => "restarting",
            Health::Quarantined => "quarantined",
        }
    }
}

/// What an opened gate leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Open {
    /// The same as before.
    Before,
    /// A new instance.
    New,
    /// Nothing: the restart failed.
    Quarantine,
}

/// The gate and what is behind it; `V` is the version's code, which the slot's owner keeps alive.
#[derive(Debug)]
pub struct Slot<V> {
    gate: AtomicU64,
    generation: AtomicU32,
    instance: AtomicPtr<c_void>,
    version: AtomicPtr<V>,
    /// Those at a closed gate, and the closer who waits for the last reader.
    lock: Mutex<()>,
    wait: Condvar,
}

impl<V> Slot<V> {
    pub fn new(version: *const V) -> Slot<V> {
        Slot {
            gate: AtomicU64::new(0),
            generation: AtomicU32::new(1),
            instance: AtomicPtr::new(ptr::null_mut()),
            version: AtomicPtr::new(version.cast_mut()),
            lock: Mutex::new(()),
            wait: Condvar::new(),
        }
    }

    pub fn instance(&self) -> *mut c_void {
        self.instance.load(Ordering::Acquire)
    }

    /// The instance of a mount that begins or ends.
    pub fn set_instance(&self, instance: *mut c_void) {
        self.instance.store(instance, Ordering::Release);
    }

    pub fn version(&self) -> *const V {
        self.version.load(Ordering::Acquire)
    }

    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The generation after this one; never 0.
    pub fn next_generation(&self) -> u32 {
        self.generation().checked_add(1).unwrap_or(1)
    }

    /// Another instance, behind the closed gate.
    pub fn replace(&self, instance: *mut c_void, version: *const V) {
        self.generation.store(self.next_generation(), Ordering::Release);
        self.instance.store(instance, Ordering::Release);
        self.version.store(version.cast_mut(), Ordering::Release);
    }

    pub fn health(&self) -> Health {
        match self.gate.load(Ordering::Acquire) {
            gate if gate & QUARANTINED != 0 => Health::Quarantined,
            gate if gate & RESTARTING != 0 => Health::Restarting,
            _ => Health::Ok,
        }
    }

    pub fn is_abandoned(&self) -> bool {
        self.gate.load(Ordering::Acquire) & ABANDONED != 0
    }

    pub fn is_closed(&self) -> bool {
        self.gate.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Waits at a closed gate and while the slot restarts; `EIO` when it is quarantined.
    pub fn enter(&self) -> Result<Reader<'_, V>> {
        self.enter_unless(QUARANTINED, CLOSED | RESTARTING)
    }

    /// Whatever the health: for sweeps, and for what is dropped.
    pub fn enter_anyhow(&self) -> Result<Reader<'_, V>> {
        self.enter_unless(0, CLOSED)
    }

    /// Never waits: `None` where `enter` would.
    pub fn try_enter(&self) -> Result<Option<Reader<'_, V>>> {
        self.try_enter_unless(QUARANTINED, CLOSED | RESTARTING)
    }

    fn enter_unless(&self, refused: u64, closed: u64) -> Result<Reader<'_, V>> {
        loop {
            if let Some(reader) = self.try_enter_unless(refused, closed)? {
                return Ok(reader);
            }
            let mut guard = held(&self.lock);
            let stays = || {
                let gate = self.gate.load(Ordering::Acquire);
                gate & closed != 0 && gate & refused == 0
            };
            while stays() {
                guard = self.wait.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn try_enter_unless(&self, refused: u64, closed: u64) -> Result<Option<Reader<'_, V>>> {
        let mut gate = self.gate.load(Ordering::Acquire);
        loop {
            if gate & refused != 0 {
                return Err(Errno::EIO);
            }
            if gate & closed != 0 {
                return Ok(None);
            }
            match self.gate.compare_exchange_weak(gate, gate + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(Some(Reader { slot: self })),
                Err(now) => gate = now,
            }
        }
    }

    /// Closes the gate and waits for its readers. `ETIMEDOUT` when they did not leave in time, and the gate is open again;
    /// `EBUSY` when it is closed already.
    pub fn close(&self, timeout: Duration) -> Result<()> {
        self.close_or(timeout, || ())
    }

    /// The same; `late` when they did not leave in time, with the gate still closed: it sees who they are.
    pub fn close_or(&self, timeout: Duration, mut late: impl FnMut()) -> Result<()> {
        let deadline = Instant::now() + timeout;
        self.close_while(|wait, guard| {
            let left = deadline.saturating_duration_since(Instant::now());
            match left.is_zero() {
                true => {
                    late();
                    None
                }
                false => Some(wait.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0),
            }
        })
    }

    /// The same with a wait of the caller's, `None` when it is over.
    pub fn close_while(
        &self,
        mut sleep: impl for<'a> FnMut(&Condvar, MutexGuard<'a, ()>) -> Option<MutexGuard<'a, ()>>,
    ) -> Result<()> {
        if self.gate.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED != 0 {
            return Err(Errno::EBUSY);
        }
        let mut guard = held(&self.lock);
        while self.gate.load(Ordering::Acquire) & READERS != 0 {
            match sleep(&self.wait, guard) {
                Some(back) => guard = back,
                None => {
                    self.open(Open::Before);
                    return Err(Errno::ETIMEDOUT);
                }
            }
        }
        Ok(())
    }

    /// Opens a closed gate.
    pub fn open(&self, to: Open) {
        let _guard = held(&self.lock);
        match to {
            Open::Before => {}
            Open::New => drop(self.gate.fetch_and(!(RESTARTING | QUARANTINED | ABANDONED), Ordering::AcqRel)),
            Open::Quarantine => self.isolate(),
        }
        self.gate.fetch_and(!CLOSED, Ordering::AcqRel);
        self.wait.notify_all();
    }

    /// Nobody enters this instance any more. What it has come to, when that is new.
    pub fn spoil(&self, restart: bool, abandoned: bool) -> Option<Health> {
        let _guard = held(&self.lock);
        let mut gate = self.gate.load(Ordering::Acquire);
        loop {
            let restart = restart && gate & LAST == 0;
            let bits = if restart { RESTARTING } else { QUARANTINED };
            let first = gate & (RESTARTING | QUARANTINED) == 0;
            let set = gate | if first { bits } else { 0 } | if abandoned { ABANDONED } else { 0 };
            match self.gate.compare_exchange(gate, set, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.wait.notify_all();
                    return first.then_some(if restart { Health::Restarting } else { Health::Quarantined });
                }
                Err(now) => gate = now,
            }
        }
    }

    /// From here on what is spoiled is quarantined: nobody waits for a restart. One that is under way may still end well.
    pub fn no_more_restarts(&self) {
        let _guard = held(&self.lock);
        if self.gate.fetch_or(LAST, Ordering::AcqRel) & RESTARTING != 0 {
            self.isolate();
            self.wait.notify_all();
        }
    }

    /// With `lock` held; whoever waits is told by the caller.
    fn isolate(&self) {
        self.gate.fetch_or(QUARANTINED, Ordering::AcqRel);
        self.gate.fetch_and(!RESTARTING, Ordering::AcqRel);
    }

    /// Whoever sleeps at the gate looks again; the model's clock needs it.
    #[allow(dead_code)]
    pub fn nudge(&self) {
        let _guard = held(&self.lock);
        self.wait.notify_all();
    }

    /// No restart comes of it after all.
    pub fn quarantine(&self) {
        let _guard = held(&self.lock);
        self.isolate();
        self.wait.notify_all();
    }

    fn leave(&self) {
        let left = self.gate.fetch_sub(1, Ordering::AcqRel) - 1;
        if left & CLOSED != 0 && left & READERS == 0 {
            let _guard = held(&self.lock);
            self.wait.notify_all();
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call inside the gate. What is behind it stays what it is until this is dropped.
#[derive(Debug)]
pub struct Reader<'a, V> {
    slot: &'a Slot<V>,
}

impl<V> Reader<'_, V> {
    pub fn instance(&self) -> *mut c_void {
        self.slot.instance()
    }

    pub fn version(&self) -> *const V {
        self.slot.version()
    }

    pub fn generation(&self) -> u32 {
        self.slot.generation()
    }
}

impl<V> Drop for Reader<'_, V> {
    fn drop(&mut self) {
        self.slot.leave();
    }
}

/// The lock under which the data of one inode come to another generation; it counts what failed.
#[derive(Debug)]
pub struct Migration {
    failures: Mutex<u32>,
}

impl Migration {
    pub fn new() -> Migration {
        Migration { failures: Mutex::new(0) }
    }

    /// Does `bring` unless somebody else has: of many calls one does it, the others wait and see.
    pub fn once(&self, done: impl Fn() -> bool, bring: impl FnOnce(&mut u32) -> Result<()>) -> Result<()> {
        let mut failures = held(&self.failures);
        if done() { Ok(()) } else { bring(&mut failures) }
    }
}
