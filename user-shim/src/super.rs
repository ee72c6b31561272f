// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One mount: from the table of thunks to a live instance, what the handler chose checked, and its log.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::alloc::{Account, Charge};
use crate::call::Outcome;
use crate::caller::Caller;
use crate::device::Device;
use crate::disk::Disk;
use crate::icache::Table;
use crate::inode::{InodeRef, held};
use crate::object::Object;
use crate::pages::PAGE;
use crate::slot::Slot;
use crate::swap::Swaps;
use crate::writeback::Dirty;
use crate::{Panic, helpers};

/// Largest size of a file unless the handler says less.
const MAX_FILE_SIZE: u64 = i64::MAX as u64;
/// Lines of its log a mount remembers.
const LOG_LINES: usize = 1000;
const OPS: usize = abi::BENTO_OP_COUNT as usize;

/// What a front door does for the core.
pub trait Front: Send + Sync {
    /// Does an inode nobody refers to stay cached? (The kernel above FUSE keeps its own.)
    fn keeps_inodes(&self) -> bool;
    /// Are file pages of a bytes mount cached here, rather than above?
    fn keeps_pages(&self) -> bool;
    /// Whatever is cached of an inode's bytes and attributes is stale.
    fn invalidate(&self, ino: u64, offset: u64, len: u64);
    /// A handler changed attributes of an inode on its own.
    fn changed(&self, ino: u64);
    /// Pollers of an inode should look again.
    fn wake(&self, ino: u64);
    /// One line, with the prefix that tells the mount.
    fn log(&self, level: u32, line: &str);
}

/// What the `mount` handler settled.
#[derive(Clone, Debug)]
pub struct Settings {
    pub root_ino: u64,
    pub max_file_size: u64,
    pub block_size: u32,
    pub magic: u32,
    pub time_granularity: u32,
    /// Seconds.
    pub times: RangeInclusive<i64>,
    pub name_max: u32,
}

/// One mount.
pub struct Super {
    pub me: Weak<Super>,
    pub slot: Slot<Object>,
    pub swaps: Swaps,
    /// Calls inside the gate, by operation.
    pub inside: [AtomicU32; OPS],
    /// Presence bits of the current version.
    pub handlers: AtomicU64,
    /// `BENTO_DATA_*`
    pub data: u32,
    pub table: Table,
    /// With data = "extents".
    pub device: Option<Arc<Device>>,
    pub timer: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Who writes `dirty` in the background.
    pub flusher: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Inodes whose attributes are to be stored.
    pub dirty: Arc<Dirty>,
    pub front: Box<dyn Front>,
    pub account: Account,
    name: String,
    source: String,
    pub options: Mutex<String>,
    settings: OnceLock<Settings>,
    pub read_only: AtomicBool,
    pub max_bytes: AtomicU64,
    pub max_inodes: AtomicU64,
    pub used_bytes: AtomicU64,
    pub used_inodes: AtomicU64,
    pub root: Mutex<Option<InodeRef>>,
    pub dying: AtomicBool,
    /// Renames between directories exclude every other change of names.
    pub rename_lock: std::sync::RwLock<()>,
    pub panics: Mutex<Vec<Panic>>,
    pub bad_values: AtomicU64,
    /// What a test wants it to be all the time.
    pub stopped_clock: OnceLock<abi::bento_time>,
    outcome: Mutex<Option<(Op, Outcome)>>,
    lines: Mutex<VecDeque<String>>,
    /// What the handler logged last as an error: why a mount was refused.
    last_error: Mutex<Option<(String, String)>>,
}

// SAFETY: SAFETY.md C7: `ops` is constant data and function pointers that any thread may call; the rest is `Send`.
unsafe impl Send for Super {}
// SAFETY: SAFETY.md C7, as above; the rest is behind locks or atomic.
unsafe impl Sync for Super {}

/// A mount that did not come about: the errno, and the reason if one was logged.
#[derive(Debug)]
pub struct MountError {
    pub errno: Errno,
    pub reason: Option<String>,
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{reason} ({})", self.errno),
            None => write!(f, "mount: {}", self.errno),
        }
    }
}

