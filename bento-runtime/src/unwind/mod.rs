// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The unwinder of objects without std: single-phase, over tables that the pre-link step makes from `.eh_frame`.
//!
//! [`cfi`], [`lsda`] and [`table`] are plain safe code that `cargo bento build` runs over every function at build time,
//! so that what the kernel would meet during a panic has been met before. [`frames`] walks a live stack with them.

pub mod cfi;
#[cfg(feature = "freestanding")]
pub(crate) mod frames;
pub mod lsda;
pub mod table;

/// A reader of little-endian and LEB128 numbers.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*first)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next `len` bytes as a reader of their own.
    pub fn take(&mut self, len: usize) -> Option<Reader<'a>> {
        let (first, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(Reader { bytes: first })
    }

    /// At most 63 bits.
    pub fn uleb128(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
