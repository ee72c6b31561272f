// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The front door of `cargo test`: a VFS in a library. See the crate's own page for an example.

mod attrs;
mod file;
mod namei;
mod numbers;
mod task;
mod upgrade;

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::{FileSystem, Op};

use crate::Panic;
use crate::call::Outcome;
use crate::caller::Caller;
use crate::disk::{Disk, FileDisk};
use crate::object::Object;
use crate::slot::{Health, Open};
use crate::superblock::{Front, MountError, Super};

#[cfg(feature = "fuse")]
pub(crate) use attrs::without_privileges;
pub use file::{File, flags};
pub use task::{DirEntry, Stat, Task, Times};

/// Wakes those who wait for `Context::wake`, and prints the log when `BENTO_LOG` is set.
#[derive(Default)]
struct TestFront {
    woken: Mutex<Vec<u64>>,
    ring: Condvar,
}

struct TestDoor(Arc<TestFront>);

impl Front for TestDoor {
    fn keeps_inodes(&self) -> bool {
        true
    }

    fn keeps_pages(&self) -> bool {
        true
    }

    fn invalidate(&self, _ino: u64, _offset: u64, _len: u64) {}

    fn changed(&self, _ino: u64) {}

    fn wake(&self, ino: u64) {
        self.0.woken().push(ino);
        self.0.ring.notify_all();
    }

    fn log(&self, _level: u32, line: &str) {
        if std::env::var_os("BENTO_LOG").is_some() {
            eprintln!("{line}");
        }
    }
}

impl TestFront {
    fn woken(&self) -> MutexGuard<'_, Vec<u64>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a mount is made; [`Harness::mount`] is the short form.
#[derive(Clone, Debug)]
pub struct MountOptions<'a> {
    pub source: &'a str,
    pub options: &'a str,
    pub read_only: bool,
    /// What a file system with `data = "extents"` lies on.
    pub disk: Option<Arc<dyn Disk>>,
}

impl Default for MountOptions<'_> {
    fn default() -> Self {
        MountOptions { source: "none", options: "", read_only: false, disk: None }
    }
}

impl<'a> MountOptions<'a> {
    /// A mount of an image or a block device.
    pub fn image(image: &'a Path, options: &'a str, read_only: bool) -> std::result::Result<Self, MountError> {
        let disk = FileDisk::open(image, read_only)
            .map_err(|errno| MountError { errno, reason: Some(format!("{}: {errno}", image.display())) })?;
        let source = image.to_str().unwrap_or("image");
        Ok(MountOptions { source, options, read_only, disk: Some(Arc::new(disk)) })
    }
}

/// A file system mounted in this process. Calls made on it directly are root's; [`Task::as_user`] and [`Task::with`] give
/// the same calls to others.
///
/// Dropped or unmounted, it checks that nothing leaked: inodes in the cache, or allocations of the handlers.
pub struct Harness {
    root: Task,
    front: Arc<TestFront>,
}

impl Deref for Harness {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.root
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Harness({})", self.root.sb.name())
    }
}

/// What an unmount found.
#[derive(Clone, Debug)]
pub struct Unmounted {
    /// Allocations of handlers that nobody gave back, and their bytes. Always 0 without the feature `count-allocations`.
    pub leaked_allocations: i64,
    pub leaked_bytes: i64,
    /// Inodes left in the cache.
    pub leaked_inodes: usize,
    /// After an abandoned call everything is leaked on purpose.
    pub poisoned: bool,
    pub panics: Vec<Panic>,
    pub log: Vec<String>,
}

impl Harness {
    /// Mounts `F` with options as in `mount -o`.
    pub fn mount<F: FileSystem>(options: &str) -> std::result::Result<Harness, MountError> {
        Harness::mount_with::<F>(MountOptions { options, ..MountOptions::default() })
    }

    pub fn mount_with<F: FileSystem>(options: MountOptions<'_>) -> std::result::Result<Harness, MountError> {
        Harness::over(Object::of::<F>(), options)
    }

    /// Mounts `F`, with `data = "extents"`, on an image or a block device.
    pub fn mount_image<F: FileSystem>(image: &Path, options: &str) -> std::result::Result<Harness, MountError> {
        Harness::mount_with::<F>(MountOptions::image(image, options, false)?)
    }

    /// The same, read-only: the device itself is opened so that nothing can be written to it.
    pub fn mount_device_read_only<F: FileSystem>(
        image: &Path,
        options: &str,
    ) -> std::result::Result<Harness, MountError> {
        Harness::mount_with::<F>(MountOptions::image(image, options, true)?)
    }

