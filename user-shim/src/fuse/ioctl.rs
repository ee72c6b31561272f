// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ioctl` over FUSE: the kernel makes `lsattr` and `chattr` into some of these commands, and `fstrim` has its own; all others
//! are the author's.

use bento::errno::{Errno, Result};
use bento::fs::Op;

use crate::caller::Caller;
use crate::inode::InodeRef;

/// `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS`; the argument is an `int` whatever their numbers say.
const GETFLAGS: u32 = 0x8008_6601;
const SETFLAGS: u32 = 0x4008_6602;
/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`: `struct fsxattr`, 28 bytes.
const FSGETXATTR: u32 = 0x801c_581f;
const FSSETXATTR: u32 = 0x401c_5820;
const FSXATTR: usize = 28;
/// `FITRIM`: `struct fstrim_range`, start, length and least length of a run; the length comes back as what was trimmed.
const FITRIM: u32 = 0xc018_5879;

/// `FS_XFLAG_*` and the `FS_*_FL` of the same meaning.
const XFLAGS: [(u32, u32); 6] =
    [(0x8, 0x10), (0x10, 0x20), (0x20, 0x8), (0x40, 0x80), (0x80, 0x40), (0x200, 0x2000_0000)];

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or(Errno::EINVAL)
}

/// The command's value and the bytes for user space.
pub fn answer(inode: &InodeRef, caller: &Caller, cmd: u32, input: &[u8], room: usize) -> Result<(i32, Vec<u8>)> {
    match cmd {
        GETFLAGS => {
            let (flags, _) = inode.fileattr_get(caller)?;
            let mut output = flags.to_ne_bytes().to_vec();
            output.truncate(room);
            Ok((0, output))
        }
        SETFLAGS => {
            let (_, project) = inode.fileattr_get(caller)?;
            inode.fileattr_set(caller, word(input, 0)?, project)?;
            Ok((0, Vec::new()))
        }
        FSGETXATTR => {
            let (flags, project) = inode.fileattr_get(caller)?;
            let xflags: u32 = XFLAGS.iter().filter(|(_, fl)| flags & fl != 0).map(|(xflag, _)| xflag).sum();
            let mut output = vec![0; FSXATTR];
            output[0..4].copy_from_slice(&xflags.to_ne_bytes());
            output[12..16].copy_from_slice(&project.to_ne_bytes());
            output.truncate(room);
            Ok((0, output))
        }
        FSSETXATTR => {
            let xflags = word(input, 0)?;
            let known: u32 = XFLAGS.iter().map(|(xflag, _)| xflag).sum();
            let extents = [word(input, 4)?, word(input, 16)?];
            if xflags & !known != 0 || extents != [0, 0] {
                return Err(Errno::EOPNOTSUPP);
            }
            let (before, _) = inode.fileattr_get(caller)?;
            let shown: u32 = XFLAGS.iter().map(|(_, fl)| fl).sum();
            let asked: u32 = XFLAGS.iter().filter(|(xflag, _)| xflags & xflag != 0).map(|(_, fl)| fl).sum();
            inode.fileattr_set(caller, before & !shown | asked, word(input, 12)?)?;
            Ok((0, Vec::new()))
        }
        FITRIM if inode.sb().has(Op::trim) => {
            if !caller.is_root() {
                return Err(Errno::EPERM);
            }
            let (fields, []) = input.as_chunks::<8>() else { return Err(Errno::EINVAL) };
            let &[start, len, least] = fields else { return Err(Errno::EINVAL) };
            let [start, len, least] = [start, len, least].map(u64::from_ne_bytes);
            let trimmed = inode.sb().trim(caller, start, len, least)?;
            let mut output = [start, trimmed, least].map(u64::to_ne_bytes).concat();
            output.truncate(room);
            Ok((0, output))
        }
        _ => {
            let (value, output) = inode.ioctl(caller, cmd, 0, input, room)?;
            Ok((value as i32, output))
        }
    }
}
