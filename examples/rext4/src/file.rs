// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Contents of files: where they lie, space for them, and changes of the size. What takes long is done in steps, each a
//! transaction that leaves the file whole.

use bento::prelude::*;

use crate::Rext4;
use crate::disk::Ip;
use crate::map::{self, Budget, END, Found, Hints, Indirect, Map, Run};
use crate::txn::{Txn, Use};

/// What one transaction that allocates or converts may change of a file's map, and the inode.
const EDIT_CREDITS: u32 = 24;
/// Extents that one transaction allocates.
const RUNS: u32 = 16;

/// What asks for more than so many blocks at once needs no place to grow.
const CROSSING: u32 = 512;

/// Modes of `fallocate(2)`.
mod mode {
    pub const KEEP_SIZE: u32 = 0x1;
    pub const PUNCH_HOLE: u32 = 0x2;
    pub const COLLAPSE_RANGE: u32 = 0x8;
    pub const ZERO_RANGE: u32 = 0x10;
    pub const INSERT_RANGE: u32 = 0x20;
}

/// A file, in a handler.
struct File<'a> {
    fs: &'a Rext4,
    cx: &'a Context<Rext4>,
    inode: &'a Inode<Rext4>,
    ino: u32,
    block: u64,
}

/// A step of [`File`]: a transaction that holds the file's map.
struct Step<'a> {
    file: &'a File<'a>,
    txn: Txn<'a>,
    ip: Ip<'a>,
}

impl<'a> File<'a> {
    fn new(fs: &'a Rext4, cx: &'a Context<Rext4>, inode: &'a Inode<Rext4>) -> Result<Self> {
        let ino = u32::try_from(inode.ino().get()).map_err(|_| Errno::EUCLEAN)?;
        Ok(File { fs, cx, inode, ino, block: fs.sb.block_size.into() })
    }

    #[inline(always)]
    fn begin(&'a self, credits: impl Into<bento::fs::Credits>) -> Result<Step<'a>> {
        // A read of the disk is better done while nobody waits for this transaction.
        let ip = self.fs.ip(self.cx.device(), self.ino)?;
        let txn = Txn::begin(self.fs, self.cx.device(), credits)?;
        Ok(Step { file: self, txn, ip })
    }

    /// Blocks of the file that `offset..offset + len` touches.
    fn blocks(&self, offset: u64, len: u64) -> Result<(u64, u64)> {
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        Ok((offset / self.block, end.div_ceil(self.block)))
    }
}

impl Step<'_> {
    fn has_extents(&self) -> Result<bool> {
        map::has_extents(&self.ip)
    }

    /// Stores what `change` makes of the attributes, with `taken` and without `freed` blocks: the last before the commit.
    fn store(&self, taken: u64, freed: u64, change: impl FnOnce(&mut Attr)) -> Result<()> {
        self.store_reached(taken, freed, 0, change)
    }

    /// The same, where data are on the device as far as `reached` bytes.
    #[inline(never)]
    fn store_reached(&self, taken: u64, freed: u64, reached: u64, change: impl FnOnce(&mut Attr)) -> Result<()> {
        let sectors = self.file.block / 512;
        let mut attr = self.txn.tx.update(self.file.inode, |attr| {
            attr.blocks = (attr.blocks + taken * sectors).saturating_sub(freed * sectors);
            change(attr);
        })?;
        attr.disk_size = attr.disk_size.max(reached.min(attr.size));
        self.txn.store(&self.ip, &attr)?;
        self.txn.seal(&self.ip)
    }
}

/// The largest size, in bytes, of a file that is mapped like this one.
pub fn max_size(fs: &Rext4, ip: &Ip<'_>) -> Result<u64> {
    let blocks = if map::has_extents(ip)? { END - 1 } else { Indirect::limit(fs.sb.block_size) };
    Ok(blocks * u64::from(fs.sb.block_size))
}

