// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Finding free blocks: at the goal, then the run in the goal's group that fits best, then other groups.

use bento::prelude::*;

use super::commit::{Change, Kind};
use super::groups::Group;
use crate::disk::{BLOCK_UNINIT, Descriptor};
use crate::txn::{Txn, Use};
use crate::zones::Zones;

/// So many runs are looked for at once.
const RUNS: usize = 1024;

/// So many groups are looked through for a run of the length wanted, before a shorter one will do.
const PATIENCE: u32 = 8;

/// What is used of a group: its bitmap, or what must be in one that was never written, and what is held in memory.
struct Map<'a> {
    bitmap: Option<&'a Block<'a>>,
    zones: &'a Zones,
    /// The group's first block.
    first: u64,
    state: &'a Group,
    /// Nothing before is free.
    lowest: u32,
    end: u32,
}

impl Map<'_> {
    /// The first blocks from `at` on that are in use of a group without a bitmap: the file system's own.
    fn own(&self, at: u32) -> Option<(u32, u32)> {
        if self.bitmap.is_some() {
            return None;
        }
        let (from, to) = self.zones.within(self.first + u64::from(at), self.first + u64::from(self.end)).next()?;
        Some(((from - self.first) as u32, (to - self.first) as u32))
    }

    /// If block `at` is in use, or held, although there is no bitmap or it has it free: the end of that range.
    fn held(&self, at: u32) -> Option<u32> {
        let own = self.own(at).filter(|(from, _)| *from == at);
        own.map(|(_, end)| end).or_else(|| self.state.held(at))
    }

    /// Where the first such range begins behind `at`, which is in none.
    fn next_held(&self, at: u32) -> Option<u32> {
        let own = self.own(at).map(|(from, _)| from);
        own.into_iter().chain(self.state.next_held(at)).min()
    }

    /// The first run of free blocks in `from..`, as far as `most` of them.
    fn run(&self, from: u32, most: u32) -> Option<(u32, u32)> {
        let mut from = from.max(self.lowest);
        while from < self.end {
            let start = match self.bitmap {
                Some(bitmap) => bitmap.find_bit(false, from as usize, self.end as usize)? as u32,
                None => from,
            };
            from = start;
            while let Some(end) = self.held(from) {
                from = end;
            }
            if from > start {
                continue; // the bitmap may have another word there
            }
            let end = self.end.min(start.saturating_add(most));
            let end = self
                .bitmap
                .and_then(|bitmap| bitmap.find_bit(true, start as usize, end as usize))
                .map_or(end, |end| end as u32);
            return Some((start, self.next_held(start).map_or(end, |next| end.min(next)) - start));
        }
        None
    }

    /// The run to take: the goal's, if there are enough from there; else the first one of `want` blocks; else the longest.
    fn best(&self, goal: u32, want: u32) -> Best {
        let mut best = Best { start: 0, count: 0, whole: true };
        let goal = if goal > self.lowest && goal < self.end { goal } else { 0 };
        let mut from = goal;
        let mut turned = goal == 0;
        loop {
            match self.run(from, want.max(1)) {
                Some((start, count)) if !(turned && goal != 0 && start >= goal) => {
                    if count > best.count {
                        (best.start, best.count) = (start, count);
                    }
                    if count >= want || start == goal && count >= want / 2 {
                        best.whole = false;
                        return best;
                    }
                    from = start + count;
                }
                _ if turned => return best,
                _ => (from, turned) = (0, true),
            }
        }
    }
}

struct Best {
    start: u32,
    count: u32,
    /// The whole group was looked through: nothing in it is longer.
    whole: bool,
}

