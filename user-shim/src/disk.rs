// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What lies below a mount with `data = "extents"`: a file, a block device, or memory.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bento::errno::{Errno, Result};

/// `_IO(0x12, 119)`
const BLKDISCARD: libc::Ioctl = 0x1277;

/// Bytes of zeroes that are written at once.
const ZEROES: usize = 1 << 20;

/// Where blocks are kept. Any thread may call; reads and writes of different bytes do not wait for each other.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Bytes.
    fn size(&self) -> u64;

    fn is_read_only(&self) -> bool {
        false
    }

    /// All of `bytes`, or an error: there is nothing past the end.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()>;

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// The same into several buffers.
    fn read_vectored_at(&self, mut offset: u64, buffers: &mut [IoSliceMut<'_>]) -> Result<()> {
        for buffer in buffers {
            self.read_at(offset, buffer)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    fn write_vectored_at(&self, mut offset: u64, buffers: &[IoSlice<'_>]) -> Result<()> {
        for buffer in buffers {
            self.write_at(offset, buffer)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    /// What was written before this is there after a crash.
    fn flush(&self) -> Result<()>;

    /// What is there is of no use to anybody any more; reads back as anything until it is written.
    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }

    /// Starts to read.
    fn ahead(&self, _offset: u64, _len: u64) {}

    fn zero(&self, mut offset: u64, mut len: u64) -> Result<()> {
        let zeroes = vec![0; ZEROES.min(usize::try_from(len).unwrap_or(ZEROES))];
        while len > 0 {
            let step = len.min(zeroes.len() as u64);
            self.write_at(offset, &zeroes[..step as usize])?;
            (offset, len) = (offset + step, len - step);
        }
        Ok(())
    }
}

fn errno(error: &std::io::Error) -> Errno {
    match error.raw_os_error() {
        Some(number) => Errno::new(number),
        None => Errno::EIO,
    }
}

/// A file or a block device.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    size: u64,
    read_only: AtomicBool,
    block_device: bool,
}

impl FileDisk {
    pub fn open(path: &Path, read_only: bool) -> Result<FileDisk> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(!read_only).open(path).map_err(|error| errno(&error))?;
        FileDisk::over(file, read_only)
    }

    /// What is open already.
    pub fn over(file: File, read_only: bool) -> Result<FileDisk> {
        let meta = file.metadata().map_err(|error| errno(&error))?;
        let block_device = meta.file_type().is_block_device();
        if !meta.is_file() && !block_device {
            return Err(Errno::new(libc::ENOTBLK));
        }
        // SAFETY: the descriptor is ours; seeking to the end is how a block device tells its size.
        let size = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_END) };
        let size = u64::try_from(size).map_err(|_| errno(&std::io::Error::last_os_error()))?;
        Ok(FileDisk { file, size, read_only: AtomicBool::new(read_only), block_device })
    }

    /// From here on it is only read, as by others who do: a lock on it is theirs as well.
    pub fn seal(&self) {
        self.read_only.store(true, Ordering::Relaxed);
        // Without a lock there is none to be shared.
        let _ = self.file.try_lock_shared();
    }

    fn writable(&self) -> Result<()> {
        if self.is_read_only() { Err(Errno::EROFS) } else { Ok(()) }
    }

    fn inside(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    /// Moves all of it, however many system calls that takes.
    fn move_all(
        &self,
        mut offset: u64,
        vectors: &mut [libc::iovec],
        call: unsafe extern "C" fn(i32, *const libc::iovec, i32, i64) -> isize,
    ) -> Result<()> {
        let mut rest = vectors;
        let total: usize = rest.iter().map(|vector| vector.iov_len).sum();
        self.inside(offset, total as u64)?;
        while let Some(first) = rest.first_mut() {
            if first.iov_len == 0 {
                rest = &mut rest[1..];
                continue;
            }
            let count = rest.len().min(1024) as i32;
            // SAFETY: the vectors describe buffers of the caller's, lent for as long as this takes.
            let moved = unsafe { call(self.file.as_raw_fd(), rest.as_ptr(), count, offset as i64) };
            let mut moved = match usize::try_from(moved) {
                Ok(0) => return Err(Errno::EIO),
                Ok(moved) => moved,
                Err(_) => match std::io::Error::last_os_error() {
                    error if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    error => return Err(errno(&error)),
                },
            };
            offset += moved as u64;
            while moved > 0
                && let Some(first) = rest.first_mut()
            {
                let step = moved.min(first.iov_len);
                // SAFETY: inside the buffer.
                first.iov_base = unsafe { first.iov_base.cast::<u8>().add(step).cast() };
                (first.iov_len, moved) = (first.iov_len - step, moved - step);
                if first.iov_len == 0 {
                    rest = &mut rest[1..];
                }
            }
        }
        Ok(())
    }
}

impl Drop for FileDisk {
    /// Closing is not enough: a program that is just being started by another thread has a copy of the descriptor.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Disk for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.inside(offset, bytes.len() as u64)?;
        self.file.read_exact_at(bytes, offset).map_err(|error| errno(&error))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.writable()?;
        self.inside(offset, bytes.len() as u64)?;
        self.file.write_all_at(bytes, offset).map_err(|error| errno(&error))
    }

    fn read_vectored_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> Result<()> {
        let vector =
            |buffer: &mut IoSliceMut<'_>| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut vectors: Vec<_> = buffers.iter_mut().map(vector).collect();
        self.move_all(offset, &mut vectors, libc::preadv)
    }

    fn write_vectored_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> Result<()> {
        self.writable()?;
        let vector =
            |buffer: &IoSlice<'_>| libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: buffer.len() };
        let mut vectors: Vec<_> = buffers.iter().map(vector).collect();
        self.move_all(offset, &mut vectors, libc::pwritev)
    }

    fn flush(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        self.file.sync_data().map_err(|error| errno(&error))
    }

    fn ahead(&self, offset: u64, len: u64) {
        // SAFETY: a hint about a descriptor of ours.
        unsafe {
            libc::posix_fadvise(self.file.as_raw_fd(), offset as i64, len as i64, libc::POSIX_FADV_WILLNEED);
        }
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.inside(offset, len)?;
        let file = self.file.as_raw_fd();
        let done = if self.block_device {
            let range = [offset, len];
            // SAFETY: a descriptor of ours, and the range that the command reads.
            unsafe { libc::ioctl(file, BLKDISCARD, range.as_ptr()) }
        } else {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            // SAFETY: a descriptor of ours.
            unsafe { libc::fallocate(file, mode, offset as i64, len as i64) }
        };
        if done == 0 { Ok(()) } else { Err(errno(&std::io::Error::last_os_error())) }
    }

    fn zero(&self, offset: u64, len: u64) -> Result<()> {
        self.writable()?;
        self.inside(offset, len)?;
        let mode = match self.block_device {
            true => libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
            false => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
        };
        // SAFETY: a descriptor of ours.
        if unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset as i64, len as i64) } == 0 {
            return Ok(());
        }
        // What lies below may have no such thing.
        let zeroes = vec![0; ZEROES.min(usize::try_from(len).unwrap_or(ZEROES))];
        let mut done = 0;
        while done < len {
            let step = (len - done).min(zeroes.len() as u64);
            self.write_at(offset + done, &zeroes[..step as usize])?;
            done += step;
        }
        Ok(())
    }
}

