// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What cannot be mounted, or only read, says what is wrong, where, and what to do.

mod common;

use bento::errno::Errno;
use bento_user_shim::Harness;
use common::Image;
use rext4::Rext4;

const SUMMED: &[&str] = &["-t", "ext4", "-b", "1024", "-J", "size=1"];
/// Without checksums, any byte can be changed.
const PLAIN: &[&str] = &["-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "^metadata_csum"];

fn image(options: &[&str]) -> Image {
    Image::new("refusals", 16, options)
}

/// The image with other bytes at `offset` of its superblock.
fn with(image: &Image, offset: usize, value: &[u8]) -> Image {
    let mut bytes = image.bytes();
    bytes[1024 + offset..][..value.len()].copy_from_slice(value);
    image.with("changed", &bytes)
}

/// Why it is not mounted: each of `words` is in what is said.
fn refused(image: &Image, options: &str, words: &[&str]) {
    let error = Harness::mount_image::<Rext4>(&image.path, options).expect_err(&format!("{words:?}"));
    let reason = error.reason.unwrap_or_default();
    for word in words {
        assert!(reason.contains(word), "{options} {words:?}: {reason}");
    }
    // Whoever asked is told, and nothing of it stays: the same again.
    assert!(Harness::mount_image::<Rext4>(&image.path, options).is_err());
}

#[test]
fn a_bad_superblock() {
    let (summed, plain) = (image(SUMMED), image(PLAIN));
    refused(&with(&plain, 0x38, &[0, 0]), "", &["no ext2, ext3 or ext4 superblock", "byte 1024", "e2fsck"]);
    refused(&with(&summed, 0x78, b"x"), "", &["superblock", "checksum is wrong", "e2fsck"]);
    refused(&with(&plain, 0x18, &[7]), "", &["superblock", "block size of 2^17 bytes", "e2fsck"]);
    refused(&with(&plain, 0x58, &[99, 0]), "", &["superblock", "inode size of 99 bytes", "e2fsck"]);
    refused(&with(&plain, 0x28, &[0; 4]), "", &["superblock", "0 inodes in a group", "e2fsck"]);
    refused(&with(&plain, 0x20, &[1, 0, 0, 0]), "", &["superblock", "1 blocks in a group", "e2fsck"]);
}

#[test]
fn a_block_size_that_is_not_supported() {
    let image = Image::new("refusals", 64, &["-t", "ext4", "-b", "65536", "-O", "^has_journal"]);
    refused(&image, "", &["blocks of 65536 bytes are not supported"]);
}

#[test]
fn an_image_that_was_cut_short() {
    let whole = image(SUMMED);
    let short = whole.with("short", &whole.bytes()[..12 << 20]);
    refused(&short, "", &["16384 blocks of 1024 bytes", "the device has only 12288", "resize2fs"]);
    let nothing = whole.with("nothing", &whole.bytes()[..1024]);
    assert!(Harness::mount_image::<Rext4>(&nothing.path, "").is_err());
}

#[test]
fn features_by_name() {
    let image = image(PLAIN);
    let incompat = |bit: u32| {
        let old = image.bytes()[1024 + 0x60..][..4].try_into().map(u32::from_le_bytes).unwrap();
        with(&image, 0x60, &(old | bit).to_le_bytes())
    };
    refused(&incompat(0x8000), "", &["feature 0x8000 (inline_data) is not supported"]);
    refused(&incompat(0x400_0000), "", &["feature 0x4000000 (unknown) is not supported"]);
    assert!(Harness::mount_device_read_only::<Rext4>(&incompat(0x400_0000).path, "").is_err());
}

#[test]
fn features_that_keep_it_from_being_written() {
    let image = image(PLAIN);
    let old = image.bytes()[1024 + 0x64..][..4].try_into().map(u32::from_le_bytes).unwrap();
    for (bit, name) in [(0x100, "quota"), (0x8000, "verity"), (0x100_0000, "unknown")] {
        let image = with(&image, 0x64, &(old | bit).to_le_bytes());
        let before = image.bytes();
        let fs = image.mount("");
        let said = fs.log().join("\n");
        assert!(said.contains(&format!("feature {bit:#x} ({name}) cannot be written to")), "{said}");
        assert!(fs.exists("/lost+found"));
        assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EROFS), "{name}");
        assert_eq!(fs.remount_read_only(false), Err(Errno::EROFS), "{name}");
        assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EROFS), "{name}");
        fs.restart().unwrap();
        assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EROFS), "{name}");
        fs.unmount().unwrap();
        // The superblock of the journal is not the file system's.
        assert!(before[..8192] == image.bytes()[..8192], "{name}");
    }
}

