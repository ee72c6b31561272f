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

#[test]
fn an_error_a_panic_or_a_forgotten_transaction_leaves_no_trace() {
    let _alone = alone();
    let disk = Image::new(image(1024, 0, PLAIN));
    let fs = mount(&disk);
    cached(&fs);
    add(&fs, "all", 7).unwrap();
    fs.sync().unwrap();
    let before = disk.bytes();
    for (panics, forgets) in [(false, false), (true, false), (false, true)] {
        let mut accesses = 0;
        for n in 0.. {
            PANICS.store(panics, Ordering::Relaxed);
            FORGETS.store(forgets, Ordering::Relaxed);
            FUSE.store(n, Ordering::Relaxed);
            let done = add(&fs, "all", 1);
            let left = FUSE.swap(-1, Ordering::Relaxed);
            if done.is_ok() {
                assert!(left >= 0);
                break;
            }
            accesses += 1;
            while fs.health() == Health::Restarting {
                std::thread::yield_now();
            }
            assert_eq!(cached(&fs), [7; 8], "after access {n}, panics {panics}, forgets {forgets}");
            fs.sync().unwrap();
            assert!(disk.bytes() == before, "after access {n}, panics {panics}, forgets {forgets}");
            assert_eq!(fs.statfs().unwrap().blocks_free, 1000 - 7);
        }
        assert!(accesses > 5 * 8, "{accesses}");
        add(&fs, "all", -1).unwrap();
        fs.sync().unwrap();
        assert!(disk.bytes() == before);
    }
    fs.unmount().unwrap();
}
