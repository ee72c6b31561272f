// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Images and their judge.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bento_user_shim::Harness;
use rext4::Rext4;

/// Options of `mke2fs` for each shape of the format that differs.
pub const KINDS: &[&[&str]] = &[
    &["-t", "ext4"],
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "2048"],
    &["-t", "ext2"],
    &["-t", "ext2", "-b", "1024", "-I", "128"],
    &["-t", "ext2", "-r", "0"],
    &["-t", "ext3"],
    &["-t", "ext3", "-b", "1024", "-O", "^dir_index"],
    &["-t", "ext4", "-O", "^has_journal"],
    &["-t", "ext4", "-O", "^64bit"],
    &["-t", "ext4", "-O", "^metadata_csum"],
    &["-t", "ext4", "-O", "^metadata_csum,uninit_bg"],
    &["-t", "ext4", "-O", "^metadata_csum,uninit_bg,^64bit"],
    &["-t", "ext4", "-O", "orphan_file"],
    &["-t", "ext4", "-O", "^orphan_file"],
    &["-t", "ext4", "-O", "metadata_csum_seed,orphan_file"],
    &["-t", "ext4", "-I", "128"],
    &["-t", "ext4", "-I", "512"],
    &["-t", "ext4", "-O", "^flex_bg", "-g", "8192"],
    &["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024"],
    &["-t", "ext4", "-O", "sparse_super2", "-b", "1024"],
    &["-t", "ext4", "-O", "project"],
    &["-t", "ext4", "-O", "^sparse_super,^resize_inode,^huge_file,^extra_isize,^dir_nlink"],
    &["-t", "ext4", "-O", "^extent,^64bit"],
];

/// An image file that goes away with it.
pub struct Image {
    pub path: PathBuf,
    what: String,
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

impl Image {
    /// `size` is in MiB.
    pub fn new(name: &str, size: u64, options: &[&str]) -> Image {
        Image::filled(name, size, options, None)
    }

    /// With a copy of what is in the directory `from`.
    pub fn filled(name: &str, size: u64, options: &[&str], from: Option<&Path>) -> Image {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("rext4-{name}-{}-{number}.img", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::File::create(&path).unwrap().set_len(size << 20).unwrap();
        let mut command = Command::new("mke2fs");
        command.args(["-q", "-F"]).args(options);
        if let Some(from) = from {
            command.arg("-d").arg(from);
        }
        let (code, text) = run(command.arg(&path));
        assert_eq!(code, Some(0), "mke2fs {options:?}: {text}");
        Image { path, what: format!("{options:?}") }
    }

    pub fn mount(&self, options: &str) -> Harness {
        Harness::mount_image::<Rext4>(&self.path, options).unwrap_or_else(|error| panic!("{}: {error:?}", self.what))
    }

    /// On a device full of what must not be taken for anything.
    pub fn on_garbage(name: &str, size: usize, options: &[&str]) -> Image {
        let image = Image::new(name, 1, &["-t", "ext2"]);
        fs::write(&image.path, vec![0xaa; size << 20]).unwrap();
        let (code, text) = run(Command::new("mke2fs").args(["-q", "-F"]).args(options).arg(&image.path));
        assert_eq!(code, Some(0), "mke2fs {options:?}: {text}");
        image
    }

    /// The same image with other bytes.
    pub fn with(&self, name: &str, bytes: &[u8]) -> Image {
        let path = self.path.with_extension(name);
        fs::write(&path, bytes).unwrap();
        Image { path, what: format!("{} {name}", self.what) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    pub fn mount_read_only(&self) -> Harness {
        Harness::mount_device_read_only::<Rext4>(&self.path, "")
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.what))
    }

    /// Unmounts, and lets the judge speak.
    pub fn done(&self, fs: Harness) {
        let log = fs.log();
        let report = fs.unmount_and_report().unwrap();
        assert_eq!(report.panics, [], "{}", self.what);
        assert_eq!(report.leaked_inodes, 0, "{}", self.what);
        self.check(&format!("{log:#?}"));
    }

    pub fn check(&self, log: &str) {
        let (code, text) = run(Command::new("e2fsck").args(["-f", "-n"]).arg(&self.path));
        assert_eq!(code, Some(0), "{}: {text}\n{log}", self.what);
    }

    /// Has `debugfs` change it, by commands in lines.
    pub fn change(&self, commands: &str) {
        let script = self.path.with_extension("commands");
        fs::write(&script, commands).unwrap();
        let (code, text) = run(Command::new("debugfs").arg("-w").arg("-f").arg(&script).arg(&self.path));
        fs::remove_file(&script).unwrap();
        assert_eq!(code, Some(0), "{}: {text}", self.what);
    }

    /// What `debugfs` says to a command.
    pub fn debugfs(&self, command: &str) -> String {
        run(Command::new("debugfs").args(["-R", command]).arg(&self.path)).1
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
