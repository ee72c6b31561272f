// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Attributes in the inode itself, behind the fields it has.

use bento::prelude::*;

use super::area::{self, Area, Item, MAGIC, Source};
use crate::Rext4;
use crate::disk::{Ip, inode};
use crate::txn::Txn;

/// Of the magic number before the entries.
const HEADER: usize = 4;

/// Where they begin: `None` when the inode has no room for any.
fn start(fs: &Rext4, device: Device<'_>, ip: &Ip<'_>) -> Result<Option<usize>> {
    if ip.size <= inode::EXTRA_ISIZE {
        return Ok(None);
    }
    let extra = usize::from(ip.get::<u16>(inode::EXTRA_ISIZE)?);
    let start = inode::EXTRA_ISIZE + extra;
    if extra % 4 != 0 || start > ip.size {
        let ino = ip.ino;
        return Err(fs.corrupt(device, format_args!("inode {ino}: i_extra_isize is {extra}")));
    }
    // 0: an inode of old, whose end nobody has ever cleared.
    Ok((extra > 0 && start + HEADER + 4 <= ip.size).then_some(start))
}

/// The attributes in the inode, if there are any.
pub fn area<'a, 'c>(fs: &Rext4, device: Device<'_>, ip: &'a Ip<'c>) -> Result<Option<Area<'a, 'c>>> {
    let Some(start) = start(fs, device, ip)? else { return Ok(None) };
    if ip.get::<u32>(start)? != MAGIC {
        return Ok(None);
    }
    let first = start + HEADER;
    Ok(Some(Area { source: Source::Inode(ip), first, base: first, end: ip.size }))
}

/// Bytes for entries and values.
pub fn room(fs: &Rext4, device: Device<'_>, ip: &Ip<'_>) -> Result<usize> {
    Ok(start(fs, device, ip)?.map_or(0, |start| ip.size - start - HEADER))
}

/// Lets these be the attributes in the inode. They fit.
pub fn store<'c>(txn: &Txn<'c>, ip: &Ip<'c>, items: &mut [Item<'_>]) -> Result<()> {
    let Some(start) = start(txn.fs, txn.device, ip)? else { return Err(Errno::ENOSPC) };
    let (bytes, _) = area::build(items, ip.size - start - HEADER, 0)?;
    ip.put(txn, start, if items.is_empty() { 0 } else { MAGIC })?;
    ip.put_bytes(txn, start + HEADER, &bytes)
}
