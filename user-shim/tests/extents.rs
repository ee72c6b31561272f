// SPDX-License-Identifier: GPL-2.0 OR MIT
//! File data on a device, in process: whatever is done to files, they hold what a plain array of bytes would.

mod flatfs;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bento::errno::Errno;
use bento::fs::Extent;
use bento_user_shim::{File, Harness, Health, Image, flags};
use flatfs::{Flat, store, with_store};

const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
const COLLAPSE: i32 = libc::FALLOC_FL_COLLAPSE_RANGE;
const INSERT: i32 = libc::FALLOC_FL_INSERT_RANGE;

/// A device full of what must never be seen in a file.
fn mount(block: u64, blocks: u64) -> (Harness, usize) {
    let number = store(block, blocks);
    let image = Image::new(vec![0xee; (block * blocks) as usize]);
    (Harness::mount_disk::<Flat<1>>(image, &format!("store={number}")).unwrap(), number)
}

fn calls(number: usize, name: &str) -> u64 {
    with_store(number, |store| store.calls.get(name).copied().unwrap_or(0))
}

fn end(fs: &Harness, number: usize) {
    assert_eq!(fs.panics(), []);
    assert_eq!(fs.bad_values(), 0, "{:#?}", fs.log());
    // What the store holds was allocated in calls.
    assert_eq!(fs.unmount_and_report().unwrap().leaked_inodes, 0);
    with_store(number, |store| store.check());
}

/// Random numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn seeded() -> Dice {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let seed = std::env::var("BENTO_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(clock) | 1;
        println!("BENTO_SEED={seed}");
        Dice(seed)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

#[test]
fn bytes_come_back_and_overwriting_enters_no_rust() {
    let (fs, number) = mount(4096, 1024);
    let file = fs.create("/f", 0o644).unwrap();
    file.write_at(b"hello", 10_000).unwrap();
    assert_eq!(file.read_at(9_998, 20).unwrap(), b"\0\0hello");
    assert_eq!(file.read_all().unwrap().iter().filter(|byte| **byte != 0).count(), 5);
    // One block, and the file system was not asked what a new file is made of.
    assert_eq!((calls(number, "allocate_extents"), calls(number, "map_extents")), (1, 0));
    assert_eq!(file.stat().unwrap().blocks, 8);
    let before = with_store(number, |store| store.calls.values().sum::<u64>());
    for n in 0..100 {
        file.write_at(&[n; 50], 9_000 + u64::from(n)).unwrap();
        file.read_at(0, 20_000).unwrap();
    }
    assert_eq!(with_store(number, |store| store.calls.values().sum::<u64>()), before);
    assert_eq!(file.stat().unwrap().size, 10_005);
    file.close().unwrap();
    fs.drop_caches().unwrap();
    assert_eq!(fs.stat("/f").unwrap().size, 10_005);
    assert_eq!(fs.read_file("/f").unwrap()[9_099..9_101], [99, 99]);
    assert_eq!(calls(number, "map_extents"), 1);
    end(&fs, number);
}