/// Joins what is found with what comes next, and hands it on.
struct Collector<'a, 'call> {
    extents: &'a mut Extents<'call>,
    block: u64,
    last: Option<(u64, u64, What)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Hole,
    /// On the device from this block; unwritten; new.
    At(u64, bool, bool),
}

impl What {
    fn extent(self, from: u64, end: u64, block: u64) -> Extent {
        let (offset, len) = (from * block, (end - from) * block);
        match self {
            What::Hole => Extent::Hole { offset, len },
            What::At(at, true, new) => Extent::Unwritten { offset, len, addr: at * block, new },
            What::At(at, false, new) => Extent::Mapped { offset, len, addr: at * block, new },
        }
    }
}

impl Collector<'_, '_> {
    /// `false` when there is no room for it.
    fn add(&mut self, from: u64, end: u64, what: What) -> Result<bool> {
        if let Some((start, to, last)) = &mut self.last {
            let joins = match (*last, what) {
                (What::Hole, What::Hole) => true,
                (What::At(at, unwritten, new), What::At(next, unwritten2, new2)) => {
                    at + (*to - *start) == next && unwritten == unwritten2 && new == new2
                }
                _ => false,
            };
            if joins {
                *to = end;
                return Ok(true);
            }
        }
        self.flush()?;
        if !self.extents.has_room() {
            return Ok(false);
        }
        self.last = Some((from, end, what));
        Ok(true)
    }

    fn flush(&mut self) -> Result<()> {
        let Some((from, end, what)) = self.last.take() else { return Ok(()) };
        self.extents.push(what.extent(from, end, self.block))
    }
}

pub fn map_extents(
    fs: &Rext4,
    cx: &Context<Rext4>,
    inode: &Inode<Rext4>,
    offset: u64,
    len: u64,
    extents: &mut Extents,
) -> Result<()> {
    let file = File::new(fs, cx, inode)?;
    let (mut at, end) = file.blocks(offset, len)?;
    let _map = inode.map.lock();
    let ip = fs.ip(cx.device(), file.ino)?;
    let mut map = Map::new(fs, cx.device(), &ip, map::has_extents(&ip)?);
    let mut found = Collector { extents, block: file.block, last: None };
    while at < end {
        let (next, what) = match u32::try_from(at) {
            // No block of a file lies there.
            Err(_) => (end, What::Hole),
            Ok(logical) => match map.lookup(logical)? {
                Found::Hole(to) => (to.clamp(at + 1, end), What::Hole),
                Found::Run(run) => {
                    let run = run.part(at, end).ok_or(Errno::EUCLEAN)?;
                    (run.end(), What::At(run.start, run.unwritten, false))
                }
            },
        };
        if !found.add(at, next, what)? {
            break;
        }
        at = next;
    }
    found.flush()
}

/// How [`fill`] is to fill a hole, and what it may change besides.
#[derive(Clone, Copy)]
struct Fill {
    /// New extents, and those that are unwritten, hold data.
    written: bool,
    /// Blocks that are written become unwritten.
    zero: Option<(u64, u64)>,
}

/// What [`fill`] found or made, up to `end`.
struct Filled {
    run: Run,
    new: bool,
    /// The transaction has changed the file.
    changed: bool,
    taken: u64,
}

