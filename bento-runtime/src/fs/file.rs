// SPDX-License-Identifier: GPL-2.0 OR MIT
//! File data on its way between handlers and the shim's pages. Bytes are copied: no reference ever points into a page
//! that others can change (SAFETY.md C4).

use core::marker::PhantomData;

use crate::abi;
use crate::errno::Result;
use crate::host;

/// Where `read` puts bytes, from front to back.
pub struct ReadSink<'call> {
    call: *mut abi::bento_call,
    sink: *mut abi::bento_sink,
    pos: u64,
    len: u64,
    life: PhantomData<&'call mut ()>,
}

impl ReadSink<'_> {
    pub(crate) fn new(call: *mut abi::bento_call, sink: *mut abi::bento_sink, len: u64) -> Self {
        ReadSink { call, sink, pos: 0, len, life: PhantomData }
    }

    /// Bytes still wanted.
    pub fn remaining(&self) -> u64 {
        self.len - self.pos
    }

    /// Appends `bytes`; what goes beyond [`remaining`](Self::remaining) is left out.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let bytes = &bytes[..bytes.len().min(usize::try_from(self.remaining()).unwrap_or(usize::MAX))];
        host::sink_put(self.call, self.sink, self.pos, bytes)?;
        self.pos += bytes.len() as u64;
        Ok(())
    }

    /// Leaves a hole: these bytes read as zero.
    pub fn skip(&mut self, len: u64) {
        self.pos += len.min(self.remaining());
    }

    pub(crate) fn position(&self) -> u64 {
        self.pos
    }
}

/// Where `write` takes bytes from, front to back.
pub struct WriteSource<'call> {
    call: *mut abi::bento_call,
    source: *mut abi::bento_source,
    pos: u64,
    len: u64,
    write_life: u32,
    life: PhantomData<&'call mut ()>,
}

impl WriteSource<'_> {
    pub(crate) fn new(call: *mut abi::bento_call, args: &abi::bento_write_args) -> Self {
        WriteSource { call, source: args.source, pos: 0, len: args.len, write_life: args.write_life, life: PhantomData }
    }

    /// Bytes not yet taken.
    pub fn remaining(&self) -> u64 {
        self.len - self.pos
    }

    /// Fills `buf` with the next bytes and returns how many: less than `buf.len()` only at the end.
    pub fn copy_to(&mut self, buf: &mut [u8]) -> Result<usize> {
        let len = buf.len().min(usize::try_from(self.remaining()).unwrap_or(usize::MAX));
        host::source_get(self.call, self.source, self.pos, &mut buf[..len])?;
        self.pos += len as u64;
        Ok(len)
    }

    /// The application's hint on how long these bytes will live (`RWH_WRITE_LIFE_*`; 0 = none).
    pub fn write_life(&self) -> u32 {
        self.write_life
    }
}

/// The argument of an `ioctl`, copied in and out by the shim.
pub struct IoctlArg<'call> {
    /// The plain word, for commands that encode no size.
    pub word: u64,
    /// What user space passed (`_IOC_WRITE`).
    pub input: &'call [u8],
    output: &'call mut [u8],
    used: usize,
}

impl<'call> IoctlArg<'call> {
    pub(crate) fn new(word: u64, input: &'call [u8], output: &'call mut [u8]) -> Self {
        IoctlArg { word, input, output, used: 0 }
    }

    /// Bytes user space can take back (`_IOC_READ`).
    pub fn output_size(&self) -> usize {
        self.output.len()
    }

    /// Appends to what user space gets back; what does not fit is left out.
    pub fn put(&mut self, bytes: &[u8]) {
        let room = &mut self.output[self.used..];
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.used += len;
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

/// What a `seek` looks for, at or after an offset in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeekFrom {
    Data(u64),
    Hole(u64),
}
