// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system that is a few counters in blocks: what a transaction does to them can be told from the image.
//!
//! Block 0, which ext4 leaves alone, so that both can lie on one image: `MAGIC`, at 8 the first counter's block, at 16 and
//! 20 whether the journal is wide and has checksums, at 24 how many runs of blocks it has, at 32 those: block and length.
//! Each counter has a block: the value, at 8 its complement, at 16 a checksum that the shim keeps. Counters are files,
//! named by their numbers, as large as they count.
#![allow(dead_code)]

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bento::fs::{Checksum, Credits, Journal, JournalRun, OnError, Space, Why};
use bento::prelude::*;

pub const MAGIC: u64 = 0x7265_746e_756f_6331;
pub const BLOCK: u64 = 1024;
/// The first counter's block, unless the image says otherwise.
pub const FIRST: u64 = 16;
/// The first counter's inode.
const INODE: u64 = 16;
pub const COUNTERS: u64 = 8;

/// How many accesses to blocks go well before one does not; negative: all of them.
pub static FUSE: AtomicI64 = AtomicI64::new(-1);
pub static PANICS: AtomicBool = AtomicBool::new(false);
/// Instead of failing, leave the transaction behind.
pub static FORGETS: AtomicBool = AtomicBool::new(false);

#[derive(MountOptions)]
struct Options {
    #[option(default = 0)]
    interval: u32,
}

#[bento_fs(name = "countfs", version = 1, data = "extents", on_panic = "restart")]
pub struct CountFs {
    #[state(1)]
    first: u64,
    #[state(skip)]
    sums: Sums,
}

#[derive(Default)]
pub struct Sums(Option<Checksum>);

/// Loaded again.
#[derive(State)]
#[state(reload)]
pub struct Loaded;

fn access() -> Result<()> {
    let left = FUSE.load(Ordering::Relaxed);
    if left == 0 {
        FUSE.store(-1, Ordering::Relaxed);
        assert!(!PANICS.load(Ordering::Relaxed), "the fuse is out");
        return Err(Errno::ENOMEM);
    }
    if left > 0 {
        FUSE.store(left - 1, Ordering::Relaxed);
    }
    Ok(())
}

impl CountFs {
    /// Adds to each of `counters` in one transaction, and frees or takes a block as its sign says.
    fn add(&self, cx: &Context<Self>, counters: &[u64], amount: i64) -> Result<()> {
        access()?;
        let tx = cx.begin(Credits { blocks: counters.len() as u32 + 1, revokes: 1 })?;
        let result = self.add_in(cx, &tx, counters, amount);
        if result.is_err() && FORGETS.load(Ordering::Relaxed) {
            std::mem::forget(tx);
            return result;
        }
        result?;
        access()?;
        tx.commit()
    }

    fn add_in(&self, cx: &Context<Self>, tx: &Transaction<'_>, counters: &[u64], amount: i64) -> Result<()> {
        let device = cx.device();
        for number in counters {
            access()?;
            let block = device.read(self.first + *number - INODE)?;
            let value: u64 = block.get(0)?;
            let complement: u64 = block.get(8)?;
            if value != !complement {
                return Err(Errno::EUCLEAN);
            }
            access()?;
            match self.sums.0 {
                Some(sum) => tx.write_summed(&block, sum)?,
                None => tx.write(&block)?,
            }
            access()?;
            let value = value.wrapping_add_signed(amount);
            tx.put(&block, 0, value)?;
            access()?;
            tx.put(&block, 8, !value)?;
            access()?;
            let inode = cx.inode(Ino::new(*number).ok_or(Errno::EIO)?)?;
            tx.update(inode, |attr| attr.size = value)?;
        }
        match amount {
            1.. => tx.claim(amount.unsigned_abs()),
            _ => {
                tx.release(amount.unsigned_abs());
                Ok(())
            }
        }
    }
}

