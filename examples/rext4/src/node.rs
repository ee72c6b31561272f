// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Inodes between their table and the VFS.

use bento::fs::{Credits, Field};
use bento::prelude::*;

use crate::disk::{Ip, inode, ro_compat, superblock as sb};
use crate::txn::Txn;
use crate::{Rext4, file, map, namei, xattr};

/// What is kept of a cached inode.
#[derive(State)]
#[state(reload)]
pub struct Node {
    /// Held by whoever reads or changes the inode's bytes in its table, its extent tree or its attributes, where the VFS's
    /// lock of the inode does not do. What is inside are hints.
    pub map: Mutex<map::Hints>,
}

impl Default for Node {
    /// A panic leaves no doubt: the bytes are undone before the lock is let go, and hints can be had again.
    fn default() -> Self {
        Node { map: Mutex::mending(map::Hints::default(), |hints| *hints = map::Hints::default()) }
    }
}

/// Seconds of a time that has only 32 bits go from 1901 to 2038; two more bits say how often to go round.
fn split(time: Timestamp) -> (u32, u32) {
    let low = time.sec as i32;
    let epoch = ((time.sec - i64::from(low)) >> 32) as u32 & 3;
    (low as u32, time.nsec << 2 | epoch)
}

fn join(low: u32, extra: u32) -> Timestamp {
    let sec = i64::from(low as i32) + (i64::from(extra & 3) << 32);
    // Nanoseconds come from the disk.
    Timestamp { sec, nsec: (extra >> 2).min(999_999_999) }
}

/// A time without the extra bits.
fn clamped(time: Timestamp) -> u32 {
    time.sec.clamp(i32::MIN.into(), i32::MAX.into()) as i32 as u32
}

/// Device numbers as Linux has kept them: 8 bits each in the first word, or 12 and 20 in the second.
fn decode_device(old: u32, new: u32) -> (u32, u32) {
    if old != 0 {
        return (old >> 8 & 0xff, old & 0xff);
    }
    (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00)
}

