// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Images made and judged by e2fsprogs.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bento_user_shim::Harness;
use rext4::Rext4;

/// An image in a file of its own, removed in the end.
pub struct Image(PathBuf);

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error} (e2fsprogs must be installed)"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

impl Image {
    /// `mke2fs` with `options` in words.
    pub fn new(name: &str, mib: u64, options: &str) -> Image {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.img", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(mib << 20).unwrap();
        let image = Image(path);
        let output = run(Command::new("mke2fs").args(["-q", "-F"]).args(options.split_whitespace()).arg(&image.0));
        assert!(output.status.success(), "mke2fs {options}: {}", text(&output));
        image
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn mount(&self) -> Harness {
        Harness::mount_image::<Rext4>(&self.0, "").unwrap_or_else(|error| panic!("{}: {error:?}", self.0.display()))
    }

    /// Runs commands of `debugfs`, one a line; what it says.
    pub fn debugfs(&self, commands: &str) -> String {
        let script = self.0.with_extension("debugfs");
        std::fs::write(&script, commands).unwrap();
        let output = run(Command::new("debugfs").arg("-w").arg("-f").arg(&script).arg(&self.0));
        std::fs::remove_file(&script).unwrap();
        text(&output)
    }

    /// `e2fsck -fn` finds nothing at all.
    pub fn check(&self) {
        let output = run(Command::new("e2fsck").args(["-f", "-n"]).arg(&self.0));
        let said = text(&output);
        assert!(output.status.success(), "e2fsck: {said}");
        for line in said.lines() {
            let expected = line.is_empty()
                || line.starts_with("e2fsck ")
                || line.starts_with("Pass ")
                || line.contains(" files (");
            assert!(expected, "e2fsck: {said}");
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Random numbers from a seed that is printed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        println!("seed {seed}");
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