impl std::error::Error for MountError {}

impl Super {
    /// Mounts `object`: makes the instance and loads the root. `disk` is what it lies on, if it asks for that.
    pub fn mount(
        object: Object,
        source: &str,
        options: &str,
        read_only: bool,
        disk: Option<Arc<dyn Disk>>,
        front: Box<dyn Front>,
    ) -> std::result::Result<Arc<Super>, MountError> {
        helpers::install().map_err(|errno| MountError { errno, reason: None })?;
        crate::warm::up();
        let name = check_ops(object.ops())?;
        let (handlers, data) = (object.ops().handlers, object.ops().data);
        let refuse =
            |errno, reason: &str| Err(MountError { errno, reason: Some(format!("bento: {name}({source}): {reason}")) });
        let device = match (data == abi::BENTO_DATA_EXTENTS, disk) {
            (true, None) => {
                return refuse(Errno::new(libc::ENOTBLK), "it is mounted on a device or an image, and this is none");
            }
            (false, Some(_)) => return refuse(Errno::EINVAL, "it is mounted on no device"),
            (true, Some(disk)) if disk.is_read_only() && !read_only => {
                return refuse(Errno::EROFS, "the device can only be read, and so must the mount");
            }
            (_, disk) => disk.map(|disk| Arc::new(Device::new(disk))),
        };
        let swaps = Swaps::new(object);
        let version = Arc::as_ptr(&*held(&swaps.current));
        let sb = Arc::new_cyclic(|me| Super {
            me: Weak::clone(me),
            slot: Slot::new(version),
            swaps,
            inside: [const { AtomicU32::new(0) }; OPS],
            handlers: AtomicU64::new(handlers),
            data,
            table: Table::default(),
            device,
            timer: Mutex::default(),
            flusher: Mutex::default(),
            dirty: Arc::default(),
            front,
            account: Account::new(),
            name,
            source: source.to_owned(),
            options: Mutex::new(options.to_owned()),
            settings: OnceLock::new(),
            read_only: AtomicBool::new(read_only),
            max_bytes: AtomicU64::new(0),
            max_inodes: AtomicU64::new(0),
            used_bytes: AtomicU64::new(0),
            used_inodes: AtomicU64::new(0),
            root: Mutex::new(None),
            dying: AtomicBool::new(false),
            rename_lock: std::sync::RwLock::new(()),
            panics: Mutex::new(Vec::new()),
            bad_values: AtomicU64::new(0),
            stopped_clock: OnceLock::new(),
            outcome: Mutex::new(None),
            lines: Mutex::new(VecDeque::new()),
            last_error: Mutex::new(None),
        });
        // Rust hands the pointer back in `bento_log`.
        Arc::as_ptr(&sb).expose_provenance();
        let mounted = sb.call_mount(options).and_then(|()| sb.load_root()).and_then(|()| sb.recover());
        if let Err(errno) = mounted {
            let reason = held(&sb.last_error).take().map(|(line, _)| line);
            sb.end();
            return Err(MountError { errno, reason });
        }
        Ok(sb)
    }

    /// With the defaults that the handler may change.
    pub fn mount_args(&self, options: &str, why: u32) -> abi::bento_mount_args {
        abi::bento_mount_args {
            source: bytes(self.source.as_bytes()),
            options: bytes(options.as_bytes()),
            flags: if self.is_read_only() { abi::BENTO_MOUNT_RDONLY } else { 0 },
            why,
            instance: std::ptr::null_mut(),
            root_ino: abi::BENTO_ROOT_INO.into(),
            max_file_size: MAX_FILE_SIZE,
            max_bytes: 0,
            max_inodes: 0,
            block_size: PAGE as u32,
            magic: abi::BENTO_ABI_MAGIC,
            time_granularity: 1,
            name_max: abi::BENTO_NAME_MAX,
            space_free: 0,
            space_root: 0,
            space_margin: 0,
            time_min: i64::MIN,
            time_max: i64::MAX,
            space_uid: 0,
            space_gid: 0,
        }
    }

