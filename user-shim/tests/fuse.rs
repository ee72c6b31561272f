// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Real mounts: needs root (or fusermount3) and /dev/fuse; each test mounts on a folder of its own and takes it away.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bento::fs::FileSystem;
use bento_user_shim::fuse::{Mounted, Options};
use bytesfs::BytesFs;
use hostilefs::HostileFs;
use memfs::MemFs;
use memfs_v2::MemFs as MemFs2;

struct Place {
    path: PathBuf,
    mounted: Option<Mounted>,
}

impl Place {
    fn mount<F: FileSystem>(name: &str, options: &str) -> Place {
        let path = std::env::temp_dir().join(format!("bento-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let opts = Options { signals: false, ..Options::default() };
        let mounted = Mounted::start::<F>(&path, options, &opts).unwrap();
        Place { path, mounted: Some(mounted) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn daemon(&self) -> &Mounted {
        self.mounted.as_ref().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mounted) = self.mounted.take() {
            mounted.unmount().unwrap();
        }
        fs::remove_dir(&self.path).unwrap();
    }
}

fn errno(result: std::io::Result<impl Sized>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// The last system call's errno, if it failed.
fn check(result: libc::c_int) -> i32 {
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

#[test]
fn files_and_names() {
    let place = Place::mount::<MemFs>("names", "");
    fs::create_dir(place.at("d")).unwrap();
    fs::write(place.at("d/f"), "hello").unwrap();
    fs::hard_link(place.at("d/f"), place.at("g")).unwrap();
    symlink("d/f", place.at("l")).unwrap();
    assert_eq!(fs::read(place.at("l")).unwrap(), b"hello");
    assert_eq!(fs::metadata(place.at("g")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(&place.path).unwrap().nlink(), 3);
    fs::rename(place.at("d/f"), place.at("d/h")).unwrap();
    assert_eq!(errno(fs::read(place.at("l"))), libc::ENOENT);
    assert_eq!(errno(fs::remove_dir(place.at("d"))), libc::ENOTEMPTY);
    fs::set_permissions(place.at("g"), fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(fs::metadata(place.at("d/h")).unwrap().permissions().mode() & 0o7777, 0o604);
    fs::remove_file(place.at("g")).unwrap();
    assert_eq!(fs::metadata(place.at("d/h")).unwrap().nlink(), 1);
    for n in 0..500 {
        fs::write(place.at(&format!("d/{n}")), "").unwrap();
    }
    assert_eq!(fs::read_dir(place.at("d")).unwrap().count(), 501);
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|line| line.contains(place.path.to_str().unwrap())).unwrap();
    assert!(line.contains("memfs"), "{line}");
    fs::remove_dir_all(place.at("d")).unwrap();
    assert_eq!(fs::read_dir(&place.path).unwrap().count(), 1);
}

#[test]
fn bytes_through_the_page_cache() {
    let place = Place::mount::<MemFs>("bytes", "");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(place.at("f")).unwrap();
    let pattern: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    file.write_all(&pattern).unwrap();
    file.sync_all().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut back = Vec::new();
    file.read_to_end(&mut back).unwrap();
    assert!(back == pattern);
    file.set_len(1000).unwrap();
    file.set_len(5000).unwrap();
    let mut tail = [9; 10];
    file.read_exact_at(&mut tail, 995).unwrap();
    assert_eq!(tail, [pattern[995], pattern[996], pattern[997], pattern[998], pattern[999], 0, 0, 0, 0, 0]);
    // SAFETY: maps a file of ours that is longer than the mapping, and unmaps it before it goes.
    unsafe {
        let map = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(map, libc::MAP_FAILED);
        map.cast::<u8>().add(7).write(77);
        assert_eq!(libc::msync(map, 4096, libc::MS_SYNC), 0);
        libc::munmap(map, 4096);
    }
    let mut byte = [0];
    file.read_exact_at(&mut byte, 7).unwrap();
    assert_eq!(byte, [77]);
}

#[test]
fn holes_are_seen_through_dirty_pages() {
    let place = Place::mount::<MemFs>("holes", "");
    let file = File::create(place.at("f")).unwrap();
    file.write_all_at(b"x", 100_000).unwrap();
    // SAFETY: plain system calls on a descriptor of ours.
    let seek = |offset, whence| unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    assert_eq!(seek(0, libc::SEEK_DATA), 98_304);
    assert_eq!(seek(98_304, libc::SEEK_HOLE), 100_001);
    // SAFETY: as above.
    let punched = unsafe {
        libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 98_304, 4096)
    };
    assert_eq!(punched, 0);
    assert_eq!(seek(0, libc::SEEK_DATA), -1);
}

#[test]
fn special_files_and_attributes() {
    let place = Place::mount::<MemFs>("special", "");
    let fifo = c(&place.at("fifo"));
    // SAFETY: NUL-terminated paths, and buffers with their lengths.
    unsafe {
        assert_eq!(check(libc::mkfifo(fifo.as_ptr(), 0o600)), 0);
        let device = c(&place.at("null"));
        assert_eq!(check(libc::mknod(device.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 3))), 0);
        let (name, value) = (c"user.k", b"v");
        fs::write(place.at("f"), "").unwrap();
        let file = c(&place.at("f"));
        assert_eq!(check(libc::setxattr(file.as_ptr(), name.as_ptr(), value.as_ptr().cast(), 1, 0)), 0);
        let mut back = [0u8; 8];
        assert_eq!(libc::getxattr(file.as_ptr(), name.as_ptr(), back.as_mut_ptr().cast(), 8), 1);
        assert_eq!(libc::listxattr(file.as_ptr(), std::ptr::null_mut(), 0), 7);
        let from = c(&place.at("f"));
        let to = c(&place.at("g"));
        let noreplace = libc::RENAME_NOREPLACE;
        fs::write(place.at("g"), "g").unwrap();
        let cwd = libc::AT_FDCWD;
        assert_eq!(check(libc::renameat2(cwd, from.as_ptr(), cwd, to.as_ptr(), noreplace)), libc::EEXIST);
        assert_eq!(check(libc::renameat2(cwd, from.as_ptr(), cwd, to.as_ptr(), libc::RENAME_EXCHANGE)), 0);
    }
    assert!(fs::symlink_metadata(place.at("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(place.at("null")).unwrap().rdev(), libc::makedev(1, 3));
    assert_eq!(fs::write(place.at("null"), "gone").map_err(|error| error.kind()), Ok::<(), ErrorKind>(()));
    assert_eq!(fs::read(place.at("f")).unwrap(), b"g");
    let mut flags: libc::c_int = 0;
    let file = File::open(place.at("f")).unwrap();
    // SAFETY: FS_IOC_GETFLAGS and FS_IOC_SETFLAGS read and write an int.
    unsafe {
        assert_eq!(check(libc::ioctl(file.as_raw_fd(), 0x8008_6601, &mut flags)), 0);
        flags |= 0x10;
        assert_eq!(check(libc::ioctl(file.as_raw_fd(), 0x4008_6602, &flags)), 0);
    }
    assert_eq!(errno(OpenOptions::new().write(true).open(place.at("f"))), libc::EPERM);
    assert_eq!(errno(fs::remove_file(place.at("f"))), libc::EPERM);
    flags &= !0x10;
    // SAFETY: as above.
    assert_eq!(check(unsafe { libc::ioctl(file.as_raw_fd(), 0x4008_6602, &flags) }), 0);
}

#[test]
fn a_full_mount_is_told_at_fsync() {
    let place = Place::mount::<MemFs>("full", "size=64k");
    let mut file = File::create(place.at("f")).unwrap();
    let written = file.write_all(&[1; 200_000]).and_then(|()| file.sync_all());
    assert_eq!(errno(written), libc::ENOSPC);
    drop(file);
    fs::remove_file(place.at("f")).unwrap();
    fs::write(place.at("g"), vec![2; 60_000]).unwrap();
    assert_eq!(fs::read(place.at("g")).unwrap().len(), 60_000);
}

#[test]
fn a_panic_answers_eio_and_the_daemon_lives_on() {
    let place = Place::mount::<BytesFs>("panic", "on=mkdir,kind=panic");
    assert_eq!(errno(fs::create_dir(place.at("d"))), libc::EIO);
    fs::write(place.at("f"), "still alive").unwrap();
    assert_eq!(fs::read(place.at("f")).unwrap(), b"still alive");
    let panics = place.daemon().panics();
    assert_eq!((panics.len(), panics[0].handler), (1, "mkdir"));
    assert!(panics[0].location.is_some());
}

#[test]
fn bytes_behind_handlers() {
    let place = Place::mount::<BytesFs>("handlers", "");
    let pattern: Vec<u8> = (0..1_000_000u32).map(|n| (n % 253) as u8).collect();
    fs::write(place.at("f"), &pattern).unwrap();
    let file = File::open(place.at("f")).unwrap();
    file.sync_all().unwrap();
    // SAFETY: a descriptor of ours.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert!(fs::read(place.at("f")).unwrap() == pattern);
    let append = OpenOptions::new().append(true).open(place.at("f")).unwrap();
    (&append).write_all(b"end").unwrap();
    drop(append);
    assert_eq!(fs::metadata(place.at("f")).unwrap().len(), 1_000_003);
}

#[test]
fn a_read_only_mount_refuses_changes() {
    let place = Place::mount::<MemFs>("ro", "ro,mode=700");
    assert_eq!(errno(fs::write(place.at("f"), "")), libc::EROFS);
    assert_eq!(errno(fs::set_permissions(&place.path, fs::Permissions::from_mode(0o755))), libc::EROFS);
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn what_cannot_be_mounted_is_explained() {
    let opts = Options { signals: false, ..Options::default() };
    let missing = Mounted::start::<MemFs>(Path::new("/nonexistent/place"), "", &opts).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/place") && missing.contains("does it exist"), "{missing}");
    let place = std::env::temp_dir();
    let option = Mounted::start::<MemFs>(&place, "bogus=1", &opts).unwrap_err().to_string();
    assert!(option.contains("bogus"), "{option}");
    let file = place.join(format!("bento-file-{}", std::process::id()));
    fs::write(&file, "").unwrap();
    let not_a_folder = Mounted::start::<MemFs>(&file, "", &opts).unwrap_err().to_string();
    assert!(not_a_folder.contains("cannot be mounted on"), "{not_a_folder}");
    fs::remove_file(&file).unwrap();
}

#[test]
fn many_tasks_look_for_holes_at_once() {
    let place = Place::mount::<MemFs>("seekers", "");
    std::thread::scope(|scope| {
        for task in 0..16 {
            let path = place.at(&format!("f{task}"));
            scope.spawn(move || {
                let file = File::create(path).unwrap();
                for round in 1..30u64 {
                    file.write_all_at(b"x", round * 100_000).unwrap();
                    // SAFETY: a plain system call on a descriptor of ours.
                    let data = unsafe { libc::lseek(file.as_raw_fd(), round as i64 * 98_304, libc::SEEK_DATA) };
                    assert_eq!(data, round as i64 * 100_000 / 4096 * 4096);
                }
            });
        }
    });
}

#[test]
fn a_hostile_file_system_hurts_nobody() {
    for seed in 0..6 {
        let path = std::env::temp_dir().join(format!("bento-hostile-{seed}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let opts = Options { signals: false, ..Options::default() };
        let options = format!("seed={seed},sane={}", [95, 80, 60][seed % 3]);
        if let Ok(mounted) = Mounted::start::<HostileFs>(&path, &options, &opts) {
            for round in 0..5 {
                let (one, two) = (path.join(format!("a{round}")), path.join("b"));
                let _ = fs::read_dir(&path).map(|names| names.take(50).for_each(drop));
                let _ = fs::create_dir(&one);
                let _ = fs::write(&two, vec![1; 10_000]);
                let _ = File::open(&two).and_then(|file| file.read_at(&mut [0; 65_536], 0));
                let _ = File::open(&two).and_then(|file| file.sync_all());
                let _ = fs::rename(&one, &two);
                let _ = fs::read_link(&one);
                let _ = fs::metadata(&two);
                let _ = fs::set_permissions(&two, fs::Permissions::from_mode(0o600));
                let _ = fs::remove_file(&two);
            }
            assert!(mounted.panics().is_empty());
            mounted.unmount().unwrap();
        }
        fs::remove_dir(&path).unwrap();
    }
}

/// One request to the daemon's socket.
fn ask(place: &Place, request: &str) -> String {
    let mut stream = UnixStream::connect(place.daemon().socket().unwrap()).unwrap();
    writeln!(stream, "{request}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

#[test]
fn a_hundred_upgrades_below_open_files() {
    let place = Place::mount::<MemFs>("upgrade", "");
    let kept = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(place.at("kept")).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for task in 0..4u8 {
            let (place, over, kept) = (&place, &over, &kept);
            scope.spawn(move || {
                let mut round = 0u64;
                while !over.load(Ordering::Relaxed) {
                    let path = place.at(&format!("{task}-{}", round % 5));
                    let content = format!("{task} in round {round}").repeat(100);
                    fs::write(&path, &content).unwrap();
                    assert_eq!(fs::read_to_string(&path).unwrap(), content);
                    kept.write_all_at(&round.to_le_bytes(), u64::from(task) * 8).unwrap();
                    fs::rename(&path, place.at(&format!("{task}-new"))).unwrap();
                    fs::remove_file(place.at(&format!("{task}-new"))).unwrap();
                    round += 1;
                }
            });
        }
        for turn in 0..100 {
            let daemon = place.daemon();
            if turn % 2 == 0 { daemon.upgrade::<MemFs2>() } else { daemon.upgrade::<MemFs>() }.unwrap();
            thread::sleep(std::time::Duration::from_millis(2));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(place.daemon().panics().is_empty());
    assert!(
        ask(&place, "GET last_swap").starts_with("OK 100 ok downgrade 2 1 pause_ns="),
        "{}",
        ask(&place, "GET last_swap")
    );
    drop(kept);
}

#[test]
fn the_daemon_answers_at_its_socket() {
    let place = Place::mount::<MemFs>("socket", "");
    fs::write(place.at("f"), "x").unwrap();
    let socket = place.daemon().socket().unwrap().to_owned();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ask(&place, "GET mountpoint"), format!("OK {}", place.path.canonicalize().unwrap().display()));
    for (request, answer) in [
        ("GET version", "OK 1"),
        ("GET fs", "OK memfs"),
        ("GET health", "OK ok"),
        ("GET last_swap", "OK 0 none"),
        ("SET timeout_ms 250", "OK"),
        ("GET timeout_ms", "OK 250"),
        ("SET timeout_ms 0", "ERR timeout_ms: \"0\" is no number from 1 to 60000"),
        ("SET restart 1", "OK"),
        ("GET generation", "OK 2"),
        ("SET version 2", "ERR version is for reading"),
        ("GET nothing", "ERR there is no nothing"),
        ("SET upgrade 7", "ERR version 7 is not loaded: name its object instead (no such file or directory)"),
        ("SET state 1", "OK"),
        ("nonsense", "ERR say `GET name` or `SET name value`"),
    ] {
        assert_eq!(ask(&place, request), answer, "{request}");
    }
    assert!(ask(&place, "GET state_bytes").starts_with("OK 8565"));
    assert_eq!(fs::read(place.at("f")).unwrap(), b"x");
    drop(place);
    assert!(!socket.exists());
}

#[test]
fn mounts_that_begin_and_end_at_once_keep_their_sockets() {
    thread::scope(|scope| {
        for task in 0..4 {
            scope.spawn(move || {
                for _ in 0..25 {
                    let place = Place::mount::<MemFs>(&format!("crowd{task}"), "");
                    fs::write(place.at("f"), "x").unwrap();
                    let socket = place.daemon().socket().unwrap().to_owned();
                    let mountpoint = place.path.canonicalize().unwrap();
                    assert_eq!(ask(&place, "GET mountpoint"), format!("OK {}", mountpoint.display()));
                    drop(place);
                    assert!(!socket.exists());
                }
            });
        }
    });
}
