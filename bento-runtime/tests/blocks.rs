// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Blocks, transactions and extents against the least of a shim: what Miri can run. It checks the pointer work of
//! `fs/device.rs`, `fs/transaction.rs` and `fs/extent.rs` (SAFETY.md C4, T1, T2), and each change against a plain model.
#![cfg(feature = "std")]
#![allow(clippy::undocumented_unsafe_blocks)] // a shim's side of the contract, in a test

use std::cell::Cell;
use std::collections::BTreeSet;
use std::mem::zeroed;
use std::sync::Once;

use bento::abi::*;
use bento::fs::{Checksum, Credits, Why, crc32c};
use bento::prelude::*;

const BLOCK: usize = 512;
const BLOCKS: usize = 8;

#[bento_fs(name = "blockfs", version = 1, data = "extents")]
struct BlockFs {
    #[state(skip)]
    locks: [Mutex<u64>; 7],
    #[state(skip)]
    sum: Sum,
}

/// The checksum that `mount` got.
#[derive(Default)]
struct Sum(Option<Checksum>);

type Step<'a> = &'a mut dyn FnMut(&BlockFs, &Context<BlockFs>, &Inode<BlockFs>) -> Result<()>;

thread_local! {
    /// What `lookup` does.
    static STEP: Cell<Option<Step<'static>>> = const { Cell::new(None) };
}

#[bento_fs]
impl FileSystem for BlockFs {
    fn mount(cx: &MountContext) -> Result<Self> {
        assert_eq!(cx.why(), Why::Mount);
        cx.set_block_size(BLOCK as u32)?;
        let first = cx.device().read(0)?;
        // Held, a block keeps its size.
        assert_eq!(cx.set_block_size(1024), Err(Errno::EBUSY));
        drop(first);
        let sum = cx.add_checksum(0, 508, 508, !0, true)?;
        Ok(BlockFs { locks: Default::default(), sum: Sum(Some(sum)) })
    }

    fn load_inode(&self, _cx: &Context<Self>, _ino: Ino) -> Result<(Attr, ())> {
        Ok((Attr::directory(0o755), ()))
    }

    fn lookup(&self, cx: &Context<Self>, dir: &Inode<Self>, _name: &Name) -> Result<Ino> {
        STEP.take().expect("a step")(self, cx, dir).map(|()| Ino::ROOT)
    }

    /// The list that a test wants pushed, in its name for the range: see `extents_are_in_order_and_without_gaps`.
    fn map_extents(&self, _: &Context<Self>, _: &Inode<Self>, at: u64, len: u64, extents: &mut Extents) -> Result<()> {
        assert_eq!(extents.push(Extent::Hole { offset: at + 1, len: 8 }), Err(Errno::EUCLEAN), "a gap");
        assert_eq!(extents.push(Extent::Hole { offset: at, len: 0 }), Err(Errno::EUCLEAN), "empty");
        if len == u64::MAX {
            return extents.push(Extent::Hole { offset: at, len });
        }
        extents.push(Extent::Hole { offset: at, len: 512 })?;
        extents.push(Extent::Mapped { offset: at + 512, len: 1024, addr: 4096, new: false })?;
        assert!(extents.has_room());
        extents.push(Extent::Unwritten { offset: at + 1536, len: 512, addr: 512, new: true })?;
        assert!(!extents.has_room());
        extents.push(Extent::Hole { offset: at + 2048, len: 512 })
    }

    fn write_inode(&self, _: &Context<Self>, _: &Inode<Self>, _: bool) -> Result<()> {
        Ok(())
    }

    fn allocate_extents(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        offset: u64,
        len: u64,
        how: Allocate,
        extents: &mut Extents,
    ) -> Result<()> {
        assert_eq!(how, Allocate { written: true, reserved: 3, end: 2560 - 12 });
        extents.push(Extent::Mapped { offset, len, addr: 1024, new: true })
    }

    fn convert_extents(&self, _: &Context<Self>, _: &Inode<Self>, written: Written) -> Result<()> {
        assert_eq!(written, Written { offset: 512, len: 1024, addr: 2048 });
        Ok(())
    }
}

// ---- the least of a shim ----

/// One device, and the ledger of the one call that is under way. Rust has its address in `call.sb` and looks at nothing.
struct Shim {
    call: *mut bento_call,
    blocks: [*mut u8; BLOCKS],
    /// Which block each slot holds.
    slots: Vec<Option<usize>>,
    in_transaction: bool,
    /// Blocks with write access, and the checksum that was named.
    written: Vec<(usize, u32)>,
    claimed: u64,
    released: u64,
    free: u64,
    staged: Vec<(u64, u32, bento_attr)>,
    forgotten: Vec<u64>,
    checked: BTreeSet<usize>,
    refuse_commit: bool,
    /// Is locked when a transaction ends.
    watched: *const Mutex<u64>,
    ends: Vec<bool>,
    rooms: usize,
}

