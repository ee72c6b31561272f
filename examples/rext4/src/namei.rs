// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Handlers that give, change and take names, and those that make inodes.
//!
//! Each is one transaction: entries, inodes, blocks and attributes change together. An inode is stored once, at the end.

use bento::prelude::*;

use crate::dir::{ADD_CREDITS, APPEND_CREDITS, Dir};
use crate::disk::{Ip, incompat, inode, ro_compat};
use crate::map;
use crate::own;
use crate::txn::Txn;
use crate::xattr;
use crate::{Node, Rext4};

/// Links an inode may have; a directory with more of them says 1, where that is allowed.
const LINK_MAX: u32 = 65000;

/// A name added: its directory's inode, leaves, index and extent tree.
const NAME: u32 = 1 + ADD_CREDITS + 3 * APPEND_CREDITS;
/// An inode made: itself and a block of attributes.
const INODE: u32 = 2;
/// An inode put on or off the orphan list: itself, its neighbour there.
const ORPHAN: u32 = 2;
const MAKE: u32 = NAME + INODE;
/// One with a first block.
const MAKE_BLOCK: u32 = MAKE + 1 + APPEND_CREDITS;
const REMOVE: u32 = 3 + ORPHAN;
/// Two directories, what moves and its `..`, what is replaced, a whiteout.
const RENAME: u32 = NAME + 3 + 2 + ORPHAN + INODE;

/// Flags that children get from their directory.
const INHERITED: u32 =
    0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x400 | 0x4000 | 0x8000 | 0x10000 | inode::FLAG_PROJINHERIT | 0x0200_0000;
/// Of those, what only directories have: dirsync, topdir, casefold, project inheritance.
const DIRECTORY_ONLY: u32 = 0x10000 | 0x20000 | 0x4000_0000 | inode::FLAG_PROJINHERIT;
/// What all kinds may have: nodump, noatime.
const ANY_KIND: u32 = 0x40 | 0x80;

fn number(inode: &Inode<Rext4>) -> Result<u32> {
    u32::try_from(inode.ino().get()).map_err(|_| Errno::EUCLEAN)
}

fn file_type(ip: &Ip) -> Result<FileType> {
    FileType::from_mode(ip.mode()?.into()).ok_or(Errno::EUCLEAN)
}

impl Rext4 {
    /// The project whose files alone may have names in `dir`, if it is so.
    fn project_rule(&self, dir: &Ip) -> Result<Option<u32>> {
        if self.sb.has_ro_compat(ro_compat::PROJECT) && dir.flags()? & inode::FLAG_PROJINHERIT != 0 {
            return self.project_of(dir).map(Some);
        }
        Ok(None)
    }

    fn project_of(&self, ip: &Ip) -> Result<u32> {
        let has = self.sb.has_ro_compat(ro_compat::PROJECT) && extra_end(ip)? >= inode::PROJID + 4;
        if has { ip.get(inode::PROJID) } else { Ok(0) }
    }

    /// `EXDEV`: `ip` may not have a name in `dir`.
    fn check_project(&self, dir: &Ip, ip: &Ip) -> Result<()> {
        match self.project_rule(dir)? {
            Some(project) if project != self.project_of(ip)? => Err(Errno::EXDEV),
            _ => Ok(()),
        }
    }
}

/// Where the fields of an inode end.
fn extra_end(ip: &Ip) -> Result<usize> {
    if ip.size <= inode::EXTRA_ISIZE {
        return Ok(ip.size);
    }
    Ok(inode::EXTRA_ISIZE + usize::from(ip.get::<u16>(inode::EXTRA_ISIZE)?))
}

/// May `dir` have one more directory in it?
fn check_links(dir: &Dir) -> Result<()> {
    let links: u16 = dir.ip.get(inode::LINKS)?;
    if u32::from(links) >= LINK_MAX && !dir.links_unlimited() { Err(Errno::EMLINK) } else { Ok(()) }
}

/// So many directories more (or less) in a directory.
fn change_links(attr: &mut Attr, more: i32, unlimited: bool) {
    if more > 0 {
        attr.nlink = attr.nlink.saturating_add(1);
        // 1 says that they are not counted; a directory with two links says 2 only when it is new.
        if unlimited && (attr.nlink > LINK_MAX || attr.nlink == 2) {
            attr.nlink = 1;
        }
    } else if more < 0 && attr.nlink > 2 {
        attr.nlink -= 1;
    }
}

