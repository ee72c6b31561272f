// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The least of a shim, and a file system to be run in it: one device of a few blocks, its transactions and their undo log.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::mem::zeroed;
use std::sync::Once;

use bento::abi::*;
use bento::fs::{Checksum, Why};
use bento::prelude::*;

pub const BLOCK: usize = 512;
pub const BLOCKS: usize = 8;

#[bento_fs(name = "blockfs", version = 1, data = "extents")]
pub struct BlockFs {
    #[state(skip)]
    pub locks: [Mutex<u64>; 7],
    #[state(skip)]
    pub sum: Sum,
}

/// The checksum that `mount` got.
#[derive(Default)]
pub struct Sum(pub Option<Checksum>);

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
        assert_eq!(how, Allocate { written: true, reserved: 3 });
        extents.push(Extent::Mapped { offset, len, addr: 1024, new: true })
    }

    fn convert_extents(&self, _: &Context<Self>, _: &Inode<Self>, written: Written) -> Result<()> {
        assert_eq!(written, Written { offset: 512, len: 1024, addr: 2048 });
        Ok(())
    }
}

/// One device, and the ledger of the one call that is under way. Rust has its address in `call.sb` and looks at nothing.
pub struct Shim {
    call: *mut bento_call,
    blocks: [*mut u8; BLOCKS],
    /// Which block each slot holds.
    slots: Vec<Option<usize>>,
    in_transaction: bool,
    /// Blocks with write access, and the checksum that was named.
    pub written: Vec<(usize, u32)>,
    claimed: u64,
    released: u64,
    pub free: u64,
    pub staged: Vec<(u64, u32, bento_attr)>,
    pub forgotten: Vec<u64>,
    checked: BTreeSet<usize>,
    pub refuse_commit: bool,
    /// Is locked when a transaction ends.
    pub watched: *const Mutex<u64>,
    pub ends: Vec<bool>,
    pub rooms: usize,
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

    pub fn bytes(&self, number: usize) -> Vec<u8> {
        unsafe { std::slice::from_raw_parts(self.blocks[number], BLOCK) }.to_vec()
    }

    pub fn device(&self) -> Vec<u8> {
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

pub const OPS: &bento_ops = bento::thunk::ops::<BlockFs>();

/// A mount with its root loaded; unmounted when dropped.
pub struct Mount {
    pub call: *mut bento_call,
    shim: *mut Shim,
    pub root: *mut bento_inode,
}

impl Mount {
    pub fn new() -> Mount {
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

    pub fn shim(&mut self) -> &mut Shim {
        unsafe { &mut *self.shim }
    }

    pub fn fs(&self) -> &BlockFs {
        unsafe { &*(*self.call).instance.cast::<BlockFs>() }
    }

    /// Runs `step` in a handler; after it the shim cleans up, as it does after each call.
    pub fn run(
        &mut self,
        mut step: impl FnMut(&BlockFs, &Context<BlockFs>, &Inode<BlockFs>) -> Result<()>,
    ) -> Result<()> {
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
    pub fn held(call: &Context<BlockFs>) -> usize {
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
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
