// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where a file's bytes lie on the device (`data = "extents"`), remembered here, and moving them: the file system is asked
//! once, and overwriting what it has mapped enters no Rust.
//!
//! The caller holds the inode's `rwsem`, for writing where bytes or their places change. A new instance remembers
//! nothing of this: what an older one said is forgotten by its generation.

use std::io::IoSlice;
use std::ops::Range;

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::caller::Caller;
use crate::inode::{Inode, held};
use crate::journal::Hold;
use crate::superblock::Super;

/// Extents one call may answer with.
const ANSWERS: usize = 64;
/// Extents of a file that are remembered.
const REMEMBERED: usize = 1 << 12;
/// Where a hole at the end of a file ends: a multiple of every block size.
const HOLE_END: u64 = i64::MAX as u64 & !0xffff;
/// Bytes that are asked about at least.
const ASK: u64 = 8 << 20;
const NONE: abi::bento_extent = abi::bento_extent { offset: 0, len: 0, addr: 0, flags: 0, pad: 0 };
/// Larger than any block.
static ZEROES: [u8; 1 << 16] = [0; 1 << 16];

/// What a range of a file is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Reads as zero.
    Hole,
    /// At that byte of the device.
    Mapped(u64),
    /// At that byte of the device, but it reads as zero.
    Unwritten(u64),
}

impl Kind {
    /// Of what begins `by` bytes later.
    fn advanced(self, by: u64) -> Kind {
        match self {
            Kind::Hole => Kind::Hole,
            Kind::Mapped(addr) => Kind::Mapped(addr + by),
            Kind::Unwritten(addr) => Kind::Unwritten(addr + by),
        }
    }
}

/// A range of a file, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    pub offset: u64,
    pub len: u64,
    pub kind: Kind,
}

impl Piece {
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }

    /// The part of it that lies in `range`; they meet.
    fn cut(&self, range: &Range<u64>) -> Piece {
        let offset = self.offset.max(range.start);
        let end = self.end().min(range.end);
        Piece { offset, len: end - offset, kind: self.kind.advanced(offset - self.offset) }
    }

    /// Does `next` go on where this ends, in the file and on the device?
    fn continues(&self, next: &Piece) -> bool {
        self.end() == next.offset && self.kind.advanced(self.len) == next.kind
    }
}

/// What is known of the places of a file's bytes.
#[derive(Debug)]
pub struct Map {
    /// In order; none meets another.
    pieces: Vec<Piece>,
    /// From here on, what is in no piece is a hole.
    empty_from: u64,
    /// The instance that said so.
    generation: u32,
    /// Grows whenever something is forgotten: what was asked before that is not remembered.
    valid: u64,
}

impl Default for Map {
    fn default() -> Map {
        Map { pieces: Vec::new(), empty_from: u64::MAX, generation: 0, valid: 0 }
    }
}

impl Map {
    /// The first piece that ends behind `offset`.
    fn at(&self, offset: u64) -> usize {
        self.pieces.partition_point(|piece| piece.end() <= offset)
    }

    /// What lies at `offset`, from there on.
    fn find(&self, generation: u32, offset: u64) -> Option<Piece> {
        if generation != self.generation {
            return None;
        }
        let next = self.pieces.get(self.at(offset));
        match next {
            Some(piece) if piece.offset <= offset => Some(piece.cut(&(offset..u64::MAX))),
            _ if offset >= self.empty_from => {
                let end = next.map_or(HOLE_END, |piece| piece.offset);
                (offset < end).then_some(Piece { offset, len: end - offset, kind: Kind::Hole })
            }
            _ => None,
        }
    }

    /// When was it that somebody asked?
    fn asked(&mut self, generation: u32) -> u64 {
        if generation != self.generation {
            *self = Map { generation, valid: self.valid + 1, ..Map::default() };
        }
        self.valid
    }

    fn learn(&mut self, mut piece: Piece) {
        if self.pieces.len() >= REMEMBERED {
            (self.pieces, self.empty_from) = (Vec::new(), u64::MAX);
        }
        self.remove(piece.offset..piece.end());
        let mut at = self.at(piece.offset);
        if let Some(after) = self.pieces.get(at)
            && piece.continues(after)
        {
            piece.len += after.len;
            self.pieces.remove(at);
        }
        if let Some(before) = at.checked_sub(1).and_then(|before| self.pieces.get_mut(before))
            && before.continues(&piece)
        {
            before.len += piece.len;
            return;
        }
        if self.pieces.is_empty() {
            self.pieces.reserve_exact(1);
            at = 0;
        }
        self.pieces.insert(at, piece);
    }

