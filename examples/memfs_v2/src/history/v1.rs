// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What memfs version 1 saves, as `cargo bento freeze` wrote it. It is never changed: state of that version
//! is read by it.

use core::sync::atomic::{AtomicU32, AtomicU64};

use bento::prelude::*;

#[derive(State)]
#[state(fs = "memfs", version = 1, inode = Node)]
pub struct MemFs {
    #[state(1)]
    pub next_ino: AtomicU64,
    #[state(2)]
    pub root: Attr,
}

/// Per-inode data.
#[derive(State)]
pub struct Node {
    #[state(1)]
    pub kind: Kind,
    #[state(2)]
    pub xattrs: RwLock<BTreeMap<NameBuf, Vec<u8>>>,
    #[state(3)]
    pub flags: AtomicU32,
}

#[derive(State)]
pub enum Kind {
    #[state(1)]
    Directory {
        #[state(1)]
        entries: RwLock<Directory>,
        #[state(2)]
        parent: AtomicU64,
    },
    #[state(2)]
    Symlink(#[state(1)] Box<[u8]>),
    #[state(3)]
    Other,
}

#[derive(Clone, Default, State)]
pub struct Directory {
    #[state(1)]
    pub entries: BTreeMap<u64, Entry>,
}

/// A name and what it names.
#[derive(Clone, State)]
pub struct Entry {
    #[state(1)]
    pub name: NameBuf,
    #[state(2)]
    pub ino: Ino,
    #[state(3)]
    pub file_type: FileType,
}
