// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is done to a whole mount: options changed, sync, fstrim, freeze, statfs, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::call::Code;
use crate::caller::Caller;
use crate::inode::held;
use crate::slot::{Health, Open};
use crate::superblock::{Super, bytes};

/// How long an unmount waits for calls that are still inside.
const LAST_CALLS: Duration = Duration::from_secs(10);

impl Super {
    /// `mount -o remount`.
    pub fn reconfigure(&self, options: &str, read_only: bool) -> Result<()> {
        // A failure to write is fsync's to tell.
        let _ = self.sync(true);
        if !self.has(Op::reconfigure) {
            if !options.is_empty() && options != *held(&self.options) {
                self.log(abi::BENTO_LOG_ERR, format_args!("options cannot change while mounted"));
                return Err(Errno::EINVAL);
            }
        } else {
            // Without any they stay what they are, as /proc/mounts goes on to say.
            let meant = if options.is_empty() { held(&self.options).clone() } else { options.to_owned() };
            let mut args = abi::bento_reconfigure_args {
                options: bytes(meant.as_bytes()),
                flags: if read_only { abi::BENTO_MOUNT_RDONLY } else { 0 },
                commit_interval: 0,
                max_bytes: self.max_bytes.load(Ordering::Acquire),
                max_inodes: self.max_inodes.load(Ordering::Acquire),
            };
            if read_only && !self.is_read_only() {
                self.settle_journal();
            }
            self.invoke(Op::reconfigure, |ops| ops.reconfigure, &Caller::ROOT, &mut args)?;
            self.check_limits(Op::reconfigure, args.max_bytes, args.max_inodes)?;
            self.max_bytes.store(args.max_bytes, Ordering::Release);
            self.max_inodes.store(args.max_inodes, Ordering::Release);
            if let Some(device) = self.device.as_ref().filter(|_| args.commit_interval != 0) {
                device.journal.set_interval(args.commit_interval);
            }
            *held(&self.options) = meant;
        }
        let before = self.read_only.swap(read_only, Ordering::AcqRel);
        match self.device.as_ref().filter(|device| read_only && !before && !device.is_read_only()) {
            // Who looks at the device now finds nothing to recover.
            Some(device) => device.journal.settle(device),
            None => Ok(()),
        }
    }

    /// Pages, attributes, then the file system's own.
    pub fn sync(&self, wait: bool) -> Result<()> {
        let mut first = Ok(());
        for inode in self.table.all() {
            let written = inode.flush_pages().and_then(|()| inode.write_back(wait));
            first = first.and(written);
        }
        if self.has(Op::sync_fs) {
            let mut args = abi::bento_sync_fs_args { wait: wait.into() };
            let synced = self.invoke(Op::sync_fs, |ops| ops.sync_fs, &Caller::ROOT, &mut args);
            first = first.and(synced.map(drop));
        }
        if wait {
            first = first.and(self.force_commit());
        }
        first
    }

    /// `FITRIM`: tells the device which blocks of `len` bytes from `start` on are free, in runs of `least` bytes or more. How
    /// many bytes that were.
    pub fn trim(&self, caller: &Caller, start: u64, len: u64, least: u64) -> Result<u64> {
        if !self.has(Op::trim) {
            return Err(Errno::ENOTTY);
        }
        if self.is_read_only() {
            return Err(Errno::EROFS);
        }
        let (mut at, end, mut trimmed) = (start, start.saturating_add(len), 0);
        loop {
            let mut args = abi::bento_trim_args { start: at, end, least, next: 0, trimmed: 0 };
            self.invoke(Op::trim, |ops| ops.trim, caller, &mut args)?;
            if args.next <= at || args.trimmed > args.next - at {
                let (next, bytes) = (args.next, args.trimmed);
                return Err(self.bad(Op::trim, format_args!("went from byte {at} to {next} for {bytes} bytes")));
            }
            // What is discarded is nobody's until then: not all at once.
            self.force_commit()?;
            trimmed += args.trimmed;
            if args.next >= end {
                return Ok(trimmed);
            }
            at = args.next;
        }
    }

    pub fn freeze(&self) -> Result<()> {
        self.sync(true)?;
        self.freeze_call(Op::freeze, |ops| ops.freeze)?;
        match self.device.as_ref().filter(|_| !self.is_read_only()) {
            Some(device) => device.journal.freeze(device),
            None => Ok(()),
        }
    }

    pub fn thaw(&self) -> Result<()> {
        if let Some(device) = &self.device {
            device.journal.thaw();
        }
        self.freeze_call(Op::thaw, |ops| ops.thaw)
    }

    pub fn freeze_call(&self, op: Op, find: crate::call::Find<abi::bento_freeze_args>) -> Result<()> {
        if !self.has(op) {
            return Ok(());
        }
        self.invoke(op, find, &Caller::ROOT, &mut abi::bento_freeze_args { pad: 0 }).map(drop)
    }