unsafe fn shim<'a>(call: *mut bento_call) -> &'a mut Shim {
    unsafe { &mut *(*call).sb.cast::<Shim>() }
}

fn refuse(errno: Errno) -> i32 {
    -errno.get()
}

unsafe extern "C" fn device(_: *mut bento_call, out: *mut bento_device) {
    unsafe { *out = bento_device { size: (BLOCK * BLOCKS) as u64, block_size: BLOCK as u32, flags: 0 } }
}

unsafe extern "C" fn device_block_size(call: *mut bento_call, _: u32) -> i32 {
    if unsafe { shim(call) }.slots.iter().any(Option::is_some) { refuse(Errno::EBUSY) } else { 0 }
}

impl Shim {
    fn hold(&mut self, number: usize, out: &mut bento_block) {
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(number);
        let flags = if self.checked.contains(&number) { BENTO_BLOCK_CHECKED } else { 0 };
        let (data, slot) = (self.blocks[number], slot as u32);
        *out = bento_block { data, number: number as u64, size: BLOCK as u32, slot, flags, pad: 0 };
    }

    fn bytes(&self, number: usize) -> Vec<u8> {
        unsafe { std::slice::from_raw_parts(self.blocks[number], BLOCK) }.to_vec()
    }

    fn device(&self) -> Vec<u8> {
        (0..BLOCKS).flat_map(|number| self.bytes(number)).collect()
    }

    /// Drops the undo log; copies the old bytes back first, the newest first.
    fn end(&mut self, undo: bool) {
        let mut chunk = unsafe { (*self.call).undo };
        unsafe { (*self.call).undo = std::ptr::null_mut() };
        while !chunk.is_null() {
            unsafe {
                let (mut at, mut records) = (0, Vec::new());
                let start = chunk.add(1).cast::<u8>();
                while at < (*chunk).used as usize {
                    let record = start.add(at).cast::<bento_undo_record>();
                    records.push(record);
                    at += size_of::<bento_undo_record>() + ((*record).len as usize).next_multiple_of(8);
                }
                assert_eq!(at, (*chunk).used as usize);
                assert!((*chunk).used <= (*chunk).cap);
                for record in records.into_iter().rev().filter(|_| undo) {
                    (*record).at.copy_from(record.add(1).cast::<u8>(), (*record).len as usize);
                }
                let older = (*chunk).older;
                let words = 2 + (*chunk).cap as usize / 8;
                drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(chunk.cast::<u64>(), words)));
                chunk = older;
            }
        }
        if undo {
            (self.claimed, self.released) = (0, 0);
            self.staged.clear();
            self.forgotten.clear();
        }
        self.free = self.free - self.claimed + self.released;
        (self.claimed, self.released) = (0, 0);
        self.in_transaction = false;
        self.ends.push(!undo);
    }
}

unsafe extern "C" fn block_read(call: *mut bento_call, number: u64, out: *mut bento_block) -> i32 {
    if number >= BLOCKS as u64 {
        return refuse(Errno::EUCLEAN);
    }
    unsafe { shim(call).hold(number as usize, &mut *out) };
    0
}

unsafe extern "C" fn block_new(call: *mut bento_call, number: u64, out: *mut bento_block) -> i32 {
    let result = unsafe { block_read(call, number, out) };
    if result == 0 {
        assert!(unsafe { shim(call) }.in_transaction);
        // As if the cache had held it: undone, the old bytes are back.
        let old = unsafe { std::slice::from_raw_parts((*out).data, BLOCK) }.to_vec();
        unsafe { note(call, (*out).data, &old) };
        unsafe { (*out).data.write_bytes(0, BLOCK) };
        unsafe { shim(call) }.written.push((number as usize, 0));
    }
    result
}

unsafe fn note(call: *mut bento_call, at: *mut u8, old: &[u8]) {
    unsafe {
        assert_eq!(tx_undo_room(call, 16 + old.len()), 0);
        let chunk = (*call).undo;
        let record = chunk.add(1).cast::<u8>().add((*chunk).used as usize);
        record.cast::<bento_undo_record>().write(bento_undo_record { at, len: old.len() as u64 });
        record.add(16).copy_from(old.as_ptr(), old.len());
        (*chunk).used += 16 + old.len() as u32;
    }
}

