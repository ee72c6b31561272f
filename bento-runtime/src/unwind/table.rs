// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The unwind table of one object, as the pre-link step writes it: position-independent and free of relocations.
//!
//! Little-endian. Header: magic, version, `anchor_offset` (of [`ANCHOR`] in the text section), `count`, `index_off`,
//! `text_len`, each `u32`. Index, sorted by start: `start u32, len u32, cfi_off u32, cfi_len u16, init_len u16,
//! lsda_off u32, lsda_len u32`. Offsets of data count from the start of the table, `start` from that of the text.

use super::cfi::{self, Row};
use super::lsda;

/// "BNUW".
pub const MAGIC: u32 = 0x5755_4e42;
pub const VERSION: u32 = 1;
/// The function whose address tells where the text section was loaded.
pub const ANCHOR: &str = "bento_text_anchor";
pub const HEADER_LEN: usize = 24;
pub const ENTRY_LEN: usize = 24;

/// A table that has been looked over.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
    index: &'a [u8],
    pub anchor_offset: u32,
    pub text_len: u32,
}

/// One function.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Bytes from the start of the text.
    pub start: u32,
    pub len: u32,
    initial: &'a [u8],
    program: &'a [u8],
    /// Empty when the function has no landing pads.
    pub lsda: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

impl<'a> Table<'a> {
    /// `None` when the bytes are no table of this version.
    pub fn parse(bytes: &'a [u8]) -> Option<Table<'a>> {
        if word(bytes, 0)? != MAGIC || word(bytes, 4)? != VERSION {
            return None;
        }
        let (count, at) = (word(bytes, 12)? as usize, word(bytes, 16)? as usize);
        let index = bytes.get(at..at.checked_add(count.checked_mul(ENTRY_LEN)?)?)?;
        Some(Table { bytes, index, anchor_offset: word(bytes, 8)?, text_len: word(bytes, 20)? })
    }

    /// How many functions.
    pub fn len(&self) -> usize {
        self.index.len() / ENTRY_LEN
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The `n`th function.
    pub fn entry(&self, n: usize) -> Option<Entry<'a>> {
        let raw = self.index.get(n.checked_mul(ENTRY_LEN)?..)?;
        let data = |at: u32, len: usize| self.bytes.get(at as usize..(at as usize).checked_add(len)?);
        let cfi = data(word(raw, 8)?, half(raw, 12)?)?;
        let (initial, program) = cfi.split_at_checked(half(raw, 14)?)?;
        let lsda = match word(raw, 16)? {
            0 => &[],
            at => data(at, word(raw, 20)? as usize)?,
        };
        Some(Entry { start: word(raw, 0)?, len: word(raw, 4)?, initial, program, lsda })
    }

    /// The function that covers `offset` bytes into the text.
    pub fn find(&self, offset: u32) -> Option<Entry<'a>> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = word(self.index, middle * ENTRY_LEN)?;
            if start <= offset { low = middle + 1 } else { high = middle }
        }
        let entry = self.entry(low.checked_sub(1)?)?;
        (offset - entry.start < entry.len).then_some(entry)
    }
}

impl Entry<'_> {
    /// How to find the caller's registers at `offset` bytes into the text.
    pub fn row(&self, offset: u32) -> Result<Row, cfi::Error> {
        cfi::row_at(self.initial, self.program, u64::from(offset.wrapping_sub(self.start)))
    }

    /// What a panic does that passes the call at `offset` bytes into the text.
    pub fn action(&self, offset: u32) -> Result<lsda::Action, lsda::Error> {
        match self.lsda {
            [] => Ok(lsda::Action::Continue),
            lsda => lsda::action_at(lsda, u64::from(offset.wrapping_sub(self.start))),
        }
    }
}