    pub fn statfs(&self) -> Result<abi::bento_statfs_args> {
        let settings = self.settings();
        let mut args = abi::bento_statfs_args {
            blocks: 0,
            bfree: 0,
            bavail: 0,
            files: 0,
            ffree: 0,
            bsize: settings.block_size,
            frsize: settings.block_size,
            namelen: settings.name_max,
            fsid_lo: 0,
            fsid_hi: 0,
            pad: 0,
        };
        if let Some(device) = &self.device {
            let counters = device.space.counters();
            args.blocks = device.blocks();
            args.bfree = counters.free.saturating_sub(counters.reserved);
            args.bavail = args.bfree.saturating_sub(counters.root);
        }
        if self.has(Op::statfs) {
            let before = args.bsize;
            self.invoke(Op::statfs, |ops| ops.statfs, &Caller::ROOT, &mut args)?;
            if args.bsize == 0 {
                args.bsize = before;
            }
            if args.bsize > 1 << 24 || args.namelen > abi::BENTO_NAME_MAX {
                let (bsize, namelen) = (args.bsize, args.namelen);
                return Err(self.bad(Op::statfs, format_args!("returned block size {bsize}, longest name {namelen}")));
            }
            args.frsize = args.bsize;
        }
        if !self.has(Op::statfs) && self.is_resident() {
            let part = |most: &AtomicU64, used: &AtomicU64, unit: u64| {
                let most = most.load(Ordering::Acquire) / unit;
                (most, most.saturating_sub(used.load(Ordering::Acquire) / unit))
            };
            (args.blocks, args.bfree) = part(&self.max_bytes, &self.used_bytes, settings.block_size.into());
            args.bavail = args.bfree;
            (args.files, args.ffree) = part(&self.max_inodes, &self.used_inodes, 1);
        }
        Ok(args)
    }

    /// Ends the mount. `EBUSY` while somebody else refers to an inode, unless `force` says the kernel has let go.
    pub fn unmount(&self, force: bool) -> Result<()> {
        if !force && self.table.users(self.settings().root_ino) > 0 {
            return Err(Errno::EBUSY);
        }
        self.end_flusher();
        let synced = if self.slot.health() == Health::Quarantined { Ok(()) } else { self.sync(true) };
        self.table.release_all(force, self.settings().root_ino);
        self.end();
        synced
    }

    /// Whoever writes in the background is done before the rest ends: it refers to inodes, and to the device.
    fn end_flusher(&self) {
        self.dirty.end();
        let Some(flusher) = held(&self.flusher).take() else { return };
        if flusher.thread().id() == std::thread::current().id() {
            return; // it had the last reference to all of this
        }
        let since = Instant::now();
        while !flusher.is_finished() {
            if since.elapsed() > LAST_CALLS {
                self.log(abi::BENTO_LOG_ERR, format_args!("bento-flush is inside of a handler that does not return"));
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = flusher.join();
    }

    pub fn end(&self) {
        self.dying.store(true, Ordering::Release);
        self.end_flusher();
        // A restart would wait for its turn until this is over, and whom this evicts for the restart.
        self.slot.no_more_restarts();
        if !self.is_mounted() {
            return self.end_device();
        }
        // A swap that is under way ends first; no other begins.
        let _swaps = held(&self.swaps.one);
        let root = held(&self.root).take();
        self.table.release_all(false, self.settings().root_ino);
        drop(root);
        while self.table.shrink() > 0 {}
        self.end_old_epoch();
        self.end_instance();
        self.slot.set_instance(std::ptr::null_mut());
        self.end_device();
    }

    /// What the handler writes last may say that there is nothing to replay: all else is at its place by then.
    fn settle_journal(&self) {
        if let Some(device) = &self.device
            && !device.is_read_only()
            && !device.is_cut()
            && device.journal.aborted().is_none()
        {
            // It fails again, and is told, when the device ends.
            let _ = device.journal.settle(device);
        }
    }

    /// What was committed goes to its place; nothing writes to the device any more.
    fn end_device(&self) {
        let Some(device) = &self.device else { return };
        device.journal.stop();
        if let Some(timer) = held(&self.timer).take() {
            let _ = timer.join();
        }
        if !device.is_read_only()
            && !device.is_cut()
            && let Err(errno) = device.journal.close(device)
        {
            self.log(abi::BENTO_LOG_ERR, format_args!("not everything reached the device: {errno}"));
        }
    }

    /// The last call of the mount, with nobody inside: the handler, if the instance is sound, and the end of the instance.
    fn end_instance(&self) {
        let object = self.current();
        if !self.slot.is_closed() && self.slot.close(LAST_CALLS) == Err(Errno::ETIMEDOUT) {
            self.log(abi::BENTO_LOG_ERR, format_args!("unmounted with calls inside: its instance stays in memory"));
            self.slot.quarantine();
            return std::mem::forget(object);
        }
        let code = Code { object: &object, instance: self.slot.instance(), generation: self.slot.generation() };
        if self.slot.is_abandoned() {
            self.log(abi::BENTO_LOG_WARN, format_args!("its instance was abandoned and stays in memory"));
            std::mem::forget(Arc::clone(&object));
        } else if self.slot.health() == Health::Ok {
            let mut args = abi::bento_unmount_args { pad: 0 };
            if !self.is_read_only() {
                self.settle_journal();
            }
            let answer = self.run(&code, Op::unmount, |ops| ops.unmount, &Caller::ROOT, &mut args);
            if let Some(answer) = &answer {
                self.note_outcome(Op::unmount, answer.outcome);
            }
            let _ = self.settle(Op::unmount, answer);
        } else {
            self.drop_instance(&object, code.instance, code.generation);
        }
        // Whoever comes now is too late.
        self.slot.open(Open::Quarantine);
    }
}

impl Drop for Super {
    fn drop(&mut self) {
        self.end();
    }
}
