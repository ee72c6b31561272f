// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The FUSE front door: the daemon behind `cargo bento mount`.
//!
//! [`run`] serves a loaded object until it is unmounted (`fusermount3 -u`, `umount`) or told to end (SIGINT, SIGTERM).
//! [`Mounted`] does the same on threads of this program, for tests.
//!
//! What differs from the kernel, because the protocol or the crate fuser does:
//! - File pages are the kernel's, written back when it likes: a full mount is told by `fsync` and `close`, not by `write`.
//! - No request leads to `tmpfile`, `reconfigure`, `sync_fs`, `freeze`, `thaw` and `fadvise`, nor to birth times and `STATX_ATTR_*`.
//! - `access(2)` is answered by the kernel from mode bits and ACLs; a `permission` handler is asked besides, when the
//!   access is made, and can only take away.
//! - An `ioctl` whose command encodes no size gets 0 for its word.
//! - `FALLOC_FL_COLLAPSE_RANGE` and `FALLOC_FL_INSERT_RANGE` never arrive.
//! - What the kernel was promised at the mount stays: writes are gathered (`FUSE_WRITEBACK_CACHE`) if that version had a
//!   `write` handler, ACLs are checked if it had `setxattr`, file handles work if it had `get_parent`; names it has looked
//!   up are not asked of a `permission` handler that came with an upgrade.
//! - With `data = "extents"` and without `flush`, `open`, `release` and `permission`, closing files and opening directories never
//!   arrive, whatever a later version has.
//! - The kernel keeps what a mapping stored past the end of a file in its last page, and shows it when the file grows.

mod attach;
mod busy_poll;
mod control;
mod convert;
mod daemon;
mod device;
mod ioctl;
mod notify;
mod work;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bento::abi;
use bento::fs::FileSystem;
use fuser::{Config, MountOption, Session, SessionACL};

use crate::disk::Disk;
use crate::object::{LoadError, Object};
use crate::superblock::{MountError, Super};
use busy_poll::BusyPoll;
use control::Control;
use daemon::Daemon;

/// How the daemon runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads; at least 2, so that one can wait for what another does. The kernel gives a request to whoever has
    /// waited longest, so more of them than can run at once only cool the caches and sleep where others poll.
    pub threads: usize,
    /// Other users may use the mount.
    pub allow_other: bool,
    /// End on SIGINT and SIGTERM.
    pub signals: bool,
}

impl Default for Options {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(2, |cpus| cpus.get());
        // SAFETY: reads a number.
        let root = unsafe { libc::geteuid() } == 0;
        Options { threads: cpus.clamp(2, 8), allow_other: root, signals: true }
    }
}

