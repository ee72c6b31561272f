// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Extended attributes: in the inode as long as they fit ([`inline`]), else in one block ([`block`]).

mod acl;
mod area;
mod block;
mod inline;

use bento::fs::Credits;
use bento::prelude::*;

use crate::Rext4;
use crate::disk::{Ip, compat, incompat, inode};
use crate::map;
use crate::own;
use crate::txn::Txn;

use area::{Area, Broken, Head, Item};

/// `setxattr`'s flags.
const CREATE: u32 = 1;
const REPLACE: u32 = 2;

/// The inode, a block that is left and one that is taken.
const CHANGE: Credits = Credits { blocks: 3, revokes: 1 };
/// What [`release`] may change.
pub const RELEASE_CREDITS: Credits = Credits { blocks: 2, revokes: 1 };

/// Prefixes have numbers on the disk. ACLs are prefixes with nothing behind them.
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (ACL_ACCESS, b"system.posix_acl_access"),
    (ACL_DEFAULT, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];
const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;

fn is_acl(index: u8) -> bool {
    matches!(index, ACL_ACCESS | ACL_DEFAULT)
}

/// A name as it is stored.
fn split(name: &Name) -> Result<(u8, &[u8])> {
    for (index, prefix) in PREFIXES {
        if let Some(rest) = name.as_bytes().strip_prefix(prefix) {
            return match rest.len() {
                1.. if is_acl(index) => Err(Errno::EOPNOTSUPP),
                256.. => Err(Errno::ERANGE),
                _ => Ok((index, rest)),
            };
        }
    }
    Err(Errno::EOPNOTSUPP)
}

/// A value as it is stored.
fn to_disk(index: u8, value: &[u8]) -> Result<Option<Vec<u8>>> {
    if is_acl(index) { acl::to_disk(value).map(Some) } else { Ok(None) }
}

fn number(inode: &Inode<Rext4>) -> Result<u32> {
    u32::try_from(inode.ino().get()).map_err(|_| Errno::EUCLEAN)
}

fn broken(fs: &Rext4, device: Device<'_>, ip: &Ip, Broken(at): Broken) -> Errno {
    fs.corrupt(device, format_args!("inode {}: bad attributes, at byte {at}", ip.ino))
}

/// The inode's block of attributes; 0 = none.
pub fn block(fs: &Rext4, ip: &Ip) -> Result<u64> {
    block::number(fs, ip)
}

pub fn getxattr<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    inode: &'c Inode<Rext4>,
    name: &Name,
    value: &mut XattrValue,
) -> Result<()> {
    let (index, name) = split(name)?;
    let device = cx.device();
    let _lock = inode.map.lock();
    let ip = fs.ip(device, number(inode)?)?;
    if let Some(area) = inline::area(fs, device, &ip)?
        && let Some(head) = area.find(index, name).map_err(|at| broken(fs, device, &ip, at))?
    {
        return put_value(fs, device, &ip, &area, &head, value);
    }
    if let Some(block) = block::open(fs, device, &ip)? {
        let area = block::area(&block);
        if let Some(head) = area.find(index, name).map_err(|at| broken(fs, device, &ip, at))? {
            return put_value(fs, device, &ip, &area, &head, value);
        }
    }
    Err(Errno::ENODATA)
}

fn put_value(
    fs: &Rext4,
    device: Device<'_>,
    ip: &Ip<'_>,
    area: &Area<'_, '_>,
    head: &Head,
    value: &mut XattrValue,
) -> Result<()> {
    if head.inum != 0 {
        return put_far_value(fs, device, ip, head, value);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(head.value_len)?;
    bytes.resize(head.value_len, 0);
    if !bytes.is_empty() {
        area.read(head.value_at, &mut bytes).map_err(|at| broken(fs, device, ip, at))?;
    }
    if is_acl(head.index) {
        let Some(acl) = acl::from_disk(&bytes)? else {
            return Err(fs.corrupt(device, format_args!("inode {}: an ACL that is none", ip.ino)));
        };
        // One without entries counts as none.
        if acl.len() <= 4 {
            return Err(Errno::ENODATA);
        }
        bytes = acl;
    }
    value.put(&bytes);
    Ok(())
}

/// A large value is the contents of an inode of its own (`ea_inode`).
fn put_far_value(fs: &Rext4, device: Device<'_>, ip: &Ip<'_>, head: &Head, value: &mut XattrValue) -> Result<()> {
    let (ino, inum) = (ip.ino, head.inum);
    let bad = || fs.corrupt(device, format_args!("inode {ino}: an attribute in inode {inum}, which is none"));
    let known = fs.sb.has_incompat(incompat::EA_INODE) && (fs.sb.first_inode..=fs.sb.inodes).contains(&inum);
    if !known || is_acl(head.index) {
        return Err(bad());
    }
    let far = fs.ip(device, inum)?;
    if far.flags()? & inode::FLAG_EA_INODE == 0 || far.len()? != head.value_len as u64 {
        return Err(bad());
    }
    let size = fs.sb.block_size as usize;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size)?;
    bytes.resize(size, 0);
    let mut left = head.value_len;
    for logical in 0..head.value_len.div_ceil(size) as u32 {
        let physical = map::block_of(fs, device, &far, logical)?.ok_or_else(bad)?;
        let part = bytes.get_mut(..left.min(size)).unwrap_or_default();
        device.read(physical)?.read(0, part)?;
        value.put(part);
        left -= part.len();
    }
    Ok(())
}