/// Fills the file from `at` on, at most to `end`, by one extent. `None`: the transaction is to end first.
#[inline(never)]
fn fill(
    step: &Step<'_>,
    map: &mut Map<'_, '_>,
    hints: &mut Hints,
    at: u64,
    end: u64,
    how: Fill,
) -> Result<Option<Filled>> {
    let logical = u32::try_from(at).map_err(|_| Errno::EFBIG)?;
    let txn = &step.txn;
    let hole = match map.lookup(logical)? {
        Found::Hole(to) => to,
        Found::Run(run) => {
            let part = run.part(at, end).ok_or(Errno::EUCLEAN)?;
            let same = Filled { run: part, new: false, changed: false, taken: 0 };
            let Map::Tree(tree) = map else { return Ok(Some(same)) };
            let (from, to) = match how.zero {
                _ if how.written && run.unwritten => (at, end),
                Some((from, to)) if !run.unwritten => (at.max(from), end.min(to)),
                _ => return Ok(Some(same)),
            };
            if run.part(from, to).is_none() {
                return Ok(Some(same));
            }
            if tree.reserve().is_err() {
                return Ok(None);
            }
            tree.mark(&run, from, to, !run.unwritten)?;
            return Ok(Some(Filled { run: part, new: true, changed: true, taken: 0 }));
        }
    };
    if map.reserve().is_err() {
        return Ok(None);
    }
    let (unwritten, most) = match map {
        Map::Tree(_) => (!how.written, Run::most(!how.written)),
        Map::Indirect(map) => (false, map.room(logical)),
    };
    let want = (hole.min(end) - at).min(most.into()) as u32;
    if want == 0 {
        return Err(Errno::EFBIG);
    }
    let goal = match map.goal(logical)? {
        // Files that grow in turn leave one another: from a place of its own each grows in one piece again.
        Some(goal) if hints.crossed => elsewhere(step.file.fs, step.file.ino, goal),
        Some(goal) => goal,
        None if hints.next != 0 => hints.next,
        None => step.file.fs.goal(step.file.ino),
    };
    let (start, len) = txn.allocate(goal, want, Use::Data)?;
    hints.crossed = goal == hints.next && start != goal && want < CROSSING;
    if !how.written && !unwritten {
        // Nothing on the disk will tell these blocks from data until the data are there.
        txn.device.zero(start, len.into())?;
    }
    let run = Run { logical, len, start, unwritten };
    if let Err(error) = map.insert(run) {
        // The caller may yet keep what it has got so far.
        txn.free(start, len, Use::Data)?;
        return Err(error);
    }
    hints.next = start + u64::from(len);
    Ok(Some(Filled { run, new: true, changed: true, taken: len.into() }))
}

/// A place for a file whose growth at `goal` another has crossed: not far, and hardly the same for two files.
fn elsewhere(fs: &Rext4, ino: u32, goal: u64) -> u64 {
    let (first, end) = (u64::from(fs.sb.first_block), fs.sb.blocks);
    let mixed = (u64::from(ino) << 32 | goal & 0xffff_ffff).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let place = goal + mixed % (8 * u64::from(fs.sb.blocks_per_group).max(1));
    if place < end { place } else { first + place % end.saturating_sub(first).max(1) }
}

pub fn allocate_extents(
    fs: &Rext4,
    cx: &Context<Rext4>,
    inode: &Inode<Rext4>,
    offset: u64,
    len: u64,
    how: Allocate,
    extents: &mut Extents,
) -> Result<()> {
    let file = File::new(fs, cx, inode)?;
    let (first, end) = file.blocks(offset, len)?;
    let step = file.begin(EDIT_CREDITS + 1)?;
    let mut hints = step.txn.tx.lock(&inode.map)?;
    let end = end.min(max_size(fs, &step.ip)? / file.block);
    let mut map = Map::edit(&step.txn, &step.ip, EDIT_CREDITS, step.has_extents()?);
    let how = Fill { written: how.written, zero: None };
    let (mut at, mut taken, mut changed) = (first, 0, false);
    let mut reached = 0;
    if at >= end {
        return Err(Errno::EFBIG);
    }
    while at < end && extents.has_room() {
        let filled = match fill(&step, &mut map, &mut hints, at, end, how) {
            Ok(Some(filled)) => filled,
            // What there is will do for now.
            Ok(None) | Err(Errno::ENOSPC) if changed => break,
            Ok(None) => return Err(Errno::ENOSPC),
            Err(error) => return Err(error),
        };
        changed |= filled.changed;
        taken += filled.taken;
        let what = What::At(filled.run.start, !how.written && filled.run.unwritten, filled.new);
        let next = filled.run.end();
        extents.push(what.extent(at, next, file.block))?;
        at = next;
        if filled.new && (how.written || !filled.run.unwritten) {
            reached = at * file.block;
        }
    }
    let (grown, _) = map.finish()?;
    if !changed {
        return Ok(());
    }
    step.store_reached(taken + u64::from(grown), 0, reached, |_| ())?;
    step.txn.commit()
}

