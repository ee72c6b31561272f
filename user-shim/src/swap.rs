// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Replacing a running instance (`bento::slot`, "A swap"): upgrade, downgrade and restart, each failure rolled back.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use bento::abi;
use bento::errno::Errno;
use bento::fs::Op;

use crate::call::Code;
use crate::caller::Caller;
use crate::inode::held;
use crate::migrate::Epoch;
use crate::object::Object;
use crate::slot::{Health, Open};
use crate::superblock::{Super, bytes, check_ops};

/// How long a closing gate waits for those inside, unless set.
const TIMEOUT_MS: u64 = 1000;
/// Restarts a minute, before the slot is quarantined; 0: no bound.
const RESTARTS: u32 = 5;

/// How often a restart closes the gate before it is given up: nobody enters a spoiled slot, so those inside get fewer.
const RESTART_TRIES: u32 = 10;

/// The same where calls inside may wait for a disk.
const DISK_TRIES: u32 = 5;

/// What a mount keeps for its swaps.
pub struct Swaps {
    /// The version of `Slot::instance`.
    pub current: Mutex<Arc<Object>>,
    pub old: Mutex<Option<Arc<Epoch>>>,
    /// One swap at a time.
    pub one: Mutex<()>,
    /// From the beginning of a swap until its gate is open again.
    under_way: AtomicBool,
    pub sweeping: Mutex<()>,
    restarting: AtomicBool,
    pub timeout_ms: AtomicU64,
    last: Mutex<Last>,
    /// The last snapshot.
    state: Mutex<Vec<u8>>,
    restarts: Mutex<VecDeque<Instant>>,
    pub restart_limit: AtomicU32,
    pub restart_count: AtomicU64,
    /// Something was abandoned: what it had is leaked on purpose.
    pub leaks: AtomicBool,
    known: Mutex<Vec<Known>>,
    /// Words that calls sleep on.
    pub sleepers: Mutex<Vec<usize>>,
}

/// A version this mount has had.
struct Known {
    number: u32,
    place: String,
    /// `None`: loaded from `place` again, if need be.
    object: Option<Object>,
}

#[derive(Default)]
struct Last {
    /// Grows with every act.
    seq: u64,
    done: u64,
    pause: Duration,
    line: String,
}

impl Swaps {
    pub fn new(object: Object) -> Swaps {
        let first = Known::of(&object);
        Swaps {
            current: Mutex::new(Arc::new(object)),
            old: Mutex::new(None),
            one: Mutex::new(()),
            under_way: AtomicBool::new(false),
            sweeping: Mutex::new(()),
            restarting: AtomicBool::new(false),
            timeout_ms: AtomicU64::new(TIMEOUT_MS),
            last: Mutex::new(Last { line: "0 none".to_owned(), ..Last::default() }),
            state: Mutex::new(Vec::new()),
            restarts: Mutex::new(VecDeque::new()),
            restart_limit: AtomicU32::new(RESTARTS),
            restart_count: AtomicU64::new(0),
            leaks: AtomicBool::new(false),
            known: Mutex::new(vec![first]),
            sleepers: Mutex::new(Vec::new()),
        }
    }

    /// `SEQ ok|failed WHAT FROM TO …: REASON`; `0 none` before the first.
    pub fn last_swap(&self) -> String {
        held(&self.last).line.clone()
    }

    /// Swaps that were made, and the pause of the last.
    pub fn figures(&self) -> (u64, Duration) {
        let last = held(&self.last);
        (last.done, last.pause)
    }

    pub fn keep_state(&self, state: Vec<u8>) {
        *held(&self.state) = state;
    }

    pub fn kept_state(&self) -> Vec<u8> {
        held(&self.state).clone()
    }

    /// Number and place of each version this mount has had.
    pub fn versions(&self) -> Vec<(u32, String)> {
        held(&self.known).iter().map(|known| (known.number, known.place.clone())).collect()
    }
}

impl Known {
    fn of(object: &Object) -> Known {
        // A loaded one is not kept from being unloaded.
        let kept = if object.path().is_some() { None } else { Some(object.clone()) };
        Known { number: object.version(), place: object.place(), object: kept }
    }
}

