// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `bento_tx_*`: the transaction of one call. It takes part in the journal's running transaction; its undo log, what it
//! staged, claimed and forgot are the ledger's, so that whatever becomes of the call, it commits or has not been.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::call::Ledger;
use crate::device::{Buf, Device, Numbers};
use crate::inode::Inode;
use crate::slot::Health;
use crate::space::Claimed;
use crate::superblock::Super;

/// Bytes of a chunk of undo log, unless more are asked for.
const CHUNK: usize = 8192;
const HEADER: usize = size_of::<abi::bento_undo>();
/// So many blocks are looked through one by one.
const FEW: usize = 24;
const RECORD: usize = size_of::<abi::bento_undo_record>();

thread_local! {
    /// This thread has a transaction open, in this call or in the one around it.
    static OPEN: Cell<bool> = const { Cell::new(false) };
    /// The chunk of the transaction before.
    static SPARE: Cell<Option<Chunk>> = const { Cell::new(None) };
}

type Chunk = Box<[MaybeUninit<u64>]>;

struct Touched {
    buf: Arc<Buf>,
    /// Nothing was known of its bytes before.
    unread: bool,
    /// The journal's transaction had freed it before.
    freed: bool,
}

struct Staged {
    inode: Arc<Inode>,
    attr: abi::bento_attr,
    valid: u32,
}

/// The open transaction of a call.
pub struct Transaction {
    tid: u64,
    blocks: u64,
    revokes: u32,
    touched: Vec<Touched>,
    /// Their numbers, once there are many.
    known: Numbers<()>,
    /// The undo log; the newest last, as the runtime finds it through `bento_call.undo`.
    chunks: Vec<Chunk>,
    forgotten: Vec<u64>,
    staged: Vec<Staged>,
    claimed: Claimed,
    released: u64,
    /// Free blocks that the device is to hear of.
    discards: Vec<(u64, u64)>,
}

impl Transaction {
    /// Puts the old bytes back, the newest change first.
    fn undo(&mut self, device: &Device) {
        while let Some(mut chunk) = self.chunks.pop() {
            let head = chunk.as_mut_ptr().cast::<u8>();
            // SAFETY: SAFETY.md T1: the header is ours, `used` bytes of records behind it the runtime has written; each says
            // where in a block of this transaction its bytes belong, and the block is kept by `touched`.
            unsafe {
                let used = ((*head.cast::<abi::bento_undo>()).used as usize).min(chunk.len() * 8 - HEADER);
                let first = head.add(HEADER);
                let mut records = Vec::new();
                let mut at = 0;
                while at + RECORD <= used {
                    let record = first.add(at).cast::<abi::bento_undo_record>().read();
                    records.push((record, at + RECORD));
                    at += RECORD + (record.len as usize).next_multiple_of(8);
                }
                for (record, bytes) in records.into_iter().rev() {
                    record.at.copy_from(first.add(bytes), record.len as usize);
                }
            }
        }
        for Touched { buf, unread, freed } in &self.touched {
            if *unread {
                buf.forget_bytes();
            }
            device.journal.leave(self.tid, buf);
            if *freed {
                device.journal.forget(device, self.tid, buf.number);
            }
        }
        device.space.give_back(self.claimed);
    }

    /// Has it write access to that block?
    fn has(&self, buf: &Arc<Buf>) -> bool {
        match self.touched.len() > FEW {
            true => self.known.contains_key(&buf.number),
            // Most are asked for again right after the first time.
            false => self.touched.iter().rev().any(|touched| Arc::ptr_eq(&touched.buf, buf)),
        }
    }

    fn unused(&self) -> u64 {
        self.blocks.saturating_sub(self.touched.len() as u64)
    }
}

/// Everything of a call that the device is concerned with.
#[derive(Default)]
pub struct Blocks {
    held: Vec<Option<Arc<Buf>>>,
    free: Vec<u32>,
    tx: Option<Transaction>,
    /// The last transaction that committed in this call.
    pub last: u64,
    /// What `allocate_extents` may still take of the blocks counted as used before.
    pub promised: u64,
    /// Data of what this call allocates are still to be written: the transaction waits for them.
    pub hold: bool,
    /// The transaction that does.
    pub held_in: Option<u64>,
}