    fn call_mount(&self, options: &str) -> Result<()> {
        let mut args = self.mount_args(options, abi::BENTO_WHY_MOUNT);
        self.invoke(Op::mount, |ops| ops.mount, &Caller::ROOT, &mut args)?;
        self.slot.set_instance(args.instance);
        self.check_mount(&args)?;
        if args.flags & abi::BENTO_MOUNT_RDONLY != 0 {
            self.read_only.store(true, Ordering::Release);
        }
        self.max_bytes.store(args.max_bytes, Ordering::Release);
        self.max_inodes.store(args.max_inodes, Ordering::Release);
        let settings = Settings {
            root_ino: args.root_ino,
            max_file_size: args.max_file_size,
            block_size: args.block_size,
            magic: args.magic,
            time_granularity: args.time_granularity,
            times: args.time_min..=args.time_max,
            name_max: args.name_max,
        };
        if let Some(device) = &self.device {
            device.space.set(&args);
        }
        self.settings.set(settings).map_err(|_| Errno::EBUSY)
    }

    /// The last step of mounting a device that may be written.
    fn recover(&self) -> Result<()> {
        let Some(device) = self.device.as_ref().filter(|device| !device.is_read_only()) else { return Ok(()) };
        if !self.is_read_only() {
            self.freeze_call(Op::recover, |ops| ops.recover)?;
            // That the device is in use is to be read from it, not only from the journal.
            device.journal.settle(device)?;
        }
        let device = Arc::clone(device);
        let timer = std::thread::Builder::new().name("bento-journal".to_owned());
        let timer = timer.spawn(move || device.journal.keep_time(&device)).map_err(|_| Errno::EAGAIN)?;
        *held(&self.timer) = Some(timer);
        Ok(())
    }

    fn check_mount(&self, args: &abi::bento_mount_args) -> Result<()> {
        let bad = |what: fmt::Arguments<'_>| Err(self.bad(Op::mount, format_args!("returned {what}")));
        if args.instance.is_null() {
            return bad(format_args!("no instance"));
        }
        if args.root_ino == 0 {
            return bad(format_args!("root inode number 0"));
        }
        if !args.block_size.is_power_of_two() || !(512..=PAGE as u32).contains(&args.block_size) {
            return bad(format_args!("block size {}, not a power of two from 512 to {PAGE}", args.block_size));
        }
        if args.max_file_size == 0 || args.max_file_size > MAX_FILE_SIZE {
            return bad(format_args!("largest file size {}", args.max_file_size));
        }
        if !(1..=1_000_000_000).contains(&args.time_granularity) {
            return bad(format_args!("time granularity {} ns", args.time_granularity));
        }
        if args.time_min >= args.time_max {
            return bad(format_args!("times from {} to {}", args.time_min, args.time_max));
        }
        if !(1..=abi::BENTO_NAME_MAX).contains(&args.name_max) {
            return bad(format_args!("longest name {}", args.name_max));
        }
        if let Some(device) = &self.device {
            if args.block_size != device.block_size() {
                return bad(format_args!(
                    "block size {}, and the device's is {}",
                    args.block_size,
                    device.block_size()
                ));
            }
            if args.space_free > device.blocks() || args.space_root > device.blocks() {
                return bad(format_args!(
                    "{} free blocks, {} of them for root, of {}",
                    args.space_free,
                    args.space_root,
                    device.blocks()
                ));
            }
        }
        self.check_limits(Op::mount, args.max_bytes, args.max_inodes)
    }

    pub fn check_limits(&self, op: Op, bytes: u64, inodes: u64) -> Result<()> {
        if bytes > i64::MAX as u64 || inodes > i64::MAX as u64 {
            return Err(self.bad(op, format_args!("returned limits of {bytes} bytes and {inodes} inodes")));
        }
        Ok(())
    }

    fn load_root(self: &Arc<Self>) -> Result<()> {
        let root = self.iget(self.settings().root_ino, Op::mount)?;
        if !root.is_dir() {
            let mode = root.mode();
            return Err(self.bad(Op::load_inode, format_args!("returned mode {mode:#o} for the root, not a directory")));
        }
        *held(&self.root) = Some(root);
        Ok(())
    }