#[bento_fs]
impl FileSystem for CountFs {
    type Inode = Loaded;

    fn mount(cx: &MountContext) -> Result<Self> {
        let Options { interval } = cx.options()?;
        cx.set_block_size(BLOCK as u32)?;
        let block = cx.device().read(0)?;
        if block.get::<u64>(0)? != MAGIC {
            return Err(cx.refuse(format_args!("no counters here")));
        }
        let first = block.get::<u64>(8)?;
        let (wide, checksums) = (block.get::<u32>(16)? != 0, block.get::<u32>(20)? != 0);
        let mut runs = Vec::new();
        let mut logical = 0;
        for run in 0..block.get::<u32>(24)? as usize {
            let (physical, count) = (block.get::<u64>(32 + run * 16)?, block.get::<u64>(40 + run * 16)?);
            runs.push(JournalRun { logical, physical, count });
            logical += count;
        }
        drop(block);
        if !runs.is_empty() {
            let journal =
                Journal { runs: &runs, wide, checksums, barrier: true, discard: false, commit_interval: interval };
            let open = cx.open_journal(&journal)?;
            cx.log(format_args!("replayed {}, error {:?}", open.replayed, open.error));
        }
        let sum = cx.add_checksum(0, 16, 16, 0x1234, true)?;
        cx.set_space(&Space { free: 1000, root_only: 10, margin: 5, owner: (0, 0) });
        if cx.why() == Why::Restart {
            cx.log(format_args!("again"));
        }
        Ok(CountFs { first, sums: Sums(Some(sum)) })
    }

