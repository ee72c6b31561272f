// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Drives the table of thunks as a shim does, with the least of a shim: what Miri can run. It checks the pointer work of
//! the thunks (attach, deref, detach, buffers, records) against the aliasing and validity rules of SAFETY.md C1, C4, C5.
#![cfg(feature = "std")]
#![allow(clippy::undocumented_unsafe_blocks)] // a shim's side of the contract, in a test

use std::mem::{MaybeUninit, zeroed};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex as StdMutex, Once};

use bento::abi::*;
use bento::prelude::*;

static LIVE_NODES: AtomicUsize = AtomicUsize::new(0);
static PANICS: StdMutex<Vec<String>> = StdMutex::new(Vec::new());
static LOG: StdMutex<Lines> = StdMutex::new(Vec::new());

/// Each with its level.
type Lines = Vec<(u32, String)>;

#[derive(State)]
struct Node {
    #[state(1)]
    number: u64,
    #[state(2)]
    text: Mutex<Vec<u8>>,
    #[state(skip)]
    _live: Live,
}

impl Node {
    fn new(number: u64) -> Node {
        Node { number, text: Mutex::new(b"text".to_vec()), _live: Live::default() }
    }
}

/// Counts the nodes there are.
struct Live(());

impl Default for Live {
    fn default() -> Live {
        LIVE_NODES.fetch_add(1, Ordering::SeqCst);
        Live(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE_NODES.fetch_sub(1, Ordering::SeqCst);
    }
}

#[bento_fs(name = "thunkfs", version = 1)]
struct ThunkFs {
    #[state(1)]
    mounted_as: Vec<u8>,
    #[state(2)]
    kept: Mutex<u64>,
    #[state(3, default = RwLock::new(7))]
    counted: RwLock<u64>,
    #[state(4)]
    inner: Inner,
    #[state(skip)]
    hint: Hint,
}

/// Nothing is lost with it.
struct Hint(Mutex<u64>);

impl Default for Hint {
    fn default() -> Hint {
        Hint(Mutex::mending(1, |hint| *hint = 42))
    }
}

#[derive(State)]
enum Inner {
    #[state(1)]
    Boxed(#[state(1, default = Box::new(Mutex::new(8)))] Box<Mutex<u64>>),
}

#[derive(MountOptions)]
struct Options {
    #[option(default = 7)]
    root: u64,
}

#[bento_fs]
impl FileSystem for ThunkFs {
    type Inode = Node;

    fn mount(cx: &MountContext) -> Result<Self> {
        let options: Options = cx.options()?;
        cx.set_root(Ino::new(options.root).ok_or(Errno::EINVAL)?);
        let inner = Inner::Boxed(Box::new(Mutex::new(20)));
        Ok(ThunkFs {
            mounted_as: cx.source().to_vec(),
            kept: Mutex::new(1),
            counted: RwLock::new(10),
            inner,
            hint: Hint::default(),
        })
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, Node)> {
        Ok((Attr::directory(0o750), Node::new(ino.get())))
    }

    fn lookup(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        match name.as_bytes() {
            b"panic" => panic!("no such {name}"),
            b"locked" => {
                let _guard = dir.text.lock();
                panic!("with the lock held")
            }
            b"kept" => {
                let _guard = self.kept.lock();
                panic!("with a lock held that has no default")
            }
            b"fresh" => {
                let Inner::Boxed(boxed) = &self.inner;
                let _guards = (self.counted.write(), boxed.lock());
                panic!("with locks held that have defaults")
            }
            b"sum" => {
                let Inner::Boxed(boxed) = &self.inner;
                // One after the other: who meets a poisoned lock unwinds, and poisons what it holds.
                let kept = *self.kept.lock();
                let counted = *self.counted.read();
                Ino::new(kept + counted + *boxed.lock()).ok_or(Errno::EIO)
            }
            b"mended" => {
                let mut hint = self.hint.0.lock();
                *hint += 7;
                panic!("with a hint half-way at {hint}", hint = *hint)
            }
            b"hint" => Ino::new(*self.hint.0.lock()).ok_or(Errno::EIO),
            b"source" => Ino::new(self.mounted_as.len() as u64).ok_or(Errno::EIO),
            _ => Ino::new(dir.number + 1).ok_or(Errno::ENOENT),
        }
    }

