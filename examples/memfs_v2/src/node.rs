// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What memfs keeps for each inode: what version 1 keeps, and its events.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bento::prelude::*;

use crate::directory::Directory;
use crate::history::v1;
use crate::provenance::Events;

/// `chattr` flags that are kept: sync, immutable, append-only, nodump, noatime (`FS_*_FL`).
const FLAGS: u32 = 0x8 | 0x10 | 0x20 | 0x40 | 0x80;

/// Per-inode data.
#[derive(State)]
#[state(extends = v1::Node, downgrades = v1::Node)]
pub struct Node {
    #[state(1)]
    pub kind: Kind,
    #[state(2)]
    pub xattrs: RwLock<BTreeMap<NameBuf, Vec<u8>>>,
    #[state(3)]
    pub flags: AtomicU32,
    #[state(4, default = RwLock::default())]
    pub events: RwLock<Events>,
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

impl Node {
    fn new(kind: Kind) -> Node {
        Node { kind, xattrs: RwLock::new(BTreeMap::new()), flags: AtomicU32::new(0), events: RwLock::default() }
    }

    /// A regular file, device, fifo or socket: nothing but attributes.
    pub fn file() -> Node {
        Node::new(Kind::Other)
    }

    pub fn directory(parent: Ino) -> Node {
        Node::new(Kind::Directory { entries: RwLock::new(Directory::default()), parent: AtomicU64::new(parent.get()) })
    }

    pub fn symlink(target: &[u8]) -> Node {
        Node::new(Kind::Symlink(target.into()))
    }

    /// Neither names nor a target, but bytes.
    pub fn has_bytes(&self) -> bool {
        matches!(self.kind, Kind::Other)
    }

    /// The names in a directory.
    pub fn entries(&self) -> Result<&RwLock<Directory>> {
        match &self.kind {
            Kind::Directory { entries, .. } => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// `ENOTEMPTY` for a directory with names in it.
    pub fn check_empty(&self) -> Result<()> {
        match &self.kind {
            Kind::Directory { entries, .. } if !entries.read().is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    pub fn parent(&self) -> Result<Ino> {
        match &self.kind {
            Kind::Directory { parent, .. } => Ino::new(parent.load(Ordering::Relaxed)).ok_or(Errno::ESTALE),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Means something for directories only.
    pub fn set_parent(&self, ino: Ino) {
        if let Kind::Directory { parent, .. } = &self.kind {
            parent.store(ino.get(), Ordering::Relaxed);
        }
    }

    /// Where a symbolic link points.
    pub fn target(&self) -> Result<&[u8]> {
        match &self.kind {
            Kind::Symlink(target) => Ok(target),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Takes the flags of `chattr`; `EOPNOTSUPP` for one that means nothing here.
    pub fn set_flags(&self, flags: u32) -> Result<()> {
        if flags & !FLAGS != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.flags.store(flags, Ordering::Relaxed);
        Ok(())
    }
}