pub fn convert_extents(fs: &Rext4, cx: &Context<Rext4>, inode: &Inode<Rext4>, written: Written) -> Result<()> {
    let file = File::new(fs, cx, inode)?;
    let (first, end) = file.blocks(written.offset, written.len)?;
    let mut at = first;
    loop {
        let step = file.begin(EDIT_CREDITS + 1)?;
        let _map = step.txn.tx.lock(&inode.map)?;
        let mut map = Map::edit(&step.txn, &step.ip, EDIT_CREDITS, step.has_extents()?);
        let mut changed = false;
        if let Map::Tree(tree) = &mut map {
            while at < end {
                let logical = u32::try_from(at).map_err(|_| Errno::EFBIG)?;
                let run = match tree.lookup(logical)? {
                    Found::Run(run) => run,
                    // Cut off meanwhile.
                    Found::Hole(to) => {
                        at = to.min(end);
                        continue;
                    }
                };
                let part = run.part(at, end).ok_or(Errno::EUCLEAN)?;
                if run.unwritten {
                    if part.start != written.addr / file.block + (at - first) {
                        cx.log(format_args!(
                            "inode {}: block {at} was written to block {}, but lies at {}",
                            file.ino,
                            written.addr / file.block + (at - first),
                            part.start
                        ));
                        return Err(Errno::EIO);
                    }
                    match tree.reserve() {
                        Ok(()) => {}
                        Err(Errno::ENOSPC) if changed => break,
                        Err(error) => return Err(error),
                    }
                    tree.mark(&run, at, end, false)?;
                    changed = true;
                }
                at = part.end();
            }
        } else {
            at = end;
        }
        let (grown, _) = map.finish()?;
        step.store_reached(grown.into(), 0, at * file.block, |_| ())?;
        step.txn.commit()?;
        if at >= end {
            return Ok(());
        }
    }
}

/// A size is set: what lies behind it is freed. `change` does what else is asked for, with the size.
#[inline(never)]
pub fn set_size(
    fs: &Rext4,
    cx: &Context<Rext4>,
    inode: &Inode<Rext4>,
    size: u64,
    change: impl FnOnce(&mut Attr),
) -> Result<()> {
    let file = File::new(fs, cx, inode)?;
    let step = file.begin(map::STEP_CREDITS)?;
    let _map = step.txn.tx.lock(&inode.map)?;
    if size > max_size(fs, &step.ip)? {
        return Err(Errno::EFBIG);
    }
    let from = u32::try_from(size.div_ceil(file.block)).map_err(|_| Errno::EFBIG)?;
    let freed = map::truncate_step(&step.txn, &step.ip, from)?;
    // Without a name it is on the list already, and stays.
    let listed = !freed.done && inode.attr().nlink > 0;
    if listed {
        step.txn.orphan_add(&step.ip)?;
    }
    let sectors = file.block / 512;
    // truncate(2) brings no times along, unlike ftruncate(2).
    let now = cx.now();
    let mut attr = step.txn.tx.update(inode, |attr| {
        (attr.mtime, attr.ctime) = (now, now);
        change(attr);
        attr.size = size;
        attr.blocks = attr.blocks.saturating_sub(freed.blocks * sectors);
    })?;
    // Also where the inode in memory had it before us.
    attr.disk_size = size;
    step.txn.store(&step.ip, &attr)?;
    step.txn.seal(&step.ip)?;
    step.txn.commit()?;
    let mut done = freed.done;
    while !done {
        let step = file.begin(map::STEP_CREDITS)?;
        let _map = step.txn.tx.lock(&inode.map)?;
        let freed = map::truncate_step(&step.txn, &step.ip, from)?;
        if freed.done && listed {
            step.txn.orphan_remove(&step.ip)?;
        }
        step.store(0, freed.blocks, |_| ())?;
        step.txn.commit()?;
        done = freed.done;
    }
    Ok(())
}

