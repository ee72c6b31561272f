// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The way back to version 1: a copy without what that version does not know.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bento::prelude::*;

use crate::directory::{Directory, Entry};
use crate::history::v1;
use crate::node::Kind;
use crate::{MemFs, Node};

impl Downgrade<v1::MemFs> for MemFs {
    fn downgrade(&self) -> Result<v1::MemFs> {
        let next_ino = AtomicU64::new(self.next_ino.load(Ordering::Relaxed));
        Ok(v1::MemFs { next_ino, root: self.root.clone() })
    }
}

impl Downgrade<v1::Node> for Node {
    fn downgrade(&self) -> Result<v1::Node> {
        let xattrs = self.xattrs.try_read().ok_or(Errno::EBUSY)?.clone();
        let flags = AtomicU32::new(self.flags.load(Ordering::Relaxed));
        Ok(v1::Node { kind: kind(&self.kind)?, xattrs: RwLock::new(xattrs), flags })
    }
}

fn kind(kind: &Kind) -> Result<v1::Kind> {
    Ok(match kind {
        Kind::Directory { entries, parent } => {
            let names = entries.try_read().ok_or(Errno::EBUSY)?;
            let parent = AtomicU64::new(parent.load(Ordering::Relaxed));
            v1::Kind::Directory { entries: RwLock::new(directory(&names)), parent }
        }
        Kind::Symlink(target) => v1::Kind::Symlink(target.clone()),
        Kind::Other => v1::Kind::Other,
    })
}

fn directory(names: &Directory) -> v1::Directory {
    let mut entries = BTreeMap::new();
    // Not collect(): it sorts, with more stack than a kernel has.
    for (next, entry) in names.from(0) {
        let Entry { name, ino, file_type } = entry.clone();
        entries.insert(next - 1, v1::Entry { name, ino, file_type });
    }
    v1::Directory { entries }
}