    fn create(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        assert_eq!(new.xattrs().count(), 1);
        let ino = Ino::new(name.as_bytes().len() as u64).ok_or(Errno::EINVAL)?;
        Ok(new.assign(ino, Node::new(ino.get())))
    }

    fn rename(&self, _cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        assert!(std::ptr::eq(rename.old_dir, rename.new_dir)); // one inode twice in a call is two shared references
        rename.inode.text.lock().extend_from_slice(rename.new_name.as_bytes());
        Ok(())
    }

    fn iterate(&self, _cx: &Context<Self>, dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        for next in pos + 1.. {
            if !entries.emit("entry".into(), dir.ino(), FileType::Regular, next) {
                break;
            }
        }
        Ok(())
    }

    fn getattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, stat: &mut Stat) -> Result<()> {
        stat.attr.size = inode.attr().size + inode.number;
        Ok(())
    }

    fn getxattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, _name: &Name, value: &mut XattrValue) -> Result<()> {
        value.put(&inode.text.lock());
        Ok(())
    }

    fn read(&self, _cx: &Context<Self>, inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()> {
        sink.skip(2);
        sink.put(&inode.text.lock()[offset as usize..])
    }

    fn write(&self, _cx: &Context<Self>, inode: &Inode<Self>, _offset: u64, source: &mut WriteSource) -> Result<()> {
        let mut taken = [0; 16];
        let len = source.copy_to(&mut taken)?;
        *inode.text.lock() = taken[..len].to_vec();
        Ok(())
    }

    fn ioctl(&self, _cx: &Context<Self>, _inode: &Inode<Self>, cmd: u32, arg: &mut IoctlArg) -> Result<u32> {
        let input = arg.input.to_vec();
        arg.put(&input);
        Ok(cmd)
    }
}

// ---- the least of a shim ----

unsafe extern "C" fn panicked(_: *mut bento_call, message: bento_bytes, at: *const bento_location, errno: i32) {
    let text = unsafe { std::slice::from_raw_parts(message.ptr, message.len) };
    let line = unsafe { (*at).line };
    PANICS.lock().unwrap().push(format!("{} line {line} errno {errno}", String::from_utf8_lossy(text)));
}

unsafe extern "C" fn inode_attr(inode: *const bento_inode, out: *mut bento_attr) {
    unsafe {
        out.write(zeroed());
        (*out).ino = (*inode).ino;
        (*out).size = 1000;
    }
}

unsafe extern "C" fn sink_put(_: *mut bento_call, sink: *mut bento_sink, pos: u64, ptr: *const u8, len: usize) -> i32 {
    unsafe { sink.cast::<u8>().add(pos as usize).copy_from(ptr, len) };
    0
}

unsafe extern "C" fn source_get(
    _: *mut bento_call,
    from: *mut bento_source,
    pos: u64,
    ptr: *mut u8,
    len: usize,
) -> i32 {
    unsafe { ptr.copy_from(from.cast::<u8>().add(pos as usize), len) };
    0
}

/// There is no older version here whose data could be taken.
unsafe extern "C" fn inode_resolve(_: *mut bento_call, _: *mut bento_inode) -> i32 {
    -Errno::EIO.get()
}

static POISONED: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn lock_poisoned(_: *mut bento_call, lock: *const core::ffi::c_void) {
    POISONED.store(lock.addr(), Ordering::SeqCst);
}

unsafe extern "C" fn lock_refused(_: *mut bento_call, lock: *const core::ffi::c_void) {
    REFUSED.store(lock.addr(), Ordering::SeqCst);
}

unsafe extern "C" fn state_put(_: *mut bento_call, out: *mut bento_state, ptr: *const u8, len: usize) -> i32 {
    let more = unsafe { std::slice::from_raw_parts(ptr, len) };
    unsafe { (*out.cast::<Vec<u8>>()).extend_from_slice(more) };
    0
}

unsafe extern "C" fn log(_: *mut bento_super, level: u32, message: bento_bytes) {
    let text = unsafe { std::slice::from_raw_parts(message.ptr, message.len) };
    LOG.lock().unwrap().push((level, String::from_utf8_lossy(text).into_owned()));
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut host: bento_host = unsafe { zeroed() };
        host.size = size_of::<bento_host>() as u32;
        host.abi = BENTO_ABI_VERSION;
        host.panicked = Some(panicked);
        host.inode_attr = Some(inode_attr);
        host.sink_put = Some(sink_put);
        host.source_get = Some(source_get);
        host.log = Some(log);
        host.inode_resolve = Some(inode_resolve);
        host.lock_poisoned = Some(lock_poisoned);
        host.lock_refused = Some(lock_refused);
        host.state_put = Some(state_put);
        bento::host::install(Box::leak(Box::new(host))).unwrap();
    });
}