/// What a swap took.
#[derive(Clone, Debug, Default)]
pub struct Swapped {
    pub from: u32,
    pub to: u32,
    /// From the gate's closing to its opening.
    pub pause: Duration,
    /// Until the last call had left.
    pub drain: Duration,
    pub save: Duration,
    pub load: Duration,
    /// Of saved state.
    pub bytes: usize,
    /// Whose data follow on first use, or with the sweep.
    pub inodes: usize,
}

/// Why the old version serves on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwapError {
    pub errno: Errno,
    pub reason: String,
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.errno)
    }
}

impl std::error::Error for SwapError {}

/// Clears the mark when it goes.
struct UnderWay<'a>(&'a AtomicBool);

impl<'a> UnderWay<'a> {
    fn begin(mark: &'a AtomicBool) -> UnderWay<'a> {
        mark.store(true, Ordering::Release);
        UnderWay(mark)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

type Result<T> = std::result::Result<T, SwapError>;

fn refuse<T>(errno: Errno, reason: impl Into<String>) -> Result<T> {
    Err(SwapError { errno, reason: reason.into() })
}

/// The first of `saves` that is in `loads`.
fn common(saves: &abi::bento_shapes, loads: &abi::bento_shapes) -> Option<u64> {
    slice(saves).iter().copied().find(|shape| slice(loads).contains(shape))
}

fn slice(shapes: &abi::bento_shapes) -> &[u64] {
    &shapes.shape[..(shapes.count as usize).min(shapes.shape.len())]
}

/// What a swap settled before it closed the gate.
struct Plan {
    from: Arc<Object>,
    to: Arc<Object>,
    /// `None`: the instance was abandoned already.
    shape: Option<u64>,
    inode_shape: Option<u64>,
}

impl Super {
    /// Another version, or one this mount has had: up or down.
    pub fn upgrade(self: &Arc<Self>, to: Object) -> Result<Swapped> {
        let from = self.current().version();
        let what = if to.version() < from { "downgrade" } else { "upgrade" };
        let Some(_one) = self.only_one() else {
            let busy = refuse(Errno::EBUSY, "another swap of this mount is going on");
            return self.noted(what, from, to.version(), busy);
        };
        let known = Known::of(&to);
        let number = to.version();
        let result = self.swap(Arc::new(to), false);
        if result.is_ok() {
            let mut all = held(&self.swaps.known);
            all.retain(|known| known.number != number);
            all.push(known);
            all.sort_by_key(|known| known.number);
        }
        self.noted(what, from, number, result)
    }

    /// A version this mount has had.
    pub fn upgrade_to(self: &Arc<Self>, number: u32) -> Result<Swapped> {
        let object = {
            let known = held(&self.swaps.known);
            match known.iter().find(|known| known.number == number) {
                Some(Known { object: Some(object), .. }) => Ok(object.clone()),
                Some(Known { place, .. }) => Object::load(Path::new(place)).map_err(|error| error.to_string()),
                None => Err(format!("version {number} is not loaded: name its object instead")),
            }
        };
        match object {
            Ok(object) if object.version() == number => self.upgrade(object),
            Ok(object) => {
                let reason = format!("{} is version {} by now", object.place(), object.version());
                self.noted("upgrade", self.current().version(), number, refuse(Errno::ENOENT, reason))
            }
            Err(reason) => self.noted("upgrade", self.current().version(), number, refuse(Errno::ENOENT, reason)),
        }
    }

    /// An upgrade that ended before there was a version to go to.
    pub fn not_loaded(&self, refused: SwapError) -> Result<()> {
        self.noted("upgrade", self.current().version(), 0, Err(refused)).map(drop)
    }

    /// The same version with a new instance: from its state, else by `mount`.
    pub fn restart(self: &Arc<Self>) -> Result<Swapped> {
        let object = self.current();
        let number = object.version();
        let Some(_one) = self.only_one() else {
            let busy = refuse(Errno::EBUSY, "another swap of this mount is going on");
            return self.noted("restart", number, number, busy);
        };
        let result = self.swap(object, true);
        self.noted("restart", number, number, result)
    }

    /// The right to swap; `None` while somebody else is at it. One whose gate is open again is as good as over.
    fn only_one(&self) -> Option<MutexGuard<'_, ()>> {
        match self.swaps.one.try_lock() {
            Ok(one) => Some(one),
            Err(_) if self.swaps.under_way.load(Ordering::Acquire) => None,
            Err(_) => Some(held(&self.swaps.one)),
        }
    }

    pub fn current(&self) -> Arc<Object> {
        Arc::clone(&held(&self.swaps.current))
    }

    /// Logs a swap and keeps it for `last_swap`.
    fn noted(&self, what: &str, from: u32, to: u32, result: Result<Swapped>) -> Result<Swapped> {
        let figures = result.as_ref().cloned().unwrap_or_default();
        let Swapped { pause, drain, save, load, bytes, inodes, .. } = figures;
        let word = if result.is_ok() { "ok" } else { "failed" };
        {
            let mut last = held(&self.swaps.last);
            last.seq += 1;
            let seq = last.seq;
            let [pause_ns, drain, save, load] = [pause, drain, save, load].map(|time| time.as_nanos());
            last.line = format!(
                "{seq} {word} {what} {from} {to} pause_ns={pause_ns} drain_ns={drain} save_ns={save} load_ns={load} \
                 bytes={bytes} inodes={inodes}"
            );
            match &result {
                Ok(_) => {
                    last.done += 1;
                    last.pause = pause;
                }
                Err(error) => last.line.push_str(&format!(": {error}")),
            }
        }
        let [pause, drain, save, load] = [pause, drain, save, load].map(|time| time.as_micros());
        match &result {
            Ok(_) if what == "restart" => self.log(
                abi::BENTO_LOG_INFO,
                format_args!(
                    "version {from} restarted in {pause} us (drain {drain}, save {save}, load {load}); {inodes} inodes follow"
                ),
            ),
            Ok(_) => self.log(
                abi::BENTO_LOG_INFO,
                format_args!(
                    "version {from} -> {to} in {pause} us (drain {drain}, save {save}, load {load}); {inodes} inodes follow"
                ),
            ),
            Err(error) if what == "restart" => {
                self.log(abi::BENTO_LOG_WARN, format_args!("version {from} cannot be restarted: {error}"));
            }
            Err(error) if to == 0 => self.log(abi::BENTO_LOG_WARN, format_args!("version {from} stays: {error}")),
            Err(error) => self.log(abi::BENTO_LOG_WARN, format_args!("version {from} stays: version {to}: {error}")),
        }
        result
    }

    // ---- the steps of `bento::slot` ----

    /// The caller holds `swaps.one`.
    fn swap(self: &Arc<Self>, to: Arc<Object>, restart: bool) -> Result<Swapped> {
        let under_way = UnderWay::begin(&self.swaps.under_way);
        let plan = self.prepare(to, restart)?;
        let tries = match &self.device {
            _ if restart && self.slot.health() != Health::Ok => RESTART_TRIES,
            Some(_) => DISK_TRIES,
            None => 1,
        };
        let began = self.close(tries)?;
        let drain = began.elapsed();
        let made = self.save_and_load(&plan);
        let mut done = match made {
            Ok((instance, done)) => {
                self.exchange(&plan, instance);
                drop(under_way);
                self.slot.open(Open::New);
                done
            }
            Err(error) => {
                self.reopen();
                return Err(error);
            }
        };
        (done.pause, done.drain) = (began.elapsed(), drain);
        (done.from, done.to) = (plan.from.version(), plan.to.version());
        done.inodes = self.table.len();
        let shown = 1 << Op::getattr as u32;
        let other_attributes = plan.to.ops().handlers & shown != plan.from.ops().handlers & shown;
        self.spawn("bento-sweep", move |sb| {
            if other_attributes {
                // `stat` shows something else from now on.
                sb.table.all().iter().for_each(|inode| sb.front.changed(inode.ino()));
            }
            sb.sweep(None);
        });
        Ok(done)
    }

    fn must_live(&self) -> Result<()> {
        match self.is_dying() || !self.is_mounted() {
            true => refuse(Errno::ENODEV, "it is being unmounted"),
            false => Ok(()),
        }
    }

    fn prepare(&self, to: Arc<Object>, restart: bool) -> Result<Plan> {
        self.must_live()?;
        let name = check_ops(to.ops()).map_err(|error| SwapError {
            errno: error.errno,
            reason: error.reason.unwrap_or_default().trim_start_matches("bento: ").to_owned(),
        })?;
        if name != self.name() {
            return refuse(Errno::EINVAL, format!("it is {name}, and this is a mount of {}", self.name()));
        }
        let from = self.current();
        if !restart && to.version() == from.version() && self.slot.health() == Health::Ok {
            return refuse(Errno::EINVAL, "it is the one that runs");
        }
        if to.ops().data != self.data {
            return refuse(Errno::EINVAL, "it keeps file data another way (`data = …`)");
        }
        let patience = self.timeout() * 10;
        if !self.sweep(Some(patience)) {
            self.must_live()?;
            return refuse(
                Errno::ETIMEDOUT,
                format!("the inodes of the last swap have not all followed after {patience:?}"),
            );
        }
        // Of an abandoned instance nothing is saved, nor of its inodes.
        let (shape, inode_shape) = match self.slot.is_abandoned() {
            true => (None, None),
            false => {
                let shape = self.choose("the instance", &from, &to, |ops| (&ops.saves, &ops.loads))?;
                (Some(shape), self.choose_inode(&from, &to)?)
            }
        };
        Ok(Plan { from, to, shape, inode_shape })
    }

    /// How inode data cross; `None`: they are loaded again.
    fn choose_inode(&self, from: &Object, to: &Object) -> Result<Option<u64>> {
        if from.ops().inode_saves.count > 0 && to.ops().inode_loads.count > 0 {
            return self.choose("inode data", from, to, |ops| (&ops.inode_saves, &ops.inode_loads)).map(Some);
        }
        if self.is_resident() {
            return refuse(Errno::EINVAL, "it loads inode data again, and there is nothing to load resident data from");
        }
        Ok(None)
    }

    fn choose(
        &self,
        what: &str,
        from: &Object,
        to: &Object,
        shapes: fn(&abi::bento_ops) -> (&abi::bento_shapes, &abi::bento_shapes),
    ) -> Result<u64> {
        let (saves, loads) = (shapes(from.ops()).0, shapes(to.ops()).1);
        common(saves, loads).ok_or_else(|| SwapError {
            errno: Errno::EINVAL,
            reason: format!(
                "{what}: version {} saves {:#018x?}, version {} loads {:#018x?}, and they have none in common",
                from.version(),
                slice(saves),
                to.version(),
                slice(loads)
            ),
        })
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.swaps.timeout_ms.load(Ordering::Relaxed))
    }

    /// Closes the gate; when that began.
    fn close(&self, tries: u32) -> Result<Instant> {
        let timeout = self.timeout();
        let mut who = String::new();
        for _ in 0..tries {
            let began = Instant::now();
            match self.slot.close_or(timeout, || who = self.who_is_inside()) {
                Ok(()) => return Ok(began),
                Err(Errno::ETIMEDOUT) if self.is_dying() => break,
                Err(Errno::ETIMEDOUT) => {}
                Err(errno) => return refuse(errno, "the gate is closed already"),
            }
        }
        refuse(Errno::ETIMEDOUT, format!("waited {timeout:?} for {who} and gave up"))
    }

    /// The handlers that calls are in.
    fn who_is_inside(&self) -> String {
        let counts = Op::ALL.iter().zip(&self.inside).map(|(op, count)| (op, count.load(Ordering::Relaxed)));
        let names: Vec<String> = counts
            .filter(|(_, count)| *count > 0)
            .map(|(op, count)| if count == 1 { op.name().to_owned() } else { format!("{} ({count} calls)", op.name()) })
            .collect();
        if names.is_empty() { "a call that has just left".to_owned() } else { names.join(", ") }
    }

    /// Steps 3 and 4, behind the closed gate.
    fn save_and_load(&self, plan: &Plan) -> Result<(*mut c_void, Swapped)> {
        let mut done = Swapped::default();
        let began = Instant::now();
        // What `save` itself spoils is for `on_panic` to say.
        let spoiled = self.slot.health() != Health::Ok;
        let saved = match plan.shape.filter(|_| !self.slot.is_abandoned()) {
            None => refuse(Errno::EIO, "its instance was abandoned"),
            Some(shape) => self.save(&plan.from, shape).map(|bytes| (bytes, shape)),
        };
        done.save = began.elapsed();
        let began = Instant::now();
        let instance = match saved {
            Ok((state, shape)) => {
                done.bytes = state.len();
                self.load_state(&plan.to, &state, shape)?
            }
            Err(error) if !spoiled => return Err(error),
            Err(error) if self.is_resident() => {
                let reason = format!("{}, and resident data have no device to be read from again", error.reason);
                return refuse(error.errno, reason);
            }
            Err(_) => self.mount_again(&plan.to)?,
        };
        done.load = began.elapsed();
        Ok((instance, done))
    }

    /// The bytes of the current instance.
    fn save(&self, from: &Object, shape: u64) -> Result<Vec<u8>> {
        let code = Code { object: from, instance: self.slot.instance(), generation: self.slot.generation() };
        let mut out: Vec<u8> = Vec::new();
        let mut args = abi::bento_save_args { shape, out: (&raw mut out).cast() };
        self.forget_last_error();
        let answer = self.run(&code, Op::save, |ops| ops.save, &Caller::ROOT, &mut args);
        match self.settle(Op::save, answer) {
            Ok(_) => Ok(out),
            Err(errno) => refuse(errno, self.why(format!("version {} could not save its state", from.version()))),
        }
    }

    /// The state of this moment, for people: saved behind the closed gate.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        let Some(_one) = self.only_one() else {
            return refuse(Errno::EBUSY, "a swap of this mount is going on");
        };
        if self.is_dying() || self.slot.health() != Health::Ok {
            return refuse(Errno::EIO, "there is no healthy instance to save");
        }
        let from = self.current();
        self.close(1)?;
        let saved = self.save(&from, slice(&from.ops().saves).first().copied().unwrap_or(0));
        self.reopen();
        saved
    }

    /// Closes the gate for that long, to see what a pause does to its callers. In its turn: a restart would find the gate
    /// closed and give up.
    pub fn pause(&self, pause: Duration) -> Result<()> {
        let _one = held(&self.swaps.one);
        self.must_live()?;
        self.close(1)?;
        std::thread::sleep(pause);
        self.reopen();
        Ok(())
    }

    /// The instance behind the gate is the one before; what was done to it there may have spoiled it.
    fn reopen(&self) {
        self.slot.open(Open::Before);
        if self.slot.health() == Health::Restarting {
            self.begin_restart();
        }
    }

    fn load_state(&self, to: &Object, state: &[u8], shape: u64) -> Result<*mut c_void> {
        let code = Code { object: to, instance: std::ptr::null_mut(), generation: self.slot.next_generation() };
        let mut args = abi::bento_load_args { state: bytes(state), shape, instance: std::ptr::null_mut() };
        self.forget_last_error();
        let answer = self.run(&code, Op::load, |ops| ops.load, &Caller::ROOT, &mut args);
        match self.settle(Op::load, answer) {
            Ok(_) if args.instance.is_null() => refuse(Errno::EIO, "load returned no instance"),
            Ok(_) => Ok(args.instance),
            Err(errno) => refuse(errno, self.why("could not load the state".to_owned())),
        }
    }

    /// `mount` below a live mount.
    fn mount_again(&self, to: &Object) -> Result<*mut c_void> {
        let code = Code { object: to, instance: std::ptr::null_mut(), generation: self.slot.next_generation() };
        let options = self.options();
        let mut args = self.mount_args(&options, abi::BENTO_WHY_RESTART);
        if let Some(device) = &self.device {
            device.sums_again();
            // A new instance cannot know which blocks are free only from the commit on: then none is. An error is the
            // journal's end, and nothing is written after that.
            let _ = device.journal.commit_all(device);
        }
        self.forget_last_error();
        let answer = self.run(&code, Op::mount, |ops| ops.mount, &Caller::ROOT, &mut args);
        if let Err(errno) = self.settle(Op::mount, answer) {
            return refuse(errno, self.why("could not be mounted again".to_owned()));
        }
        if args.instance.is_null() {
            return refuse(Errno::EIO, "mount returned no instance");
        }
        let root = self.settings().root_ino;
        if args.root_ino != root {
            self.drop_instance(to, args.instance, code.generation);
            return refuse(Errno::EUCLEAN, format!("mount moved the root from inode {root} to {}", args.root_ino));
        }
        Ok(args.instance)
    }

    /// What was made of an instance goes by its own version.
    pub fn drop_instance(&self, object: &Object, instance: *mut c_void, generation: u32) {
        let mut args = abi::bento_drop_instance_args { pad: 0 };
        let code = Code { object, instance, generation };
        let answer = self.run(&code, Op::drop_instance, |ops| ops.drop_instance, &Caller::ROOT, &mut args);
        let _ = self.settle(Op::drop_instance, answer);
    }

    /// Step 5.
    fn exchange(&self, plan: &Plan, instance: *mut c_void) {
        let abandoned = self.slot.is_abandoned();
        let old = Epoch::new(
            self.slot.generation(),
            self.slot.instance(),
            Arc::clone(&plan.from),
            abandoned,
            plan.inode_shape,
        );
        *held(&self.swaps.old) = Some(Arc::new(old));
        self.slot.replace(instance, Arc::as_ptr(&plan.to));
        *held(&self.swaps.current) = Arc::clone(&plan.to);
        self.handlers.store(plan.to.ops().handlers, Ordering::Release);
    }

    // ---- health ----

    /// A call of that generation was left behind: what it touched is touched no more (SAFETY.md C2).
    pub fn abandoned(&self, generation: u32) {
        self.swaps.leaks.store(true, Ordering::Release);
        if generation == self.slot.generation() {
            self.spoil(true);
        } else if let Some(old) = held(&self.swaps.old).as_ref().filter(|old| old.generation == generation) {
            old.abandoned.store(true, Ordering::Release);
        }
    }

    /// Nobody enters the instance any more, until there is a new one.
    pub fn spoil(&self, abandoned: bool) {
        let wanted = self.current().ops().on_panic == abi::BENTO_ON_PANIC_RESTART;
        let restart = wanted && self.may_restart();
        if self.slot.spoil(restart, abandoned) == Some(Health::Quarantined) {
            let why = if wanted && !restart { "too many restarts within a minute; " } else { "" };
            self.log(
                abi::BENTO_LOG_ERR,
                format_args!("{why}quarantined: every call gets EIO until it is upgraded, restarted or unmounted"),
            );
        }
        if abandoned {
            self.wake_sleepers();
        }
    }

    fn may_restart(&self) -> bool {
        let mut restarts = held(&self.swaps.restarts);
        let minute = Duration::from_secs(60);
        while restarts.front().is_some_and(|when| when.elapsed() >= minute) {
            restarts.pop_front();
        }
        let limit = self.swaps.restart_limit.load(Ordering::Relaxed) as usize;
        limit == 0 || restarts.len() < limit
    }

    /// Whoever waits for a lock of an abandoned call waits no longer (`helpers::wait`).
    fn wake_sleepers(&self) {
        for word in held(&self.swaps.sleepers).iter() {
            crate::helpers::wake_word(*word);
        }
    }

    /// Restarts in the background; once, however many calls ask.
    pub fn begin_restart(&self) {
        if self.swaps.restarting.swap(true, Ordering::SeqCst) {
            return;
        }
        let begun = self.spawn("bento-restart", |sb| {
            loop {
                sb.restart_spoiled();
                sb.swaps.restarting.store(false, Ordering::SeqCst);
                // The new instance may be spoiled already, by who saw that this thread was still there.
                if sb.slot.health() != Health::Restarting || sb.swaps.restarting.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
        if !begun {
            self.slot.quarantine();
            self.swaps.restarting.store(false, Ordering::SeqCst);
        }
    }

    pub fn restart_spoiled(self: &Arc<Self>) {
        let _one = held(&self.swaps.one);
        if self.slot.health() != Health::Restarting {
            return;
        }
        held(&self.swaps.restarts).push_back(Instant::now());
        self.swaps.restart_count.fetch_add(1, Ordering::Relaxed);
        let object = self.current();
        let number = object.version();
        let result = self.swap(object, true);
        if self.noted("restart", number, number, result).is_err() {
            self.slot.quarantine();
        }
    }

    /// Does `work` on a thread of its own, while the mount lives.
    fn spawn(&self, name: &str, work: impl FnOnce(Arc<Super>) + Send + 'static) -> bool {
        let me: Weak<Super> = self.me.clone();
        let begun = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(sb) = me.upgrade() {
                work(sb);
            }
        });
        if let Err(error) = &begun {
            self.log(abi::BENTO_LOG_ERR, format_args!("{name}: no thread: {error}"));
        }
        begun.is_ok()
    }

    /// `what`, and what the file system said about it.
    fn why(&self, what: String) -> String {
        match self.take_last_error() {
            Some(said) => format!("{what}: {said}"),
            None => what,
        }
    }
}
