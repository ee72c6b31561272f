// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The harness over memfs: names, bytes, attributes, permissions.

use bento::errno::Errno;
use bento_user_shim::{Caller, Harness, flags};
use memfs::MemFs;

fn memfs() -> Harness {
    Harness::mount::<MemFs>("").unwrap()
}

#[test]
fn bytes_come_back() {
    let fs = memfs();
    let file = fs.create("/a", 0o644).unwrap();
    assert_eq!(file.write_at(b"hello world", 0), Ok(11));
    assert_eq!(file.read_at(6, 100).unwrap(), b"world");
    assert_eq!(file.write_at(b"!", 10_000), Ok(1));
    let stat = fs.stat("/a").unwrap();
    assert_eq!((stat.size, stat.blocks, stat.nlink), (10_001, 16, 1));
    assert_eq!(file.seek_data(0), Ok(0));
    assert_eq!(file.seek_hole(0), Ok(4096));
    assert_eq!(file.seek_data(5000), Ok(8192));
    assert_eq!(file.seek_data(10_001), Err(Errno::ENXIO));
    file.close().unwrap();
    fs.unmount().unwrap();
}

#[test]
fn an_open_file_keeps_the_mount_busy() {
    let fs = memfs();
    let file = fs.create("/a", 0o644).unwrap();
    assert_eq!(fs.unmount(), Err(Errno::EBUSY));
    fs.unlink("/a").unwrap();
    assert_eq!(file.write_at(b"still here", 0), Ok(10));
    assert_eq!(file.stat().unwrap().nlink, 0);
    drop(file);
    assert_eq!(fs.cached_inodes(), 1);
    fs.unmount().unwrap();
    assert_eq!(fs.stat("/").err(), Some(Errno::ENODEV));
}

#[test]
fn link_counts_follow_names() {
    let fs = memfs();
    fs.mkdir("/d", 0o755).unwrap();
    fs.mkdir("/d/e", 0o755).unwrap();
    assert_eq!((fs.stat("/").unwrap().nlink, fs.stat("/d").unwrap().nlink), (3, 3));
    fs.write_file("/f", "x").unwrap();
    fs.link("/f", "/d/g").unwrap();
    assert_eq!(fs.stat("/f").unwrap().nlink, 2);
    fs.rename("/d/e", "/e").unwrap();
    assert_eq!((fs.stat("/").unwrap().nlink, fs.stat("/d").unwrap().nlink), (4, 2));
    fs.unlink("/f").unwrap();
    assert_eq!(fs.stat("/d/g").unwrap().nlink, 1);
    assert_eq!(fs.rmdir("/d"), Err(Errno::ENOTEMPTY));
    fs.rmdir("/e").unwrap();
    assert_eq!(fs.names_in("/").unwrap(), ["d"]);
}

#[test]
fn renames_replace_exchange_and_refuse() {
    let fs = memfs();
    for dir in ["/a", "/a/b", "/c"] {
        fs.mkdir(dir, 0o755).unwrap();
    }
    fs.write_file("/f", "f").unwrap();
    fs.write_file("/g", "g").unwrap();
    assert_eq!(fs.rename("/a", "/a/b/x"), Err(Errno::EINVAL));
    assert_eq!(fs.rename("/f", "/a"), Err(Errno::EISDIR));
    assert_eq!(fs.rename("/a", "/f"), Err(Errno::ENOTDIR));
    assert_eq!(fs.rename("/c", "/a"), Err(Errno::ENOTEMPTY));
    assert_eq!(fs.rename_with("/f", "/g", 1), Err(Errno::EEXIST));
    fs.rename_with("/f", "/g", 2).unwrap();
    assert_eq!(fs.read_file("/f").unwrap(), b"g");
    fs.rename("/f", "/g").unwrap();
    assert_eq!(fs.read_file("/g").unwrap(), b"g");
    fs.rename_with("/g", "/h", 4).unwrap();
    let whiteout = fs.lstat("/g").unwrap();
    assert_eq!((whiteout.mode & 0o170_000, whiteout.rdev), (0o020_000, (0, 0)));
}

