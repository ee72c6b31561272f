// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Each access to blocks of each operation of rext4 is made to fail once, and to panic once: one after another, until the
//! operation comes to its end undisturbed. After each the disk is, byte by byte, as if nothing had been asked; where an
//! operation takes several transactions, as after some of them, which `e2fsck` and the next mount find sound. Then the
//! mount goes on, and so do files that are open.

mod cases;
mod disk;

use std::collections::HashSet;
use std::time::Duration;

use bento::errno::Errno;
use bento::faults::{self, Fault};
use bento_judges::harness::InProcess;
use bento_judges::tree::{Target, Tree};
use bento_user_shim::{File, Harness, Health, Image, flags};
use rext4::Rext4;

use cases::{Case, cases};
use disk::{KINDS, Kind, Made};

const HELD: &[u8] = b"what an open file has";
const NOW: i64 = 1_700_000_000;
const FAULTS: [Fault; 2] = [Fault::Fails(Errno::EIO), Fault::Panics];

/// What happened to one operation.
#[derive(Default, Debug)]
struct Tally {
    /// Accesses that met a fault.
    faults: usize,
    /// After which not one byte was different.
    untouched: usize,
    /// After which the operation had been done, or a part of it.
    done: usize,
    /// How many states those left.
    states: usize,
}

/// A mount with a file that stays open.
struct Mount {
    /// Before the mount, which cannot end while it is open.
    held: File,
    fs: Harness,
    disk: Image,
    /// At rest, with its free blocks and inodes.
    rest: Vec<u8>,
    free: (u64, u64),
}

fn mount(bytes: &[u8]) -> (Harness, Image) {
    let disk = Image::new(bytes.to_vec());
    let fs = Harness::mount_disk::<Rext4>(disk.clone(), "").unwrap_or_else(|error| panic!("not mounted: {error:?}"));
    fs.set_restart_limit(0);
    fs.stop_clock(NOW);
    (fs, disk)
}

fn free(fs: &Harness) -> (u64, u64) {
    let statfs = fs.statfs().unwrap();
    (statfs.blocks_free, statfs.files_free)
}

/// What the disk has when everything is at its place.
fn at_rest<T>(fs: &Harness, disk: &Image, look: impl FnOnce(&[u8]) -> T) -> T {
    fs.freeze().unwrap();
    let seen = disk.look(look);
    fs.thaw().unwrap();
    seen
}

fn look(fs: &Harness) -> Tree {
    let mut tree = InProcess::new(fs).look().unwrap();
    // As old as the image.
    tree.0.retain(|name, _| name.0 != b"lost+found");
    tree
}

impl Mount {
    fn new(bytes: &[u8]) -> Mount {
        let (fs, disk) = mount(bytes);
        let held = fs.open("/held", flags::READ_WRITE).unwrap();
        let (rest, free) = (at_rest(&fs, &disk, <[u8]>::to_vec), free(&fs));
        Mount { fs, held, disk, rest, free }
    }

    /// The file that was open all the time is read and written.
    fn held_works(&self) {
        assert_eq!(self.held.read_at(0, 100).unwrap(), HELD);
        // A remount may have come half-way.
        self.fs.remount_read_only(false).unwrap();
        self.held.write_all_at(HELD, 0).unwrap();
        self.held.fsync().unwrap();
    }

    fn end(self) -> Image {
        drop(self.held);
        self.fs.unmount().unwrap();
        self.disk
    }
}

/// What a mount finds that was left so, and that e2fsck finds nothing after it.
fn found(made: &Made, bytes: &[u8], what: &str) -> Tree {
    let (fs, disk) = mount(bytes);
    let tree = look(&fs);
    let log = fs.log();
    fs.unmount().unwrap();
    made.e2fsck(&disk.bytes(), &format!("{what}: {log:?}"));
    tree
}