    fn remove(&mut self, range: Range<u64>) {
        let first = self.at(range.start);
        let met = self.pieces[first..].iter().take_while(|piece| piece.offset < range.end).count();
        let kept: Vec<Piece> = self.pieces[first..first + met]
            .iter()
            .flat_map(|piece| {
                let before = (piece.offset < range.start).then(|| piece.cut(&(0..range.start)));
                let after = (piece.end() > range.end).then(|| piece.cut(&(range.end..u64::MAX)));
                [before, after]
            })
            .flatten()
            .collect();
        self.pieces.splice(first..first + met, kept);
    }

    /// Nothing is known of the range any more.
    pub fn forget(&mut self, range: Range<u64>) {
        self.valid += 1;
        if range.end > self.empty_from {
            self.empty_from = u64::MAX;
        }
        if range.start < range.end {
            self.remove(range);
        }
    }

    /// Of a file that has just been made: there is nothing in it.
    fn empty(generation: u32) -> Map {
        Map { empty_from: 0, generation, ..Map::default() }
    }
}

impl Super {
    fn block(&self) -> u64 {
        self.settings().block_size.into()
    }

    /// The blocks that a byte range touches, in bytes.
    fn whole_blocks(&self, range: &Range<u64>) -> Range<u64> {
        let block = self.block();
        range.start / block * block..range.end.div_ceil(block) * block
    }

    /// What `map_extents` or `allocate_extents` answered, believed only if it is possible.
    fn check_extents(
        &self,
        op: Op,
        asked: &Range<u64>,
        answers: &[abi::bento_extent],
        count: u32,
    ) -> Result<Vec<Piece>> {
        let bad = |what: std::fmt::Arguments<'_>| Err(self.bad(op, format_args!("returned {what}")));
        let Some(answers) = answers.get(..count as usize).filter(|answers| !answers.is_empty()) else {
            return bad(format_args!("{count} extents, and there is room for {}", answers.len()));
        };
        let (block, device) = (self.block(), self.device()?);
        let mut next = asked.start;
        let mut pieces = Vec::with_capacity(answers.len());
        for extent in answers {
            let abi::bento_extent { offset, len, addr, flags, .. } = *extent;
            let kind = match flags & !abi::BENTO_EXTENT_NEW {
                0 => Kind::Hole,
                abi::BENTO_EXTENT_MAPPED => Kind::Mapped(addr),
                abi::BENTO_EXTENT_UNWRITTEN => Kind::Unwritten(addr),
                _ => return bad(format_args!("an extent with flags {flags:#x}")),
            };
            if offset != next || len == 0 || !(offset | len).is_multiple_of(block) {
                return bad(format_args!("an extent of {len} bytes at {offset} where one at {next} was due"));
            }
            next = match offset.checked_add(len) {
                Some(end) if end <= 1 << 63 => end,
                _ => return bad(format_args!("an extent of {len} bytes at {offset}")),
            };
            if kind != Kind::Hole {
                let size = device.size();
                let inside = addr.checked_add(len).is_some_and(|end| end <= size);
                if !addr.is_multiple_of(block) || !inside {
                    return bad(format_args!("an extent of {len} bytes at byte {addr} of a device of {size}"));
                }
                if device.journal.covers(addr / block, len / block) {
                    return bad(format_args!("an extent of {len} bytes at byte {addr}, where the journal is"));
                }
            }
            if flags & abi::BENTO_EXTENT_NEW != 0 && next > asked.end {
                return bad(format_args!("new blocks up to {next}, and up to {} was asked for", asked.end));
            }
            pieces.push(Piece { offset, len, kind });
        }
        Ok(pieces)
    }
}

impl Inode {
    /// There is nothing in this file yet.
    pub fn knows_empty(&self) {
        *held(&self.extents) = Map::empty(self.sb().slot.generation());
    }

    /// Where the bytes of a range lie has changed, or may have.
    pub fn forget_extents(&self, range: Range<u64>) {
        held(&self.extents).forget(range);
    }

    fn map_args(&self, range: &Range<u64>, answers: &mut [abi::bento_extent], flags: u32) -> abi::bento_map_args {
        abi::bento_map_args {
            inode: self.as_raw(),
            offset: range.start,
            len: range.end - range.start,
            extents: answers.as_mut_ptr(),
            cap: answers.len() as u32,
            count: 0,
            flags,
            pad: 0,
            reserved: 0,
        }
    }

