// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The slot: how a running instance is replaced. No code, but the protocol that both shims follow, with these names:
//! `kmod-shim/slot.c`, `swap.c` and `user-shim/src/slot.rs`, `swap.rs`.
//!
//! Each mount has one slot. It holds the current **instance** (an author's `F`), the **version** whose code made it, its
//! **generation** (a number that grows with each swap, never 0) and the **gate**. Every call into Rust is a reader of the gate.
//!
//! # Health
//!
//! | state | who enters | leaves by |
//! |---|---|---|
//! | `ok` | everyone | a call that is abandoned, or that meets a poisoned lock of the instance |
//! | `restarting` | nobody; callers wait at the gate | the restart's end: `ok`, or `quarantined` |
//! | `quarantined` | nobody; callers get `EIO` | an upgrade (or restart by hand) that makes a new instance; unmount |
//!
//! A version with `on_panic = "quarantine"` skips `restarting`. More than five restarts a minute quarantine as well.
//! Beside it stands whether the instance was **abandoned**: then nothing of it, nor of any inode data of its generation, is
//! read, saved, migrated or dropped ever again, and its module stays (SAFETY.md C2).
//!
//! # A swap
//!
//! Upgrade, downgrade and restart are the same steps with the new version `to` (a restart: the same version again).
//!
//! 1. **prepare**, while calls go on. One swap of a slot at a time; a second is refused with `EBUSY`. The sweep of the last
//!    swap ends first, unless nobody can enter (a restart, a slot in quarantine). `to` has the same name and data way, and its module gets a reference. A *shape* is chosen: the first of
//!    `from.saves` that is in `to.loads`; the same for inode data, where `inode_loads.count == 0` means that data is loaded
//!    again. No common shape: refused, with both sides' shapes in the message. VFS tables grow by the handlers that `to`
//!    adds; they never shrink (a handler that is gone answers from the shim what NULL would have meant).
//! 2. **close** the gate: new callers wait, those inside leave. What makes their count exact (in the kernel a grace period)
//!    comes before, while calls still enter. Not within the timeout (1 s unless set): the gate is open
//!    again, `ETIMEDOUT`, and the message names the handler that was waited for. The pause begins here.
//! 3. **save** (`save`): the instance is borrowed. With an abandoned instance this step is left out.
//! 4. **load** (`load`): a new instance from those bytes. Without bytes (abandoned, or `save` failed on a slot that nobody
//!    could enter anyway): `mount` of `to` with `BENTO_WHY_RESTART`, unless data are resident: those have no device.
//! 5. **swap**: instance, version and presence bits are exchanged, the generation grows. The old instance and its version
//!    become the slot's **old epoch**.
//! 6. **open** the gate. The pause ends; one log line with it, and the figures in sysfs.
//!
//! Any failure in 2, 3 or 4 goes to *open* without *swap*: what was made of the new instance is dropped by its own
//! `drop_instance`, its module is released, the old version serves on, the reason is logged and kept in `last_swap`. In steps
//! 3 and 4 no memory is reclaimed through the file system, and no journal handle is open.
//!
//! # Inode data after it
//!
//! `bento_inode.data_generation` tells which generation made the data. Where a handler would get an inode of another one,
//! the runtime first asks the shim to *resolve* it (`bento_inode_resolve`), under one lock for each inode:
//!
//! - old epoch not abandoned, and a shape for inode data: `save_inode` by the old version, `migrate_inode` by the new one,
//!   publish (`data`, then `data_generation` with release), `drop_inode` by the old one. A failure leaves the old data as
//!   it was, and the call ends with that errno; the next call tries again. After eight failures the inode is poisoned.
//! - otherwise, for data that are not resident: `load_inode` by the new version; its attributes are ignored, for the shim's
//!   are newer. Old data that were abandoned are left alone, others dropped by `drop_inode` of the old version.
//! - otherwise, and for an inode that is poisoned: `EIO`. A poisoned inode of a file system that is not resident is loaded
//!   again, once its data can be dropped: no call can hold it, because the gate was closed since.
//!
//! A **sweep** resolves every cached inode in the background. When none of the old generation is left, neither in the cache
//! nor waiting to be dropped, the old instance is dropped (`drop_instance`), and the old version's module is released:
//! never before. Data of an evicted inode that was not migrated are dropped by the version that made them.
//!
//! # A poisoned lock
//!
//! A lock let go for writing by a call that unwinds is poisoned, and the shim is told (`bento_lock_poisoned`). In the data of
//! an inode of that call, it poisons that inode (`data_generation = 0`, `BENTO_INODE_POISONED`). Anywhere else nothing
//! happens until a call meets it: that call ends with `EIO` and tells (`bento_lock_refused`). In the instance itself
//! (`[instance, instance + instance_size)`) it asks for a restart.
//!
//! `save` does not read what a poisoned lock guards. A field with a default is saved as that, and one warning names the
//! field; without a default `save` fails with `EBUSY`, and step 4 says what then. The shape is the same either way. Saving
//! as an older shape goes through the author's `Downgrade`, which decides for itself. A loaded lock is not poisoned.