fn enumerate(made: &Made, case: &Case, fault: Fault) -> Tally {
    let what = format!("{:?}: {}: {fault:?}", made.kind, case.name);
    let (fs, disk) = mount(&made.bytes);
    fs.write_file("/held", HELD).unwrap();
    (case.setup)(&fs);
    let before = look(&fs);
    fs.unmount().unwrap();
    let bytes = disk.bytes();
    made.e2fsck(&bytes, &what);
    let done = {
        let (fs, _) = mount(&bytes);
        let files = (case.prepare)(&fs);
        match (case.operation)(&fs, files) {
            Ok(()) => {}
            // Without extents.
            Err(Errno::EOPNOTSUPP) => return Tally::default(),
            Err(error) => panic!("{what}: {error:?}"),
        }
        look(&fs)
    };

    let (mut tally, mut mounted, mut seen) = (Tally::default(), None, HashSet::new());
    for n in 0.. {
        let what = format!("{what}: access {n}");
        let mount = mounted.take().unwrap_or_else(|| Mount::new(&bytes));
        let files = (case.prepare)(&mount.fs);
        let panics = mount.fs.panics().len();
        faults::arm(n, fault);
        let result = (case.operation)(&mount.fs, files);
        let met = faults::disarm();
        if !met {
            result.unwrap_or_else(|error| panic!("{what}: {error:?} though nothing failed: {:?}", mount.fs.log()));
            assert_eq!(done.differences(&look(&mount.fs), 5), [""; 0], "{what}");
            mount.held_works();
            let disk = mount.end();
            made.e2fsck(&disk.bytes(), &what);
            break;
        }
        tally.faults += 1;
        assert!(matches!(result, Ok(()) | Err(Errno::EIO)), "{what}: {result:?}");
        assert_eq!(mount.fs.panics().len() - panics, usize::from(fault == Fault::Panics), "{what}");
        assert_eq!(mount.fs.wait_for_restart(Duration::from_secs(30)), Health::Ok, "{what}: {:?}", mount.fs.log());
        let (different, sum) = at_rest(&mount.fs, &mount.disk, |now| {
            let different = made.difference(&mount.rest, now);
            let sum = if different.is_empty() { 0 } else { made.sum(now) };
            (different, sum)
        });
        if different.is_empty() && free(&mount.fs) == mount.free {
            assert!(result.is_err() || done == before, "{what}: told as done, and nothing happened");
            tally.untouched += 1;
            mounted = Some(mount);
            continue;
        }
        tally.done += 1;
        assert!(
            result.is_ok() || case.steps,
            "{what}: blocks {different:?} are different, free {:?} instead of {:?}",
            free(&mount.fs),
            mount.free
        );
        // One disk, one answer: it has been judged.
        if !seen.insert((result.is_ok(), sum)) {
            continue;
        }
        tally.states += 1;
        mount.held_works();
        let what = format!("{what}: {result:?}, blocks {different:?}, {:?}", mount.fs.log());
        let disk = mount.end();
        let tree = found(made, &disk.bytes(), &what);
        let (as_done, as_before) = (done.differences(&tree, 5), before.differences(&tree, 5));
        let sound = as_done.is_empty() || result.is_err() && (as_before.is_empty() || (case.partly)(&tree));
        assert!(sound, "{what}: {result:?}: against done {as_done:?}, against before {as_before:?}");
    }
    tally
}

/// `CASE` is the beginning of a name: only those.
fn all_of(kind: &'static Kind) {
    let made = Made::new(kind);
    let only = std::env::var("CASE").ok();
    for case in cases().iter().filter(|case| only.as_deref().is_none_or(|only| case.name.starts_with(only))) {
        for fault in FAULTS {
            let began = std::time::Instant::now();
            let tally = enumerate(&made, case, fault);
            println!("{kind:?}: {}: {fault:?}: {tally:?} in {:?}", case.name, began.elapsed());
            assert!(
                tally.faults > 0 || !kind.extents || case.name == "statfs",
                "{kind:?}: {}: no access to blocks",
                case.name
            );
        }
    }
}

#[test]
fn ext4_with_small_blocks() {
    all_of(&KINDS[0]);
}