pub fn listxattr<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    inode: &'c Inode<Rext4>,
    names: &mut XattrList,
) -> Result<()> {
    let device = cx.device();
    let _lock = inode.map.lock();
    let ip = fs.ip(device, number(inode)?)?;
    if let Some(area) = inline::area(fs, device, &ip)? {
        list(&area, names).map_err(|at| broken(fs, device, &ip, at))?;
    }
    if let Some(block) = block::open(fs, device, &ip)? {
        list(&block::area(&block), names).map_err(|at| broken(fs, device, &ip, at))?;
    }
    Ok(())
}

fn list(area: &Area<'_, '_>, names: &mut XattrList) -> Result<(), Broken> {
    let mut whole = [0; 255];
    let mut buffer = [0; 255];
    area.each(|head| {
        // Other prefixes are nobody's who could ask for them.
        let Some((_, prefix)) = PREFIXES.iter().find(|(index, _)| *index == head.index) else { return Ok(None) };
        let name = area.name(head, &mut buffer)?;
        let len = prefix.len() + name.len();
        if let Some(whole) = whole.get_mut(..len) {
            let (before, behind) = whole.split_at_mut(prefix.len());
            before.copy_from_slice(prefix);
            behind.copy_from_slice(name);
            if !own::is(whole) {
                names.add(Name::new(whole));
            }
        }
        Ok(None::<()>)
    })
    .map(|_| ())
}

pub fn setxattr<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    inode: &'c Inode<Rext4>,
    name: &Name,
    value: &[u8],
    flags: u32,
) -> Result<()> {
    if !fs.sb.has_compat(compat::EXT_ATTR) {
        return Err(Errno::EOPNOTSUPP);
    }
    if own::is(name.as_bytes()) {
        return Err(Errno::EPERM);
    }
    let (index, name) = split(name)?;
    let disk = to_disk(index, value)?;
    change(fs, cx, inode, (index, name), Some(disk.as_deref().unwrap_or(value)), flags, |_| ())
}

pub fn removexattr<'c>(fs: &'c Rext4, cx: &'c Context<Rext4>, inode: &'c Inode<Rext4>, name: &Name) -> Result<()> {
    if own::is(name.as_bytes()) {
        return Err(Errno::EPERM);
    }
    change(fs, cx, inode, split(name)?, None, REPLACE, |_| ())
}

/// An ACL, or none, and the mode that goes with it.
pub fn set_acl<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    inode: &'c Inode<Rext4>,
    name: &Name,
    acl: Option<&[u8]>,
    mode: u32,
) -> Result<()> {
    let key = split(name)?;
    if !is_acl(key.0) {
        return Err(Errno::EINVAL);
    }
    if acl.is_some() && !fs.sb.has_compat(compat::EXT_ATTR) {
        return Err(Errno::EOPNOTSUPP);
    }
    let disk = acl.map(acl::to_disk).transpose()?;
    change(fs, cx, inode, key, disk.as_deref(), 0, |attr| attr.mode = attr.mode & !0o7777 | mode & 0o7777)
}

