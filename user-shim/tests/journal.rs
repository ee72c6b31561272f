// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Transactions: all or nothing, whatever becomes of the call.

#[path = "journal/mod.rs"]
mod countfs;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bento::errno::Errno;
use bento_user_shim::{Harness, Health, Image};
use countfs::{COUNTERS, CountFs, FORGETS, FUSE, PANICS, counters, image};

/// The fuse is one for all.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    FUSE.store(-1, Ordering::Relaxed);
    PANICS.store(false, Ordering::Relaxed);
    FORGETS.store(false, Ordering::Relaxed);
    guard
}

fn mount(image: &Image) -> Harness {
    Harness::mount_disk::<CountFs>(image.clone(), "").unwrap()
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
    let disk = Image::new(image(1024, 0, false, false));
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
fn an_error_a_panic_or_a_forgotten_transaction_leaves_no_trace() {
    let _alone = alone();
    let disk = Image::new(image(1024, 0, false, false));
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
