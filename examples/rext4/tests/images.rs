// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Images made by `mke2fs`, mounted in process, and judged by `e2fsck -fn` afterwards.

mod common;

use std::path::Path;
use std::process::Command;

use bento::errno::Errno;
use bento_user_shim::{Harness, flags};
use common::{Image, KINDS};
use rext4::Rext4;

#[test]
fn mounts_and_leaves_every_kind_clean() {
    for options in KINDS {
        let image = Image::new("mounts", 64, options);
        let fs = image.mount("");
        let before = fs.statfs().unwrap();
        assert!(before.blocks_free > 0 && before.blocks_free < before.blocks, "{options:?}: {before:?}");
        image.done(fs);
        // What mke2fs has worked out is what df is to leave out.
        let stats = image.debugfs("show_super_stats -h");
        let number = |name: &str| -> u64 {
            let line = stats.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(0)
        };
        let overhead = number("Overhead clusters:");
        if overhead > 0 {
            assert_eq!(before.blocks, number("Block count:") - overhead, "{options:?}");
        }
    }
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(7) ^ (at >> 8) as u8 ^ seed).collect()
}

/// The oldest revision of ext2 has no features, and so no attributes.
fn has_xattrs(what: &[&str]) -> bool {
    !what.contains(&"-r")
}

/// A bit of everything; `check` looks at what it left.
fn everything(fs: &Harness, what: &[&str]) {
    let step =
        |name: &str, result: Result<(), Errno>| result.unwrap_or_else(|error| panic!("{what:?}: {name}: {error:?}"));
    step("mkdir", fs.mkdir("/d", 0o755));
    step("mkdir", fs.mkdir("/d/e", 0o700));
    step("write", fs.write_file("/d/small", bytes(100, 1)));
    step("write", fs.write_file("/d/large", bytes(3_000_000, 2)));
    step("link", fs.link("/d/small", "/d/e/again"));
    step("symlink", fs.symlink("small", "/d/short"));
    step("symlink", fs.symlink("x".repeat(200), "/d/long"));
    step("mknod", fs.mknod("/d/null", 0o20644, (1, 3)));
    step("mknod", fs.mknod("/d/far", 0o60600, (259, 70000)));
    step("mknod", fs.mknod("/d/fifo", 0o10644, (0, 0)));
    step("chown", fs.chown("/d/small", Some(70000), Some(80000)));
    step("chmod", fs.chmod("/d/small", 0o4711));
    step("rename", fs.rename("/d/large", "/d/e/moved"));
    step("mkdir", fs.mkdir("/gone", 0o755));
    step("write", fs.write_file("/gone/f", bytes(50_000, 3)));
    step("unlink", fs.unlink("/gone/f"));
    step("rmdir", fs.rmdir("/gone"));
    for n in 0..300 {
        step(
            "write",
            fs.write_file(format!("/d/e/a file with a rather long name, number {n}"), bytes(n * 10, n as u8)),
        );
    }
    for n in (0..300).step_by(3) {
        step("unlink", fs.unlink(format!("/d/e/a file with a rather long name, number {n}")));
    }
    let file = fs.create("/sparse", 0o644).unwrap();
    file.write_all_at(&bytes(10, 4), 0).unwrap();
    file.write_all_at(&bytes(5000, 5), 20_000_000).unwrap();
    file.truncate(20_002_000).unwrap();
    file.close().unwrap();
    if !has_xattrs(what) {
        return;
    }
    for (value, name) in [("v", "user.a"), ("another", "user.b"), ("far", "trusted.c")] {
        step("setxattr", fs.setxattr("/d/small", name, value.as_bytes(), 0));
    }
    step("setxattr", fs.setxattr("/d/e/moved", "user.big", bytes(700, 6), 0));
}

