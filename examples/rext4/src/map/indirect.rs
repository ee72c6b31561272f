// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The block map of ext2 and ext3: twelve block numbers in the inode, and one each of a block of numbers, of a block of such
//! blocks, and of one of those. They know no unwritten blocks.

use bento::prelude::*;

use super::tree::{END, Found, Run};
use super::{Budget, content_use};
use crate::Rext4;
use crate::disk::{Ip, inode};
use crate::txn::{Txn, Use};

const DIRECT: u32 = 12;
/// Indirect blocks on the way to a block, at most.
const LEVELS: usize = 3;
/// Block numbers have 32 bits.
const NUMBERS: u64 = 1 << 32;

/// The way to a block: a number in the inode, then one in each indirect block.
#[derive(Clone, Copy, Default)]
struct Path {
    index: [u32; LEVELS + 1],
    depth: usize,
}

pub struct Indirect<'a, 'call> {
    fs: &'a Rext4,
    device: Device<'call>,
    ip: &'a Ip<'call>,
    txn: Option<&'a Txn<'call>>,
    /// The block of numbers that was used last, with the first block of the file that it is for.
    leaf: Option<(u64, Block<'call>)>,
    /// Numbers in a block, as a shift.
    bits: u32,
    pub taken: u32,
    pub freed: u64,
    credits: u32,
}

impl<'a, 'call> Indirect<'a, 'call> {
    pub fn new(fs: &'a Rext4, device: Device<'call>, ip: &'a Ip<'call>) -> Self {
        let bits = fs.sb.block_size.trailing_zeros().saturating_sub(2);
        Indirect { fs, device, ip, txn: None, leaf: None, bits, taken: 0, freed: 0, credits: 0 }
    }

    pub fn edit(txn: &'a Txn<'call>, ip: &'a Ip<'call>, credits: u32) -> Self {
        let mut map = Indirect::new(txn.fs, txn.device, ip);
        (map.txn, map.credits) = (Some(txn), credits);
        map
    }

    fn txn(&self) -> Result<&'a Txn<'call>> {
        self.txn.ok_or(Errno::EROFS)
    }

    /// Behind the last block that can be mapped.
    pub fn limit(block_size: u32) -> u64 {
        let bits = block_size.trailing_zeros().saturating_sub(2);
        (u64::from(DIRECT) + (1 << bits) + (1 << (2 * bits)) + (1 << (3 * bits))).min(END - 1)
    }

    pub fn reserve(&mut self) -> Result<()> {
        // Three blocks on the way, each changed or new.
        let need = 2 * LEVELS as u32;
        if self.credits < need {
            self.txn()?.tx.extend(need - self.credits)?;
            self.credits = need;
        }
        self.credits -= need;
        Ok(())
    }

    #[cold]
    fn corrupt(&self, what: core::fmt::Arguments<'_>) -> Errno {
        self.fs.corrupt(self.device, format_args!("inode {}: block map: {what}", self.ip.ino))
    }

    /// `None` where no block can be.
    fn path(&self, logical: u64) -> Option<Path> {
        let mask = (1u64 << self.bits) - 1;
        let Some(mut rest) = logical.checked_sub(DIRECT.into()) else {
            return Some(Path { index: [logical as u32, 0, 0, 0], depth: 0 });
        };
        for depth in 1..=LEVELS {
            let span = 1u64 << (self.bits * depth as u32);
            if rest < span {
                let mut path = Path { index: [DIRECT + depth as u32 - 1, 0, 0, 0], depth };
                for (level, index) in path.index.iter_mut().enumerate().skip(1).take(depth) {
                    *index = (rest >> (self.bits * (depth - level) as u32) & mask) as u32;
                }
                return Some(path);
            }
            rest -= span;
        }
        None
    }

    /// Blocks of the file behind a number that is `level` steps into a way of this depth.
    fn span(&self, depth: usize, level: usize) -> u64 {
        1 << (self.bits * depth.saturating_sub(level) as u32)
    }

    fn check(&self, number: u32) -> Result<u64> {
        if number != 0 && !self.fs.sb.holds(number.into(), 1) {
            return Err(self.corrupt(format_args!("there is no block {number}")));
        }
        Ok(number.into())
    }

    /// Of `count` numbers in a row that are about to be used.
    fn check_use(&self, number: u64, count: u32) -> Result<()> {
        if !self.fs.for_files(number, count.into()) {
            return Err(self.corrupt(format_args!("{count} blocks at {number} of the device, which are no file's")));
        }
        Ok(())
    }

    /// A block of numbers.
    fn read(&self, number: u64) -> Result<Block<'call>> {
        self.check_use(number, 1)?;
        self.device.read(number)
    }

