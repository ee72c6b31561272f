// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The device of a mount and its metadata blocks in memory: a cache by number, bounded, in which a block stays where it is
//! while somebody refers to it or while what is in it has not reached its place on the device.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::IoSlice;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bento::abi;
use bento::errno::{Errno, Result};

use crate::disk::Disk;
use crate::inode::held;
use crate::journal::Journal;
use crate::pages::PAGE;
use crate::space::Space;

/// Bits of [`Buf::flags`].
const UPTODATE: u32 = 1;
const CHECKED: u32 = 2;
/// Somebody looked at it since the eviction last came by.
const USED: u32 = 4;

const SHARDS: usize = 64;
/// Bytes of blocks that stay cached though nobody refers to them.
const CACHE: usize = 64 << 20;
/// Most blocks of one write to the device.
const WRITE_BATCH: usize = 512;

/// Where a block is between a change and its place on the device. Whoever changes the bytes has `running` set.
#[derive(Default)]
pub struct Stage {
    /// The transaction that may change it now; 0 = none.
    pub running: u64,
    /// How many handles of that transaction have asked for it.
    pub users: u32,
    /// Freed in that transaction: not to be written.
    pub forgotten: bool,
    /// The last transaction committed with it, as long as it is not at its place; 0 = it is.
    pub checkpoint: u64,
}

/// One block. Its bytes stay where they are as long as it lives.
pub struct Buf {
    pub number: u64,
    data: NonNull<u8>,
    len: usize,
    flags: AtomicU32,
    /// Which of the mount's checksums it has; 0 = none.
    pub sum: AtomicU32,
    /// One reader from the device at a time.
    io: Mutex<()>,
    stage: Mutex<Stage>,
}

// SAFETY: SAFETY.md C4: the bytes are only copied, by whoever it is; everything else is atomic or behind a lock.
unsafe impl Send for Buf {}
// SAFETY: SAFETY.md C4, as above.
unsafe impl Sync for Buf {}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.number)
    }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len, 64).unwrap_or(Layout::new::<u64>())
}

impl Buf {
    fn new(number: u64, len: usize) -> Buf {
        let layout = layout(len);
        // SAFETY: a block is at least 512 bytes.
        let Some(data) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let flags = AtomicU32::new(USED);
        Buf { number, data, len, flags, sum: AtomicU32::new(0), io: Mutex::new(()), stage: Mutex::default() }
    }

    pub fn data(&self) -> *mut u8 {
        self.data.as_ptr()
    }

    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn stage(&self) -> MutexGuard<'_, Stage> {
        held(&self.stage)
    }

    fn has(&self, bit: u32) -> bool {
        self.flags.load(Ordering::Acquire) & bit != 0
    }

    pub fn is_checked(&self) -> bool {
        self.has(CHECKED)
    }

    pub fn set_checked(&self) {
        self.flags.fetch_or(CHECKED, Ordering::AcqRel);
    }

    pub fn is_uptodate(&self) -> bool {
        self.has(UPTODATE)
    }

    /// What is in it is nothing the device knows: it is read again.
    pub fn forget_bytes(&self) {
        let _io = held(&self.io);
        self.flags.fetch_and(!(UPTODATE | CHECKED), Ordering::AcqRel);
    }

    /// All zero, and that is what is in it from now on. The caller may change it.
    pub fn blank(&self) {
        let _io = held(&self.io);
        // SAFETY: SAFETY.md C4: our bytes; others may copy them meanwhile.
        unsafe { self.data().write_bytes(0, self.len) };
        self.flags.fetch_or(UPTODATE | CHECKED, Ordering::AcqRel);
    }

    /// The same if nothing is in it yet.
    pub fn blank_unread(&self) {
        let _io = held(&self.io);
        if !self.is_uptodate() {
            // SAFETY: SAFETY.md C4: nobody copies bytes of a block that is not up to date, and `io` is held.
            unsafe { self.data().write_bytes(0, self.len) };
            self.flags.fetch_or(UPTODATE, Ordering::AcqRel);
        }
    }

    /// Appends a copy. Nobody changes it meanwhile: the caller holds `stage` and no transaction has the block, or the one
    /// that has it is locked.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.len);
        let end = out.len();
        // SAFETY: SAFETY.md C4: our bytes, into room that was reserved for them.
        unsafe {
            out.as_mut_ptr().add(end).copy_from_nonoverlapping(self.data(), self.len);
            out.set_len(end + self.len);
        }
    }

    /// The same the other way round.
    pub fn copy_from(&self, offset: usize, bytes: &[u8]) {
        if let Some(end) = offset.checked_add(bytes.len())
            && end <= self.len
        {
            // SAFETY: SAFETY.md C4: inside our bytes.
            unsafe { self.data().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.data(), layout(self.len)) };
    }
}

