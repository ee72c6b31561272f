// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every handler, and where its work is done. Version 2 takes this file in as it is.

use bento::prelude::*;

use crate::{Node, Rext4, file, mount, namei, node, xattr};

#[bento_fs]
impl FileSystem for Rext4 {
    type Inode = Node;

    fn mount(cx: &MountContext) -> Result<Self> {
        mount::mount(cx)
    }

    fn unmount(&self, cx: &Context<Self>) {
        self.unmount(cx.device());
    }

    fn statfs(&self, _cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        self.statfs(statfs);
        Ok(())
    }

    fn sync_fs(&self, cx: &Context<Self>, _wait: bool) -> Result<()> {
        self.sync_fs(cx.device())
    }

    fn reconfigure(&self, cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        self.reconfigure(cx.device(), change)
    }

    fn recover(&self, cx: &Context<Self>) -> Result<()> {
        self.recover(cx.device())
    }

    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Node)> {
        node::load_inode(self, cx, ino)
    }

    fn write_inode(&self, cx: &Context<Self>, inode: &Inode<Self>, _wait: bool) -> Result<()> {
        node::write_inode(self, cx, inode)
    }

    fn evict_inode(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()> {
        node::evict_inode(self, cx, inode)
    }

    fn lookup(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        namei::lookup(self, cx, dir, name)
    }

    fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        namei::create(self, cx, dir, name, new)
    }

    fn mkdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        namei::mkdir(self, cx, dir, name, new)
    }

    fn mknod(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        namei::mknod(self, cx, dir, name, new)
    }

    fn symlink(
        &self,
        cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        namei::symlink(self, cx, dir, name, target, new)
    }

    fn link(&self, cx: &Context<Self>, inode: &Inode<Self>, dir: &Inode<Self>, name: &Name) -> Result<()> {
        namei::link(self, cx, inode, dir, name)
    }

    fn unlink(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        namei::unlink(self, cx, dir, name, inode)
    }

    fn rmdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()> {
        namei::rmdir(self, cx, dir, name, inode)
    }

    fn rename(&self, cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        namei::rename(self, cx, rename)
    }

    fn tmpfile(&self, cx: &Context<Self>, dir: &Inode<Self>, new: NewInode<Self>) -> Result<Created> {
        namei::tmpfile(self, cx, dir, new)
    }

    fn iterate(&self, cx: &Context<Self>, dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        namei::iterate(self, cx, dir, pos, entries)
    }

    fn get_parent(&self, cx: &Context<Self>, dir: &Inode<Self>) -> Result<Ino> {
        namei::get_parent(self, cx, dir)
    }

    fn get_link(&self, cx: &Context<Self>, inode: &Inode<Self>, target: &mut LinkTarget) -> Result<()> {
        namei::get_link(self, cx, inode, target)
    }

    fn getxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()> {
        xattr::getxattr(self, cx, inode, name, value)
    }

    fn listxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, names: &mut XattrList) -> Result<()> {
        xattr::listxattr(self, cx, inode, names)
    }

    fn setxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], flags: u32) -> Result<()> {
        xattr::setxattr(self, cx, inode, name, value, flags)
    }

    fn removexattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name) -> Result<()> {
        xattr::removexattr(self, cx, inode, name)
    }

    fn set_acl(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        name: &Name,
        acl: Option<&[u8]>,
        mode: u32,
    ) -> Result<()> {
        xattr::set_acl(self, cx, inode, name, acl, mode)
    }

    fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        node::setattr(self, cx, inode, change)
    }

    fn fileattr_get(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &mut FileAttr) -> Result<()> {
        node::fileattr_get(self, cx, inode, attr)
    }

    fn fileattr_set(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &FileAttr) -> Result<()> {
        node::fileattr_set(self, cx, inode, attr)
    }

    fn fallocate(&self, cx: &Context<Self>, inode: &Inode<Self>, mode: u32, offset: u64, len: u64) -> Result<()> {
        file::fallocate(self, cx, inode, mode, offset, len)
    }

    fn map_extents(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        extents: &mut Extents,
    ) -> Result<()> {
        file::map_extents(self, cx, inode, offset, len, extents)
    }

    fn allocate_extents(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        how: Allocate,
        extents: &mut Extents,
    ) -> Result<()> {
        file::allocate_extents(self, cx, inode, offset, len, how, extents)
    }

    fn convert_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, written: Written) -> Result<()> {
        file::convert_extents(self, cx, inode, written)
    }

    fn trim(&self, cx: &Context<Self>, trim: &mut Trim) -> Result<()> {
        self.trim(cx.device(), trim)
    }
}