/// Takes an attribute out of a list: was it there?
fn take(items: &mut Vec<Item<'_>>, index: u8, name: &[u8]) -> Result<bool> {
    let Some(at) = items.iter().position(|item| item.index == index && item.name == name) else { return Ok(false) };
    if items.remove(at).elsewhere.is_some() {
        // The inode with its value would have to go as well.
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(true)
}

/// An attribute gets a value, or is removed; what is `also` to change of the inode does so with it.
fn change<'c>(
    fs: &'c Rext4,
    cx: &'c Context<Rext4>,
    inode: &'c Inode<Rext4>,
    (index, name): (u8, &[u8]),
    value: Option<&[u8]>,
    flags: u32,
    also: impl FnOnce(&mut Attr),
) -> Result<()> {
    let device = cx.device();
    let txn = Txn::begin(fs, device, CHANGE)?;
    txn.tx.lock(&inode.map)?;
    let ip = fs.ip(device, number(inode)?)?;
    if block::number(fs, &ip)? != 0 {
        block::lock(&txn)?;
    }
    let near = inline::area(fs, device, &ip)?;
    let near_bytes = near.as_ref().map(Area::copy).transpose()?.unwrap_or_default();
    let far = block::open(fs, device, &ip)?;
    let far_area = far.as_ref().map(block::area);
    let far_bytes = far_area.as_ref().map(Area::copy).transpose()?.unwrap_or_default();
    let items = |area: Option<&Area<'_, '_>>, bytes| match area {
        Some(area) => area.items(bytes)?.map_err(|at| broken(fs, device, &ip, at)),
        None => Ok(Vec::new()),
    };
    let mut near_items = items(near.as_ref(), &near_bytes)?;
    let mut far_items = items(far_area.as_ref(), &far_bytes)?;

    let was_near = take(&mut near_items, index, name)?;
    let was_far = take(&mut far_items, index, name)?;
    let exists = was_near || was_far;
    if exists && flags & CREATE != 0 {
        return Err(Errno::EEXIST);
    }
    if !exists && flags & REPLACE != 0 {
        return Err(Errno::ENODATA);
    }
    let (mut put_near, mut put_far) = (was_near, was_far);
    if let Some(value) = value {
        let item = Item::new(index, name, value);
        near_items.try_reserve(1)?;
        near_items.push(item);
        if area::fit(&near_items, inline::room(fs, device, &ip)?) {
            put_near = true;
        } else {
            near_items.pop();
            far_items.try_reserve(1)?;
            far_items.push(item);
            put_far = true;
        }
    }
    if put_near {
        inline::store(&txn, &ip, &mut near_items)?;
    }
    let more = if put_far { block::store(&txn, &ip, far.as_ref(), &mut far_items)? } else { 0 };
    let now = cx.now();
    let attr = txn.tx.update(inode, |attr| {
        attr.ctime = now;
        also(attr);
        attr.blocks = attr.blocks.saturating_add_signed(i64::from(more) * i64::from(fs.sb.block_size / 512));
    })?;
    txn.store(&ip, &attr)?;
    txn.seal(&ip)?;
    txn.commit()
}

/// Stores what a new inode is born with. So many blocks that took.
pub fn create<'c>(
    txn: &Txn<'c>,
    ip: &Ip<'c>,
    new: &NewInode<Rext4>,
    own: Option<(&'static [u8], Vec<u8>)>,
) -> Result<u32> {
    let mut values = Vec::new();
    // After the others, which are asked for more often.
    let own = own.as_ref().map(|(name, value)| (Name::new(name), value.as_slice()));
    for (name, value) in new.xattrs().chain(own) {
        let (index, name) = split(name)?;
        values.try_reserve(1)?;
        values.push((index, name, value, to_disk(index, value)?));
    }
    if values.is_empty() {
        return Ok(0);
    }
    let room = inline::room(txn.fs, txn.device, ip)?;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    near.try_reserve(values.len())?;
    far.try_reserve(values.len())?;
    for (index, name, value, disk) in &values {
        let item = Item::new(*index, name, disk.as_deref().unwrap_or(value));
        near.push(item);
        if !area::fit(&near, room) {
            near.pop();
            far.push(item);
        }
    }
    if !near.is_empty() {
        inline::store(txn, ip, &mut near)?;
    }
    Ok(block::store(txn, ip, None, &mut far)?.unsigned_abs())
}

/// Gives up the block of attributes of an inode that is being freed: how many blocks less it has.
pub fn release<'c>(txn: &Txn<'c>, ip: &Ip<'c>) -> Result<u32> {
    if block::number(txn.fs, ip)? == 0 {
        return Ok(0);
    }
    block::lock(txn)?;
    let block = block::open(txn.fs, txn.device, ip)?;
    block::release(txn, ip, block.as_ref())
}