fn encode_device((major, minor): (u32, u32)) -> (u32, u32) {
    if major < 256 && minor < 256 {
        return (major << 8 | minor, 0);
    }
    (0, minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> u32 {
    let half = bytes.get(at..at + 2).and_then(|half| half.try_into().ok());
    half.map_or(0, |half| u16::from_le_bytes(half).into())
}

fn set<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}

/// How far the times in the extra part reach.
const EXTRA_TIMES_END: usize = inode::CRTIME_EXTRA + 4;

/// Writes attributes into the inode.
pub fn store(txn: &Txn, ip: &Ip<'_>, attr: &Attr) -> Result<()> {
    let fs = txn.fs;
    let wide = ip.extends_to(EXTRA_TIMES_END);
    let second = |time| if wide { split(time).0 } else { clamped(time) };
    let links = u16::try_from(attr.nlink).map_err(|_| Errno::EMLINK)?;
    // The flags that are ours stay as they are: who shapes the inode sets them.
    let old: u32 = ip.get(inode::FLAGS)?;
    let mut flags = old & !inode::FLAGS_SETTABLE | attr.flags & (inode::FLAGS_SETTABLE | inode::FLAG_INDEX);
    let blocks = encode_blocks(fs, attr.blocks, &mut flags)?;

    // Blocks may have come to the file with a size that the shim has not seen reached yet; only a cut takes it back.
    let size = attr.disk_size.max(ip.len()?).min(attr.size);

    // Not in one piece: between these lies the link of the orphan list, which may change at the same time.
    let mut first = [0; inode::DTIME];
    set(&mut first, inode::MODE, (attr.mode as u16).to_le_bytes());
    set(&mut first, inode::UID, (attr.uid as u16).to_le_bytes());
    set(&mut first, inode::SIZE_LO, (size as u32).to_le_bytes());
    set(&mut first, inode::ATIME, second(attr.atime).to_le_bytes());
    set(&mut first, inode::CTIME, second(attr.ctime).to_le_bytes());
    set(&mut first, inode::MTIME, second(attr.mtime).to_le_bytes());
    put_if_new(txn, ip, 0, first)?;
    let mut second_part = [0; 12];
    set(&mut second_part, 0, (attr.gid as u16).to_le_bytes());
    set(&mut second_part, inode::LINKS - inode::GID, links.to_le_bytes());
    set(&mut second_part, inode::BLOCKS_LO - inode::GID, (blocks as u32).to_le_bytes());
    set(&mut second_part, inode::FLAGS - inode::GID, flags.to_le_bytes());
    put_if_new(txn, ip, inode::GID, second_part)?;
    put_if_new(txn, ip, inode::SIZE_HI, (size >> 32) as u32)?;
    put_if_new(txn, ip, inode::BLOCKS_HI, (blocks >> 32) as u16)?;
    put_if_new(txn, ip, inode::UID_HI, attr.uid >> 16 | attr.gid & 0xffff_0000)?;
    put_if_new(txn, ip, inode::GENERATION, attr.generation)?;
    if let Some(FileType::CharDevice | FileType::BlockDevice) = attr.file_type() {
        let (old, new) = encode_device(attr.rdev);
        put_if_new(txn, ip, inode::BLOCK, old)?;
        put_if_new(txn, ip, inode::BLOCK + 4, new)?;
    }
    if wide {
        let mut extra = [0; EXTRA_TIMES_END - inode::CTIME_EXTRA];
        let birth = split(attr.btime);
        let mut put = |at: usize, word: u32| set(&mut extra, at - inode::CTIME_EXTRA, word.to_le_bytes());
        put(inode::CTIME_EXTRA, split(attr.ctime).1);
        put(inode::MTIME_EXTRA, split(attr.mtime).1);
        put(inode::ATIME_EXTRA, split(attr.atime).1);
        put(inode::CRTIME, birth.0);
        put(inode::CRTIME_EXTRA, birth.1);
        put_if_new(txn, ip, inode::CTIME_EXTRA, extra)?;
    }
    if fs.sb.has_ro_compat(ro_compat::PROJECT) && ip.extends_to(inode::PROJID + 4) {
        put_if_new(txn, ip, inode::PROJID, attr.project)?;
    }
    if attr.disk_size > 0x7fff_ffff && attr.file_type() == Some(FileType::Regular) {
        txn.need_large_file()?;
    }
    Ok(())
}

fn put_if_new<T: Field + PartialEq>(txn: &Txn, ip: &Ip<'_>, at: usize, value: T) -> Result<()> {
    if ip.get::<T>(at)? == value { Ok(()) } else { ip.put(txn, at, value) }
}

/// `i_blocks` with its upper half from `blocks` of 512 bytes; sets or clears [`inode::FLAG_HUGE_FILE`].
fn encode_blocks(fs: &Rext4, blocks: u64, flags: &mut u32) -> Result<u64> {
    *flags &= !inode::FLAG_HUGE_FILE;
    if blocks <= u32::MAX.into() {
        return Ok(blocks);
    }
    if !fs.sb.has_ro_compat(ro_compat::HUGE_FILE) {
        return Err(Errno::EFBIG);
    }
    if blocks < 1 << 48 {
        return Ok(blocks);
    }
    *flags |= inode::FLAG_HUGE_FILE;
    Ok(blocks / u64::from(fs.sb.block_size / 512))
}

impl Txn<'_> {
    /// The first file beyond 2 GiB: a feature names them.
    fn need_large_file(&self) -> Result<()> {
        if self.fs.sb.has_ro_compat(ro_compat::LARGE_FILE) {
            return Ok(());
        }
        let block = self.fs.super_block(self.device)?;
        let features: u32 = block.get(self.fs.sb.super_at(sb::RO_COMPAT))?;
        if features & ro_compat::LARGE_FILE != 0 {
            return Ok(());
        }
        if block.get::<u32>(self.fs.sb.super_at(sb::REVISION))? == 0 {
            return Err(Errno::EFBIG); // it has no features
        }
        self.lock_orphans()?;
        self.put_super(&block, sb::RO_COMPAT, features | ro_compat::LARGE_FILE)
    }
}

