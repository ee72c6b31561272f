// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a call brings along.

use core::cell::UnsafeCell;
use core::marker::PhantomData;

use super::{Attr, FileSystem, Ino, Inode, Timestamp};
use crate::abi;
use crate::errno::Result;
use crate::host;

/// The call a handler runs in: who called, when, and the way to other inodes of the mount.
#[repr(transparent)]
pub struct Context<F: FileSystem> {
    call: UnsafeCell<abi::bento_call>,
    instance: PhantomData<F>,
}

/// Who made the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// File system user and group, in the initial user namespace.
    pub uid: u32,
    pub gid: u32,
    /// Process (thread group) in the initial pid namespace; 0 for the kernel itself.
    pub pid: u32,
    pub tid: u32,
    /// The task's name, padded with NULs.
    pub comm: [u8; 16],
}

impl<F: FileSystem> Context<F> {
    /// # Safety
    /// `call` is the live ledger of this call, of a mount of `F`, for `'call` (SAFETY.md C1).
    pub(crate) unsafe fn from_raw<'call>(call: *mut abi::bento_call) -> &'call Context<F> {
        // SAFETY: SAFETY.md C1; a transparent wrapper.
        unsafe { &*call.cast::<Context<F>>() }
    }

    pub(crate) fn as_raw(&self) -> *mut abi::bento_call {
        self.call.get()
    }

    /// The current time, by the clock that inode times are made of.
    pub fn now(&self) -> Timestamp {
        let time = host::now(self.as_raw());
        Timestamp { sec: time.sec, nsec: time.nsec }
    }

    pub fn credentials(&self) -> Credentials {
        let cred = host::cred(self.as_raw());
        Credentials { uid: cred.uid, gid: cred.gid, pid: cred.pid, tid: cred.tid, comm: cred.comm }
    }

    /// Another cached inode of this mount: `ENOENT` when it is not cached, `EIO` when a panic spoiled its data.
    pub fn inode(&self, ino: Ino) -> Result<&Inode<F>> {
        let raw = host::inode_get(self.as_raw(), ino.get())?;
        // SAFETY: SAFETY.md C1: the shim keeps its reference until the call has left the gate, and `&self` does not
        // outlive the call.
        unsafe { Inode::resolve(self.as_raw(), raw) }
    }

    /// The check the VFS makes from mode bits and ACLs, for `permission` handlers that add to it.
    pub fn generic_permission(&self, inode: &Inode<F>, mask: u32) -> Result<()> {
        host::generic_permission(self.as_raw(), inode.as_raw(), mask)
    }

    /// Sets the size and the blocks (of 512 bytes) that `stat` shows.
    pub fn set_size(&self, inode: &Inode<F>, size: u64, blocks: u64) -> Result<()> {
        let mut attr = host::inode_attr(inode.as_raw());
        attr.size = size;
        attr.blocks = blocks;
        self.update(inode, &attr, abi::BENTO_ATTR_SIZE | abi::BENTO_ATTR_BLOCKS)
    }

    /// Replaces all attributes but the type: for a file system whose truth lies elsewhere and has changed.
    pub fn set_attr(&self, inode: &Inode<F>, new: &Attr) -> Result<()> {
        let mut attr = host::inode_attr(inode.as_raw());
        new.store(&mut attr);
        self.update(inode, &attr, u32::MAX >> (32 - 13))
    }

    fn update(&self, inode: &Inode<F>, attr: &abi::bento_attr, valid: u32) -> Result<()> {
        host::inode_update(self.as_raw(), inode.as_raw(), attr, valid)
    }

    /// Wakes tasks that poll `inode`.
    pub fn wake(&self, inode: &Inode<F>) {
        host::inode_wake(self.as_raw(), inode.as_raw());
    }

    /// Drops cached pages of a range (`len` 0: to the end) once this call is over: the truth behind them has changed.
    pub fn invalidate(&self, inode: &Inode<F>, offset: u64, len: u64) {
        host::inode_invalidate(self.as_raw(), inode.as_raw(), offset, len);
    }

    /// Random bytes from the kernel.
    pub fn random(&self, bytes: &mut [u8]) {
        host::random(bytes);
    }

    /// One line in the log, with the file system's name and source before it.
    pub fn log(&self, message: core::fmt::Arguments<'_>) {
        // SAFETY: SAFETY.md C1: `sb` is set before the call and constant.
        let sb = unsafe { (*self.as_raw()).sb };
        host::log(sb, abi::BENTO_LOG_INFO, message);
    }
}