fn bytes(text: &[u8]) -> bento_bytes {
    bento_bytes { ptr: text.as_ptr(), len: text.len() }
}

/// A mount with its root loaded; unmounted when dropped.
struct Mount {
    call: bento_call,
    /// On the heap, as a shim's inodes are: a pointer to it stays good while the mount is borrowed.
    root: *mut bento_inode,
}

const OPS: &bento_ops = bento::thunk::ops::<ThunkFs>();

macro_rules! call {
    ($mount:expr, $op:ident, $args:expr) => {{
        $mount.call.outcome = BENTO_OUTCOME_RETURNED;
        unsafe { OPS.$op.unwrap()(&raw mut $mount.call, &raw mut $args) }
    }};
}

impl Mount {
    fn new(options: &str) -> Result<Mount, i64> {
        install();
        let mut mount = Mount { call: unsafe { zeroed() }, root: Box::into_raw(Box::new(unsafe { zeroed() })) };
        mount.call.generation = 1;
        let mut args: bento_mount_args = unsafe { zeroed() };
        (args.source, args.options) = (bytes(b"none"), bytes(options.as_bytes()));
        let result = call!(mount, mount, args);
        if result < 0 {
            drop(unsafe { Box::from_raw(mount.root) });
            std::mem::forget(mount);
            return Err(result);
        }
        mount.call.instance = args.instance;
        unsafe { (*mount.root).ino = args.root_ino };
        let mut load = bento_load_inode_args { inode: mount.root, attr: unsafe { zeroed() } };
        assert_eq!(call!(mount, load_inode, load), 0);
        assert_eq!(load.attr.mode, 0o40750);
        Ok(mount)
    }

    fn lookup(&mut self, name: &str) -> i64 {
        let mut args = bento_lookup_args { dir: self.root, name: bytes(name.as_bytes()), ino: 0 };
        let result = call!(self, lookup, args);
        if result < 0 { result } else { args.ino as i64 }
    }

    /// The instance's state, or the errno; and what `save` logged.
    fn save(&mut self) -> (Result<Vec<u8>, i64>, Lines) {
        LOG.lock().unwrap().clear();
        let mut state = Vec::<u8>::new();
        let mut save: bento_save_args = unsafe { zeroed() };
        (save.shape, save.out) = (OPS.saves.shape[0], (&raw mut state).cast());
        let result = call!(self, save, save);
        let log = std::mem::take(&mut *LOG.lock().unwrap());
        (if result < 0 { Err(result) } else { Ok(state) }, log)
    }

    /// Loads an instance and puts it in the place of this one, which goes by its own thunk.
    fn swap(&mut self, state: &[u8]) {
        let mut load: bento_load_args = unsafe { zeroed() };
        (load.shape, load.state) = (OPS.saves.shape[0], bytes(state));
        assert_eq!(call!(self, load, load), 0);
        let mut drop_instance = bento_drop_instance_args { pad: 0 };
        assert_eq!(call!(self, drop_instance, drop_instance), 0);
        self.call.instance = load.instance;
    }

