// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Attributes as they lie in an inode or in a block of their own: entries from one end, their values from the other, four
//! zero bytes behind the last entry.

use bento::prelude::*;

use crate::disk::Ip;
use crate::list::sort_by;

/// What both kinds begin with.
pub const MAGIC: u32 = 0xea02_0000;
/// `struct ext4_xattr_entry`: lengths, prefix, place and hash of the value; then the name.
const ENTRY: usize = 16;
/// What ends the list.
const TERMINATOR: usize = 4;
/// The longest value that is believed.
const VALUE_MAX: usize = 1 << 16;

/// What an entry for such a name takes.
const fn entry_len(name_len: usize) -> usize {
    (ENTRY + name_len + 3) & !3
}

pub enum Source<'a, 'call> {
    Inode(&'a Ip<'call>),
    Block(&'a Block<'call>),
}

/// Where attributes lie.
pub struct Area<'a, 'call> {
    pub source: Source<'a, 'call>,
    /// The first entry.
    pub first: usize,
    /// What `e_value_offs` counts from.
    pub base: usize,
    pub end: usize,
}

/// An entry.
#[derive(Clone, Copy)]
pub struct Head {
    at: usize,
    pub index: u8,
    name_len: usize,
    pub value_at: usize,
    pub value_len: usize,
    /// The inode that holds the value, if it is not here.
    pub inum: u32,
    pub hash: u32,
}

/// The attributes contradict themselves at this byte.
pub struct Broken(pub usize);

impl<'a, 'call> Area<'a, 'call> {
    fn get<T: bento::fs::Field>(&self, at: usize) -> Result<T, Broken> {
        let value = match self.source {
            Source::Inode(ip) => ip.get(at),
            Source::Block(block) => block.get(at),
        };
        value.map_err(|_| Broken(at))
    }

    pub fn read(&self, at: usize, bytes: &mut [u8]) -> Result<(), Broken> {
        let done = match self.source {
            Source::Inode(ip) => ip.read(at, bytes),
            Source::Block(block) => block.read(at, bytes),
        };
        done.map_err(|_| Broken(at))
    }

    /// The entry at `at`, and where the next one is; `None` at the end of the list.
    fn head(&self, at: usize) -> Result<Option<(Head, usize)>, Broken> {
        let word: u32 = self.get(at)?;
        if word == 0 {
            return Ok(None);
        }
        let [name_len, index, ..] = word.to_le_bytes();
        let name_len = usize::from(name_len);
        let next = at + entry_len(name_len);
        let (inum, size, hash): (u32, u32, u32) = (self.get(at + 4)?, self.get(at + 8)?, self.get(at + 12)?);
        let value_len = usize::try_from(size).map_err(|_| Broken(at))?;
        let value_at = self.base + (word >> 16) as usize;
        let outside =
            inum == 0 && value_len > 0 && (value_at < next || value_at + value_len.next_multiple_of(4) > self.end);
        if next + TERMINATOR > self.end || value_len > VALUE_MAX || outside {
            return Err(Broken(at));
        }
        Ok(Some((Head { at, index, name_len, value_at, value_len, inum, hash }, next)))
    }

    /// Calls `each` with every entry, until it gives something.
    pub fn each<T>(&self, mut each: impl FnMut(&Head) -> Result<Option<T>, Broken>) -> Result<Option<T>, Broken> {
        let mut at = self.first;
        while let Some((head, next)) = self.head(at)? {
            if let Some(found) = each(&head)? {
                return Ok(Some(found));
            }
            at = next;
        }
        Ok(None)
    }

