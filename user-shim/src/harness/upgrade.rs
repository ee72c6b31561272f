// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Upgrades of a mount in this process, for the tests of an author's migrations.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bento::errno::Errno;
use bento::fs::FileSystem;

use super::Harness;
use crate::object::Object;
use crate::slot::Health;
use crate::swap::{SwapError, Swapped};

impl Harness {
    /// Replaces the running version by `F`, another type of the same name: up or down. Files stay open; the data of inodes
    /// follow on first use, or see [`settle`](Self::settle). An error means that the version before serves on.
    ///
    /// ```no_run
    /// # use bento::fs::FileSystem;
    /// # use bento_user_shim::Harness;
    /// # fn example<V1: FileSystem, V2: FileSystem>() -> Result<(), Box<dyn std::error::Error>> {
    /// let fs = Harness::mount::<V1>("")?;
    /// let file = fs.create("/kept", 0o644)?;
    /// fs.upgrade::<V2>()?;
    /// file.write_at(b"the same file", 0)?;
    /// assert_eq!(fs.version(), 2);
    /// fs.settle();                            // every inode's data went through the migration
    /// assert_eq!(fs.read_file("/kept")?, b"the same file");
    /// # file.close()?;
    /// # fs.unmount()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn upgrade<F: FileSystem>(&self) -> Result<Swapped, SwapError> {
        self.upgrade_over(Object::of::<F>())
    }

    /// The same with an object made by `cargo bento build --variant user`.
    pub fn upgrade_object(&self, object: &Path) -> Result<Swapped, SwapError> {
        let object =
            Object::load(object).map_err(|error| SwapError { errno: Errno::ENODEV, reason: error.to_string() })?;
        self.upgrade_over(object)
    }

    /// The same with what is loaded already.
    pub fn upgrade_over(&self, object: Object) -> Result<Swapped, SwapError> {
        self.sb().upgrade(object)
    }

    /// To a version that this mount has had, up or down.
    pub fn upgrade_to(&self, version: u32) -> Result<Swapped, SwapError> {
        self.sb().upgrade_to(version)
    }

    /// A new instance of the same version: from its state, or, when that cannot be saved any more, by `mount`.
    pub fn restart(&self) -> Result<Swapped, SwapError> {
        self.sb().restart()
    }

    /// The version that answers calls.
    pub fn version(&self) -> u32 {
        self.sb().current().version()
    }

    /// Grows with every swap.
    pub fn generation(&self) -> u32 {
        self.sb().slot.generation()
    }

    pub fn health(&self) -> Health {
        self.sb().slot.health()
    }

    /// Waits for the end of a restart; what became of it.
    pub fn wait_for_restart(&self, timeout: Duration) -> Health {
        let began = Instant::now();
        while self.health() == Health::Restarting && began.elapsed() < timeout {
            std::thread::sleep(Duration::from_micros(100));
        }
        self.health()
    }

    /// Restarts after panics so far.
    pub fn restarts(&self) -> u64 {
        self.sb().swaps.restart_count.load(Ordering::Relaxed)
    }

    /// More restarts a minute than this quarantine the mount; 5 unless set, and 0 is no bound.
    pub fn set_restart_limit(&self, restarts: u32) {
        self.sb().swaps.restart_limit.store(restarts, Ordering::Relaxed);
    }

    /// How long an upgrade waits for calls that are inside; a second unless set.
    pub fn set_upgrade_timeout(&self, timeout: Duration) {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.sb().swaps.timeout_ms.store(ms, Ordering::Relaxed);
    }

    /// Brings every inode's data to the current version now; false when some did not follow within a minute.
    pub fn settle(&self) -> bool {
        self.sb().sweep(Some(Duration::from_secs(60)))
    }

    /// Inodes whose data have not followed yet.
    pub fn sweep_left(&self) -> usize {
        self.sb().sweep_left()
    }

    /// `SEQ ok|failed WHAT FROM TO …: REASON`, as in sysfs; `0 none` before the first swap.
    pub fn last_swap(&self) -> String {
        self.sb().swaps.last_swap()
    }

    /// The saved state of this moment (CBOR).
    pub fn state(&self) -> Result<Vec<u8>, SwapError> {
        self.sb().snapshot()
    }
}
