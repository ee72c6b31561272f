// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where files lie that the file system itself needs whole: the journal and the orphan file. Read before anything else
//! works, so nothing here takes a lock or remembers anything.

use bento::fs::JournalRun;
use bento::prelude::*;

use crate::Rext4;
use crate::disk::{Ip, inode};

const EXTENT_MAGIC: u16 = 0xf30a;
/// Of extent nodes' header, and of each entry.
const ENTRY: usize = 12;

/// The journal's blocks.
pub fn runs(fs: &Rext4, device: Device<'_>) -> Result<Vec<JournalRun>> {
    runs_of(fs, device, fs.sb.journal_inode, "journal")
}

/// The blocks of a file without holes.
pub fn runs_of(fs: &Rext4, device: Device<'_>, ino: u32, what: &str) -> Result<Vec<JournalRun>> {
    let bad = |why: core::fmt::Arguments<'_>| fs.corrupt(device, format_args!("the {what} (inode {ino}): {why}"));
    let ip = fs.ip(device, ino)?;
    if !ip.is_sound(&fs.sb)? {
        return Err(bad(format_args!("the checksum is wrong")));
    }
    if FileType::from_mode(ip.mode()?.into()) != Some(FileType::Regular) || ip.get::<u16>(inode::LINKS)? == 0 {
        return Err(bad(format_args!("not a file")));
    }
    let blocks = ip.len()? / u64::from(fs.sb.block_size);
    if blocks == 0 || blocks > fs.sb.blocks {
        return Err(bad(format_args!("{blocks} blocks")));
    }
    let extents = ip.flags()? & inode::FLAG_EXTENTS != 0;
    let mut runs: Vec<JournalRun> = Vec::new();
    let mut logical = 0;
    while logical < blocks {
        let found = if extents { extent(fs, device, &ip, logical)? } else { indirect(fs, device, &ip, logical)? };
        let Some((physical, count)) = found else { return Err(bad(format_args!("a hole at block {logical}"))) };
        let count = count.min(blocks - logical);
        if !fs.sb.holds(physical, count) {
            return Err(bad(format_args!("block {logical} lies at {physical}")));
        }
        match runs.last_mut() {
            Some(last) if last.physical + last.count == physical => last.count += count,
            _ => {
                runs.try_reserve(1)?;
                runs.push(JournalRun { logical, physical, count });
            }
        }
        logical += count;
    }
    Ok(runs)
}

/// The fields of a node of the tree: the root in the inode, others in blocks.
enum Node<'a, 'call> {
    Root(&'a Ip<'call>),
    Block(Block<'call>),
}

impl Node<'_, '_> {
    fn u16(&self, at: usize) -> Result<u16> {
        match self {
            Node::Root(ip) => ip.get(inode::BLOCK + at),
            Node::Block(block) => block.get(at),
        }
    }

    fn u32(&self, at: usize) -> Result<u32> {
        match self {
            Node::Root(ip) => ip.get(inode::BLOCK + at),
            Node::Block(block) => block.get(at),
        }
    }
}

/// The extent with block `logical`: where that block lies, and how many follow it there.
fn extent(fs: &Rext4, device: Device<'_>, ip: &Ip<'_>, logical: u64) -> Result<Option<(u64, u64)>> {
    let bad = || fs.corrupt(device, format_args!("inode {}: a bad extent tree", ip.ino));
    let mut node = Node::Root(ip);
    let mut above = 6;
    loop {
        let (entries, depth) = (node.u16(2)?, node.u16(6)?);
        if node.u16(0)? != EXTENT_MAGIC || depth >= above || depth > 5 {
            return Err(bad());
        }
        // The last entry that does not begin behind it.
        let mut found = None;
        for entry in 1..=usize::from(entries) {
            if u64::from(node.u32(entry * ENTRY)?) > logical {
                break;
            }
            found = Some(entry * ENTRY);
        }
        let Some(at) = found else { return Ok(None) };
        if depth == 0 {
            let (first, len) = (u64::from(node.u32(at)?), u64::from(node.u16(at + 4)?));
            let physical = u64::from(node.u32(at + 8)?) | u64::from(node.u16(at + 6)?) << 32;
            // Longer ones are unwritten: no blocks of a journal.
            if len > 1 << 15 || logical >= first + len {
                return Ok(None);
            }
            return Ok(Some((physical + (logical - first), first + len - logical)));
        }
        let next = u64::from(node.u32(at + 4)?) | u64::from(node.u16(at + 8)?) << 32;
        if !fs.sb.holds(next, 1) {
            return Err(bad());
        }
        above = depth;
        node = Node::Block(device.read(next)?);
    }
}

/// The same by block numbers, one at a time.
fn indirect(fs: &Rext4, device: Device<'_>, ip: &Ip<'_>, logical: u64) -> Result<Option<(u64, u64)>> {
    let per = u64::from(fs.sb.block_size / 4);
    let mut rest = logical;
    if rest < 12 {
        let physical: u32 = ip.get(inode::BLOCK + rest as usize * 4)?;
        return Ok((physical != 0).then_some((physical.into(), 1)));
    }
    rest -= 12;
    let mut reach = per;
    for level in 0..3 {
        if rest < reach {
            let mut physical: u32 = ip.get(inode::BLOCK + (12 + level) * 4)?;
            for _ in 0..=level {
                if physical == 0 {
                    return Ok(None);
                }
                if !fs.sb.holds(physical.into(), 1) {
                    let ino = ip.ino;
                    return Err(fs.corrupt(device, format_args!("inode {ino}: an indirect block at {physical}")));
                }
                reach /= per;
                physical = device.read(physical.into())?.get((rest / reach) as usize * 4)?;
                rest %= reach;
            }
            return Ok((physical != 0).then_some((physical.into(), 1)));
        }
        rest -= reach;
        reach = reach.saturating_mul(per);
    }
    Ok(None)
}