    /// The same on a disk of the test's own: an [`Image`](crate::Image) in memory, which can be looked at meanwhile and
    /// afterwards.
    pub fn mount_disk<F: FileSystem>(
        disk: impl Disk + 'static,
        options: &str,
    ) -> std::result::Result<Harness, MountError> {
        let read_only = disk.is_read_only();
        let disk: Option<Arc<dyn Disk>> = Some(Arc::new(disk));
        Harness::mount_with::<F>(MountOptions { source: "disk", options, read_only, disk })
    }

    /// Mounts a shared object made by `cargo bento build --variant user`: with the kernel's own panic handler, unwinder,
    /// failing allocations and stack check, which std does not have.
    pub fn load(object: &Path, options: &str) -> std::result::Result<Harness, MountError> {
        Harness::load_with(object, MountOptions { options, ..MountOptions::default() })
    }

    pub fn load_with(object: &Path, options: MountOptions<'_>) -> std::result::Result<Harness, MountError> {
        let object = Object::load(object)
            .map_err(|error| MountError { errno: Errno::ENODEV, reason: Some(error.to_string()) })?;
        Harness::over(object, options)
    }

    /// Mounts what is loaded already.
    pub fn over(object: Object, options: MountOptions<'_>) -> std::result::Result<Harness, MountError> {
        let front = Arc::new(TestFront::default());
        let door = Box::new(TestDoor(Arc::clone(&front)));
        let sb = Super::mount(object, options.source, options.options, options.read_only, options.disk, door)?;
        Ok(Harness { root: Task { sb, caller: Caller::ROOT }, front })
    }

    pub(crate) fn sb(&self) -> &Arc<Super> {
        &self.root.sb
    }

    // ---- the mount ----

    /// `mount -o remount`
    pub fn remount(&self, options: &str) -> Result<()> {
        let read_only = self.sb().is_read_only();
        self.sb().reconfigure(options, read_only)
    }

    /// `mount -o remount,ro` and back.
    pub fn remount_read_only(&self, read_only: bool) -> Result<()> {
        self.sb().reconfigure("", read_only)
    }

    /// `sync(2)`
    pub fn sync(&self) -> Result<()> {
        self.sb().sync(true)
    }

    /// What the daemon does every few seconds: attributes that changed by written bytes are stored. (`data = "extents"`)
    pub fn write_inodes(&self) -> Result<()> {
        self.sb().write_inodes(Duration::ZERO, false)
    }

    /// Does so on a thread of its own, as the daemon does, until the mount ends.
    pub fn write_in_background(&self) {
        self.sb().write_in_background();
    }

    /// `fsfreeze -f`: everything written, then the handler. Nothing else may change the mount until [`thaw`](Self::thaw).
    pub fn freeze(&self) -> Result<()> {
        self.sb().freeze()
    }

    pub fn thaw(&self) -> Result<()> {
        self.sb().thaw()
    }

    /// Writes everything back and forgets what can be loaded again: pages, and inodes that nobody uses. How many inodes.
    pub fn drop_caches(&self) -> Result<usize> {
        self.sb().sync(true)?;
        for inode in self.sb().table.all() {
            if !self.sb().is_resident() {
                inode.invalidate(0, 0);
            }
        }
        Ok(self.sb().table.shrink())
    }

    /// How many inodes are cached.
    pub fn cached_inodes(&self) -> usize {
        self.sb().table.len()
    }

    /// Unmounts; `EBUSY` while files are open. Panics when something leaked.
    pub fn unmount(&self) -> Result<()> {
        self.unmount_and_report().map(|report| report.assert_clean())
    }

    /// Unmounts and says what was left. A failure to write something back is in the log.
    pub fn unmount_and_report(&self) -> Result<Unmounted> {
        self.end()
    }

    /// The machine stops: nothing that is not on the device reaches it any more. Then the mount ends, whatever is open.
    pub fn crash(self) {
        if let Some(device) = &self.sb().device {
            device.cut();
        }
        let _ = self.sb().unmount(true);
    }

    fn end(&self) -> Result<Unmounted> {
        let sb = self.sb();
        if sb.is_mounted() {
            match sb.unmount(false) {
                Err(Errno::EBUSY) => return Err(Errno::EBUSY),
                Err(errno) => sb.log(abi::BENTO_LOG_ERR, format_args!("unmount: not everything was written: {errno}")),
                Ok(()) => {}
            }
        }
        Ok(Unmounted {
            leaked_allocations: if cfg!(feature = "count-allocations") { sb.account.live() } else { 0 },
            leaked_bytes: if cfg!(feature = "count-allocations") { sb.account.live_bytes() } else { 0 },
            leaked_inodes: sb.table.len(),
            poisoned: sb.swaps.leaks.load(Ordering::Acquire),
            panics: self.panics(),
            log: self.log(),
        })
    }

