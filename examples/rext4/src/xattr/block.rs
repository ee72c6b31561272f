// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Attributes in a block of their own, which inodes with the same attributes may share: it counts them.

use bento::fs::crc32c;
use bento::prelude::*;

use super::area::{self, Area, Item, MAGIC, Source};
use crate::Rext4;
use crate::check;
use crate::disk::{Ip, incompat, inode};
use crate::txn::{Txn, Use};

/// `struct ext4_xattr_header`: magic, reference count, 1 block, hash, checksum, 12 bytes of zero.
const HEADER: usize = 32;
const REFCOUNT: usize = 4;
const HASH: usize = 12;
const CHECKSUM: usize = 16;

/// The number of an inode's block of attributes; 0 = none.
pub fn number(fs: &Rext4, ip: &Ip<'_>) -> Result<u64> {
    let low: u32 = ip.get(inode::FILE_ACL_LO)?;
    let high: u16 = if fs.sb.has_incompat(incompat::BIT64) { ip.get(inode::FILE_ACL_HI)? } else { 0 };
    Ok(u64::from(low) | u64::from(high) << 32)
}

fn set_number(txn: &Txn, ip: &Ip<'_>, number: u64) -> Result<()> {
    ip.put(txn, inode::FILE_ACL_LO, number as u32)?;
    if txn.fs.sb.has_incompat(incompat::BIT64) {
        ip.put(txn, inode::FILE_ACL_HI, (number >> 32) as u16)?;
    }
    Ok(())
}

/// The block, if the inode has one.
pub fn open<'c>(fs: &Rext4, device: Device<'c>, ip: &Ip<'c>) -> Result<Option<Block<'c>>> {
    let (ino, number) = (ip.ino, number(fs, ip)?);
    if number == 0 {
        return Ok(None);
    }
    let bad = |what| fs.corrupt(device, format_args!("inode {ino}: block {number} of its attributes {what}"));
    if !fs.for_files(number, 1) {
        return Err(bad("is no file's"));
    }
    let block = device.read(number)?;
    if block.get::<u32>(0)? != MAGIC || block.get::<u32>(8)? != 1 || block.get::<u32>(REFCOUNT)? == 0 {
        return Err(bad("has no sane header"));
    }
    let wrong = || Ok((fs.sb.checksums() && block.get::<u32>(CHECKSUM)? != checksum(fs, &block)?).then_some(()));
    check::once(device, &block, wrong, |()| bad("has a wrong checksum"))?;
    Ok(Some(block))
}

fn checksum(fs: &Rext4, block: &Block<'_>) -> Result<u32> {
    let sum = crc32c(fs.sb.seed, &block.number().to_le_bytes());
    let sum = crc32c(block.crc32c(sum, 0, CHECKSUM)?, &[0; 4]);
    block.crc32c(sum, CHECKSUM + 4, block.len() - CHECKSUM - 4)
}

fn seal(txn: &Txn, block: &Block<'_>) -> Result<()> {
    if txn.fs.sb.checksums() { txn.tx.put(block, CHECKSUM, checksum(txn.fs, block)?) } else { Ok(()) }
}

pub fn area<'a, 'c>(block: &'a Block<'c>) -> Area<'a, 'c> {
    Area { source: Source::Block(block), first: HEADER, base: 0, end: block.len() }
}

/// Bytes for entries and values.
pub fn room(fs: &Rext4) -> usize {
    fs.sb.block_size as usize - HEADER
}

/// Keeps others from blocks that two inodes may share, until the transaction has ended.
pub fn lock(txn: &Txn) -> Result<()> {
    txn.tx.lock(&txn.fs.shared_xattrs).map(|_| ())
}

/// Lets these be the attributes in the inode's block, which is `old` now. How many blocks more the inode has.
pub fn store<'c>(txn: &Txn<'c>, ip: &Ip<'c>, old: Option<&Block<'c>>, items: &mut [Item<'_>]) -> Result<i32> {
    if items.is_empty() {
        return Ok(if old.is_some() { -(release(txn, ip, old)? as i32) } else { 0 });
    }
    let (bytes, hash) = area::build(items, room(txn.fs), HEADER)?;
    let alone = match old {
        Some(block) if block.get::<u32>(REFCOUNT)? == 1 => Some(block),
        _ => None,
    };
    let made;
    let block = match alone {
        Some(block) => block,
        None => {
            let (number, _) = txn.allocate(txn.fs.goal(ip.ino), 1, Use::Metadata)?;
            made = txn.tx.fresh(number)?;
            txn.tx.put(&made, 0, MAGIC)?;
            txn.tx.put(&made, REFCOUNT, 1u32)?;
            txn.tx.put(&made, 8, 1u32)?;
            release(txn, ip, old)?;
            set_number(txn, ip, number)?;
            &made
        }
    };
    txn.tx.put(block, HASH, hash)?;
    txn.tx.put_bytes(block, HEADER, &bytes)?;
    seal(txn, block)?;
    Ok(old.is_none().into())
}

/// The inode has no block of attributes any more. How many blocks less it has.
pub fn release<'c>(txn: &Txn<'c>, ip: &Ip<'c>, old: Option<&Block<'c>>) -> Result<u32> {
    let Some(block) = old else { return Ok(0) };
    let users: u32 = block.get(REFCOUNT)?;
    if users > 1 {
        txn.tx.put(block, REFCOUNT, users - 1)?;
        seal(txn, block)?;
    } else {
        txn.free(block.number(), 1, Use::Metadata)?;
    }
    set_number(txn, ip, 0)?;
    Ok(1)
}
