// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mounts hellofs in this process and uses it as an application would.

use bento::errno::Errno;
use bento_user_shim::Harness;
use hellofs::HelloFs;

#[test]
fn the_file_is_listed_and_read() {
    let fs = Harness::mount::<HelloFs>("").unwrap();
    assert_eq!(fs.names_in("/").unwrap(), ["hello"]);
    assert_eq!(fs.read_file("/hello").unwrap(), b"Hello from safe Rust!\n");
    fs.unmount().unwrap();
}

#[test]
fn what_is_not_written_is_not_there() {
    let fs = Harness::mount::<HelloFs>("").unwrap();
    assert_eq!(fs.read_file("/goodbye"), Err(Errno::ENOENT));
    // No handler `create`: the VFS itself refuses.
    assert_eq!(fs.create("/new", 0o644).err(), Some(Errno::EACCES));
    fs.unmount().unwrap();
}