/// A device in memory. Clones share it, so that a test can look at it while it is mounted and afterwards.
#[derive(Clone, Default)]
pub struct Image {
    bytes: Arc<RwLock<Vec<u8>>>,
    read_only: bool,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} bytes)", self.size())
    }
}

impl Image {
    pub fn new(bytes: Vec<u8>) -> Image {
        Image { bytes: Arc::new(RwLock::new(bytes)), read_only: false }
    }

    /// A file's bytes.
    pub fn read(path: &Path) -> std::io::Result<Image> {
        std::fs::read(path).map(Image::new)
    }

    /// The same bytes, not to be written.
    #[must_use]
    pub fn read_only(&self) -> Image {
        Image { bytes: Arc::clone(&self.bytes), read_only: true }
    }

    /// The bytes of this moment: what a crash would leave.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same without a copy.
    pub fn look<T>(&self, then: impl FnOnce(&[u8]) -> T) -> T {
        then(&self.bytes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes them to a file, for other programs to judge.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, &*self.bytes.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `len` bytes at `offset` of so many, or `EIO`.
pub(crate) fn range(size: usize, offset: u64, len: usize) -> Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| Errno::EIO)?;
    match start.checked_add(len) {
        Some(end) if end <= size => Ok(start..end),
        _ => Err(Errno::EIO),
    }
}

impl Disk for Image {
    fn size(&self) -> u64 {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let image = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let range = range(image.len(), offset, bytes.len())?;
        bytes.copy_from_slice(&image[range]);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.read_only {
            return Err(Errno::EROFS);
        }
        let mut image = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let range = range(image.len(), offset, bytes.len())?;
        image[range].copy_from_slice(bytes);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.zero(offset, len)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