#[test]
fn journals_that_cannot_be_replayed() {
    let image = Image::new("refusals", 16, &["-t", "ext4", "-b", "1024", "-J", "size=4", "-O", "fast_commit"]);
    let fs = image.mount("");
    fs.mkdir("/d", 0o755).unwrap();
    image.done(fs);
    let dirty = image.with("dirty", &image.bytes());
    dirty.change("jo -c\njw -b 300 /dev/null\njc\n");
    refused(&dirty, "", &["recovery", "fast commits", "e2fsck"]);
    let plain = self::image(PLAIN);
    let old = plain.bytes()[1024 + 0x60..][..4].try_into().map(u32::from_le_bytes).unwrap();
    let dirty = with(&plain, 0x60, &(old | 4).to_le_bytes());
    refused(&dirty, "noload", &["recovery", "noload", "-o ro"]);
    dirty.change("jo\njw -b 300 /dev/null\njc\n");
    let error = Harness::mount_device_read_only::<Rext4>(&dirty.path, "").unwrap_err().to_string();
    assert!(error.contains("needs recovery") && error.contains("-o ro,noload"), "{error}");
    let fs = Harness::mount_device_read_only::<Rext4>(&dirty.path, "noload").unwrap();
    fs.unmount().unwrap();
    // One that is nowhere.
    refused(&with(&plain, 0xe0, &[0; 4]), "", &["journal on another device", "ro,noload"]);
    refused(&with(&plain, 0xe0, &[99]), "", &["journal (inode 99)"]);
}

#[test]
fn options() {
    let image = image(SUMMED);
    for (options, words) in [
        ("nonsense", &["nonsense"][..]),
        ("errors=never", &["errors=", "continue, remount-ro or panic"]),
        ("data=journal", &["data=", "ordered"]),
        ("commit=soon", &["commit"]),
        ("sb=x", &["sb"]),
        ("sb=5", &["no ext2, ext3 or ext4 superblock", "byte 5120"]),
        ("barrier=2", &["barrier", "0 or 1"]),
        ("auto_da_alloc=2", &["auto_da_alloc", "0 or 1"]),
        ("discard=1", &["discard"]),
    ] {
        refused(&image, options, words);
    }
    image.done(image.mount("errors=remount-ro,commit=5,barrier=1"));
    for options in ["auto_da_alloc", "auto_da_alloc=0", "noauto_da_alloc"] {
        let fs = image.mount(options);
        fs.remount("auto_da_alloc=1").unwrap();
        image.done(fs);
    }
}

#[test]
fn a_remount_without_options_leaves_them() {
    let image = image(SUMMED);
    let fs = image.mount("minixdf,commit=3600");
    let blocks = fs.statfs().unwrap().blocks;
    fs.remount_read_only(true).unwrap();
    fs.remount_read_only(false).unwrap();
    assert_eq!(fs.statfs().unwrap().blocks, blocks);
    fs.remount("commit=1").unwrap();
    assert!(fs.statfs().unwrap().blocks < blocks);
    // That commits soon, which would have taken an hour; nobody syncs.
    fs.mkdir("/d", 0o755).unwrap();
    let crashed = || image.with("crashed", &image.bytes()).mount("").exists("/d");
    let mut looked = 0;
    while !crashed() {
        looked += 1;
        assert!(looked < 600, "it does not commit");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    image.done(fs);
}

/// The copy of the superblock in the second group will do.
#[test]
fn another_superblock() {
    let image = image(SUMMED);
    let bad = with(&image, 0x38, &[0, 0]);
    refused(&bad, "", &["sb="]);
    let fs = Harness::mount_device_read_only::<Rext4>(&bad.path, "sb=8193").unwrap();
    assert!(fs.exists("/lost+found"));
    fs.unmount().unwrap();
}