#[test]
fn ext4_with_large_blocks() {
    all_of(&KINDS[1]);
}

#[test]
fn ext3() {
    all_of(&KINDS[2]);
}

#[test]
fn ext2() {
    all_of(&KINDS[3]);
}

/// A disk that was in use when the machine stopped: a journal to replay, an inode to free and one to cut.
fn in_use(made: &Made) -> Vec<u8> {
    let (fs, disk) = mount(&made.bytes);
    fs.write_file("/held", HELD).unwrap();
    fs.mkdir("/d", 0o755).unwrap();
    fs.write_file("/d/gone", vec![1; 20_000]).unwrap();
    let gone = fs.open("/d/gone", flags::READ_WRITE).unwrap();
    fs.unlink("/d/gone").unwrap();
    fs.sync().unwrap();
    let bytes = disk.bytes();
    drop(gone);
    fs.unmount().unwrap();
    bytes
}

/// Mounts and unmounts `bytes` with a fault at each access of one or the other.
fn mounts(made: &Made, bytes: &[u8], name: &str) {
    let expected = found(made, bytes, name);
    for (fault, ends) in [(FAULTS[0], false), (FAULTS[0], true), (FAULTS[1], false), (FAULTS[1], true)] {
        let (mut seen, mut faults) = (HashSet::new(), 0);
        for n in 0.. {
            let what = format!("{:?}: {name}: {fault:?}, unmount {ends}, access {n}", made.kind);
            let disk = Image::new(bytes.to_vec());
            if !ends {
                faults::arm(n, fault);
            }
            let mounted = Harness::mount_disk::<Rext4>(disk.clone(), "");
            let mut met = !ends && faults::disarm();
            if let Ok(fs) = mounted {
                fs.stop_clock(NOW);
                assert_eq!(expected.differences(&look(&fs), 5), [""; 0], "{what}: {:?}", fs.log());
                fs.chmod("/held", 0o600).unwrap();
                fs.chmod("/held", 0o644).unwrap();
                if ends {
                    faults::arm(n, fault);
                }
                let report = fs.unmount_and_report().unwrap();
                met = ends && faults::disarm() || met;
                assert_eq!((report.leaked_inodes, report.leaked_allocations), (0, 0), "{what}");
            } else {
                assert!(met, "{what}: {mounted:?}");
            }
            if seen.insert(made.sum(&disk.bytes())) {
                assert_eq!(expected.differences(&found(made, &disk.bytes(), &what), 5), [""; 0], "{what}");
            }
            if !met {
                break;
            }
            faults += 1;
        }
        println!("{:?}: {name}: {fault:?}, unmount {ends}: {faults} faults, {} states", made.kind, seen.len());
        assert!(faults > 0);
    }
}

#[test]
fn mounting_and_unmounting() {
    for kind in &KINDS {
        let made = Made::new(kind);
        mounts(&made, &found_with_held(&made), "clean");
        if kind.name != "ext2" {
            mounts(&made, &in_use(&made), "in use");
        }
    }
}

fn found_with_held(made: &Made) -> Vec<u8> {
    let (fs, disk) = mount(&made.bytes);
    fs.write_file("/held", HELD).unwrap();
    fs.unmount().unwrap();
    disk.bytes()
}

/// A mount in use: a file that is open, one that is open and has no name any more, and changes that are not in the log yet.
/// What those become that nobody synced, nobody is promised.
fn busy(bytes: &[u8]) -> (Harness, Image, Vec<File>) {
    let (fs, disk) = mount(bytes);
    let files = vec![fs.open("/held", flags::READ_WRITE).unwrap(), fs.open("/d/gone", flags::READ_WRITE).unwrap()];
    fs.unlink("/d/gone").unwrap();
    fs.sync().unwrap();
    fs.chmod("/held", 0o600).unwrap();
    fs.rename("/d/old", "/d/new").unwrap();
    (fs, disk, files)
}