unsafe extern "C" fn block_put(call: *mut bento_call, slot: u32) {
    assert!(unsafe { shim(call) }.slots[slot as usize].take().is_some());
}

unsafe extern "C" fn block_checked(call: *mut bento_call, slot: u32) {
    let shim = unsafe { shim(call) };
    let number = shim.slots[slot as usize].unwrap();
    assert!(shim.checked.insert(number));
}

/// Nothing of crc32c: a sum that depends on each byte.
unsafe extern "C" fn sum(seed: u32, ptr: *const u8, len: usize) -> u32 {
    let bytes = unsafe { std::slice::from_raw_parts(ptr, len) };
    bytes.iter().fold(seed, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte))
}

unsafe extern "C" fn checksum_add(_: *mut bento_call, sum: *const bento_checksum) -> i32 {
    let sum = unsafe { &*sum };
    assert_eq!((sum.from, sum.len, sum.at, sum.seed, sum.flags), (0, 508, 508, !0, BENTO_CHECKSUM_NUMBER));
    1
}

unsafe extern "C" fn tx_begin(call: *mut bento_call, blocks: u32, revokes: u32) -> i32 {
    let shim = unsafe { shim(call) };
    if shim.in_transaction {
        return refuse(Errno::EDEADLK);
    }
    assert!(blocks > 0 && revokes < 9);
    shim.in_transaction = true;
    shim.written.clear();
    0
}

unsafe extern "C" fn tx_write(call: *mut bento_call, slot: u32, checksum: u32) -> i32 {
    let shim = unsafe { shim(call) };
    let number = shim.slots[slot as usize].unwrap();
    shim.written.push((number, checksum));
    if number == BLOCKS - 1 { refuse(Errno::EIO) } else { 0 }
}

/// Chunks that a few records fill, to the byte if it comes so.
unsafe extern "C" fn tx_undo_room(call: *mut bento_call, len: usize) -> i32 {
    unsafe { shim(call) }.rooms += 1;
    let cap = len.next_multiple_of(8).max(48);
    let words = Box::into_raw(vec![0_u64; 2 + cap / 8].into_boxed_slice()).cast::<bento_undo>();
    unsafe {
        words.write(bento_undo { older: (*call).undo, used: 0, cap: cap as u32 });
        (*call).undo = words;
    }
    0
}

unsafe extern "C" fn tx_forget(call: *mut bento_call, number: u64) -> i32 {
    unsafe { shim(call) }.forgotten.push(number);
    0
}

unsafe extern "C" fn tx_inode(
    call: *mut bento_call,
    inode: *mut bento_inode,
    attr: *const bento_attr,
    valid: u32,
) -> i32 {
    unsafe { shim(call).staged.push(((*inode).ino, valid, *attr)) };
    0
}

unsafe extern "C" fn tx_claim(call: *mut bento_call, blocks: u64) -> i32 {
    let shim = unsafe { shim(call) };
    if shim.claimed + blocks > shim.free {
        return refuse(Errno::ENOSPC);
    }
    shim.claimed += blocks;
    0
}

unsafe extern "C" fn tx_release(call: *mut bento_call, blocks: u64) {
    unsafe { shim(call) }.released += blocks;
}

unsafe extern "C" fn tx_id(_: *mut bento_call) -> u64 {
    77
}

unsafe extern "C" fn tx_is_committed(_: *mut bento_call, id: u64) -> i32 {
    if id == 77 { refuse(Errno::ENODEV) } else { 1 }
}

unsafe extern "C" fn tx_end(call: *mut bento_call, commit: u32) -> i32 {
    let shim = unsafe { shim(call) };
    assert!(shim.in_transaction);
    if let Some(watched) = unsafe { shim.watched.as_ref() } {
        assert!(watched.try_lock().is_none(), "locks of a transaction outlast it");
    }
    let refused = shim.refuse_commit && commit != 0;
    shim.end(commit == 0 || refused);
    if refused { refuse(Errno::EIO) } else { 0 }
}

unsafe extern "C" fn inode_attr(inode: *const bento_inode, out: *mut bento_attr) {
    unsafe {
        out.write(zeroed());
        ((*out).ino, (*out).size, (*out).disk_size, (*out).mode) = ((*inode).ino, 1000, 512, 0o40755);
    }
}

