// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The table of thunks: what a shim calls. One generic function per operation turns the C argument block into the
//! author's arguments, runs the handler inside [`contain`], and writes the answer back.

mod dir;
mod file;
mod inode;
mod mount;
mod state;
mod xattr;

use crate::abi;
use crate::contain::contain;
use crate::errno::Result;
use crate::fs::{Context, FileSystem, HandlerSet, Op};
use crate::state::{Layout, State};

/// The table for `F`, made at compile time. A handler nobody wrote is a NULL in it.
pub const fn ops<F: FileSystem>() -> &'static abi::bento_ops {
    const { &Table::<F>::OPS }
}

/// Whose line a stack that ran out is in; with std it is not ours to tell.
const PLACE: Option<unsafe extern "C" fn(*mut abi::bento_call, *mut abi::bento_place_args) -> i64> = {
    #[cfg(feature = "freestanding")]
    {
        Some(crate::unwind::frames::place)
    }
    #[cfg(not(feature = "freestanding"))]
    None
};

struct Table<F>(core::marker::PhantomData<F>);

macro_rules! table {
    ($set:expr; $($room:ident: $($op:ident)*;)*) => {
        abi::bento_ops {
            size: size_of::<abi::bento_ops>() as u32,
            abi: abi::BENTO_ABI_VERSION,
            name: abi::bento_bytes { ptr: F::NAME.as_ptr(), len: F::NAME.len() },
            version: F::VERSION,
            data: F::DATA as u32,
            handlers: $set.bits(),
            inode_data_size: size_of::<F::Inode>() as u64,
            instance_size: size_of::<F>() as u64,
            on_panic: F::ON_PANIC as u32,
            pad: 0,
            loads: F::LOADS.to_abi(),
            saves: F::SAVES.to_abi(),
            inode_loads: <F::Inode as State>::LOADS.to_abi(),
            inode_saves: <F::Inode as State>::SAVES.to_abi(),
            layout: abi::bento_bytes { ptr: Self::LAYOUT.as_ptr(), len: Self::LAYOUT.len() },
            place: PLACE,
            // Always there: they attach and drop the author's data.
            mount: Some(mount::mount::<F>),
            unmount: Some(mount::unmount::<F>),
            load_inode: Some(inode::load_inode::<F>),
            forget_inode: Some(inode::forget_inode::<F>),
            save: Some(state::save::<F>),
            load: Some(state::load::<F>),
            drop_instance: Some(state::drop_instance::<F>),
            save_inode: Some(state::save_inode::<F>),
            migrate_inode: Some(state::migrate_inode::<F>),
            drop_inode: Some(state::drop_inode::<F>),
            $($($op: if $set.has(Op::$op) { Some($room::$op::<F>) } else { None },)*)*
        }
    };
}

impl<F: FileSystem> Table<F> {
    const SET: HandlerSet = F::HANDLERS;
    const TEXT: &'static Layout = &Layout::of(F::SHAPE, <F::Inode as State>::SHAPE);
    const LAYOUT: &'static [u8] = Self::TEXT.as_bytes();
    const OPS: abi::bento_ops = table! { Self::SET;
        mount: statfs sync_fs reconfigure freeze thaw recover trim;
        inode: write_inode evict_inode get_link setattr getattr permission fileattr_get fileattr_set;
        dir: lookup create mkdir mknod symlink link unlink rmdir rename tmpfile iterate get_parent;
        xattr: getxattr listxattr setxattr removexattr set_acl;
        file: open release flush fsync read write fallocate ioctl poll seek fadvise
            map_extents allocate_extents convert_extents;
    };
}

/// What an object exports as `bento_fs_main`.
#[repr(transparent)]
pub struct Module(abi::bento_module);

// SAFETY: SAFETY.md C7: constant data and function pointers.
unsafe impl Sync for Module {}

impl Module {
    /// The module of the file system `F`.
    pub const fn of<F: FileSystem>() -> Module {
        Module(abi::bento_module {
            magic: abi::BENTO_ABI_MAGIC,
            abi: abi::BENTO_ABI_VERSION,
            ops: ops::<F>(),
            init: Some(init),
        })
    }

    pub const fn as_abi(&self) -> &abi::bento_module {
        &self.0
    }
}

/// Called once by the shim: takes its functions and, for an object without std, the unwind table.
unsafe extern "C" fn init(host: *const abi::bento_host, object: *const abi::bento_object) -> i32 {
    #[cfg(not(bento_kernel))]
    {
        // SAFETY: SAFETY.md C7: the shim passes its own table, which outlives the object.
        let installed = unsafe { host.as_ref() }.map(crate::host::install);
        if !matches!(installed, Some(Ok(()))) {
            return -crate::errno::Errno::EINVAL.get();
        }
    }
    #[cfg(bento_kernel)]
    let _ = host;
    #[cfg(feature = "freestanding")]
    // SAFETY: SAFETY.md G6: the shim passes the table that the pre-link step made for this object.
    if unsafe { crate::unwind::frames::install(object) }.is_err() {
        return -crate::errno::Errno::EINVAL.get();
    }
    #[cfg(not(feature = "freestanding"))]
    let _ = object;
    0
}

/// Runs `handler` with the instance and the context of `call`, contained.
///
/// # Safety
/// `call` is the live ledger of a call to a mount of `F` (SAFETY.md C1).
#[inline(always)]
unsafe fn enter<F: FileSystem>(
    call: *mut abi::bento_call,
    handler: impl FnOnce(&F, &Context<F>) -> Result<i64>,
) -> i64 {
    contain(call, || {
        // SAFETY: SAFETY.md C1: the shim set `instance` to what `mount::<F>` returned and keeps it while the gate is held.
        let (instance, context) = unsafe { (&*(*call).instance.cast::<F>(), Context::from_raw(call)) };
        handler(instance, context)
    })
}

/// # Safety
/// The shim's bytes, constant while `'call` lasts (SAFETY.md C4).
pub(crate) unsafe fn bytes<'call>(raw: abi::bento_bytes) -> &'call [u8] {
    // SAFETY: the caller's promise.
    unsafe { slice(raw.ptr, raw.len) }
}

/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn slice<'call, T>(ptr: *const T, len: usize) -> &'call [T] {
    if len == 0 || ptr.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(ptr, len) }
}

/// # Safety
/// A buffer of the shim that is this call's alone (SAFETY.md C4) and initialised.
pub(crate) unsafe fn buffer<'call>(raw: &abi::bento_buf) -> &'call mut [u8] {
    if raw.cap == 0 || raw.ptr.is_null() {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts_mut(raw.ptr, raw.cap) }
}