impl Blocks {
    pub fn new(promised: u64, hold: bool) -> Blocks {
        Blocks { promised, hold, ..Blocks::default() }
    }

    pub fn is_idle(&self) -> bool {
        self.held.iter().all(Option::is_none) && self.tx.is_none()
    }

    pub fn lend(&mut self, buf: Arc<Buf>, out: &mut abi::bento_block) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.held.push(None);
                self.held.len() as u32 - 1
            }
        };
        *out = abi::bento_block {
            data: buf.data(),
            number: buf.number,
            size: buf.len() as u32,
            slot,
            flags: if buf.is_checked() { abi::BENTO_BLOCK_CHECKED } else { 0 },
            pad: 0,
        };
        self.held[slot as usize] = Some(buf);
    }

    pub fn put(&mut self, slot: u32) {
        if self.held.get_mut(slot as usize).and_then(Option::take).is_some() {
            self.free.push(slot);
        }
    }

    pub fn block(&self, slot: u32) -> Option<&Arc<Buf>> {
        self.held.get(slot as usize)?.as_ref()
    }
}

impl<'a> Ledger<'a> {
    pub fn device(&self) -> Result<&'a Device> {
        self.sb.device.as_deref().ok_or_else(|| {
            self.sb.log(
                abi::BENTO_LOG_ERR,
                format_args!("{} asked for a device, and this mount has none", self.op.name()),
            );
            Errno::ENODEV
        })
    }

    fn complain(&self, what: std::fmt::Arguments<'_>) {
        self.sb.log(abi::BENTO_LOG_ERR, format_args!("{} {what}", self.op.name()));
    }

    fn tx(&mut self) -> Result<&mut Transaction> {
        if self.blocks.tx.is_none() {
            self.complain(format_args!("has no transaction open"));
        }
        self.blocks.tx.as_mut().ok_or(Errno::EINVAL)
    }

    pub fn tx_begin(&mut self, blocks: u32, revokes: u32) -> Result<()> {
        let device = self.device()?;
        if OPEN.get() {
            self.complain(format_args!("began a transaction while one was open"));
            return Err(Errno::EDEADLK);
        }
        if matches!(
            self.op,
            Op::save | Op::load | Op::save_inode | Op::migrate_inode | Op::drop_inode | Op::drop_instance
        ) {
            self.complain(format_args!("began a transaction"));
            return Err(Errno::EPERM);
        }
        if self.sb.is_read_only() && self.op != Op::mount && self.op != Op::reconfigure || device.is_read_only() {
            return Err(Errno::EROFS);
        }
        if self.settles() {
            device.journal.settle(device)?;
        }
        let credits = u64::from(blocks);
        let waits = self.blocks.held_in.is_none();
        let tid = device.journal.begin(device, credits, revokes.into(), waits).inspect_err(|errno| {
            if *errno == Errno::ENOSPC && waits {
                let most = device.journal.max_credits();
                self.complain(format_args!("asked for {blocks} blocks in one transaction, and {most} are the most"));
            }
        })?;
        OPEN.set(true);
        self.blocks.tx = Some(Transaction {
            tid,
            blocks: credits,
            revokes,
            touched: Vec::new(),
            known: Numbers::default(),
            chunks: Vec::new(),
            forgotten: Vec::new(),
            staged: Vec::new(),
            claimed: Claimed::default(),
            released: 0,
            discards: Vec::new(),
        });
        Ok(())
    }

    pub fn tx_extend(&mut self, blocks: u32, revokes: u32) -> Result<()> {
        let device = self.device()?;
        let tx = self.tx()?;
        device.journal.extend(blocks.into(), revokes.into())?;
        tx.blocks += u64::from(blocks);
        tx.revokes = tx.revokes.saturating_add(revokes);
        Ok(())
    }

    /// Write access for a block; whether the transaction had it already.
    fn touch(&mut self, device: &Device, buf: &Arc<Buf>, unread: bool) -> Result<bool> {
        let tx = self.tx()?;
        if tx.has(buf) {
            return Ok(true);
        }
        if !device.cached(buf.number).is_some_and(|current| Arc::ptr_eq(&current, buf)) {
            let number = buf.number;
            self.complain(format_args!("changes block {number}, which was freed or replayed since it read it"));
            return Err(Errno::EINVAL);
        }
        if device.journal.covers(buf.number, 1) {
            let number = buf.number;
            return Err(self.sb.bad(self.op, format_args!("changed block {number}, where the journal is")));
        }
        let tx = self.tx()?;
        if tx.touched.len() as u64 >= tx.blocks {
            let most = tx.blocks;
            self.complain(format_args!("changed more than the {most} blocks it had declared: block {}", buf.number));
            return Err(Errno::ENOSPC);
        }
        let freed = device.journal.join(tx.tid, buf);
        tx.touched.push(Touched { buf: Arc::clone(buf), unread, freed });
        if tx.touched.len() > FEW {
            if tx.known.is_empty() {
                tx.known.extend(tx.touched.iter().map(|touched| (touched.buf.number, ())));
            }
            tx.known.insert(buf.number, ());
        }
        Ok(false)
    }

    pub fn tx_write(&mut self, slot: u32, checksum: u32) -> Result<()> {
        let device = self.device()?;
        let Some(buf) = self.blocks.block(slot).cloned() else { return Err(Errno::EINVAL) };
        if !device.knows_sum(checksum) {
            return Err(Errno::EINVAL);
        }
        self.touch(device, &buf, false)?;
        if checksum != 0 {
            buf.sum.store(checksum, Ordering::Release);
        }
        Ok(())
    }

    /// A block with nothing in it, and write access.
    pub fn block_new(&mut self, call: *mut abi::bento_call, number: u64, out: &mut abi::bento_block) -> Result<()> {
        let device = self.device()?;
        self.tx()?;
        let buf = device.unread(number).inspect_err(|_| self.past_the_end(number))?;
        let known = buf.is_uptodate();
        if known {
            // SAFETY: SAFETY.md C1: this call's own.
            unsafe { self.undo_room(call, RECORD + buf.len())? };
        }
        self.touch(device, &buf, !known)?;
        if known {
            // SAFETY: SAFETY.md C1, T1: `undo_room` made the room, and `touched` keeps the block.
            unsafe { note(call, &buf) };
        }
        buf.blank();
        buf.sum.store(0, Ordering::Release);
        self.blocks.lend(buf, out);
        Ok(())
    }

    pub fn past_the_end(&self, number: u64) {
        let blocks = self.sb.device.as_ref().map_or(0, |device| device.blocks());
        self.sb.bad(self.op, format_args!("asked for block {number} of {blocks}"));
    }

    /// # Safety
    /// `call` is this call's (SAFETY.md C1).
    pub unsafe fn undo_room(&mut self, call: *mut abi::bento_call, len: usize) -> Result<()> {
        let tx = self.tx()?;
        // SAFETY: the caller's promise; the newest chunk is the last of ours.
        let older = unsafe { (*call).undo };
        let need = len.checked_add(HEADER + 16).ok_or(Errno::ENOMEM)?;
        let words = need.max(CHUNK).div_ceil(8);
        let spare = SPARE.take().filter(|spare| spare.len() >= words);
        let mut chunk = match spare {
            Some(spare) => spare,
            None => {
                let mut chunk: Vec<MaybeUninit<u64>> = Vec::new();
                chunk.try_reserve_exact(words).map_err(|_| Errno::ENOMEM)?;
                chunk.resize(words, MaybeUninit::uninit());
                chunk.into_boxed_slice()
            }
        };
        let words = chunk.len();
        let head = chunk.as_mut_ptr().cast::<abi::bento_undo>();
        let cap = u32::try_from(words * 8 - HEADER).map_err(|_| Errno::ENOMEM)?;
        // SAFETY: as above; the boxed words stay where they are.
        unsafe {
            head.write(abi::bento_undo { older, used: 0, cap });
            (*call).undo = head;
        }
        tx.chunks.push(chunk);
        Ok(())
    }

    pub fn tx_forget(&mut self, number: u64) -> Result<()> {
        let device = self.device()?;
        if number >= device.blocks() {
            self.past_the_end(number);
            return Err(Errno::EUCLEAN);
        }
        let tx = self.tx()?;
        if tx.forgotten.len() >= tx.revokes as usize {
            let most = tx.revokes;
            self.complain(format_args!("freed more than the {most} blocks it had declared: block {number}"));
            return Err(Errno::ENOSPC);
        }
        tx.forgotten.push(number);
        Ok(())
    }

    /// # Safety
    /// `inode` is a live inode of this shim (SAFETY.md C5).
    pub unsafe fn tx_inode(
        &mut self,
        inode: *const abi::bento_inode,
        attr: &abi::bento_attr,
        valid: u32,
    ) -> Result<()> {
        self.device()?;
        // SAFETY: the caller's promise.
        let inode = unsafe { Inode::arc_from_raw(inode) };
        self.tx()?;
        crate::attr::check_staged(self.op, &inode, attr, valid)?;
        let tx = self.tx()?;
        if let Some(staged) = tx.staged.iter_mut().find(|staged| Arc::ptr_eq(&staged.inode, &inode)) {
            crate::attr::apply(&mut staged.attr, attr, valid);
            staged.valid |= valid;
        } else {
            tx.staged.push(Staged { inode, attr: *attr, valid });
        }
        Ok(())
    }

    pub fn tx_claim(&mut self, blocks: u64) -> Result<()> {
        let device = self.device()?;
        let (caller, promised) = (self.caller, self.blocks.promised);
        let margin = matches!(self.op, Op::allocate_extents | Op::convert_extents | Op::write_inode | Op::evict_inode);
        let tx = self.tx()?;
        let claimed = device.space.claim(caller, blocks, promised, margin)?;
        tx.claimed.blocks += claimed.blocks;
        tx.claimed.reserved += claimed.reserved;
        self.blocks.promised -= claimed.reserved;
        Ok(())
    }

    pub fn tx_release(&mut self, blocks: u64) {
        if let Ok(tx) = self.tx() {
            tx.released = tx.released.saturating_add(blocks);
        }
    }

    pub fn tx_discard(&mut self, number: u64, count: u64) -> Result<()> {
        let device = self.device()?;
        let tx = self.tx()?;
        if !device.journal.is_logged() {
            return Err(Errno::EOPNOTSUPP);
        }
        if number.checked_add(count).is_none_or(|end| end > device.blocks()) || device.journal.covers(number, count) {
            return Err(self.sb.bad(self.op, format_args!("discards {count} blocks at {number}, which are not free")));
        }
        tx.discards.push((number, count));
        Ok(())
    }

    pub fn tx_id(&mut self) -> u64 {
        self.tx().map_or(0, |tx| tx.tid)
    }

    /// May this call still change anything (SAFETY.md T4)?
    fn may_commit(&self) -> Result<()> {
        // An instance in the making is none yet that could be spoiled.
        if self.op != Op::mount && (self.sb.slot.health() != Health::Ok || self.generation != self.sb.slot.generation())
        {
            return Err(Errno::EIO);
        }
        match self.device()?.journal.aborted() {
            Some(_) => Err(Errno::EROFS),
            None => Ok(()),
        }
    }

    /// # Safety
    /// `call` is this call's (SAFETY.md C1).
    pub unsafe fn tx_end(&mut self, call: *mut abi::bento_call, commit: bool) -> Result<()> {
        self.tx()?;
        let may = if commit { self.may_commit() } else { Ok(()) };
        // SAFETY: the caller's promise.
        unsafe { self.finish(call, commit && may.is_ok()) };
        if commit && may.is_ok() && self.settles() {
            let device = self.device()?;
            return device.journal.commit_apart(device);
        }
        may
    }

    /// Are transactions of this call those that say whether the journal is in use? They begin when it is empty, and one
    /// that changes a single block (a superblock's flag) does not go through it: whoever finds that flag unset takes the
    /// journal for empty, so it is set before there is anything in it, and cleared when there is nothing any more.
    fn settles(&self) -> bool {
        matches!(self.op, Op::mount | Op::unmount | Op::reconfigure)
    }

    /// Ends what is open, if anything.
    ///
    /// # Safety
    /// As [`Self::tx_end`].
    pub unsafe fn finish(&mut self, call: *mut abi::bento_call, commit: bool) {
        let Some(mut tx) = self.blocks.tx.take() else { return };
        // SAFETY: the caller's promise.
        unsafe { (*call).undo = ptr::null_mut() };
        OPEN.set(false);
        let Some(device) = self.sb.device.as_deref() else { return };
        let (tid, unused) = (tx.tid, tx.unused());
        if !commit {
            tx.undo(device);
            self.blocks.promised += tx.claimed.reserved;
            return device.journal.end(tid, unused, tx.revokes.into(), false);
        }
        for number in &tx.forgotten {
            device.journal.forget(device, tid, *number);
        }
        device.space.give_back(Claimed { blocks: tx.released, reserved: 0 });
        if tx.released > 0 || !tx.discards.is_empty() {
            device.space.freed_by(tid);
        }
        if !tx.discards.is_empty() {
            device.journal.discard(tid, std::mem::take(&mut tx.discards));
        }
        for Staged { inode, attr, valid } in &tx.staged {
            crate::attr::apply_staged(self, inode, attr, *valid);
            inode.note_transaction(tid);
        }
        self.blocks.last = tid;
        let hold = self.blocks.hold && self.blocks.held_in.is_none();
        if hold {
            self.blocks.held_in = Some(tid);
        }
        let unused_revokes = u64::from(tx.revokes).saturating_sub(tx.forgotten.len() as u64);
        device.journal.end(tid, unused, unused_revokes, hold);
        if let Some(chunk) = tx.chunks.pop().filter(|chunk| chunk.len() == CHUNK / 8) {
            SPARE.set(Some(chunk));
        }
    }
}