    pub fn is_mounted(&self) -> bool {
        !self.slot.instance().is_null()
    }

    pub fn is_dying(&self) -> bool {
        self.dying.load(Ordering::Acquire)
    }

    pub fn as_raw(&self) -> *mut abi::bento_super {
        (&raw const *self).cast::<abi::bento_super>().cast_mut()
    }

    /// # Safety
    /// `raw` is what a thunk of a live mount got.
    pub unsafe fn from_raw<'call>(raw: *mut abi::bento_super) -> Option<&'call Super> {
        // SAFETY: SAFETY.md C1: the mount outlives its calls.
        unsafe { std::ptr::with_exposed_provenance::<Super>(raw.addr()).as_ref() }
    }

    pub fn has(&self, op: Op) -> bool {
        self.handlers.load(Ordering::Acquire) & 1 << op as u32 != 0
    }

    /// On a device: attributes are what handlers stage.
    pub fn is_extents(&self) -> bool {
        self.data == abi::BENTO_DATA_EXTENTS
    }

    /// What lies below a mount with `data = "extents"`.
    pub fn device(&self) -> Result<&Device> {
        self.device.as_deref().ok_or(Errno::ENODEV)
    }

    pub fn is_resident(&self) -> bool {
        self.data == abi::BENTO_DATA_RESIDENT
    }