impl Rext4 {
    /// The attributes of an inode on the disk.
    pub fn attr(&self, device: Device<'_>, ip: &Ip<'_>) -> Result<Attr> {
        let ino = ip.ino;
        let mut bytes = [0; 160];
        let len = ip.size.min(bytes.len());
        ip.read(0, bytes.get_mut(..len).unwrap_or_default())?;
        let mode = half(&bytes, inode::MODE);
        let Some(file_type) = FileType::from_mode(mode) else {
            return Err(self.corrupt(device, format_args!("inode {ino}: mode {mode:o} is of no type of file")));
        };
        let extra = half(&bytes, inode::EXTRA_ISIZE) as usize;
        if ip.size > inode::EXTRA_ISIZE && (extra > ip.size - inode::EXTRA_ISIZE || !extra.is_multiple_of(4)) {
            let what = format_args!("inode {ino}: an extra part of {extra} bytes in an inode of {}", ip.size);
            return Err(self.corrupt(device, what));
        }
        let reach = |at: usize| ip.size > inode::EXTRA_ISIZE && at + 4 <= inode::EXTRA_ISIZE + extra;
        let time = |at: usize, more: usize| join(word(&bytes, at), if reach(more) { word(&bytes, more) } else { 0 });

        let flags = word(&bytes, inode::FLAGS);
        let mut size = u64::from(word(&bytes, inode::SIZE_LO));
        if matches!(file_type, FileType::Regular | FileType::Directory) {
            size |= u64::from(word(&bytes, inode::SIZE_HI)) << 32;
        }
        if size > i64::MAX as u64 || file_type == FileType::Symlink && size >= self.sb.block_size.into() {
            return Err(self.corrupt(device, format_args!("inode {ino}: a size of {size} bytes")));
        }
        let mut blocks = u64::from(word(&bytes, inode::BLOCKS_LO));
        if self.sb.has_ro_compat(ro_compat::HUGE_FILE) {
            blocks |= u64::from(half(&bytes, inode::BLOCKS_HI)) << 32;
            if flags & inode::FLAG_HUGE_FILE != 0 {
                blocks *= u64::from(self.sb.block_size / 512);
            }
        }
        let device_numbers = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        let rdev = match device_numbers {
            true => decode_device(word(&bytes, inode::BLOCK), word(&bytes, inode::BLOCK + 4)),
            false => (0, 0),
        };
        let project = self.sb.has_ro_compat(ro_compat::PROJECT) && reach(inode::PROJID);
        Ok(Attr {
            mode,
            nlink: half(&bytes, inode::LINKS),
            uid: half(&bytes, inode::UID) | half(&bytes, inode::UID_HI) << 16,
            gid: half(&bytes, inode::GID) | half(&bytes, inode::GID_HI) << 16,
            size,
            blocks,
            atime: time(inode::ATIME, inode::ATIME_EXTRA),
            mtime: time(inode::MTIME, inode::MTIME_EXTRA),
            ctime: time(inode::CTIME, inode::CTIME_EXTRA),
            btime: if reach(inode::CRTIME) {
                let more = if reach(inode::CRTIME_EXTRA) { word(&bytes, inode::CRTIME_EXTRA) } else { 0 };
                join(word(&bytes, inode::CRTIME), more)
            } else {
                Timestamp::default()
            },
            rdev,
            generation: word(&bytes, inode::GENERATION),
            flags: flags & inode::FLAGS_VISIBLE,
            disk_size: size,
            project: if project { word(&bytes, inode::PROJID) } else { 0 },
        })
    }

    /// The inode `ino`, its checksum verified and its features among those we know.
    pub fn sound_ip<'call>(&self, device: Device<'call>, ino: u32) -> Result<Ip<'call>> {
        let ip = self.ip(device, ino)?;
        if !ip.is_sound(&self.sb)? {
            return Err(self.corrupt(device, format_args!("inode {ino}: the checksum is wrong")));
        }
        let flags = ip.flags()?;
        if flags & (inode::FLAG_INLINE_DATA | inode::FLAG_EA_INODE) != 0 {
            let what = format_args!("inode {ino}: flags {flags:#x} need a feature the superblock does not name");
            return Err(self.corrupt(device, what));
        }
        if flags & inode::FLAG_VERITY != 0 {
            // What is read would have to be verified.
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(ip)
    }
}

