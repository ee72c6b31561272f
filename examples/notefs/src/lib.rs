// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sixteen files on a device, each with its place: what a disk file system needs and no more.
//!
//! Blocks of 4 KiB. Block 0 says `notefs`. Block 1 + n is the header of file n: its size, its times, and a bitmap of
//! those of its 256 blocks that hold data. The blocks themselves follow, file after file.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;

use bento::fs::{Allocate, Extent, Extents, Space, Written};
use bento::prelude::*;

// ANCHOR: layout
pub const MAGIC: &[u8; 8] = b"notefs 1";
pub const FILES: u64 = 16;
pub const BLOCK: u64 = 4096;
/// Of each file.
pub const BLOCKS: u64 = 256;
/// Of the device.
pub const SIZE: u64 = (1 + FILES + FILES * BLOCKS) * BLOCK;

/// In a header: bytes from its start.
const LENGTH: usize = 0;
const SECONDS: usize = 8;
const NANOSECONDS: usize = 16;
const BITMAP: usize = 64;
// ANCHOR_END: layout

// ANCHOR: struct
#[bento_fs(name = "notefs", version = 1, data = "extents", on_panic = "restart")]
pub struct NoteFs {
    /// Held by whoever changes headers.
    #[state(skip)]
    headers: Mutex<()>,
}
// ANCHOR_END: struct

/// Nothing is kept of an inode.
#[derive(State)]
#[state(reload)]
pub struct Loaded;

/// The header of a file.
fn header(ino: Ino) -> Result<u64> {
    // Number 1 is the root, and header 1 is that of file 0.
    ino.get().checked_sub(1).filter(|n| (1..=FILES).contains(n)).ok_or(Errno::ESTALE)
}

impl NoteFs {
    // ANCHOR: store
    /// Puts size and times into the header.
    fn store(&self, tx: &Transaction<'_>, header: &Block<'_>, attr: &Attr) -> Result<()> {
        tx.put(header, LENGTH, attr.disk_size)?;
        tx.put(header, SECONDS, attr.mtime.sec as u64)?;
        tx.put(header, NANOSECONDS, attr.mtime.nsec)
    }
    // ANCHOR_END: store

    // ANCHOR: find
    /// Says where `offset..offset + len` lies: a run of blocks with data, then one without, and so on.
    fn find(&self, header: &Block<'_>, offset: u64, len: u64, new: bool, extents: &mut Extents) -> Result<()> {
        let first = 1 + FILES + (header.number() - 1) * BLOCKS;
        let (mut block, end) = (offset / BLOCK, (offset + len).div_ceil(BLOCK).min(BLOCKS));
        while block < end && extents.has_room() {
            let bit = BITMAP * 8 + block as usize;
            let data = header.find_bit(true, bit, bit + 1).is_some();
            let next = header.find_bit(!data, bit, BITMAP * 8 + end as usize);
            let until = next.map_or(end, |next| (next - BITMAP * 8) as u64);
            let (offset, len, addr) = (block * BLOCK, (until - block) * BLOCK, (first + block) * BLOCK);
            extents.push(match data {
                true => Extent::Mapped { offset, len, addr, new: false },
                false => Extent::Unwritten { offset, len, addr, new },
            })?;
            block = until;
        }
        Ok(())
    }
    // ANCHOR_END: find
}

#[bento_fs]
impl FileSystem for NoteFs {
    type Inode = Loaded;

