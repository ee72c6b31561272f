// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A handler nobody wrote means what NULL means to the VFS: the errno, in process and (feature `fuse`) from user space.

use bento::errno::Errno;
use bento::fs::access;
use bento_user_shim::{Harness, flags};
use hellofs::HelloFs;

#[test]
fn in_process() {
    let fs = Harness::mount::<HelloFs>("").unwrap();
    assert_eq!(fs.read_file("/hello").unwrap(), b"Hello from safe Rust!\n");
    assert_eq!(fs.create("/new", 0o644).err(), Some(Errno::EACCES));
    assert_eq!(fs.mkdir("/new", 0o755), Err(Errno::EPERM));
    assert_eq!(fs.mknod("/new", libc::S_IFIFO | 0o600, (0, 0)), Err(Errno::EPERM));
    assert_eq!(fs.symlink("x", "/new"), Err(Errno::EPERM));
    assert_eq!(fs.link("/hello", "/new"), Err(Errno::EPERM));
    assert_eq!(fs.unlink("/hello"), Err(Errno::EPERM));
    assert_eq!(fs.rename("/hello", "/new"), Err(Errno::EPERM));
    assert_eq!(fs.tmpfile("/", 0o600).err(), Some(Errno::EOPNOTSUPP));
    assert_eq!(fs.getxattr("/hello", "user.k"), Err(Errno::EOPNOTSUPP));
    assert_eq!(fs.setxattr("/hello", "user.k", "v", 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(fs.listxattr("/hello"), Err(Errno::EOPNOTSUPP));
    assert_eq!(fs.fileattr("/hello"), Err(Errno::ENOTTY));
    assert_eq!(fs.readlink("/hello"), Err(Errno::EINVAL));
    assert_eq!(fs.access("/hello", access::READ), Ok(()));
    // simple_setattr: the inode is changed and nobody is asked.
    fs.chmod("/hello", 0o644).unwrap();
    let file = fs.open("/hello", flags::READ_WRITE).unwrap();
    assert_eq!(file.write_at(b"x", 0), Err(Errno::EINVAL));
    assert_eq!(file.fallocate(0, 0, 10), Err(Errno::EOPNOTSUPP));
    assert_eq!(file.ioctl(0x6202, 0, &[]), Err(Errno::ENOTTY));
    assert_eq!(file.poll(1), Ok(1));
    assert_eq!((file.seek_data(3), file.seek_hole(3)), (Ok(3), Ok(22)));
    assert_eq!(file.fsync(), Ok(()));
    assert_eq!(file.fadvise(0, 0, 4), Ok(()));
    file.close().unwrap();
    let root = fs.root().unwrap();
    assert_eq!(fs.handle(&root).err(), Some(Errno::EOPNOTSUPP));
    fs.freeze().unwrap();
    fs.thaw().unwrap();
    drop(root);
    fs.unmount().unwrap();
}

#[cfg(feature = "fuse")]
#[test]
fn from_user_space() {
    use bento_user_shim::fuse::{Mounted, Options};
    use std::fs;

    let place = std::env::temp_dir().join(format!("bento-absent-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    let options = Options { signals: false, ..Options::default() };
    let mounted = Mounted::start::<HelloFs>(&place, "", &options).unwrap();
    let errno = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
    let new = place.join("new");
    assert_eq!(fs::read(place.join("hello")).unwrap(), b"Hello from safe Rust!\n");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    assert_eq!(errno(fs::write(&new, "")), libc::EACCES);
    assert_eq!(errno(fs::create_dir(&new)), libc::EPERM);
    assert_eq!(errno(std::os::unix::fs::symlink("x", &new)), libc::EPERM);
    assert_eq!(errno(fs::hard_link(place.join("hello"), &new)), libc::EPERM);
    assert_eq!(errno(fs::remove_file(place.join("hello"))), libc::EPERM);
    assert_eq!(errno(fs::rename(place.join("hello"), &new)), libc::EPERM);
    mounted.unmount().unwrap();
    fs::remove_dir(&place).unwrap();
}
