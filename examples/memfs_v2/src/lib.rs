// SPDX-License-Identifier: GPL-2.0 OR MIT
//! memfs version 2: version 1, and [where files come from](provenance). It takes the place of version 1 under running
//! programs and gives it back ([`Downgrade`]); what it learned is lost then.
//!
//! Mount options: `size=` and `nr_inodes=` bound the mount (k, m, g; 0 = no bound), `mode=`, `uid=`, `gid=` are the root's.
#![no_std]
#![forbid(unsafe_code)]

#[path = "../../memfs/src/directory.rs"]
mod directory;
mod history {
    pub mod v1;
}
mod downgrade;
mod node;
pub mod provenance;

use core::sync::atomic::{AtomicU64, Ordering};

use bento::prelude::*;

use directory::Entry;
pub use node::Node;
use provenance::{Action, Event, Processes};

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

// ANCHOR: fs
#[bento_fs(
    name = "memfs",
    version = 2,
    data = "resident",
    extends = history::v1::MemFs,
    downgrades = history::v1::MemFs,
    on_panic = "restart"
)]
pub struct MemFs {
    #[state(1)]
    next_ino: AtomicU64,
    #[state(2)]
    root: Attr,
    #[state(3, default = Mutex::default())]
    processes: Mutex<Processes>,
}
// ANCHOR_END: fs

impl MemFs {
    fn next_ino(&self) -> Ino {
        // Numbers are never used twice, so a file handle needs no generation.
        Ino::new(self.next_ino.fetch_add(1, Ordering::Relaxed)).unwrap_or(Ino::ROOT)
    }

    /// A new inode with a name. The name goes in first: what can fail fails before the inode is there.
    fn make(
        &self,
        cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        new: NewInode<Self>,
        node: Node,
    ) -> Result<Created> {
        let ino = self.next_ino();
        dir.entries()?.write().insert(Entry::new(name, ino, new.file_type()))?;
        self.record(cx, Action::Create, ino, &node, Some(name));
        Ok(assign(new, ino, node))
    }

    /// Notes with the file what the calling process does to it.
    fn record(&self, cx: &Context<Self>, action: Action, ino: Ino, node: &Node, name: Option<&Name>) {
        // Before the file's own lock: a panic with both held would spoil the file too.
        let event = self.event(cx, action, ino, name);
        node.events.write().add(event);
    }

    fn event(&self, cx: &Context<Self>, action: Action, file: Ino, name: Option<&Name>) -> Event {
        self.processes.lock().event(action, &cx.credentials(), cx.now(), file, name)
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
        Ok(MemFs { next_ino: AtomicU64::new(Ino::ROOT.get() + 1), root, processes: Mutex::default() })
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

    fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(cx, dir, name, new, Node::file())
    }

    fn mkdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(cx, dir, name, new, Node::directory(dir.ino()))
    }

    fn mknod(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.make(cx, dir, name, new, Node::file())
    }

    fn symlink(
        &self,
        cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.make(cx, dir, name, new, Node::symlink(target))
    }

    fn tmpfile(&self, cx: &Context<Self>, _dir: &Inode<Self>, new: NewInode<Self>) -> Result<Created> {
        let (ino, node) = (self.next_ino(), Node::file());
        self.record(cx, Action::Create, ino, &node, None);
        Ok(assign(new, ino, node))
    }

    fn link(&self, cx: &Context<Self>, inode: &Inode<Self>, dir: &Inode<Self>, name: &Name) -> Result<()> {
        let file_type = inode.attr().file_type().unwrap_or(FileType::Regular);
        dir.entries()?.write().insert(Entry::new(name, inode.ino(), file_type))?;
        self.record(cx, Action::Link, inode.ino(), inode, Some(name));
        Ok(())
    }

    fn unlink(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, _inode: &Inode<Self>) -> Result<()> {
        dir.entries()?.write().remove(name).map(drop)
    }

    fn rmdir(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        inode.check_empty()?;
        dir.entries()?.write().remove(name).map(drop)
    }

    fn rename(&self, cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
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
            self.record(cx, Action::Rename, target.ino(), target, Some(rename.old_name));
        }
        self.record(cx, Action::Rename, rename.inode.ino(), rename.inode, Some(rename.new_name));
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

    fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        // The VFS inode is all there is; but who truncates, writes.
        if change.size().is_some() {
            self.record(cx, Action::Write, inode.ino(), inode, None);
        }
        Ok(())
    }

    fn getattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _stat: &mut Stat) -> Result<()> {
        Ok(())
    }

    fn open(&self, cx: &Context<Self>, inode: &Inode<Self>, flags: u32) -> Result<()> {
        if provenance::reads(flags) && inode.has_bytes() {
            self.processes.lock().reads(cx.credentials().pid, inode.ino());
        }
        if provenance::writes(flags) {
            self.record(cx, Action::Write, inode.ino(), inode, None);
        }
        Ok(())
    }

    fn release(&self, cx: &Context<Self>, inode: &Inode<Self>, flags: u32) {
        // Pid 0: the kernel's client of FUSE does not say who closes.
        if provenance::writes(flags) && cx.credentials().pid != 0 {
            let event = self.event(cx, Action::Write, inode.ino(), None);
            inode.events.write().close(event);
        }
    }

    fn getxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()> {
        if name == provenance::XATTR {
            return inode.events.read().show(value);
        }
        value.put(inode.xattrs.read().get(name).ok_or(Errno::ENODATA)?);
        Ok(())
    }

    fn listxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, names: &mut XattrList) -> Result<()> {
        inode.xattrs.read().keys().for_each(|name| names.add(name));
        Ok(())
    }

    fn setxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], flags: u32) -> Result<()> {
        if name == provenance::XATTR {
            return Err(Errno::EPERM);
        }
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
        if name == provenance::XATTR {
            return Err(Errno::EPERM);
        }
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
