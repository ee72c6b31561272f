// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A disk file system that is a few counters in blocks: what a transaction did, or did not, can be told from them.
//!
//! Blocks of 1 KiB. Block 0: `magic`, the journal's first block and its length (0: none). Counter n lies in block 16 + n,
//! which is its inode number, too; it is the file named n as long as it has a link. Commands are extended attributes that
//! are set, see [`JournalFs::command`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use core::mem;

use bento::fs::{Checksum, Credits, Extent, Extents, Journal, JournalRun, OnError, Space, crc32c};
use bento::prelude::*;

const MAGIC: u64 = 0x316c_616e_7275_6f6a; // "journal1"
const BLOCK: u32 = 1024;
const FIRST: u64 = 16;
const COUNTERS: u64 = 8;

/// Fields of a counter's block: its value and the complement, the checksum that the shim keeps of these two, its links,
/// and what `write_inode` and `setattr` store.
const VALUE: usize = 0;
const COMPLEMENT: usize = 8;
const SUM: usize = 16;
const LINKS: usize = 24;
const MODE: usize = 32;
const MTIME: usize = 40;
const SEED: u32 = 0x1234;
/// The value that eviction leaves.
const EVICTED: u64 = 999;

#[derive(MountOptions)]
struct Options {
    /// Seconds between commits.
    #[option(default = 300)]
    interval: u32,
    /// What the journal holds is dropped.
    #[option(default = 0)]
    discard: u32,
}

#[bento_fs(name = "journalfs", version = 1, data = "extents", on_panic = "restart")]
pub struct JournalFs {
    #[state(skip)]
    sum: Sum,
    #[state(skip)]
    change: Mutex<()>,
}

#[derive(Default)]
pub struct Sum(Option<Checksum>);

/// Made again by each version.
#[derive(State)]
#[state(reload)]
pub struct Loaded;

/// Panics when it is dropped: in the middle of a panic, that abandons the call.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

fn number(text: &[u8]) -> Result<u64> {
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Errno::EINVAL)
}

fn is_counter(number: u64) -> bool {
    (FIRST..FIRST + COUNTERS).contains(&number)
}

impl JournalFs {
    fn write<'tx>(&self, cx: &'tx Context<Self>, tx: &Transaction<'tx>, counter: u64) -> Result<Block<'tx>> {
        let block = cx.device().read(counter)?;
        match self.sum.0 {
            Some(sum) => tx.write_summed(&block, sum)?,
            None => tx.write(&block)?,
        }
        Ok(block)
    }

    fn set(&self, tx: &Transaction<'_>, block: &Block<'_>, value: u64) -> Result<()> {
        tx.put(block, VALUE, value)?;
        tx.put(block, COMPLEMENT, !value)
    }

    /// Adds to every counter, with a block claimed for each.
    fn add<'tx>(&self, cx: &'tx Context<Self>, tx: &Transaction<'tx>, amount: u64) -> Result<()> {
        for counter in FIRST..FIRST + COUNTERS {
            let block = self.write(cx, tx, counter)?;
            let value: u64 = block.get(VALUE)?;
            if block.get::<u64>(COMPLEMENT)? != !value {
                return Err(Errno::EUCLEAN);
            }
            self.set(tx, &block, value + amount)?;
        }
        tx.claim(COUNTERS)
    }

    /// `user.add` adds to all; `error`, `panic`, `abandon`, `leave` do so and end in that way instead of a commit; `exceed`
    /// asks for fewer blocks than it changes; `nested` begins twice; `fresh` fills a block and `free` frees it; `fail` is
    /// `errors=remount-ro`.
    fn command(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &[u8], value: u64) -> Result<()> {
        let all = Credits { blocks: COUNTERS as u32 + 1, revokes: 1 };
        if name == b"user.fail" {
            cx.device().fail(OnError::ReadOnly);
            return Ok(());
        }
        let tx = cx.begin(if name == b"user.exceed" { Credits::from(2) } else { all })?;
        // Left behind with the transaction, it would stay locked.
        let _change = if name == b"user.leave" { None } else { Some(tx.lock(&self.change)?) };
        match name {
            b"user.fresh" => {
                let block = tx.fresh(value)?;
                tx.fill(&block, 0, block.len(), 0xcc)?;
            }
            b"user.free" => tx.forget(value)?,
            b"user.nested" => return cx.begin(1).map(drop),
            _ => self.add(cx, &tx, value)?,
        }
        tx.update(inode, |attr| attr.mtime = cx.now())?;
        match name {
            b"user.error" => return Err(Errno::EINVAL),
            b"user.panic" => panic!("as asked"),
            b"user.abandon" => {
                let _bomb = Bomb;
                panic!("as asked");
            }
            b"user.leave" => {
                mem::forget(tx);
                return Ok(());
            }
            _ => {}
        }
        tx.commit()
    }
}

