// SPDX-License-Identifier: GPL-2.0 OR MIT
//! memfs from version 1 to version 2 and back, in this process, and what version 2 knows about where files come from.

use bento::errno::Errno;
use bento_user_shim::{Caller, Harness, Task, flags};

fn version_1() -> Harness {
    Harness::mount::<memfs::MemFs>("").unwrap()
}

fn version_2() -> Harness {
    Harness::mount::<memfs_v2::MemFs>("").unwrap()
}

fn process(fs: &Harness, pid: u32, uid: u32) -> Task {
    fs.with(Caller { pid, ..Caller::user(uid, uid) })
}

/// The events of a file without times and names of programs.
fn events(fs: &Harness, path: &str) -> Vec<String> {
    let Ok(text) = fs.getxattr(path, "user.provenance") else { return Vec::new() };
    let line = |line: &str| {
        let words = line.split(' ').skip(1).filter(|word| !word.starts_with("comm="));
        words.collect::<Vec<_>>().join(" ")
    };
    String::from_utf8(text).unwrap().lines().map(line).collect()
}

#[test]
fn everything_is_there_after_an_upgrade_and_after_the_way_back() {
    let fs = version_1();
    fs.mkdir_all("/a/b").unwrap();
    fs.write_file("/a/b/file", "bytes").unwrap();
    fs.setxattr("/a/b/file", "user.colour", b"green", 0).unwrap();
    fs.symlink("b/file", "/a/link").unwrap();
    fs.set_fileattr("/a/b/file", 0x40, 0).unwrap();
    let open = fs.open("/a/b/file", flags::READ_WRITE).unwrap();
    fs.write_file("/gone", "still here").unwrap();
    let gone = fs.open("/gone", flags::READ_WRITE).unwrap();
    fs.unlink("/gone").unwrap();

    for version in [2, 1, 2] {
        match version {
            1 => fs.upgrade::<memfs::MemFs>().unwrap(),
            _ => fs.upgrade::<memfs_v2::MemFs>().unwrap(),
        };
        assert_eq!(fs.version(), version);
        assert_eq!(fs.read_file("/a/link").unwrap(), b"bytes");
        assert_eq!(fs.getxattr("/a/b/file", "user.colour").unwrap(), b"green");
        assert_eq!(fs.fileattr("/a/b/file").unwrap().0, 0x40);
        assert_eq!(fs.names_in("/a").unwrap(), ["b", "link"]);
        assert_eq!(open.read_all().unwrap(), b"bytes");
        assert_eq!(gone.read_all().unwrap(), b"still here");
        fs.write_file(format!("/made-under-{version}"), "x").unwrap();
        assert!(fs.settle());
    }
    assert_eq!(fs.names_in("/").unwrap(), ["a", "made-under-1", "made-under-2"]);
    open.close().unwrap();
    gone.close().unwrap();
    fs.unmount().unwrap();
}

#[test]
fn new_inodes_get_numbers_that_were_never_used() {
    let fs = version_1();
    fs.write_file("/old", "").unwrap();
    fs.upgrade::<memfs_v2::MemFs>().unwrap();
    fs.write_file("/new", "").unwrap();
    assert!(fs.stat("/new").unwrap().ino > fs.stat("/old").unwrap().ino);
    fs.unmount().unwrap();
}

#[test]
fn what_came_after_the_upgrade_has_a_provenance() {
    let fs = version_1();
    fs.write_file("/before", "x").unwrap();
    fs.upgrade::<memfs_v2::MemFs>().unwrap();
    fs.write_file("/after", "x").unwrap();
    assert_eq!(fs.getxattr("/before", "user.provenance"), Err(Errno::ENODATA));
    assert_eq!(events(&fs, "/after")[0], "create pid=0 uid=0 name=after");
    assert!(!fs.listxattr("/after").unwrap().contains(&b"user.provenance".to_vec()));
    assert_eq!(fs.setxattr("/after", "user.provenance", b"a lie", 0), Err(Errno::EPERM));
    assert_eq!(fs.removexattr("/after", "user.provenance"), Err(Errno::EPERM));
    fs.unmount().unwrap();
}

