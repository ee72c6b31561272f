// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The machine stops: whatever was on its way to the device, what `fsync` promised is there, the rest is whole or not at
//! all, and `e2fsck` finds nothing, whether it recovers the journal or we do.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use bento::errno::Errno;
use bento_user_shim::{CrashState, Harness, Image as Memory, SimDisk, flags};
use common::Image;
use rext4::Rext4;

const KINDS: &[&[&str]] = &[
    &["-t", "ext4", "-b", "1024", "-J", "size=1"],
    &["-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "^metadata_csum,^64bit"],
    &["-t", "ext3", "-b", "1024", "-J", "size=1"],
];

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(31) ^ at >> 7 ^ seed.wrapping_mul(101)) as u8 | 1).collect()
}

fn size(step: u64) -> usize {
    [10, 1000, 5000, 40_000, 100][step as usize % 5] + step as usize
}

/// What a test leaves behind, step by step; each step that is promised is marked.
fn work(fs: &Harness, disk: &SimDisk, steps: u64) {
    fs.mkdir("/d", 0o755).unwrap();
    for step in 1..=steps {
        let dir = if step % 2 == 0 { "" } else { "/d" };
        // A file of its own, promised.
        let file = fs.create(format!("{dir}/own{step}"), 0o644).unwrap();
        file.write_all_at(&bytes(size(step), step), 0).unwrap();
        file.fsync().unwrap();
        file.close().unwrap();
        disk.mark(step * 10);
        // Another one takes its name over.
        fs.write_file("/d/new", bytes(3000, step)).unwrap();
        let file = fs.open("/d/new", flags::READ_WRITE).unwrap();
        file.fsync().unwrap();
        file.close().unwrap();
        fs.rename("/d/new", "/target").unwrap();
        // Nobody is promised these: made, cut, extended, removed.
        fs.write_file(format!("/loose{step}"), bytes(9000, step)).unwrap();
        fs.truncate(format!("/loose{step}"), 100 * step).unwrap();
        if step > 3 {
            fs.unlink(format!("/loose{}", step - 3)).unwrap();
        }
        fs.mkdir(format!("/sub{step}"), 0o755).unwrap();
        fs.symlink("x".repeat(step as usize * 9), format!("/sub{step}/link")).unwrap();
        if step > 2 {
            fs.unlink(format!("/sub{}/link", step - 2)).unwrap();
            fs.rmdir(format!("/sub{}", step - 2)).unwrap();
        }
        if step % 3 == 0 {
            fs.sync().unwrap();
            disk.mark(step * 10 + 5);
        }
    }
}

/// Is what was promised there?
fn check(fs: &Harness, mark: u64, state: &CrashState) {
    for step in 1..=mark / 10 {
        let dir = if step % 2 == 0 { "" } else { "/d" };
        let found =
            fs.read_file(format!("{dir}/own{step}")).unwrap_or_else(|error| panic!("own{step}: {error:?}: {state:?}"));
        assert!(found == bytes(size(step), step), "own{step}, {} bytes: {state:?}", found.len());
    }
    if let Ok(found) = fs.read_file("/target") {
        let version = (1..=100).find(|step| found == bytes(3000, *step));
        let least = if mark % 10 == 5 { mark / 10 } else { mark / 10 - u64::from(mark > 0) };
        assert!(version.is_some_and(|version| version >= least), "target has version {version:?}: {state:?}");
    }
}

