// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Images with bytes changed at random, without checksums that would tell: whatever they say, nothing panics.

mod common;

use bento_user_shim::{Harness, flags};
use common::Image;
use rext4::Rext4;

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

fn walk(fs: &Harness, dir: &str, depth: u32) {
    let Ok(entries) = fs.names_in(dir) else { return };
    for name in entries.into_iter().take(40) {
        let path = format!("{dir}/{name}");
        let Ok(stat) = fs.lstat(&path) else { continue };
        let _ = fs.listxattr(&path);
        let _ = fs.readlink(&path);
        if stat.is_dir() && depth > 0 {
            walk(fs, &path, depth - 1);
        } else if stat.is_file()
            && let Ok(file) = fs.open(&path, flags::READ_WRITE)
        {
            let _ = file.read_at(0, 10_000);
            let _ = file.write_at(&[1; 100], stat.size.min(1 << 30));
            let _ = file.truncate(10);
        }
    }
}

fn torture(options: &[&str], rounds: u64, reach: u64) {
    let image = Image::new("hostile", 16, options);
    let fs = image.mount("");
    for dir in 0..4 {
        fs.mkdir(format!("/{dir}"), 0o755).unwrap();
        for n in 0..10 {
            fs.write_file(format!("/{dir}/{n}"), vec![n; 9000]).unwrap();
            fs.setxattr(format!("/{dir}/{n}"), "user.a", b"value", 0).unwrap();
        }
        fs.symlink("x".repeat(100), format!("/{dir}/link")).unwrap();
    }
    image.done(fs);
    let good = image.bytes();
    for seed in 1..=rounds {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut bytes = good.clone();
        for _ in 0..1 + dice.below(12) {
            // Where metadata are: the superblock every second time, what follows it otherwise.
            let at = if dice.below(3) == 0 { 1024 + dice.below(400) } else { 1024 + dice.below(reach) } as usize;
            bytes[at] = match dice.below(4) {
                0 => 0,
                1 => 0xff,
                2 => bytes[at] ^ 1 << dice.below(8),
                _ => dice.below(256) as u8,
            };
        }
        let bad = image.with("bad", &bytes);
        let Ok(fs) = Harness::mount_image::<Rext4>(&bad.path, "") else { continue };
        walk(&fs, "", 2);
        for n in 0..6 {
            let _ = fs.write_file(format!("/0/new{n}"), vec![1; 20_000]);
            let _ = fs.mkdir(format!("/1/dir{n}"), 0o755);
            let _ = fs.unlink(format!("/2/{n}"));
            let _ = fs.rename(format!("/3/{n}"), format!("/1/moved{n}"));
        }
        let _ = fs.sync();
        assert_eq!(fs.panics(), [], "{options:?}, seed {seed}");
        let report = fs.unmount_and_report().unwrap();
        assert_eq!(report.panics, [], "{options:?}, seed {seed}");
    }
}

#[test]
fn blocks_of_1k() {
    torture(&["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^has_journal", "-N", "256"], 150, 600_000);
}

#[test]
fn ext2() {
    torture(&["-t", "ext2", "-b", "1024", "-N", "256"], 150, 600_000);
}

#[test]
fn with_a_journal() {
    torture(&["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,orphan_file", "-N", "256"], 100, 400_000);
}
