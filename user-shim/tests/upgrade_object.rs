// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Upgrades between loaded objects: abandoned calls, memory that runs out in `load`, and code that goes when its last data
//! have gone. (The kernel's panic handler, unwinder and heap; what std can show as well is in `upgrade.rs`.)

mod objects;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bento::errno::Errno;
use bento_user_shim::{Harness, Health, Outcome};
use objects::object;

fn mounted() -> Harness {
    let mounted = Harness::load(&object("bytesfs", 1), "").unwrap();
    mounted.write_file("/f", b"before").unwrap();
    mounted
}

fn upgrade(fs: &Harness) {
    fs.upgrade_object(&object("bytesfs_v2", 2)).unwrap();
}

fn is_mapped(object: &Path) -> bool {
    let name = object.canonicalize().unwrap();
    fs::read_to_string("/proc/self/maps").unwrap().contains(name.to_str().unwrap())
}

/// A copy of its own, which no other test has loaded.
fn copy(of: &Path, name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("bento-{name}-{}.so", std::process::id()));
    fs::copy(of, &path).unwrap();
    path
}

#[test]
fn the_old_object_goes_with_its_last_data() {
    let (one, two) = (copy(&object("bytesfs", 1), "one"), copy(&object("bytesfs_v2", 2), "two"));
    let fs = Harness::load(&one, "").unwrap();
    fs.write_file("/f", b"before").unwrap();
    fs.upgrade_object(&two).unwrap();
    assert!(fs.settle());
    assert!(!is_mapped(&one) && is_mapped(&two));
    assert_eq!(fs.read_file("/f").unwrap(), b"before");
    // Back: it is loaded again.
    fs.upgrade_to(1).unwrap();
    assert!(fs.settle());
    assert!(is_mapped(&one) && !is_mapped(&two));
    assert_eq!(fs.read_file("/f").unwrap(), b"before");
    fs.unmount().unwrap();
    for path in [one, two] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn memory_runs_out_in_load() {
    let fs = mounted();
    fs.remount("on=load,kind=alloc").unwrap();
    let error = fs.upgrade_object(&object("bytesfs_v2", 2)).unwrap_err();
    assert_eq!(error.errno, Errno::ENOMEM, "{error}");
    assert_eq!((fs.version(), fs.health()), (1, Health::Ok));
    fs.remount("on=").unwrap();
    upgrade(&fs);
    assert_eq!(fs.read_file("/f").unwrap(), b"before");
    fs.unmount().unwrap();
}

#[test]
fn load_and_save_are_abandoned() {
    for (on, still) in [("load", Health::Ok), ("save", Health::Quarantined)] {
        let fs = mounted();
        fs.remount(&format!("on={on},kind=drop")).unwrap();
        let error = fs.upgrade_object(&object("bytesfs_v2", 2)).unwrap_err();
        assert_eq!(error.errno, Errno::EIO, "{error}");
        // A load leaves nothing behind but what it had made; a save was at work on the instance itself.
        assert_eq!((fs.version(), fs.health()), (1, still), "{on}");
        if still == Health::Ok {
            fs.remount("on=").unwrap();
            assert_eq!(fs.read_file("/f").unwrap(), b"before");
            upgrade(&fs);
        }
        fs.unmount().unwrap();
    }
}

#[test]
fn an_abandoned_call_restarts_by_mount() {
    let fs = mounted();
    upgrade(&fs);
    fs.remount("on=mkdir,kind=drop").unwrap();
    assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
    assert_eq!(fs.last_outcome().unwrap().1, Outcome::Abandoned);
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok);
    // Its options came back with it, and its names are gone: they lived in the instance.
    assert_eq!(fs.restarts(), 1);
    assert_eq!(fs.stat("/f").map(drop), Err(Errno::ENOENT));
    fs.unmount().unwrap();
}

#[test]
fn who_waits_for_a_lock_of_an_abandoned_call_goes_at_once() {
    let fs = Harness::load(&object("bytesfs_v2", 2), "").unwrap();
    // One abandons itself with the lock held; the others wait for it.
    fs.remount("on=mkdir,kind=hold").unwrap();
    let began = Instant::now();
    thread::scope(|scope| {
        for task in 0..4 {
            let fs = &fs;
            scope.spawn(move || fs.mkdir(format!("/{task}"), 0o755));
        }
    });
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    fs.remount("on=").unwrap();
    fs.mkdir("/after", 0o755).unwrap();
    fs.unmount().unwrap();
}

#[test]
fn panics_restart_from_the_state_and_lose_nothing() {
    let fs = mounted();
    upgrade(&fs);
    fs.set_restart_limit(0);
    for restart in 1..=50 {
        fs.remount("on=mkdir,kind=lock").unwrap();
        assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
        assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
        assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok);
        assert_eq!(fs.restarts(), restart);
    }
    fs.remount("on=").unwrap();
    assert_eq!(fs.read_file("/f").unwrap(), b"before");
    fs.unmount().unwrap();
}
