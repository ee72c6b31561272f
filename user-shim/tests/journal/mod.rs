// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system that is a few counters in blocks: what a transaction does to them can be told from the image.
//!
//! Block 0: `magic`, the first block of the journal and its length (0: none), then where the counters are, each in a block
//! of its own: byte 0 the value, at 8 its complement, at 16 a checksum that the shim keeps, at 24 the size of that "file".
//! Counters are files, named by their numbers; their links count what was added.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bento::fs::{Checksum, Credits, Journal, JournalRun, OnError, Space, Why};
use bento::prelude::*;

pub const MAGIC: u64 = 0x7265_746e_756f_6331;
pub const BLOCK: u64 = 1024;
/// The first counter's block; the block number is the inode number, too.
pub const FIRST: u64 = 16;
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
            let block = device.read(*number)?;
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
        let (first, count, wide, checksums) = {
            let block = cx.device().read(0)?;
            if block.get::<u64>(0)? != MAGIC {
                return Err(cx.refuse(format_args!("no counters here")));
            }
            (block.get::<u64>(8)?, block.get::<u64>(16)?, block.get::<u32>(24)? != 0, block.get::<u32>(28)? != 0)
        };
        if count > 0 {
            // In two runs, so that what is one block behind the other in the journal is not so on the device.
            let half = count / 2;
            let runs = [
                JournalRun { logical: 0, physical: first + count - half, count: half },
                JournalRun { logical: half, physical: first, count: count - half },
            ];
            let journal =
                Journal { runs: &runs, wide, checksums, barrier: true, discard: false, commit_interval: interval };
            let open = cx.open_journal(&journal)?;
            cx.log(format_args!("replayed {} transactions, credits {}", open.replayed, open.max_credits));
        }
        let sum = cx.add_checksum(0, 16, 16, 0x1234, true)?;
        cx.set_space(&Space { free: 1000, root_only: 10, margin: 5, owner: (0, 0) });
        if cx.why() == Why::Restart {
            cx.log(format_args!("again"));
        }
        Ok(CountFs { sums: Sums(Some(sum)) })
    }

    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Loaded)> {
        match ino.get() {
            1 => Ok((Attr::directory(0o755), Loaded)),
            number if (FIRST..FIRST + COUNTERS).contains(&number) => {
                let value: u64 = cx.device().read(number)?.get(0)?;
                Ok((Attr::file(0o644, value), Loaded))
            }
            _ => Err(Errno::ESTALE),
        }
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        let number = std::str::from_utf8(name.as_bytes()).ok().and_then(|text| text.parse::<u64>().ok());
        let number = number.filter(|number| *number < COUNTERS).ok_or(Errno::ENOENT)?;
        Ino::new(FIRST + number).ok_or(Errno::EIO)
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
            b"user.all" => self.add(cx, &(FIRST..FIRST + COUNTERS).collect::<Vec<_>>(), value),
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
            b"user.free" => {
                let tx = cx.begin(Credits { blocks: 1, revokes: 1 })?;
                let block = cx.device().read(value.unsigned_abs())?;
                tx.put(&block, 0, 0xffff_ffffu32)?;
                tx.forget(value.unsigned_abs())?;
                tx.commit()
            }
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

/// An image with the counters at 0, and room for a journal of `journal` blocks from block 64 on.
pub fn image(blocks: u64, journal: u64, wide: bool, checksums: bool) -> Vec<u8> {
    let mut image = vec![0; (blocks * BLOCK) as usize];
    image[..8].copy_from_slice(&MAGIC.to_le_bytes());
    image[8..16].copy_from_slice(&64u64.to_le_bytes());
    image[16..24].copy_from_slice(&journal.to_le_bytes());
    image[24] = wide.into();
    image[28] = checksums.into();
    for counter in FIRST..FIRST + COUNTERS {
        let at = (counter * BLOCK) as usize;
        image[at + 8..at + 16].copy_from_slice(&(!0u64).to_le_bytes());
    }
    image
}

/// The counters in an image, each with its checksum right, or why not.
pub fn counters(image: &[u8]) -> std::result::Result<Vec<u64>, String> {
    (FIRST..FIRST + COUNTERS)
        .map(|counter| {
            let at = (counter * BLOCK) as usize;
            let word = |from: usize| u64::from_le_bytes(image[at + from..at + from + 8].try_into().unwrap());
            let (value, complement) = (word(0), word(8));
            if value != !complement {
                return Err(format!("counter {counter} is torn: {value:#x} and {complement:#x}"));
            }
            Ok(value)
        })
        .collect()
}
