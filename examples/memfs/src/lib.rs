// SPDX-License-Identifier: GPL-2.0 OR MIT
//! memfs: everything in memory, as tmpfs. File data are *resident*: the shim keeps them in the page cache and this file
//! system never sees them. What it does keep is names, extended attributes and `chattr` flags.
//!
//! Mount options: `size=` and `nr_inodes=` bound the mount (k, m, g; 0 = no bound), `mode=`, `uid=`, `gid=` are the root's.
#![no_std]
#![forbid(unsafe_code)]

mod directory;
mod node;

use core::sync::atomic::{AtomicU64, Ordering};

use bento::prelude::*;

use directory::Entry;
pub use node::Node;

#[derive(MountOptions)]
struct Options {
    #[option(default = Size(0))]
    size: Size,
    #[option(default = Size(0))]
    nr_inodes: Size,
    #[option(default = Octal(0o755))]
    mode: Octal,
    #[option(default = 0)]
    uid: u32,
    #[option(default = 0)]
    gid: u32,
}

#[bento_fs(name = "memfs", version = 1, data = "resident")]
pub struct MemFs {
    #[state(1)]
    next_ino: AtomicU64,
    #[state(2)]
    root: Attr,
}

impl MemFs {
    fn next_ino(&self) -> Ino {
        // Numbers are never used twice, so a file handle needs no generation.
        Ino::new(self.next_ino.fetch_add(1, Ordering::Relaxed)).unwrap_or(Ino::ROOT)
    }

    /// A new inode with a name. The name goes in first: what can fail fails before the inode is there.
    fn make(&self, dir: &Inode<Self>, name: &Name, new: NewInode<Self>, node: Node) -> Result<Created> {
        let ino = self.next_ino();
        dir.entries()?.write().insert(Entry::new(name, ino, new.file_type()))?;
        Ok(assign(new, ino, node))
    }
}

fn assign(new: NewInode<MemFs>, ino: Ino, node: Node) -> Created {
    for (name, value) in new.xattrs() {
        node.xattrs.write().insert(name.to_owned(), value.into());
    }
    new.assign(ino, node)
}

#[bento_fs]
impl FileSystem for MemFs {
    type Inode = Node;

    fn mount(cx: &MountContext) -> Result<Self> {
        let options: Options = cx.options()?;
        if options.mode.0 > 0o7777 {
            return Err(cx.refuse(format_args!("mode={:o} has bits beyond 7777", options.mode.0)));
        }
        cx.set_limits(options.size.0, options.nr_inodes.0);
        let root = Attr { uid: options.uid, gid: options.gid, ..Attr::directory(options.mode.0) };
        Ok(MemFs { next_ino: AtomicU64::new(Ino::ROOT.get() + 1), root })
    }

