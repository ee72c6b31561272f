// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The pages of one file: what the kernel's page cache is to bento.ko. Sparse; a page that is absent is a hole (resident
//! data) or not read yet (bytes).

use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

#[derive(Debug)]
struct Page {
    bytes: Box<[u8; PAGE as usize]>,
    dirty: bool,
}

/// Pages by index.
#[derive(Debug, Default)]
pub struct Pages {
    map: BTreeMap<u64, Page>,
    dirty: usize,
}

/// The indices of the pages that a byte range touches.
fn indices(range: &Range<u64>) -> Range<u64> {
    range.start / PAGE..range.end.div_ceil(PAGE)
}

/// Splits a byte range at page borders: page index, where in the page, how many bytes, and where in the range.
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    indices(&range).map(move |index| {
        let from = range.start.max(index * PAGE);
        let to = range.end.min((index + 1) * PAGE);
        (index, (from % PAGE) as usize, (to - from) as usize, (from - range.start) as usize)
    })
}

impl Pages {
    pub fn count(&self) -> u64 {
        self.map.len() as u64
    }

    pub fn has_dirty(&self) -> bool {
        self.dirty > 0
    }

    /// How many pages of the range are absent.
    pub fn missing(&self, range: Range<u64>) -> u64 {
        let pages = indices(&range);
        (pages.end.saturating_sub(pages.start)) - self.map.range(pages).count() as u64
    }

    /// The first run of absent pages that the byte range touches, in bytes.
    pub fn first_gap(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let pages = indices(range);
        let start = pages.clone().find(|index| !self.map.contains_key(index))?;
        let end = self.map.range(start..pages.end).next().map_or(pages.end, |(index, _)| *index);
        Some(start * PAGE..end * PAGE)
    }