    fn root(&self, index: u32) -> Result<u64> {
        self.check(self.ip.get(inode::BLOCK + 4 * index as usize)?)
    }

    fn entry(&self, block: &Block<'_>, index: u32) -> Result<u64> {
        self.check(block.get(4 * index as usize)?)
    }

    /// The leaf block for `logical`, or the blocks of the file behind the number that is missing.
    fn leaf(&mut self, logical: u64, path: &Path) -> Result<core::result::Result<(), u64>> {
        let base = logical - u64::from(path.index.get(path.depth).copied().unwrap_or(0));
        if self.leaf.as_ref().is_some_and(|(at, _)| *at == base) {
            return Ok(Ok(()));
        }
        let mut number = self.root(path.index[0])?;
        for level in 1..=path.depth {
            if number == 0 {
                return Ok(Err(self.span(path.depth, level - 1)));
            }
            let block = self.read(number)?;
            if level == path.depth {
                self.leaf = Some((base, block));
                break;
            }
            number = self.entry(&block, path.index.get(level).copied().unwrap_or(0))?;
        }
        Ok(Ok(()))
    }

    /// The number at an index of what the last [`Self::leaf`] found, or of the inode.
    fn number(&self, path: &Path, index: u32) -> Result<u64> {
        match &self.leaf {
            _ if path.depth == 0 => self.root(index),
            Some((_, block)) => self.entry(block, index),
            None => Err(Errno::EUCLEAN),
        }
    }

    /// Indices in a leaf, or in the inode.
    fn indices(&self, path: &Path) -> u32 {
        if path.depth == 0 { DIRECT } else { 1 << self.bits }
    }

    /// The start of what a number `level` steps into the way to `logical` is for.
    fn start(&self, logical: u64, span: u64) -> u64 {
        let mut base = u64::from(DIRECT);
        for depth in 1..=LEVELS as u32 {
            let whole = 1u64 << (self.bits * depth);
            if logical < base + whole {
                return base + (logical - base) / span * span;
            }
            base += whole;
        }
        base
    }

    /// What is at `logical`: as much of it as one block of numbers tells.
    pub fn lookup(&mut self, logical: u32) -> Result<Found> {
        let at = u64::from(logical);
        let Some(path) = self.path(at) else { return Ok(Found::Hole(END)) };
        if path.depth > 0
            && let Err(span) = self.leaf(at, &path)?
        {
            return Ok(Found::Hole(self.start(at, span) + span));
        }
        let index = path.index.get(path.depth).copied().unwrap_or(0);
        let start = self.number(&path, index)?;
        let mut len = 1;
        while index + len < self.indices(&path) {
            let next = self.number(&path, index + len)?;
            if if start == 0 { next != 0 } else { next != start + u64::from(len) } {
                break;
            }
            len += 1;
        }
        if start == 0 {
            return Ok(Found::Hole(at + u64::from(len)));
        }
        self.check_use(start, len)?;
        Ok(Found::Run(Run { logical, len, start, unwritten: false }))
    }

    /// Behind the block of the device that the file's block before `logical` is in.
    pub fn goal(&mut self, logical: u32) -> Result<Option<u64>> {
        let Some(before) = logical.checked_sub(1) else { return Ok(None) };
        Ok(match self.lookup(before)? {
            Found::Run(run) => Some(run.start + 1),
            Found::Hole(_) => None,
        })
    }

    /// Maps `run` where nothing is: inside one block of numbers, as [`Self::room`] says.
    pub fn insert(&mut self, run: Run) -> Result<()> {
        let txn = self.txn()?;
        let at = u64::from(run.logical);
        let Some(path) = self.path(at) else { return Err(Errno::EFBIG) };
        if run.start + u64::from(run.len) > NUMBERS {
            return Err(Errno::EFBIG);
        }
        let index = path.index.get(path.depth).copied().unwrap_or(0);
        if run.len > self.indices(&path) - index {
            return Err(Errno::EINVAL);
        }
        if path.depth > 0
            && let Err(_) = self.leaf(at, &path)?
        {
            self.make(txn, &path, run.start)?;
            if self.leaf(at, &path)?.is_err() {
                return Err(Errno::EUCLEAN);
            }
        }
        for step in 0..run.len {
            let number = (run.start + u64::from(step)) as u32;
            let offset = 4 * (index + step) as usize;
            match &self.leaf {
                _ if path.depth == 0 => self.ip.put(txn, inode::BLOCK + offset, number)?,
                Some((_, block)) => txn.tx.put(block, offset, number)?,
                None => return Err(Errno::EUCLEAN),
            }
        }
        Ok(())
    }

    /// How many blocks from `logical` on have their numbers in the same block.
    pub fn room(&self, logical: u32) -> u32 {
        self.path(logical.into())
            .map_or(0, |path| self.indices(&path) - path.index.get(path.depth).copied().unwrap_or(0))
    }

