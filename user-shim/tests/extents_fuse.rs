// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Real mounts of an image, as `cargo bento mount` makes them: needs root (or fusermount3) and /dev/fuse.

mod flatfs;

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bento_user_shim::fuse::{Error, Mounted, Options};
use flatfs::{Flat, store, with_store};

struct Place {
    path: PathBuf,
    image: PathBuf,
    store: usize,
    mounted: Option<Mounted>,
}

fn options() -> Options {
    Options { signals: false, ..Options::default() }
}

impl Place {
    /// An image full of what must never be seen in a file.
    fn new(name: &str, block: u64, blocks: u64) -> Place {
        let path = std::env::temp_dir().join(format!("bento-extents-{name}-{}", std::process::id()));
        let image = path.with_extension("img");
        fs::create_dir_all(&path).unwrap();
        fs::write(&image, vec![0xee; (block * blocks) as usize]).unwrap();
        let mut place = Place { path, image, store: store(block, blocks), mounted: None };
        place.mount("");
        place
    }

    fn mount(&mut self, more: &str) {
        self.mounted = Some(self.try_mount(more).unwrap());
    }

    fn try_mount(&self, more: &str) -> Result<Mounted, Error> {
        Mounted::start_on::<Flat<1>>(&self.image, &self.path, &format!("store={}{more}", self.store), &options())
    }

    fn unmount(&mut self) {
        self.mounted.take().unwrap().unmount().unwrap();
        with_store(self.store, |store| store.check());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn calls(&self, name: &str) -> u64 {
        with_store(self.store, |store| store.calls.get(name).copied().unwrap_or(0))
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

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|n| ((n * 7 + seed) % 251) as u8).collect()
}

fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

#[test]
fn a_tree_is_there_after_the_next_mount() {
    let mut place = Place::new("tree", 4096, 4096);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for n in 0..50 {
        fs::create_dir_all(place.at(&format!("d{}", n % 5))).unwrap();
        let name = place.at(&format!("d{}/{n}", n % 5));
        fs::write(&name, pattern(n * 700, n)).unwrap();
        File::open(&name).unwrap().set_modified(old).unwrap();
    }
    std::os::unix::fs::symlink("d1/1", place.at("link")).unwrap();
    for round in 0..2 {
        for n in 0..50 {
            let name = place.at(&format!("d{}/{n}", n % 5));
            assert!(fs::read(&name).unwrap() == pattern(n * 700, n), "{n} in round {round}");
            let meta = fs::metadata(&name).unwrap();
            assert_eq!(meta.modified().unwrap(), old);
            assert_eq!(meta.blocks(), (n as u64 * 700).div_ceil(4096) * 8);
        }
        assert_eq!(fs::read(place.at("link")).unwrap(), pattern(700, 1));
        assert_eq!(fs::read_dir(place.at("d3")).unwrap().count(), 10);
        assert_eq!(fs::metadata(place.at("d3")).unwrap().nlink(), 2);
        if round == 0 {
            place.unmount();
            place.mount("");
        }
    }
    // Times that were set, and those of reading, cost no call of their own.
    assert_eq!(place.calls("setattr"), 0);
}

#[test]
fn writes_of_all_kinds_reach_the_image() {
    let mut place = Place::new("writes", 1024, 16384);
    let data = pattern(3_000_000, 3);
    let mut file = read_write(&place.at("f"));
    file.write_all(&data).unwrap();
    file.sync_all().unwrap();
    assert_eq!(with_store(place.store, |store| store.nodes[&2].attr.size), 3_000_000);
    file.write_all_at(b"over", 1_000_001).unwrap();
    file.set_len(2_000_000).unwrap();
    file.set_len(2_500_000).unwrap();
    let mut want = data;
    want[1_000_001..1_000_005].copy_from_slice(b"over");
    want[2_000_000..].fill(0);
    want.truncate(2_500_000);
    assert!(fs::read(place.at("f")).unwrap() == want);
    // SAFETY: system calls on files of ours.
    unsafe {
        let fd = file.as_raw_fd();
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        assert_eq!(libc::fallocate(fd, punch, 500_000, 300_000), 0);
        want[500_000..800_000].fill(0);
        assert_eq!(libc::lseek(fd, 500_000, libc::SEEK_HOLE), 500_736);
        assert_eq!(libc::lseek(fd, 500_736, libc::SEEK_DATA), 800_000 / 1024 * 1024);
        assert_eq!(libc::fallocate(fd, 0, 2_500_000, 100_000), 0);
        want.resize(2_600_000, 0);
    }
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 2_600_000);
    let mut direct = OpenOptions::new();
    let direct = direct.read(true).write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC);
    let direct = direct.open(place.at("f")).unwrap();
    direct.write_all_at(&pattern(8192, 9), 4096).unwrap();
    want[4096..12_288].copy_from_slice(&pattern(8192, 9));
    let mut back = vec![0; 8192];
    direct.read_exact_at(&mut back, 4096).unwrap();
    assert!(back == pattern(8192, 9));
    drop((file, direct));
    place.unmount();
    place.mount(",ro");
    assert!(fs::read(place.at("f")).unwrap() == want);
    let refused = OpenOptions::new().write(true).open(place.at("f")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
}

#[test]
fn a_full_image_is_told_by_fsync() {
    let place = Place::new("full", 4096, 65);
    let file = read_write(&place.at("f"));
    let written = file.write_all_at(&pattern(100 * 4096, 1), 0).and_then(|()| file.sync_all());
    assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    drop(file);
    fs::remove_file(place.at("f")).unwrap();
    fs::write(place.at("g"), pattern(4096, 2)).unwrap();
    assert!(fs::read(place.at("g")).unwrap() == pattern(4096, 2));
}

#[test]
fn an_upgrade_and_a_restart_with_files_open() {
    let mut place = Place::new("upgrade", 4096, 1024);
    let file = read_write(&place.at("f"));
    file.write_all_at(&pattern(100_000, 5), 0).unwrap();
    place.mounted.as_ref().unwrap().upgrade::<Flat<2>>().unwrap();
    file.write_all_at(b"after", 100_000).unwrap();
    file.sync_all().unwrap();
    fs::write(place.at("g"), "new").unwrap();
    drop(file);
    place.unmount();
    place.mount("");
    let all = fs::read(place.at("f")).unwrap();
    assert!(all[..100_000] == pattern(100_000, 5) && &all[100_000..] == b"after");
    assert_eq!(fs::read(place.at("g")).unwrap(), b"new");
}

#[test]
fn what_cannot_be_mounted_is_told_in_words() {
    let place = Place::new("refused", 4096, 64);
    let twice = place.try_mount("").unwrap_err().to_string();
    assert!(twice.contains(".img: is mounted already"), "{twice}");
    let refused = |image: &Path| {
        let mounted = Mounted::start_on::<Flat<1>>(image, &place.path, "store=0", &options());
        mounted.unwrap_err().to_string()
    };
    let missing = refused(Path::new("/nowhere/image"));
    assert!(missing.contains("/nowhere/image: there is no such image or device"), "{missing}");
    let folder = refused(&place.path);
    assert!(folder.contains("is a folder"), "{folder}");
    let none = refused(Path::new("none"));
    assert!(none.contains("give an image or a block device"), "{none}");
}
