// SPDX-License-Identifier: GPL-2.0 OR MIT
//! CBOR (RFC 8949) as saved state uses it: a struct is a map from tags, an enum an array of its tag and its fields' map.
//! Encoding and decoding are the crate cbor4ii's; here is what lies below (the shim's buffer) and above (tags, errors).

use core::fmt;

use alloc::vec::Vec;

use cbor4ii::core::dec::{self, Decode, IgnoredAny};
use cbor4ii::core::enc::{self, Encode, Write};
use cbor4ii::core::types;
use cbor4ii::core::utils::SliceReader;

use super::{Shapes, State};
use crate::abi;
use crate::errno::{Errno, Result};
use crate::host;

/// Where saved bytes go.
enum Target {
    /// The shim's, in the call it came with.
    Shim {
        call: *mut abi::bento_call,
        state: *mut abi::bento_state,
    },
    Memory(Vec<u8>),
}

/// How many bytes are gathered before the shim is called.
const CHUNK: usize = 240;

/// Takes a value apart, into bytes.
pub struct Saver<'call> {
    target: Target,
    chunk: [u8; CHUNK],
    used: usize,
    life: core::marker::PhantomData<&'call ()>,
}

impl Write for Saver<'_> {
    type Error = Errno;

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(room) = self.chunk.get_mut(self.used..self.used + bytes.len()) {
            room.copy_from_slice(bytes);
            self.used += bytes.len();
            return Ok(());
        }
        self.flush()?;
        if bytes.len() > CHUNK {
            return self.target.put(bytes);
        }
        self.chunk[..bytes.len()].copy_from_slice(bytes);
        self.used = bytes.len();
        Ok(())
    }
}

impl Target {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Target::Shim { call, state } => host::state_put(*call, *state, bytes),
            Target::Memory(all) => {
                all.try_reserve(bytes.len())?;
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

impl<'call> Saver<'call> {
    fn new(target: Target) -> Saver<'call> {
        Saver { target, chunk: [0; CHUNK], used: 0, life: core::marker::PhantomData }
    }

    /// # Safety
    /// Both live for `'call` (SAFETY.md C1).
    pub(crate) unsafe fn to_shim(call: *mut abi::bento_call, state: *mut abi::bento_state) -> Saver<'call> {
        Saver::new(Target::Shim { call, state })
    }

    fn flush(&mut self) -> Result<()> {
        let used = core::mem::take(&mut self.used);
        if used == 0 { Ok(()) } else { self.target.put(&self.chunk[..used]) }
    }