#[test]
fn permissions_are_the_vfs() {
    let fs = memfs();
    fs.mkdir("/tmp", 0o777).unwrap();
    fs.chmod("/tmp", 0o1777).unwrap();
    let (alice, bob) = (fs.as_user(1000, 1000), fs.as_user(1001, 1001));
    assert_eq!(alice.mkdir("/d", 0o755), Err(Errno::EACCES));
    alice.write_file("/tmp/a", "mine").unwrap();
    assert_eq!(bob.unlink("/tmp/a"), Err(Errno::EPERM));
    assert_eq!(bob.open("/tmp/a", flags::WRITE_ONLY).err(), Some(Errno::EACCES));
    assert_eq!(bob.read_file("/tmp/a").unwrap(), b"mine");
    assert_eq!(bob.chmod("/tmp/a", 0o777), Err(Errno::EPERM));
    assert_eq!(alice.chown("/tmp/a", Some(1001), None), Err(Errno::EPERM));
    alice.chmod("/tmp/a", 0o4755).unwrap();
    fs.chown("/tmp/a", None, Some(5)).unwrap();
    assert_eq!(fs.stat("/tmp/a").unwrap().permissions(), 0o755);
    let private = fs.with(Caller::ROOT.umask(0o077));
    private.mkdir("/p", 0o777).unwrap();
    assert_eq!(fs.stat("/p").unwrap().permissions(), 0o700);
    assert_eq!(alice.read_dir("/p").err(), Some(Errno::EACCES));
}

