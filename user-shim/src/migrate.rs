// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Inode data after a swap (`bento::slot`, "Inode data after it"): brought to the current generation on first use, the rest
//! by a sweep; and the end of what was before.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, RwLock, TryLockError};
use std::time::{Duration, Instant};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::call::Code;
use crate::caller::Caller;
use crate::inode::{DEAD, Inode, blank_attr, held};
use crate::object::Object;
use crate::slot::Health;
use crate::superblock::{Super, bytes};

/// How often an inode's data may fail to follow before they are given up.
const ATTEMPTS: u32 = 8;
/// Between two looks at what is still in use.
const PAUSE: Duration = Duration::from_millis(1);

/// The instance before the current one, for its inodes' sake.
pub struct Epoch {
    pub generation: u32,
    instance: *mut c_void,
    object: Arc<Object>,
    pub abandoned: AtomicBool,
    /// How inode data cross; `None`: they are loaded again.
    shape: Option<u64>,
    /// Read by those who run its code.
    users: RwLock<()>,
}

// SAFETY: SAFETY.md S2: the instance is dropped once, by who takes the epoch off the mount; its code may run anywhere.
unsafe impl Send for Epoch {}
// SAFETY: SAFETY.md S2, as above.
unsafe impl Sync for Epoch {}

impl Epoch {
    pub fn new(
        generation: u32,
        instance: *mut c_void,
        object: Arc<Object>,
        abandoned: bool,
        shape: Option<u64>,
    ) -> Epoch {
        Epoch { generation, instance, object, abandoned: AtomicBool::new(abandoned), shape, users: RwLock::new(()) }
    }