unsafe extern "C" fn panicked(_: *mut bento_call, _: bento_bytes, _: *const bento_location, _: i32) {}
unsafe extern "C" fn lock_event(_: *mut bento_call, _: *const core::ffi::c_void) {}
unsafe extern "C" fn extend(_: *mut bento_call, blocks: u32, _: u32) -> i32 {
    if blocks > 100 { refuse(Errno::ENOSPC) } else { 0 }
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut host: bento_host = unsafe { zeroed() };
        (host.size, host.abi) = (size_of::<bento_host>() as u32, BENTO_ABI_VERSION);
        host.panicked = Some(panicked);
        host.lock_poisoned = Some(lock_event);
        host.lock_refused = Some(lock_event);
        host.inode_attr = Some(inode_attr);
        host.device = Some(device);
        host.device_block_size = Some(device_block_size);
        host.block_read = Some(block_read);
        host.block_new = Some(block_new);
        host.block_put = Some(block_put);
        host.block_checked = Some(block_checked);
        host.crc32c = Some(sum);
        host.checksum_add = Some(checksum_add);
        host.tx_begin = Some(tx_begin);
        host.tx_extend = Some(extend);
        host.tx_write = Some(tx_write);
        host.tx_undo_room = Some(tx_undo_room);
        host.tx_forget = Some(tx_forget);
        host.tx_inode = Some(tx_inode);
        host.tx_claim = Some(tx_claim);
        host.tx_release = Some(tx_release);
        host.tx_id = Some(tx_id);
        host.tx_is_committed = Some(tx_is_committed);
        host.tx_end = Some(tx_end);
        bento::host::install(Box::leak(Box::new(host))).unwrap();
    });
}

const OPS: &bento_ops = bento::thunk::ops::<BlockFs>();

/// A mount with its root loaded; unmounted when dropped.
struct Mount {
    call: *mut bento_call,
    shim: *mut Shim,
    root: *mut bento_inode,
}

impl Mount {
    fn new() -> Mount {
        install();
        let mut pattern = Random(1);
        let blocks = std::array::from_fn(|_| {
            let block = Box::into_raw(Box::new([0_u64; BLOCK / 8])).cast::<u8>();
            (0..BLOCK).for_each(|at| unsafe { block.add(at).write(pattern.next() as u8) });
            block
        });
        let call: *mut bento_call = Box::into_raw(Box::new(unsafe { zeroed() }));
        let shim = Box::into_raw(Box::new(Shim {
            call,
            blocks,
            slots: Vec::new(),
            in_transaction: false,
            written: Vec::new(),
            claimed: 0,
            released: 0,
            free: 10,
            staged: Vec::new(),
            forgotten: Vec::new(),
            checked: BTreeSet::new(),
            refuse_commit: false,
            watched: std::ptr::null(),
            ends: Vec::new(),
            rooms: 0,
        }));
        let root: *mut bento_inode = Box::into_raw(Box::new(unsafe { zeroed() }));
        unsafe {
            ((*call).generation, (*call).sb, (*root).ino) = (1, shim.cast(), 1);
            let mut args: bento_mount_args = zeroed();
            assert_eq!(OPS.mount.unwrap()(call, &raw mut args), 0);
            assert_eq!(args.block_size, BLOCK as u32);
            (*call).instance = args.instance;
            let mut load = bento_load_inode_args { inode: root, attr: zeroed() };
            assert_eq!(OPS.load_inode.unwrap()(call, &raw mut load), 0);
        }
        Mount { call, shim, root }
    }

    fn shim(&mut self) -> &mut Shim {
        unsafe { &mut *self.shim }
    }

    fn fs(&self) -> &BlockFs {
        unsafe { &*(*self.call).instance.cast::<BlockFs>() }
    }

    /// Runs `step` in a handler; after it the shim cleans up, as it does after each call.
    fn run(&mut self, mut step: impl FnMut(&BlockFs, &Context<BlockFs>, &Inode<BlockFs>) -> Result<()>) -> Result<()> {
        let step: Step<'_> = &mut step;
        STEP.set(Some(unsafe { std::mem::transmute::<Step<'_>, Step<'static>>(step) }));
        let mut args: bento_lookup_args = unsafe { zeroed() };
        args.dir = self.root;
        let result = unsafe { OPS.lookup.unwrap()(self.call, &raw mut args) };
        let shim = self.shim();
        if shim.in_transaction {
            shim.end(true);
        }
        assert!(unsafe { (*self.call).undo.is_null() });
        self.shim().slots.clear();
        if result < 0 { Err(Errno::new(-result as i32)) } else { Ok(()) }
    }