fn check(fs: &Harness, what: &[&str]) {
    assert_eq!(fs.read_file("/d/small").unwrap(), bytes(100, 1), "{what:?}");
    assert_eq!(fs.read_file("/d/e/again").unwrap(), bytes(100, 1), "{what:?}");
    assert!(fs.read_file("/d/e/moved").unwrap() == bytes(3_000_000, 2), "{what:?}");
    assert_eq!(fs.readlink("/d/short").unwrap(), b"small");
    assert_eq!(fs.readlink("/d/long").unwrap(), "x".repeat(200).as_bytes());
    let null = fs.lstat("/d/null").unwrap();
    assert_eq!((null.mode, null.rdev), (0o20644, (1, 3)));
    assert_eq!(fs.lstat("/d/far").unwrap().rdev, (259, 70000));
    let small = fs.stat("/d/small").unwrap();
    assert_eq!((small.mode & 0o7777, small.uid, small.gid, small.nlink), (0o4711, 70000, 80000, 2), "{what:?}");
    assert!(!fs.exists("/gone"));
    for n in 0..300usize {
        let name = format!("/d/e/a file with a rather long name, number {n}");
        if n.is_multiple_of(3) {
            assert!(!fs.exists(&name), "{what:?}: {name}");
        } else {
            assert_eq!(fs.read_file(&name).unwrap(), bytes(n * 10, n as u8), "{what:?}: {name}");
        }
    }
    let sparse = fs.open("/sparse", flags::READ_ONLY).unwrap();
    assert_eq!(sparse.stat().unwrap().size, 20_002_000);
    assert_eq!(sparse.read_at(0, 20).unwrap(), [bytes(10, 4), vec![0; 10]].concat());
    assert_eq!(sparse.read_at(19_999_990, 5000).unwrap(), [vec![0; 10], bytes(5000, 5)[..2000].to_vec()].concat());
    sparse.close().unwrap();
    if !has_xattrs(what) {
        assert_eq!(fs.setxattr("/d/small", "user.b", "", 0), Err(Errno::EOPNOTSUPP));
        return;
    }
    assert_eq!(fs.getxattr("/d/small", "user.b").unwrap(), b"another");
    assert_eq!(fs.getxattr("/d/e/moved", "user.big").unwrap(), bytes(700, 6));
}

#[test]
fn everything_stays_over_a_remount() {
    for options in KINDS {
        let image = Image::new("everything", 64, options);
        let fs = image.mount("");
        everything(&fs, options);
        check(&fs, options);
        image.done(fs);
        let fs = image.mount("");
        check(&fs, options);
        image.done(fs);
    }
}

#[test]
fn what_is_deleted_is_free_again() {
    for options in KINDS {
        let image = Image::new("deleted", 64, options);
        let fs = image.mount("");
        fs.mkdir("/d", 0o755).unwrap();
        fs.sync().unwrap();
        let before = fs.statfs().unwrap();
        for n in 0..20 {
            fs.write_file(format!("/d/{n}"), bytes(400_000, n)).unwrap();
        }
        fs.sync().unwrap();
        assert!(fs.statfs().unwrap().blocks_free < before.blocks_free);
        for n in 0..20 {
            fs.unlink(format!("/d/{n}")).unwrap();
        }
        fs.sync().unwrap();
        let after = fs.statfs().unwrap();
        assert_eq!((after.blocks_free, after.files_free), (before.blocks_free, before.files_free), "{options:?}");
        image.done(fs);
    }
}

#[test]
fn a_tree_copied_in_by_mke2fs_reads_back_the_same() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for options in KINDS {
        let image = Image::filled("copied", 64, options, Some(&from));
        let fs = image.mount_read_only();
        same(&fs, &from, "");
        image.done(fs);
    }
}

fn same(fs: &Harness, from: &Path, to: &str) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{to}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            same(fs, &entry.path(), &path);
        } else {
            assert!(fs.read_file(&path).unwrap() == std::fs::read(entry.path()).unwrap(), "{path}");
        }
    }
}