    fn map(&self, caller: &Caller, asked: Range<u64>) -> Result<Vec<Piece>> {
        let sb = self.sb();
        if !sb.has(Op::map_extents) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut answers = [NONE; ANSWERS];
        let mut args = self.map_args(&asked, &mut answers, 0);
        sb.invoke(Op::map_extents, |ops| ops.map_extents, caller, &mut args)?;
        let count = args.count;
        sb.check_extents(Op::map_extents, &asked, &answers, count)
    }

    fn allocate(&self, caller: &Caller, asked: Range<u64>) -> Result<(Vec<Piece>, Option<Hold<'_>>)> {
        if !self.sb().has(Op::allocate_extents) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.sb().with_space(|| self.allocate_once(caller, asked.clone()))
    }

    fn allocate_once(&self, caller: &Caller, asked: Range<u64>) -> Result<(Vec<Piece>, Option<Hold<'_>>)> {
        let sb = self.sb();
        let mut answers = [NONE; ANSWERS];
        let mut args = self.map_args(&asked, &mut answers, abi::BENTO_ALLOCATE_WRITTEN);
        let (done, hold) = sb.invoke_holding(Op::allocate_extents, |ops| ops.allocate_extents, caller, &mut args);
        let count = args.count;
        done?;
        Ok((sb.check_extents(Op::allocate_extents, &asked, &answers, count)?, hold))
    }

    /// What lies at the start of `range`, and how far it goes within it.
    fn piece(&self, caller: &Caller, range: Range<u64>) -> Result<Piece> {
        let sb = self.sb();
        let generation = sb.slot.generation();
        let asked_at = {
            let mut map = held(&self.extents);
            if let Some(piece) = map.find(generation, range.start) {
                return Ok(piece.cut(&range));
            }
            map.asked(generation)
        };
        let far = range.start.saturating_add(ASK).min(self.size());
        let asked = sb.whole_blocks(&(range.start..range.end.max(far)));
        let pieces = self.map(caller, asked)?;
        let mut map = held(&self.extents);
        if map.asked(generation) == asked_at {
            pieces.iter().for_each(|piece| map.learn(*piece));
        }
        // The first one begins at or before it.
        let first = pieces.iter().find(|piece| piece.end() > range.start).ok_or(Errno::EUCLEAN)?;
        Ok(first.cut(&range))
    }