    fn reconfigure(&self, _cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        let options: Options = change.options()?;
        change.set_limits(options.size.0, options.nr_inodes.0);
        Ok(())
    }

    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Node)> {
        // Resident inodes stay in the cache: only the root is ever asked for.
        match ino {
            Ino::ROOT => Ok((self.root.clone().at(cx.now()), Node::directory(Ino::ROOT))),
            _ => Err(Errno::ESTALE),
        }
    }

    fn lookup(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        dir.entries()?.read().find(name).map(|entry| entry.ino).ok_or(Errno::ENOENT)
    }

    fn create(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(dir, name, new, Node::file())
    }

    fn mkdir(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(dir, name, new, Node::directory(dir.ino()))
    }

    fn mknod(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(dir, name, new, Node::file())
    }

    fn symlink(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.make(dir, name, new, Node::symlink(target))
    }

    fn tmpfile(&self, _cx: &Context<Self>, _dir: &Inode<Self>, new: NewInode<Self>) -> Result<Created> {
        Ok(assign(new, self.next_ino(), Node::file()))
    }

    fn link(&self, _cx: &Context<Self>, inode: &Inode<Self>, dir: &Inode<Self>, name: &Name) -> Result<()> {
        let file_type = inode.attr().file_type().unwrap_or(FileType::Regular);
        dir.entries()?.write().insert(Entry::new(name, inode.ino(), file_type))
    }

    fn unlink(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, _inode: &Inode<Self>) -> Result<()> {
        dir.entries()?.write().remove(name).map(drop)
    }

    fn rmdir(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        inode.check_empty()?;
        dir.entries()?.write().remove(name).map(drop)
    }

    fn rename(&self, _cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        // The VFS holds both directories, so the locks are taken one after the other.
        let (from, to) = (rename.old_dir.entries()?, rename.new_dir.entries()?);
        if let Some(target) = rename.target
            && !rename.exchange
        {
            target.check_empty()?;
        }
        let moved = from.read().find(rename.old_name).ok_or(Errno::ENOENT)?.with_name(rename.new_name);
        let replaced = to.write().replace(moved)?;
        match (rename.exchange, rename.whiteout) {
            (true, _) => {
                let back = replaced.ok_or(Errno::ENOENT)?.with_name(rename.old_name);
                from.write().replace(back)?;
            }
            (false, Some(whiteout)) => {
                let ino = self.next_ino();
                from.write().replace(Entry::new(rename.old_name, ino, FileType::CharDevice))?;
                let _ = assign(whiteout, ino, Node::file());
            }
            (false, None) => drop(from.write().remove(rename.old_name)?),
        }
        rename.inode.set_parent(rename.new_dir.ino());
        if let (true, Some(target)) = (rename.exchange, rename.target) {
            target.set_parent(rename.old_dir.ino());
        }
        Ok(())
    }

    fn iterate(&self, _cx: &Context<Self>, dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        for (next, entry) in dir.entries()?.read().from(pos) {
            if !entries.emit(&entry.name, entry.ino, entry.file_type, next) {
                break;
            }
        }
        Ok(())
    }

    fn get_parent(&self, _cx: &Context<Self>, dir: &Inode<Self>) -> Result<Ino> {
        dir.parent()
    }

    fn get_link(&self, _cx: &Context<Self>, inode: &Inode<Self>, target: &mut LinkTarget) -> Result<()> {
        target.put(inode.target()?);
        Ok(())
    }

    fn setattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _change: &SetAttr) -> Result<()> {
        Ok(()) // the VFS inode is all there is
    }

    fn getattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _stat: &mut Stat) -> Result<()> {
        Ok(())
    }

    fn getxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()> {
        value.put(inode.xattrs.read().get(name).ok_or(Errno::ENODATA)?);
        Ok(())
    }

    fn listxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, names: &mut XattrList) -> Result<()> {
        inode.xattrs.read().keys().for_each(|name| names.add(name));
        Ok(())
    }

    fn setxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], flags: u32) -> Result<()> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(value.len())?;
        copy.extend_from_slice(value);
        let mut xattrs = inode.xattrs.write();
        match (flags, xattrs.contains_key(name)) {
            (1, true) => Err(Errno::EEXIST),
            (2, false) => Err(Errno::ENODATA),
            _ => {
                xattrs.insert(name.to_owned(), copy);
                Ok(())
            }
        }
    }

    fn removexattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name) -> Result<()> {
        inode.xattrs.write().remove(name).map(drop).ok_or(Errno::ENODATA)
    }

    fn fileattr_get(&self, _cx: &Context<Self>, inode: &Inode<Self>, attr: &mut FileAttr) -> Result<()> {
        attr.flags = inode.flags.load(Ordering::Relaxed);
        Ok(())
    }

    fn fileattr_set(&self, _cx: &Context<Self>, inode: &Inode<Self>, attr: &FileAttr) -> Result<()> {
        inode.set_flags(attr.flags)
    }

    fn fallocate(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Ok(()) // pages are the shim's, and so is what it can do with them
    }
}