    /// The last bytes; without it some are missing.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.flush()?;
        match self.target {
            Target::Shim { .. } => Ok(Vec::new()),
            Target::Memory(all) => Ok(all),
        }
    }

    fn encode(&mut self, value: impl Encode) -> Result<()> {
        value.encode(self).map_err(|error| match error {
            enc::Error::Write(errno) => errno,
            _ => Errno::EOVERFLOW,
        })
    }

    pub fn unsigned(&mut self, value: u64) -> Result<()> {
        self.encode(value)
    }

    pub fn signed(&mut self, value: i64) -> Result<()> {
        self.encode(value)
    }

    pub fn bool(&mut self, value: bool) -> Result<()> {
        self.encode(value)
    }

    pub fn text(&mut self, value: &str) -> Result<()> {
        self.encode(value)
    }

    pub fn bytes(&mut self, value: &[u8]) -> Result<()> {
        self.encode(types::Bytes(value))
    }

    /// So many values follow.
    pub fn array(&mut self, len: usize) -> Result<()> {
        types::Array::bounded(len, self).map_err(|_: enc::Error<Errno>| Errno::ENOMEM)
    }

    /// So many pairs follow.
    pub fn map(&mut self, len: usize) -> Result<()> {
        types::Map::bounded(len, self).map_err(|_: enc::Error<Errno>| Errno::ENOMEM)
    }

    /// One pair of a struct's map.
    pub fn field<T: State>(&mut self, tag: u32, value: &T) -> Result<()> {
        self.unsigned(tag.into())?;
        value.save(self)
    }

    /// The same for a field with a default: that is saved in the place of what a poisoned lock guards, which may be
    /// half-changed.
    pub fn field_or<T: State>(&mut self, tag: u32, name: &str, value: &T, default: impl FnOnce() -> T) -> Result<()> {
        if value.poisoned() {
            self.say_afresh(name);
            return self.field(tag, &default());
        }
        self.field(tag, value)
    }

    #[cold]
    fn say_afresh(&self, name: &str) {
        self.log(abi::BENTO_LOG_WARN, format_args!("field `{name}` starts afresh: a panic left its lock poisoned"));
    }

    /// A variant of an enum, whose `fields` follow.
    pub fn variant(&mut self, tag: u32, fields: usize) -> Result<()> {
        self.array(2)?;
        self.unsigned(tag.into())?;
        self.map(fields)
    }

    /// A lock that is held.
    #[cold]
    pub(crate) fn refuse_held(&self, what: &str) -> Errno {
        self.complain(format_args!("{what} cannot be saved: it is held"));
        Errno::EBUSY
    }

    /// A lock that a panic has poisoned, and that is no field with a default.
    #[cold]
    pub(crate) fn refuse_poisoned(&self, what: &str) -> Errno {
        self.complain(format_args!(
            "{what} cannot be saved: a panic left it poisoned; as a field with a `default` it would start afresh"
        ));
        Errno::EBUSY
    }

    #[cold]
    pub(crate) fn refuse_shape(&self, shape: u64, known: &Shapes) -> Errno {
        self.complain(format_args!("cannot be saved as shape {shape:#018x}, only as {:#018x?}", known.as_slice()));
        Errno::EINVAL
    }

    /// `#[state(reload)]`: nobody asks for these bytes.
    #[cold]
    pub fn refuse_reload(&self, name: &str) -> Errno {
        self.complain(format_args!("`{name}` does not cross: `load_inode` makes it again"));
        Errno::EINVAL
    }

    fn complain(&self, message: fmt::Arguments<'_>) {
        self.log(abi::BENTO_LOG_ERR, message);
    }

    fn log(&self, level: u32, message: fmt::Arguments<'_>) {
        if let Target::Shim { call, .. } = self.target {
            log(call, level, message);
        }
    }
}

/// The value's bytes, for loading them as another type.
pub fn to_vec<T: State>(value: &T) -> Result<Vec<u8>> {
    let mut saver = Saver::new(Target::Memory(Vec::new()));
    value.save(&mut saver)?;
    saver.finish()
}

/// The same as one of [`State::SAVES`].
pub fn to_vec_as<T: State>(value: &T, shape: u64) -> Result<Vec<u8>> {
    let mut saver = Saver::new(Target::Memory(Vec::new()));
    value.save_as(shape, &mut saver)?;
    saver.finish()
}

/// A value from the bytes of one of [`State::LOADS`].
pub fn from_slice<T: State>(bytes: &[u8], shape: u64) -> Result<T> {
    T::load_as(shape, &mut Loader::new(bytes, core::ptr::null_mut()))
}

fn log(call: *mut abi::bento_call, level: u32, message: fmt::Arguments<'_>) {
    if !call.is_null() {
        // SAFETY: SAFETY.md C1: `sb` is set before the call and constant.
        host::log(unsafe { (*call).sb }, level, message);
    }
}

/// Puts a value together, from bytes.
pub struct Loader<'call> {
    reader: SliceReader<'call>,
    /// For the log; may be null.
    call: *mut abi::bento_call,
}