impl<'call> Txn<'call> {
    /// `1..=want` free blocks in a row, near `goal` (0: wherever): `ENOSPC`.
    pub fn allocate(&self, goal: u64, want: u32, _what: Use) -> Result<(u64, u32)> {
        let sb = &self.fs.sb;
        let want = want.clamp(1, sb.blocks_per_group);
        let (first, at) = if sb.holds(goal, 1) { sb.group_of(goal) } else { (0, 0) };
        let groups = || {
            (0..sb.groups).map(|step| if step < sb.groups - first { first + step } else { step - (sb.groups - first) })
        };
        let from = |group| if group == first { at } else { 0 };
        // The longest run seen so far, and its group.
        let mut longest = (first, 0);
        let mut patience = PATIENCE;
        for group in groups() {
            match self.try_group(group, from(group), want, longest.1 + 1)? {
                Found::Taken(start, count) => return self.took(group, start, count),
                Found::Nothing => continue,
                // Near the goal is worth more than a bit longer.
                Found::Best(count) if count / 2 >= longest.1 => longest = (group, count),
                Found::Best(_) => {}
            }
            patience -= 1;
            if patience == 0 {
                break;
            }
        }
        // It may be gone meanwhile; then whatever is left will do.
        if longest.1 > 0
            && let Found::Taken(start, count) = self.try_group(longest.0, from(longest.0), longest.1, 1)?
        {
            return self.took(longest.0, start, count);
        }
        for group in groups() {
            if let Found::Taken(start, count) = self.try_group(group, from(group), 1, 1)? {
                return self.took(group, start, count);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Can the block be had now?
    pub fn is_free(&self, number: u64) -> Result<bool> {
        let (fs, sb) = (self.fs, &self.fs.sb);
        if !sb.holds(number, 1) {
            return Ok(false);
        }
        let (group, at) = sb.group_of(number);
        let mut state = fs.groups.slot(group)?.state.lock();
        state.sweep(&fs.groups, self.device);
        let descriptor = fs.descriptor(self.device, group)?;
        let best = fs.search(self.device, &mut state, &descriptor, descriptor.counts(sb)?.flags, at, 1)?;
        Ok(best.is_some_and(|best| best.count > 0 && best.start == at))
    }

    /// Counts what was found as used, fewer when that is all there is.
    fn took(&self, group: u32, start: u32, mut count: u32) -> Result<(u64, u32)> {
        while let Err(error) = self.tx.claim(count.into()) {
            if error != Errno::ENOSPC || count == 1 {
                return Err(error);
            }
            count /= 2;
        }
        if let Err(error) = self.note(Change { group, start, count, kind: Kind::Take }) {
            self.tx.release(count.into());
            return Err(error);
        }
        Ok((self.fs.sb.first_block_of(group) + u64::from(start), count))
    }

    /// Takes a run of `want` blocks of `group`, or says how long the longest one is, if it is at least `least`.
    fn try_group(&self, group: u32, from: u32, want: u32, least: u32) -> Result<Found> {
        let (fs, device) = (self.fs, self.device);
        let mut state = fs.groups.slot(group)?.state.lock();
        state.sweep(&fs.groups, device);
        if state.longest.is_some_and(|longest| longest < least) {
            return Ok(Found::Nothing);
        }
        let descriptor = fs.descriptor(device, group)?;
        let counts = descriptor.counts(&fs.sb)?;
        if counts.free_blocks == 0 {
            return Ok(Found::Nothing);
        }
        let Some(best) = fs.search(device, &mut state, &descriptor, counts.flags, from, want)? else {
            return Ok(Found::Nothing);
        };
        if best.whole {
            state.longest = Some(best.count);
            if best.count < want {
                return Ok(if best.count < least { Found::Nothing } else { Found::Best(best.count) });
            }
        }
        let count = best.count.min(want);
        state.take(best.start, count, self.pending.ticket()?)?;
        Ok(Found::Taken(best.start, count))
    }

    /// Frees blocks with the commit. Metadata are also forgotten by the journal (the caller's credits count revokes).
    pub fn free(&self, start: u64, count: u32, what: Use) -> Result<()> {
        let sb = &self.fs.sb;
        let lies = if !sb.holds(start, count.into()) {
            Some("outside")
        } else {
            self.fs.zones.meets(start, count.into()).then_some("among the file system's own")
        };
        if let Some(where_) = lies {
            let what = format_args!("blocks to be freed lie {where_}: {count} from {start}");
            return Err(self.fs.corrupt(self.device, what));
        }
        if what == Use::Metadata {
            for number in start..start + u64::from(count) {
                self.tx.forget(number)?;
            }
        }
        let (mut start, mut left) = (start, count);
        while left > 0 {
            let (group, at) = sb.group_of(start);
            let count = left.min(sb.blocks_of(group).saturating_sub(at));
            if count == 0 {
                return Err(Errno::EUCLEAN);
            }
            self.note(Change { group, start: at, count, kind: Kind::Free })?;
            start += u64::from(count);
            left -= count;
        }
        self.tx.release(count.into());
        Ok(())
    }
}

enum Found {
    Nothing,
    Taken(u32, u32),
    Best(u32),
}

impl crate::Rext4 {
    /// The free runs of a part of a group that are `least` blocks or longer, and up to where those are all.
    pub(super) fn free_runs(
        &self,
        device: Device<'_>,
        state: &mut Group,
        group: u32,
        (from, to): (u32, u32),
        least: u32,
    ) -> Result<(Vec<(u32, u32)>, u32)> {
        let descriptor = self.descriptor(device, group)?;
        let counts = descriptor.counts(&self.sb)?;
        let mut runs = Vec::new();
        let Some(bitmap) = self.bitmap_to_search(device, state, &descriptor, counts.flags)? else {
            return Ok((runs, to));
        };
        let (zones, first) = (&self.zones, self.sb.first_block_of(group));
        let map = Map { bitmap: bitmap.as_ref(), zones, first, state, lowest: 0, end: to };
        let mut at = from;
        while counts.free_blocks > 0
            && let Some((start, count)) = map.run(at, to)
        {
            at = start + count;
            if count >= least {
                runs.try_reserve(1)?;
                runs.push((start, count));
            }
            if runs.len() >= RUNS {
                return Ok((runs, at));
            }
        }
        Ok((runs, to))
    }

    /// A group's bitmap, if it has one; `None` when it is corrupt: nothing is taken by it.
    fn bitmap_to_search<'call>(
        &self,
        device: Device<'call>,
        state: &mut Group,
        descriptor: &Descriptor<'_>,
        flags: u16,
    ) -> Result<Option<Option<Block<'call>>>> {
        if state.bad_blocks {
            return Ok(None);
        }
        if flags & BLOCK_UNINIT != 0 {
            return Ok(Some(None));
        }
        match self.block_bitmap(device, descriptor) {
            Err(Errno::EUCLEAN) => {
                state.bad_blocks = true;
                Ok(None)
            }
            bitmap => bitmap.map(|bitmap| Some(Some(bitmap))),
        }
    }

    /// The run to take of a group; `None` when its bitmap is corrupt.
    fn search(
        &self,
        device: Device<'_>,
        state: &mut Group,
        descriptor: &Descriptor<'_>,
        flags: u16,
        from: u32,
        want: u32,
    ) -> Result<Option<Best>> {
        let (zones, first) = (&self.zones, self.sb.first_block_of(descriptor.group));
        let end = self.sb.blocks_of(descriptor.group);
        let bitmap = match self.bitmap_to_search(device, state, descriptor, flags)? {
            None => return Ok(None),
            Some(None) => return Ok(Some(Map { bitmap: None, zones, first, state, lowest: 0, end }.best(from, want))),
            Some(Some(bitmap)) => bitmap,
        };
        // What is full at the group's beginning is looked through once.
        let lowest = bitmap.find_bit(false, state.lowest as usize, end as usize).map_or(end, |lowest| lowest as u32);
        state.lowest = lowest;
        Ok(Some(Map { bitmap: Some(&bitmap), zones, first, state, lowest, end }.best(from, want)))
    }
}