/// An abandoned call: a new instance reads the device below the live mount, and one of its accesses fails. The mount goes on or
/// is quarantined, which its log and each caller are told; then it can be restarted, or unmounted.
fn restarts(made: &Made, fault: Fault) {
    // All inodes are made once: each has a number of its own by chance.
    let bytes = {
        let (fs, disk) = mount(&made.bytes);
        fs.write_file("/held", HELD).unwrap();
        fs.mkdir("/d", 0o755).unwrap();
        fs.write_file("/d/gone", vec![1; 20_000]).unwrap();
        fs.write_file("/d/old", "old").unwrap();
        fs.unmount().unwrap();
        disk.bytes()
    };
    let expected = {
        let (fs, _, files) = busy(&bytes);
        let tree = look(&fs);
        drop(files);
        fs.unmount().unwrap();
        tree
    };
    let (mut seen, mut faults, mut quarantined) = (HashSet::new(), 0, 0);
    for n in 0.. {
        // Restarted again after every other access, unmounted after the rest; with the other fault it is the other way round.
        let heals = (n % 2 == 0) == (fault == Fault::Panics);
        let what = format!("{:?}: restart: {fault:?}, heals {heals}, access {n}", made.kind);
        let (fs, disk, files) = busy(&bytes);
        let panics = fs.panics().len();
        faults::arm(n, fault);
        let health = fs.poison_and_restart();
        let met = faults::disarm();
        let mut synced = false;
        faults += usize::from(met);
        let panicked = usize::from(met && fault == Fault::Panics);
        assert_eq!(fs.panics().len() - panics, panicked, "{what}: {:?}", fs.log());
        match health {
            Health::Ok => {}
            Health::Quarantined if met => {
                quarantined += 1;
                let log = fs.log();
                assert!(log.iter().any(|line| line.contains("cannot be restarted")), "{what}: {log:?}");
                assert_eq!(fs.stat("/d/new").map(drop).and(fs.chmod("/held", 0o640)), Err(Errno::EIO), "{what}");
                assert_eq!(fs.create("/d/newer", 0o600).map(drop), Err(Errno::EIO), "{what}");
                // The log is the shim's, and sound: what was changed before can still be made durable.
                synced = files[0].fsync().is_ok();
            }
            other => panic!("{what}: {other:?}: {:?}", fs.log()),
        }
        let works = health == Health::Ok || heals;
        if works {
            if health != Health::Ok {
                fs.restart().unwrap_or_else(|error| panic!("{what}: {error:?}: {:?}", fs.log()));
            }
            assert_eq!(expected.differences(&look(&fs), 5), [""; 0], "{what}: {:?}", fs.log());
            assert_eq!(files[0].read_at(0, 100).unwrap(), HELD, "{what}");
            assert_eq!(files[1].read_at(0, 100).unwrap(), [1; 100], "{what}");
            files[0].write_all_at(HELD, 0).unwrap();
            files[0].fsync().unwrap();
        }
        let log = fs.log();
        drop(files);
        fs.unmount().unwrap();
        if seen.insert((works, synced, made.sum(&disk.bytes()))) {
            let tree = found(made, &disk.bytes(), &format!("{what}: {log:?}"));
            // What was synced before is there in any case.
            assert!(
                !works || expected.differences(&tree, 5).is_empty(),
                "{what}: {:?}",
                expected.differences(&tree, 5)
            );
            let held = tree.get(b"held").map(|held| held.mode & 0o7777);
            assert!(held == Some(0o600) || held == Some(0o644) && !works && !synced, "{what}: {held:?}");
            assert!(tree.get(b"d").is_some(), "{what}");
        }
        if !met {
            assert_eq!(health, Health::Ok, "{what}");
            break;
        }
    }
    let states = seen.len();
    println!("{:?}: restart: {fault:?}: {faults} faults, {quarantined} quarantined, {states} states", made.kind);
    assert!(faults > 0 && quarantined > 0);
}

#[test]
fn restarting() {
    for kind in &KINDS {
        let made = Made::new(kind);
        for fault in FAULTS {
            restarts(&made, fault);
        }
    }
}