/// Stages and stores what has become of a directory.
fn finish_dir(txn: &Txn, dir: &Dir, inode: &Inode<Rext4>, now: Timestamp, links: i32) -> Result<()> {
    let attr = txn.tx.update(inode, |attr| {
        dir.touch(attr, now);
        change_links(attr, links, dir.links_unlimited());
    })?;
    txn.store(dir.ip, &attr)?;
    txn.seal(dir.ip)
}

/// Stages and stores `change` of any inode.
fn finish(txn: &Txn, ip: &Ip, inode: &Inode<Rext4>, change: impl FnOnce(&mut Attr)) -> Result<()> {
    let attr = txn.tx.update(inode, change)?;
    txn.store(ip, &attr)?;
    txn.seal(ip)
}

/// The same for one that loses a name; without one it is an orphan.
fn finish_unlinked<'c>(txn: &Txn<'c>, ip: &Ip<'c>, inode: &Inode<Rext4>, now: Timestamp, all: bool) -> Result<()> {
    let attr = txn.tx.update(inode, |attr| {
        attr.nlink = if all { 0 } else { attr.nlink.saturating_sub(1) };
        attr.ctime = now;
    })?;
    if attr.nlink == 0 {
        txn.orphan_add(ip)?;
    }
    txn.store(ip, &attr)?;
    txn.seal(ip)
}

/// An inode in the making.
struct Made<'call> {
    ip: Ip<'call>,
    project: u32,
    size: u64,
    /// Blocks of the file system that it has.
    blocks: u32,
}

/// Takes a free inode for `new` and fills it, but for its attributes.
fn make<'c>(txn: &Txn<'c>, cx: &Context<Rext4>, dir: &Ip<'c>, new: &NewInode<Rext4>) -> Result<Made<'c>> {
    let kind = new.file_type();
    let ip = txn.allocate_inode(dir.ino, kind == FileType::Directory)?;
    let mask = match kind {
        FileType::Directory => u32::MAX,
        FileType::Regular => !DIRECTORY_ONLY,
        _ => ANY_KIND,
    };
    ip.put(txn, inode::FLAGS, dir.flags()? & INHERITED & mask)?;
    ip.put(txn, inode::GENERATION, new.attr().generation)?;
    if matches!(kind, FileType::Directory | FileType::Regular) {
        begin_map(txn, &ip)?;
    }
    let project = txn.fs.project_rule(dir)?.unwrap_or(0);
    let blocks = xattr::create(txn, &ip, new, own::of_new(txn.fs, cx, kind))?;
    Ok(Made { ip, project, size: 0, blocks })
}

/// Gives an inode a map of blocks.
fn begin_map<'c>(txn: &Txn<'c>, ip: &Ip<'c>) -> Result<()> {
    if txn.fs.sb.has_incompat(incompat::EXTENTS) {
        let flags = ip.flags()?;
        ip.put(txn, inode::FLAGS, flags | inode::FLAG_EXTENTS)?;
    }
    map::init(txn, ip)
}

impl Made<'_> {
    /// Stages and stores its attributes: nothing of it changes any more.
    fn finish(&self, txn: &Txn, new: &NewInode<Rext4>, nlink: u32) -> Result<()> {
        let flags = self.ip.flags()?;
        let sectors = u64::from(txn.fs.sb.block_size / 512);
        let attr = txn.tx.update_new(new, |attr| {
            attr.nlink = nlink;
            attr.flags = flags;
            attr.project = self.project;
            attr.size = self.size;
            attr.blocks = u64::from(self.blocks) * sectors;
        })?;
        txn.store(&self.ip, &attr)?;
        txn.seal(&self.ip)
    }

    fn ino(&self) -> Result<Ino> {
        Ino::new(self.ip.ino.into()).ok_or(Errno::EUCLEAN)
    }
}

/// Makes an inode that `fill` completes, with a name in `dir`.
fn make_named<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    name: &Name,
    new: NewInode<Rext4>,
    credits: u32,
    fill: impl FnOnce(&Txn<'c>, &Dir<'_, 'c>, &mut Made<'c>) -> Result<()>,
) -> Result<Created> {
    let device = cx.device();
    let txn = Txn::begin(fs, device, credits)?;
    let _lock = txn.tx.lock(&dir.map)?;
    let dp = fs.ip(device, number(dir)?)?;
    let mut parent = Dir::new(fs, device, &dp)?;
    let mut made = make(&txn, cx, &dp, &new)?;
    fill(&txn, &parent, &mut made)?;
    let kind = new.file_type();
    parent.add(&txn, name.as_bytes(), made.ip.ino, kind)?;
    let directory = kind == FileType::Directory;
    made.finish(&txn, &new, if directory { 2 } else { 1 })?;
    finish_dir(&txn, &parent, dir, cx.now(), directory.into())?;
    let ino = made.ino()?;
    txn.commit()?;
    Ok(new.assign(ino, Node::default()))
}

