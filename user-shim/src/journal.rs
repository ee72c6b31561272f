// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which changes of blocks become durable together. Handles (one transaction of one call each) join the running
//! transaction; a commit locks it until its handles have ended, copies its blocks, and lets the next one run while they are
//! written. Without a journal on the device they are written to their places, and a crash in the midst may tear them.
//!
//! Locks: `work` (one commit or checkpoint at a time), then `state`, then a block's stage. No lock but `work` is held
//! while the device is busy.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bento::abi;
use bento::errno::{Errno, Result};

use crate::device::{Buf, Device, Numbers};
use crate::inode::held;
use crate::jbd2::{Log, Opened, Refusal};

/// How long changes wait for company, unless the mount says otherwise.
const INTERVAL: Duration = Duration::from_secs(5);
/// Most blocks of a transaction where there is no journal.
const UNBOUND: u32 = 8192;
/// Most of one in a journal, however large that is.
const MOST: u32 = 16384;

/// The running transaction.
#[derive(Default)]
struct Running {
    tid: u64,
    /// Handles that have not ended.
    handles: usize,
    /// Blocks that they may still add.
    credits: u64,
    /// Blocks that its handles free, or may.
    revokes: u64,
    /// All of them were in it once; some have left.
    blocks: Vec<Arc<Buf>>,
    /// Freed metadata blocks.
    forgotten: Numbers<()>,
    /// Free blocks that the device is to hear of before anybody has them.
    discards: Vec<(u64, u64)>,
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
    /// Blocks of the log that no transaction has.
    room: u64,
    /// What a transaction costs there.
    cost: Option<Cost>,
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
            room: u64::MAX,
            cost: None,
            interval: INTERVAL,
            stop: false,
        }
    }
}

/// Blocks of the log that so many changed and so many freed blocks take.
#[derive(Clone, Copy)]
struct Cost {
    tags: u64,
    revokes: u64,
}

impl Cost {
    fn of(self, blocks: u64, revokes: u64) -> u64 {
        blocks + blocks.div_ceil(self.tags) + revokes.div_ceil(self.revokes) + 1
    }
}

/// What only a commit or a checkpoint touches.
#[derive(Default)]
struct Work {
    log: Option<Log>,
    /// Transactions in the log, the oldest first.
    written: VecDeque<Written>,
}

/// A transaction in the log with blocks that may not be at their places.
struct Written {
    tid: u64,
    sequence: u32,
    start: u32,
    count: u32,
    blocks: Vec<Arc<Buf>>,
}