#[test]
fn default_acls_are_inherited() {
    let fs = memfs();
    fs.mkdir("/d", 0o755).unwrap();
    let acl: Vec<u8> = [
        &[2u8, 0, 0, 0][..],
        &[1, 0, 7, 0, 255, 255, 255, 255],
        &[2, 0, 6, 0, 0xe8, 3, 0, 0],
        &[4, 0, 0, 0, 255, 255, 255, 255],
        &[16, 0, 6, 0, 255, 255, 255, 255],
        &[32, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    fs.setxattr("/d", "system.posix_acl_default", &acl, 0).unwrap();
    fs.write_file("/d/f", "x").unwrap();
    assert_eq!(fs.stat("/d/f").unwrap().permissions(), 0o660);
    assert!(fs.as_user(1000, 1).read_file("/d/f").is_ok());
    assert_eq!(fs.as_user(1001, 1).read_file("/d/f").err(), Some(Errno::EACCES));
    fs.chmod("/d/f", 0o600).unwrap();
    assert_eq!(fs.as_user(1000, 1).read_file("/d/f").err(), Some(Errno::EACCES));
}

#[test]
fn symbolic_links_lead_somewhere() {
    let fs = memfs();
    fs.mkdir("/d", 0o755).unwrap();
    fs.write_file("/d/f", "x").unwrap();
    fs.symlink("d", "/l").unwrap();
    fs.symlink("/l/f", "/m").unwrap();
    assert_eq!(fs.read_file("/m").unwrap(), b"x");
    assert_eq!(fs.readlink("/m").unwrap(), b"/l/f");
    assert_eq!(fs.lstat("/m").unwrap().size, 4);
    fs.symlink("loop", "/loop").unwrap();
    assert_eq!(fs.stat("/loop").err(), Some(Errno::ELOOP));
    assert_eq!(fs.stat("/d/../l/../d/f").unwrap().size, 1);
    assert_eq!(fs.stat("/d/f/").err(), Some(Errno::ENOTDIR));
}

#[test]
fn names_have_255_bytes() {
    let fs = memfs();
    let name = vec![b'x'; 255];
    fs.write_file(&name, "x").unwrap();
    assert_eq!(fs.write_file([&name[..], b"y"].concat(), "x"), Err(Errno::ENAMETOOLONG));
    fs.write_file(b"\xff\xfe\n", "not UTF-8").unwrap();
    assert_eq!(fs.read_file(b"\xff\xfe\n").unwrap(), b"not UTF-8");
}

#[test]
fn a_full_mount_says_so() {
    let fs = Harness::mount::<MemFs>("size=16k,nr_inodes=3").unwrap();
    let file = fs.create("/a", 0o644).unwrap();
    assert_eq!(file.write_at(&[1; 20_000], 0), Ok(16_384));
    assert_eq!(file.write_at(b"x", 20_000), Err(Errno::ENOSPC));
    file.truncate(4096).unwrap();
    assert_eq!(file.write_at(b"x", 20_000), Ok(1));
    fs.mkdir("/d", 0o755).unwrap();
    assert_eq!(fs.mkdir("/e", 0o755), Err(Errno::ENOSPC));
    fs.rmdir("/d").unwrap();
    fs.mkdir("/e", 0o755).unwrap();
    let statfs = fs.statfs().unwrap();
    assert_eq!((statfs.blocks, statfs.blocks_free, statfs.files_free), (4, 2, 0));
}

#[test]
fn temporary_files_can_get_a_name() {
    let fs = memfs();
    let file = fs.tmpfile("/", 0o600).unwrap();
    file.write_at(b"t", 0).unwrap();
    assert_eq!(file.stat().unwrap().nlink, 0);
    file.link("/t").unwrap();
    drop(file);
    assert_eq!(fs.read_file("/t").unwrap(), b"t");
    assert_eq!(fs.stat("/t").unwrap().nlink, 1);
}

#[test]
fn holes_are_punched_and_ranges_allocated() {
    let fs = memfs();
    let file = fs.create("/a", 0o644).unwrap();
    file.fallocate(0, 0, 8192).unwrap();
    assert_eq!((file.stat().unwrap().size, file.stat().unwrap().blocks), (8192, 16));
    file.write_at(&[7; 8192], 0).unwrap();
    file.fallocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 100, 5000).unwrap();
    assert_eq!(file.read_at(98, 4).unwrap(), [7, 7, 0, 0]);
    assert_eq!(file.read_at(5098, 4).unwrap(), [0, 0, 7, 7]);
    assert_eq!(file.fallocate(libc::FALLOC_FL_COLLAPSE_RANGE, 0, 4096), Err(Errno::EOPNOTSUPP));
}

#[test]
fn extended_attributes() {
    let fs = memfs();
    fs.write_file("/a", "x").unwrap();
    fs.setxattr("/a", "user.k", "v", 1).unwrap();
    assert_eq!(fs.setxattr("/a", "user.k", "v", 1), Err(Errno::EEXIST));
    assert_eq!(fs.getxattr("/a", "user.k").unwrap(), b"v");
    fs.setxattr("/a", "trusted.t", vec![9; 5000], 0).unwrap();
    assert_eq!(fs.getxattr("/a", "trusted.t").unwrap().len(), 5000);
    assert_eq!(fs.listxattr("/a").unwrap().len(), 2);
    assert_eq!(fs.as_user(1, 1).listxattr("/a").unwrap().len(), 1);
    assert_eq!(fs.setxattr("/a", "system.other", "v", 0), Err(Errno::EOPNOTSUPP));
    fs.removexattr("/a", "user.k").unwrap();
    assert_eq!(fs.removexattr("/a", "user.k"), Err(Errno::ENODATA));
}

#[test]
fn wrong_options_are_refused_in_a_sentence() {
    let error = Harness::mount::<MemFs>("size=twelve").unwrap_err();
    assert_eq!(error.errno, Errno::EINVAL);
    assert!(error.to_string().contains("size"), "{error}");
}

#[test]
fn handles_survive_and_go_stale() {
    let fs = memfs();
    fs.mkdir("/d", 0o755).unwrap();
    fs.write_file("/d/f", "x").unwrap();
    let dir = fs.lookup_in(&fs.root().unwrap(), "d").unwrap();
    let file = fs.lookup_in(&dir, "f").unwrap();
    let handle = fs.handle(&file).unwrap();
    assert_eq!(fs.parent(&dir).unwrap(), fs.root().unwrap());
    drop(file);
    assert!(fs.by_handle(handle).is_ok());
    fs.unlink("/d/f").unwrap();
    assert_eq!(fs.by_handle(handle).err(), Some(Errno::ESTALE));
}

#[test]
fn a_closed_gate_keeps_callers_waiting() {
    let fs = memfs();
    fs.close_gate(std::time::Duration::from_secs(1)).unwrap();
    let task = fs.as_user(0, 0);
    let caller = std::thread::spawn(move || task.stat("/").map(drop));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(!caller.is_finished());
    fs.open_gate();
    caller.join().unwrap().unwrap();
}

#[test]
fn many_names_list_completely() {
    let fs = memfs();
    for n in 0..1000 {
        fs.write_file(format!("/file-{n:04}"), "").unwrap();
    }
    assert_eq!(fs.names_in("/").unwrap().len(), 1000);
    let root = fs.root().unwrap();
    let dots = fs.iterate_in(&root, 0).unwrap();
    assert_eq!((&dots[0].0.name[..], &dots[1].0.name[..]), (&b"."[..], &b".."[..]));
}