pub fn load_inode(fs: &Rext4, cx: &Context<Rext4>, ino: Ino) -> Result<(Attr, Node)> {
    let device = cx.device();
    let number = u32::try_from(ino.get()).map_err(|_| Errno::ESTALE)?;
    // The root is the only one of the reserved inodes with a name; file handles may ask for any.
    if number > fs.sb.inodes || number < fs.sb.first_inode && number != inode::ROOT {
        return Err(Errno::ESTALE);
    }
    let ip = fs.sound_ip(device, number)?;
    let links: u16 = ip.get(inode::LINKS)?;
    if links == 0 && (ip.mode()? == 0 || !fs.orphans.has(number)) {
        return Err(Errno::ESTALE);
    }
    let attr = fs.attr(device, &ip)?;
    if number == inode::ROOT && attr.file_type() != Some(FileType::Directory) {
        return Err(fs.corrupt(device, format_args!("the root is not a directory")));
    }
    Ok((attr, Node::default()))
}

/// A change of an inode's attributes alone.
fn change<'call>(
    fs: &'call Rext4,
    cx: &'call Context<Rext4>,
    inode: &'call Inode<Rext4>,
    what: impl FnOnce(&mut Attr),
    prepare: impl FnOnce(&Txn, &Ip<'_>) -> Result<()>,
) -> Result<()> {
    let txn = Txn::begin(fs, cx.device(), 1)?;
    let _map = txn.tx.lock(&inode.map)?;
    let ip = fs.ip(cx.device(), number(inode))?;
    prepare(&txn, &ip)?;
    let attr = txn.tx.update(inode, what)?;
    txn.store(&ip, &attr)?;
    txn.seal(&ip)?;
    txn.commit()
}

/// Inode numbers have 32 bits here.
pub fn number(inode: &Inode<Rext4>) -> u32 {
    inode.ino().get() as u32
}

pub fn write_inode(fs: &Rext4, cx: &Context<Rext4>, inode: &Inode<Rext4>) -> Result<()> {
    change(fs, cx, inode, |_| {}, |_, _| Ok(()))
}

pub fn setattr(fs: &Rext4, cx: &Context<Rext4>, inode: &Inode<Rext4>, wanted: &SetAttr) -> Result<()> {
    if let Some(size) = wanted.size() {
        return file::set_size(fs, cx, inode, size, |attr| apply(attr, wanted));
    }
    change(fs, cx, inode, |attr| apply(attr, wanted), |_, _| Ok(()))
}

/// What a `setattr` asks for, but for the size.
pub fn apply(attr: &mut Attr, wanted: &SetAttr) {
    if let Some(mode) = wanted.mode() {
        attr.mode = attr.mode & !0o7777 | mode & 0o7777;
    }
    attr.uid = wanted.uid().unwrap_or(attr.uid);
    attr.gid = wanted.gid().unwrap_or(attr.gid);
    attr.atime = wanted.atime().unwrap_or(attr.atime);
    attr.mtime = wanted.mtime().unwrap_or(attr.mtime);
    attr.ctime = wanted.ctime().unwrap_or(attr.ctime);
}

pub fn fileattr_get(fs: &Rext4, cx: &Context<Rext4>, inode: &Inode<Rext4>, file: &mut FileAttr) -> Result<()> {
    file.flags = fs.ip(cx.device(), number(inode))?.flags()? & inode::FLAGS_VISIBLE;
    file.project = inode.attr().project;
    Ok(())
}

pub fn fileattr_set(fs: &Rext4, cx: &Context<Rext4>, inode: &Inode<Rext4>, file: &FileAttr) -> Result<()> {
    let old = inode.attr();
    let on_disk = fs.ip(cx.device(), number(inode))?.flags()?;
    // How an inode is built is not for `chattr` to say.
    if (on_disk ^ file.flags) & inode::FLAGS_VISIBLE & !inode::FLAGS_SETTABLE != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if file.flags & inode::FLAG_JOURNAL_DATA & !old.flags != 0 {
        return Err(Errno::EOPNOTSUPP); // data never go through the journal
    }
    if file.project != old.project && !fs.sb.has_ro_compat(ro_compat::PROJECT) {
        return Err(Errno::EOPNOTSUPP);
    }
    let now = cx.now();
    let what = |attr: &mut Attr| {
        attr.flags = attr.flags & !inode::FLAGS_SETTABLE | file.flags & inode::FLAGS_SETTABLE;
        attr.project = file.project;
        attr.ctime = now;
    };
    change(fs, cx, inode, what, |_, ip| {
        if file.project != old.project && !ip.extends_to(inode::PROJID + 4) {
            return Err(Errno::EOVERFLOW);
        }
        Ok(())
    })
}