/// Numbers of blocks and inodes are spread well enough by one multiplication.
#[derive(Default, Clone, Copy)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

pub type Numbers<V> = HashMap<u64, V, BuildHasherDefault<Spread>>;

#[derive(Default)]
struct Shard {
    map: Numbers<Arc<Buf>>,
    /// In the order in which eviction asks them.
    ring: VecDeque<u64>,
}

/// The device of one mount.
pub struct Device {
    disk: Arc<dyn Disk>,
    size: u64,
    block_size: AtomicU32,
    shards: [RwLock<Shard>; SHARDS],
    sums: Mutex<Sums>,
    pub journal: Journal,
    pub space: Space,
    /// Nothing is written any more: as if the machine had stopped.
    cut: AtomicBool,
}

#[derive(Default)]
struct Sums {
    list: Vec<abi::bento_checksum>,
    /// How many of them a restarted instance has asked for again.
    again: Option<usize>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({:?})", self.disk)
    }
}

fn poisonless<T>(result: std::result::Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub fn new(disk: Arc<dyn Disk>) -> Device {
        Device {
            size: disk.size(),
            disk,
            block_size: AtomicU32::new(PAGE as u32),
            shards: [const {
                RwLock::new(Shard { map: HashMap::with_hasher(BuildHasherDefault::new()), ring: VecDeque::new() })
            }; SHARDS],
            sums: Mutex::default(),
            journal: Journal::default(),
            space: Space::default(),
            cut: AtomicBool::new(false),
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    pub fn block_size(&self) -> u32 {
        self.block_size.load(Ordering::Acquire)
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> u64 {
        self.size() / u64::from(self.block_size())
    }

    /// Another unit of numbers; the caller holds no block.
    pub fn set_block_size(&self, size: u32) -> Result<()> {
        if !size.is_power_of_two() || !(512..=PAGE as u32).contains(&size) {
            return Err(Errno::EINVAL);
        }
        if size != self.block_size() {
            if self.journal.is_busy() {
                return Err(Errno::EBUSY);
            }
            self.forget_all();
            self.block_size.store(size, Ordering::Release);
        }
        Ok(())
    }

    // ---- bytes: for file data, and for the journal ----

    /// The machine stops: what is written from now on is lost.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn writable(&self) -> Result<()> {
        match self.is_cut() {
            true => Err(Errno::EIO),
            false if self.disk.is_read_only() => Err(Errno::EROFS),
            false => Ok(()),
        }
    }

    pub fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.disk.read_at(offset, bytes)
    }

    pub fn write_bytes(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.writable()?;
        self.disk.write_at(offset, bytes)
    }

    pub fn write_vectored(&self, offset: u64, buffers: &[IoSlice<'_>]) -> Result<()> {
        self.writable()?;
        self.disk.write_vectored_at(offset, buffers)
    }

    pub fn flush(&self) -> Result<()> {
        self.writable()?;
        self.disk.flush()
    }

    // ---- blocks ----

    fn shard(&self, number: u64) -> &RwLock<Shard> {
        let mut spread = Spread::default();
        // Neighbours lie in one shard: read-ahead and bitmaps go through them in turn.
        spread.write_u64(number >> 3);
        &self.shards[spread.finish() as usize % SHARDS]
    }

    /// The block of that number, whatever is in it.
    fn get(&self, number: u64) -> Arc<Buf> {
        let shard = self.shard(number);
        if let Some(buf) = poisonless(shard.read()).map.get(&number) {
            if !buf.has(USED) {
                buf.flags.fetch_or(USED, Ordering::Relaxed);
            }
            return Arc::clone(buf);
        }
        let size = self.block_size() as usize;
        let mut shard = poisonless(shard.write());
        if let Some(buf) = shard.map.get(&number) {
            return Arc::clone(buf);
        }
        shard.evict(CACHE / SHARDS / size);
        let buf = Arc::new(Buf::new(number, size));
        shard.map.insert(number, Arc::clone(&buf));
        shard.ring.push_back(number);
        buf
    }

    /// If it is there already.
    pub fn cached(&self, number: u64) -> Option<Arc<Buf>> {
        poisonless(self.shard(number).read()).map.get(&number).cloned()
    }

    /// The block with what the device has there, or had, and was changed since.
    pub fn read(&self, number: u64) -> Result<Arc<Buf>> {
        if number >= self.blocks() {
            return Err(Errno::EUCLEAN);
        }
        let buf = self.get(number);
        if !buf.is_uptodate() {
            let _io = held(&buf.io);
            if !buf.is_uptodate() {
                let offset = number * u64::from(self.block_size());
                // SAFETY: SAFETY.md C4: nobody copies bytes of a block that is not up to date, and `io` is held.
                let bytes = unsafe { std::slice::from_raw_parts_mut(buf.data(), buf.len) };
                self.disk.read_at(offset, bytes).map_err(|_| Errno::EIO)?;
                buf.flags.fetch_or(UPTODATE, Ordering::AcqRel);
            }
        }
        Ok(buf)
    }

    /// The block without reading it.
    pub fn unread(&self, number: u64) -> Result<Arc<Buf>> {
        if number >= self.blocks() { Err(Errno::EUCLEAN) } else { Ok(self.get(number)) }
    }

    pub fn ahead(&self, number: u64, count: u64) {
        let count = count.min(self.blocks().saturating_sub(number)).min(1024);
        let size = u64::from(self.block_size());
        let mut from = number;
        for at in number..number + count {
            if self.cached(at).is_some_and(|buf| buf.is_uptodate()) {
                self.ahead_run(from..at, size);
                from = at + 1;
            }
        }
        self.ahead_run(from..number + count, size);
    }

    fn ahead_run(&self, run: Range<u64>, size: u64) {
        if !run.is_empty() {
            self.disk.ahead(run.start * size, (run.end - run.start) * size);
        }
    }

    /// Free blocks that nobody is to have before this has returned.
    pub fn discard(&self, number: u64, count: u64) {
        let size = u64::from(self.block_size());
        // A device that cannot has nothing to gain, and no one to tell.
        let _ = self.disk.discard(number * size, count * size);
    }

    /// Zeroes on the device. `EBUSY` when one of them is part of a transaction.
    pub fn zero(&self, number: u64, count: u64) -> Result<()> {
        if number.checked_add(count).is_none_or(|end| end > self.blocks()) {
            return Err(Errno::EUCLEAN);
        }
        self.writable()?;
        self.drop_aliases(number, count)?;
        let size = u64::from(self.block_size());
        self.disk.zero(number * size, count * size)
    }

    /// Blocks that become file data, or are zeroed: what is cached of them is stale.
    pub fn drop_aliases(&self, number: u64, count: u64) -> Result<()> {
        // Runs are long, and few blocks are cached: whichever is less.
        let mut stale = Vec::new();
        if count <= 64 * SHARDS as u64 {
            stale.extend((number..number + count).filter(|at| self.cached(*at).is_some()));
        } else {
            for shard in &self.shards {
                stale.extend(poisonless(shard.read()).map.keys().filter(|at| **at >= number && **at - number < count));
            }
        }
        for at in stale {
            let mut shard = poisonless(self.shard(at).write());
            if let Some(buf) = shard.map.get(&at) {
                let stage = buf.stage();
                if stage.running != 0 && !stage.forgotten || stage.checkpoint != 0 {
                    return Err(Errno::EBUSY);
                }
                drop(stage);
                // Whoever still refers to it has the old bytes, which are nobody's.
                shard.map.remove(&at);
            }
        }
        Ok(())
    }

    /// A block that was freed: out of the cache, unless somebody has it already for the next use.
    pub fn drop_forgotten(&self, number: u64) {
        let mut shard = poisonless(self.shard(number).write());
        let idle = |buf: &Arc<Buf>| {
            let stage = buf.stage();
            Arc::strong_count(buf) == 1 && stage.running == 0 && stage.checkpoint == 0
        };
        if shard.map.get(&number).is_some_and(idle) {
            shard.map.remove(&number);
        }
    }

    /// Everything that is at its place.
    pub fn forget_all(&self) {
        for shard in &self.shards {
            let mut shard = poisonless(shard.write());
            shard.map.retain(|_, buf| {
                let stage = buf.stage();
                stage.running != 0 || stage.checkpoint != 0
            });
            let Shard { map, ring } = &mut *shard;
            ring.retain(|number| map.contains_key(number));
        }
    }

    /// How many blocks are cached.
    pub fn cached_blocks(&self) -> usize {
        self.shards.iter().map(|shard| poisonless(shard.read()).map.len()).sum()
    }

    /// Writes blocks to their places: `bytes` has them one after another, in the order of `numbers`, which are sorted here.
    pub fn write_home(&self, blocks: &mut [(u64, usize)], bytes: &[u8]) -> Result<()> {
        let size = self.block_size() as usize;
        blocks.sort_unstable_by_key(|(number, _)| *number);
        for run in blocks.chunk_by(|before, after| before.0 + 1 == after.0) {
            for part in run.chunks(WRITE_BATCH) {
                let slice = |(_, at): &(u64, usize)| bytes.get(*at..*at + size).map(IoSlice::new);
                let buffers: Vec<IoSlice<'_>> = part.iter().filter_map(slice).collect();
                let Some((first, _)) = part.first() else { continue };
                self.write_vectored(first * size as u64, &buffers)?;
            }
        }
        Ok(())
    }

    // ---- checksums that are kept by rule ----

    /// A new instance asks for the same ones in the same order.
    pub fn sums_again(&self) {
        held(&self.sums).again = Some(0);
    }

    /// Its index, from 1.
    pub fn add_sum(&self, sum: abi::bento_checksum) -> Result<u32> {
        let size = self.block_size();
        let end = sum.from.checked_add(sum.len).filter(|end| *end <= size);
        let place = sum.at.checked_add(4).filter(|end| *end <= size);
        let (Some(end), Some(after)) = (end, place) else { return Err(Errno::EINVAL) };
        // The sum may lie before or behind what is summed.
        if sum.at < end && after > sum.from || sum.flags & !abi::BENTO_CHECKSUM_NUMBER != 0 {
            return Err(Errno::EINVAL);
        }
        let mut sums = held(&self.sums);
        let Sums { list, again } = &mut *sums;
        if let Some(again) = again {
            let same = |old: &abi::bento_checksum| {
                (old.from, old.len, old.at, old.seed, old.flags) == (sum.from, sum.len, sum.at, sum.seed, sum.flags)
            };
            return match list.get(*again) {
                Some(old) if same(old) => {
                    *again += 1;
                    Ok(*again as u32)
                }
                _ => Err(Errno::EINVAL),
            };
        }
        if list.len() >= abi::BENTO_CHECKSUMS_MAX as usize {
            return Err(Errno::ENOSPC);
        }
        list.push(sum);
        Ok(list.len() as u32)
    }

    pub fn knows_sum(&self, index: u32) -> bool {
        index as usize <= held(&self.sums).list.len()
    }

    pub fn sums(&self) -> Vec<abi::bento_checksum> {
        held(&self.sums).list.clone()
    }

    /// Brings a block's checksum up to date, in its bytes. The caller is alone with them.
    pub fn seal(&self, buf: &Buf, sums: &[abi::bento_checksum]) {
        let index = buf.sum.load(Ordering::Acquire) as usize;
        let Some(sum) = index.checked_sub(1).and_then(|at| sums.get(at)) else { return };
        // SAFETY: SAFETY.md C4: `add_sum` has seen that it is inside; nobody changes the bytes now.
        let bytes = unsafe { std::slice::from_raw_parts(buf.data().add(sum.from as usize), sum.len as usize) };
        let mut crc = sum.seed;
        if sum.flags & abi::BENTO_CHECKSUM_NUMBER != 0 {
            crc = crate::crc::crc32c(crc, &buf.number.to_le_bytes());
        }
        crc = crate::crc::crc32c(crc, bytes);
        buf.copy_from(sum.at as usize, &crc.to_le_bytes());
    }
}

impl Shard {
    /// Makes room below `most` blocks, as far as they can go.
    fn evict(&mut self, most: usize) {
        let mut tries = 8;
        while self.map.len() >= most.max(1) && tries > 0 {
            tries -= 1;
            let Some(number) = self.ring.pop_front() else { return };
            let Some(buf) = self.map.get(&number) else { continue };
            let stage = buf.stage();
            let busy = Arc::strong_count(buf) > 1
                || stage.running != 0
                || stage.checkpoint != 0
                || buf.flags.fetch_and(!USED, Ordering::AcqRel) & USED != 0;
            drop(stage);
            if busy {
                self.ring.push_back(number);
            } else {
                self.map.remove(&number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simdisk::SimDisk;

    const SIZE: usize = PAGE as usize;

    fn bytes(buf: &Buf) -> Vec<u8> {
        let mut bytes = Vec::new();
        buf.copy_to(&mut bytes);
        bytes
    }

    #[test]
    fn a_blank_block_is_zero_unless_it_is_cached() {
        let device = Device::new(Arc::new(SimDisk::new(vec![7; 4 * SIZE])));
        device.read(1).unwrap().blank_unread();
        assert_eq!(bytes(&device.read(1).unwrap()), [7; SIZE]);
        device.unread(2).unwrap().blank_unread();
        assert_eq!(bytes(&device.read(2).unwrap()), [0; SIZE]);
        assert_eq!(device.unread(4).unwrap_err(), Errno::EUCLEAN);
    }
}