#[test]
fn a_full_disk_says_so_and_recovers() {
    for options in [KINDS[0], KINDS[1], KINDS[3], KINDS[8]] {
        let image = Image::new("full", 16, options);
        let fs = image.mount("");
        let mut n = 0;
        let error = loop {
            match fs.write_file(format!("/{n}"), bytes(1 << 20, n)).and_then(|()| fs.sync()) {
                Ok(()) => n += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Errno::ENOSPC, "{options:?}");
        // What is freed can be had at once, though it is only free when that is durable.
        for n in 0..n {
            fs.unlink(format!("/{n}")).unwrap();
        }
        let _ = fs.unlink(format!("/{n}"));
        for n in 0..n {
            fs.write_file(format!("/again-{n}"), bytes(1 << 20, n)).unwrap();
        }
        for n in 0..n {
            fs.unlink(format!("/again-{n}")).unwrap();
        }
        for n in 0..600 {
            fs.mkdir(format!("/dir-{n}"), 0o755).unwrap();
            fs.setxattr(format!("/dir-{n}"), "user.large", bytes(900, 1), 0)
                .or_else(|error| match error {
                    Errno::EOPNOTSUPP => Ok(()),
                    error => Err(error),
                })
                .unwrap();
        }
        image.done(fs);
    }
}

#[test]
fn orphans_are_freed_at_the_next_mount() {
    for options in KINDS {
        let journaled = options[1] != "ext2" && !options.contains(&"^has_journal");
        if !journaled {
            continue;
        }
        let image = Image::new("orphans", 64, options);
        let fs = image.mount("");
        fs.mkdir("/d", 0o755).unwrap();
        fs.sync().unwrap();
        let before = fs.statfs().unwrap();
        let open: Vec<_> = (0..5u8)
            .map(|n| {
                let path = format!("/d/{n}");
                fs.write_file(&path, bytes(100_000, n)).unwrap();
                let file = fs.open(&path, flags::READ_WRITE).unwrap();
                fs.unlink(&path).unwrap();
                file
            })
            .collect();
        let unnamed = fs.tmpfile("/d", 0o600).unwrap();
        unnamed.write_all_at(&bytes(5000, 1), 0).unwrap();
        // One from the middle goes properly.
        let mut open = open;
        open.remove(2).close().unwrap();
        fs.sync().unwrap();
        std::mem::forget((open, unnamed));
        fs.crash();
        let fs = image.mount("");
        let after = fs.statfs().unwrap();
        assert_eq!((after.blocks_free, after.files_free), (before.blocks_free, before.files_free), "{options:?}");
        image.done(fs);
    }
}

#[test]
fn what_it_does_not_know_is_refused_by_name() {
    for (features, word) in [
        ("bigalloc", "bigalloc"),
        ("inline_data", "inline_data"),
        ("encrypt", "encrypt"),
        ("casefold", "casefold"),
        ("mmp", "mmp"),
        ("ea_inode", "ea_inode"),
    ] {
        let image = Image::new("refused", 64, &["-t", "ext4", "-O", features]);
        let error = Harness::mount_image::<Rext4>(&image.path, "").unwrap_err();
        let reason = error.reason.unwrap_or_default();
        assert!(reason.contains(word), "{features}: {reason}");
    }
    let image = Image::new("refused", 64, &["-t", "ext4", "-O", "quota"]);
    image.done(image.mount_read_only());
    for wrong in ["data=journal", "errors=never", "nonsense"] {
        let error = Harness::mount_image::<Rext4>(&image.path, wrong).unwrap_err();
        assert_eq!(error.errno, Errno::EINVAL, "{wrong}");
    }
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let image = Image::new("unchanged", 64, KINDS[0]);
    let before = std::fs::read(&image.path).unwrap();
    let fs = image.mount_read_only();
    assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EROFS));
    fs.unmount().unwrap();
    drop(fs);
    assert!(std::fs::read(&image.path).unwrap() == before);
}