#[test]
fn sizes_and_times_are_stored_when_somebody_waits_for_them_or_in_time() {
    let (fs, number) = mount(1024, 1024);
    let stored = || with_store(number, |store| store.nodes[&2].attr.size);
    let file = fs.create("/f", 0o644).unwrap();
    file.write_at(&[1; 3000], 0).unwrap();
    assert_eq!((stored(), calls(number, "write_inode")), (0, 0));
    file.fdatasync().unwrap();
    assert_eq!((stored(), calls(number, "write_inode")), (3000, 1));
    // Only times now: not what fdatasync is about.
    file.write_at(&[2; 3000], 0).unwrap();
    file.fdatasync().unwrap();
    assert_eq!(calls(number, "write_inode"), 1);
    file.fsync().unwrap();
    assert_eq!(calls(number, "write_inode"), 2);
    fs.touch("/f").unwrap();
    assert_eq!(calls(number, "setattr"), 0);
    fs.write_inodes().unwrap();
    assert_eq!(calls(number, "write_inode"), 3);
    fs.write_inodes().unwrap();
    assert_eq!(calls(number, "write_inode"), 3);
    file.close().unwrap();
    let file = fs.open("/f", flags::READ_WRITE | flags::DSYNC).unwrap();
    file.write_at(b"x", 4000).unwrap();
    assert_eq!((stored(), calls(number, "write_inode")), (4001, 4));
    file.close().unwrap();
    let file = fs.open("/f", flags::READ_WRITE | flags::APPEND).unwrap();
    file.write(b"more").unwrap();
    fs.write_in_background();
    let began = Instant::now();
    while stored() != 4005 {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
    file.close().unwrap();
    end(&fs, number);
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let (fs, number) = mount(4096, 256);
    let file = fs.create("/f", 0o644).unwrap();
    file.write_at(&[7; 10_000], 0).unwrap();
    file.truncate(5_000).unwrap();
    assert_eq!(file.stat().unwrap().blocks, 16);
    file.truncate(10_000).unwrap();
    let mut want = vec![7; 5_000];
    want.resize(10_000, 0);
    assert!(file.read_all().unwrap() == want);
    file.truncate(0).unwrap();
    assert_eq!(file.extents().unwrap(), []);
    // Preallocated past the end, and then a file that grows over it.
    file.fallocate(KEEP, 0, 20_000).unwrap();
    assert_eq!(file.stat().unwrap().size, 0);
    file.write_at(b"end", 8_190).unwrap();
    let all = file.read_all().unwrap();
    assert_eq!((all.len(), &all[8_190..]), (8_193, &b"end"[..]));
    assert!(all[..8_190].iter().all(|byte| *byte == 0));
    file.close().unwrap();
    end(&fs, number);
}

#[test]
fn holes_data_and_preallocated_blocks_are_told_apart() {
    let (fs, number) = mount(4096, 256);
    let file = fs.create("/f", 0o644).unwrap();
    file.write_at(b"data", 3 * 4096).unwrap();
    file.fallocate(0, 5 * 4096, 4096).unwrap();
    assert_eq!(file.stat().unwrap().size, 6 * 4096);
    let kinds: String = file
        .extents()
        .unwrap()
        .iter()
        .map(|extent| match extent {
            Extent::Hole { len, .. } => format!("-{} ", len / 4096),
            Extent::Mapped { len, .. } => format!("={} ", len / 4096),
            Extent::Unwritten { len, .. } => format!("~{} ", len / 4096),
        })
        .collect();
    assert_eq!(kinds, "-3 =1 -1 ~1 ");
    assert_eq!((file.seek_data(0).unwrap(), file.seek_hole(0).unwrap()), (3 * 4096, 0));
    assert_eq!(file.seek_hole(3 * 4096 + 1).unwrap(), 4 * 4096);
    assert_eq!(file.seek_data(4 * 4096), Err(Errno::ENXIO));
    assert_eq!(file.seek_hole(6 * 4096), Err(Errno::ENXIO));
    file.write_at(b"x", 5 * 4096 + 100).unwrap();
    assert_eq!(calls(number, "convert_extents"), 1);
    assert_eq!(file.seek_data(4 * 4096).unwrap(), 5 * 4096);
    let mut want = vec![0; 4096];
    want[100] = b'x';
    assert!(file.read_at(5 * 4096, 4096).unwrap() == want);
    file.close().unwrap();
    end(&fs, number);
}

#[test]
fn a_sparse_file_of_a_tebibyte() {
    let (fs, number) = mount(4096, 64);
    let file = fs.create("/big", 0o644).unwrap();
    file.truncate(1 << 40).unwrap();
    file.write_at(b"middle", 1 << 39).unwrap();
    file.write_at(b"last", (1 << 40) - 4).unwrap();
    assert_eq!(file.seek_data(0).unwrap(), 1 << 39);
    assert_eq!(file.seek_data((1 << 39) + 4096).unwrap(), (1 << 40) - 4096);
    assert_eq!(file.read_at((1 << 39) - 2, 10).unwrap(), b"\0\0middle\0\0");
    assert_eq!(file.write_at(b"x", 1 << 44), Err(Errno::EFBIG));
    assert_eq!(file.stat().unwrap().blocks, 16);
    file.close().unwrap();
    fs.drop_caches().unwrap();
    let file = fs.open("/big", flags::READ_WRITE).unwrap();
    assert_eq!(file.read_at((1 << 40) - 6, 100).unwrap(), b"\0\0last");
    file.close().unwrap();
    fs.unlink("/big").unwrap();
    end(&fs, number);
}

#[test]
fn a_full_device_says_so_and_keeps_what_there_was() {
    let (fs, number) = mount(4096, 65);
    let file = fs.create("/f", 0o644).unwrap();
    let written = file.write_at(&[5; 100 * 4096], 0).unwrap();
    assert_eq!(written, 64 * 4096);
    assert_eq!(file.write_at(b"x", written as u64), Err(Errno::ENOSPC));
    assert_eq!(file.fallocate(0, 0, 65 * 4096), Err(Errno::ENOSPC));
    assert_eq!(fs.statfs().unwrap().blocks_free, 0);
    // Overwriting takes nothing.
    assert_eq!(file.write_at(&[6; 4096], 4096), Ok(4096));
    assert_eq!(file.stat().unwrap().size, written as u64);
    file.truncate(4096).unwrap();
    assert_eq!(fs.statfs().unwrap().blocks_free, 63);
    assert_eq!(file.write_at(&[7; 4096], 8192), Ok(4096));
    file.close().unwrap();
    end(&fs, number);
}

/// One file against an array of bytes.
struct Pair {
    file: File,
    bytes: Vec<u8>,
}

impl Pair {
    fn check(&self, what: &str) {
        let all = self.file.read_all().unwrap();
        assert_eq!(all.len(), self.bytes.len(), "{what}");
        if let Some(at) = (0..all.len()).find(|at| all[*at] != self.bytes[*at]) {
            panic!("{what}: byte {at} is {:#x}, expected {:#x}", all[at], self.bytes[at]);
        }
        assert_eq!(self.file.stat().unwrap().size, self.bytes.len() as u64, "{what}");
    }

    /// One random operation; what it was.
    fn step(&mut self, dice: &mut Dice, block: u64) -> String {
        const MOST: u64 = 300_000;
        let size = self.bytes.len() as u64;
        let most = 1 << (4 + dice.below(14));
        let (offset, len) = (dice.below(MOST), 1 + dice.below(most));
        let range = |size: u64| (offset.min(size) as usize)..((offset + len).min(size) as usize);
        match dice.below(12) {
            0..=4 => {
                let byte = dice.below(255) as u8 + 1;
                let data: Vec<u8> = (0..len).map(|n| byte.wrapping_add(n as u8)).collect();
                self.file.write_all_at(&data, offset).unwrap();
                let end = (offset + len) as usize;
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[offset as usize..end].copy_from_slice(&data);
                format!("write {len} at {offset}")
            }
            5 | 6 => {
                self.file.truncate(offset).unwrap();
                self.bytes.resize(offset as usize, 0);
                format!("truncate {offset}")
            }
            7 => {
                let keep = dice.below(2) == 0;
                self.file.fallocate(if keep { KEEP } else { 0 }, offset, len).unwrap();
                if !keep && offset + len > size {
                    self.bytes.resize((offset + len) as usize, 0);
                }
                format!("allocate {len} at {offset}, keep {keep}")
            }
            8 => {
                self.file.fallocate(PUNCH, offset, len).unwrap();
                self.bytes[range(size)].fill(0);
                format!("punch {len} at {offset}")
            }
            9 => {
                let keep = dice.below(2) == 0;
                self.file.fallocate(if keep { ZERO | KEEP } else { ZERO }, offset, len).unwrap();
                if !keep && offset + len > size {
                    self.bytes.resize((offset + len) as usize, 0);
                }
                let range = range(self.bytes.len() as u64);
                self.bytes[range].fill(0);
                format!("zero {len} at {offset}, keep {keep}")
            }
            10 => {
                let (at, len) = (offset / block * block, block * (1 + len % 4));
                if at + len >= size {
                    assert_eq!(self.file.fallocate(COLLAPSE, at, len), Err(Errno::EINVAL));
                } else {
                    self.file.fallocate(COLLAPSE, at, len).unwrap();
                    self.bytes.drain(at as usize..(at + len) as usize);
                }
                format!("collapse {len} at {at}")
            }
            _ => {
                let (at, len) = (offset / block * block, block * (1 + len % 4));
                if at >= size {
                    assert_eq!(self.file.fallocate(INSERT, at, len), Err(Errno::EINVAL));
                } else if size + len < 2 * MOST {
                    self.file.fallocate(INSERT, at, len).unwrap();
                    self.bytes.splice(at as usize..at as usize, vec![0; len as usize]);
                }
                format!("insert {len} at {at}")
            }
        }
    }
}

#[test]
fn random_operations_agree_with_an_array() {
    let mut dice = Dice::seeded();
    for (block, blocks, never_written) in [(4096, 1024, false), (1024, 4096, false), (1024, 4096, true)] {
        let (fs, number) = mount(block, blocks);
        with_store(number, |store| store.never_written = never_written);
        let open = |name: &str| Pair { file: fs.create(name, 0o644).unwrap(), bytes: Vec::new() };
        let mut pairs = [open("/a"), open("/b")];
        let mut done = Vec::new();
        for round in 0..600 {
            let which = dice.below(2) as usize;
            done.push(format!("{which}: {}", pairs[which].step(&mut dice, block)));
            let last = done[done.len().saturating_sub(12)..].join("; ");
            match dice.below(40) {
                0 => drop(fs.drop_caches().unwrap()),
                1 => drop(fs.restart().unwrap()),
                2 => drop(if fs.version() == 1 { fs.upgrade::<Flat<2>>() } else { fs.upgrade_to(1) }.unwrap()),
                3 => pairs[which].file.fsync().unwrap(),
                4 => fs.write_inodes().unwrap(),
                _ => {}
            }
            pairs[which].check(&format!("round {round}, blocks of {block}: {last}"));
        }
        // All of it is there for the next mount.
        let bytes = pairs.map(|pair| {
            pair.file.close().unwrap();
            pair.bytes
        });
        fs.drop_caches().unwrap();
        for (name, bytes) in ["/a", "/b"].iter().zip(bytes) {
            assert!(fs.read_file(name).unwrap() == bytes, "{name}");
        }
        end(&fs, number);
    }
}

#[test]
fn files_stay_open_while_the_instance_changes() {
    let (fs, number) = mount(4096, 1024);
    let file = fs.create("/f", 0o644).unwrap();
    file.write_at(&[3; 50_000], 0).unwrap();
    fs.unlink("/f").unwrap();
    fs.upgrade::<Flat<2>>().unwrap();
    file.write_at(&[4; 50_000], 25_000).unwrap();
    // An abandoned instance is made again from the device.
    fs.poison();
    assert_eq!(fs.wait_for_restart(Duration::from_secs(60)), Health::Ok);
    assert_eq!(with_store(number, |store| store.restarts), 1);
    let all = file.read_all().unwrap();
    assert!(all[..25_000].iter().all(|byte| *byte == 3) && all[25_000..].iter().all(|byte| *byte == 4));
    file.truncate(100).unwrap();
    file.write_at(&[5; 100], 100).unwrap();
    assert_eq!(file.read_all().unwrap().len(), 200);
    file.close().unwrap();
    assert_eq!(with_store(number, |store| store.nodes.len()), 1);
    let report = fs.unmount_and_report().unwrap();
    assert_eq!(report.leaked_inodes, 0);
    with_store(number, |store| store.check());
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let (fs, number) = mount(4096, 64);
    fs.write_file("/f", b"bytes").unwrap();
    let file = fs.open("/f", flags::READ_WRITE).unwrap();
    fs.remount_read_only(true).unwrap();
    assert_eq!(file.write_at(b"x", 0), Err(Errno::EROFS));
    assert_eq!(file.fallocate(0, 0, 4096), Err(Errno::EROFS));
    assert_eq!(file.truncate(1), Err(Errno::EROFS));
    assert_eq!(fs.read_file("/f").unwrap(), b"bytes");
    file.close().unwrap();
    end(&fs, number);
}