    fn forget(&mut self, inode: *mut bento_inode) {
        let mut args: bento_inode_args = unsafe { zeroed() };
        args.inode = inode;
        assert_eq!(call!(self, forget_inode, args), 0);
        assert!(unsafe { (*inode).data.is_null() });
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.forget(self.root);
        drop(unsafe { Box::from_raw(self.root) });
        let mut args = bento_unmount_args { pad: 0 };
        assert_eq!(call!(self, unmount, args), 0);
    }
}

/// Tests share the counter of live nodes.
static ONE_AT_A_TIME: StdMutex<()> = StdMutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn absent_handlers_are_null_and_present_ones_are_not() {
    assert!(OPS.lookup.is_some() && OPS.read.is_some() && OPS.forget_inode.is_some());
    assert!(OPS.mkdir.is_none() && OPS.unlink.is_none() && OPS.fsync.is_none());
    assert_eq!(OPS.handlers >> BENTO_OP_lookup & 1, 1);
    assert_eq!(OPS.handlers >> BENTO_OP_forget_inode & 1, 0);
}

#[test]
fn data_are_attached_read_and_dropped_once() {
    let _alone = alone();
    let mut mount = Mount::new("root=9").unwrap();
    assert_eq!(mount.lookup("next"), 10);
    assert_eq!(mount.lookup("source"), 4);

    let mut inode: bento_inode = unsafe { zeroed() };
    let xattr = bento_xattr { name: bytes(b"security.test"), value: bytes(b"label") };
    let mut args: bento_make_args = unsafe { zeroed() };
    (args.dir, args.name) = (mount.root, bytes(b"abc"));
    (args.node.inode, args.node.mode) = (&raw mut inode, 0o100644);
    (args.node.xattrs, args.node.xattr_count) = (&raw const xattr, 1);
    assert_eq!(call!(mount, create, args), 0);
    assert_eq!((args.node.assigned, inode.ino), (1, 3));
    assert_eq!(LIVE_NODES.load(Ordering::SeqCst), 2);

    let mut stat =
        bento_getattr_args { inode: &raw mut inode, attr: unsafe { zeroed() }, attributes: 0, request_mask: 0, pad: 0 };
    assert_eq!(call!(mount, getattr, stat), 0);
    assert_eq!(stat.attr.size, 1003);
    mount.forget(&raw mut inode);
    drop(mount);
    assert_eq!(LIVE_NODES.load(Ordering::SeqCst), 0);
}

#[test]
fn an_inode_without_data_or_poisoned_answers_eio() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    unsafe { (*mount.root).data_generation = 0 };
    assert_eq!(mount.lookup("next"), -i64::from(Errno::EIO.get()));
    unsafe { (*mount.root).data_generation = 2 };
    assert_eq!(mount.lookup("next"), -i64::from(Errno::EIO.get()));
    unsafe { (*mount.root).data_generation = 1 };
    assert_eq!(mount.lookup("next"), 8);
}

#[test]
fn a_panic_is_an_errno_and_one_message_with_its_line() {
    let _alone = alone();
    PANICS.lock().unwrap().clear();
    let mut mount = Mount::new("").unwrap();
    assert_eq!(mount.lookup("panic"), -i64::from(Errno::EIO.get()));
    assert_eq!(mount.call.outcome, BENTO_OUTCOME_UNWOUND);
    assert_eq!(mount.lookup("next"), 8);
    assert_eq!(mount.call.outcome, BENTO_OUTCOME_RETURNED);
    let panics = PANICS.lock().unwrap().clone();
    assert_eq!(panics.len(), 1, "{panics:?}");
    assert!(panics[0].starts_with("no such panic line ") && panics[0].ends_with("errno 5"), "{panics:?}");
}

#[test]
fn a_lock_held_by_a_panic_is_poisoned_and_ends_later_calls() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    assert_eq!(mount.lookup("locked"), -i64::from(Errno::EIO.get()));
    PANICS.lock().unwrap().clear();
    assert_eq!(mount.lookup("locked"), -i64::from(Errno::EIO.get()));
    let panics = PANICS.lock().unwrap().clone();
    assert!(panics[0].contains("poisoned by an earlier panic"), "{panics:?}");
    // The shim is told of both, and whose data the lock lies in.
    let data = unsafe { (*mount.root).data }.addr();
    for lock in [&POISONED, &REFUSED] {
        let lock = lock.swap(0, Ordering::SeqCst);
        assert!((data..data + OPS.inode_data_size as usize).contains(&lock), "{lock:#x}, and the data is at {data:#x}");
    }
}