    /// What a range is made of, piece by piece.
    pub fn pieces(&self, caller: &Caller, range: Range<u64>) -> Result<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let piece = self.piece(caller, at..range.end)?;
            at = piece.end();
            match pieces.last_mut() {
                Some(last) if last.continues(&piece) => last.len += piece.len,
                _ => pieces.push(piece),
            }
        }
        Ok(pieces)
    }

    // ---- bytes ----

    /// Fills `out`, all of it inside the file.
    pub fn read_extents(&self, caller: &Caller, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = offset + out.len() as u64;
        let mut rest = out;
        while !rest.is_empty() {
            let piece = self.piece(caller, end - rest.len() as u64..end)?;
            let (now, later) = rest.split_at_mut(piece.len as usize);
            match piece.kind {
                Kind::Mapped(addr) => self.sb().device()?.read_bytes(addr, now)?,
                Kind::Hole | Kind::Unwritten(_) => now.fill(0),
            }
            rest = later;
        }
        Ok(())
    }

    /// Writes; how many bytes went in before the first error. Size and times are the caller's.
    pub fn write_extents(&self, caller: &Caller, offset: u64, bytes: &[u8]) -> Result<usize> {
        let size = self.size();
        if offset > size {
            // Bytes of the last block past the old end come into sight.
            let end = self.sb().whole_blocks(&(size..size)).end;
            self.zero(caller, size..end.min(offset))?;
        }
        // The size is there before the blocks are: whoever maps them stores how far the file goes with them.
        let end = size.max(offset + bytes.len() as u64);
        self.lock_attr().size = end;
        let (mut done, mut result) = (0, Ok(()));
        while done < bytes.len() && result.is_ok() {
            result = self.write_piece(caller, offset + done as u64, &bytes[done..]).map(|written| done += written);
        }
        if result.is_err() && end > size {
            self.lock_attr().size = if done > 0 { size.max(offset + done as u64) } else { size };
        }
        if done > 0 { Ok(done) } else { result.map(|()| 0) }
    }

    fn write_piece(&self, caller: &Caller, offset: u64, bytes: &[u8]) -> Result<usize> {
        let piece = self.piece(caller, offset..offset + bytes.len() as u64)?;
        let bytes = &bytes[..piece.len as usize];
        match piece.kind {
            Kind::Mapped(addr) => {
                self.sb().device()?.write_bytes(addr, bytes)?;
                Ok(bytes.len())
            }
            Kind::Unwritten(addr) => {
                self.write_unwritten(caller, offset, bytes, addr)?;
                Ok(bytes.len())
            }
            Kind::Hole => self.write_hole(caller, offset, bytes),
        }
    }

    /// Whole blocks on the device: `bytes`, and zeroes around them where they do not fill the blocks.
    fn write_blocks(&self, addr: u64, head: u64, bytes: &[u8]) -> Result<()> {
        let block = self.sb().block();
        let tail = (block - (head + bytes.len() as u64) % block) % block;
        let zeroes = |len: u64| IoSlice::new(&ZEROES[..len as usize]);
        let parts = [zeroes(head), IoSlice::new(bytes), zeroes(tail)];
        let device = self.sb().device()?;
        match (head, tail) {
            (0, 0) => device.write_bytes(addr, bytes),
            (0, _) => device.write_vectored(addr, &parts[1..]),
            (_, 0) => device.write_vectored(addr, &parts[..2]),
            _ => device.write_vectored(addr, &parts),
        }
    }

    /// Blocks that exist, but read as zero until they are converted. `addr` is where `offset` lies.
    fn write_unwritten(&self, caller: &Caller, offset: u64, bytes: &[u8], addr: u64) -> Result<()> {
        let sb = self.sb();
        let head = offset % sb.block();
        self.write_blocks(addr - head, head, bytes)?;
        let range = sb.whole_blocks(&(offset..offset + bytes.len() as u64));
        let len = range.end - range.start;
        self.convert(caller, Piece { offset: range.start, len, kind: Kind::Unwritten(addr - head) })
    }

    /// What was unwritten has been written.
    fn convert(&self, caller: &Caller, piece: Piece) -> Result<()> {
        let sb = self.sb();
        let Kind::Unwritten(addr) = piece.kind else { return Ok(()) };
        if !sb.has(Op::convert_extents) {
            return Err(Errno::EOPNOTSUPP);
        }
        let Piece { offset, len, .. } = piece;
        let mut extent = [abi::bento_extent { offset, len, addr, flags: abi::BENTO_EXTENT_UNWRITTEN, pad: 0 }];
        let mut args = abi::bento_map_args { count: 1, ..self.map_args(&(offset..piece.end()), &mut extent, 0) };
        sb.invoke(Op::convert_extents, |ops| ops.convert_extents, caller, &mut args)?;
        held(&self.extents).learn(Piece { kind: Kind::Mapped(addr), ..piece });
        Ok(())
    }

    /// Allocates blocks and fills them, before the journal may commit that they are the file's.
    fn write_hole(&self, caller: &Caller, offset: u64, bytes: &[u8]) -> Result<usize> {
        let sb = self.sb();
        let range = offset..offset + bytes.len() as u64;
        let blocks = sb.whole_blocks(&range);
        // Until the bytes are there, the transaction does not commit, and this thread begins no other.
        let (pieces, hold) = self.allocate(caller, blocks.clone())?;
        let mut done = 0;
        let mut result = Ok(());
        let mut unwritten = Vec::new();
        for piece in pieces.iter().take_while(|piece| piece.offset < blocks.end).map(|piece| piece.cut(&blocks)) {
            let data = piece.offset.max(range.start)..piece.end().min(range.end);
            let part = &bytes[(data.start - range.start) as usize..(data.end - range.start) as usize];
            result = match piece.kind {
                Kind::Mapped(addr) | Kind::Unwritten(addr) => self
                    .not_metadata(Op::allocate_extents, addr, piece.len)
                    .and_then(|()| self.write_blocks(addr, data.start - piece.offset, part)),
                Kind::Hole => Err(sb.bad(Op::allocate_extents, format_args!("left a hole at {}", piece.offset))),
            };
            if result.is_err() {
                break;
            }
            match piece.kind {
                Kind::Mapped(_) => held(&self.extents).learn(piece),
                _ => unwritten.push(piece),
            }
            done = (data.end - range.start) as usize;
        }
        drop(hold);
        for piece in unwritten {
            if let Err(errno) = self.convert(caller, piece) {
                done = done.min(piece.offset.saturating_sub(range.start) as usize);
                result = result.and(Err(errno));
            }
        }
        if let Err(errno) = result {
            // What was mapped and could not be filled must not show what the blocks held before.
            let rest = sb.whole_blocks(&(range.start + done as u64..range.end));
            self.take_back(caller, rest, errno);
            if done == 0 {
                return Err(errno);
            }
        }
        Ok(done)
    }

    /// What is cached of blocks that are to hold data is stale; nothing of them may be on its way to the device.
    fn not_metadata(&self, op: Op, addr: u64, len: u64) -> Result<()> {
        let sb = self.sb();
        let block = sb.block();
        sb.device()?.drop_aliases(addr / block, len / block).map_err(|_| {
            sb.bad(op, format_args!("returned {len} bytes at byte {addr} of the device, where metadata are"))
        })
    }

    fn take_back(&self, caller: &Caller, range: Range<u64>, errno: Errno) {
        let sb = self.sb();
        self.forget_extents(range.clone());
        let (ino, offset) = (self.ino(), range.start);
        sb.log(abi::BENTO_LOG_ERR, format_args!("inode {ino}: new blocks at {offset} could not be written: {errno}"));
        if sb.has(Op::fallocate) {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            let _ = self.call_fallocate(caller, mode, range.start, range.end - range.start);
        }
    }

    /// Zeroes bytes that lie on the device; the others are zero already.
    pub fn zero(&self, caller: &Caller, range: Range<u64>) -> Result<()> {
        for piece in self.pieces(caller, range)? {
            if let Kind::Mapped(addr) = piece.kind {
                let device = self.sb().device()?;
                let mut done = 0;
                while done < piece.len {
                    let step = (piece.len - done).min(ZEROES.len() as u64);
                    device.write_bytes(addr + done, &ZEROES[..step as usize])?;
                    done += step;
                }
            }
        }
        Ok(())
    }

    /// The parts of the first and the last block of a range that share them with other bytes: they are zeroed, the blocks
    /// between are the handler's.
    pub fn zero_edges(&self, caller: &Caller, range: Range<u64>) -> Result<()> {
        let block = self.sb().block();
        let range = range.start..range.end.min(self.sb().whole_blocks(&(0..self.size())).end);
        if range.start >= range.end {
            return Ok(());
        }
        let (first, last) = (range.start.div_ceil(block) * block, range.end / block * block);
        if first >= last {
            // No whole block, or two parts that meet.
            let middle = first.clamp(range.start, range.end);
            self.zero(caller, range.start..middle)?;
            return self.zero(caller, middle..range.end);
        }
        self.zero(caller, range.start..first)?;
        self.zero(caller, last..range.end)
    }

    /// Before the file's end moves to `size`, what is between the nearer end and its block's end becomes zero.
    pub fn zero_tail(&self, caller: &Caller, size: u64) -> Result<()> {
        let from = size.min(self.size());
        let end = self.sb().whole_blocks(&(from..from)).end;
        if from < end && self.is_file() { self.zero(caller, from..end) } else { Ok(()) }
    }

    /// `SEEK_DATA` and `SEEK_HOLE` by the extents; at most `size`.
    pub fn seek_extents(&self, caller: &Caller, offset: u64, data: bool, size: u64) -> Result<u64> {
        let mut at = offset;
        while at < size {
            let piece = self.piece(caller, at..size)?;
            if matches!(piece.kind, Kind::Mapped(_)) == data {
                return Ok(at);
            }
            at = piece.end();
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: u32 = 1;

    fn mapped(offset: u64, len: u64, addr: u64) -> Piece {
        Piece { offset, len, kind: Kind::Mapped(addr) }
    }

    #[test]
    fn pieces_that_go_on_become_one() {
        let mut map = Map::empty(AGE);
        map.learn(mapped(0, 4096, 8192));
        map.learn(mapped(8192, 4096, 16384));
        map.learn(mapped(4096, 4096, 12288));
        assert_eq!(map.find(AGE, 0), Some(mapped(0, 12288, 8192)));
        assert_eq!(map.find(AGE, 5000), Some(mapped(5000, 7288, 13192)));
        assert_eq!(map.find(AGE, 12288).unwrap().kind, Kind::Hole);
        assert_eq!(map.find(AGE + 1, 0), None);
    }

    #[test]
    fn what_is_forgotten_leaves_the_rest() {
        let mut map = Map::default();
        map.asked(AGE);
        map.learn(mapped(0, 16384, 65536));
        let before = map.valid;
        map.forget(4096..8192);
        assert_ne!(map.valid, before);
        assert_eq!(map.pieces, [mapped(0, 4096, 65536), mapped(8192, 8192, 73728)]);
        map.learn(mapped(4096, 4096, 0));
        map.learn(Piece { offset: 2048, len: 4096, kind: Kind::Hole });
        let hole = Piece { offset: 2048, len: 4096, kind: Kind::Hole };
        assert_eq!(map.pieces, [mapped(0, 2048, 65536), hole, mapped(6144, 2048, 2048), mapped(8192, 8192, 73728)]);
        map.forget(0..u64::MAX);
        assert_eq!(map.pieces, []);
    }
}