pub fn fallocate(
    fs: &Rext4,
    cx: &Context<Rext4>,
    inode: &Inode<Rext4>,
    mode: u32,
    offset: u64,
    len: u64,
) -> Result<()> {
    let file = File::new(fs, cx, inode)?;
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let keep = mode & mode::KEEP_SIZE != 0;
    match mode & !mode::KEEP_SIZE {
        0 => file.preallocate(offset, end, keep, false),
        mode::ZERO_RANGE => file.preallocate(offset, end, keep, true),
        mode::PUNCH_HOLE if keep => {
            // The block with the file's end goes, if all that the file has of it does.
            let last = if end >= inode.attr().size { end.div_ceil(file.block) } else { end / file.block };
            file.punch(offset.div_ceil(file.block), last.min(END))
        }
        mode::COLLAPSE_RANGE if !keep => file.collapse(offset, end),
        mode::INSERT_RANGE if !keep => file.insert(offset, len),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

impl File<'_> {
    /// Refuses what only extents can do, and what is too large.
    fn only_extents(&self, size: u64) -> Result<()> {
        let _map = self.inode.map.lock();
        let ip = self.fs.ip(self.cx.device(), self.ino)?;
        if !map::has_extents(&ip)? {
            return Err(Errno::EOPNOTSUPP);
        }
        if size > max_size(self.fs, &ip)? { Err(Errno::EFBIG) } else { Ok(()) }
    }

    /// Fills holes of `offset..end` by unwritten blocks; `zero` makes those that are wholly inside unwritten.
    #[inline(never)]
    fn preallocate(&self, offset: u64, end: u64, keep: bool, zero: bool) -> Result<()> {
        self.only_extents(end)?;
        let (mut at, last) = self.blocks(offset, end - offset)?;
        let inner = zero.then_some((offset.div_ceil(self.block), end / self.block));
        let how = Fill { written: false, zero: inner };
        while at < last {
            let step = self.begin(EDIT_CREDITS + 1)?;
            let mut hints = step.txn.tx.lock(&self.inode.map)?;
            let mut map = Map::edit(&step.txn, &step.ip, EDIT_CREDITS, step.has_extents()?);
            let (mut runs, mut taken, begun) = (0, 0, at);
            while at < last && runs < RUNS {
                let filled = match fill(&step, &mut map, &mut hints, at, last, how) {
                    Ok(Some(filled)) => filled,
                    // What there is stays; the next step says why it is not all.
                    Ok(None) | Err(Errno::ENOSPC) if at > begun => break,
                    Ok(None) => return Err(Errno::ENOSPC),
                    Err(error) => return Err(error),
                };
                taken += filled.taken;
                runs += u32::from(filled.changed);
                at = filled.run.end();
            }
            let (grown, _) = map.finish()?;
            let (size, now) = (end.min(at * self.block), self.cx.now());
            step.store(taken + u64::from(grown), 0, |attr| {
                attr.ctime = now;
                if size > attr.size && !keep {
                    (attr.size, attr.mtime) = (size, now);
                }
                if zero {
                    attr.mtime = now;
                }
            })?;
            step.txn.commit()?;
        }
        Ok(())
    }

    /// Frees blocks `from..to`.
    #[inline(never)]
    fn punch(&self, from: u64, to: u64) -> Result<()> {
        let mut done = false;
        while !done {
            let step = self.begin(map::STEP_CREDITS)?;
            let _map = step.txn.tx.lock(&self.inode.map)?;
            let mut map = Map::edit(&step.txn, &step.ip, map::STEP_CREDITS.blocks, step.has_extents()?);
            done = from >= to || map.cut(from, to, &mut Budget::step())?;
            if let Map::Tree(tree) = &mut map
                && done
                && tree.freed > 0
            {
                tree.shrink()?;
            }
            let (grown, freed) = map.finish()?;
            let now = self.cx.now();
            step.store(grown.into(), freed, |attr| (attr.mtime, attr.ctime) = (now, now))?;
            step.txn.commit()?;
        }
        Ok(())
    }

    fn aligned(&self, offset: u64, end: u64) -> Result<(u32, u32)> {
        if !offset.is_multiple_of(self.block) || !end.is_multiple_of(self.block) {
            return Err(Errno::EINVAL);
        }
        let block = |at: u64| u32::try_from(at / self.block).map_err(|_| Errno::EFBIG);
        Ok((block(offset)?, block(end)?))
    }

    /// Takes `offset..end` out of the file.
    #[inline(never)]
    fn collapse(&self, offset: u64, end: u64) -> Result<()> {
        self.only_extents(end)?;
        let (first, last) = self.aligned(offset, end)?;
        if end >= self.inode.attr().size {
            return Err(Errno::EINVAL);
        }
        self.punch(first.into(), last.into())?;
        let mut from = Some(last);
        while let Some(at) = from {
            let step = self.begin(EDIT_CREDITS + 1)?;
            let _map = step.txn.tx.lock(&self.inode.map)?;
            let mut map = Map::edit(&step.txn, &step.ip, EDIT_CREDITS, step.has_extents()?);
            let Map::Tree(tree) = &mut map else { return Err(Errno::EUCLEAN) };
            from = tree.shift_left(at, last - first)?;
            if from.is_none() {
                tree.shrink()?;
            }
            let (grown, freed) = map.finish()?;
            let (now, last) = (self.cx.now(), from.is_none());
            step.store(grown.into(), freed, |attr| {
                if last {
                    attr.size = attr.size.saturating_sub(end - offset);
                    (attr.mtime, attr.ctime) = (now, now);
                }
            })?;
            step.txn.commit()?;
        }
        Ok(())
    }

    /// Makes a hole of `len` bytes at `offset`, and what was there and behind it comes after it.
    #[inline(never)]
    fn insert(&self, offset: u64, len: u64) -> Result<()> {
        let size = self.inode.attr().size;
        self.only_extents(size.checked_add(len).ok_or(Errno::EFBIG)?)?;
        let (first, by) = self.aligned(offset, len)?;
        if offset >= size {
            return Err(Errno::EINVAL);
        }
        self.part(first, by)?;
        let mut limit = Some(END);
        while let Some(end) = limit {
            let step = self.begin(EDIT_CREDITS + 1)?;
            let _map = step.txn.tx.lock(&self.inode.map)?;
            let mut map = Map::edit(&step.txn, &step.ip, EDIT_CREDITS, step.has_extents()?);
            let Map::Tree(tree) = &mut map else { return Err(Errno::EUCLEAN) };
            limit = tree.shift_right(first, end, by)?;
            let (grown, _) = map.finish()?;
            step.store(grown.into(), 0, |_| ())?;
            step.txn.commit()?;
        }
        Ok(())
    }

    /// The first step of it: an extent begins at `first`, and the size is what it will be.
    #[inline(never)]
    fn part(&self, first: u32, by: u32) -> Result<()> {
        let step = self.begin(EDIT_CREDITS + 1)?;
        let _map = step.txn.tx.lock(&self.inode.map)?;
        let mut map = Map::edit(&step.txn, &step.ip, EDIT_CREDITS, step.has_extents()?);
        let Map::Tree(tree) = &mut map else { return Err(Errno::EUCLEAN) };
        // Space may have been allocated behind the file's end, too.
        if tree.last_end()? + u64::from(by) >= END {
            return Err(Errno::EFBIG);
        }
        tree.divide(first)?;
        let (grown, _) = map.finish()?;
        let now = self.cx.now();
        step.store(grown.into(), 0, |attr| {
            attr.size += u64::from(by) * self.block;
            (attr.mtime, attr.ctime) = (now, now);
        })?;
        step.txn.commit()
    }
}