    fn code(&self) -> Code<'_> {
        Code { object: &self.object, instance: self.instance, generation: self.generation }
    }

    pub fn object(&self) -> &Object {
        &self.object
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

impl Super {
    /// Brings `inode`'s data to the generation of `now`. Inside the gate.
    pub fn resolve(&self, inode: &Inode, now: &Code<'_>) -> Result<()> {
        inode.migration.once(|| inode.is_current(now.generation), |failures| self.bring(inode, now, failures))
    }

    fn bring(&self, inode: &Inode, now: &Code<'_>, failures: &mut u32) -> Result<()> {
        let made = inode.made_in();
        if inode.has(DEAD) || made == now.generation {
            // Gone; or spoiled by this very instance.
            return Err(Errno::EIO);
        }
        let old = held(&self.swaps.old).clone().filter(|old| old.generation == made && made != 0);
        let _using = old.as_ref().map(|old| crate::dir::read_lock(&old.users));
        let alive = old.as_ref().filter(|old| !old.is_abandoned());
        let fresh = match alive {
            Some(old) if !inode.is_poisoned() && old.shape.is_some() && self.is_usable(now) => {
                self.migrate(inode, old, now)
            }
            _ if !self.is_resident() && self.is_usable(now) => self.load_again(inode, now),
            // What no call can use any more holds up nobody.
            _ => {
                inode.poison();
                self.put_data(inode, alive);
                return Err(Errno::EIO);
            }
        };
        match fresh {
            Ok(data) => {
                let before = inode.publish(data, now.generation);
                *failures = 0;
                if let Some(old) = alive {
                    self.drop_data(&old.code(), before);
                }
                Ok(())
            }
            Err(errno) => {
                *failures += 1;
                if *failures == ATTEMPTS {
                    self.log(
                        abi::BENTO_LOG_ERR,
                        format_args!("inode {}: its data did not follow: {errno}; given up", inode.ino()),
                    );
                    inode.poison();
                    self.put_data(inode, alive);
                }
                Err(errno)
            }
        }
    }

    /// May new calls enter this instance's handlers?
    fn is_usable(&self, now: &Code<'_>) -> bool {
        !(self.slot.is_abandoned() && now.generation == self.slot.generation())
    }

    fn put_data(&self, inode: &Inode, by: Option<&Arc<Epoch>>) {
        let before = inode.publish(std::ptr::null_mut(), 0);
        if let Some(old) = by {
            self.drop_data(&old.code(), before);
        }
    }

    fn migrate(&self, inode: &Inode, old: &Epoch, now: &Code<'_>) -> Result<*mut c_void> {
        let (ino, shape) = (inode.ino(), old.shape.unwrap_or(0));
        let mut state: Vec<u8> = Vec::new();
        let mut args = abi::bento_save_inode_args { ino, data: inode.data(), shape, out: (&raw mut state).cast() };
        let answer = self.run(&old.code(), Op::save_inode, |ops| ops.save_inode, &Caller::ROOT, &mut args);
        self.settle(Op::save_inode, answer)?;
        let mut args = abi::bento_migrate_inode_args { ino, state: bytes(&state), shape, data: std::ptr::null_mut() };
        let answer = self.run(now, Op::migrate_inode, |ops| ops.migrate_inode, &Caller::ROOT, &mut args);
        self.settle(Op::migrate_inode, answer)?;
        if args.data.is_null() {
            Err(self.bad(Op::migrate_inode, format_args!("returned no data")))
        } else {
            Ok(args.data)
        }
    }

    /// Attributes are the shim's own, and newer.
    fn load_again(&self, inode: &Inode, now: &Code<'_>) -> Result<*mut c_void> {
        let mut head = abi::bento_inode { ino: inode.ino(), data: std::ptr::null_mut(), data_generation: 0, flags: 0 };
        let mut args = abi::bento_load_inode_args { inode: &raw mut head, attr: blank_attr() };
        let answer = self.run(now, Op::load_inode, |ops| ops.load_inode, &Caller::ROOT, &mut args);
        self.settle(Op::load_inode, answer)?;
        if head.data.is_null() {
            return Err(self.bad(Op::load_inode, format_args!("attached no data to inode {}", inode.ino())));
        }
        Ok(head.data)
    }

    fn drop_data(&self, code: &Code<'_>, data: *mut c_void) {
        if data.is_null() {
            return;
        }
        let mut args = abi::bento_drop_inode_args { data };
        let answer = self.run(code, Op::drop_inode, |ops| ops.drop_inode, &Caller::ROOT, &mut args);
        let _ = self.settle(Op::drop_inode, answer);
    }

    /// Drops the author's data of an inode that leaves the cache, once, by the version that made them. What was abandoned
    /// is leaked instead (SAFETY.md C2).
    pub fn forget_data(&self, inode: &Inode) {
        let Ok(entered) = self.enter_anyhow(Op::forget_inode) else { return };
        let now = entered.code();
        let healthy = self.slot.health() == Health::Ok;
        if healthy && self.has(Op::forget_inode) && inode.made_in() != 0 {
            // The handler wants to see them. If they do not follow they go without it.
            let _ = self.resolve(inode, &now);
        }
        let _ = inode.migration.once(
            || false,
            |_| {
                inode.set(DEAD);
                let made = inode.made_in();
                if made == now.generation {
                    if healthy && !inode.is_poisoned() {
                        let mut args = crate::inode::inode_args(inode.as_raw());
                        let answer = self.run(&now, Op::forget_inode, |ops| ops.forget_inode, &Caller::ROOT, &mut args);
                        let _ = self.settle(Op::forget_inode, answer);
                    } else if self.is_usable(&now) {
                        let data = inode.publish(std::ptr::null_mut(), 0);
                        self.drop_data(&now, data);
                    }
                } else if made != 0
                    && let Some(old) = held(&self.swaps.old).clone().filter(|old| old.generation == made)
                {
                    let _using = crate::dir::read_lock(&old.users);
                    let data = inode.publish(std::ptr::null_mut(), 0);
                    if !old.is_abandoned() {
                        self.drop_data(&old.code(), data);
                    }
                }
                Ok(())
            },
        );
    }

    /// Inodes whose data are of the generation before; 0 when they have all followed.
    pub fn sweep_left(&self) -> usize {
        match held(&self.swaps.old).as_ref() {
            Some(old) => self.table.made_in(old.generation).1,
            None => 0,
        }
    }

    /// Brings every cached inode up to date and ends the old epoch. False when it did not come to that: at the end of the
    /// mount, or when `patience` ran out.
    pub fn sweep(&self, patience: Option<Duration>) -> bool {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let over = || self.is_dying() || deadline.is_some_and(|deadline| Instant::now() > deadline);
        let Some(_one) = self.only_sweep(over) else { return false };
        loop {
            let Some(old) = held(&self.swaps.old).clone() else { return true };
            let (inodes, left) = self.table.made_in(old.generation);
            if left == 0 && self.end_epoch(&old) {
                return true;
            }
            for inode in &inodes {
                if self.is_dying() {
                    return false;
                }
                if let Ok(entered) = self.enter_anyhow(Op::migrate_inode) {
                    // A failure is counted, and tried again.
                    let _ = self.resolve(inode, &entered.code());
                }
            }
            if over() {
                return false;
            }
            if inodes.len() < left || left == 0 || inodes.iter().any(|inode| inode.made_in() == old.generation) {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// The right to sweep, unless it is `over` before. Whoever has it may take for ever.
    fn only_sweep(&self, over: impl Fn() -> bool) -> Option<MutexGuard<'_, ()>> {
        loop {
            match self.swaps.sweeping.try_lock() {
                Ok(one) => return Some(one),
                Err(TryLockError::Poisoned(one)) => return Some(one.into_inner()),
                Err(TryLockError::WouldBlock) if over() => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Drops the old instance when nothing of its generation is left; false when somebody is still at it.
    fn end_epoch(&self, old: &Arc<Epoch>) -> bool {
        let Ok(_nobody) = old.users.try_write() else { return false };
        if self.table.made_in(old.generation).1 != 0 {
            return false;
        }
        if held(&self.swaps.old).take_if(|current| Arc::ptr_eq(current, old)).is_none() {
            // Somebody else was faster.
            return true;
        }
        if old.is_abandoned() {
            // Its code stays with what was left behind.
            std::mem::forget(Arc::clone(&old.object));
        } else {
            self.drop_instance(&old.object, old.instance, old.generation);
        }
        true
    }

    /// At the end of a mount, when no inode is left.
    pub fn end_old_epoch(&self) {
        // A sweep may be dropping the old instance right now.
        let _sweeping = held(&self.swaps.sweeping);
        let old = held(&self.swaps.old).clone();
        let deadline = Instant::now() + self.timeout();
        while let Some(old) = &old {
            if self.end_epoch(old) {
                return;
            }
            if Instant::now() > deadline {
                self.log(abi::BENTO_LOG_WARN, format_args!("data of version {} stay in memory", old.object.version()));
                std::mem::forget(Arc::clone(&old.object));
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}
