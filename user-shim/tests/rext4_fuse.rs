// SPDX-License-Identifier: GPL-2.0 OR MIT
//! rext4 over FUSE, on images of mke2fs and judged by e2fsck: needs root (or fusermount3), /dev/fuse and e2fsprogs.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bento_user_shim::fuse::{Mounted, Options};
use rext4::Rext4;

struct Place {
    path: PathBuf,
    image: PathBuf,
    mounted: Option<Mounted>,
}

fn e2fsprogs(program: &str, arguments: &[&str]) -> (i32, String) {
    let path = format!("{}:/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

impl Place {
    fn new(name: &str, mke2fs: &[&str]) -> Place {
        let path = std::env::temp_dir().join(format!("bento-rext4-{name}-{}", std::process::id()));
        let image = path.with_extension("img");
        fs::create_dir_all(&path).unwrap();
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let image_name = image.to_str().unwrap();
        let arguments: Vec<&str> =
            ["-q", "-F", "-t", "ext4"].iter().chain(mke2fs).copied().chain([image_name]).collect();
        let (code, text) = e2fsprogs("mke2fs", &arguments);
        assert_eq!(code, 0, "{text}");
        let mut place = Place { path, image, mounted: None };
        place.mount("");
        place
    }

    fn mount(&mut self, options: &str) {
        let opts = Options { signals: false, ..Options::default() };
        self.mounted = Some(Mounted::start_on::<Rext4>(&self.image, &self.path, options, &opts).unwrap());
    }

    /// Unmounts; nothing was complained of, and e2fsck finds nothing either.
    fn unmount(&mut self) {
        let mounted = self.mounted.take().unwrap();
        let (panics, log) = (mounted.panics(), mounted.log());
        mounted.unmount().unwrap();
        assert!(panics.is_empty(), "{panics:?}");
        let image = self.image.to_str().unwrap();
        let (code, text) = e2fsprogs("e2fsck", &["-fn", image]);
        assert_eq!(code, 0, "{text}\n{log:#?}");
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.mounted.is_some() && !std::thread::panicking() {
            self.unmount();
        }
        self.mounted = None;
        let _ = fs::remove_dir(&self.path);
        let _ = fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A tree with large, small, empty and sparse files.
fn plant(root: &Path) {
    for n in 0..300usize {
        let dir = root.join(format!("d{}", n % 7)).join(format!("e{}", n % 3));
        fs::create_dir_all(&dir).unwrap();
        let bytes: Vec<u8> = (0..n * n * 3).map(|at| (at * 13 + n) as u8).collect();
        fs::write(dir.join(format!("file {n}")), bytes).unwrap();
        symlink("x".repeat(1 + n), dir.join(format!("link {n}"))).unwrap();
    }
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"far", 1 << 27).unwrap();
    fs::hard_link(root.join("sparse"), root.join("d1/another")).unwrap();
}

fn a_copied_tree(name: &str, mke2fs: &[&str]) {
    let source = std::env::temp_dir().join(format!("bento-rext4-source-{name}-{}", std::process::id()));
    fs::create_dir_all(&source).unwrap();
    plant(&source);
    let mut place = Place::new(name, mke2fs);
    run(Command::new("cp").arg("-a").arg(&source).arg(place.at("copy")));
    let same = |place: &Place, copy: &str| {
        run(Command::new("diff").args(["-r", "--no-dereference"]).arg(&source).arg(place.at(copy)))
    };
    same(&place, "copy");
    place.unmount();
    place.mount("ro");
    same(&place, "copy");
    let (mine, theirs) = (fs::metadata(source.join("sparse")).unwrap(), fs::metadata(place.at("copy/sparse")).unwrap());
    assert_eq!((mine.mtime(), mine.mtime_nsec(), mine.nlink()), (theirs.mtime(), theirs.mtime_nsec(), theirs.nlink()));
    assert!(theirs.blocks() < 100);
    place.unmount();
    place.mount("");
    fs::rename(place.at("copy"), place.at("moved")).unwrap();
    run(Command::new("cp").arg("-a").arg(place.at("moved/d2")).arg(place.at("again")));
    fs::remove_dir_all(place.at("again")).unwrap();
    same(&place, "moved");
    place.unmount();
    place.mount("");
    fs::remove_dir_all(place.at("moved")).unwrap();
    assert_eq!(fs::read_dir(&place.path).unwrap().count(), 1);
    place.unmount();
    fs::remove_dir_all(&source).unwrap();
}

#[test]
fn a_tree_on_blocks_of_4_kib() {
    a_copied_tree("4k", &["-b", "4096"]);
}

#[test]
fn a_tree_on_blocks_of_1_kib() {
    a_copied_tree("1k", &["-b", "1024"]);
}

/// The image with these bytes at `offset` of its superblock.
fn patch(image: &Path, offset: u64, value: &[u8]) {
    let file = fs::File::options().write(true).open(image).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, value, 1024 + offset).unwrap();
}

#[test]
fn what_is_refused_says_why() {
    let mut place = Place::new("refused", &["-b", "1024", "-O", "^metadata_csum"]);
    place.unmount();
    let sound = fs::read(&place.image).unwrap();
    let opts = Options { signals: false, ..Options::default() };
    let refused = |options: &str| {
        let error = Mounted::start_on::<Rext4>(&place.image, &place.path, options, &opts).unwrap_err();
        error.to_string()
    };
    for (offset, value, words) in [
        (0x38, &[0, 0][..], &["no ext2, ext3 or ext4 superblock", "byte 1024", "e2fsck"][..]),
        (0x18, &[7], &["block size of 2^17 bytes", "e2fsck"]),
        (0x61, &[0x82], &["feature 0x8000 (inline_data) is not supported"]),
        (0x63, &[4], &["feature 0x4000000 (unknown) is not supported"]),
        (0x04, &[0, 0, 8, 0], &["524288 blocks of 1024 bytes, but the device has only 262144"]),
    ] {
        patch(&place.image, offset, value);
        let said = refused("");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        fs::write(&place.image, &sound).unwrap();
    }
    for (option, word) in
        [("nonsense", "nonsense"), ("errors=never", "errors= is continue"), ("data=journal", "ordered")]
    {
        let said = refused(option);
        assert!(said.contains(word), "{option}: {said}");
    }
}

#[test]
fn what_cannot_be_written_is_mounted_read_only() {
    let mut place = Place::new("unwritable", &["-b", "1024", "-O", "^metadata_csum"]);
    place.unmount();
    // `verity`, beside what is there.
    let old = fs::read(&place.image).unwrap()[1024 + 0x65];
    patch(&place.image, 0x65, &[old | 0x80]);
    place.mount("");
    let log = place.mounted.as_ref().unwrap().log().join("\n");
    assert!(log.contains("feature 0x8000 (verity) cannot be written to"), "{log}");
    let error = fs::create_dir(place.at("d")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    assert!(place.at("lost+found").exists());
    place.unmount();
}

#[test]
fn a_journal_is_replayed_before_a_mount_that_only_reads() {
    let mut place = Place::new("replayed", &["-b", "1024"]);
    fs::write(place.at("name"), "bytes").unwrap();
    fs::File::open(place.at("name")).unwrap().sync_all().unwrap();
    // As a crash would leave it: a copy made while it is mounted.
    let crashed = fs::read(&place.image).unwrap();
    place.unmount();
    fs::write(&place.image, crashed).unwrap();
    place.mount("ro");
    assert_eq!(fs::read_to_string(place.at("name")).unwrap(), "bytes");
    assert_eq!(fs::create_dir(place.at("d")).unwrap_err().raw_os_error(), Some(libc::EROFS));
    // Another reader may share it, a writer not.
    let opts = Options { signals: false, ..Options::default() };
    let beside = place.path.with_extension("beside");
    fs::create_dir_all(&beside).unwrap();
    let refused = Mounted::start_on::<Rext4>(&place.image, &beside, "", &opts).unwrap_err();
    assert!(refused.to_string().contains("is mounted already"), "{refused}");
    let reader = Mounted::start_on::<Rext4>(&place.image, &beside, "ro", &opts).unwrap();
    assert_eq!(fs::read_to_string(beside.join("name")).unwrap(), "bytes");
    reader.unmount().unwrap();
    fs::remove_dir(&beside).unwrap();
    place.unmount();
}
