// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which changes of blocks become durable together. Handles (one transaction of one call each) join the running
//! transaction; a commit locks it until its handles have ended, copies its blocks, and lets the next one run while they are
//! written. Without a journal on the device they are written to their places, and a crash in the midst may tear them.
//!
//! Locks: `work` (one commit or checkpoint at a time), then `state`, then a block's stage. No lock but `work` is held
//! while the device is busy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bento::errno::{Errno, Result};

use crate::device::{Buf, Device, Numbers};
use crate::inode::held;

/// How long changes wait for company, unless the mount says otherwise.
const INTERVAL: Duration = Duration::from_secs(5);
/// Most blocks of a transaction where there is no journal.
const UNBOUND: u32 = 8192;

/// The running transaction.
#[derive(Default)]
struct Running {
    tid: u64,
    /// Handles that have not ended.
    handles: usize,
    /// Blocks that they may still add.
    credits: u64,
    /// All of them were in it once; some have left.
    blocks: Vec<Arc<Buf>>,
    /// Freed metadata blocks.
    forgotten: Numbers<()>,
    /// Writes of file data that must be on the device before it commits.
    holds: usize,
    began: Option<Instant>,
}

struct State {
    running: Option<Running>,
    /// No handle joins the running one.
    locked: bool,
    /// Nothing begins until a thaw.
    frozen: bool,
    next: u64,
    committed: u64,
    /// Data writes that the transaction being committed waits for.
    committing_holds: usize,
    committing: u64,
    aborted: Option<Errno>,
    max_credits: u32,
    interval: Duration,
    /// The timer's thread is to end.
    stop: bool,
}

impl Default for State {
    fn default() -> State {
        State {
            running: None,
            locked: false,
            frozen: false,
            next: 1,
            committed: 0,
            committing_holds: 0,
            committing: 0,
            aborted: None,
            max_credits: UNBOUND,
            interval: INTERVAL,
            stop: false,
        }
    }
}

#[derive(Default)]
pub struct Journal {
    state: Mutex<State>,
    changed: Condvar,
    work: Mutex<()>,
    /// For reading without the lock.
    committed: AtomicU64,
}

/// File data that a transaction waits for: let go when they have been written.
pub struct Hold<'a> {
    journal: &'a Journal,
    tid: u64,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.journal.let_go(self.tid);
    }
}