#[bento_fs]
impl FileSystem for JournalFs {
    type Inode = Loaded;

    fn mount(cx: &MountContext) -> Result<Self> {
        let Options { interval, discard } = cx.options()?;
        cx.set_block_size(BLOCK)?;
        let (first, count) = {
            let block = cx.device().read(0)?;
            if block.get::<u64>(0)? != MAGIC {
                return Err(cx.refuse(format_args!("no counters here")));
            }
            (block.get::<u64>(8)?, block.get::<u64>(16)?)
        };
        if count > 0 {
            // Two runs, the second half of the journal before the first.
            let half = count / 2;
            let runs = [
                JournalRun { logical: 0, physical: first + count - half, count: half },
                JournalRun { logical: half, physical: first, count: count - half },
            ];
            let journal = Journal {
                runs: &runs,
                wide: true,
                checksums: true,
                barrier: true,
                discard: discard != 0,
                commit_interval: interval,
            };
            let open = cx.open_journal(&journal)?;
            cx.log(format_args!("replayed {}, error {:?}, credits {}", open.replayed, open.error, open.max_credits));
        }
        let sum = cx.add_checksum(VALUE as u32, 16, SUM as u32, SEED, true)?;
        cx.set_space(&Space { free: 1000, root_only: 10, margin: 5, owner: (0, 0) });
        Ok(JournalFs { sum: Sum(Some(sum)), change: Mutex::new(()) })
    }

    fn recover(&self, cx: &Context<Self>) -> Result<()> {
        cx.log(format_args!("recover"));
        Ok(())
    }

    fn reconfigure(&self, cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        // The last transaction, or the first.
        let tx = cx.begin(2)?;
        let block = cx.device().read(1)?;
        tx.put(&block, 0, u64::from(change.flags().read_only))?;
        tx.commit()
    }

