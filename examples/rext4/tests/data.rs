// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Contents of files against a model: writes, truncation and every mode of `fallocate`, in files that grow in turn; trees
//! that others made; trees of several levels.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bento::errno::Errno;
use bento::fs::Extent;
use bento_user_shim::{File, Harness, flags};
use common::Image;

const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2 | KEEP_SIZE;
const COLLAPSE: i32 = 8;
const ZERO: i32 = 16;
const INSERT: i32 = 32;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let seed = self.below(255) as u8 + 1;
        (0..len).map(|at| (at as u8).wrapping_mul(31) ^ seed | 1).collect()
    }
}

fn open(fs: &Harness, name: &str) -> File {
    fs.open(name, flags::READ_WRITE).unwrap()
}

/// The same, to the model and to the file.
fn change(file: &File, model: &mut Vec<u8>, random: &mut Random, block: u64, span: u64) -> Result<(), Errno> {
    let size = model.len() as u64;
    let small = random.below(3) > 0;
    let at = random.below(span);
    let len = 1 + random.below(if small { 3 * block } else { 40 * block });
    let whole = |at: u64| at / block * block;
    match random.below(16) {
        0..6 => {
            let bytes = random.bytes(len as usize);
            let done = file.write_at(&bytes, at)?;
            model.resize(model.len().max(at as usize + done), 0);
            model[at as usize..at as usize + done].copy_from_slice(&bytes[..done]);
        }
        6 => {
            file.truncate(at)?;
            model.resize(at as usize, 0);
        }
        7 => {
            let to = if random.below(2) == 0 { size.saturating_sub(len) } else { size + len };
            file.truncate(to)?;
            model.resize(to as usize, 0);
        }
        8 | 9 => {
            file.fallocate(PUNCH_HOLE, at, len)?;
            let (from, to) = (at.min(size) as usize, (at + len).min(size) as usize);
            model[from..to].fill(0);
        }
        10 => {
            file.fallocate(0, at, len)?;
            model.resize(model.len().max((at + len) as usize), 0);
        }
        11 => file.fallocate(KEEP_SIZE, at, len)?,
        12 => {
            let keep = random.below(2) == 0;
            file.fallocate(if keep { ZERO | KEEP_SIZE } else { ZERO }, at, len)?;
            if !keep {
                model.resize(model.len().max((at + len) as usize), 0);
            }
            let size = model.len() as u64;
            let (from, to) = (at.min(size) as usize, (at + len).min(size) as usize);
            model[from..to].fill(0);
        }
        13 => {
            let (from, to) = (whole(at), whole(at) + whole(len) + block);
            if to >= size {
                assert_eq!(file.fallocate(COLLAPSE, from, to - from), Err(Errno::EINVAL));
                return Ok(());
            }
            file.fallocate(COLLAPSE, from, to - from)?;
            model.drain(from as usize..to as usize);
        }
        14 => {
            let (from, by) = (whole(at), whole(len) + block);
            if from >= size {
                assert_eq!(file.fallocate(INSERT, from, by), Err(Errno::EINVAL));
                return Ok(());
            }
            file.fallocate(INSERT, from, by)?;
            let tail = model.split_off(from as usize);
            model.resize(model.len() + by as usize, 0);
            model.extend(tail);
        }
        _ => file.fsync()?,
    }
    Ok(())
}

fn same(read: &[u8], model: &[u8], what: &str) {
    let first = read.iter().zip(model).position(|(a, b)| a != b);
    assert!(read == model, "{what}: {} bytes for {}, the first that differs: {first:?}", read.len(), model.len());
}

fn storm(name: &str, options: &[&str], block: u64, seed: u64, rounds: u32, extents: bool) {
    let image = Image::new(name, 64, options);
    let mut random = Random(seed);
    let mut models: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for round in 0..rounds {
        let fs = image.mount("");
        if round == 0 {
            for file in 0..4 {
                let name = format!("/f{file}");
                fs.create(&name, 0o644).unwrap();
                models.insert(name, Vec::new());
            }
        }
        for (name, model) in &models {
            same(&fs.read_file(name).unwrap(), model, &format!("{options:?} round {round}, {name}"));
        }
        for step in 0..160 {
            let name = format!("/f{}", random.below(4));
            let model = models.get_mut(&name).unwrap();
            match change(&open(&fs, &name), model, &mut random, block, 300 * block) {
                Ok(()) => {}
                Err(Errno::EOPNOTSUPP) if !extents => {}
                Err(error) => panic!("{options:?} round {round}, step {step}: {error:?} {:?}", fs.log()),
            }
            if step % 20 == 0 {
                fs.sync().unwrap();
                fs.drop_caches().unwrap();
            }
            if step % 8 == 0 {
                same(&fs.read_file(&name).unwrap(), model, &format!("{options:?} round {round}, step {step}, {name}"));
            }
        }
        for (name, model) in &models {
            same(&fs.read_file(name).unwrap(), model, &format!("{options:?} round {round}, {name}"));
        }
        image.done(fs);
    }
    let fs = image.mount("");
    let used = fs.statfs().unwrap().blocks_free;
    models.keys().for_each(|name| fs.unlink(name).unwrap());
    fs.sync().unwrap();
    assert!(fs.statfs().unwrap().blocks_free > used);
    image.done(fs);
}

