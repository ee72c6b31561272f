// SPDX-License-Identifier: GPL-2.0 OR MIT
//! rext4 from version 1 to version 2 and back, on disks that `e2fsck` judges, and what version 2 notes on them.

#[path = "../../rext4/tests/common/mod.rs"]
mod common;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bento::errno::Errno;
use bento_user_shim::{Caller, Harness, Health, Image as Memory, SimDisk, Task, flags};
use common::{Image, KINDS};

type Version1 = rext4::Rext4;
type Version2 = rext4_v2::Rext4;

const ATTRIBUTE: &str = "user.provenance";

fn swap(fs: &Harness, version: u32) {
    let done = if version == 1 { fs.upgrade::<Version1>() } else { fs.upgrade::<Version2>() };
    done.unwrap_or_else(|error| panic!("to version {version}: {error:?}: {:#?}", fs.log()));
    assert_eq!(fs.version(), version);
}

/// A program that is called so and does nothing; calls are made in its name.
struct Program(Child);

impl Program {
    /// `name` as printf(1) takes it.
    fn new(name: &str) -> Program {
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf \"$0\" > /proc/$$/comm; echo; read end", name]);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Program(child)
    }

    fn on(&self, fs: &Harness, uid: u32) -> Task {
        fs.with(Caller { pid: self.0.id(), ..Caller::user(uid, uid) })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8 ^ seed | 1).collect()
}

fn shown(fs: &Harness, path: &str) -> String {
    String::from_utf8(fs.getxattr(path, ATTRIBUTE).unwrap()).unwrap()
}

#[test]
fn everything_is_there_after_upgrades_and_ways_back() {
    for kind in KINDS {
        let image = Image::new("upgrade", 32, kind);
        let fs = image.mount("");
        fs.mkdir_all("/a/b").unwrap();
        fs.write_file("/a/b/file", bytes(100_000, 3)).unwrap();
        // Old images have no attributes at all.
        let colour = fs.setxattr("/a/b/file", "user.colour", b"green", 0).map(|()| b"green".to_vec());
        fs.symlink("b/file", "/a/link").unwrap();
        let open = fs.open("/a/b/file", flags::READ_WRITE).unwrap();
        fs.write_file("/gone", bytes(50_000, 4)).unwrap();
        let gone = fs.open("/gone", flags::READ_WRITE).unwrap();
        fs.unlink("/gone").unwrap();
        for round in 0..6u8 {
            // Dirty when the swap comes; freed in a transaction that has not committed.
            fs.write_file("/dirty", bytes(20_000, round)).unwrap();
            fs.write_file("/freed", bytes(70_000, round)).unwrap();
            fs.sync().unwrap();
            fs.unlink("/freed").unwrap();
            swap(&fs, if round % 2 == 0 { 2 } else { 1 });
            assert_eq!(fs.read_file("/dirty").unwrap(), bytes(20_000, round));
            assert_eq!(fs.read_file("/a/link").unwrap(), bytes(100_000, 3));
            assert!(colour.is_err() || fs.getxattr("/a/b/file", "user.colour") == colour);
            assert_eq!(open.read_all().unwrap(), bytes(100_000, 3));
            assert_eq!(gone.read_all().unwrap(), bytes(50_000, 4));
            fs.write_file(format!("/made{round}"), bytes(5000, round)).unwrap();
            assert!(fs.settle());
        }
        // An orphan that outlives swaps is freed by whoever runs last.
        gone.close().unwrap();
        open.close().unwrap();
        for round in 0..6u8 {
            assert_eq!(fs.read_file(format!("/made{round}")).unwrap(), bytes(5000, round));
        }
        image.done(fs);
    }
}