    /// Blocks that are still held: asked at the end of a step.
    fn held(call: &Context<BlockFs>) -> usize {
        let sb = unsafe { (*std::ptr::from_ref(call).cast::<bento_call>()).sb };
        unsafe { (*sb.cast::<Shim>()).slots.iter().flatten().count() }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        unsafe {
            let mut forget: bento_inode_args = zeroed();
            forget.inode = self.root;
            assert_eq!(OPS.forget_inode.unwrap()(self.call, &raw mut forget), 0);
            let mut args = bento_unmount_args { pad: 0 };
            assert_eq!(OPS.unmount.unwrap()(self.call, &raw mut args), 0);
            drop(Box::from_raw(self.root));
            for block in (*self.shim).blocks {
                drop(Box::from_raw(block.cast::<[u64; BLOCK / 8]>()));
            }
            drop(Box::from_raw(self.shim));
            drop(Box::from_raw(self.call));
        }
    }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Miri takes its time.
const MANY: usize = if cfg!(miri) { 60 } else { 3000 };

#[test]
fn a_field_is_read_where_it_is_all_inside() {
    let mut mount = Mount::new();
    let bytes = mount.shim().bytes(3);
    mount
        .run(|_, cx, _| {
            let block = cx.device().read(3)?;
            assert_eq!((block.number(), block.len(), cx.device().block_size()), (3, BLOCK, BLOCK as u32));
            for at in (0..24).chain(BLOCK - 10..BLOCK + 2) {
                let want = |len: usize| bytes.get(at..at + len).ok_or(Errno::EUCLEAN);
                assert_eq!(block.get::<u8>(at), want(1).map(|bytes| bytes[0]));
                assert_eq!(block.get::<u16>(at), want(2).map(|b| u16::from_le_bytes(b.try_into().unwrap())));
                assert_eq!(block.get::<u32>(at), want(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())));
                assert_eq!(block.get::<u64>(at), want(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())));
                assert_eq!(block.get::<[u8; 15]>(at).as_ref().map(|b| &b[..]), want(15).as_ref().map(|b| &b[..]));
            }
            let mut some = [0; 23];
            block.read(7, &mut some)?;
            assert_eq!(some, bytes[7..30]);
            assert!(block.equals(7, &some) && block.equals(BLOCK, &[]) && !block.equals(8, &some));
            for len in 0..23 {
                let mut other = some;
                other[len] ^= 1;
                assert!(block.equals(7, &other[..len]) && !block.equals(7, &other[..len + 1]));
            }
            // Offsets come from the disk.
            for at in [BLOCK - 22, BLOCK + 1, usize::MAX - 3, usize::MAX] {
                assert_eq!(block.read(at, &mut some), Err(Errno::EUCLEAN));
                assert_eq!(block.get::<u64>(at | 1 << 40), Err(Errno::EUCLEAN));
                assert_eq!(block.crc32c(0, at, 23), Err(Errno::EUCLEAN));
                assert!(!block.equals(at, &some));
            }
            assert_eq!(block.crc32c(5, 7, 23), Ok(crc32c(5, &some)));
            assert_eq!(cx.device().read(BLOCKS as u64).err(), Some(Errno::EUCLEAN));
            assert!(!block.is_checked());
            block.set_checked();
            block.set_checked();
            assert!(block.is_checked() && cx.device().read(3)?.is_checked());
            assert!(!cx.device().is_committed(77) && cx.device().is_committed(76));
            assert_eq!(Mount::held(cx), 1);
            Ok(())
        })
        .unwrap();
}

#[test]
fn bits_are_found_and_counted() {
    let mut mount = Mount::new();
    let bytes = mount.shim().bytes(0);
    mount
        .run(|_, cx, _| {
            let block = cx.device().read(0)?;
            let bit = |at: usize| bytes[at / 8] >> (at % 8) & 1 == 1;
            let mut random = Random(9);
            let edges: &[usize] = match cfg!(miri) {
                true => &[0, 1, 63, 64, 65, 130],
                false => &[0, 1, 63, 64, 65, 127, 128, 4032, 4095, 4096, 5000, usize::MAX],
            };
            let pairs = edges.iter().flat_map(|from| edges.iter().map(|to| (*from, *to)));
            let pairs = pairs
                .chain([(4000, usize::MAX)])
                .chain((0..MANY / 60).map(|_| (random.below(4200), random.below(4200))));
            for (from, to) in pairs.collect::<Vec<_>>() {
                let range = from..to.min(4096);
                assert_eq!(block.count_bits(from, to), range.clone().filter(|at| bit(*at)).count(), "{from}..{to}");
                for set in [false, true] {
                    assert_eq!(block.find_bit(set, from, to), range.clone().find(|at| bit(*at) == set));
                }
            }
            Ok(())
        })
        .unwrap();
}