    /// Of the version that made that generation.
    pub fn inode_data_size(&self, generation: u32) -> Option<usize> {
        let size = |object: &Object| object.ops().inode_data_size as usize;
        match generation == self.slot.generation() {
            true => Some(size(&self.current())),
            false => {
                let old = held(&self.swaps.old).clone()?;
                (old.generation == generation).then(|| size(old.object()))
            }
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    pub fn settings(&self) -> &Settings {
        const BEFORE: Settings = Settings {
            root_ino: 0,
            max_file_size: MAX_FILE_SIZE,
            block_size: PAGE as u32,
            magic: 0,
            time_granularity: 1,
            times: i64::MIN..=i64::MAX,
            name_max: 255,
        };
        self.settings.get().unwrap_or(&BEFORE)
    }

    pub fn root(&self) -> Result<InodeRef> {
        held(&self.root).clone().ok_or(Errno::ENODEV)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn panic_count(&self) -> usize {
        held(&self.panics).len()
    }

    /// The shapes of the current version in words.
    pub fn layout(&self) -> String {
        // SAFETY: SAFETY.md C7: constant text of the version, which is kept meanwhile.
        let layout = unsafe { helpers::slice(self.current().ops().layout).to_vec() };
        String::from_utf8_lossy(&layout).into_owned()
    }

    pub fn options(&self) -> String {
        held(&self.options).clone()
    }

    /// The time on inodes: the kernel's coarse clock, rounded to the mount's granularity.
    pub fn now(&self) -> abi::bento_time {
        self.round(self.stopped_clock.get().copied().unwrap_or_else(helpers::now))
    }

    /// As the kernel does: at either end of what can be stored there are no nanoseconds.
    fn round(&self, mut time: abi::bento_time) -> abi::bento_time {
        let Settings { times, time_granularity, .. } = self.settings();
        time.sec = time.sec.clamp(*times.start(), *times.end());
        time.nsec -= time.nsec % time_granularity;
        if [times.start(), times.end()].contains(&&time.sec) {
            time.nsec = 0;
        }
        time
    }

    /// Attributes with their times rounded.
    pub fn rounded(&self, mut attr: abi::bento_attr) -> abi::bento_attr {
        for time in [&mut attr.atime, &mut attr.mtime, &mut attr.ctime, &mut attr.btime] {
            *time = self.round(*time);
        }
        attr
    }

    /// Room for `bytes` more of resident data, or `ENOSPC`.
    pub fn charge(&self, bytes: u64) -> Result<()> {
        let most = self.max_bytes.load(Ordering::Acquire);
        let fits = |used: u64| used.checked_add(bytes).filter(|used| most == 0 || *used <= most);
        self.used_bytes.try_update(Ordering::AcqRel, Ordering::Acquire, fits).map(drop).map_err(|_| Errno::ENOSPC)
    }

    pub fn uncharge(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub fn log(&self, level: u32, message: fmt::Arguments<'_>) {
        let _charge = Charge::nobody();
        let source = if self.source.is_empty() { "none" } else { &self.source };
        let line = format!("bento: {}({source}): {message}", self.name);
        if level == abi::BENTO_LOG_ERR {
            *held(&self.last_error) = Some((line.clone(), message.to_string()));
        }
        self.front.log(level, &line);
        let mut lines = held(&self.lines);
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub fn forget_last_error(&self) {
        *held(&self.last_error) = None;
    }

    /// Without the prefix that tells the mount.
    pub fn take_last_error(&self) -> Option<String> {
        held(&self.last_error).take().map(|(_, message)| message)
    }

    /// The mount's log so far.
    pub fn lines(&self) -> Vec<String> {
        held(&self.lines).iter().cloned().collect()
    }

    /// A handler answered with something impossible: one line that names it and the value; `EUCLEAN` for the caller.
    pub fn bad(&self, op: Op, what: fmt::Arguments<'_>) -> Errno {
        self.bad_values.fetch_add(1, Ordering::Relaxed);
        self.log(abi::BENTO_LOG_ERR, format_args!("{} {what}", op.name()));
        Errno::EUCLEAN
    }

    pub fn note_outcome(&self, op: Op, outcome: Outcome) {
        *held(&self.outcome) = Some((op, outcome));
    }

    /// The last call into Rust, and how it ended.
    pub fn last_outcome(&self) -> Option<(Op, Outcome)> {
        *held(&self.outcome)
    }
}

/// Is this a table this shim can drive? Its name.
pub fn check_ops(ops: &abi::bento_ops) -> std::result::Result<String, MountError> {
    let refuse = |errno, reason: String| Err(MountError { errno, reason: Some(format!("bento: {reason}")) });
    if ops.abi != abi::BENTO_ABI_VERSION || (ops.size as usize) < size_of::<abi::bento_ops>() {
        return refuse(
            Errno::EINVAL,
            format!(
                "built for ABI {} with a table of {} bytes, this shim speaks ABI {} with {}; build the file system again",
                ops.abi,
                ops.size,
                abi::BENTO_ABI_VERSION,
                size_of::<abi::bento_ops>()
            ),
        );
    }
    // SAFETY: SAFETY.md C7: a table of our ABI names itself with a constant.
    let name = unsafe { helpers::slice(ops.name) };
    let good = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let name = match std::str::from_utf8(name) {
        Ok(text) if (1..=32).contains(&name.len()) && name.iter().all(good) && name[0].is_ascii_lowercase() => text,
        _ => return refuse(Errno::EINVAL, format!("\"{}\" is no file system name", name.escape_ascii())),
    };
    if ops.version == 0 {
        return refuse(Errno::EINVAL, format!("{name}: version 0; versions start at 1"));
    }
    if ![abi::BENTO_DATA_BYTES, abi::BENTO_DATA_EXTENTS, abi::BENTO_DATA_RESIDENT].contains(&ops.data) {
        return refuse(Errno::EINVAL, format!("{name}: data mode {} is not supported", ops.data));
    }
    let whole = ops.mount.is_some() && ops.unmount.is_some() && ops.load_inode.is_some() && ops.forget_inode.is_some();
    if !whole {
        return refuse(Errno::EINVAL, format!("{name}: mount, unmount, load_inode or forget_inode is missing"));
    }
    Ok(name.to_owned())
}

/// For argument blocks.
pub fn bytes(slice: &[u8]) -> abi::bento_bytes {
    abi::bento_bytes { ptr: slice.as_ptr(), len: slice.len() }
}

/// For argument blocks: a buffer lent for writing.
pub fn buffer(slice: &mut [u8]) -> abi::bento_buf {
    let ptr: *mut c_void = if slice.is_empty() { std::ptr::null_mut() } else { slice.as_mut_ptr().cast() };
    abi::bento_buf { ptr: ptr.cast(), cap: slice.len(), len: 0 }
}
