// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Thunks of a swap ([`crate::slot`]): the instance, and inode data, taken apart by one version and put together by another.

use alloc::boxed::Box;

use super::{bytes, enter};
use crate::abi;
use crate::contain::contain;
use crate::errno::Errno;
use crate::fs::FileSystem;
use crate::state::{Loader, Saver, State};

/// What saved bytes begin with; `bentoctl state` shows it.
const MAGIC: &str = "bento";

pub(super) unsafe extern "C" fn save<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_save_args,
) -> i64 {
    // SAFETY: SAFETY.md C1, S2: nobody else is inside, and the instance is borrowed.
    unsafe {
        enter::<F>(call, |fs, _| {
            let mut out = Saver::to_shim(call, (*args).out);
            out.array(5)?;
            out.text(MAGIC)?;
            out.text(F::NAME)?;
            out.unsigned(F::VERSION.into())?;
            out.unsigned((*args).shape)?;
            fs.save_as((*args).shape, &mut out)?;
            out.finish().map(|_| 0)
        })
    }
}

pub(super) unsafe extern "C" fn load<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_load_args,
) -> i64 {
    contain(call, || {
        // SAFETY: SAFETY.md C1, C4: the bytes are constant during the call.
        let (state, shape) = unsafe { (bytes((*args).state), (*args).shape) };
        let mut from = Loader::new(state, call);
        from.array_of(5)?;
        if from.text()? != MAGIC {
            return Err(from.refuse(format_args!("these bytes are not a file system's saved state")));
        }
        let (name, version, saved) = (from.text()?, from.unsigned()?, from.unsigned()?);
        if name != F::NAME {
            from.refuse(format_args!(
                "it is {name} version {version}'s, and this is {} version {}",
                F::NAME,
                F::VERSION
            ));
            return Err(Errno::EINVAL);
        }
        if saved != shape {
            from.refuse(format_args!("version {version} saved shape {saved:#018x}, expected {shape:#018x}"));
            return Err(Errno::EINVAL);
        }
        let instance = Box::new(F::load_as(shape, &mut from)?);
        // SAFETY: SAFETY.md C1.
        unsafe { (*args).instance = Box::into_raw(instance).cast() };
        Ok(0)
    })
}

pub(super) unsafe extern "C" fn drop_instance<F: FileSystem>(
    call: *mut abi::bento_call,
    _args: *mut abi::bento_drop_instance_args,
) -> i64 {
    contain(call, || {
        // SAFETY: SAFETY.md C1, S2: no call and no inode data of its generation is left; the shim calls this once.
        drop(unsafe { Box::from_raw((*call).instance.cast::<F>()) });
        Ok(0)
    })
}

pub(super) unsafe extern "C" fn save_inode<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_save_inode_args,
) -> i64 {
    contain(call, || {
        // SAFETY: SAFETY.md C5, S2: `attach::<F>` or `migrate_inode::<F>` of this version made the data; the shim's lock
        // on the inode keeps it from being dropped meanwhile.
        let (data, mut out) = unsafe { (&*(*args).data.cast::<F::Inode>(), Saver::to_shim(call, (*args).out)) };
        // SAFETY: SAFETY.md C1.
        data.save_as(unsafe { (*args).shape }, &mut out)?;
        out.finish().map(|_| 0)
    })
}

pub(super) unsafe extern "C" fn migrate_inode<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_migrate_inode_args,
) -> i64 {
    contain(call, || {
        // SAFETY: SAFETY.md C1, C4: the bytes are constant during the call.
        let (state, shape) = unsafe { (bytes((*args).state), (*args).shape) };
        let data = Box::new(F::Inode::load_as(shape, &mut Loader::new(state, call))?);
        // SAFETY: SAFETY.md C1.
        unsafe { (*args).data = Box::into_raw(data).cast() };
        Ok(0)
    })
}

pub(super) unsafe extern "C" fn drop_inode<F: FileSystem>(
    call: *mut abi::bento_call,
    args: *mut abi::bento_drop_inode_args,
) -> i64 {
    contain(call, || {
        // SAFETY: SAFETY.md C5, S2: this version made the data, and no call reaches it any more.
        drop(unsafe { Box::from_raw((*args).data.cast::<F::Inode>()) });
        Ok(0)
    })
}
