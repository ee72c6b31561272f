// SPDX-License-Identifier: GPL-2.0 OR MIT
//! As much of a device and its transactions as the maps of files need: an image in memory, an undo log, and credits that are
//! counted to the block.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use real::prelude::{Errno, Result};

pub struct Disk {
    pub data: RefCell<Vec<u8>>,
    pub checked: RefCell<HashSet<u64>>,
    pub block_size: usize,
    pub free: RefCell<Vec<(u64, u64)>>,
    pub errors: RefCell<Vec<String>>,
    /// The allocation that fails, from now on.
    pub fail_in: Cell<u32>,
    /// Gives no more than that many blocks in a row.
    pub at_most: Cell<u32>,
}

#[derive(Clone, Copy)]
pub struct Device<'call>(pub &'call Disk);

pub struct Block<'call> {
    disk: &'call Disk,
    number: u64,
    /// As it was when the block was looked up, or was said of this one.
    checked: Cell<bool>,
}

pub trait Field: Copy {
    const LEN: usize;
    fn load(bytes: &[u8]) -> Self;
    fn save(self) -> Vec<u8>;
}
macro_rules! fields {
    ($($int:ty)*) => {$(
        impl Field for $int {
            const LEN: usize = size_of::<$int>();
            fn load(bytes: &[u8]) -> Self {
                <$int>::from_le_bytes(bytes.try_into().unwrap())
            }
            fn save(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
        }
    )*};
}
fields! { u8 u16 u32 u64 }
impl<const N: usize> Field for [u8; N] {
    const LEN: usize = N;
    fn load(bytes: &[u8]) -> Self {
        bytes.try_into().unwrap()
    }
    fn save(self) -> Vec<u8> {
        self.to_vec()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Credits {
    pub blocks: u32,
    pub revokes: u32,
}

impl From<u32> for Credits {
    fn from(blocks: u32) -> Credits {
        Credits { blocks, revokes: 0 }
    }
}

impl<'call> Device<'call> {
    pub fn read(&self, number: u64) -> Result<Block<'call>> {
        Ok(Block { disk: self.0, number, checked: Cell::new(self.0.checked.borrow().contains(&number)) })
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {}
}

impl Block<'_> {
    pub fn number(&self) -> u64 {
        self.number
    }
    pub fn len(&self) -> usize {
        self.disk.block_size
    }
    fn at(&self, offset: usize, len: usize) -> Result<usize> {
        if offset + len > self.len() { Err(Errno::EUCLEAN) } else { Ok(self.number as usize * self.len() + offset) }
    }
    pub fn get<T: Field>(&self, offset: usize) -> Result<T> {
        let at = self.at(offset, T::LEN)?;
        Ok(T::load(&self.disk.data.borrow()[at..at + T::LEN]))
    }
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let at = self.at(offset, bytes.len())?;
        bytes.copy_from_slice(&self.disk.data.borrow()[at..at + bytes.len()]);
        Ok(())
    }
    pub fn is_checked(&self) -> bool {
        self.checked.get()
    }
    pub fn set_checked(&self) {
        self.checked.set(true);
        self.disk.checked.borrow_mut().insert(self.number);
    }
    pub fn find_bit(&self, set: bool, from: usize, to: usize) -> Option<usize> {
        (from..to).find(|bit| (self.get::<u8>(bit / 8).unwrap() >> (bit % 8) & 1 == 1) == set)
    }
    pub fn crc32c(&self, seed: u32, offset: usize, len: usize) -> Result<u32> {
        let at = self.at(offset, len)?;
        Ok(crc32c(seed, &self.disk.data.borrow()[at..at + len]))
    }
}

pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
    })
}

pub struct Transaction<'call> {
    disk: &'call Disk,
    undo: RefCell<Vec<(usize, Vec<u8>)>>,
    changed: RefCell<HashSet<u64>>,
    credits: Cell<u32>,
    revokes: Cell<u32>,
}

impl<'call> Transaction<'call> {
    pub fn new(disk: &'call Disk, credits: Credits) -> Self {
        Transaction {
            disk,
            undo: RefCell::default(),
            changed: RefCell::default(),
            credits: Cell::new(credits.blocks),
            revokes: Cell::new(credits.revokes),
        }
    }
    pub fn extend(&self, credits: impl Into<Credits>) -> Result<()> {
        self.credits.set(self.credits.get() + credits.into().blocks);
        Ok(())
    }
    fn write(&self, block: &Block<'_>, offset: usize, bytes: &[u8]) -> Result<()> {
        let at = block.at(offset, bytes.len())?;
        self.changed.borrow_mut().insert(block.number);
        let spent = self.changed.borrow().len() as u32;
        assert!(spent <= self.credits.get(), "{spent} blocks changed, credits for {}", self.credits.get());
        let mut data = self.disk.data.borrow_mut();
        self.undo.borrow_mut().push((at, data[at..at + bytes.len()].to_vec()));
        data[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    pub fn put<T: Field>(&self, block: &Block<'_>, offset: usize, value: T) -> Result<()> {
        self.write(block, offset, &value.save())
    }
    pub fn put_bytes(&self, block: &Block<'_>, offset: usize, bytes: &[u8]) -> Result<()> {
        self.write(block, offset, bytes)
    }
    pub fn fill(&self, block: &Block<'_>, offset: usize, len: usize, byte: u8) -> Result<()> {
        self.write(block, offset, &vec![byte; len])
    }
    pub fn shift(&self, block: &Block<'_>, from: usize, to: usize, len: usize) -> Result<()> {
        let mut bytes = vec![0; len];
        block.read(from, &mut bytes)?;
        self.write(block, to, &bytes)
    }
    pub fn fresh(&self, number: u64) -> Result<Block<'call>> {
        let block = Block { disk: self.disk, number, checked: Cell::new(false) };
        self.write(&block, 0, &vec![0; block.len()])?;
        block.set_checked();
        Ok(block)
    }
    fn revoke(&self, count: u32) {
        let left = self.revokes.get().checked_sub(count);
        self.revokes.set(left.expect("more blocks forgotten than there are credits for"));
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    Data,
    Metadata,
}

pub struct Txn<'call> {
    pub fs: &'call crate::Rext4,
    pub device: Device<'call>,
    pub tx: Transaction<'call>,
    freed: RefCell<Vec<(u64, u64)>>,
    free_before: Vec<(u64, u64)>,
    committed: Cell<bool>,
}

impl<'call> Txn<'call> {
    pub fn begin(fs: &'call crate::Rext4, device: Device<'call>, credits: impl Into<Credits>) -> Self {
        let free_before = device.0.free.borrow().clone();
        let tx = Transaction::new(device.0, credits.into());
        Txn { fs, device, tx, freed: RefCell::default(), free_before, committed: Cell::new(false) }
    }