    fn unmount(&self, cx: &Context<Self>) {
        if !cx.device().read_only() {
            let done = cx.begin(2).and_then(|tx| {
                let block = cx.device().read(1)?;
                tx.put(&block, 8, 1u64)?;
                tx.commit()
            });
            cx.log(format_args!("unmount {done:?}"));
        }
    }

    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Loaded)> {
        match ino.get() {
            1 => Ok((Attr::directory(0o755), Loaded)),
            counter if is_counter(counter) => {
                let block = cx.device().read(counter)?;
                let mut attr = Attr::file(block.get::<u32>(MODE)?, 0);
                attr.nlink = block.get(LINKS)?;
                attr.mtime.sec = block.get::<u64>(MTIME)? as i64;
                Ok((attr, Loaded))
            }
            _ => Err(Errno::ESTALE),
        }
    }

    fn write_inode(&self, cx: &Context<Self>, inode: &Inode<Self>, _wait: bool) -> Result<()> {
        if !is_counter(inode.ino().get()) {
            return Ok(());
        }
        let tx = cx.begin(1)?;
        let block = self.write(cx, &tx, inode.ino().get())?;
        tx.put(&block, MTIME, inode.attr().mtime.sec as u64)?;
        tx.commit()
    }

    fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        let tx = cx.begin(1)?;
        let attr = tx.update(inode, |attr| {
            attr.mode = change.mode().unwrap_or(attr.mode);
            attr.mtime = change.mtime().unwrap_or(attr.mtime);
            attr.ctime = change.ctime().unwrap_or(attr.ctime);
        })?;
        if is_counter(inode.ino().get()) {
            let block = self.write(cx, &tx, inode.ino().get())?;
            tx.put(&block, MODE, attr.mode & 0o7777)?;
            tx.put(&block, MTIME, attr.mtime.sec as u64)?;
        }
        tx.commit()
    }

    fn lookup(&self, cx: &Context<Self>, _dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        let counter = number(name.as_bytes()).ok().filter(|n| *n < COUNTERS).ok_or(Errno::ENOENT)? + FIRST;
        if cx.device().read(counter)?.get::<u32>(LINKS)? == 0 {
            return Err(Errno::ENOENT);
        }
        Ino::new(counter).ok_or(Errno::EIO)
    }

    fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        let counter = number(name.as_bytes()).ok().filter(|n| *n < COUNTERS).ok_or(Errno::EINVAL)? + FIRST;
        let tx = cx.begin(2)?;
        let block = self.write(cx, &tx, counter)?;
        self.set(&tx, &block, 0)?;
        tx.put(&block, LINKS, 1u32)?;
        tx.put(&block, MODE, new.mode() & 0o7777)?;
        tx.update(dir, |attr| attr.mtime = cx.now())?;
        tx.update_new(&new, |attr| attr.blocks = 2)?;
        let created = new.assign(Ino::new(counter).ok_or(Errno::EIO)?, Loaded);
        tx.commit()?;
        Ok(created)
    }

    fn unlink(&self, cx: &Context<Self>, dir: &Inode<Self>, _name: &Name, inode: &Inode<Self>) -> Result<()> {
        let tx = cx.begin(1)?;
        let block = self.write(cx, &tx, inode.ino().get())?;
        tx.put(&block, LINKS, 0u32)?;
        tx.update(dir, |attr| attr.mtime = cx.now())?;
        tx.update(inode, |attr| attr.nlink = 0)?;
        tx.commit()
    }

    fn evict_inode(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()> {
        let tx = cx.begin(1)?;
        let block = self.write(cx, &tx, inode.ino().get())?;
        self.set(&tx, &block, EVICTED)?;
        tx.update(inode, |attr| attr.blocks = 0)?;
        tx.release(1);
        tx.commit()
    }

    fn iterate(&self, cx: &Context<Self>, _dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        for n in pos..COUNTERS {
            let counter = n + FIRST;
            if cx.device().read(counter)?.get::<u32>(LINKS)? > 0 {
                let (name, ino) = (format!("{n}"), Ino::new(counter).ok_or(Errno::EIO)?);
                if !entries.emit(Name::new(name.as_bytes()), ino, FileType::Regular, n + 1) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn statfs(&self, _cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        statfs.blocks = 2000;
        Ok(())
    }

    /// `user.value`: of a counter; `user.values`: of all; `user.sum`: is the checksum right?
    fn getxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()> {
        let show = |counter: u64| -> Result<u64> {
            let block = cx.device().read(counter)?;
            let shown: u64 = block.get(VALUE)?;
            if block.get::<u64>(COMPLEMENT)? == !shown { Ok(shown) } else { Err(Errno::EUCLEAN) }
        };
        let counter = inode.ino().get();
        match name.as_bytes() {
            b"user.value" if is_counter(counter) => value.put(format!("{}", show(counter)?).as_bytes()),
            b"user.values" => {
                for counter in FIRST..FIRST + COUNTERS {
                    value.put(format!("{} ", show(counter)?).as_bytes());
                }
            }
            b"user.sum" if is_counter(counter) => {
                let block = cx.device().read(counter)?;
                let sum = block.crc32c(crc32c(SEED, &counter.to_le_bytes()), VALUE, 16)?;
                value.put(if sum == block.get(SUM)? { b"right" } else { b"wrong" });
            }
            _ => return Err(Errno::ENODATA),
        }
        Ok(())
    }

    fn setxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], _flags: u32) -> Result<()> {
        self.command(cx, inode, name.as_bytes(), number(value)?)
    }

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
}
