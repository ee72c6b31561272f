// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where a file's data lie on the device, for file systems with `data = "extents"`: the shim moves the bytes.

use core::marker::PhantomData;

use crate::abi;
use crate::errno::{Errno, Result};

/// What a range of a file is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Nothing is allocated; it reads as zero.
    Hole { offset: u64, len: u64 },
    /// Data at `addr` of the device.
    Mapped { offset: u64, len: u64, addr: u64, new: bool },
    /// Allocated at `addr`, but it reads as zero until `convert_extents`.
    Unwritten { offset: u64, len: u64, addr: u64, new: bool },
}

impl Extent {
    fn to_abi(self) -> abi::bento_extent {
        let (offset, len, addr, flags, new) = match self {
            Extent::Hole { offset, len } => (offset, len, 0, 0, false),
            Extent::Mapped { offset, len, addr, new } => (offset, len, addr, abi::BENTO_EXTENT_MAPPED, new),
            Extent::Unwritten { offset, len, addr, new } => (offset, len, addr, abi::BENTO_EXTENT_UNWRITTEN, new),
        };
        abi::bento_extent { offset, len, addr, flags: flags | if new { abi::BENTO_EXTENT_NEW } else { 0 }, pad: 0 }
    }

    /// Bytes.
    pub fn offset(&self) -> u64 {
        let (Extent::Hole { offset, .. } | Extent::Mapped { offset, .. } | Extent::Unwritten { offset, .. }) = *self;
        offset
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        let (Extent::Hole { len, .. } | Extent::Mapped { len, .. } | Extent::Unwritten { len, .. }) = *self;
        len
    }
}

/// A range of a file whose I/O is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    pub offset: u64,
    pub len: u64,
    /// On the device, as `allocate_extents` said.
    pub addr: u64,
}

/// What `allocate_extents` is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allocate {
    /// The bytes reach the device before the transaction commits: extents may be mapped at once. Otherwise they are
    /// unwritten, and `convert_extents` follows.
    pub written: bool,
    /// So many blocks were counted as used already, when the range became dirty.
    pub reserved: u64,
    /// Where the bytes end, if `written`: beyond the file's size when it is about to grow.
    pub end: u64,
}

/// Where `map_extents` and `allocate_extents` put what they found, in order and without gaps.
pub struct Extents<'call> {
    list: *mut abi::bento_extent,
    cap: u32,
    count: u32,
    next: u64,
    life: PhantomData<&'call mut ()>,
}

impl<'call> Extents<'call> {
    /// # Safety
    /// `args` is this call's, with room for `cap` extents (SAFETY.md C1).
    pub(crate) unsafe fn from_raw(args: &abi::bento_map_args) -> Extents<'call> {
        Extents { list: args.extents, cap: args.cap, count: 0, next: args.offset, life: PhantomData }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Is there room for one more? What comes after the last one is asked for again.
    pub fn has_room(&self) -> bool {
        self.count < self.cap
    }

    /// The next one; it begins where the last one ended, the first one at the offset that was asked for.
    pub fn push(&mut self, extent: Extent) -> Result<()> {
        let raw = extent.to_abi();
        if !self.has_room() {
            return Err(Errno::ENOSPC);
        }
        if raw.offset != self.next || raw.len == 0 {
            return Err(Errno::EUCLEAN);
        }
        self.next = raw.offset.checked_add(raw.len).ok_or(Errno::EUCLEAN)?;
        // SAFETY: SAFETY.md C1: inside the shim's array.
        unsafe { self.list.add(self.count as usize).write(raw) };
        self.count += 1;
        Ok(())
    }
}

impl Allocate {
    pub(crate) fn from_abi(args: &abi::bento_map_args) -> Allocate {
        let written = args.flags & abi::BENTO_ALLOCATE_WRITTEN != 0;
        let end = args.offset.saturating_add(args.len).saturating_sub(args.slack.into());
        Allocate { written, reserved: args.reserved, end: if written { end } else { 0 } }
    }
}

impl Written {
    /// # Safety
    /// `args` is this call's, with one extent in it (SAFETY.md C1).
    pub(crate) unsafe fn from_raw(args: &abi::bento_map_args) -> Written {
        // SAFETY: the caller's promise.
        let abi::bento_extent { offset, len, addr, .. } = unsafe { *args.extents };
        Written { offset, len, addr }
    }
}