#[test]
fn version_2_notes_who_made_a_file_and_version_1_reads_it() {
    let image = Image::new("noted", 16, &["-t", "ext4", "-b", "4096"]);
    let fs = image.mount("");
    fs.chmod("/", 0o777).unwrap();
    fs.write_file("/before", "x").unwrap();
    swap(&fs, 2);
    let (program, odd) = (Program::new("cp"), Program::new("a \\\\"));
    let cp = program.on(&fs, 7);
    let made = format!(" create pid={} comm=cp uid=7", program.0.id());
    cp.write_file("/file", "x").unwrap();
    cp.mkdir("/dir", 0o755).unwrap();
    cp.symlink("file", "/link").unwrap();
    odd.on(&fs, 0).write_file("/odd", "x").unwrap();
    assert_eq!(fs.getxattr("/before", ATTRIBUTE), Err(Errno::ENODATA));
    assert!(shown(&fs, "/file").ends_with(&made), "{}", shown(&fs, "/file"));
    assert!(shown(&fs, "/dir").ends_with(&made));
    assert!(shown(&fs, "/odd").ends_with(" comm=a\\x20\\x5c uid=0"));
    // In the inode, not in a block of its own.
    assert_eq!(fs.stat("/file").unwrap().blocks, 8);
    // Nobody changes it, and who copies attributes does not meet it.
    assert_eq!(fs.listxattr("/file").unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(fs.setxattr("/file", ATTRIBUTE, b"a lie", 0), Err(Errno::EPERM));
    assert_eq!(fs.removexattr("/file", ATTRIBUTE), Err(Errno::EPERM));
    let line = shown(&fs, "/file");
    fs.setxattr("/file", "user.other", [7; 300], 0).unwrap();
    assert_eq!(shown(&fs, "/file"), line);
    swap(&fs, 1);
    fs.write_file("/after", "x").unwrap();
    assert_eq!(fs.getxattr("/after", ATTRIBUTE), Err(Errno::ENODATA));
    assert_eq!(shown(&fs, "/file"), line);
    image.done(fs);
    assert!(image.debugfs("ea_get /file user.provenance").contains(&line), "{line}");
    let fs = image.mount("");
    assert_eq!(shown(&fs, "/file"), line);
    image.done(fs);
}

#[test]
fn a_name_too_long_for_the_inode_goes_where_attributes_go() {
    for kind in [&["-t", "ext4", "-I", "128"][..], &["-t", "ext4"]] {
        let image = Image::new("noted-far", 16, kind);
        let fs = image.mount("");
        swap(&fs, 2);
        let program = Program::new("\\377\\376\\375\\374\\373\\372\\371\\370");
        program.on(&fs, 0).mkdir("/dir", 0o755).unwrap();
        let name = "\\xff\\xfe\\xfd\\xfc\\xfb\\xfa\\xf9\\xf8";
        let made = format!(" create pid={} comm={name} uid=0", program.0.id());
        assert!(shown(&fs, "/dir").ends_with(&made), "{}", shown(&fs, "/dir"));
        fs.rmdir("/dir").unwrap();
        image.done(fs);
    }
}

/// The note is in the transaction of the name: after a crash there is no file without one.
#[test]
fn a_crash_leaves_no_file_without_its_note() {
    let made = Image::new("noted-crash", 8, &["-t", "ext4", "-b", "1024", "-J", "size=1"]);
    let disk = SimDisk::new(std::fs::read(&made.path).unwrap());
    disk.set_sector(1024);
    let fs = Harness::mount_disk::<Version2>(disk.clone(), "").unwrap();
    for step in 0..12u8 {
        fs.mkdir(format!("/d{step}"), 0o755).unwrap();
        fs.write_file(format!("/d{step}/f"), bytes(3000, step)).unwrap();
        if step % 4 == 3 {
            fs.sync().unwrap();
        }
    }
    fs.unmount().unwrap();
    let (mut states, mut files) = (0, 0);
    for state in disk.crash_states(3, 2) {
        let image = Memory::new(state.image.clone());
        let fs = Harness::mount_disk::<Version1>(image, "").unwrap();
        for path in (0..12).flat_map(|step| [format!("/d{step}"), format!("/d{step}/f")]) {
            if fs.exists(&path) {
                assert!(shown(&fs, &path).contains(" create pid=0 "), "{path}: {state:?}");
                files += 1;
            }
        }
        fs.unmount().unwrap();
        states += 1;
    }
    assert!(states > 10 && files > states, "{states} states, {files} files");
}

/// An abandoned instance is made again from the device.
fn restart_from_device(fs: &Harness) {
    fs.set_restart_limit(0);
    fs.poison();
    assert_eq!(fs.wait_for_restart(Duration::from_secs(60)), Health::Ok, "{:#?}", fs.log());
}

/// Blocks that a removed file had are nobody's before the removal has committed: else a crash would bring the file back with
/// another's bytes. An instance made anew from the device must know that as well as the one before.
#[test]
fn what_was_freed_before_a_restart_is_not_written_before_the_commit() {
    for from_device in [false, true] {
        let made = Image::new("freed", 8, &["-t", "ext4", "-b", "1024", "-J", "size=1"]);
        let disk = SimDisk::new(std::fs::read(&made.path).unwrap());
        disk.set_sector(1024);
        // Nothing commits by itself.
        let fs = Harness::mount_disk::<Version1>(disk.clone(), "commit=3600").unwrap();
        let old = bytes(1_500_000, 9);
        fs.write_file("/old", &old).unwrap();
        fs.sync().unwrap();
        disk.forget_history();
        fs.unlink("/old").unwrap();
        if from_device {
            restart_from_device(&fs);
        } else {
            swap(&fs, 2);
        }
        // More than is left without the old one's blocks; data go out, and no more is asked for.
        for n in 0..5u8 {
            let _ = fs.write_file(format!("/new{n}"), bytes(900_000, n));
            let _ = fs.write_inodes();
        }
        let mut brought_back = 0;
        for state in disk.crash_states(5, 2) {
            let image = Memory::new(state.image.clone());
            let fs = Harness::mount_disk::<Version1>(image, "").unwrap();
            if fs.exists("/old") {
                assert!(fs.read_file("/old").unwrap() == old, "restart from the device {from_device}: {state:?}");
                brought_back += 1;
            }
            fs.unmount().unwrap();
        }
        assert!(brought_back > 0, "no crash came before the commit");
        fs.crash();
    }
}

/// After restarts from the device, a file system with a journal is unmounted as clean as it was mounted.
#[test]
fn a_restart_from_the_device_keeps_what_the_mount_settled() {
    for kind in KINDS {
        let image = Image::new("restart", 32, kind);
        let fs = image.mount("");
        fs.write_file("/kept", bytes(30_000, 1)).unwrap();
        let open = fs.open("/kept", flags::READ_WRITE).unwrap();
        fs.write_file("/gone", bytes(50_000, 4)).unwrap();
        let gone = fs.open("/gone", flags::READ_WRITE).unwrap();
        fs.unlink("/gone").unwrap();
        for round in 0..3u8 {
            fs.write_file("/dirty", bytes(20_000, round)).unwrap();
            restart_from_device(&fs);
            assert_eq!(fs.read_file("/dirty").unwrap(), bytes(20_000, round));
            assert_eq!(open.read_all().unwrap(), bytes(30_000, 1));
            assert_eq!(gone.read_all().unwrap(), bytes(50_000, 4));
            open.write_at(b"on", 1).unwrap();
            open.write_at(&bytes(2, 1), 0).unwrap();
            open.write_at(&bytes(30_000, 1), 0).unwrap();
        }
        open.close().unwrap();
        gone.close().unwrap();
        image.done(fs);
        let said = image.debugfs("show_super_stats -h");
        let journal = said.contains("has_journal");
        assert_eq!(said.contains("Filesystem state:         clean"), journal, "{kind:?}: {said}");
    }
}