/// Is what `i_block` holds a map of blocks?
fn has_blocks(fs: &Rext4, attr: &Attr, ip: &Ip<'_>) -> Result<bool> {
    Ok(match attr.file_type() {
        Some(FileType::Regular | FileType::Directory) => true,
        Some(FileType::Symlink) => !namei::is_fast_symlink(fs, ip)?,
        _ => false,
    })
}

/// The inode, the map's step, a block of attributes.
const DELETE: Credits = Credits {
    blocks: 1 + map::STEP_CREDITS.blocks + xattr::RELEASE_CREDITS.blocks,
    revokes: map::STEP_CREDITS.revokes + xattr::RELEASE_CREDITS.revokes,
};

/// Frees an inode without links, and all that is its, in as many transactions as it takes.
pub fn delete<'call>(fs: &'call Rext4, device: Device<'call>, ino: u32, node: Option<&'call Node>) -> Result<()> {
    let mut first = true;
    loop {
        let txn = Txn::begin(fs, device, DELETE)?;
        let _map = match node {
            Some(node) => Some(txn.tx.lock(&node.map)?),
            None => None,
        };
        let ip = fs.ip(device, ino)?;
        let mut attr = fs.attr(device, &ip)?;
        if first {
            // Almost always it is one already.
            txn.orphan_add(&ip)?;
        }
        first = false;
        if has_blocks(fs, &attr, &ip)? {
            let freed = map::truncate_step(&txn, &ip, 0)?;
            attr.blocks = attr.blocks.saturating_sub(freed.blocks * u64::from(fs.sb.block_size / 512));
            if !freed.done {
                txn.store(&ip, &attr)?;
                txn.seal(&ip)?;
                txn.commit()?;
                continue;
            }
        }
        xattr::release(&txn, &ip)?;
        txn.orphan_remove(&ip)?;
        attr.nlink = 0;
        (attr.size, attr.disk_size, attr.blocks) = (0, 0, 0);
        txn.store(&ip, &attr)?;
        ip.put(&txn, inode::DTIME, clamped(device.now()))?;
        txn.free_inode(ino, attr.file_type() == Some(FileType::Directory))?;
        txn.seal(&ip)?;
        return txn.commit();
    }
}

pub fn evict_inode(fs: &Rext4, cx: &Context<Rext4>, inode: &Inode<Rext4>) -> Result<()> {
    delete(fs, cx.device(), number(inode), Some(inode))
}

/// What was left half-way: an inode without links is freed, a file that was being cut is cut to its size.
pub fn finish_orphan(fs: &Rext4, device: Device<'_>, ino: u32) -> Result<bool> {
    let ip = fs.sound_ip(device, ino)?;
    let attr = fs.attr(device, &ip)?;
    drop(ip);
    if attr.nlink == 0 {
        return delete(fs, device, ino, None).map(|()| true);
    }
    let from = attr.size.div_ceil(fs.sb.block_size.into());
    loop {
        let txn = Txn::begin(fs, device, DELETE)?;
        let ip = fs.ip(device, ino)?;
        let mut attr = fs.attr(device, &ip)?;
        let mut done = true;
        if let Ok(from) = u32::try_from(from)
            && attr.file_type() == Some(FileType::Regular)
        {
            let freed = map::truncate_step(&txn, &ip, from)?;
            attr.blocks = attr.blocks.saturating_sub(freed.blocks * u64::from(fs.sb.block_size / 512));
            done = freed.done;
        }
        if done {
            txn.orphan_remove(&ip)?;
        }
        txn.store(&ip, &attr)?;
        txn.seal(&ip)?;
        txn.commit()?;
        if done {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for sec in
            [0, 1, -1, i64::from(i32::MIN), i64::from(i32::MAX), 1 << 31, (1 << 32) + 5, (3 << 32) + (1 << 31) - 1]
        {
            let time = Timestamp { sec, nsec: 123_456_789 };
            let (low, extra) = split(time);
            assert_eq!(join(low, extra), time);
        }
    }

    #[test]
    fn devices() {
        for rdev in [(1, 3), (8, 255), (259, 0), (8, 256), (4095, 0xf_ffff)] {
            let (old, new) = encode_device(rdev);
            assert_eq!(decode_device(old, new), rdev);
        }
    }
}