    /// Copies out; absent pages read as zero.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        for (index, at, len, pos) in pieces(offset..offset + out.len() as u64) {
            let out = &mut out[pos..pos + len];
            match self.map.get(&index) {
                Some(page) => out.copy_from_slice(&page.bytes[at..at + len]),
                None => out.fill(0),
            }
        }
    }

    /// Copies in, making pages; `dirty` ones are to be written back.
    pub fn write(&mut self, offset: u64, bytes: &[u8], dirty: bool) {
        for (index, at, len, pos) in pieces(offset..offset + bytes.len() as u64) {
            let page = self.page(index);
            page.bytes[at..at + len].copy_from_slice(&bytes[pos..pos + len]);
            if dirty && !page.dirty {
                page.dirty = true;
                self.dirty += 1;
            }
        }
    }

    fn page(&mut self, index: u64) -> &mut Page {
        self.map.entry(index).or_insert_with(|| Page { bytes: Box::new([0; PAGE as usize]), dirty: false })
    }

    /// Makes every absent page of the range, zeroed.
    pub fn allocate(&mut self, range: Range<u64>) {
        for index in indices(&range) {
            self.page(index);
        }
    }

    /// Zeroes the bytes of the range that are present, and drops the pages that lie wholly inside.
    pub fn punch(&mut self, range: Range<u64>) {
        let whole = range.start.div_ceil(PAGE)..range.end / PAGE;
        for (index, at, len, _) in pieces(range) {
            if !whole.contains(&index)
                && let Some(page) = self.map.get_mut(&index)
            {
                page.bytes[at..at + len].fill(0);
            }
        }
        self.drop_pages(whole);
    }

    /// Zeroes bytes without dropping pages.
    pub fn zero(&mut self, range: Range<u64>) {
        for (index, at, len, _) in pieces(range) {
            if let Some(page) = self.map.get_mut(&index) {
                page.bytes[at..at + len].fill(0);
            }
        }
    }

    /// The file ends here now: what lies beyond is dropped, and zero if the file grows again.
    pub fn truncate(&mut self, size: u64) {
        let border = size.div_ceil(PAGE) * PAGE;
        self.zero(size..border);
        self.drop_pages(size.div_ceil(PAGE)..u64::MAX / PAGE);
    }

    fn drop_pages(&mut self, indices: Range<u64>) {
        if indices.is_empty() {
            return;
        }
        let mut rest = self.map.split_off(&indices.start);
        let mut kept = rest.split_off(&indices.end);
        self.dirty -= rest.values().filter(|page| page.dirty).count();
        self.map.append(&mut kept);
    }

    /// Moves every page at or after byte `from` by `by` bytes (both whole pages): `FALLOC_FL_COLLAPSE_RANGE`, `…_INSERT_RANGE`.
    pub fn shift(&mut self, from: u64, by: i64) {
        let moved = self.map.split_off(&(from / PAGE));
        let by = by / PAGE as i64;
        self.map.extend(moved.into_iter().filter_map(|(index, page)| Some((index.checked_add_signed(by)?, page))));
    }

    /// Drops clean pages of the range: the truth behind them has changed. Dirty ones stay.
    pub fn invalidate(&mut self, range: Range<u64>) {
        let pages = indices(&range);
        self.map.retain(|index, page| page.dirty || !pages.contains(index));
    }

    /// The first run of dirty pages at or after `from`, at most `most` bytes: its offset and bytes, now clean.
    pub fn take_dirty(&mut self, from: u64, size: u64, most: usize) -> Option<(u64, Vec<u8>)> {
        let first = *self.map.range(from / PAGE..).find(|(_, page)| page.dirty)?.0;
        let mut bytes = Vec::new();
        for (next, (index, page)) in (first..).zip(self.map.range_mut(first..)) {
            if *index != next || !page.dirty || bytes.len() + PAGE as usize > most {
                break;
            }
            page.dirty = false;
            self.dirty -= 1;
            bytes.extend_from_slice(&page.bytes[..]);
        }
        bytes.truncate(usize::try_from(size.saturating_sub(first * PAGE)).unwrap_or(usize::MAX));
        Some((first * PAGE, bytes))
    }

    /// The next present page's offset at or after `offset`.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        self.map.range(offset / PAGE..).next().map(|(index, _)| (index * PAGE).max(offset))
    }

    /// The next absent page's offset at or after `offset`.
    pub fn next_hole(&self, offset: u64) -> u64 {
        let first = offset / PAGE;
        let present = (first..).zip(self.map.range(first..)).take_while(|(want, (have, _))| want == *have).count();
        ((first + present as u64) * PAGE).max(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pages: &Pages, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![9; len];
        pages.read(offset, &mut out);
        out
    }

    #[test]
    fn absent_pages_read_as_zero() {
        let mut pages = Pages::default();
        pages.write(PAGE * 3 - 1, b"ab", true);
        assert_eq!(pages.count(), 2);
        assert_eq!(at(&pages, PAGE * 3 - 2, 4), b"\0ab\0");
        assert_eq!(pages.first_gap(&(0..PAGE * 5)), Some(0..PAGE * 2));
        assert_eq!(pages.missing(0..PAGE * 5), 3);
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut pages = Pages::default();
        pages.write(0, &[7; PAGE as usize * 2], true);
        pages.truncate(100);
        assert_eq!(at(&pages, 98, 4), [7, 7, 0, 0]);
        assert_eq!((pages.count(), pages.has_dirty()), (1, true));
    }

    #[test]
    fn holes_and_data() {
        let mut pages = Pages::default();
        pages.write(PAGE, b"x", true);
        assert_eq!((pages.next_data(0), pages.next_data(PAGE + 5)), (Some(PAGE), Some(PAGE + 5)));
        assert_eq!((pages.next_hole(0), pages.next_hole(PAGE + 5)), (0, PAGE * 2));
        assert_eq!(pages.next_data(PAGE * 2), None);
        pages.punch(PAGE..PAGE * 2);
        assert_eq!(pages.count(), 0);
    }

    #[test]
    fn dirty_runs_are_contiguous_and_end_with_the_file() {
        let mut pages = Pages::default();
        pages.write(0, &[1; PAGE as usize * 2], true);
        pages.write(PAGE * 4, &[2; 10], true);
        let (offset, bytes) = pages.take_dirty(0, PAGE * 4 + 10, 1 << 20).unwrap();
        assert_eq!((offset, bytes.len()), (0, PAGE as usize * 2));
        let (offset, bytes) = pages.take_dirty(0, PAGE * 4 + 10, 1 << 20).unwrap();
        assert_eq!((offset, bytes), (PAGE * 4, vec![2; 10]));
        assert!(!pages.has_dirty() && pages.take_dirty(0, PAGE * 4 + 10, 1 << 20).is_none());
    }
}
