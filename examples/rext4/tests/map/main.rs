// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The maps of files against a model, on images of mke2fs: what a random sequence of changes leaves is what the model says,
//! and e2fsck finds nothing wrong with the file. Its source is compiled here over a device in memory, so that each
//! transaction's credits are counted and each of its allocations can fail.
#![allow(dead_code, clippy::len_without_is_empty)]

extern crate bento as real;
extern crate self as bento;

#[path = "../../src/check.rs"]
mod check;
#[path = "../../src/map/mod.rs"]
mod map;
mod mock;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use map::{Budget, END, Found, Map, Run};
use mock::{Device, Disk, Ip, Super, Txn, Use};
use real::prelude::Result;

mod prelude {
    pub use crate::mock::{Block, Device};
    pub use real::prelude::{Errno, FileType, Result};
}
mod fs {
    pub use crate::mock::{Credits, Field};
}
mod txn {
    pub use crate::mock::{Txn, Use};
}
mod disk {
    pub use crate::mock::{Ip, Super};
    pub mod incompat {
        pub const EXTENTS: u32 = 0x40;
    }
    pub mod inode {
        pub const FLAGS: usize = 32;
        pub const BLOCK: usize = 40;
        pub const BLOCK_LEN: usize = 60;
        pub const FLAG_EXTENTS: u32 = 0x80000;
    }
}

pub struct Rext4 {
    pub sb: Super,
}

impl Rext4 {
    fn goal(&self, _ino: u32) -> u64 {
        self.sb.blocks / 4
    }
    fn for_files(&self, start: u64, count: u64) -> bool {
        self.sb.holds(start, count)
    }
    fn corrupt(&self, device: Device<'_>, what: core::fmt::Arguments<'_>) -> real::prelude::Errno {
        device.0.errors.borrow_mut().push(what.to_string());
        real::prelude::Errno::EUCLEAN
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

struct Image {
    path: PathBuf,
    fs: Rext4,
    disk: Disk,
    inode_at: u64,
    inode_size: usize,
    used: Cell<i64>,
}

const INO: u32 = 12;

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

impl Image {
    /// A file system with one empty file.
    fn new(name: &str, options: &[&str], blocks: &str) -> Image {
        let base = std::env::temp_dir().join(format!("rext4-map-{}-{name}", std::process::id()));
        let root = base.join("root");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("f"), b"").unwrap();
        Image::from_root(base, options, blocks)
    }

    fn from_root(base: PathBuf, options: &[&str], blocks: &str) -> Image {
        let path = base.join("image");
        let mut command = Command::new("mke2fs");
        command.args(["-q", "-F"]).args(options).arg("-d").arg(base.join("root")).arg(&path).arg(blocks);
        let said = run(&mut command);
        assert!(path.exists(), "{said}");
        Image::open(path)
    }

    fn open(path: PathBuf) -> Image {
        let data = std::fs::read(&path).unwrap();
        let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
        let sb = |at: usize| word(1024 + at);
        let block_size = 1024usize << sb(24);
        let first_block = sb(20);
        let mut seed = mock::crc32c(!0, &data[1024 + 0x68..1024 + 0x78]);
        if sb(0x60) & 0x2000 != 0 {
            seed = sb(0x270);
        }
        let table = u64::from(word((first_block as usize + 1) * block_size + 8));
        let inode_size = (sb(88) & 0xffff) as usize;
        let mut free = Vec::new();
        let said = run(Command::new("dumpe2fs").arg(&path));
        for line in said.lines() {
            let Some(list) = line.strip_prefix("  Free blocks: ") else { continue };
            for range in list.split(", ").filter(|range| !range.is_empty()) {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
                free.push((from, to - from + 1));
            }
        }
        Image {
            path,
            fs: Rext4 {
                sb: Super {
                    block_size: block_size as u32,
                    blocks: sb(4).into(),
                    first_block,
                    blocks_per_group: sb(32),
                    seed,
                    incompat: sb(0x60),
                    sums: sb(0x64) & 0x400 != 0,
                },
            },
            disk: Disk {
                data: RefCell::new(data),
                checked: RefCell::default(),
                block_size,
                free: RefCell::new(free),
                errors: RefCell::default(),
                fail_in: Cell::new(0),
                at_most: Cell::new(u32::MAX),
            },
            inode_at: table * block_size as u64,
            inode_size,
            used: Cell::new(0),
        }
    }

    fn ip(&self, ino: u32) -> Ip<'_> {
        let at = self.inode_at + u64::from(ino - 1) * self.inode_size as u64;
        let size = self.disk.block_size as u64;
        let block = Device(&self.disk).read(at / size).unwrap();
        Ip { ino, size: self.inode_size, block, at: (at % size) as usize }
    }