/// Why there is no mount.
#[derive(Debug)]
pub enum Error {
    Load(LoadError),
    Mount(MountError),
    /// The kernel or fusermount3 refused.
    Fuse {
        mountpoint: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Load(error) => error.fmt(f),
            Error::Mount(error) => error.fmt(f),
            Error::Fuse { mountpoint, error } => {
                write!(f, "{}: cannot be mounted on: {error}", mountpoint.display())?;
                match error.kind() {
                    io::ErrorKind::NotFound => {
                        write!(f, "; does it exist, and is there a /dev/fuse and fusermount3 (Debian: fuse3)?")
                    }
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "; run as root, or as a user who may open /dev/fuse and owns the folder")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for Error {}

/// Serves the object at `object` on `mountpoint` until it is unmounted. `options` are as for mount(8): the generic ones
/// (`ro`, `nosuid`, `noatime`, …) go to the kernel, the others to the file system.
pub fn run(object: &Path, source: &str, mountpoint: &Path, options: &str, opts: &Options) -> Result<(), Error> {
    let object = Object::load(object).map_err(Error::Load)?;
    let mounted = start(object, source, mountpoint, options, opts)?;
    let place = mounted.mountpoint.clone();
    mounted.wait().map_err(|error| Error::Fuse { mountpoint: place, error })
}

/// A mount served by threads of this program. Dropped, it is unmounted.
#[derive(Debug)]
pub struct Mounted {
    mountpoint: PathBuf,
    sb: Arc<Super>,
    thread: Option<JoinHandle<io::Result<()>>>,
    control: Option<Control>,
}

impl fmt::Debug for Super {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mount of {}", self.name())
    }
}

impl Mounted {
    /// Mounts `F`, compiled into this program.
    pub fn start<F: FileSystem>(mountpoint: &Path, options: &str, opts: &Options) -> Result<Mounted, Error> {
        start(Object::of::<F>(), "none", mountpoint, options, opts)
    }

    /// The same with `data = "extents"`, on an image or a block device.
    pub fn start_on<F: FileSystem>(
        source: &Path,
        mountpoint: &Path,
        options: &str,
        opts: &Options,
    ) -> Result<Mounted, Error> {
        start(Object::of::<F>(), &source.to_string_lossy(), mountpoint, options, opts)
    }

    /// Mounts a loaded object.
    pub fn load(object: &Path, mountpoint: &Path, options: &str, opts: &Options) -> Result<Mounted, Error> {
        let object = Object::load(object).map_err(Error::Load)?;
        start(object, "none", mountpoint, options, opts)
    }

    pub fn panics(&self) -> Vec<crate::Panic> {
        self.sb.panics.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub fn log(&self) -> Vec<String> {
        self.sb.lines()
    }

    /// Replaces the running version; see [`crate::Harness::upgrade`].
    pub fn upgrade<F: FileSystem>(&self) -> Result<crate::Swapped, crate::SwapError> {
        self.sb.upgrade(Object::of::<F>())
    }

    /// Where `bentoctl` finds this mount.
    pub fn socket(&self) -> Option<&Path> {
        self.control.as_ref().map(Control::path)
    }

    pub fn is_poisoned(&self) -> bool {
        self.sb.slot.health() == crate::Health::Quarantined
    }

    /// Waits until somebody unmounts.
    pub fn wait(mut self) -> io::Result<()> {
        self.join()
    }

    /// Unmounts (lazily, if files are open) and waits for the end.
    pub fn unmount(mut self) -> io::Result<()> {
        unmount(&self.mountpoint);
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the daemon's thread panicked"))),
            None => Ok(()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.thread.is_some() {
            unmount(&self.mountpoint);
            let _ = self.join();
        }
    }
}

/// Takes the mount out of the tree now; it ends when the last file is closed.
fn unmount(mountpoint: &Path) {
    let Ok(path) = CString::new(mountpoint.as_os_str().as_bytes()) else { return };
    // SAFETY: a NUL-terminated string.
    if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } != 0 {
        let _ = std::process::Command::new("fusermount3").arg("-uz").arg(mountpoint).status();
    }
}

fn start(object: Object, source: &str, mountpoint: &Path, options: &str, opts: &Options) -> Result<Mounted, Error> {
    let refused = |error| Error::Fuse { mountpoint: mountpoint.to_owned(), error };
    let mountpoint_path = mountpoint.canonicalize().map_err(refused)?;
    let (generic, own) = split_options(options);
    let read_only = generic.contains(&MountOption::RO);
    // Blocked before any thread is made, so that one of them can wait for them.
    let signals = opts.signals.then(block_signals);
    let (door, line) = notify::line().map_err(refused)?;
    let on_disk = object.ops().data == abi::BENTO_DATA_EXTENTS;
    let file = match on_disk {
        true => Some(Arc::new(device::open(source, read_only).map_err(Error::Mount)?)),
        false => None,
    };
    let disk = file.clone().map(|file| file as Arc<dyn Disk>);
    // As /proc/mounts shows it.
    let whole = Path::new(source).canonicalize().ok().filter(|_| on_disk);
    let whole = whole.map(|path| path.to_string_lossy().into_owned());
    let source = whole.as_deref().unwrap_or(source);
    let sb = Super::mount(object, source, &own, read_only, disk, Box::new(door)).map_err(Error::Mount)?;
    if let Some(file) = file {
        match read_only {
            true => file.seal(),
            false => sb.write_in_background(),
        }
    }
    let line = Arc::new(line);
    let poll = Arc::new(BusyPoll::default());
    let daemon = Daemon { sb: Arc::clone(&sb), line: Arc::clone(&line), poll: Arc::clone(&poll) };
    let mut config = Config::default();
    config.mount_options = generic;
    config.mount_options.extend([
        MountOption::FSName(if source.is_empty() { "none" } else { source }.to_owned()),
        MountOption::Subtype(sb.name().to_owned()),
        MountOption::DefaultPermissions,
    ]);
    config.acl = if opts.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(opts.threads.max(2));
    config.clone_fd = true;
    let source = if source.is_empty() { "none" } else { source };
    let session = connect(daemon, source, &mountpoint_path, config).map_err(refused)?;
    poll.connect(session.as_fd()).map_err(refused)?;
    line.connect(session.notifier(), sb.settings().root_ino);
    let thread = std::thread::Builder::new()
        .name("bento-fuse".to_owned())
        .spawn(move || {
            let _line = line;
            match session.run() {
                // Unmounted while a worker took a request that nobody waits for; ENODEV, and no error, if it took none.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
                ended => ended,
            }
        })
        .map_err(refused)?;
    if let Some(signals) = signals {
        unmount_on(signals, mountpoint_path.clone()).map_err(refused)?;
    }
    let control = Control::listen(&sb, &mountpoint_path)
        .inspect_err(|error| {
            let folder = control::folder();
            sb.log(
                abi::BENTO_LOG_WARN,
                format_args!("no socket in {}: {error}; bentoctl cannot help", folder.display()),
            );
        })
        .ok();
    Ok(Mounted { mountpoint: mountpoint_path, sb, thread: Some(thread), control })
}

/// Mounts, and shakes hands with the kernel.
fn connect(daemon: Daemon, source: &str, mountpoint: &Path, config: Config) -> io::Result<Session<Daemon>> {
    // SAFETY: reads a number.
    let root = unsafe { libc::geteuid() } == 0;
    if !root || config.mount_options.contains(&MountOption::AutoUnmount) {
        return Session::new(daemon, mountpoint, &config);
    }
    let sb = Arc::clone(&daemon.sb);
    let all = config.acl == SessionACL::All;
    match attach::attach(mountpoint, source, sb.name(), &config.mount_options, all) {
        Ok(fd) => Session::from_fd(daemon, fd, config.acl, config).inspect_err(|_| unmount(mountpoint)),
        Err(error) => {
            drop(daemon);
            let _ = sb.unmount(true);
            Err(error)
        }
    }
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGINT);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        set
    }
}

/// The first signal unmounts, the second ends the program where it stands.
fn unmount_on(signals: libc::sigset_t, mountpoint: PathBuf) -> io::Result<()> {
    std::thread::Builder::new()
        .name("bento-signals".to_owned())
        .spawn(move || {
            for round in 0.. {
                let mut signal = 0;
                // SAFETY: the set is initialised; the number is ours to write.
                if unsafe { libc::sigwait(&signals, &mut signal) } != 0 {
                    return;
                }
                if round > 0 {
                    std::process::exit(128 + signal);
                }
                unmount(&mountpoint);
            }
        })
        .map(drop)
}

/// Options of mount(8) that are the VFS's, and the rest as one text.
fn split_options(options: &str) -> (Vec<MountOption>, String) {
    let mut generic = Vec::new();
    let mut own = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        generic.push(match option {
            "ro" => MountOption::RO,
            "rw" => MountOption::RW,
            "suid" => MountOption::Suid,
            "nosuid" => MountOption::NoSuid,
            "dev" => MountOption::Dev,
            "nodev" => MountOption::NoDev,
            "exec" => MountOption::Exec,
            "noexec" => MountOption::NoExec,
            "atime" => MountOption::Atime,
            "noatime" => MountOption::NoAtime,
            "sync" => MountOption::Sync,
            "async" => MountOption::Async,
            "dirsync" => MountOption::DirSync,
            "auto_unmount" => MountOption::AutoUnmount,
            "defaults" => continue,
            other => {
                own.push(other);
                continue;
            }
        });
    }
    // SAFETY: reads a number.
    if unsafe { libc::geteuid() } == 0 {
        // As a kernel mount by root would be.
        if !generic.contains(&MountOption::NoDev) && !generic.contains(&MountOption::Dev) {
            generic.push(MountOption::Dev);
        }
        if !generic.contains(&MountOption::NoSuid) && !generic.contains(&MountOption::Suid) {
            generic.push(MountOption::Suid);
        }
    }
    (generic, own.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_options_go_to_the_kernel() {
        let (generic, own) = split_options("ro,size=4k,noatime,,mode=700");
        assert!(generic.starts_with(&[MountOption::RO, MountOption::NoAtime]));
        assert_eq!(own, "size=4k,mode=700");
    }
}