    // ---- what happened ----

    /// Every panic so far.
    pub fn panics(&self) -> Vec<Panic> {
        self.sb().panics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last call into Rust and how it ended.
    pub fn last_outcome(&self) -> Option<(Op, Outcome)> {
        self.sb().last_outcome()
    }

    /// The mount's log, one line each.
    pub fn log(&self) -> Vec<String> {
        self.sb().lines()
    }

    /// Answers that the shim refused (`EUCLEAN`).
    pub fn bad_values(&self) -> u64 {
        self.sb().bad_values.load(Ordering::Relaxed)
    }

    /// Does every call answer `EIO` by now?
    pub fn is_poisoned(&self) -> bool {
        self.health() == Health::Quarantined
    }

    /// Has `Context::wake` been called for this inode since the last time this was asked?
    pub fn was_woken(&self, ino: u64) -> bool {
        let mut woken = self.front.woken();
        let before = woken.len();
        woken.retain(|woken| *woken != ino);
        woken.len() != before
    }

    /// Waits for `Context::wake` of an inode; false when it did not come in time.
    pub fn wait_for_wake(&self, ino: u64, timeout: Duration) -> bool {
        let woken = self.front.woken();
        let (mut woken, result) = self
            .front
            .ring
            .wait_timeout_while(woken, timeout, |woken| !woken.contains(&ino))
            .unwrap_or_else(PoisonError::into_inner);
        woken.retain(|woken| *woken != ino);
        !result.timed_out()
    }

    /// From now on it is always `sec` seconds past 1970, for inodes: what is done twice leaves the same bytes twice.
    pub fn stop_clock(&self, sec: i64) {
        let _ = self.sb().stopped_clock.set(abi::bento_time { sec, nsec: 0, pad: 0 });
    }

    // ---- making trouble ----

    /// Allocations that handlers have made and not given back.
    pub fn allocations(&self) -> i64 {
        self.sb().account.live()
    }

    /// Refuses the allocation after `n` more that can fail: those larger than two pages (SAFETY.md C3). A loaded object
    /// answers `ENOMEM`; in process, std ends the program unless the handler asked with `try_reserve`.
    pub fn fail_allocation(&self, n: u64) {
        self.sb().account.fail_after(n);
    }

    pub fn fail_no_allocation(&self) {
        self.sb().account.fail_none();
    }

    /// How many allocations were refused.
    pub fn failed_allocations(&self) -> u64 {
        self.sb().account.failed()
    }

    /// Closes the gate: calls wait outside until [`open_gate`](Self::open_gate). `ETIMEDOUT` when callers did not leave in
    /// time.
    pub fn close_gate(&self, timeout: Duration) -> Result<()> {
        self.sb().slot.close(timeout)
    }

    pub fn open_gate(&self) {
        self.sb().slot.open(Open::Before);
    }

    /// What an abandoned call does: nothing of the instance is used any more. Later calls answer `EIO`, unless the version
    /// says `on_panic = "restart"`.
    pub fn poison(&self) {
        self.sb().abandoned(self.sb().slot.generation());
        if self.health() == Health::Restarting {
            self.sb().begin_restart();
        }
    }

    /// An abandoned call, and the restart that follows it, on this thread and to its end.
    pub fn poison_and_restart(&self) -> Health {
        self.sb().abandoned(self.sb().slot.generation());
        self.sb().restart_spoiled();
        self.health()
    }
}

impl Unmounted {
    /// Panics when something leaked, unless a poisoned instance meant to.
    pub fn assert_clean(&self) {
        if self.poisoned {
            return;
        }
        let Unmounted { leaked_allocations, leaked_bytes, leaked_inodes, .. } = self;
        assert!(
            *leaked_allocations == 0 && *leaked_inodes == 0,
            "unmounted with {leaked_inodes} inodes in the cache and {leaked_allocations} allocations \
             ({leaked_bytes} bytes) of handlers not given back"
        );
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.sb().is_mounted() {
            return;
        }
        match self.end() {
            Ok(report) => report.assert_clean(),
            Err(_) => self.sb().log(abi::BENTO_LOG_WARN, format_args!("dropped while files are open: not unmounted")),
        }
    }
}
