// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is free is the device's: files that are freed with `discard`, and `FITRIM`.

mod common;

use std::os::unix::fs::MetadataExt;

use bento::errno::Errno;
use bento_user_shim::{Harness, Image as Disk};
use common::Image;
use rext4::Rext4;

const KINDS: &[&[&str]] = &[&["-t", "ext4"], &["-t", "ext4", "-b", "1024"], &["-t", "ext3"]];
const MIB: u64 = 1 << 20;

fn allocated(image: &Image) -> u64 {
    std::fs::metadata(&image.path).unwrap().blocks() * 512
}

fn bytes(n: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u64 * 31 + n * 7 + (at as u64 >> 8)) as u8 | 1).collect()
}

#[test]
fn what_is_freed_with_the_option_is_discarded() {
    for options in KINDS {
        for (mount, gives) in [("discard", true), ("", false), ("discard,nodiscard", false)] {
            let image = Image::new("discard", 64, options);
            let fs = image.mount(mount);
            fs.write_file("/kept", bytes(1, 3_000_000)).unwrap();
            fs.write_file("/gone", bytes(2, 20 << 20)).unwrap();
            fs.sync().unwrap();
            let before = allocated(&image);
            fs.unlink("/gone").unwrap();
            fs.truncate("/kept", 1_000_000).unwrap();
            fs.sync().unwrap();
            let less = before - allocated(&image).min(before);
            assert_eq!(less > 19 * MIB, gives, "{options:?}, {mount}: {less} bytes less");
            assert_eq!(fs.read_file("/kept").unwrap(), bytes(1, 3_000_000)[..1_000_000]);
            image.done(fs);
        }
    }
}

/// A disk that forgets what is discarded, and little room: whoever had a block too early would miss what he wrote.
#[test]
fn nobody_has_a_block_before_the_device_has_heard() {
    let image = Image::new("early", 24, &["-t", "ext4", "-b", "1024", "-J", "size=1", "-m", "0"]);
    let disk = Disk::new(image.bytes());
    let fs = Harness::mount_disk::<Rext4>(disk.clone(), "discard").unwrap();
    for round in 0..12u64 {
        for n in 0..8 {
            fs.write_file(format!("/{n}"), bytes(n + round, 2 << 20)).unwrap();
        }
        if round % 3 == 0 {
            assert!(fs.trim(0, u64::MAX, 0).unwrap() > 0);
        }
        for n in 0..8 {
            assert_eq!(fs.read_file(format!("/{n}")).unwrap(), bytes(n + round, 2 << 20), "round {round}");
            if (n + round) % 3 > 0 {
                fs.unlink(format!("/{n}")).unwrap();
            }
        }
    }
    fs.unmount().unwrap();
    let after = image.with("after", &disk.bytes());
    let fs = after.mount("");
    for n in (0..8).filter(|n| (n + 11) % 3 == 0) {
        assert_eq!(fs.read_file(format!("/{n}")).unwrap(), bytes(n + 11, 2 << 20));
    }
    after.done(fs);
}

#[test]
fn trim_gives_back_what_is_free() {
    for options in KINDS {
        let image = Image::on_garbage("trim", 64, &[*options, &["-E", "nodiscard"]].concat());
        let fs = image.mount("");
        fs.write_file("/kept", bytes(1, 3_000_000)).unwrap();
        for n in 0..50 {
            fs.write_file(format!("/{n}"), bytes(n, 300_000)).unwrap();
        }
        for n in 0..50 {
            fs.unlink(format!("/{n}")).unwrap();
        }
        fs.sync().unwrap();
        let (before, free) = (allocated(&image), fs.statfs().unwrap());
        let free = free.blocks_free * u64::from(free.block_size);
        let trimmed = fs.trim(0, u64::MAX, 0).unwrap();
        // What is kept back for metadata is free as well.
        assert!(trimmed >= free && trimmed < 64 * MIB, "{options:?}: {trimmed} of {free}");
        let less = before - allocated(&image);
        assert!(less > trimmed * 9 / 10, "{options:?}: {trimmed} trimmed, {less} less");
        // It is free for whoever comes next.
        fs.write_file("/more", bytes(3, (free - 4 * MIB) as usize)).unwrap();
        fs.sync().unwrap();
        assert_eq!(fs.read_file("/kept").unwrap(), bytes(1, 3_000_000));
        assert!(fs.read_file("/more").unwrap() == bytes(3, (free - 4 * MIB) as usize));
        image.done(fs);
    }
}

#[test]
fn trim_keeps_to_its_range_and_its_least_length() {
    let image = Image::new("range", 64, &["-t", "ext4", "-b", "1024"]);
    let fs = image.mount("");
    let all = fs.trim(0, u64::MAX, 0).unwrap();
    let halves = fs.trim(0, 32 * MIB, 0).unwrap() + fs.trim(32 * MIB, 32 * MIB, 0).unwrap();
    assert_eq!(all, halves);
    assert!(fs.trim(32 * MIB, MIB, 0).unwrap() <= MIB);
    // Every second of many small files goes: such runs are too short for it.
    for n in 0..1000 {
        fs.write_file(format!("/{n}"), [1; 3000]).unwrap();
    }
    fs.sync().unwrap();
    let before = fs.trim(0, u64::MAX, 64 << 10).unwrap();
    for n in (0..1000).step_by(2) {
        fs.unlink(format!("/{n}")).unwrap();
    }
    fs.sync().unwrap();
    let (long, every) = (fs.trim(0, u64::MAX, 64 << 10).unwrap(), fs.trim(0, u64::MAX, 0).unwrap());
    assert!(long <= before + 200_000 && every >= long + 1_000_000, "{before}, {long}, {every}");
    assert_eq!(fs.trim(1 << 40, MIB, 0), Err(Errno::EINVAL), "behind the end");
    assert_eq!(fs.trim(0, 100, 0), Err(Errno::EINVAL), "less than a block");
    assert_eq!(fs.trim(0, u64::MAX, 1 << 40), Err(Errno::EINVAL), "longer than any run");
    image.done(fs);
    let fs = image.mount_read_only();
    assert_eq!(fs.trim(0, u64::MAX, 0), Err(Errno::EROFS));
    image.done(fs);
}

#[test]
fn without_a_journal_it_is_refused() {
    let image = Image::new("none", 16, &["-t", "ext2"]);
    let error = Harness::mount_image::<Rext4>(&image.path, "discard").expect_err("it was mounted");
    assert!(error.reason.is_some_and(|reason| reason.contains("discard needs a journal")));
    let fs = image.mount("");
    assert_eq!(fs.trim(0, u64::MAX, 0), Err(Errno::EOPNOTSUPP));
    image.done(fs);
}