/// Notes all bytes of a block in the undo log, which has room.
///
/// # Safety
/// `call` is the call in progress, `buf` a block of its transaction.
unsafe fn note(call: *mut abi::bento_call, buf: &Buf) {
    // SAFETY: the caller's promise; SAFETY.md T1, as in the runtime.
    unsafe {
        let chunk = (*call).undo;
        let record = chunk.add(1).cast::<u8>().add((*chunk).used as usize);
        record.cast::<abi::bento_undo_record>().write(abi::bento_undo_record { at: buf.data(), len: buf.len() as u64 });
        record.add(RECORD).copy_from_nonoverlapping(buf.data(), buf.len());
        (*chunk).used += (RECORD + buf.len().next_multiple_of(8)) as u32;
    }
}

impl Super {
    /// Has every transaction that changed this inode become durable? Waits for those it has.
    pub fn wait_commit(&self, inode: &Inode) -> Result<()> {
        let Some(device) = &self.device else { return Ok(()) };
        match inode.transaction() {
            // Data that went to their places without a transaction want the flush all the same.
            tid if tid == 0 || device.journal.is_committed(tid) => device.journal.flush(device),
            tid => device.journal.commit(device, tid),
        }
    }

    /// Everything that has been done is durable.
    pub fn force_commit(&self) -> Result<()> {
        let Some(device) = self.device.as_ref().filter(|device| !device.is_read_only()) else { return Ok(()) };
        match device.journal.commit_all(device)? {
            true => Ok(()),
            false => device.journal.flush(device),
        }
    }
}
