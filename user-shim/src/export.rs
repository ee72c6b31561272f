// SPDX-License-Identifier: GPL-2.0 OR MIT
//! File handles: an inode by number and generation, and the way up from a directory.

use std::sync::Arc;

use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::caller::Caller;
use crate::inode::{Inode, InodeRef, inode_args};
use crate::superblock::Super;

/// What `name_to_handle_at(2)` would give.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileHandle {
    pub ino: u64,
    pub generation: u32,
}

impl Super {
    /// A handle that outlives the cache; `EOPNOTSUPP` when the file system cannot be exported.
    pub fn encode_handle(&self, inode: &Inode) -> Result<FileHandle> {
        if !self.has(Op::get_parent) {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(FileHandle { ino: inode.ino(), generation: inode.lock_attr().generation })
    }

    /// `ESTALE` when the file is gone or its number is another file's by now.
    pub fn decode_handle(self: &Arc<Self>, handle: FileHandle) -> Result<InodeRef> {
        if !self.has(Op::get_parent) {
            return Err(Errno::EOPNOTSUPP);
        }
        // What a client sends is not what a handler said: no complaint.
        if handle.ino == 0 {
            return Err(Errno::ESTALE);
        }
        let inode = match self.iget(handle.ino, Op::load_inode) {
            Err(Errno::ENOENT) => return Err(Errno::ESTALE),
            other => other?,
        };
        let attr = inode.attr();
        if attr.generation != handle.generation || attr.nlink == 0 {
            return Err(Errno::ESTALE);
        }
        Ok(inode)
    }

    /// The directory that contains `dir`.
    pub fn get_parent(self: &Arc<Self>, caller: &Caller, dir: &Inode) -> Result<InodeRef> {
        if !self.has(Op::get_parent) {
            return Err(Errno::ESTALE);
        }
        let mut args = inode_args(dir.as_raw());
        self.invoke(Op::get_parent, |ops| ops.get_parent, caller, &mut args)?;
        self.iget(args.out, Op::get_parent)
    }
}
