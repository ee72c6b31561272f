// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The power goes at any moment: the next mount replays the journal, `e2fsck` finds nothing, and what was promised is there.

mod common;

use bento_user_shim::{Harness, SimDisk, flags};
use common::Image;
use rext4::Rext4;

/// Options of `mke2fs`, and of the mount.
const KINDS: &[(&[&str], &str)] = &[
    (&["-t", "ext4", "-J", "size=4"], ""),
    (&["-t", "ext4", "-b", "1024", "-O", "^orphan_file", "-J", "size=1"], "discard"),
    (&["-t", "ext3", "-J", "size=4"], ""),
    (&["-t", "ext4", "-O", "orphan_file", "-J", "size=4"], "discard"),
];

fn bytes(n: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u64 * 31 + n * 7 + (at as u64 >> 8)) as u8).collect()
}

fn work(fs: &Harness, disk: &SimDisk) {
    fs.mkdir("/d", 0o755).unwrap();
    let mut held = Vec::new();
    for n in 0..60u64 {
        let path = format!("/d/{n}");
        fs.write_file(&path, bytes(n, 3000 * (n as usize % 7 + 1))).unwrap();
        if n.is_multiple_of(5) {
            fs.open(&path, flags::READ_WRITE).unwrap().fsync().unwrap();
            disk.mark(n + 1);
        }
        if n > 10 && n.is_multiple_of(3) && !(n - 9).is_multiple_of(8) {
            let gone = format!("/d/{}", n - 9);
            if n.is_multiple_of(2) {
                held.push(fs.open(&gone, flags::READ_WRITE).unwrap());
            }
            fs.unlink(&gone).unwrap();
        }
        if n.is_multiple_of(8) {
            fs.rename(&path, format!("/moved{n}")).unwrap();
        }
        if n == 30 {
            fs.write_file("/large", bytes(1, 1_500_000)).unwrap();
        }
        if n == 40 {
            fs.truncate("/large", 10_000).unwrap();
        }
        if n == 45 {
            held.clear();
        }
    }
    fs.sync().unwrap();
}

#[test]
fn whatever_a_crash_leaves_is_sound() {
    for (options, mount) in KINDS {
        let image = Image::new("crashes", 24, options);
        let disk = SimDisk::new(image.bytes());
        // Nothing mends a superblock of which only half is new.
        disk.set_sector(1024);
        let fs = Harness::mount_disk::<Rext4>(disk.clone(), mount).unwrap();
        disk.forget_history();
        work(&fs, &disk);
        fs.unmount().unwrap();
        drop(fs);
        for (n, state) in disk.crash_states(7, 1).enumerate() {
            if !n.is_multiple_of(9) {
                continue;
            }
            let after = image.with("crashed", &state.image);
            let fs = after.mount("");
            let last = state.mark;
            // It went elsewhere right after.
            if last > 0 && !(last - 1).is_multiple_of(8) {
                let n = last - 1;
                let found = fs.read_file(format!("/d/{n}"));
                assert!(found == Ok(bytes(n, 3000 * (n as usize % 7 + 1))), "{options:?}: file {n} was promised");
            }
            after.done(fs);
        }
    }
}
