// SPDX-License-Identifier: GPL-2.0 OR MIT
//! System calls by inode, as NFS and FUSE make them: no walk, and no permission checks on the way.

use bento::errno::{Errno, Result};
use bento::fs::Op;

use super::file::File;
use super::task::{DirEntry, Stat, Task};
use crate::dir::{Entry, Make, read};
use crate::export::FileHandle;
use crate::inode::InodeRef;

impl Task {
    pub fn root(&self) -> Result<InodeRef> {
        self.sb.root()
    }

    /// The inode of that number, loaded if need be.
    pub fn inode(&self, ino: u64) -> Result<InodeRef> {
        self.sb.iget(ino, Op::load_inode)
    }

    pub fn lookup_in(&self, dir: &InodeRef, name: impl AsRef<[u8]>) -> Result<InodeRef> {
        let _dir = read(dir);
        self.sb.lookup(&self.caller, dir, name.as_ref())
    }

    pub fn create_in(&self, dir: &InodeRef, name: impl AsRef<[u8]>, mode: u32) -> Result<InodeRef> {
        self.make_in(dir, name.as_ref(), mode, Make::File { exclusive: true })
    }

    pub fn mkdir_in(&self, dir: &InodeRef, name: impl AsRef<[u8]>, mode: u32) -> Result<InodeRef> {
        self.make_in(dir, name.as_ref(), mode, Make::Directory)
    }

    /// `mode` has its type.
    pub fn mknod_in(&self, dir: &InodeRef, name: impl AsRef<[u8]>, mode: u32, rdev: (u32, u32)) -> Result<InodeRef> {
        self.make_in(dir, name.as_ref(), mode, Make::Node { mode, rdev })
    }

    pub fn symlink_in(&self, dir: &InodeRef, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<InodeRef> {
        self.make_in(dir, name.as_ref(), 0o777, Make::Symlink { target: target.as_ref() })
    }

    pub fn remove_in(&self, dir: &InodeRef, name: impl AsRef<[u8]>) -> Result<()> {
        self.unlink_in(dir, name.as_ref())
    }

    pub fn remove_dir_in(&self, dir: &InodeRef, name: impl AsRef<[u8]>) -> Result<()> {
        self.rmdir_in(dir, name.as_ref())
    }

    pub fn getattr(&self, inode: &InodeRef) -> Result<Stat> {
        self.stat_inode(inode)
    }

    /// Opens an inode; see [`super::flags`].
    pub fn open_in(&self, inode: &InodeRef, flags: u32) -> Result<File> {
        self.open_inode(inode.clone(), flags, false)
    }

    /// One call's worth of entries from `pos` on (0 at the start), "." and ".." among them, each with the position
    /// after it; the end is an empty list.
    pub fn iterate_in(&self, dir: &InodeRef, pos: u64) -> Result<Vec<(DirEntry, u64)>> {
        let parent = self.sb.get_parent(&self.caller, dir).map_or(dir.ino(), |parent| parent.ino());
        let _dir = read(dir);
        let entries = self.sb.iterate(&self.caller, dir, pos, parent)?;
        Ok(entries.into_iter().map(|Entry { name, ino, kind, next }| (DirEntry { name, ino, kind }, next)).collect())
    }

    /// `name_to_handle_at(2)`
    pub fn handle(&self, inode: &InodeRef) -> Result<FileHandle> {
        self.sb.encode_handle(inode)
    }

    /// `open_by_handle_at(2)`; `ESTALE` when the file is gone.
    pub fn by_handle(&self, handle: FileHandle) -> Result<InodeRef> {
        self.sb.decode_handle(handle)
    }

    /// The directory that contains `dir`.
    pub fn parent(&self, dir: &InodeRef) -> Result<InodeRef> {
        if !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        self.sb.get_parent(&self.caller, dir)
    }
}