impl Journal {
    fn state(&self) -> MutexGuard<'_, State> {
        held(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Is there anything that is not at its place, or about to change?
    pub fn is_busy(&self) -> bool {
        self.state().running.as_ref().is_some_and(|running| running.handles > 0 || !running.blocks.is_empty())
    }

    pub fn aborted(&self) -> Option<Errno> {
        self.state().aborted
    }

    /// Nothing is written any more.
    pub fn abort(&self, why: Errno) {
        self.state().aborted.get_or_insert(why);
        self.changed.notify_all();
    }

    pub fn max_credits(&self) -> u32 {
        self.state().max_credits
    }

    // ---- handles ----

    /// A handle that may change `credits` blocks: the transaction it is part of. `waits`: may it wait for a commit?
    pub fn begin(&self, device: &Device, credits: u64, waits: bool) -> Result<u64> {
        let mut state = self.state();
        loop {
            if state.aborted.is_some() || state.frozen {
                return Err(Errno::EROFS);
            }
            if credits > u64::from(state.max_credits) {
                return Err(Errno::ENOSPC);
            }
            if state.locked {
                if !waits {
                    return Err(Errno::ENOSPC);
                }
                state = self.wait(state);
                continue;
            }
            let State { running, next, max_credits, .. } = &mut *state;
            let running = running.get_or_insert_with(|| {
                let tid = *next;
                *next += 1;
                Running { tid, began: Some(Instant::now()), ..Running::default() }
            });
            if running.blocks.len() as u64 + running.credits + credits <= u64::from(*max_credits) {
                running.handles += 1;
                running.credits += credits;
                return Ok(running.tid);
            }
            let full = running.tid;
            drop(state);
            if !waits {
                return Err(Errno::ENOSPC);
            }
            self.commit(device, full)?;
            state = self.state();
        }
    }

    /// More credits for a handle of the running transaction.
    pub fn extend(&self, credits: u64) -> Result<()> {
        let mut state = self.state();
        if state.aborted.is_some() {
            return Err(Errno::EROFS);
        }
        let most = u64::from(state.max_credits);
        let Some(running) = &mut state.running else { return Err(Errno::EINVAL) };
        if running.blocks.len() as u64 + running.credits + credits > most {
            return Err(Errno::ENOSPC);
        }
        running.credits += credits;
        Ok(())
    }

    /// The handle's first change of that block; whether the transaction had freed it.
    pub fn join(&self, tid: u64, buf: &Arc<Buf>) -> bool {
        let mut stage = buf.stage();
        let new = stage.running != tid;
        if new {
            (stage.running, stage.users) = (tid, 0);
        }
        stage.users += 1;
        let again = std::mem::take(&mut stage.forgotten);
        drop(stage);
        if new || again {
            let mut state = self.state();
            if let Some(running) = state.running.as_mut().filter(|running| running.tid == tid) {
                if new {
                    running.blocks.push(Arc::clone(buf));
                    running.credits = running.credits.saturating_sub(1);
                }
                if again {
                    running.forgotten.remove(&buf.number);
                }
            }
        }
        again
    }

    /// The handle takes back what it did: the bytes are as before.
    pub fn leave(&self, tid: u64, buf: &Buf) {
        let mut stage = buf.stage();
        if stage.running != tid {
            return;
        }
        stage.users = stage.users.saturating_sub(1);
        if stage.users == 0 {
            // Nothing of this transaction is in it.
            stage.running = 0;
        }
    }

    /// The handle freed that block.
    pub fn forget(&self, device: &Device, tid: u64, number: u64) {
        if let Some(buf) = device.cached(number) {
            let mut stage = buf.stage();
            // Marked even where the block is not changed: a checkpoint then waits for this transaction.
            let new = stage.running != tid;
            (stage.running, stage.forgotten) = (tid, true);
            stage.users += 1;
            buf.sum.store(0, Ordering::Release);
            drop(stage);
            let mut state = self.state();
            if let Some(running) = state.running.as_mut().filter(|running| running.tid == tid) {
                if new {
                    running.blocks.push(buf);
                }
                running.forgotten.insert(number, ());
            }
            return;
        }
        let mut state = self.state();
        if let Some(running) = state.running.as_mut().filter(|running| running.tid == tid) {
            running.forgotten.insert(number, ());
        }
    }

    /// The handle ends; with `hold`, data of its are still to be written.
    pub fn end(&self, tid: u64, unused: u64, hold: bool) {
        let mut state = self.state();
        let locked = state.locked;
        let Some(running) = state.running.as_mut().filter(|running| running.tid == tid) else { return };
        running.handles = running.handles.saturating_sub(1);
        running.credits = running.credits.saturating_sub(unused);
        running.holds += usize::from(hold);
        if running.handles == 0 && locked {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// What [`Self::end`] held.
    pub fn hold(&self, tid: u64) -> Hold<'_> {
        Hold { journal: self, tid }
    }

    fn let_go(&self, tid: u64) {
        let mut state = self.state();
        if let Some(running) = state.running.as_mut().filter(|running| running.tid == tid) {
            running.holds = running.holds.saturating_sub(1);
        } else if state.committing == tid {
            state.committing_holds = state.committing_holds.saturating_sub(1);
            drop(state);
            self.changed.notify_all();
        }
    }

    // ---- commits ----

    pub fn is_committed(&self, tid: u64) -> bool {
        self.committed.load(Ordering::Acquire) >= tid
    }

    /// Waits until `tid` is durable, which this thread sees to itself unless another is at it.
    pub fn commit(&self, device: &Device, tid: u64) -> Result<()> {
        if self.is_committed(tid) {
            return Ok(());
        }
        let _work = held(&self.work);
        while !self.is_committed(tid) {
            self.commit_running(device)?;
        }
        Ok(())
    }

    /// Commits what there is; whether that has flushed the device.
    pub fn commit_all(&self, device: &Device) -> Result<bool> {
        let _work = held(&self.work);
        self.commit_running(device)
    }

    /// The caller holds `work`.
    fn commit_running(&self, device: &Device) -> Result<bool> {
        let mut state = self.state();
        if let Some(why) = state.aborted {
            return Err(why);
        }
        if state.running.is_none() {
            let last = state.next - 1;
            state.committed = last;
            self.committed.store(last, Ordering::Release);
            return Ok(false);
        }
        state.locked = true;
        while state.running.as_ref().is_some_and(|running| running.handles > 0) {
            state = self.wait(state);
        }
        let Some(running) = state.running.take() else { return Ok(false) };
        let Running { tid, blocks, forgotten, holds, .. } = running;
        (state.committing, state.committing_holds) = (tid, holds);
        // Nobody changes a block of this transaction now, and nobody joins: the copies are of one moment.
        let sums = device.sums();
        let size = device.block_size() as usize;
        let mut bytes = Vec::with_capacity(blocks.len() * size);
        let mut places = Vec::with_capacity(blocks.len());
        let mut written = Vec::with_capacity(blocks.len());
        for buf in blocks {
            let mut stage = buf.stage();
            if stage.running != tid {
                continue;
            }
            (stage.running, stage.users) = (0, 0);
            if std::mem::take(&mut stage.forgotten) {
                continue;
            }
            device.seal(&buf, &sums);
            places.push((buf.number, bytes.len()));
            let at = bytes.len();
            bytes.resize(at + size, 0);
            buf.copy_to(&mut bytes[at..]);
            stage.checkpoint = tid;
            drop(stage);
            written.push(buf);
        }
        state.locked = false;
        self.changed.notify_all();
        while state.committing_holds > 0 {
            state = self.wait(state);
        }
        drop(state);
        let empty = written.is_empty() && forgotten.is_empty();
        let done = if empty { Ok(()) } else { self.write(device, &mut places, &bytes) };
        if let Err(why) = done {
            self.abort(why);
            return Err(why);
        }
        for buf in written {
            let mut stage = buf.stage();
            if stage.checkpoint == tid {
                stage.checkpoint = 0;
            }
        }
        for number in forgotten.into_keys() {
            device.drop_forgotten(number);
        }
        let mut state = self.state();
        state.committed = tid;
        self.committed.store(tid, Ordering::Release);
        self.changed.notify_all();
        Ok(!empty)
    }

    fn write(&self, device: &Device, places: &mut [(u64, usize)], bytes: &[u8]) -> Result<()> {
        device.write_home(places, bytes)?;
        device.flush()
    }

    // ---- the timer, freezing, the end ----

    /// Commits what is old enough, until [`Self::stop`].
    pub fn keep_time(&self, device: &Device) {
        let mut state = self.state();
        while !state.stop {
            let age = state.running.as_ref().and_then(|running| running.began).map(|began| began.elapsed());
            let interval = state.interval;
            match age {
                Some(age) if age >= interval && state.aborted.is_none() => {
                    drop(state);
                    let _ = self.commit_all(device);
                    state = self.state();
                }
                age => {
                    let left = interval.saturating_sub(age.unwrap_or_default()).max(Duration::from_millis(10));
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    pub fn stop(&self) {
        self.state().stop = true;
        self.changed.notify_all();
    }

    /// The end of the mount: everything at its place.
    pub fn close(&self, device: &Device) -> Result<()> {
        self.commit_all(device).map(drop)
    }

    /// Everything at its place, and nothing begins until the thaw.
    pub fn freeze(&self, device: &Device) -> Result<()> {
        self.state().frozen = true;
        let done = self.commit_all(device).map(drop);
        if done.is_err() {
            self.thaw();
        }
        done
    }

    pub fn thaw(&self) {
        self.state().frozen = false;
        self.changed.notify_all();
    }
}