    fn device(&self) -> Device<'_> {
        Device(&self.disk)
    }

    /// One transaction; undone when it fails.
    fn step<T>(
        &self,
        credits: impl Into<mock::Credits>,
        work: impl FnOnce(&mut Map<'_, '_>, &Txn<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut credits = credits.into();
        let given = credits.blocks;
        credits.blocks += 1;
        let txn = Txn::begin(&self.fs, self.device(), credits);
        let ip = self.ip(INO);
        let mut map = Map::edit(&txn, &ip, given, map::has_extents(&ip)?);
        let result = work(&mut map, &txn)?;
        let (taken, freed) = map.finish()?;
        txn.commit();
        self.used.set(self.used.get() + i64::from(taken) - freed as i64);
        Ok(result)
    }

    fn allocate(&self, from: u32, to: u32, unwritten: bool) -> Result<Vec<Run>> {
        self.step(24, |map, txn| {
            let (mut at, mut new, mut taken) = (from, Vec::new(), 0);
            while at < to {
                match map.lookup(at)? {
                    Found::Run(run) => at = run.end().min(to.into()) as u32,
                    Found::Hole(end) => {
                        map.reserve()?;
                        let room = match map {
                            Map::Tree(_) => Run::most(unwritten),
                            Map::Indirect(map) => map.room(at),
                        };
                        let want = (end.min(to.into()) as u32 - at).min(room);
                        let goal = map.goal(at)?.unwrap_or(self.fs.goal(INO));
                        let (start, len) = txn.allocate(goal, want, Use::Data)?;
                        let run = Run { logical: at, len, start, unwritten };
                        map.insert(run)?;
                        new.push(run);
                        taken += i64::from(len);
                        at += len;
                    }
                }
            }
            Ok((new, taken))
        })
        .map(|(new, taken)| {
            self.used.set(self.used.get() + taken);
            new
        })
    }

    fn mark(&self, from: u32, to: u32, unwritten: bool) -> Result<()> {
        self.step(24, |map, _| {
            let Map::Tree(tree) = map else { return Ok(()) };
            let mut at = u64::from(from);
            while at < to.into() {
                match tree.lookup(at as u32)? {
                    Found::Hole(end) => at = end,
                    Found::Run(run) => {
                        if run.unwritten != unwritten {
                            tree.reserve()?;
                            tree.mark(&run, at, to.into(), unwritten)?;
                        }
                        at = run.end();
                    }
                }
            }
            Ok(())
        })
    }

    fn cut(&self, from: u64, to: u64) -> Result<()> {
        loop {
            let done = self.step(map::STEP_CREDITS, |map, _| {
                let done = map.cut(from, to, &mut Budget::step())?;
                if let Map::Tree(tree) = map
                    && done
                {
                    tree.shrink()?;
                }
                Ok(done)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    fn collapse(&self, from: u32, to: u32) -> Result<()> {
        self.cut(from.into(), to.into())?;
        let mut at = Some(to);
        while let Some(next) = at {
            at = self.step(24, |map, _| {
                let Map::Tree(tree) = map else { unreachable!() };
                let next = tree.shift_left(next, to - from)?;
                if next.is_none() {
                    tree.shrink()?;
                }
                Ok(next)
            })?;
        }
        Ok(())
    }

    fn insert_range(&self, from: u32, by: u32) -> Result<()> {
        self.step(24, |map, _| {
            let Map::Tree(tree) = map else { unreachable!() };
            tree.divide(from)
        })?;
        let mut limit = Some(END);
        while let Some(end) = limit {
            limit = self.step(24, |map, _| {
                let Map::Tree(tree) = map else { unreachable!() };
                tree.shift_right(from, end, by)
            })?;
        }
        Ok(())
    }

    /// The file block by block, read from the disk with all checks.
    fn read(&self, ino: u32) -> BTreeMap<u32, (u64, bool)> {
        self.disk.checked.borrow_mut().clear();
        let ip = self.ip(ino);
        let mut map = Map::new(&self.fs, self.device(), &ip, map::has_extents(&ip).unwrap());
        let (mut at, mut blocks) = (0u64, BTreeMap::new());
        while at < END {
            match map.lookup(at as u32).unwrap_or_else(|error| panic!("{error:?}: {:?}", self.disk.errors.borrow())) {
                Found::Hole(end) => at = end,
                Found::Run(run) => {
                    for step in 0..run.len {
                        blocks.insert(run.logical + step, (run.start + u64::from(step), run.unwritten));
                    }
                    at = run.end();
                }
            }
        }
        blocks
    }

    fn depth(&self) -> u16 {
        self.ip(INO).get(40 + 6).unwrap()
    }

    /// Writes the image, and asks e2fsck about the file. Bitmaps and counts are nobody's here.
    fn check(&self, size: u64) {
        let ip = self.ip(INO);
        let at = ip.block.number() as usize * self.disk.block_size + ip.at;
        {
            let mut data = self.disk.data.borrow_mut();
            let mut put = |offset: usize, value: u32| {
                data[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
            };
            put(4, size as u32);
            put(108, (size >> 32) as u32);
            put(28, (self.used.get() * self.disk.block_size as i64 / 512) as u32);
            if self.fs.sb.sums {
                data[at + 124..at + 126].fill(0);
                data[at + 130..at + 132].fill(0);
                let generation = u32::from_le_bytes(data[at + 100..at + 104].try_into().unwrap());
                let seed = self.fs.sb.inode_seed(INO, generation);
                let sum = mock::crc32c(seed, &data[at..at + self.inode_size]).to_le_bytes();
                data[at + 124..at + 126].copy_from_slice(&sum[..2]);
                data[at + 130..at + 132].copy_from_slice(&sum[2..]);
            }
            std::fs::write(&self.path, &data[..]).unwrap();
        }
        let said = run(Command::new("e2fsck").args(["-fn"]).arg(&self.path).env("LC_ALL", "C"));
        let wrong =
            said.lines().skip_while(|line| !line.starts_with("Pass 1")).take_while(|line| !line.starts_with("Pass 2"));
        // Such trees are sound.
        let wrong: Vec<_> = wrong.skip(1).filter(|line| !line.ends_with("Optimize? no") && !line.is_empty()).collect();
        assert!(said.contains("Pass 5") && wrong.is_empty(), "{said}");
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Some(base) = self.path.parent()
        {
            let _ = std::fs::remove_dir_all(base);
        }
    }
}

fn storm(name: &str, options: &[&str], seed: u64, steps: u32, span: u64) {
    let image = Image::new(name, options, "48M");
    let extents = map::has_extents(&image.ip(INO)).unwrap();
    let mut random = Random(seed);
    let mut model: BTreeMap<u32, (u64, bool)> = BTreeMap::new();
    let mut deepest = 0;
    for step in 0..steps {
        let from = random.below(span) as u32;
        let long = random.below(8) == 0;
        let len = 1 + random.below(if long { 600 } else { 6 }) as u32;
        image.disk.at_most.set(if random.below(3) == 0 { 1 + random.below(5) as u32 } else { u32::MAX });
        // Now and then space runs out in the middle.
        image.disk.fail_in.set(if random.below(6) == 0 { 1 + random.below(4) as u32 } else { 0 });
        let before = image.disk.free.borrow().clone();
        let kind = random.below(if extents { 16 } else { 10 });
        let result = match kind {
            0..6 => image.allocate(from, from + len.min(40), extents && kind < 4).map(|new| {
                for run in new {
                    for step in 0..run.len {
                        let old = model.insert(run.logical + step, (run.start + u64::from(step), run.unwritten));
                        assert_eq!(old, None);
                    }
                }
            }),
            6..8 => image.cut(from.into(), u64::from(from) + u64::from(len)).map(|()| {
                model.retain(|block, _| !(from..from + len).contains(block));
            }),
            8 if random.below(20) == 0 => image.cut(from.into(), END).map(|()| model.retain(|block, _| *block < from)),
            8 | 9 => {
                let offset = 12 + (from * 7919) % 60000;
                image.allocate(offset, offset + 1, false).map(|new| {
                    model.extend(new.iter().map(|run| (run.logical, (run.start, false))));
                })
            }
            10..14 => image.mark(from, from + len, kind == 13).map(|()| {
                for (_, (_, unwritten)) in model.range_mut(from..from + len) {
                    *unwritten = kind == 13;
                }
            }),
            14 => image.collapse(from, from + len).map(|()| {
                model.retain(|block, _| !(from..from + len).contains(block));
                model = std::mem::take(&mut model)
                    .into_iter()
                    .map(|(block, to)| (if block < from { block } else { block - len }, to))
                    .collect();
            }),
            _ => image.insert_range(from, len).map(|()| {
                model = std::mem::take(&mut model)
                    .into_iter()
                    .map(|(block, to)| (if block < from { block } else { block + len }, to))
                    .collect();
            }),
        };
        image.disk.fail_in.set(0);
        if result.is_err() {
            assert!(image.disk.errors.borrow().is_empty(), "{:?}", image.disk.errors.borrow());
            if matches!(kind, 6..) {
                // Several transactions: those before the one that failed count.
                model = image.read(INO);
            } else {
                assert_eq!(*image.disk.free.borrow(), before);
            }
        }
        if extents {
            deepest = deepest.max(image.depth());
        }
        if step % 16 == 0 || step + 1 == steps {
            let read = image.read(INO);
            let differs = |(block, to): &(&u32, &(u64, bool))| model.get(block) != Some(to);
            let first = read.iter().find(differs).map(|(block, to)| (block, to, model.get(block)));
            assert!(
                read == model,
                "step {step}, kind {kind}, {from} + {len}: {first:?}, {} of {}",
                read.len(),
                model.len()
            );
        }
        if step % 400 == 399 {
            let end = model.iter().rev().find(|(_, (_, unwritten))| !unwritten).map_or(0, |(block, _)| block + 1);
            image.check(u64::from(end) * image.disk.block_size as u64);
        }
    }
    println!("{name}: depth {deepest}, {} blocks", model.len());
    let start: u64 = image.disk.free.borrow().iter().map(|(_, count)| count).sum();
    let held = image.used.get() as u64;
    image.cut(0, END).unwrap();
    assert!(image.read(INO).is_empty());
    assert_eq!(image.used.get(), 0);
    assert_eq!(image.disk.free.borrow().iter().map(|(_, count)| count).sum::<u64>(), start + held);
    if extents {
        assert_eq!(image.depth(), 0);
    }
    image.check(0);
}

#[test]
fn extents_in_blocks_of_4_kib() {
    storm("4k", &["-t", "ext4"], 0x1234_5678_9abc, 4000, 3000);
}

#[test]
fn extents_in_blocks_of_1_kib() {
    storm("1k", &["-t", "ext4", "-b", "1024"], 0x9e37_79b9_7f4a, 6000, 8000);
}

#[test]
fn extents_without_checksums() {
    storm("plain", &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit"], 77, 3000, 4000);
}

#[test]
fn indirect_blocks_of_1_kib() {
    storm("ext3", &["-t", "ext3", "-b", "1024"], 0xdead_beef, 5000, 4000);
}

#[test]
fn indirect_blocks_of_4_kib() {
    storm("ext2", &["-t", "ext2", "-b", "4096"], 0xfeed, 3000, 3000);
}

/// Whatever the blocks of a map hold, it is read, refused or changed, and nothing panics or goes on for ever.
fn nonsense(name: &str, options: &[&str], seed: u64) {
    let image = Image::new(name, options, "48M");
    let mut random = Random(seed);
    for at in 0..700 {
        image.allocate(at * 3, at * 3 + 2, at % 5 == 0).unwrap();
    }
    image.allocate(70_000, 70_001, false).unwrap();
    let ip = image.ip(INO);
    let inode = ip.block.number() as usize * image.disk.block_size + ip.at;
    let sound = image.disk.data.borrow().clone();
    // The blocks of the map: those that name the inode's data, found by what differs from an image without it.
    let nodes: Vec<usize> = {
        let used = image.read(INO);
        let data: std::collections::HashSet<u64> = used.values().map(|(block, _)| *block).collect();
        let block_size = image.disk.block_size;
        let first = used.values().map(|(block, _)| *block).min().unwrap();
        let last = used.values().map(|(block, _)| *block).max().unwrap();
        (first..last + 20)
            .filter(|block| !data.contains(block))
            .map(|block| block as usize * block_size)
            .filter(|at| sound[*at..at + block_size].iter().any(|byte| *byte != 0))
            .collect()
    };
    assert!(nodes.len() > 2, "{}", nodes.len());
    let mut refused = 0;
    for _ in 0..400 {
        {
            let mut data = image.disk.data.borrow_mut();
            data.copy_from_slice(&sound);
            for _ in 0..1 + random.below(3) {
                let in_inode = random.below(4) == 0;
                let at = if in_inode {
                    inode + 40 + random.below(60) as usize
                } else {
                    // Mostly where something is.
                    let span = if random.below(2) == 0 { 64 } else { image.disk.block_size as u64 };
                    nodes[random.below(nodes.len() as u64) as usize] + random.below(span) as usize
                };
                data[at] = if random.below(2) == 0 { random.below(256) as u8 } else { data[at] ^ 1 << random.below(8) };
            }
        }
        image.disk.checked.borrow_mut().clear();
        let txn = Txn::begin(&image.fs, image.device(), mock::Credits { blocks: 10_000, revokes: 10_000 });
        let ip = image.ip(INO);
        let extents = map::has_extents(&ip).unwrap();
        let mut map = Map::edit(&txn, &ip, 5000, extents);
        let mut work = || -> Result<()> {
            let (mut at, mut steps) = (0, 0);
            while at < END && steps < 100_000 {
                at = match map.lookup(at as u32)? {
                    Found::Hole(end) => end.max(at + 1),
                    Found::Run(run) => run.end().max(at + 1),
                };
                steps += 1;
            }
            let free = (0..3000u32).find(|at| matches!(map.lookup(*at), Ok(Found::Hole(_)))).unwrap_or(5000);
            map.insert(Run { logical: free, len: 1, start: 40_000, unwritten: false })?;
            if let Map::Tree(tree) = &mut map {
                if let Found::Run(run) = tree.lookup(300)? {
                    tree.mark(&run, 300, 301, !run.unwritten)?;
                }
                tree.divide(400)?;
                tree.shift_right(401, END, 9)?;
                tree.shift_left(401, 3)?;
            }
            map.cut(500, 900, &mut Budget::step())?;
            map.cut(0, END, &mut Budget::step())?;
            if let Map::Tree(tree) = &mut map {
                tree.shrink()?;
            }
            map.finish().map(drop)
        };
        refused += u32::from(work().is_err());
        drop(map);
        drop(txn);
    }
    println!("{name}: {refused} of 400 refused");
    assert!(refused > 100);
    image.disk.data.borrow_mut().copy_from_slice(&sound);
}

#[test]
fn trees_of_nonsense() {
    nonsense("bad", &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit"], 42);
}

#[test]
fn trees_of_nonsense_with_checksums() {
    nonsense("badsum", &["-t", "ext4", "-b", "1024"], 43);
}

#[test]
fn block_maps_of_nonsense() {
    nonsense("bad3", &["-t", "ext3", "-b", "1024"], 44);
}

/// Between a reader's look-up of a block and its look at the bytes, a neighbour finds the block right and changes it.
#[test]
fn a_block_that_is_changed_meanwhile_is_not_corrupt() {
    let disk = Disk {
        data: RefCell::new(vec![0; 4096]),
        checked: RefCell::default(),
        block_size: 1024,
        free: RefCell::default(),
        errors: RefCell::default(),
        fail_in: Cell::new(0),
        at_most: Cell::new(0),
    };
    let device = Device(&disk);
    let sound = |number: u64, bytes: u8| disk.data.borrow()[number as usize * 1024] == bytes;
    let told = |(): ()| device_says(&disk);
    let neighbour = |number: u64| {
        let block = device.read(number).unwrap();
        let mine = check::once(device, &block, || Ok((!sound(number, 0)).then_some(())), told).unwrap();
        assert!(mine);
        disk.data.borrow_mut()[number as usize * 1024] = 7;
    };
    let block = device.read(1).unwrap();
    let wrong = || {
        neighbour(1);
        Ok((!sound(1, 0)).then_some(()))
    };
    assert_eq!(check::once(device, &block, wrong, told), Ok(false));
    // Without the neighbour it is.
    disk.data.borrow_mut()[2048] = 7;
    let block = device.read(2).unwrap();
    let wrong = || Ok((!sound(2, 0)).then_some(()));
    assert_eq!(check::once(device, &block, wrong, told), Err(real::prelude::Errno::EUCLEAN));
    assert_eq!(*disk.errors.borrow(), ["wrong"]);
    // It stays to be looked at, and what was found right is not looked at again.
    assert!(!device.read(2).unwrap().is_checked());
    let looked = |()| -> real::prelude::Errno { unreachable!() };
    assert_eq!(check::once(device, &device.read(1).unwrap(), || unreachable!(), looked), Ok(false));
}

fn device_says(disk: &Disk) -> real::prelude::Errno {
    disk.errors.borrow_mut().push("wrong".to_owned());
    real::prelude::Errno::EUCLEAN
}