pub fn lookup<'c>(fs: &'c Rext4, cx: &'c Context<Rext4>, dir: &'c Inode<Rext4>, name: &Name) -> Result<Ino> {
    let device = cx.device();
    let ip = fs.ip(device, number(dir)?)?;
    let dir = Dir::new(fs, device, &ip)?;
    let found = dir.find(name.as_bytes())?.ok_or(Errno::ENOENT)?;
    let ino = dir.valid(found.ino)?;
    if ino == ip.ino {
        return Err(fs.corrupt(device, format_args!("directory {ino}: {name:?} stands for itself")));
    }
    Ino::new(ino.into()).ok_or(Errno::EUCLEAN)
}

pub fn iterate<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    pos: u64,
    entries: &mut DirEmitter,
) -> Result<()> {
    let device = cx.device();
    let ip = fs.ip(device, number(dir)?)?;
    Dir::new(fs, device, &ip)?.iterate(pos, entries)
}

pub fn get_parent<'c>(fs: &'c Rext4, cx: &'c Context<Rext4>, dir: &'c Inode<Rext4>) -> Result<Ino> {
    let device = cx.device();
    let ip = fs.ip(device, number(dir)?)?;
    let parent = Dir::new(fs, device, &ip)?.parent()?;
    Ino::new(parent.into()).ok_or(Errno::EUCLEAN)
}

pub fn create<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    name: &Name,
    new: NewInode<Rext4>,
) -> Result<Created> {
    make_named(fs, cx, dir, name, new, MAKE, |_, _, _| Ok(()))
}

pub fn mkdir<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    name: &Name,
    new: NewInode<Rext4>,
) -> Result<Created> {
    make_named(fs, cx, dir, name, new, MAKE_BLOCK, |txn, parent, made| {
        check_links(parent)?;
        let mut child = Dir::new(fs, cx.device(), &made.ip)?;
        child.begin(txn, parent.ip.ino)?;
        made.size = fs.sb.block_size.into();
        made.blocks += child.added();
        Ok(())
    })
}

pub fn mknod<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    name: &Name,
    new: NewInode<Rext4>,
) -> Result<Created> {
    let device = (new.file_type(), new.rdev());
    make_named(fs, cx, dir, name, new, MAKE, |txn, _, made| put_device(txn, &made.ip, device))
}

/// A device's numbers stand where other inodes have their blocks: in the old form where that does, else in the new one.
fn put_device(txn: &Txn, ip: &Ip, (kind, (major, minor)): (FileType, (u32, u32))) -> Result<()> {
    if !matches!(kind, FileType::CharDevice | FileType::BlockDevice) {
        return Ok(());
    }
    if major < 256 && minor < 256 {
        ip.put(txn, inode::BLOCK, major << 8 | minor)
    } else {
        ip.put(txn, inode::BLOCK + 4, (minor & 0xff) | major << 8 | (minor & !0xff) << 12)
    }
}

pub fn symlink<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    name: &Name,
    target: &[u8],
    new: NewInode<Rext4>,
) -> Result<Created> {
    // The kernel's ext4 keeps a NUL behind the target.
    if target.len() >= fs.sb.block_size as usize {
        return Err(Errno::ENAMETOOLONG);
    }
    make_named(fs, cx, dir, name, new, MAKE_BLOCK, |txn, _, made| {
        made.size = target.len() as u64;
        if target.len() < inode::BLOCK_LEN {
            return made.ip.put_bytes(txn, inode::BLOCK, target);
        }
        begin_map(txn, &made.ip)?;
        let (physical, used) = map::append(txn, &made.ip, 0)?;
        made.blocks += used;
        txn.tx.put_bytes(&txn.tx.fresh(physical)?, 0, target)
    })
}

/// Does the target of a symbolic link stand in its inode? Then it has no blocks, but perhaps one of attributes.
pub fn is_fast_symlink(fs: &Rext4, ip: &Ip) -> Result<bool> {
    if ip.flags()? & inode::FLAG_EXTENTS != 0 || ip.len()? >= inode::BLOCK_LEN as u64 {
        return Ok(false);
    }
    let blocks: u32 = ip.get(inode::BLOCKS_LO)?;
    let huge = ip.flags()? & inode::FLAG_HUGE_FILE != 0;
    let unit = if huge { 1 } else { fs.sb.block_size / 512 };
    let attributes = if xattr::block(fs, ip)? != 0 { unit } else { 0 };
    Ok(blocks == attributes)
}

