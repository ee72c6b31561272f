// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Names and directories.

use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;

use alloc::boxed::Box;

use super::{FileSystem, FileType, Ino, Inode, NewInode};
use crate::abi;

/// A file or attribute name: any bytes but `/` and NUL, 1 to 255 of them, never assumed to be UTF-8.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Name([u8]);

impl Name {
    pub const fn new(bytes: &[u8]) -> &Name {
        // SAFETY: SAFETY.md C4: `Name` is a transparent wrapper of `[u8]` and has no validity of its own.
        unsafe { &*(bytes as *const [u8] as *const Name) }
    }

    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A copy that a file system can keep.
    pub fn to_owned(&self) -> NameBuf {
        NameBuf(Box::from(&self.0))
    }

    /// The FNV-1a hash, 64 bits: a stable order for directories. No defence against chosen names.
    pub fn hash64(&self) -> u64 {
        self.0.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl PartialEq<[u8]> for Name {
    fn eq(&self, other: &[u8]) -> bool {
        self.0 == *other
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == *other.as_bytes()
    }
}

impl<'a> From<&'a str> for &'a Name {
    fn from(name: &'a str) -> &'a Name {
        Name::new(name.as_bytes())
    }
}

/// A name of one's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameBuf(Box<[u8]>);

impl Deref for NameBuf {
    type Target = Name;

    fn deref(&self) -> &Name {
        Name::new(&self.0)
    }
}

impl Borrow<Name> for NameBuf {
    fn borrow(&self) -> &Name {
        self
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Where `iterate` puts entries: a kernel buffer that the shim hands on to user space afterwards.
pub struct DirEmitter<'call> {
    buf: &'call mut [u8],
    used: usize,
    full: bool,
}

const HEADER: usize = size_of::<abi::bento_dirent>();

impl<'call> DirEmitter<'call> {
    pub(crate) fn new(buf: &'call mut [u8]) -> Self {
        DirEmitter { buf, used: 0, full: false }
    }

    /// Adds an entry; `next` is the position after it (1 to `i64::MAX - 3`), which must mean the same in later calls.
    /// False: no room, and the handler should return `Ok`; it will be called again from the last `next` taken.
    #[must_use = "false means the buffer is full: stop"]
    pub fn emit(&mut self, name: &Name, ino: Ino, file_type: FileType, next: u64) -> bool {
        let name = name.as_bytes();
        let Ok(namelen) = u16::try_from(name.len()) else {
            return true; // no such name exists
        };
        let end = self.used + HEADER + name.len();
        let Some(record) = self.buf.get_mut(self.used..end) else {
            self.full = true;
            return false;
        };
        let (header, rest) = record.split_at_mut(HEADER);
        header[0..8].copy_from_slice(&ino.get().to_ne_bytes());
        header[8..16].copy_from_slice(&next.to_ne_bytes());
        header[16..18].copy_from_slice(&namelen.to_ne_bytes());
        header[18] = file_type as u8;
        rest.copy_from_slice(name);
        self.used = end.next_multiple_of(8);
        true
    }

    /// Is there room for `names` entries with names of `bytes` bytes in all? False counts as a buffer that is full: for
    /// handlers that find entries by the block, and would find those of a block again for each call it is emitted in.
    #[must_use = "false means the buffer is full: stop"]
    pub fn has_room(&mut self, names: usize, bytes: usize) -> bool {
        // Each record ends at a multiple of 8.
        let need = names.saturating_mul(HEADER + 7).saturating_add(bytes);
        self.full |= self.used.saturating_add(need) > self.buf.len();
        !self.full
    }

    /// Has nothing been emitted yet?
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes used and whether the directory ended here.
    pub(crate) fn finish(self) -> (usize, bool) {
        (self.used.min(self.buf.len()), !self.full)
    }
}

/// What a `rename` handler is asked to do.
pub struct Rename<'call, F: FileSystem> {
    pub old_dir: &'call Inode<F>,
    pub old_name: &'call Name,
    /// What `old_name` names.
    pub inode: &'call Inode<F>,
    pub new_dir: &'call Inode<F>,
    pub new_name: &'call Name,
    /// What `new_name` names now, if anything; to be replaced (a directory only when it is empty: `ENOTEMPTY`) or exchanged.
    pub target: Option<&'call Inode<F>>,
    /// `RENAME_EXCHANGE`: both names stay and swap what they name.
    pub exchange: bool,
    /// `RENAME_WHITEOUT`: what `old_name` names afterwards.
    pub whiteout: Option<NewInode<'call, F>>,
}
