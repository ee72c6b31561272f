// SPDX-License-Identifier: GPL-2.0 OR MIT
//! mount(2) as root, so that /proc/mounts says `fuse.memfs`: fuser's own way leaves the file system's name out. Everybody
//! else goes through fuser and fusermount3.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fuser::MountOption;

/// Mounts on `mountpoint`; the connection to the kernel.
pub fn attach(
    mountpoint: &Path,
    source: &str,
    name: &str,
    options: &[MountOption],
    allow_other: bool,
) -> io::Result<OwnedFd> {
    let text = |text: &[u8]| CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    // SAFETY: both read a number.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let other = if allow_other { ",allow_other" } else { "" };
    let fd = device.as_raw_fd();
    let data = format!("fd={fd},rootmode=40000,user_id={uid},group_id={gid},default_permissions{other}");
    let (path, source) = (text(mountpoint.as_os_str().as_bytes())?, text(source.as_bytes())?);
    let (kind, data) = (text(format!("fuse.{name}").as_bytes())?, text(data.as_bytes())?);
    // SAFETY: all strings are NUL-terminated and live through the call.
    let mounted =
        unsafe { libc::mount(source.as_ptr(), path.as_ptr(), kind.as_ptr(), flags(options), data.as_ptr().cast()) };
    if mounted == 0 { Ok(device.into()) } else { Err(io::Error::last_os_error()) }
}

/// `MS_*`
fn flags(options: &[MountOption]) -> libc::c_ulong {
    let has = |option: MountOption, flag| if options.contains(&option) { flag } else { 0 };
    has(MountOption::RO, libc::MS_RDONLY)
        | has(MountOption::NoSuid, libc::MS_NOSUID)
        | has(MountOption::NoDev, libc::MS_NODEV)
        | has(MountOption::NoExec, libc::MS_NOEXEC)
        | has(MountOption::NoAtime, libc::MS_NOATIME)
        | has(MountOption::Sync, libc::MS_SYNCHRONOUS)
        | has(MountOption::DirSync, libc::MS_DIRSYNC)
}