pub fn get_link<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    inode: &'c Inode<Rext4>,
    target: &mut LinkTarget,
) -> Result<()> {
    let device = cx.device();
    let ip = fs.ip(device, number(inode)?)?;
    let (ino, len) = (ip.ino, ip.len()?);
    let bad = || fs.corrupt(device, format_args!("symbolic link {ino}: a target of {len} bytes"));
    if is_fast_symlink(fs, &ip)? {
        let mut bytes = [0; inode::BLOCK_LEN];
        let bytes = bytes.get_mut(..len as usize).filter(|bytes| !bytes.is_empty()).ok_or_else(bad)?;
        ip.read(inode::BLOCK, bytes)?;
        return put_target(target, bytes).ok_or_else(bad);
    }
    if len == 0 || len >= u64::from(fs.sb.block_size) {
        return Err(bad());
    }
    let block = device.read(map::block_of(fs, device, &ip, 0)?.ok_or_else(bad)?)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len as usize)?;
    bytes.resize(len as usize, 0);
    block.read(0, &mut bytes)?;
    put_target(target, &bytes).ok_or_else(bad)
}

fn put_target(target: &mut LinkTarget, bytes: &[u8]) -> Option<()> {
    if bytes.contains(&0) {
        return None;
    }
    target.put(bytes);
    Some(())
}

pub fn tmpfile<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    new: NewInode<Rext4>,
) -> Result<Created> {
    let device = cx.device();
    let txn = Txn::begin(fs, device, INODE + ORPHAN)?;
    let dp = fs.ip(device, number(dir)?)?;
    let made = make(&txn, cx, &dp, &new)?;
    txn.orphan_add(&made.ip)?;
    made.finish(&txn, &new, 0)?;
    let ino = made.ino()?;
    txn.commit()?;
    Ok(new.assign(ino, Node::default()))
}

pub fn link<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    inode: &'c Inode<Rext4>,
    dir: &'c Inode<Rext4>,
    name: &Name,
) -> Result<()> {
    let device = cx.device();
    let txn = Txn::begin(fs, device, NAME + 1 + ORPHAN)?;
    let _locks = (txn.tx.lock(&dir.map)?, txn.tx.lock(&inode.map)?);
    let (dp, ip) = (fs.ip(device, number(dir)?)?, fs.ip(device, number(inode)?)?);
    fs.check_project(&dp, &ip)?;
    let links: u16 = ip.get(inode::LINKS)?;
    if u32::from(links) >= LINK_MAX {
        return Err(Errno::EMLINK);
    }
    let mut parent = Dir::new(fs, device, &dp)?;
    parent.add(&txn, name.as_bytes(), ip.ino, file_type(&ip)?)?;
    if links == 0 {
        txn.orphan_remove(&ip)?;
    }
    let now = cx.now();
    finish(&txn, &ip, inode, |attr| {
        attr.nlink += 1;
        attr.ctime = now;
    })?;
    finish_dir(&txn, &parent, dir, now, 0)?;
    txn.commit()
}

pub fn unlink<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    name: &Name,
    inode: &'c Inode<Rext4>,
) -> Result<()> {
    let device = cx.device();
    let txn = Txn::begin(fs, device, REMOVE)?;
    let _locks = (txn.tx.lock(&dir.map)?, txn.tx.lock(&inode.map)?);
    let (dp, ip) = (fs.ip(device, number(dir)?)?, fs.ip(device, number(inode)?)?);
    let parent = Dir::new(fs, device, &dp)?;
    parent.remove(&txn, &parent.find_known(name.as_bytes(), ip.ino)?)?;
    let now = cx.now();
    finish_unlinked(&txn, &ip, inode, now, false)?;
    finish_dir(&txn, &parent, dir, now, 0)?;
    txn.commit()
}

pub fn rmdir<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    dir: &'c Inode<Rext4>,
    name: &Name,
    inode: &'c Inode<Rext4>,
) -> Result<()> {
    let device = cx.device();
    let txn = Txn::begin(fs, device, REMOVE)?;
    let _locks = (txn.tx.lock(&dir.map)?, txn.tx.lock(&inode.map)?);
    let (dp, ip) = (fs.ip(device, number(dir)?)?, fs.ip(device, number(inode)?)?);
    let parent = Dir::new(fs, device, &dp)?;
    let found = parent.find_known(name.as_bytes(), ip.ino)?;
    if !Dir::new(fs, device, &ip)?.is_empty()? {
        return Err(Errno::ENOTEMPTY);
    }
    parent.remove(&txn, &found)?;
    let now = cx.now();
    finish_unlinked(&txn, &ip, inode, now, true)?;
    finish_dir(&txn, &parent, dir, now, -1)?;
    txn.commit()
}

