// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Between the words of fuser and ours: attributes, times, callers, node numbers.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bento::abi;
use fuser::{FileAttr, FileType, INodeNo, Request};

use crate::caller::Caller;
use crate::superblock::Super;

/// "Until we say otherwise."
pub const FOREVER: Duration = Duration::from_secs(1 << 30);

/// FUSE's root is node 1; if ours is not, the two numbers change places.
pub fn node(sb: &Super, ino: u64) -> INodeNo {
    let root = sb.settings().root_ino;
    INodeNo(match ino {
        ino if ino == root => 1,
        1 => root,
        other => other,
    })
}

/// The way back.
pub fn ino(sb: &Super, node: INodeNo) -> u64 {
    self::node(sb, node.0).0
}

pub fn file_type(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

/// As the kernel packs it: minor in bits 0-7 and 20-31, major in 8-19.
pub fn rdev(attr: &abi::bento_attr) -> u32 {
    attr.rdev_minor & 0xff | attr.rdev_major << 8 | (attr.rdev_minor & !0xff) << 12
}

/// Major and minor.
pub fn device(rdev: u32) -> (u32, u32) {
    (rdev >> 8 & 0xfff, rdev & 0xff | rdev >> 12 & 0xf_ff00)
}

pub fn time(time: abi::bento_time) -> SystemTime {
    let nsec = Duration::from_nanos(time.nsec.into());
    let whole = Duration::from_secs(time.sec.unsigned_abs());
    let base = if time.sec >= 0 { UNIX_EPOCH.checked_add(whole) } else { UNIX_EPOCH.checked_sub(whole) };
    base.and_then(|base| base.checked_add(nsec)).unwrap_or(UNIX_EPOCH)
}

/// From fuser, which takes seconds and nanoseconds away from the epoch alike when it decodes a time before it.
pub fn from_time(time: SystemTime) -> abi::bento_time {
    let (sec, nsec) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
        Err(before) => (-(before.duration().as_secs() as i64), before.duration().subsec_nanos()),
    };
    abi::bento_time { sec, nsec, pad: 0 }
}

pub fn attr(sb: &Super, attr: &abi::bento_attr) -> FileAttr {
    FileAttr {
        ino: node(sb, attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
        crtime: time(attr.btime),
        kind: file_type(attr.mode),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: rdev(attr),
        blksize: attr.blksize,
        flags: 0,
    }
}

pub fn caller(request: &Request, umask: u32) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), groups: Cow::Borrowed(&[]), umask, pid: request.pid() }
}

/// The same with supplementary groups, which FUSE does not send: as the process has them now.
pub fn caller_with_groups(request: &Request) -> Caller {
    let groups = std::fs::read_to_string(format!("/proc/{}/status", request.pid())).ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
        Some(line.split_ascii_whitespace().filter_map(|group| group.parse().ok()).collect::<Vec<u32>>())
    });
    caller(request, 0).groups(&groups.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_back() {
        for (major, minor) in [(0, 0), (1, 3), (8, 17), (0xfff, 0xf_ffff), (4, 0x1_2345)] {
            let mut attr = crate::inode::blank_attr();
            (attr.rdev_major, attr.rdev_minor) = (major, minor);
            assert_eq!(device(rdev(&attr)), (major, minor));
        }
    }

    #[test]
    fn times_before_the_epoch() {
        let before = abi::bento_time { sec: -10, nsec: 250_000_000, pad: 0 };
        assert_eq!(UNIX_EPOCH.duration_since(time(before)).unwrap(), Duration::from_millis(9750));
        // What fuser makes of -10 s + 250 ms.
        let decoded = from_time(UNIX_EPOCH - Duration::new(10, 250_000_000));
        assert_eq!((decoded.sec, decoded.nsec), (-10, 250_000_000));
    }
}