    /// The name of an entry, without its prefix.
    pub fn name<'b>(&self, head: &Head, buffer: &'b mut [u8; 255]) -> Result<&'b [u8], Broken> {
        let name = buffer.get_mut(..head.name_len).ok_or(Broken(head.at))?;
        self.read(head.at + ENTRY, name)?;
        if name.contains(&0) { Err(Broken(head.at)) } else { Ok(name) }
    }

    pub fn find(&self, index: u8, wanted: &[u8]) -> Result<Option<Head>, Broken> {
        let mut buffer = [0; 255];
        self.each(|head| {
            let alike = head.index == index && head.name_len == wanted.len();
            Ok((alike && self.name(head, &mut buffer)? == wanted).then_some(*head))
        })
    }

    /// All its bytes from the first entry on.
    pub fn copy(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let len = self.end.saturating_sub(self.first);
        bytes.try_reserve_exact(len)?;
        bytes.resize(len, 0);
        self.read(self.first, &mut bytes).map_err(|_| Errno::EUCLEAN)?;
        Ok(bytes)
    }

    /// Its attributes, whose bytes are `bytes` ([`Self::copy`]).
    pub fn items<'b>(&self, bytes: &'b [u8]) -> Result<Result<Vec<Item<'b>>, Broken>> {
        let mut items = Vec::new();
        let mut full = None;
        let walked = self.each(|head| {
            let part = |at: usize, len: usize| {
                let at = at.checked_sub(self.first)?;
                bytes.get(at..at + len)
            };
            let name = part(head.at + ENTRY, head.name_len).ok_or(Broken(head.at))?;
            let here = head.inum == 0 && head.value_len > 0;
            let value = if here { part(head.value_at, head.value_len).ok_or(Broken(head.at))? } else { &[] };
            full = items.try_reserve(1).err();
            if full.is_some() {
                return Ok(Some(()));
            }
            let elsewhere = (head.inum != 0).then_some((head.inum, head.value_len as u32, head.hash));
            items.push(Item { index: head.index, name, value, elsewhere });
            Ok(None)
        });
        match (full, walked) {
            (Some(full), _) => Err(full.into()),
            (None, Err(broken)) => Ok(Err(broken)),
            (None, Ok(_)) => Ok(Ok(items)),
        }
    }
}

/// An attribute: the number of its prefix, the rest of its name, its value.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    pub index: u8,
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// The inode that holds the value instead, the value's length and hash.
    pub elsewhere: Option<(u32, u32, u32)>,
}

impl<'a> Item<'a> {
    pub fn new(index: u8, name: &'a [u8], value: &'a [u8]) -> Item<'a> {
        Item { index, name, value, elsewhere: None }
    }

    /// What it takes of an area.
    pub fn room(&self) -> usize {
        entry_len(self.name.len()) + self.value.len().next_multiple_of(4)
    }

    /// The kernel's order in blocks.
    fn order(&self) -> (u8, usize, &'a [u8]) {
        (self.index, self.name.len(), self.name)
    }

    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(name, |hash, bytes| {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(bytes) {
                *to = *from;
            }
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// Do they fit into an area with `len` bytes from its first entry on?
pub fn fit(items: &[Item<'_>], len: usize) -> bool {
    items.iter().map(Item::room).sum::<usize>() + TERMINATOR <= len
}

/// An area made anew, in `len` bytes from its first entry on, and the hash of all. Values are counted from `base` bytes before
/// that.
pub fn build(items: &mut [Item<'_>], len: usize, base: usize) -> Result<(Vec<u8>, u32)> {
    if !fit(items, len) {
        return Err(Errno::ENOSPC);
    }
    sort_by(items, |one, other| one.order() < other.order());
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len)?;
    bytes.resize(len, 0);
    let (mut at, mut value_at, mut all) = (0, len, 0u32);
    let mut hashed = true;
    for item in items.iter() {
        let mut put = |at: usize, part: &[u8]| -> Result<()> {
            bytes.get_mut(at..at + part.len()).ok_or(Errno::ENOSPC)?.copy_from_slice(part);
            Ok(())
        };
        let (inum, size, hash) = item.elsewhere.unwrap_or((0, item.value.len() as u32, item.hash()));
        let mut offset = 0;
        if !item.value.is_empty() {
            value_at -= item.value.len().next_multiple_of(4);
            put(value_at, item.value)?;
            offset = base + value_at;
        }
        put(at, &[item.name.len() as u8, item.index])?;
        put(at + 2, &(offset as u16).to_le_bytes())?;
        put(at + 4, &inum.to_le_bytes())?;
        put(at + 8, &size.to_le_bytes())?;
        put(at + 12, &hash.to_le_bytes())?;
        put(at + ENTRY, item.name)?;
        at += entry_len(item.name.len());
        hashed &= hash != 0;
        all = all.rotate_left(16) ^ hash;
    }
    Ok((bytes, if hashed { all } else { 0 }))
}
