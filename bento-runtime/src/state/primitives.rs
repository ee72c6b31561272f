// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Numbers, locks, and the words of file systems. Locks and atomics are transparent: what they hold crosses.

use core::marker::PhantomData;
use core::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize, Ordering,
};
use core::time::Duration;

use alloc::vec::Vec;

use super::{Field, Loader, Saver, Shape, State};
use crate::errno::Result;
use crate::fs::{Attr, Checksum, FileType, Ino, Name, NameBuf, Timestamp};
use crate::sync::{Mutex, RwLock};

/// A number is refused where it does not fit, never cut.
macro_rules! number {
    ($($kind:ident($bytes:literal) $get:ident: $($ty:ty, $atomic:ty),*;)*) => {$($(
        impl State for $ty {
            const SHAPE: &'static Shape = &Shape::$kind($bytes);

            fn save(&self, out: &mut Saver<'_>) -> Result<()> {
                out.$get(*self as _)
            }

            fn load(from: &mut Loader<'_>) -> Result<Self> {
                let value = from.$get()?;
                Self::try_from(value).map_err(|_| from.refuse(format_args!("{value} does not fit a {}", stringify!($ty))))
            }
        }

        atomic!($atomic, $ty);
    )*)*};
}

macro_rules! atomic {
    ($atomic:ty, $ty:ty) => {
        impl State for $atomic {
            const SHAPE: &'static Shape = <$ty as State>::SHAPE;

            fn save(&self, out: &mut Saver<'_>) -> Result<()> {
                self.load(Ordering::Relaxed).save(out)
            }

            fn load(from: &mut Loader<'_>) -> Result<Self> {
                <$ty as State>::load(from).map(Self::new)
            }
        }
    };
}

number! {
    Unsigned(2) unsigned: u16, AtomicU16;
    Unsigned(4) unsigned: u32, AtomicU32;
    Unsigned(8) unsigned: u64, AtomicU64, usize, AtomicUsize;
    Signed(1) signed: i8, AtomicI8;
    Signed(2) signed: i16, AtomicI16;
    Signed(4) signed: i32, AtomicI32;
    Signed(8) signed: i64, AtomicI64, isize, AtomicIsize;
}

/// Many of them are one byte string.
impl State for u8 {
    const SHAPE: &'static Shape = &Shape::Unsigned(1);
    const SLICE_SHAPE: &'static Shape = &Shape::Bytes;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.unsigned((*self).into())
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let value = from.unsigned()?;
        u8::try_from(value).map_err(|_| from.refuse(format_args!("{value} does not fit a u8")))
    }

    fn save_slice(values: &[u8], out: &mut Saver<'_>) -> Result<()> {
        out.bytes(values)
    }

    fn load_vec(from: &mut Loader<'_>) -> Result<Vec<u8>> {
        let bytes = from.bytes()?;
        let mut values = Vec::new();
        values.try_reserve_exact(bytes.len())?;
        values.extend_from_slice(bytes);
        Ok(values)
    }
}

atomic!(AtomicU8, u8);

impl State for bool {
    const SHAPE: &'static Shape = &Shape::Bool;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.bool(*self)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        from.bool()
    }
}

atomic!(AtomicBool, bool);

impl State for char {
    const SHAPE: &'static Shape = &Shape::Unsigned(4);

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        u32::from(*self).save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let value = u32::load(from)?;
        char::from_u32(value).ok_or_else(|| from.refuse(format_args!("{value:#x} is no character")))
    }
}

impl State for () {
    const SHAPE: &'static Shape = &Shape::Unit;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.array(0)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        from.array_of(0)
    }
}

impl<T> State for PhantomData<T> {
    const SHAPE: &'static Shape = &Shape::Unit;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        ().save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        <()>::load(from).map(|()| PhantomData)
    }
}

/// The lock of a loaded value is free, whoever held the saved one.
macro_rules! lock {
    ($lock:ident, $try:ident) => {
        impl<T: State> State for $lock<T> {
            const SHAPE: &'static Shape = T::SHAPE;

            fn save(&self, out: &mut Saver<'_>) -> Result<()> {
                match self.$try() {
                    Some(value) => value.save(out),
                    None if self.is_poisoned() => Err(out.refuse_poisoned(stringify!($lock))),
                    None => Err(out.refuse_held(stringify!($lock))),
                }
            }

            fn load(from: &mut Loader<'_>) -> Result<Self> {
                T::load(from).map(Self::new)
            }

            fn poisoned(&self) -> bool {
                self.is_poisoned()
            }
        }
    };
}

lock!(Mutex, try_lock);
lock!(RwLock, try_read);

impl State for Ino {
    const SHAPE: &'static Shape = &Shape::Unsigned(8);

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.unsigned(self.get())
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let number = from.unsigned()?;
        Ino::new(number).ok_or_else(|| from.refuse(format_args!("inode number 0")))
    }
}

impl State for Checksum {
    const SHAPE: &'static Shape = &Shape::Unsigned(4);

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.unsigned(self.0.into())
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        u32::load(from).map(Checksum)
    }
}

impl State for NameBuf {
    const SHAPE: &'static Shape = &Shape::Bytes;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.bytes(self.as_bytes())
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        Ok(Name::new(from.bytes()?).to_owned())
    }
}

impl State for FileType {
    const SHAPE: &'static Shape = &Shape::Unsigned(1);

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.unsigned(*self as u64)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let value = u8::load(from)?;
        FileType::from_mode(u32::from(value) << 12).ok_or_else(|| from.refuse(format_args!("{value} is no file type")))
    }
}

impl State for Duration {
    const SHAPE: &'static Shape = &Shape::Tuple(&[&Shape::Unsigned(8), &Shape::Unsigned(4)]);

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        (self.as_secs(), self.subsec_nanos()).save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let (sec, nsec) = <(u64, u32)>::load(from)?;
        match nsec < 1_000_000_000 {
            true => Ok(Duration::new(sec, nsec)),
            false => Err(from.refuse(format_args!("{nsec} nanoseconds in a second"))),
        }
    }
}

/// A struct of the runtime's own, as the derive would write it; what follows `skip` is rebuilt by `Default`.
macro_rules! structure {
    ($ty:ident { $($tag:literal $field:ident: $of:ty,)* $(skip $($rest:ident)*)? }) => {
        impl State for $ty {
            const SHAPE: &'static Shape = &Shape::Struct(
                stringify!($ty),
                &[$(Field { tag: $tag, name: stringify!($field), shape: <$of as State>::SHAPE, default: false }),*],
            );

            fn save(&self, out: &mut Saver<'_>) -> Result<()> {
                out.map([$($tag),*].len())?;
                $(out.field($tag, &self.$field)?;)*
                Ok(())
            }

            fn load(from: &mut Loader<'_>) -> Result<Self> {
                $(let mut $field = None;)*
                from.fields(|tag, from| {
                    match tag {
                        $($tag => $field = Some(State::load(from)?),)*
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Ok($ty {
                    $($field: $field.ok_or_else(|| from.missing($tag, stringify!($field)))?,)*
                    $($($rest: Default::default(),)*)?
                })
            }
        }
    };
}

structure! { Timestamp { 1 sec: i64, 2 nsec: u32, } }

structure! { Attr {
    1 mode: u32,
    2 nlink: u32,
    3 uid: u32,
    4 gid: u32,
    5 size: u64,
    6 blocks: u64,
    7 atime: Timestamp,
    8 mtime: Timestamp,
    9 ctime: Timestamp,
    10 btime: Timestamp,
    11 rdev: (u32, u32),
    12 generation: u32,
    13 flags: u32,
    skip disk_size project
} }