#[test]
fn an_instance_made_again_goes_on() {
    for options in [KINDS[0], KINDS[13], KINDS[8]] {
        let image = Image::new("again", 64, options);
        let fs = image.mount("");
        fs.mkdir("/d", 0o755).unwrap();
        let file = fs.create("/d/open", 0o644).unwrap();
        file.write_all_at(&bytes(100_000, 1), 0).unwrap();
        fs.unlink("/d/open").unwrap();
        assert!(!fs.state().unwrap().is_empty());
        fs.write_file("/d/a", bytes(100_000, 2)).unwrap();
        fs.restart().unwrap();
        fs.write_file("/d/b", bytes(100_000, 3)).unwrap();
        assert_eq!(file.read_at(0, 100_000).unwrap(), bytes(100_000, 1));
        file.close().unwrap();
        assert_eq!(fs.read_file("/d/a").unwrap(), bytes(100_000, 2));
        image.done(fs);
    }
}

#[test]
fn the_kernels_tools_see_what_was_written() {
    let image = Image::new("tools", 64, KINDS[0]);
    let fs = image.mount("");
    fs.write_file("/f", bytes(100_000, 1)).unwrap();
    fs.set_fileattr("/f", 0x80 | fs.fileattr("/f").unwrap().0, 0).unwrap();
    image.done(fs);
    let out = image.path.with_extension("out");
    image.debugfs(&format!("dump /f {}", out.display()));
    assert!(std::fs::read(&out).unwrap() == bytes(100_000, 1));
    std::fs::remove_file(out).unwrap();
    assert!(image.debugfs("stat /f").contains("Flags: 0x80080"), "{}", image.debugfs("stat /f"));
    let state = Command::new("dumpe2fs").arg("-h").arg(&image.path).output().unwrap();
    let state = String::from_utf8_lossy(&state.stdout).into_owned();
    assert!(state.contains("clean") && !state.contains("needs_recovery"), "{state}");
}

#[test]
fn remounting_read_only_leaves_it_clean() {
    for options in [KINDS[0], KINDS[3], KINDS[6], KINDS[13]] {
        let image = Image::new("remount", 64, options);
        let fs = image.mount("");
        everything(&fs, options);
        fs.remount_read_only(true).unwrap();
        assert_eq!(fs.mkdir("/no", 0o755), Err(Errno::EROFS));
        image.check("read-only");
        fs.remount_read_only(false).unwrap();
        fs.mkdir("/yes", 0o755).unwrap();
        check(&fs, options);
        image.done(fs);
    }
}

#[test]
fn what_mke2fs_left_for_later_is_zeroed_first() {
    let lazy = ["-E", "nodiscard,lazy_itable_init=1", "-N", "16384"];
    for options in [KINDS[0], KINDS[1], KINDS[11], KINDS[18]] {
        let image = Image::on_garbage("lazy", 64, &[options, &lazy].concat());
        let fs = image.mount("");
        for dir in 0..12 {
            fs.mkdir(format!("/{dir}"), 0o755).unwrap();
            for n in 0..250 {
                fs.write_file(format!("/{dir}/{n}"), [1]).unwrap();
            }
            if dir == 5 {
                fs.restart().unwrap();
            }
        }
        image.done(fs);
    }
}

#[test]
fn a_terabyte_mounts_without_reading_all_of_it() {
    let image = Image::new("terabyte", 1 << 20, &["-t", "ext4", "-E", "lazy_itable_init=1,nodiscard", "-J", "size=64"]);
    let begin = std::time::Instant::now();
    let fs = image.mount("");
    println!("mounted in {:?}", begin.elapsed());
    everything(&fs, KINDS[0]);
    check(&fs, KINDS[0]);
    fs.unmount().unwrap();
    println!("all in {:?}", begin.elapsed());
    assert!(image.debugfs("stats -h").contains("clean"));
}