#[test]
fn contents_are_what_was_written_ext4() {
    storm("data4k", &["-t", "ext4", "-b", "4096"], 4096, 0x1357, 4, true);
}

#[test]
fn contents_are_what_was_written_ext4_1k() {
    storm("data1k", &["-t", "ext4", "-b", "1024"], 1024, 0x2468, 6, true);
}

#[test]
fn contents_are_what_was_written_ext3() {
    storm("data3", &["-t", "ext3", "-b", "1024"], 1024, 0x9876, 5, false);
}

#[test]
fn contents_are_what_was_written_ext2() {
    storm("data2", &["-t", "ext2", "-b", "4096"], 4096, 0xabcd, 3, false);
}

/// Every other block of a file: as many extents as there are, and the tree is deep.
fn every_other(name: &str, options: &[&str], count: u64, deep: bool) {
    const BLOCK: u64 = 1024;
    let image = Image::new(name, 64, options);
    let fs = image.mount("");
    let before = fs.statfs().unwrap().blocks_free;
    let file = fs.create("/f", 0o644).unwrap();
    for at in 0..count {
        file.write_at(&at.to_le_bytes(), at * 2 * BLOCK).unwrap();
    }
    // What is left in between comes last, from the end.
    drop(file);
    image.done(fs);
    if deep {
        let stat = image.debugfs("ex /f");
        assert!(stat.contains(" 2/ 2"), "{}", stat.lines().take(3).collect::<Vec<_>>().join("\n"));
    }
    let fs = image.mount("");
    let file = open(&fs, "/f");
    let blocks = file.stat().unwrap().blocks;
    assert!(blocks >= count * BLOCK / 512 && blocks < count * BLOCK / 512 * 11 / 10, "{blocks}");
    let extents = file.extents().unwrap();
    assert!(matches!(extents[1], Extent::Hole { offset: BLOCK, len: BLOCK }), "{:?}", &extents[..3]);
    assert_eq!(extents.len() as u64, count * 2 - 1);
    for at in (0..count).rev() {
        assert_eq!(file.read_at(at * 2 * BLOCK, 8).unwrap(), at.to_le_bytes());
        file.write_at(&(!at).to_le_bytes(), (at * 2 + 1) * BLOCK).unwrap();
    }
    for at in 0..count {
        assert_eq!(file.read_at(at * 2 * BLOCK, 8).unwrap(), at.to_le_bytes());
        assert_eq!(file.read_at((at * 2 + 1) * BLOCK, 8).unwrap(), (!at).to_le_bytes());
    }
    drop(file);
    image.done(fs);
    let fs = image.mount("");
    let file = open(&fs, "/f");
    for at in (0..count).step_by(3) {
        file.fallocate(PUNCH_HOLE, at * 2 * BLOCK, BLOCK).unwrap();
    }
    drop(file);
    image.done(fs);
    let fs = image.mount("");
    fs.truncate("/f", count * BLOCK + 5).unwrap();
    image.done(fs);
    let fs = image.mount("");
    fs.truncate("/f", 0).unwrap();
    assert_eq!(fs.stat("/f").unwrap().blocks, 0);
    fs.sync().unwrap();
    assert_eq!(fs.statfs().unwrap().blocks_free, before);
    image.done(fs);
}

#[test]
fn thousands_of_extents() {
    every_other("every", &["-t", "ext4", "-b", "1024"], 9000, true);
}

#[test]
fn thousands_of_holes_between_indirect_blocks() {
    every_other("every3", &["-t", "ext3", "-b", "1024"], 9000, false);
}

/// A file with holes, through all indirections that are made of 1 KiB.
fn sparse(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let file = fs::File::create(path).unwrap();
    let mut random = Random(4711);
    let mut pieces: Vec<_> =
        (0..400).map(|piece| (piece * 24 * 4096, random.bytes(4096 * (1 + piece as usize % 5)))).collect();
    pieces.push((300 << 20, random.bytes(10_000)));
    for (at, bytes) in &pieces {
        file.write_all_at(bytes, *at).unwrap();
    }
    pieces
}