#[derive(Default)]
pub struct Journal {
    state: Mutex<State>,
    changed: Condvar,
    work: Mutex<Work>,
    /// For reading without the lock.
    committed: AtomicU64,
    /// There is a log on the device.
    logged: AtomicBool,
    no_barrier: AtomicBool,
    /// Where the log lies.
    area: OnceLock<Vec<abi::bento_run>>,
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

impl State {
    /// Is there room for a handle, on top of what others have asked for?
    fn has_room(&self, credits: u64, revokes: u64) -> bool {
        let (blocks, freed) = match &self.running {
            Some(running) => (running.blocks.len() as u64 + running.credits, running.revokes),
            None => (0, 0),
        };
        let cost = self.cost.map_or(0, |cost| cost.of(blocks + credits, freed + revokes));
        blocks + credits <= u64::from(self.max_credits) && cost <= self.room
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

    /// Does the log lie there?
    pub fn covers(&self, number: u64, count: u64) -> bool {
        let runs = self.area.get().map_or(&[][..], Vec::as_slice);
        runs.iter().any(|run| number < run.physical + run.count && run.physical < number.saturating_add(count))
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

    /// A handle that may change `credits` blocks and free `revokes`: the transaction it is part of. `waits`: may it wait
    /// for a commit?
    pub fn begin(&self, device: &Device, credits: u64, revokes: u64, waits: bool) -> Result<u64> {
        let mut state = self.state();
        loop {
            if state.aborted.is_some() || state.frozen {
                return Err(Errno::EROFS);
            }
            if credits > u64::from(state.max_credits) || revokes > u64::from(state.max_credits) * 16 {
                return Err(Errno::ENOSPC);
            }
            if state.locked {
                if !waits {
                    return Err(Errno::ENOSPC);
                }
                state = self.wait(state);
                continue;
            }
            if state.has_room(credits, revokes) {
                let State { running, next, .. } = &mut *state;
                let running = running.get_or_insert_with(|| {
                    let tid = *next;
                    *next += 1;
                    Running { tid, began: Some(Instant::now()), ..Running::default() }
                });
                running.handles += 1;
                running.credits += credits;
                running.revokes += revokes;
                return Ok(running.tid);
            }
            drop(state);
            if !waits {
                return Err(Errno::ENOSPC);
            }
            self.make_room(device, credits, revokes)?;
            state = self.state();
        }
    }

    /// More credits for a handle of the running transaction.
    pub fn extend(&self, credits: u64, revokes: u64) -> Result<()> {
        let mut state = self.state();
        if state.aborted.is_some() {
            return Err(Errno::EROFS);
        }
        if !state.has_room(credits, revokes) {
            return Err(Errno::ENOSPC);
        }
        let Some(running) = &mut state.running else { return Err(Errno::EINVAL) };
        running.credits += credits;
        running.revokes += revokes;
        Ok(())
    }

    /// The running transaction is full, or the log is.
    fn make_room(&self, device: &Device, credits: u64, revokes: u64) -> Result<()> {
        let mut work = held(&self.work);
        if !self.state().has_room(credits, revokes) {
            self.commit_running(device, &mut work)?;
            self.checkpoint_some(device, &mut work)?;
        }
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

    /// The device is to hear that these blocks are free, when that is so for good.
    pub fn discard(&self, tid: u64, ranges: Vec<(u64, u64)>) {
        if let Some(running) = self.state().running.as_mut().filter(|running| running.tid == tid) {
            running.discards.extend(ranges);
        }
    }

    /// The handle ends, with credits left; with `hold`, data of its are still to be written.
    pub fn end(&self, tid: u64, unused: u64, unused_revokes: u64, hold: bool) {
        let mut state = self.state();
        let locked = state.locked;
        let Some(running) = state.running.as_mut().filter(|running| running.tid == tid) else { return };
        running.handles = running.handles.saturating_sub(1);
        running.credits = running.credits.saturating_sub(unused);
        running.revokes = running.revokes.saturating_sub(unused_revokes);
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

    /// The same as file systems see it: without a journal there is nothing to wait for.
    pub fn is_durable(&self, tid: u64) -> bool {
        !self.logged.load(Ordering::Acquire) || self.is_committed(tid)
    }

    /// Is there a log on the device?
    pub fn is_logged(&self) -> bool {
        self.logged.load(Ordering::Acquire)
    }

    /// Waits until `tid` is durable, which this thread sees to itself unless another is at it.
    pub fn commit(&self, device: &Device, tid: u64) -> Result<()> {
        if self.is_committed(tid) {
            return Ok(());
        }
        let mut work = held(&self.work);
        while !self.is_committed(tid) {
            self.commit_running(device, &mut work)?;
        }
        Ok(())
    }

    /// Commits what there is; whether that has flushed the device.
    pub fn commit_all(&self, device: &Device) -> Result<bool> {
        self.commit_running(device, &mut held(&self.work))
    }

    /// What was written without a transaction is there for good.
    pub fn flush(&self, device: &Device) -> Result<()> {
        if self.no_barrier.load(Ordering::Acquire) { Ok(()) } else { device.flush() }
    }

    /// Commits what there is while the log is empty: one block alone goes straight to its place. That is how a superblock
    /// says that there is a journal to be recovered before there is one, and that there is none once it is gone.
    pub fn commit_apart(&self, device: &Device) -> Result<()> {
        self.commit_some(device, &mut held(&self.work), true).map(drop)
    }

    fn commit_running(&self, device: &Device, work: &mut Work) -> Result<bool> {
        self.commit_some(device, work, false)
    }

    fn commit_some(&self, device: &Device, work: &mut Work, apart: bool) -> Result<bool> {
        let mut state = self.state();
        if state.aborted.is_some() {
            return Err(Errno::EIO);
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
        let Running { tid, blocks, forgotten, discards, holds, .. } = running;
        (state.committing, state.committing_holds) = (tid, holds);
        // Nobody changes a block of this transaction now, and nobody joins: the copies are of one moment.
        let sums = device.sums();
        let size = device.block_size() as usize;
        let mut bytes = Vec::with_capacity(blocks.len() * size);
        let mut numbers = Vec::with_capacity(blocks.len());
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
            numbers.push(buf.number);
            buf.copy_to(&mut bytes);
            stage.checkpoint = tid;
            drop(stage);
            written.push(buf);
        }
        let empty = written.is_empty() && forgotten.is_empty();
        let clean = work.log.as_ref().is_none_or(Log::is_clean);
        let apart = apart && clean && written.len() == 1 && forgotten.is_empty();
        if let Some(cost) = state.cost.filter(|_| !empty && !apart) {
            state.room = state.room.saturating_sub(cost.of(written.len() as u64, forgotten.len() as u64));
        }
        state.locked = false;
        self.changed.notify_all();
        while state.committing_holds > 0 {
            state = self.wait(state);
        }
        drop(state);
        let freed: Vec<u64> = forgotten.into_keys().collect();
        let done = match &mut work.log {
            _ if empty => Ok(None),
            Some(log) if !apart => {
                let (sequence, start) = (log.next, log.head());
                let count = log.write(device, &numbers, &mut bytes, &freed);
                count.map(|count| Some(Written { tid, sequence, start, count, blocks: Vec::new() }))
            }
            _ => {
                let mut places: Vec<_> = numbers.iter().enumerate().map(|(n, number)| (*number, n * size)).collect();
                device.write_home(&mut places, &bytes).and_then(|()| device.flush()).map(|()| None)
            }
        };
        let logged = match done {
            Ok(logged) => logged,
            Err(why) => {
                self.abort(why);
                self.record(device, work);
                return Err(why);
            }
        };
        match logged {
            Some(logged) => work.written.push_back(Written { blocks: written, ..logged }),
            None => settle(&written, tid),
        }
        for number in freed {
            // Nothing of it goes to its place any more.
            if let Some(buf) = device.cached(number) {
                let mut stage = buf.stage();
                if stage.checkpoint <= tid {
                    stage.checkpoint = 0;
                }
            }
            device.drop_forgotten(number);
        }
        // Before anybody hears of the commit, and with it may take them.
        for (number, count) in discards {
            device.discard(number, count);
        }
        let mut state = self.state();
        state.committed = tid;
        self.committed.store(tid, Ordering::Release);
        self.changed.notify_all();
        Ok(!empty)
    }

    // ---- checkpoints ----

    /// Brings the older half of a full log to its places.
    fn checkpoint_some(&self, device: &Device, work: &mut Work) -> Result<()> {
        let Some(length) = work.log.as_ref().map(|log| u64::from(log.len())) else { return Ok(()) };
        if self.state().room < length / 2 { self.checkpoint(device, work, length / 4 * 3) } else { Ok(()) }
    }

    /// Until so many blocks of the log are free, or all.
    fn checkpoint(&self, device: &Device, work: &mut Work, target: u64) -> Result<()> {
        loop {
            let room = self.state().room;
            if room >= target || work.written.is_empty() || work.log.is_none() {
                return Ok(());
            }
            let mut gained = 0;
            let enough = |written: &Written| {
                gained += u64::from(written.count);
                room + gained >= target
            };
            let count = work.written.iter().position(enough).map_or(work.written.len(), |at| at + 1);
            let Some(last) = work.written.get(count - 1).map(|written| written.tid) else { return Ok(()) };
            let (mut bytes, mut places, mut copied) = (Vec::new(), Vec::new(), Vec::new());
            let mut busy = false;
            for buf in work.written.iter().take(count).flat_map(|written| &written.blocks) {
                let stage = buf.stage();
                // Of a later transaction, or at its place: that one sees to it.
                if stage.checkpoint == 0 || stage.checkpoint > last {
                    continue;
                }
                if stage.running != 0 {
                    busy = true;
                    break;
                }
                let at = bytes.len();
                // In the list of each transaction that changed it.
                if copied.last().is_some_and(|last| Arc::ptr_eq(last, buf)) {
                    continue;
                }
                buf.copy_to(&mut bytes);
                places.push((buf.number, at));
                copied.push(Arc::clone(buf));
            }
            if busy {
                // What it was when it was committed is in the log only; after this it belongs to a later one.
                self.commit_running(device, work)?;
                continue;
            }
            places.sort_unstable();
            places.dedup_by_key(|(number, _)| *number);
            let done = device.write_home(&mut places, &bytes).and_then(|()| self.flush(device));
            let done = done.and_then(|()| {
                settle(&copied, last);
                work.written.drain(..count);
                let Some(log) = &mut work.log else { return Ok(()) };
                match work.written.front() {
                    Some(Written { start, sequence, .. }) => log.move_tail(device, *start, *sequence),
                    None => log.move_tail(device, log.head(), log.next),
                }
            });
            if let Err(why) = done {
                self.abort(why);
                self.record(device, work);
                return Err(why);
            }
            let mut state = self.state();
            let length = work.log.as_ref().map_or(0, |log| u64::from(log.len()));
            let used: u64 = work.written.iter().map(|written| u64::from(written.count)).sum();
            state.room = length.saturating_sub(used);
        }
    }

    /// Everything at its place, and the log empty.
    fn settle_all(&self, device: &Device, work: &mut Work) -> Result<()> {
        self.commit_running(device, work)?;
        self.checkpoint(device, work, u64::MAX)?;
        match &mut work.log {
            Some(log) if !log.is_clean() => log.mark_empty(device),
            _ => Ok(()),
        }
    }

    /// The same for a mount that goes on.
    pub fn settle(&self, device: &Device) -> Result<()> {
        self.settle_all(device, &mut held(&self.work))
    }

    /// Leaves a note in the log that this mount went wrong.
    fn record(&self, device: &Device, work: &mut Work) {
        if let Some(log) = &mut work.log {
            // There may be no device any more to leave it on.
            let _ = log.write_error(device, -libc::EIO);
        }
    }

    /// The file system found itself corrupt: nothing is written any more.
    pub fn fail(&self, device: &Device, why: Errno) {
        self.abort(why);
        // A commit that is under way notices; `close` leaves the note otherwise.
        if let Ok(mut work) = self.work.try_lock() {
            self.record(device, &mut work);
        }
    }

    // ---- opening, the timer, freezing, the end ----

    /// In mount: replays the journal and opens it.
    pub fn open(
        &self,
        device: &Device,
        raw: &abi::bento_journal,
        runs: &[abi::bento_run],
    ) -> std::result::Result<Opened, Refusal> {
        let mut work = held(&self.work);
        if work.log.is_some() || self.is_busy() {
            return Err((Errno::EBUSY, "journal: opened before, or after a transaction".to_owned()));
        }
        let mut log = Log::open(device, raw, runs)?;
        let opened = log.recover(device, raw.flags & abi::BENTO_JOURNAL_DISCARD != 0)?;
        device.forget_all();
        log.adopt(raw.flags);
        self.no_barrier.store(!log.barrier, Ordering::Release);
        let mut state = self.state();
        if raw.commit_interval != 0 {
            state.interval = Duration::from_secs(raw.commit_interval.into());
        }
        let (tags, revokes) = log.rates();
        state.cost = Some(Cost { tags, revokes });
        state.max_credits = (log.len() / 4).min(MOST);
        state.room = log.len().into();
        drop(state);
        work.log = Some(log);
        let _ = self.area.set(runs.to_vec());
        self.logged.store(true, Ordering::Release);
        Ok(opened)
    }

    /// How old a transaction may become, in seconds.
    pub fn set_interval(&self, seconds: u32) {
        self.state().interval = Duration::from_secs(seconds.into());
        self.changed.notify_all();
    }

    /// Commits what is old enough and keeps room in the log, until [`Self::stop`].
    pub fn keep_time(&self, device: &Device) {
        let mut state = self.state();
        while !state.stop {
            let age = state.running.as_ref().and_then(|running| running.began).map(|began| began.elapsed());
            let interval = state.interval;
            match age {
                Some(age) if age >= interval && state.aborted.is_none() => {
                    drop(state);
                    let mut work = held(&self.work);
                    // What goes wrong here is told by who waits for it, and at the end.
                    let _ =
                        self.commit_running(device, &mut work).and_then(|_| self.checkpoint_some(device, &mut work));
                    drop(work);
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
        let mut work = held(&self.work);
        if let Some(why) = self.aborted() {
            self.record(device, &mut work);
            return Err(why);
        }
        self.settle_all(device, &mut work)?;
        match &mut work.log {
            // Whoever mounted it has been told, and had the chance to write it down.
            Some(log) if log.error() != 0 && self.committed.load(Ordering::Acquire) > 0 => {
                log.set_error(0);
                log.mark_empty(device)
            }
            _ => Ok(()),
        }
    }

    /// Everything at its place, and nothing begins until the thaw.
    pub fn freeze(&self, device: &Device) -> Result<()> {
        self.state().frozen = true;
        let done = self.settle_all(device, &mut held(&self.work));
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

/// Blocks of transactions up to `tid` are at their places.
fn settle(blocks: &[Arc<Buf>], tid: u64) {
    for buf in blocks {
        let mut stage = buf.stage();
        if stage.checkpoint <= tid {
            stage.checkpoint = 0;
        }
    }
}