#[test]
fn a_lock_that_mends_what_a_panic_left_is_not_poisoned() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    POISONED.store(0, Ordering::SeqCst);
    assert_eq!(mount.lookup("hint"), 1);
    for _ in 0..2 {
        assert_eq!(mount.lookup("mended"), -i64::from(Errno::EIO.get()));
        assert_eq!(mount.lookup("hint"), 42);
    }
    assert_eq!(POISONED.load(Ordering::SeqCst), 0);
}

#[test]
fn a_field_whose_lock_is_poisoned_is_saved_as_its_default() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    assert_eq!(mount.lookup("sum"), 31);
    assert_eq!(mount.save().1, []);
    assert_eq!(mount.lookup("fresh"), -i64::from(Errno::EIO.get()));
    assert_eq!(mount.lookup("sum"), -i64::from(Errno::EIO.get()));

    let (state, log) = mount.save();
    let afresh = |name| (BENTO_LOG_WARN, format!("field `{name}` starts afresh: a panic left its lock poisoned"));
    assert_eq!(log, [afresh("counted"), afresh("0")]);
    mount.swap(&state.unwrap());
    assert_eq!(mount.lookup("sum"), 1 + 7 + 8);
    assert_eq!(mount.save().1, []);
}

#[test]
fn a_lock_that_is_poisoned_without_a_default_or_held_with_one_is_refused() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    let busy = Err(-i64::from(Errno::EBUSY.get()));
    let fs = unsafe { &*mount.call.instance.cast::<ThunkFs>() };
    let held = fs.counted.write();
    let (result, log) = mount.save();
    assert_eq!((result, log), (busy.clone(), vec![(BENTO_LOG_ERR, "RwLock cannot be saved: it is held".to_owned())]));
    drop(held);
    assert!(mount.save().0.is_ok());

    assert_eq!(mount.lookup("kept"), -i64::from(Errno::EIO.get()));
    let (result, log) = mount.save();
    assert_eq!((result, log.len()), (busy, 1));
    assert!(log[0].1.starts_with("Mutex cannot be saved: a panic left it poisoned") && log[0].1.contains("`default`"));
}

#[test]
fn options_are_typed_and_mistakes_refused() {
    let _alone = alone();
    assert_eq!(Mount::new("root=x").err(), Some(-i64::from(Errno::EINVAL.get())));
    assert_eq!(Mount::new("rot=1").err(), Some(-i64::from(Errno::EINVAL.get())));
}

#[test]
fn bytes_go_through_buffers_of_the_shim() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    let root = mount.root;

    let mut page = *b"................";
    let mut read = bento_read_args { inode: root, offset: 1, len: 5, sink: (&raw mut page).cast() };
    assert_eq!(call!(mount, read, read), 5);
    assert_eq!(&page, b"..ext...........");

    let mut from = *b"written by a test";
    let mut write: bento_write_args = unsafe { zeroed() };
    (write.inode, write.len, write.source) = (root, 7, (&raw mut from).cast());
    assert_eq!(call!(mount, write, write), 0);

    // Three bytes of room: the answer says how much there is.
    let mut value = [0; 3];
    let buf = bento_buf { ptr: value.as_mut_ptr(), cap: 3, len: 0 };
    let mut xattr = bento_getxattr_args { inode: root, name: bytes(b"user.x"), value: buf };
    assert_eq!(call!(mount, getxattr, xattr), 0);
    assert_eq!(xattr.value.len, 7);

    let mut output = [0; 4];
    let mut ioctl: bento_ioctl_args = unsafe { zeroed() };
    (ioctl.inode, ioctl.cmd, ioctl.input) = (root, 42, bytes(b"longer than four"));
    ioctl.output = bento_buf { ptr: output.as_mut_ptr(), cap: 4, len: 0 };
    assert_eq!(call!(mount, ioctl, ioctl), 42);
    assert_eq!((&output, ioctl.output.len), (b"long", 4));
}