pub fn rename<'c>(fs: &'c Rext4, cx: &'c Context<Rext4>, rename: Rename<'c, Rext4>) -> Result<()> {
    let Rename { old_dir, old_name, inode, new_dir, new_name, target, exchange, whiteout } = rename;
    let (device, now) = (cx.device(), cx.now());
    let same = old_dir.ino() == new_dir.ino();
    let txn = Txn::begin(fs, device, RENAME)?;
    let _lock = txn.tx.lock(&old_dir.map)?;
    if !same {
        txn.tx.lock(&new_dir.map)?;
    }
    txn.tx.lock(&inode.map)?;
    if let Some(target) = target {
        txn.tx.lock(&target.map)?;
    }

    let (op, np) = (fs.ip(device, number(old_dir)?)?, fs.ip(device, number(new_dir)?)?);
    let ip = fs.ip(device, number(inode)?)?;
    let tp = target.map(|target| fs.ip(device, number(target)?)).transpose()?;
    fs.check_project(&np, &ip)?;
    let mut old = Dir::new(fs, device, &op)?;
    // With `same`, there is only `old`.
    let mut new = Dir::new(fs, device, &np)?;
    let kind = file_type(&ip)?;
    let moves_dir = kind == FileType::Directory;
    let found = old.find_known(old_name.as_bytes(), ip.ino)?;
    // What the directories win or lose in directories.
    let (mut old_links, mut new_links) = (0, 0);
    if moves_dir && !same {
        (old_links, new_links) = (-1, 1);
        Dir::new(fs, device, &ip)?.set_parent(&txn, np.ino)?;
    }

    let mut blank = None;
    if let Some(tp) = tp.as_ref() {
        let replaced = file_type(tp)?;
        let place = new.find_known(new_name.as_bytes(), tp.ino)?;
        let target_dir = replaced == FileType::Directory;
        if exchange {
            fs.check_project(&op, tp)?;
            if target_dir && !same {
                (old_links, new_links) = (old_links + 1, new_links - 1);
                Dir::new(fs, device, tp)?.set_parent(&txn, op.ino)?;
            }
            if new_links > 0 {
                check_links(&new)?;
            }
            if old_links > 0 {
                check_links(&old)?;
            }
            old.replace(&txn, &found, tp.ino, replaced)?;
        } else if target_dir {
            if !Dir::new(fs, device, tp)?.is_empty()? {
                return Err(Errno::ENOTEMPTY);
            }
            new_links -= 1;
        }
        new.replace(&txn, &place, ip.ino, kind)?;
    }
    if !exchange {
        if new_links > 0 {
            check_links(&new)?;
        }
        match &whiteout {
            Some(whiteout) => {
                let made = make(&txn, cx, &op, whiteout)?;
                put_device(&txn, &made.ip, (whiteout.file_type(), whiteout.rdev()))?;
                old.replace(&txn, &found, made.ip.ino, whiteout.file_type())?;
                made.finish(&txn, whiteout, 1)?;
                blank = Some(made.ino()?);
            }
            None => old.remove(&txn, &found)?,
        }
        if target.is_none() {
            let into = if same { &mut old } else { &mut new };
            into.add(&txn, new_name.as_bytes(), ip.ino, kind)?;
        }
    }

    if let (Some(target), Some(tp)) = (target, tp.as_ref()) {
        if exchange {
            finish(&txn, tp, target, |attr| attr.ctime = now)?;
        } else {
            finish_unlinked(&txn, tp, target, now, file_type(tp)? == FileType::Directory)?;
        }
    }
    finish(&txn, &ip, inode, |attr| attr.ctime = now)?;
    if same {
        finish_dir(&txn, &old, old_dir, now, old_links + new_links)?;
    } else {
        finish_dir(&txn, &old, old_dir, now, old_links)?;
        finish_dir(&txn, &new, new_dir, now, new_links)?;
    }
    txn.commit()?;
    if let (Some(whiteout), Some(ino)) = (whiteout, blank) {
        let _ = whiteout.assign(ino, Node::default());
    }
    Ok(())
}