    /// Makes the indirect blocks that are missing on a way.
    fn make(&mut self, txn: &Txn<'call>, path: &Path, near: u64) -> Result<()> {
        let mut above: Option<Block<'call>> = None;
        for level in 0..path.depth {
            let index = path.index.get(level).copied().unwrap_or(0);
            let number = match &above {
                None => self.root(index)?,
                Some(block) => self.entry(block, index)?,
            };
            above = Some(if number != 0 {
                self.read(number)?
            } else {
                let (number, _) = txn.allocate(near, 1, Use::Metadata)?;
                if number >= NUMBERS {
                    return Err(Errno::EFBIG);
                }
                let new = txn.tx.fresh(number)?;
                self.taken += 1;
                match &above {
                    None => self.ip.put(txn, inode::BLOCK + 4 * index as usize, number as u32)?,
                    Some(block) => txn.tx.put(block, 4 * index as usize, number as u32)?,
                }
                new
            });
        }
        Ok(())
    }

    /// Frees blocks of `from..to`, from the end, as many as `budget` allows. `true` when none is left.
    pub fn cut(&mut self, from: u64, to: u64, budget: &mut Budget) -> Result<bool> {
        let txn = self.txn()?;
        let what = content_use(self.ip)?;
        let mut to = to.min(Self::limit(self.fs.sb.block_size));
        while from < to {
            let last = to - 1;
            let Some(path) = self.path(last) else { return Err(Errno::EUCLEAN) };
            if path.depth > 0
                && let Err(span) = self.leaf(last, &path)?
            {
                to = self.start(last, span);
                continue;
            }
            if self.reserve().is_err() {
                return Ok(false);
            }
            let index = path.index.get(path.depth).copied().unwrap_or(0);
            let base = last - u64::from(index);
            let floor = from.saturating_sub(base) as u32;
            let (mut end, mut done) = (index + 1, true);
            while end > floor {
                let number = self.number(&path, end - 1)?;
                if number == 0 {
                    end -= 1;
                    continue;
                }
                let mut count = 1;
                while end - count > floor && self.number(&path, end - count - 1)? + u64::from(count) == number {
                    count += 1;
                }
                let start = number + 1 - u64::from(count);
                let run = Run { logical: (base + u64::from(end - count)) as u32, len: count, start, unwritten: false };
                let some = budget.take(&self.fs.sb, &run, base + u64::from(end), count, what);
                if some == 0 {
                    done = false;
                    break;
                }
                txn.free(number + 1 - u64::from(some), some, what)?;
                self.freed += u64::from(some);
                end -= some;
                let (offset, len) = (4 * end as usize, 4 * some as usize);
                match &self.leaf {
                    _ if path.depth == 0 => {
                        let zeroes = [0; 4 * DIRECT as usize];
                        let zeroes = zeroes.get(..len).ok_or(Errno::EUCLEAN)?;
                        self.ip.put_bytes(txn, inode::BLOCK + offset, zeroes)?;
                    }
                    Some((_, block)) => txn.tx.fill(block, offset, len, 0)?,
                    None => return Err(Errno::EUCLEAN),
                }
            }
            if path.depth > 0 {
                self.prune(txn, &path)?;
            }
            if !done {
                return Ok(false);
            }
            to = base + u64::from(floor);
        }
        Ok(true)
    }

    /// Frees the blocks of a way that have no numbers left.
    fn prune(&mut self, txn: &Txn<'call>, path: &Path) -> Result<()> {
        let mut depth = path.depth;
        let mut bottom = self.leaf.take().map(|(_, block)| block);
        while depth > 0 {
            // The block that is `depth` steps down the way, and the one with its number.
            let mut above = None;
            let mut number = self.root(path.index[0])?;
            for level in 1..depth {
                let block = self.read(number)?;
                number = self.entry(&block, path.index.get(level).copied().unwrap_or(0))?;
                above = Some(block);
            }
            if number == 0 {
                return Err(Errno::EUCLEAN);
            }
            let block = match bottom.take() {
                Some(block) => block,
                None => self.read(number)?,
            };
            if block.find_bit(true, 0, block.len() * 8).is_some() {
                return Ok(());
            }
            drop(block);
            let index = path.index.get(depth - 1).copied().unwrap_or(0);
            match &above {
                None => self.ip.put(txn, inode::BLOCK + 4 * index as usize, 0u32)?,
                Some(block) => txn.tx.put(block, 4 * index as usize, 0u32)?,
            }
            txn.free(number, 1, Use::Metadata)?;
            self.freed += 1;
            depth -= 1;
        }
        Ok(())
    }
}