#[test]
fn a_full_directory_buffer_ends_the_listing() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    let mut page = MaybeUninit::<[u64; 25]>::zeroed();
    let entries = bento_buf { ptr: page.as_mut_ptr().cast(), cap: 200, len: 0 };
    let mut args = bento_iterate_args { dir: mount.root, pos: 5, entries, end: 9, pad: 0 };
    assert_eq!(call!(mount, iterate, args), 0);
    assert_eq!((args.entries.len, args.end), (6 * 32, 0));
    let record = unsafe { page.as_ptr().cast::<bento_dirent>().read() };
    assert_eq!((record.ino, record.next, record.namelen, record.type_), (7, 6, 5, 8));
}

#[test]
fn one_inode_may_come_twice_in_a_call() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    let root = mount.root;
    let mut args: bento_rename_args = unsafe { zeroed() };
    (args.old_dir, args.new_dir, args.inode) = (root, root, root);
    (args.old_name, args.new_name) = (bytes(b"a"), bytes(b"b"));
    assert_eq!(call!(mount, rename, args), 0);
}

#[test]
fn an_instance_and_its_inodes_cross_to_another_one() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    let state = mount.save().0.unwrap();
    let mut load: bento_load_args = unsafe { zeroed() };
    (load.shape, load.state) = (OPS.saves.shape[0], bytes(&state));
    assert_eq!(call!(mount, load, load), 0);
    let old = std::mem::replace(&mut mount.call.instance, load.instance);
    assert_eq!(mount.lookup("source"), 4);

    let mut data = Vec::<u8>::new();
    let mut save_inode: bento_save_inode_args = unsafe { zeroed() };
    (save_inode.data, save_inode.shape) = (unsafe { (*mount.root).data }, OPS.inode_saves.shape[0]);
    save_inode.out = (&raw mut data).cast();
    assert_eq!(call!(mount, save_inode, save_inode), 0);
    let mut migrate: bento_migrate_inode_args = unsafe { zeroed() };
    (migrate.shape, migrate.state) = (save_inode.shape, bytes(&data));
    assert_eq!(call!(mount, migrate_inode, migrate), 0);
    assert_eq!(LIVE_NODES.load(Ordering::SeqCst), 2);
    let mut drop_inode: bento_drop_inode_args = unsafe { zeroed() };
    drop_inode.data = unsafe { std::mem::replace(&mut (*mount.root).data, migrate.data) };
    assert_eq!(call!(mount, drop_inode, drop_inode), 0);
    assert_eq!(LIVE_NODES.load(Ordering::SeqCst), 1);
    assert_eq!(mount.lookup("next"), 8);

    // The old instance goes by its own thunk.
    let new = std::mem::replace(&mut mount.call.instance, old);
    let mut drop_instance = bento_drop_instance_args { pad: 0 };
    assert_eq!(call!(mount, drop_instance, drop_instance), 0);
    mount.call.instance = new;
}

#[test]
fn state_of_another_shape_or_name_is_refused() {
    let _alone = alone();
    let mut mount = Mount::new("").unwrap();
    let mut state = mount.save().0.unwrap();
    let shape = OPS.saves.shape[0];
    let mut load: bento_load_args = unsafe { zeroed() };
    (load.shape, load.state) = (shape ^ 1, bytes(&state));
    assert_eq!(call!(mount, load, load), -i64::from(Errno::EINVAL.get()));
    // `thunkfs` becomes `thunkft`.
    let at = state.windows(7).position(|bytes| bytes == b"thunkfs").unwrap();
    state[at + 6] += 1;
    (load.shape, load.state) = (shape, bytes(&state));
    assert_eq!(call!(mount, load, load), -i64::from(Errno::EINVAL.get()));
    for end in 0..state.len() {
        load.state = bytes(&state[..end]);
        assert!(call!(mount, load, load) < 0, "{end} bytes");
    }
    assert!(load.instance.is_null());
}