impl<'call> Loader<'call> {
    pub(crate) fn new(bytes: &'call [u8], call: *mut abi::bento_call) -> Loader<'call> {
        Loader { reader: SliceReader::new(bytes), call }
    }

    /// Over other bytes, with the same log.
    pub fn over<'b>(&self, bytes: &'b [u8]) -> Loader<'b> {
        Loader { reader: SliceReader::new(bytes), call: self.call }
    }

    fn decode<T: Decode<'call>>(&mut self, what: &str) -> Result<T> {
        T::decode(&mut self.reader).map_err(|_| self.refuse(format_args!("no {what} where one should be")))
    }

    pub fn unsigned(&mut self) -> Result<u64> {
        self.decode("number")
    }

    pub fn signed(&mut self) -> Result<i64> {
        self.decode("number")
    }

    pub fn bool(&mut self) -> Result<bool> {
        self.decode("bool")
    }

    pub fn text(&mut self) -> Result<&'call str> {
        self.decode("text")
    }

    pub fn bytes(&mut self) -> Result<&'call [u8]> {
        Ok(self.decode::<types::Bytes<&'call [u8]>>("byte string")?.0)
    }

    /// How many values follow.
    pub fn array(&mut self) -> Result<usize> {
        let len = types::Array::len(&mut self.reader);
        len.ok().flatten().ok_or_else(|| self.refuse(format_args!("no array where one should be")))
    }

    /// The same, when their number is known.
    pub fn array_of(&mut self, len: usize) -> Result<()> {
        match self.array()? {
            found if found == len => Ok(()),
            found => Err(self.refuse(format_args!("{found} values where {len} should be"))),
        }
    }

    /// How many pairs follow.
    pub fn map(&mut self) -> Result<usize> {
        let len = types::Map::len(&mut self.reader);
        len.ok().flatten().ok_or_else(|| self.refuse(format_args!("no map where one should be")))
    }

    /// The fields of a struct: `take` reads the value of a tag it knows, and says false of one it does not know, which is
    /// skipped.
    pub fn fields(&mut self, mut take: impl FnMut(u32, &mut Self) -> Result<bool>) -> Result<()> {
        for _ in 0..self.map()? {
            let tag = self.unsigned()?;
            let known = match u32::try_from(tag) {
                Ok(tag) => take(tag, self)?,
                Err(_) => false,
            };
            if !known {
                let skipped: Result<IgnoredAny, dec::Error<_>> = IgnoredAny::decode(&mut self.reader);
                skipped.map_err(|_| self.refuse(format_args!("tag {tag} has no value")))?;
            }
        }
        Ok(())
    }

    /// For the closure of [`Self::fields`]: reads the value of a tag that it knows.
    pub fn field<T: State>(&mut self, value: &mut Option<T>) -> Result<bool> {
        *value = Some(T::load(self)?);
        Ok(true)
    }

    /// The tag of an enum's variant, whose fields follow.
    pub fn variant(&mut self) -> Result<u32> {
        self.array_of(2)?;
        let tag = self.unsigned()?;
        u32::try_from(tag).map_err(|_| self.refuse(format_args!("{tag} is no tag")))
    }

    /// What an enum says of a variant that it does not have.
    #[cold]
    pub fn unknown(&self, name: &str, tag: u32) -> Errno {
        self.refuse(format_args!("`{name}` has no variant with tag {tag}"))
    }

    /// What a struct without a default says of a field that the bytes do not have.
    #[cold]
    pub fn missing(&self, tag: u32, name: &str) -> Errno {
        self.refuse(format_args!("field `{name}` (tag {tag}) is missing"))
    }

    /// `#[state(reload)]`: there are no such bytes.
    #[cold]
    pub fn refuse_reload(&self, name: &str) -> Errno {
        self.refuse(format_args!("`{name}` does not cross: `load_inode` makes it again"))
    }

    /// The bytes are not what they should be.
    #[cold]
    pub fn refuse(&self, message: fmt::Arguments<'_>) -> Errno {
        log(self.call, abi::BENTO_LOG_ERR, format_args!("saved state: {message}"));
        Errno::EUCLEAN
    }

    #[cold]
    pub(crate) fn refuse_shape(&self, shape: u64, known: &Shapes) -> Errno {
        self.refuse(format_args!("its shape is {shape:#018x}; this version loads {:#018x?}", known.as_slice()))
    }
}
