// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The image or block device that `cargo bento mount` was given: opened so that nobody else mounts it as well.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use bento::errno::Errno;

use crate::disk::FileDisk;
use crate::superblock::MountError;

/// A lock on an image; on a block device, a claim that the kernel's own file systems respect as well.
fn claim(path: &Path, read_only: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(!read_only).custom_flags(libc::O_CLOEXEC);
    let block_device = path.metadata()?.file_type().is_block_device();
    if block_device && !read_only {
        options.custom_flags(libc::O_CLOEXEC | libc::O_EXCL);
    }
    let file = options.open(path)?;
    // Not every file system below has locks.
    let locked = if read_only { File::try_lock_shared } else { File::try_lock };
    if !block_device && matches!(locked(&file), Err(TryLockError::WouldBlock)) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    Ok(file)
}

/// The loop device that has this file below it, if any: whoever mounts that asks for no lock on the file.
fn looped(file: &File) -> Option<String> {
    let meta = file.metadata().ok()?;
    fs::read_dir("/sys/block").ok()?.flatten().find_map(|device| {
        let below = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        let below = fs::metadata(below.trim_end_matches('\n')).ok()?;
        let same = (below.dev(), below.ino()) == (meta.dev(), meta.ino());
        same.then(|| format!("/dev/{}", device.file_name().to_string_lossy()))
    })
}

/// Opens what is to be mounted; an error says what to do. For a mount that only reads it can be written to if that is possible,
/// since a journal is replayed even then: [`FileDisk::seal`] it once that is done.
pub fn open(source: &str, read_only: bool) -> Result<FileDisk, MountError> {
    let refuse = |errno: i32, reason: String| MountError { errno: Errno::new(errno), reason: Some(reason) };
    if source.is_empty() || source == "none" {
        let reason = "it keeps its data on a device: give an image or a block device before the mount point";
        return Err(refuse(libc::ENOTBLK, reason.to_owned()));
    }
    let path = Path::new(source);
    let advice = |errno: i32| match errno {
        libc::ENOENT => format!("{source}: there is no such image or device"),
        libc::EISDIR => format!("{source}: is a folder, not an image or a device"),
        libc::EACCES | libc::EPERM | libc::EROFS if !read_only => {
            format!("{source}: may not be written; mount it with `-o ro`")
        }
        libc::EACCES | libc::EPERM => format!("{source}: may not be read"),
        libc::EBUSY => format!("{source}: is mounted already, or in use"),
        _ => format!("{source}: cannot be opened: {}", io::Error::from_raw_os_error(errno)),
    };
    let writable = if read_only { claim(path, false).ok().filter(|file| looped(file).is_none()) } else { None };
    let only_read = read_only && writable.is_none();
    let held = writable.map_or_else(|| claim(path, read_only), Ok).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        refuse(errno, advice(errno))
    })?;
    if !read_only && let Some(device) = looped(&held) {
        let reason = format!("{source}: is in use as {device}; mount that, or run `losetup -d {device}`");
        return Err(refuse(libc::EBUSY, reason));
    }
    if held.metadata().is_ok_and(|meta| meta.len() == 0 && meta.is_file()) {
        return Err(refuse(libc::EINVAL, format!("{source}: is an empty file")));
    }
    FileDisk::over(held, only_read).map_err(|errno| refuse(errno.get(), advice(errno.get())))
}
