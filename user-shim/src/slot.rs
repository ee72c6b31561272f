// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The slot of one mount: its instance behind the gate. Every call into Rust passes the gate as a reader (SAFETY.md G1);
//! closing it waits for the readers, can time out, and is then taken back.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bento::errno::{Errno, Result};

/// Set in `gate` while it is closed; the rest counts readers.
const CLOSED: u64 = 1 << 63;

/// The gate, the instance behind it, and whether anything may enter.
#[derive(Debug)]
pub struct Slot {
    gate: AtomicU64,
    poisoned: AtomicBool,
    generation: AtomicU32,
    instance: AtomicPtr<c_void>,
    /// Those at a closed gate, and the closer who waits for the last reader.
    lock: Mutex<()>,
    wait: Condvar,
    closing: Mutex<()>,
}

impl Slot {
    pub fn new() -> Slot {
        Slot {
            gate: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            instance: AtomicPtr::new(ptr::null_mut()),
            lock: Mutex::new(()),
            wait: Condvar::new(),
            closing: Mutex::new(()),
        }
    }

    pub fn instance(&self) -> *mut c_void {
        self.instance.load(Ordering::Acquire)
    }

    pub fn set_instance(&self, instance: *mut c_void) {
        self.instance.store(instance, Ordering::Release);
    }

    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub fn is_closed(&self) -> bool {
        self.gate.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Waits at a closed gate; `EIO` when the instance is poisoned.
    pub fn enter(&self) -> Result<Reader<'_>> {
        loop {
            if let Some(reader) = self.try_enter()? {
                return Ok(reader);
            }
            let mut guard = held(&self.lock);
            while self.is_closed() && !self.is_poisoned() {
                guard = self.wait.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Never waits: `None` at a closed gate.
    pub fn try_enter(&self) -> Result<Option<Reader<'_>>> {
        if self.is_poisoned() {
            return Err(Errno::EIO);
        }
        let entered =
            self.gate.try_update(Ordering::AcqRel, Ordering::Acquire, |gate| (gate & CLOSED == 0).then_some(gate + 1));
        Ok(entered.is_ok().then(|| Reader { slot: self }))
    }

    /// Closes the gate and waits for its readers; `EBUSY` when they did not leave in time, and the gate is open again.
    pub fn close(&self, timeout: Duration) -> Result<()> {
        let _one = held(&self.closing);
        let deadline = Instant::now() + timeout;
        self.gate.fetch_or(CLOSED, Ordering::AcqRel);
        let mut guard = held(&self.lock);
        while self.gate.load(Ordering::Acquire) != CLOSED {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(guard);
                self.reopen();
                return Err(Errno::EBUSY);
            }
            guard = self.wait.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Opens a closed gate.
    pub fn reopen(&self) {
        let _guard = held(&self.lock);
        self.gate.fetch_and(!CLOSED, Ordering::AcqRel);
        self.wait.notify_all();
    }

    /// Nothing enters again (SAFETY.md C2).
    pub fn poison(&self) {
        let _guard = held(&self.lock);
        self.poisoned.store(true, Ordering::Release);
        self.wait.notify_all();
    }

    fn leave(&self) {
        let left = self.gate.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == CLOSED {
            let _guard = held(&self.lock);
            self.wait.notify_all();
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call inside the gate.
#[derive(Debug)]
pub struct Reader<'a> {
    slot: &'a Slot,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.slot.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn closing_waits_for_readers_and_can_be_taken_back() {
        let slot = Slot::new();
        let reader = slot.enter().unwrap();
        assert_eq!(slot.close(Duration::from_millis(5)), Err(Errno::EBUSY));
        assert!(slot.try_enter().unwrap().is_some());
        drop(reader);
        slot.close(Duration::from_secs(5)).unwrap();
        assert!(slot.try_enter().unwrap().is_none());
        slot.reopen();
        assert!(slot.try_enter().unwrap().is_some());
    }

    #[test]
    fn a_caller_at_a_closed_gate_waits_outside() {
        let slot = Arc::new(Slot::new());
        slot.close(Duration::from_secs(1)).unwrap();
        let inside = Arc::clone(&slot);
        let caller = std::thread::spawn(move || inside.enter().map(drop));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!caller.is_finished());
        slot.reopen();
        caller.join().unwrap().unwrap();
    }

    #[test]
    fn a_poisoned_slot_answers_eio() {
        let slot = Slot::new();
        slot.poison();
        assert_eq!(slot.enter().map(drop), Err(Errno::EIO));
    }
}