#[test]
fn trees_that_others_made() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rext4-sparse-{}", std::process::id()));
    fs::create_dir_all(&root).unwrap();
    let pieces = sparse(&root.join("sparse"));
    for options in [&["-t", "ext4"][..], &["-t", "ext4", "-b", "1024"], &["-t", "ext3", "-b", "1024"], &["-t", "ext2"]]
    {
        let image = Image::filled("others", 64, options, Some(&root));
        let fs = image.mount("");
        let file = open(&fs, "/sparse");
        for (at, bytes) in &pieces {
            same(&file.read_at(*at, bytes.len()).unwrap(), bytes, &format!("{options:?} at {at}"));
            assert_eq!(
                file.read_at(at + 23 * 4096, 16).unwrap(),
                if *at < 300 << 20 { vec![0; 16] } else { Vec::new() }
            );
        }
        file.write_at(b"new", 7 * 4096).unwrap();
        file.truncate(200 << 20).unwrap();
        file.write_at(b"end", (250 << 20) + 1).unwrap();
        drop(file);
        image.done(fs);
        let there = image.debugfs("dump_extents /sparse");
        assert!(!there.contains("Invalid"), "{there}");
        let fs = image.mount("");
        fs.unlink("/sparse").unwrap();
        image.done(fs);
    }
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn files_that_grow_in_turn_stay_in_one_piece() {
    let image = Image::new("turns", 256, &["-t", "ext4"]);
    let fs = image.mount("");
    let files: Vec<_> = (0..8).map(|file| fs.create(format!("/f{file}"), 0o644).unwrap()).collect();
    for turn in 0..64u64 {
        for file in &files {
            file.write_at(&[turn as u8; 16384], turn * 16384).unwrap();
            file.fsync().unwrap();
        }
    }
    let pieces: usize = files.iter().map(|file| file.extents().unwrap().len()).sum();
    println!("{pieces} extents in 8 files of 1 MiB");
    assert!(pieces <= 8 * 6, "{pieces} extents in 8 files");
    drop(files);
    image.done(fs);
}

#[test]
fn sizes_that_no_map_can_hold_are_refused() {
    for (options, most) in [
        (&["-t", "ext4", "-b", "4096"][..], u64::from(u32::MAX) * 4096),
        (&["-t", "ext3", "-b", "1024"], 16843020 * 1024),
    ] {
        let image = Image::new("sizes", 64, options);
        let fs = image.mount("");
        let file = fs.create("/f", 0o644).unwrap();
        assert_eq!(file.truncate(most + 1), Err(Errno::EFBIG));
        file.truncate(most).unwrap();
        file.write_at(b"x", most - 1).unwrap();
        assert_eq!(file.read_at(most - 1, 9).unwrap(), b"x");
        assert_eq!(file.fallocate(0, most - 10, 100), Err(Errno::EFBIG));
        file.truncate(0).unwrap();
        drop(file);
        image.done(fs);
    }
}

#[test]
fn space_that_runs_out_leaves_what_was_done() {
    let image = Image::new("space", 16, &["-t", "ext4", "-b", "1024", "-m", "0"]);
    let fs = image.mount("");
    let file = fs.create("/f", 0o644).unwrap();
    assert_eq!(file.fallocate(0, 0, 1 << 30), Err(Errno::ENOSPC));
    let size = file.stat().unwrap().size;
    assert!(size > 8 << 20, "{size}");
    assert_eq!(file.read_at(size - 10, 10).unwrap(), [0; 10]);
    file.truncate(100).unwrap();
    file.write_at(&[7; 1 << 20], 0).unwrap();
    drop(file);
    image.done(fs);
}

/// Groups that are full are passed over, until an inode of one is free again.
#[test]
fn all_inodes_and_the_one_that_came_back() {
    let image = Image::new("inodes", 16, &["-t", "ext4", "-b", "1024", "-g", "4096", "-N", "256"]);
    let fs = image.mount("");
    let mut made = Vec::new();
    let errno = loop {
        match fs.mknod(format!("/f{}", made.len()), 0o100644, (0, 0)) {
            Ok(_) => made.push(fs.stat(format!("/f{}", made.len())).unwrap().ino),
            Err(errno) => break errno,
        }
    };
    assert_eq!(errno, Errno::ENOSPC);
    let free = fs.statfs().unwrap().files_free;
    assert_eq!(free, 0, "after {}", made.len());
    for n in [7, made.len() - 1, 0, 7] {
        fs.unlink(format!("/f{n}")).unwrap();
        fs.mknod(format!("/f{n}"), 0o100644, (0, 0)).unwrap();
        assert_eq!(fs.stat(format!("/f{n}")).unwrap().ino, made[n]);
    }
    image.done(fs);
}