/// Changes a block at random, and `model` likewise.
fn change(random: &mut Random, tx: &Transaction<'_>, block: &Block<'_>, model: &mut [u8]) -> Result<()> {
    let at = random.below(BLOCK);
    let len = random.below(BLOCK - at + 1).min(100);
    let value = random.next();
    match random.below(9) {
        0 if at < BLOCK => {
            model[at] = value as u8;
            tx.put(block, at, value as u8)
        }
        1 if at + 2 <= BLOCK => {
            model[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
            tx.put(block, at, value as u16)
        }
        2 if at + 4 <= BLOCK => {
            model[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
            tx.put(block, at, value as u32)
        }
        3 if at + 8 <= BLOCK => {
            model[at..at + 8].copy_from_slice(&value.to_le_bytes());
            tx.put(block, at, value)
        }
        4 => {
            let bytes: Vec<u8> = (0..len).map(|n| (value >> (n % 57)) as u8).collect();
            model[at..at + len].copy_from_slice(&bytes);
            tx.put_bytes(block, at, &bytes)
        }
        5 => {
            model[at..at + len].fill(value as u8);
            tx.fill(block, at, len, value as u8)
        }
        6 => {
            let to = random.below(BLOCK - len + 1);
            model.copy_within(at..at + len, to);
            tx.shift(block, at, to, len)
        }
        _ => {
            let (from, count, set) = (at * 8 + value as usize % 8, value as usize % 70, value >> 63 == 1);
            let count = count.min(BLOCK * 8 - from);
            for bit in from..from + count {
                model[bit / 8] = model[bit / 8] & !(1 << (bit % 8)) | u8::from(set) << (bit % 8);
            }
            tx.put_bits(block, from, count, set)
        }
    }
}

#[test]
fn changes_are_as_in_a_model_and_undone_to_the_byte() {
    let mut mount = Mount::new();
    let mut random = Random(4);
    for round in 0..MANY / 20 {
        let before = mount.shim().device();
        let mut model = before.clone();
        let commit = round % 3 == 0;
        let result = mount.run(|_, cx, _| {
            let blocks = [cx.device().read(1)?, cx.device().read(2)?];
            let tx = cx.begin(2)?;
            for _ in 0..20 {
                let at = random.below(2);
                let model = &mut model[(at + 1) * BLOCK..(at + 2) * BLOCK];
                change(&mut random, &tx, &blocks[at], model)?;
                assert!(blocks[at].equals(0, model));
            }
            match round % 3 {
                0 => tx.commit(),
                1 => Err(Errno::EIO),
                // The shim ends what nobody ended.
                _ => {
                    std::mem::forget((tx, blocks));
                    Ok(())
                }
            }
        });
        assert_eq!(result.is_ok(), round % 3 != 1);
        assert!(mount.shim().device() == if commit { model } else { before }, "round {round}");
        assert!(mount.shim().written.len() <= 2, "access is asked for once for each block");
    }
    assert!(mount.shim().rooms > MANY / 20);
}

#[test]
fn what_is_not_all_inside_is_refused_before_anything_changes() {
    let mut mount = Mount::new();
    let before = mount.shim().device();
    mount
        .run(|_, cx, _| {
            let block = cx.device().read(1)?;
            let tx = cx.begin(1)?;
            let no = Err(Errno::EUCLEAN);
            for at in [BLOCK - 6, BLOCK, BLOCK + 1, usize::MAX - 6, usize::MAX] {
                assert_eq!(tx.put(&block, at, 7_u64), no);
                assert_eq!(tx.put_bytes(&block, at, &[1; 7]), no);
                assert_eq!(tx.fill(&block, at, 7, 1), no);
                assert_eq!((tx.shift(&block, at, 0, 7), tx.shift(&block, 0, at, 7)), (no, no));
                assert_eq!(tx.put_bits(&block, at.saturating_mul(8), 56, true), no);
            }
            assert_eq!(tx.put_bits(&block, 3, usize::MAX, true), no);
            assert_eq!(tx.put_bits(&block, usize::MAX, 1, true), no);
            assert_eq!(tx.fill(&block, 0, usize::MAX, 1), no);
            // Nothing is a change too, and harmless.
            tx.put_bytes(&block, BLOCK, &[])?;
            tx.put_bits(&block, 11, 0, true)?;
            tx.put_bits(&block, BLOCK * 8, 0, true)?;
            tx.shift(&block, 9, 4, 0)?;
            tx.commit()
        })
        .unwrap();
    assert_eq!(mount.shim().device(), before);
}

#[test]
fn a_transaction_ends_once_and_another_may_follow() {
    let mut mount = Mount::new();
    mount
        .run(|fs, cx, _| {
            let block = cx.device().read(1)?;
            let tx = cx.begin(Credits { blocks: 3, revokes: 1 })?;
            assert_eq!(cx.begin(1).err(), Some(Errno::EDEADLK));
            assert_eq!((tx.extend(7), tx.extend(101)), (Ok(()), Err(Errno::ENOSPC)));
            tx.write(&block)?;
            tx.put(&block, 0, 1_u32)?;
            tx.forget(5)?;
            assert_eq!(tx.id(), 77);
            tx.commit()?;
            // Access is of one transaction.
            let tx = cx.begin(1)?;
            tx.write_summed(&block, fs.sum.0.unwrap())?;
            tx.put(&block, 4, 2_u32)?;
            let fresh = tx.fresh(6)?;
            assert!(fresh.is_checked() && fresh.equals(0, &[0; BLOCK]));
            tx.put(&fresh, 100, 3_u8)?;
            tx.commit()?;
            assert_eq!(fresh.get::<u8>(100), Ok(3));
            Ok(())
        })
        .unwrap();
    let shim = mount.shim();
    assert_eq!((&shim.ends[..], &shim.forgotten[..]), (&[true, true][..], &[5][..]));
    assert_eq!(shim.written, [(1, 1), (6, 0)]);
    assert_eq!(shim.bytes(1)[..8], [1, 0, 0, 0, 2, 0, 0, 0]);

    // Refused where it is asked for: the block says nothing of it later.
    let before = mount.shim().device();
    let result = mount.run(|_, cx, _| {
        let (last, fresh) = (cx.device().read(BLOCKS as u64 - 1)?, cx.device());
        let tx = fresh.begin(1)?;
        drop(tx.fresh(2)?);
        assert_eq!(tx.put(&last, 0, 1_u8), Err(Errno::EIO));
        tx.put(&last, 0, 1_u8)?;
        tx.commit()
    });
    assert_eq!(result, Err(Errno::EIO));
    assert_eq!(mount.shim().device(), before);
}

#[test]
fn a_commit_that_is_refused_has_changed_nothing() {
    let mut mount = Mount::new();
    let before = mount.shim().device();
    mount.shim().refuse_commit = true;
    let result = mount.run(|fs, cx, inode| {
        let block = cx.device().read(1)?;
        let tx = cx.begin(1)?;
        let mut value = tx.lock(&fs.locks[0])?;
        *value += 1;
        tx.fill(&block, 0, BLOCK, 0)?;
        tx.update(inode, |attr| attr.nlink = 9)?;
        tx.claim(4)?;
        tx.commit()
    });
    assert_eq!(result, Err(Errno::EIO));
    let shim = mount.shim();
    assert_eq!((shim.device(), shim.free, shim.staged.len(), &shim.ends[..]), (before, 10, 0, &[false][..]));
    assert!(mount.fs().locks[0].try_lock().is_some());
}

#[test]
fn locks_are_held_until_the_transaction_has_ended() {
    let mut mount = Mount::new();
    mount.shim().watched = &raw const mount.fs().locks[6];
    for commit in [true, false] {
        mount
            .run(|fs, cx, _| {
                let tx = cx.begin(1)?;
                for lock in fs.locks.iter().rev() {
                    let mut value = tx.lock(lock)?;
                    *value += 1;
                    assert_eq!(tx.lock(lock).err(), Some(Errno::EDEADLK));
                    assert!(tx.try_lock(lock).is_none());
                }
                assert!(fs.locks.iter().all(|lock| lock.try_lock().is_none()));
                if commit { tx.commit() } else { Ok(()) }
            })
            .unwrap();
        let free = mount.fs().locks.iter().filter(|lock| lock.try_lock().is_some()).count();
        assert_eq!(free, 7);
    }
    assert_eq!(mount.fs().locks.iter().map(|lock| *lock.lock()).collect::<Vec<_>>(), [2; 7]);

    // Two of them at a time are two values.
    mount.shim().watched = std::ptr::null();
    mount
        .run(|fs, cx, _| {
            let tx = cx.begin(1)?;
            let (mut one, mut two) = (tx.lock(&fs.locks[0])?, tx.try_lock(&fs.locks[1]).ok_or(Errno::EBUSY)?);
            std::mem::swap(&mut *one, &mut *two);
            *one += 10;
            let held = fs.locks[2].lock();
            assert!(tx.try_lock(&fs.locks[2]).is_none());
            drop(held);
            *two += *one;
            tx.commit()
        })
        .unwrap();
    assert_eq!((*mount.fs().locks[0].lock(), *mount.fs().locks[1].lock()), (12, 14));
}

#[test]
fn a_panic_undoes_and_poisons() {
    let mut mount = Mount::new();
    let before = mount.shim().device();
    mount.shim().watched = &raw const mount.fs().locks[3];
    let result = mount.run(|fs, cx, _| {
        let block = cx.device().read(4)?;
        let tx = cx.begin(1)?;
        let mut value = tx.lock(&fs.locks[3])?;
        tx.put(&block, 8, *value)?;
        *value = 5;
        panic!("in the middle");
    });
    assert_eq!(result, Err(Errno::EIO));
    assert_eq!(mount.shim().device(), before);
    assert_eq!(mount.shim().ends, [false]);
    mount.shim().watched = std::ptr::null();
    // Who comes next ends as well, and its transaction with it.
    let result = mount.run(|fs, cx, _| {
        let tx = cx.begin(1)?;
        let _fine = tx.lock(&fs.locks[2])?;
        assert!(tx.try_lock(&fs.locks[3]).is_none());
        let _poisoned = tx.lock(&fs.locks[3])?;
        unreachable!("it is poisoned");
    });
    assert_eq!(result, Err(Errno::EIO));
    assert_eq!(mount.shim().ends, [false, false]);
}

#[test]
fn attributes_are_staged_and_space_is_claimed() {
    let mut mount = Mount::new();
    mount
        .run(|_, cx, inode| {
            let tx = cx.begin(1)?;
            let same = tx.update(inode, |attr| attr.uid = 0)?;
            assert_eq!((same.size, same.disk_size), (1000, 512));
            let staged = tx.update(inode, |attr| (attr.size, attr.nlink) = (77, 3))?;
            assert_eq!((staged.size, staged.disk_size), (77, 77));
            tx.claim(3)?;
            tx.release(2);
            tx.commit()
        })
        .unwrap();
    let shim = mount.shim();
    assert_eq!(shim.free, 9);
    assert_eq!(shim.staged.len(), 1, "what changes nothing is not staged");
    let (ino, valid, attr) = &shim.staged[0];
    assert_eq!((*ino, *valid, attr.size, attr.nlink), (1, BENTO_ATTR_SIZE | BENTO_ATTR_NLINK, 77, 3));

    let result = mount.run(|_, cx, _| {
        let tx = cx.begin(1)?;
        tx.claim(5)?;
        tx.release(1);
        tx.claim(5)?;
        tx.commit()
    });
    assert_eq!((result, mount.shim().free), (Err(Errno::ENOSPC), 9));
}

#[test]
fn extents_are_in_order_and_without_gaps() {
    let mount = Mount::new();
    let mut list: [bento_extent; 3] = unsafe { zeroed() };
    let mut args: bento_map_args = unsafe { zeroed() };
    (args.inode, args.offset, args.len, args.extents, args.cap) = (mount.root, 2048, 4096, list.as_mut_ptr(), 3);
    let map = OPS.map_extents.unwrap();
    // One more than there is room for.
    assert_eq!(unsafe { map(mount.call, &raw mut args) }, -i64::from(Errno::ENOSPC.get()));
    assert_eq!(args.count, 0);
    let found: Vec<_> = list.iter().map(|extent| (extent.offset, extent.len, extent.addr, extent.flags)).collect();
    let new = BENTO_EXTENT_UNWRITTEN | BENTO_EXTENT_NEW;
    assert_eq!(found, [(2048, 512, 0, 0), (2560, 1024, 4096, BENTO_EXTENT_MAPPED), (3584, 512, 512, new)]);
    // The end is past all numbers.
    args.len = u64::MAX;
    assert_eq!(unsafe { map(mount.call, &raw mut args) }, -i64::from(Errno::EUCLEAN.get()));
    args.cap = 0;
    assert!(unsafe { map(mount.call, &raw mut args) } < 0);

    args.slack = 12;
    (args.cap, args.len, args.flags, args.reserved) = (3, 512, BENTO_ALLOCATE_WRITTEN | BENTO_ALLOCATE_DELAYED, 3);
    args.extents = list.as_mut_ptr();
    assert_eq!(unsafe { OPS.allocate_extents.unwrap()(mount.call, &raw mut args) }, 0);
    assert_eq!((args.count, list[0].flags), (1, BENTO_EXTENT_MAPPED | BENTO_EXTENT_NEW));
    list[0] = bento_extent { offset: 512, len: 1024, addr: 2048, flags: BENTO_EXTENT_MAPPED, pad: 0 };
    args.extents = list.as_mut_ptr();
    assert_eq!(unsafe { OPS.convert_extents.unwrap()(mount.call, &raw mut args) }, 0);
}