fn e2fsck(args: &[&str], path: &Path) -> (i32, String) {
    let output = Command::new("e2fsck").args(args).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn every_crash_is_survived() {
    for kind in KINDS {
        let made = Image::new("promises", 8, kind);
        let disk = SimDisk::new(std::fs::read(&made.path).unwrap());
        // A superblock of which only half is new is found by its checksum, and by nobody's journal.
        disk.set_sector(1024);
        let fs = Harness::mount_disk::<Rext4>(disk.clone(), "").unwrap();
        work(&fs, &disk, 8);
        fs.unmount().unwrap();
        let (writes, flushes) = disk.history();
        let mut states = 0;
        for state in disk.crash_states(11, 3) {
            states += 1;
            // We recover it.
            let image = Memory::new(state.image.clone());
            let fs = Harness::mount_disk::<Rext4>(image.clone(), "")
                .unwrap_or_else(|error| panic!("{kind:?}: {error}: {state:?}"));
            check(&fs, state.mark, &state);
            fs.unmount().unwrap();
            image.save(&made.path).unwrap();
            let (code, said) = e2fsck(&["-fn"], &made.path);
            assert_eq!(code, 0, "{kind:?}: after our recovery: {state:?}\n{said}");
            // e2fsck does, for some of them.
            if states % 4 == 0 {
                std::fs::write(&made.path, &state.image).unwrap();
                let (code, said) = e2fsck(&["-fp"], &made.path);
                assert!(code <= 1, "{kind:?}: e2fsck's recovery: {state:?}\n{said}");
                let image = Memory::read(&made.path).unwrap();
                let fs = Harness::mount_disk::<Rext4>(image, "").unwrap();
                check(&fs, state.mark, &state);
                fs.unmount().unwrap();
            }
        }
        assert!(states > 50, "{kind:?}: {states} states of {writes} writes and {flushes} flushes");
        println!("{kind:?}: {states} states of {writes} writes and {flushes} flushes");
    }
}

const VERSIONS: u64 = 16;

/// The journal commits, whatever is in it of other files.
fn commit(fs: &Harness) {
    let file = fs.open("/other", flags::READ_WRITE).unwrap();
    file.write_all_at(b"o", 0).unwrap();
    file.fsync().unwrap();
}

/// What every crash leaves of "/d/target", which `step` gives a new version each time, with the last mark before it. The
/// disk is sound.
fn versions(name: &str, step: impl Fn(&Harness, &SimDisk, u64), judge: impl Fn(Result<Vec<u8>, Errno>, u64, &str)) {
    for kind in KINDS {
        let made = Image::new(name, 8, kind);
        let disk = SimDisk::new(std::fs::read(&made.path).unwrap());
        disk.set_sector(1024);
        let fs = Harness::mount_disk::<Rext4>(disk.clone(), "").unwrap();
        fs.mkdir("/d", 0o755).unwrap();
        fs.create("/other", 0o644).unwrap();
        fs.sync().unwrap();
        disk.forget_history();
        (1..=VERSIONS).for_each(|at| step(&fs, &disk, at));
        fs.unmount().unwrap();
        let mut states = 0;
        for state in disk.crash_states(17, 3) {
            states += 1;
            let image = Memory::new(state.image.clone());
            let fs = Harness::mount_disk::<Rext4>(image.clone(), "")
                .unwrap_or_else(|error| panic!("{kind:?}: {error}: {state:?}"));
            judge(fs.read_file("/d/target"), state.mark, &format!("{kind:?}: {state:?}"));
            fs.unmount().unwrap();
            image.save(&made.path).unwrap();
            let (code, said) = e2fsck(&["-fn"], &made.path);
            assert_eq!(code, 0, "{kind:?}: {state:?}\n{said}");
        }
        println!("{kind:?}: {states} states");
        assert!(states > 60, "{states}");
    }
}

fn version(found: &[u8]) -> Option<u64> {
    (1..=VERSIONS).find(|step| found == bytes(size(*step), *step))
}

/// Write anew, fsync, rename over the old one, fsync the directory: how programs replace a file.
#[test]
fn a_file_that_is_renamed_over_is_the_old_one_or_the_new_one() {
    let step = |fs: &Harness, disk: &SimDisk, step| {
        let new = fs.create("/d/new", 0o644).unwrap();
        new.write_all_at(&bytes(size(step), step), 0).unwrap();
        new.fsync().unwrap();
        new.close().unwrap();
        fs.rename("/d/new", "/d/target").unwrap();
        fs.open("/d", flags::READ_ONLY).unwrap().fsync().unwrap();
        disk.mark(step);
    };
    versions("rename-over", step, |found, mark, what| match found {
        Ok(found) => {
            let version = version(&found);
            let one = version.is_some_and(|version| (mark..=mark + 1).contains(&version));
            assert!(one, "version {version:?}, {} bytes: {what}", found.len());
        }
        Err(error) => assert_eq!((error, mark), (Errno::ENOENT, 0), "{what}"),
    });
}

/// The same without any fsync of it (`auto_da_alloc`), wherever the journal commits: never empty, never in part. In user
/// space bytes go to the device when they are written, so that is so whatever the option says.
#[test]
fn a_file_that_is_renamed_over_and_not_synced_is_whole() {
    let step = |fs: &Harness, disk: &SimDisk, step| {
        let contents = bytes(size(step), step);
        let (first, rest) = contents.split_at(contents.len() * 2 / 3);
        let new = fs.create("/d/new", 0o644).unwrap();
        new.write_all_at(first, 0).unwrap();
        if step % 4 == 0 {
            commit(fs);
        }
        // Its first bytes share a block with the last ones of what is there.
        new.write_all_at(rest, first.len() as u64).unwrap();
        new.close().unwrap();
        if step % 4 == 1 {
            commit(fs);
        }
        fs.rename("/d/new", "/d/target").unwrap();
        if step % 4 != 3 {
            commit(fs);
            disk.mark(step);
        }
    };
    versions("rename-over-unsynced", step, |found, mark, what| match found {
        Ok(found) => {
            let version = version(&found);
            let one = version.is_some_and(|version| (mark..=mark + 2).contains(&version));
            assert!(one, "version {version:?}, {} bytes: {what}", found.len());
        }
        Err(error) => assert_eq!((error, mark), (Errno::ENOENT, 0), "{what}"),
    });
}

/// Emptied and written anew without fsync: from the first commit after it is closed on it has the new bytes. Between that
/// of the truncation and that one it may be empty, or have the first of them.
#[test]
fn a_file_that_is_rewritten_and_not_synced_is_whole_once_it_is_closed() {
    let step = |fs: &Harness, disk: &SimDisk, step| {
        let file = match step {
            1 => fs.create("/d/target", 0o644).unwrap(),
            _ => fs.open("/d/target", flags::READ_WRITE | flags::TRUNCATE).unwrap(),
        };
        if step % 3 == 0 {
            commit(fs);
        }
        file.write_all_at(&bytes(size(step), step), 0).unwrap();
        if step % 3 == 1 {
            commit(fs);
        }
        file.close().unwrap();
        if step % 4 != 3 {
            commit(fs);
            disk.mark(step);
        }
    };
    versions("rewritten", step, |found, mark, what| match found {
        Ok(found) => {
            let whole = version(&found).is_some_and(|version| (mark..=mark + 2).contains(&version));
            let begun = |step: u64| bytes(size(step), step).starts_with(&found);
            let next = mark < VERSIONS && (mark + 1..=mark + 2).any(begun);
            assert!(whole || next, "{} bytes: {what}", found.len());
        }
        Err(error) => assert_eq!((error, mark), (Errno::ENOENT, 0), "{what}"),
    });
}

#[test]
fn every_crash_below_many_tasks_is_survived() {
    let made = Image::new("promises-many", 16, KINDS[0]);
    let disk = SimDisk::new(std::fs::read(&made.path).unwrap());
    disk.set_sector(1024);
    let fs = Harness::mount_disk::<Rext4>(disk.clone(), "").unwrap();
    // What was promised, in the order of the marks.
    let promises = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for task in 0..4u64 {
            let (fs, disk, promises) = (&fs, &disk, &promises);
            scope.spawn(move || {
                let dir = format!("/task{task}");
                fs.mkdir(&dir, 0o755).unwrap();
                for step in 1..=8u64 {
                    let path = format!("{dir}/kept{step}");
                    let contents = bytes(size(step) / 4, task * 100 + step);
                    let file = fs.create(&path, 0o644).unwrap();
                    file.write_all_at(&contents, 0).unwrap();
                    file.fsync().unwrap();
                    file.close().unwrap();
                    {
                        let mut promises = promises.lock().unwrap();
                        promises.push((path, contents));
                        disk.mark(promises.len() as u64);
                    }
                    // Freed metadata blocks become somebody's data.
                    let gone = format!("{dir}/gone");
                    fs.mkdir(&gone, 0o755).unwrap();
                    for n in 0..12 {
                        fs.write_file(format!("{gone}/{}{n}", "long".repeat(40)), bytes(600, n)).unwrap();
                    }
                    for n in 0..12 {
                        fs.unlink(format!("{gone}/{}{n}", "long".repeat(40))).unwrap();
                    }
                    fs.rmdir(&gone).unwrap();
                }
            });
        }
    });
    fs.unmount().unwrap();
    let promises = promises.into_inner().unwrap();
    let all = disk.crash_states(5, 2).count();
    for state in disk.crash_states(5, 2).step_by((all / 40).max(1)) {
        let image = Memory::new(state.image.clone());
        let fs = Harness::mount_disk::<Rext4>(image.clone(), "").unwrap_or_else(|error| panic!("{error}: {state:?}"));
        for (path, contents) in &promises[..state.mark as usize] {
            let found = fs.read_file(path).unwrap_or_else(|error| panic!("{path}: {error:?}: {state:?}"));
            assert!(found == *contents, "{path}, {} bytes: {state:?}", found.len());
        }
        fs.unmount().unwrap();
        image.save(&made.path).unwrap();
        let (code, said) = e2fsck(&["-fn"], &made.path);
        assert_eq!(code, 0, "{state:?}\n{said}");
    }
}
