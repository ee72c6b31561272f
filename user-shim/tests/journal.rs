// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transactions: all or nothing, whatever becomes of the call.

#[path = "journal/mod.rs"]
mod countfs;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bento::errno::Errno;
use bento_user_shim::{Disk, Harness, Health, Image, SimDisk};
use countfs::{COUNTERS, CountFs, FORGETS, FUSE, Kind, PANICS, counters, image};

const PLAIN: Kind = Kind { wide: false, checksums: false };
const KINDS: [Kind; 4] = [
    PLAIN,
    Kind { wide: true, checksums: false },
    Kind { wide: false, checksums: true },
    Kind { wide: true, checksums: true },
];

/// The fuse is one for all.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    FUSE.store(-1, Ordering::Relaxed);
    PANICS.store(false, Ordering::Relaxed);
    FORGETS.store(false, Ordering::Relaxed);
    guard
}

fn mount(disk: &(impl Disk + Clone + 'static)) -> Harness {
    Harness::mount_disk::<CountFs>(disk.clone(), "").unwrap()
}

/// The counters after recovery, twice: what recovers once, recovers again from an image that was recovered in part.
fn recovered(bytes: &[u8]) -> Vec<u64> {
    let disk = Image::new(bytes.to_vec());
    let fs = mount(&disk);
    let seen = cached(&fs);
    fs.unmount().unwrap();
    assert_eq!(counters(&disk.bytes()).unwrap(), seen);
    seen
}

fn add(fs: &Harness, what: &str, amount: i64) -> Result<(), Errno> {
    fs.setxattr("/0", format!("user.{what}"), amount.to_string(), 0)
}

fn cached(fs: &Harness) -> Vec<u64> {
    (0..COUNTERS).map(|n| fs.stat(format!("/{n}")).unwrap().size).collect()
}

#[test]
fn what_is_committed_is_on_the_device_after_sync() {
    let _alone = alone();
    let disk = Image::new(image(1024, 0, PLAIN));
    let fs = mount(&disk);
    cached(&fs);
    add(&fs, "all", 3).unwrap();
    add(&fs, "add", 2).unwrap();
    assert_eq!(cached(&fs), [5, 3, 3, 3, 3, 3, 3, 3]);
    assert_eq!(counters(&disk.bytes()).unwrap(), [0; 8]);
    fs.sync().unwrap();
    assert_eq!(counters(&disk.bytes()).unwrap(), [5, 3, 3, 3, 3, 3, 3, 3]);
    assert_eq!(fs.statfs().unwrap().blocks_free, 1000 - 5);
    assert_eq!(add(&fs, "nested", 0), Err(Errno::EDEADLK));
    add(&fs, "all", -1).unwrap();
    fs.unmount().unwrap();
    assert_eq!(counters(&disk.bytes()).unwrap(), [4, 2, 2, 2, 2, 2, 2, 2]);
}

#[test]
fn what_is_committed_is_recovered() {
    let _alone = alone();
    for kind in KINDS {
        let disk = Image::new(image(1024, 128, kind));
        let fs = mount(&disk);
        cached(&fs);
        add(&fs, "all", 3).unwrap();
        fs.sync().unwrap();
        add(&fs, "add", 2).unwrap();
        fs.open("/0", 0).unwrap().fsync().unwrap();
        add(&fs, "add", 1).unwrap();
        let bytes = disk.bytes();
        assert_eq!(counters(&bytes).unwrap(), [0; 8], "{kind:?}: nothing went to its place yet");
        assert_eq!(recovered(&bytes), [5, 3, 3, 3, 3, 3, 3, 3], "{kind:?}");
        fs.crash();
        assert_eq!(recovered(&disk.bytes()), [5, 3, 3, 3, 3, 3, 3, 3], "{kind:?}");
        let fs = mount(&disk);
        assert_eq!(cached(&fs)[0], 5);
        fs.unmount().unwrap();
    }
}

#[test]
fn every_crash_leaves_whole_transactions_and_all_that_were_promised() {
    let _alone = alone();
    for kind in KINDS {
        // The journal goes round several times.
        let disk = SimDisk::new(image(1024, 80, kind));
        let fs = mount(&disk);
        cached(&fs);
        for round in 1..=60 {
            add(&fs, "all", 1).unwrap();
            if round % 3 == 0 {
                fs.open("/0", 0).unwrap().fsync().unwrap();
                disk.mark(round);
            }
            if round % 7 == 0 {
                add(&fs, "fresh", 900 + round as i64).unwrap();
                fs.sync().unwrap();
                disk.mark(round);
                add(&fs, "free", 900 + round as i64).unwrap();
            }
        }
        fs.unmount().unwrap();
        disk.mark(60);
        assert_eq!(counters(&disk.bytes()).unwrap(), [60; 8]);
        let mut states = 0;
        for state in disk.crash_states(42, 6) {
            let found = recovered(&state.image);
            assert!(found.iter().all(|counter| *counter == found[0]), "{kind:?}: {found:?} in {state:?}");
            assert!(found[0] >= state.mark && found[0] <= 60, "{kind:?}: {found:?} in {state:?}");
            states += 1;
        }
        assert!(states > 200, "{states}");
    }
}

#[test]
fn what_fails_to_be_written_stops_the_journal_and_nothing_is_torn() {
    let _alone = alone();
    for tear in [false, true] {
        for n in 0.. {
            let disk = SimDisk::new(image(1024, 80, KINDS[3]));
            let fs = mount(&disk);
            cached(&fs);
            disk.fail_write(n, 1, tear);
            let mut promised = 0;
            for round in 1..=20 {
                if add(&fs, "all", 1).is_err() || fs.sync().is_err() {
                    break;
                }
                promised = round;
            }
            let whole = promised == 20;
            if !whole {
                assert_eq!(add(&fs, "all", 1), Err(Errno::EROFS));
            }
            let bytes = disk.bytes();
            drop(fs);
            let found = recovered(&bytes);
            assert!(found.iter().all(|counter| *counter == found[0]), "{found:?} after write {n} failed");
            assert!(found[0] >= promised && found[0] <= promised + 1, "{found:?} of {promised}, write {n} failed");
            if whole {
                break;
            }
        }
    }
}

/// Each way to end a call at each access to a block. `what` undoes what a successful call did.
fn fails_everywhere(fs: &Harness, what: (&str, i64), back: (&str, i64), same: &dyn Fn(&str)) {
    for (panics, forgets) in [(false, false), (true, false), (false, true)] {
        let mut accesses = 0;
        for n in 0.. {
            PANICS.store(panics, Ordering::Relaxed);
            FORGETS.store(forgets, Ordering::Relaxed);
            FUSE.store(n, Ordering::Relaxed);
            let done = add(fs, what.0, what.1);
            FUSE.store(-1, Ordering::Relaxed);
            if done.is_ok() {
                break;
            }
            accesses += 1;
            while fs.health() == Health::Restarting {
                std::thread::yield_now();
            }
            same(&format!("{what:?}: access {n}, panics {panics}, forgets {forgets}"));
        }
        assert!(accesses > 2, "{what:?}: {accesses}");
        add(fs, back.0, back.1).unwrap();
        same("and back");
    }
}

#[test]
fn an_error_a_panic_or_a_forgotten_transaction_leaves_no_trace() {
    let _alone = alone();
    for journal in [0, 80] {
        let disk = Image::new(image(1024, journal, KINDS[3]));
        let fs = mount(&disk);
        cached(&fs);
        add(&fs, "all", 7).unwrap();
        add(&fs, "magic", 900).unwrap();
        add(&fs, "magic", 901).unwrap();
        fs.freeze().unwrap();
        fs.thaw().unwrap();
        let before = disk.bytes();
        assert_eq!(counters(&before).unwrap(), [7; 8]);
        let same = |when: &str| {
            assert_eq!(cached(&fs), [7; 8], "{when}");
            fs.freeze().unwrap();
            fs.thaw().unwrap();
            let now = disk.bytes();
            // The journal's own blocks are nobody's business.
            for block in (0..64).chain(160..1024) {
                let range = block * 1024..(block + 1) * 1024;
                assert!(now[range.clone()] == before[range], "{when}: block {block}");
            }
            assert_eq!(fs.statfs().unwrap().blocks_free, 1000 - 7, "{when}");
        };
        fails_everywhere(&fs, ("all", 1), ("all", -1), &same);
        // A block that is cached, and one that is not.
        fails_everywhere(&fs, ("fresh", 900), ("magic", 900), &same);
        fs.drop_caches().unwrap();
        cached(&fs);
        fails_everywhere(&fs, ("fresh", 901), ("magic", 901), &same);
        fs.unmount().unwrap();
    }
}

#[test]
fn many_at_once_lose_nothing() {
    let _alone = alone();
    const ROUNDS: u64 = 110;
    for kind in [PLAIN, KINDS[3]] {
        let disk = SimDisk::new(image(1024, 80, kind));
        let fs = mount(&disk);
        cached(&fs);
        std::thread::scope(|scope| {
            for n in 0..COUNTERS {
                let fs = &fs;
                scope.spawn(move || {
                    let path = format!("/{n}");
                    for round in 0..ROUNDS {
                        fs.setxattr(&path, "user.add", "1", 0).unwrap();
                        if round % 5 == n % 5 {
                            fs.open(&path, 0).unwrap().fsync().unwrap();
                            assert!(recovered_one(fs, n) > round);
                        }
                    }
                });
            }
        });
        assert_eq!(cached(&fs), [ROUNDS; 8]);
        fs.unmount().unwrap();
        assert_eq!(counters(&disk.bytes()).unwrap(), [ROUNDS; 8]);
        for state in disk.crash_states(7, 1).step_by(5) {
            recovered(&state.image);
        }
    }
}

fn recovered_one(fs: &Harness, n: u64) -> u64 {
    fs.stat(format!("/{n}")).unwrap().size
}

#[test]
fn a_restarted_instance_goes_on_with_the_journal_that_is_open() {
    let _alone = alone();
    let disk = Image::new(image(1024, 80, KINDS[3]));
    let fs = mount(&disk);
    cached(&fs);
    add(&fs, "all", 2).unwrap();
    fs.sync().unwrap();
    add(&fs, "all", 1).unwrap();
    for round in 1..=3 {
        fs.poison();
        while fs.health() == Health::Restarting {
            std::thread::yield_now();
        }
        assert_eq!(fs.health(), Health::Ok, "{:?}", fs.log());
        assert_eq!(cached(&fs), [2 + round; 8]);
        add(&fs, "all", 1).unwrap();
    }
    assert_eq!(fs.log().iter().filter(|line| line.ends_with("again")).count(), 3, "{:?}", fs.log());
    assert_eq!(fs.statfs().unwrap().blocks_free, 1000 - 6);
    fs.unmount_and_report().unwrap();
    assert_eq!(counters(&disk.bytes()).unwrap(), [6; 8]);
}

#[test]
fn what_nobody_waits_for_is_committed_in_time() {
    let _alone = alone();
    let disk = Image::new(image(1024, 80, KINDS[3]));
    let fs = Harness::mount_disk::<CountFs>(disk.clone(), "interval=1").unwrap();
    cached(&fs);
    add(&fs, "all", 1).unwrap();
    let began = std::time::Instant::now();
    while recovered(&disk.bytes()) != [1; 8] {
        assert!(began.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    fs.unmount().unwrap();
}

#[test]
fn a_frozen_mount_is_clean_and_changes_nothing() {
    let _alone = alone();
    let disk = Image::new(image(1024, 80, KINDS[3]));
    let fs = mount(&disk);
    cached(&fs);
    add(&fs, "all", 4).unwrap();
    fs.freeze().unwrap();
    let frozen = disk.bytes();
    assert_eq!(counters(&frozen).unwrap(), [4; 8]);
    // The superblock of the journal, whose `s_start` is 0: nothing to recover.
    let superblock = (64 + 80 - 40) * 1024;
    assert_eq!(frozen[superblock + 0x1c..superblock + 0x20], [0; 4]);
    assert_eq!(add(&fs, "all", 1), Err(Errno::EROFS));
    assert!(disk.bytes() == frozen);
    fs.thaw().unwrap();
    add(&fs, "all", 1).unwrap();
    fs.remount_read_only(true).unwrap();
    assert_eq!(counters(&disk.bytes()).unwrap(), [5; 8]);
    assert_eq!(disk.bytes()[superblock + 0x1c..superblock + 0x20], [0; 4]);
    assert_eq!(add(&fs, "all", 1), Err(Errno::EROFS));
    fs.remount_read_only(false).unwrap();
    add(&fs, "all", 1).unwrap();
    fs.unmount().unwrap();
    assert_eq!(counters(&disk.bytes()).unwrap(), [6; 8]);
}

#[test]
fn a_file_system_that_fails_says_so_at_the_next_mount() {
    let _alone = alone();
    let disk = Image::new(image(1024, 80, KINDS[3]));
    let fs = mount(&disk);
    cached(&fs);
    add(&fs, "all", 4).unwrap();
    fs.sync().unwrap();
    add(&fs, "all", 1).unwrap();
    add(&fs, "fail", 0).unwrap();
    assert_eq!(add(&fs, "all", 1), Err(Errno::EROFS));
    assert_eq!(fs.sync(), Err(Errno::EIO));
    drop(fs);
    let fs = mount(&disk);
    assert!(fs.log().iter().any(|line| line.ends_with("replayed 1, error Some(EIO)")), "{:?}", fs.log());
    assert_eq!(cached(&fs), [4; 8]);
    add(&fs, "all", 1).unwrap();
    fs.unmount().unwrap();
    let fs = mount(&disk);
    assert!(fs.log().iter().any(|line| line.ends_with("replayed 0, error None")), "{:?}", fs.log());
    fs.unmount().unwrap();
}

#[test]
fn what_was_not_declared_is_refused() {
    let _alone = alone();
    let disk = Image::new(image(1024, 80, PLAIN));
    let fs = mount(&disk);
    cached(&fs);
    assert_eq!(add(&fs, "greedy", 0), Err(Errno::ENOSPC));
    assert_eq!(cached(&fs), [0; 8]);
    assert_eq!(add(&fs, "large", 10_000), Err(Errno::ENOSPC));
    add(&fs, "large", 15).unwrap();
    assert_eq!(add(&fs, "outside", 1024), Err(Errno::EUCLEAN));
    let log = fs.log().join("\n");
    for line in ["changed more than the 1 blocks", "asked for 10000 blocks in one", "asked for block 1024 of 1024"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    fs.unmount().unwrap();
    let read_only = Harness::mount_disk::<CountFs>(disk.read_only(), "").unwrap();
    assert_eq!(add(&read_only, "all", 1), Err(Errno::EROFS));
    read_only.unmount().unwrap();
}