    /// Sizes are counters: there are no data.
    fn map_extents(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        offset: u64,
        len: u64,
        extents: &mut Extents,
    ) -> Result<()> {
        extents.push(Extent::Hole { offset, len })
    }

    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Loaded)> {
        match ino.get() {
            1 => Ok((Attr::directory(0o755), Loaded)),
            number if (INODE..INODE + COUNTERS).contains(&number) => {
                let value: u64 = cx.device().read(self.first + number - INODE)?.get(0)?;
                Ok((Attr::file(0o644, value), Loaded))
            }
            _ => Err(Errno::ESTALE),
        }
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        let number = std::str::from_utf8(name.as_bytes()).ok().and_then(|text| text.parse::<u64>().ok());
        let number = number.filter(|number| *number < COUNTERS).ok_or(Errno::ENOENT)?;
        Ino::new(INODE + number).ok_or(Errno::EIO)
    }

    fn getxattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _name: &Name, _value: &mut XattrValue) -> Result<()> {
        Err(Errno::ENODATA)
    }

    /// `user.add` on the file adds to it, `user.move` moves from it to the next, `user.fresh` and `user.free` make a block
    /// and free it, `user.fail` is `Device::fail`.
    fn setxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], _flags: u32) -> Result<()> {
        let number = inode.ino().get();
        let value = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()).ok_or(Errno::EINVAL)?;
        match name.as_bytes() {
            b"user.add" => self.add(cx, &[number], value),
            b"user.all" => self.add(cx, &(INODE..INODE + COUNTERS).collect::<Vec<_>>(), value),
            b"user.fresh" => {
                access()?;
                let tx = cx.begin(1)?;
                access()?;
                let block = tx.fresh(value.unsigned_abs())?;
                access()?;
                tx.fill(&block, 0, block.len(), 0xcc)?;
                access()?;
                tx.commit()
            }
            // Begins as every block of the journal's own does.
            b"user.magic" => {
                let tx = cx.begin(1)?;
                let block = tx.fresh(value.unsigned_abs())?;
                tx.fill(&block, 0, block.len(), 0xee)?;
                tx.put_bytes(&block, 0, &[0xc0, 0x3b, 0x39, 0x98])?;
                tx.commit()
            }
            b"user.free" => {
                let tx = cx.begin(Credits { blocks: 1, revokes: 1 })?;
                let block = cx.device().read(value.unsigned_abs())?;
                tx.put(&block, 0, 0xffff_ffffu32)?;
                tx.forget(value.unsigned_abs())?;
                tx.commit()
            }
            // More blocks than were declared.
            b"user.greedy" => {
                let tx = cx.begin(1)?;
                tx.put(&cx.device().read(self.first)?, 0, 1u64)?;
                tx.put(&cx.device().read(self.first + 1)?, 0, 1u64)?;
                tx.commit()
            }
            b"user.large" => cx.begin(value.unsigned_abs() as u32).map(drop),
            b"user.outside" => cx.device().read(value.unsigned_abs()).map(drop),
            b"user.nested" => {
                let _tx = cx.begin(1)?;
                cx.begin(1).map(drop)
            }
            b"user.fail" => {
                cx.device().fail(OnError::ReadOnly);
                Ok(())
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

/// What kind of journal an image has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    pub wide: bool,
    pub checksums: bool,
}

/// Block 0.
pub fn head(image: &mut [u8], first: u64, kind: Kind, runs: &[(u64, u64)]) {
    image[..8].copy_from_slice(&MAGIC.to_le_bytes());
    image[8..16].copy_from_slice(&first.to_le_bytes());
    image[16] = kind.wide.into();
    image[20] = kind.checksums.into();
    image[24..28].copy_from_slice(&(runs.len() as u32).to_le_bytes());
    for (n, (physical, count)) in runs.iter().enumerate() {
        image[32 + n * 16..40 + n * 16].copy_from_slice(&physical.to_le_bytes());
        image[40 + n * 16..48 + n * 16].copy_from_slice(&count.to_le_bytes());
    }
}

pub fn zero_counters(image: &mut [u8], first: u64) {
    for counter in first..first + COUNTERS {
        let at = (counter * BLOCK) as usize;
        image[at..at + BLOCK as usize].fill(0);
        image[at + 8..at + 16].copy_from_slice(&(!0u64).to_le_bytes());
    }
}

/// An image with the counters at 0 and, from block 64 on, an empty journal of `journal` blocks, in two runs that are not
/// in their order on the device.
pub fn image(blocks: u64, journal: u64, kind: Kind) -> Vec<u8> {
    let mut image = vec![0; (blocks * BLOCK) as usize];
    let half = journal / 2;
    let runs = [(64 + journal - half, half), (64, journal - half)];
    head(&mut image, FIRST, kind, if journal == 0 { &[] } else { &runs });
    zero_counters(&mut image, FIRST);
    if journal > 0 {
        let at = (runs[0].0 * BLOCK) as usize;
        let words = [0xc03b_3998, 4, 0, BLOCK as u32, journal as u32, 1, 7, 0];
        for (n, word) in words.iter().enumerate() {
            image[at + n * 4..at + n * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
        image[at + 0x30..at + 0x40].copy_from_slice(b"an uuid, of sort");
    }
    image
}

/// The counters in an image, each with its checksum right, or why not.
pub fn counters(image: &[u8]) -> std::result::Result<Vec<u64>, String> {
    let first = u64::from_le_bytes(image[8..16].try_into().unwrap());
    (first..first + COUNTERS)
        .map(|counter| {
            let at = (counter * BLOCK) as usize;
            let word = |from: usize| u64::from_le_bytes(image[at + from..at + from + 8].try_into().unwrap());
            let (value, complement) = (word(0), word(8));
            if value != !complement {
                return Err(format!("counter {counter} is torn: {value:#x} and {complement:#x}"));
            }
            if word(16) != 0 {
                let sum = bento::fs::crc32c(bento::fs::crc32c(0x1234, &counter.to_le_bytes()), &image[at..at + 16]);
                if u64::from(sum) != word(16) {
                    return Err(format!("counter {counter} has the sum {:#x}, not {sum:#x}", word(16)));
                }
            }
            Ok(value)
        })
        .collect()
}
