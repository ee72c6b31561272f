// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The unwind table of one object, as the pre-link step writes it: position-independent and free of relocations.
//!
//! Little-endian. Header: magic, version, `anchor_offset` (of [`ANCHOR`] in the text section), `count`, `index_off`,
//! `text_len`, `places_off`, `places`, `files_off`, `files`, each `u32`. Index, sorted by start: `start u32, len u32,
//! cfi_off u32, cfi_len u16, init_len u16, lsda_off u32, lsda_len u32`. Places, sorted: `return u32` (the address a call
//! of the author's comes back to), `line u32, file u16, column u16`. Files: `name_off u32, name_len u32`. Offsets of data
//! count from the start of the table, `start` and `return` from that of the text.

use super::cfi::{self, Row};
use super::lsda;

/// "BNUW".
pub const MAGIC: u32 = 0x5755_4e42;
pub const VERSION: u32 = 2;
/// The function whose address tells where the text section was loaded.
pub const ANCHOR: &str = "bento_text_anchor";
pub const HEADER_LEN: usize = 40;
pub const ENTRY_LEN: usize = 24;
pub const PLACE_LEN: usize = 12;
pub const FILE_LEN: usize = 8;

/// A table that has been looked over.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
    index: &'a [u8],
    places: &'a [u8],
    files: &'a [u8],
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

/// A line of the author's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    pub file: &'a str,
    pub line: u32,
    pub column: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

/// The last of the records, sorted by their first word, that does not begin after `offset`.
fn last_up_to(records: &[u8], len: usize, offset: u32) -> Option<usize> {
    let (mut low, mut high) = (0, records.len() / len);
    while low < high {
        let middle = low + (high - low) / 2;
        if word(records, middle * len)? <= offset { low = middle + 1 } else { high = middle }
    }
    low.checked_sub(1)
}

impl<'a> Table<'a> {
    /// `None` when the bytes are no table of this version.
    pub fn parse(bytes: &'a [u8]) -> Option<Table<'a>> {
        if word(bytes, 0)? != MAGIC || word(bytes, 4)? != VERSION {
            return None;
        }
        let list = |at: u32, count: u32, len: usize| {
            let at = at as usize;
            bytes.get(at..at.checked_add((count as usize).checked_mul(len)?)?)
        };
        Some(Table {
            bytes,
            index: list(word(bytes, 16)?, word(bytes, 12)?, ENTRY_LEN)?,
            places: list(word(bytes, 24)?, word(bytes, 28)?, PLACE_LEN)?,
            files: list(word(bytes, 32)?, word(bytes, 36)?, FILE_LEN)?,
            anchor_offset: word(bytes, 8)?,
            text_len: word(bytes, 20)?,
        })
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
        let entry = self.entry(last_up_to(self.index, ENTRY_LEN, offset)?)?;
        (offset - entry.start < entry.len).then_some(entry)
    }

    /// How many calls have a place.
    pub fn places(&self) -> usize {
        self.places.len() / PLACE_LEN
    }

    /// The author's line that made the call which comes back to `offset` bytes into the text; `None` for a call that is
    /// not the author's.
    pub fn place(&self, offset: u32) -> Option<Place<'a>> {
        let raw = self.places.get(last_up_to(self.places, PLACE_LEN, offset)? * PLACE_LEN..)?;
        if word(raw, 0)? != offset {
            return None;
        }
        let file = half(raw, 8)? * FILE_LEN;
        let (at, len) = (word(self.files, file)? as usize, word(self.files, file + 4)? as usize);
        let file = core::str::from_utf8(self.bytes.get(at..at.checked_add(len)?)?).ok()?;
        Some(Place { file, line: word(raw, 4)?, column: half(raw, 10)? as u32 })
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