    // ANCHOR: mount
    fn mount(cx: &MountContext) -> Result<Self> {
        cx.set_block_size(BLOCK as u32)?;
        let device = cx.device();
        if device.size() < SIZE || !device.read(0)?.equals(0, MAGIC) {
            return Err(
                cx.refuse(format_args!("this is no notefs: make one with 17 blocks of zeroes, `notefs 1` first"))
            );
        }
        cx.set_max_file_size(BLOCKS * BLOCK);
        // Every file has its blocks already, so there is nothing to run out of.
        cx.set_space(&Space { free: FILES * BLOCKS, ..Space::default() });
        Ok(NoteFs { headers: Mutex::new(()) })
    }

    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Loaded)> {
        if ino == Ino::ROOT {
            return Ok((Attr::directory(0o755), Loaded));
        }
        let header = cx.device().read(header(ino)?)?;
        // Whatever is on the device is only a number: it is looked at before it is believed.
        let size = header.get::<u64>(LENGTH)?;
        if size > BLOCKS * BLOCK {
            cx.log(format_args!("the header in block {} has a size of {size} bytes", header.number()));
            return Err(Errno::EUCLEAN);
        }
        let (sec, nsec) = (header.get::<u64>(SECONDS)? as i64, header.get::<u32>(NANOSECONDS)?.min(999_999_999));
        Ok((Attr::file(0o644, size).at(Timestamp { sec, nsec }), Loaded))
    }
    // ANCHOR_END: mount

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        let number = core::str::from_utf8(name.as_bytes()).ok().and_then(|name| name.parse::<u64>().ok());
        let number = number.filter(|number| *number < FILES && format!("{number}").as_bytes() == name.as_bytes());
        number.and_then(|number| Ino::new(number + 2)).ok_or(Errno::ENOENT)
    }

    fn iterate(&self, _cx: &Context<Self>, _dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        for number in pos..FILES {
            let (name, ino) = (format!("{number}"), Ino::new(number + 2).ok_or(Errno::EIO)?);
            if !entries.emit(Name::new(name.as_bytes()), ino, FileType::Regular, number + 1) {
                break;
            }
        }
        Ok(())
    }

    // ANCHOR: setattr
    fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        if change.mode().is_some() || change.uid().is_some() || change.gid().is_some() {
            return Err(Errno::EPERM);
        }
        let header = cx.device().read(header(inode.ino())?)?;
        let tx = cx.begin(1)?;
        let _headers = tx.lock(&self.headers)?;
        let attr = tx.update(inode, |attr| {
            attr.size = change.size().unwrap_or(attr.size);
            attr.atime = change.atime().unwrap_or(attr.atime);
            attr.mtime = change.mtime().unwrap_or(attr.mtime);
            attr.ctime = change.ctime().unwrap_or(attr.ctime);
        })?;
        if let Some(size) = change.size() {
            // What lies behind the end is no data any more, should the file grow again.
            let keep = size.div_ceil(BLOCK).min(BLOCKS);
            tx.put_bits(&header, BITMAP * 8 + keep as usize, (BLOCKS - keep) as usize, false)?;
        }
        self.store(&tx, &header, &attr)?;
        tx.commit()
    }
    // ANCHOR_END: setattr

    // ANCHOR: write_inode
    fn write_inode(&self, cx: &Context<Self>, inode: &Inode<Self>, _wait: bool) -> Result<()> {
        if inode.ino() == Ino::ROOT {
            return Ok(());
        }
        let header = cx.device().read(header(inode.ino())?)?;
        let tx = cx.begin(1)?;
        let _headers = tx.lock(&self.headers)?;
        self.store(&tx, &header, &inode.attr())?;
        tx.commit()
    }
    // ANCHOR_END: write_inode

    // ANCHOR: extents
    fn map_extents(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        extents: &mut Extents,
    ) -> Result<()> {
        let header = cx.device().read(header(inode.ino())?)?;
        self.find(&header, offset, len, false, extents)?;
        // The rest is a hole.
        let end = (BLOCKS * BLOCK).max(offset);
        if end < offset + len && extents.has_room() {
            extents.push(Extent::Hole { offset: end, len: offset + len - end })?;
        }
        Ok(())
    }

    fn allocate_extents(
        &self,
        cx: &Context<Self>,
        inode: &Inode<Self>,
        offset: u64,
        len: u64,
        _how: Allocate,
        extents: &mut Extents,
    ) -> Result<()> {
        if offset >= BLOCKS * BLOCK {
            return Err(Errno::EFBIG);
        }
        let header = cx.device().read(header(inode.ino())?)?;
        self.find(&header, offset, len, true, extents)
    }

    fn convert_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, written: Written) -> Result<()> {
        let header = cx.device().read(header(inode.ino())?)?;
        let tx = cx.begin(1)?;
        let _headers = tx.lock(&self.headers)?;
        let (first, count) = (written.offset / BLOCK, written.len / BLOCK);
        tx.put_bits(&header, BITMAP * 8 + first as usize, count as usize, true)?;
        tx.commit()
    }
    // ANCHOR_END: extents
}