#[test]
fn a_copy_names_its_source() {
    let fs = version_2();
    fs.chmod("/", 0o777).unwrap();
    let (one, other) = (process(&fs, 100, 7), process(&fs, 200, 8));
    one.write_file("/source", "x").unwrap();
    other.read_file("/source").unwrap();
    other.write_file("/copy", "x").unwrap();
    let source = fs.stat("/source").unwrap().ino;
    assert_eq!(events(&fs, "/source"), ["create pid=100 uid=7 name=source", "write pid=100 uid=7"]);
    let copied =
        [format!("create pid=200 uid=8 name=copy from={source}"), format!("write pid=200 uid=8 from={source}")];
    assert_eq!(events(&fs, "/copy"), copied);
    fs.unmount().unwrap();
}

#[test]
fn what_is_read_before_the_file_is_closed_counts() {
    let fs = version_2();
    fs.write_file("/source", "x").unwrap();
    let process = process(&fs, 100, 0);
    let to = process.create("/to", 0o644).unwrap();
    process.read_file("/source").unwrap();
    to.write_at(b"x", 0).unwrap();
    to.close().unwrap();
    let source = fs.stat("/source").unwrap().ino;
    assert_eq!(events(&fs, "/to")[1], format!("write pid=100 uid=0 from={source}"));
    fs.unmount().unwrap();
}

#[test]
fn a_file_opened_before_the_upgrade_gets_its_writer_when_it_is_closed() {
    let fs = version_1();
    let process = process(&fs, 100, 0);
    let file = process.create("/file", 0o644).unwrap();
    fs.upgrade::<memfs_v2::MemFs>().unwrap();
    file.write_at(b"x", 0).unwrap();
    file.close().unwrap();
    assert_eq!(events(&fs, "/file"), ["write pid=100 uid=0"]);
    fs.unmount().unwrap();
}

#[test]
fn renames_and_links_give_names() {
    let fs = version_2();
    let process = process(&fs, 5, 0);
    process.mkdir("/d", 0o755).unwrap();
    process.rename("/d", "/a name\n").unwrap();
    assert_eq!(events(&fs, "/a name\n"), ["create pid=5 uid=0 name=d", "rename pid=5 uid=0 name=a\\x20name\\x0a"]);
    process.mknod("/f", 0o100_644, (0, 0)).unwrap();
    process.link("/f", "/g").unwrap();
    assert_eq!(events(&fs, "/f")[1], "link pid=5 uid=0 name=g");
    fs.unmount().unwrap();
}

#[test]
fn memory_is_bounded() {
    use memfs_v2::provenance::{EVENTS, READ, SOURCES};
    let fs = version_2();
    let process = process(&fs, 1, 0);
    for file in 0..READ + 10 {
        fs.write_file(format!("/source-{file}"), "x").unwrap();
        process.read_file(format!("/source-{file}")).unwrap();
    }
    process.write_file("/file", "x").unwrap();
    for turn in 0..2 * EVENTS {
        process.rename("/file", format!("/file-{turn}")).unwrap();
        process.rename(format!("/file-{turn}"), "/file").unwrap();
    }
    let events = events(&fs, "/file");
    assert_eq!(events.len(), EVENTS);
    assert!(events[0].starts_with("create "), "the first event stays: {}", events[0]);
    let sources = events[0].rsplit_once("from=").unwrap().1;
    assert_eq!(sources.split(',').count(), SOURCES + 1);
    assert!(sources.ends_with(&format!(",+{}", READ + 10 - SOURCES)), "{sources}");
    fs.unmount().unwrap();
}

#[test]
fn provenance_survives_a_restart_and_goes_with_a_downgrade() {
    let fs = version_2();
    fs.write_file("/file", "x").unwrap();
    let before = events(&fs, "/file");
    fs.restart().unwrap();
    assert_eq!(events(&fs, "/file"), before);
    fs.upgrade::<memfs::MemFs>().unwrap();
    fs.upgrade::<memfs_v2::MemFs>().unwrap();
    assert_eq!(events(&fs, "/file"), [""; 0]);
    fs.unmount().unwrap();
}
