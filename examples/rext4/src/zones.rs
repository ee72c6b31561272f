// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where the file system's own metadata lie: superblocks, descriptors and what is reserved for more of them, bitmaps, inode
//! tables, the journal and the orphan file. Known from the mount on, and nothing of it moves. Whoever takes a block's number
//! from the disk asks here before it becomes a file's, is handed out or freed (`block_validity`).

use core::sync::atomic::{AtomicBool, Ordering};

use bento::prelude::*;

use crate::Rext4;
use crate::list::sort_by_key;

/// Behind so many of the last zones a new one may begin: those of the groups of a flexible one grow in turn.
const OPEN: usize = 8;

#[derive(State, Default)]
pub struct Zones {
    /// From a block to the one before another, in ascending order, with something between each two.
    #[state(1)]
    list: Vec<(u64, u64)>,
    /// `block_validity`: mappings are looked at, too.
    #[state(2)]
    mappings: AtomicBool,
}

impl Zones {
    pub fn check_mappings(&self, yes: bool) {
        self.mappings.store(yes, Ordering::Relaxed);
    }

    /// For the mount, which ends it with [`Self::finish`].
    pub fn add(&mut self, start: u64, count: u64) -> Result<()> {
        let open = self.list.len().saturating_sub(OPEN);
        let grows = self.list.get_mut(open..).and_then(|list| list.iter_mut().find(|zone| zone.1 == start));
        if let Some(zone) = grows {
            zone.1 += count;
        } else if count > 0 {
            self.list.try_reserve(1)?;
            self.list.push((start, start + count));
        }
        Ok(())
    }

    /// The first block that was added twice, if one was.
    pub fn finish(&mut self) -> Option<u64> {
        sort_by_key(&mut self.list, |zone| *zone);
        let (mut last, mut twice) = (0, None);
        for at in 1..self.list.len() {
            let Some((start, end)) = self.list.get(at).copied() else { break };
            let Some(zone) = self.list.get_mut(last) else { break };
            if start < zone.1 {
                twice = twice.or(Some(start));
            }
            if start <= zone.1 {
                zone.1 = zone.1.max(end);
                continue;
            }
            last += 1;
            if let Some(place) = self.list.get_mut(last) {
                *place = (start, end);
            }
        }
        self.list.truncate(last + 1);
        twice
    }

    /// The zones that have something of `start..end`, cut to that.
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let first = self.list.partition_point(|zone| zone.1 <= start);
        let list = self.list.get(first..).unwrap_or_default().iter();
        let cut = list.take_while(move |zone| zone.0 < end).map(move |zone| (zone.0.max(start), zone.1.min(end)));
        cut.filter(|(from, to)| from < to)
    }

    pub fn meets(&self, start: u64, count: u64) -> bool {
        self.within(start, start.saturating_add(count)).next().is_some()
    }
}

impl Rext4 {
    /// May a file have these blocks, or be mapped by them?
    #[inline]
    pub fn for_files(&self, start: u64, count: u64) -> bool {
        self.sb.holds(start, count) && !(self.zones.mappings.load(Ordering::Relaxed) && self.zones.meets(start, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each block is what a plain list says, whatever the order.
    #[test]
    fn zones_are_what_was_added() {
        let mut state = 88_172_645_463_325_252u64;
        let mut below = |most: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % most
        };
        for _ in 0..200 {
            let (mut zones, mut plain, mut twice) = (Zones::default(), [0u32; 256], false);
            for _ in 0..below(20) {
                let (start, count) = (below(240), below(12));
                zones.add(start, count).unwrap();
                let blocks = &mut plain[start as usize..(start + count) as usize];
                blocks.iter_mut().for_each(|times| *times += 1);
                twice |= blocks.iter().any(|times| *times > 1);
            }
            let said = zones.finish();
            assert_eq!(said.is_some(), twice, "{zones:?}", zones = zones.list);
            assert!(said.is_none_or(|block| plain[block as usize] > 1));
            assert!(zones.list.is_sorted_by(|one, other| one.1 < other.0));
            for start in 0..250 {
                assert_eq!(zones.meets(start, 1), plain[start as usize] > 0);
                let (end, count) = (start + below(6), below(6));
                let some = plain[start as usize..(start + count).min(256) as usize].iter().any(|times| *times > 0);
                assert_eq!(zones.meets(start, count), some);
                assert!(zones.within(start, end).all(|(from, to)| start <= from && from < to && to <= end));
            }
        }
    }

    #[test]
    fn groups_of_a_flexible_one_are_one_zone() {
        let mut zones = Zones::default();
        for group in 0..16 {
            zones.add(100 + group, 1).unwrap();
            zones.add(116 + group, 1).unwrap();
            zones.add(132 + group * 8, 8).unwrap();
        }
        assert_eq!(zones.list, [(100, 116), (116, 132), (132, 260)]);
        assert_eq!(zones.finish(), None);
        assert_eq!(zones.list, [(100, 260)]);
    }
}