    pub fn allocate(&self, goal: u64, want: u32, _what: Use) -> Result<(u64, u32)> {
        let disk = self.device.0;
        match disk.fail_in.get() {
            1 => return Err(Errno::ENOSPC),
            0 => {}
            left => disk.fail_in.set(left - 1),
        }
        let mut free = disk.free.borrow_mut();
        let place = free.iter().position(|(start, count)| *start <= goal && goal < start + count);
        let place = match place.or_else(|| free.iter().position(|(start, _)| *start >= goal)) {
            Some(place) => place,
            None if free.is_empty() => return Err(Errno::ENOSPC),
            None => 0,
        };
        let (start, count) = free.remove(place);
        let from = if start <= goal && goal < start + count { goal } else { start };
        let taken = (start + count - from).min(u64::from(want.min(disk.at_most.get()).max(1)));
        if from + taken < start + count {
            free.insert(place, (from + taken, start + count - from - taken));
        }
        if from > start {
            free.insert(place, (start, from - start));
        }
        Ok((from, taken as u32))
    }

    pub fn is_free(&self, number: u64) -> Result<bool> {
        let free = self.device.0.free.borrow();
        Ok(free.iter().any(|(start, count)| *start <= number && number < start + count))
    }

    pub fn free(&self, start: u64, count: u32, what: Use) -> Result<()> {
        if what == Use::Metadata {
            self.tx.revoke(count);
        }
        self.freed.borrow_mut().push((start, count.into()));
        Ok(())
    }

    pub fn commit(self) {
        self.committed.set(true);
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        let disk = self.device.0;
        if self.committed.get() {
            let mut free = disk.free.borrow_mut();
            for freed in self.freed.borrow().iter() {
                assert!(
                    free.iter().all(|(start, count)| freed.0 + freed.1 <= *start || start + count <= freed.0),
                    "{freed:?}"
                );
                free.push(*freed);
            }
            free.sort_unstable();
            free.dedup_by(|next, last| {
                let joins = last.0 + last.1 == next.0;
                if joins {
                    last.1 += next.1;
                }
                joins
            });
        } else {
            *disk.free.borrow_mut() = std::mem::take(&mut self.free_before);
            let mut data = disk.data.borrow_mut();
            for (at, bytes) in self.tx.undo.borrow().iter().rev() {
                data[*at..*at + bytes.len()].copy_from_slice(bytes);
            }
            disk.checked.borrow_mut().clear();
        }
    }
}

/// The inode, `size` bytes at `at` of a block.
pub struct Ip<'call> {
    pub ino: u32,
    pub size: usize,
    pub block: Block<'call>,
    pub at: usize,
}

impl Ip<'_> {
    pub fn get<T: Field>(&self, offset: usize) -> Result<T> {
        self.block.get(self.at + offset)
    }
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.block.read(self.at + offset, bytes)
    }
    pub fn put<T: Field>(&self, txn: &Txn, offset: usize, value: T) -> Result<()> {
        txn.tx.put(&self.block, self.at + offset, value)
    }
    pub fn put_bytes(&self, txn: &Txn, offset: usize, bytes: &[u8]) -> Result<()> {
        txn.tx.put_bytes(&self.block, self.at + offset, bytes)
    }
    pub fn flags(&self) -> Result<u32> {
        self.get(32)
    }
    pub fn generation(&self) -> Result<u32> {
        self.get(100)
    }
    pub fn mode(&self) -> Result<u16> {
        self.get(0)
    }
    pub fn len(&self) -> Result<u64> {
        Ok(u64::from(self.get::<u32>(4)?) | u64::from(self.get::<u32>(108)?) << 32)
    }
}

pub struct Super {
    pub block_size: u32,
    pub blocks: u64,
    pub first_block: u32,
    pub blocks_per_group: u32,
    pub seed: u32,
    pub incompat: u32,
    pub sums: bool,
}

impl Super {
    pub fn checksums(&self) -> bool {
        self.sums
    }
    pub fn has_incompat(&self, bit: u32) -> bool {
        self.incompat & bit != 0
    }
    pub fn inode_seed(&self, ino: u32, generation: u32) -> u32 {
        crc32c(crc32c(self.seed, &ino.to_le_bytes()), &generation.to_le_bytes())
    }
    pub fn holds(&self, start: u64, count: u64) -> bool {
        start > u64::from(self.first_block)
            && count > 0
            && start.checked_add(count).is_some_and(|end| end <= self.blocks)
    }
}
