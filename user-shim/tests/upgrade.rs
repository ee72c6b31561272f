// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A running file system is replaced, in process: what survives, what is refused, what a panic leads to, and all of it with
//! traffic. The same protocol is model-checked in `slot_model.rs` and runs in the kernel's suites.

mod devfs;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bento::abi;
use bento::errno::Errno;
use bento_user_shim::{File, Harness, Health, Object, flags};
use bytesfs::BytesFs as Bytes1;
use bytesfs_v2::BytesFs as Bytes2;
use devfs::{DevFs, with_device};
use memfs::MemFs as Mem1;
use memfs_v2::MemFs as Mem2;

/// A version 1 with a file in it, open.
fn mounted(options: &str) -> (Harness, File) {
    let fs = Harness::mount::<Bytes1>(options).unwrap();
    fs.remount("on=").unwrap();
    fs.mkdir("/d", 0o755).unwrap();
    fs.write_file("/d/f", b"before").unwrap();
    let file = fs.open("/d/f", flags::READ_WRITE).unwrap();
    fs.remount(options).unwrap();
    (fs, file)
}

/// What the mount held is there, and it can be used.
fn serves(fs: &Harness, file: &File) {
    assert_eq!(file.read_at(0, 100).unwrap(), b"before");
    assert_eq!(fs.read_file("/d/f").unwrap(), b"before");
    fs.write_file("/d/g", b"after").unwrap();
    fs.drop_caches().unwrap();
    assert_eq!(fs.read_file("/d/g").unwrap(), b"after");
    fs.unlink("/d/g").unwrap();
}

/// `fs` does not come to be what it should, says why, and nothing else happens.
fn refused(
    fs: &Harness,
    file: &File,
    result: Result<impl Sized, bento_user_shim::SwapError>,
    errno: Errno,
    reason: &str,
) {
    let error = result.err().expect("the upgrade went through");
    assert_eq!(error.errno, errno, "{error}");
    assert!(error.reason.contains(reason), "{error}");
    assert!(fs.last_swap().contains(" failed ") && fs.last_swap().contains(reason), "{}", fs.last_swap());
    assert_eq!((fs.version(), fs.health()), (1, Health::Ok));
    fs.remount("on=").unwrap();
    serves(fs, file);
    fs.upgrade::<Bytes2>().unwrap();
    serves(fs, file);
}

fn end(fs: &Harness, file: File) {
    file.close().unwrap();
    fs.unmount().unwrap();
}

// ---- what survives ----

#[test]
fn open_files_names_and_data_cross_up_and_down() {
    let (fs, file) = mounted("");
    let orphan = fs.create("/gone", 0o600).unwrap();
    orphan.write_at(b"without a name", 0).unwrap();
    fs.unlink("/gone").unwrap();
    for version in [2, 1, 2, 1] {
        let swapped = if version == 2 { fs.upgrade::<Bytes2>() } else { fs.upgrade_to(1) };
        let swapped = swapped.unwrap();
        assert_eq!((swapped.to, fs.version()), (version, version));
        assert!(swapped.bytes > 0 && swapped.inodes >= 3);
        serves(&fs, &file);
        assert_eq!(orphan.read_at(0, 100).unwrap(), b"without a name");
        assert!(fs.settle());
        assert_eq!(fs.sweep_left(), 0);
    }
    assert_eq!(fs.generation(), 5);
    let lines = fs.log();
    assert!(lines.iter().any(|line| line.starts_with("bento: bytesfs(none): version 1 -> 2 in ")), "{lines:#?}");
    orphan.close().unwrap();
    end(&fs, file);
}

#[test]
fn a_resident_mount_keeps_its_pages_and_learns_to_tell_where_files_come_from() {
    let fs = Harness::mount::<Mem1>("size=64m").unwrap();
    fs.mkdir("/d", 0o755).unwrap();
    for n in 0..500 {
        fs.write_file(format!("/d/{n}"), format!("content {n}")).unwrap();
    }
    let swapped = fs.upgrade::<Mem2>().unwrap();
    assert!(swapped.inodes >= 502);
    fs.write_file("/d/new", b"new").unwrap();
    assert!(fs.getxattr("/d/new", "user.provenance").is_ok());
    for n in 0..500 {
        assert_eq!(fs.read_file(format!("/d/{n}")).unwrap(), format!("content {n}").as_bytes());
    }
    fs.upgrade_to(1).unwrap();
    assert!(fs.settle());
    assert_eq!(
        fs.read_dir("/d").unwrap().iter().filter(|entry| entry.name != b"." && entry.name != b"..").count(),
        501
    );
    fs.unmount().unwrap();
}

#[test]
fn a_mount_that_ends_before_the_sweep_drops_everything_by_the_version_that_made_it() {
    for _ in 0..20 {
        let fs = Harness::mount::<Mem1>("").unwrap();
        for n in 0..200 {
            fs.write_file(format!("/{n}"), b"x").unwrap();
        }
        fs.upgrade::<Mem2>().unwrap();
        fs.unmount().unwrap();
    }
}

#[test]
fn the_state_can_be_looked_at() {
    let (fs, file) = mounted("");
    let state = fs.state().unwrap();
    assert!(state.windows(7).any(|bytes| bytes == b"bytesfs"));
    end(&fs, file);
}

// ---- refused, and rolled back ----

#[test]
fn state_that_is_refused() {
    let (fs, file) = mounted("on=load,kind=error,errno=22");
    refused(&fs, &file, fs.upgrade::<Bytes2>(), Errno::EINVAL, "could not load the state");
    end(&fs, file);
}

#[test]
fn a_panic_in_load() {
    let (fs, file) = mounted("on=load,kind=panic");
    refused(&fs, &file, fs.upgrade::<Bytes2>(), Errno::EIO, "load panicked at");
    end(&fs, file);
}

#[test]
fn no_memory_in_load() {
    let (fs, file) = mounted("");
    file.write_at(&[7; 100_000], 10).unwrap();
    fs.sync().unwrap();
    // Lists of inode data grow past two pages only with many pages; the errno is what matters.
    fs.remount("on=load,kind=error,errno=12").unwrap();
    let error = fs.upgrade::<Bytes2>().unwrap_err();
    assert_eq!((error.errno, fs.version()), (Errno::ENOMEM, 1));
    fs.remount("on=").unwrap();
    fs.upgrade::<Bytes2>().unwrap();
    assert_eq!(file.read_at(10, 100_000).unwrap(), [7; 100_000]);
    end(&fs, file);
}

#[test]
fn a_panic_in_save() {
    let (fs, file) = mounted("on=save,kind=panic");
    refused(&fs, &file, fs.upgrade::<Bytes2>(), Errno::EIO, "save panicked at");
    end(&fs, file);
}

#[test]
fn another_abi_another_name_another_way_to_keep_data() {
    let (fs, file) = mounted("");
    let other = changed::<Bytes2>(|ops| ops.abi += 1);
    refused(&fs, &file, fs.upgrade_over(other), Errno::EINVAL, "built for ABI");
    end(&fs, file);

    let (fs, file) = mounted("");
    refused(
        &fs,
        &file,
        fs.upgrade::<hellofs::HelloFs>(),
        Errno::EINVAL,
        "it is hellofs, and this is a mount of bytesfs",
    );
    end(&fs, file);

    let (fs, file) = mounted("");
    let other = changed::<Bytes2>(|ops| ops.data = abi::BENTO_DATA_RESIDENT);
    refused(&fs, &file, fs.upgrade_over(other), Errno::EINVAL, "another way");
    end(&fs, file);

    let (fs, file) = mounted("");
    let other = changed::<Bytes2>(|ops| ops.loads.count = 1);
    refused(&fs, &file, fs.upgrade_over(other), Errno::EINVAL, "none in common");
    end(&fs, file);
}

/// `change` of that version's table.
fn changed<F: bento::fs::FileSystem>(change: impl FnOnce(&mut abi::bento_ops)) -> Object {
    let mut ops = *Object::of::<F>().ops();
    change(&mut ops);
    Object::over(Box::leak(Box::new(ops)))
}

#[test]
fn the_version_that_runs_is_no_upgrade() {
    let (fs, file) = mounted("");
    refused(&fs, &file, fs.upgrade::<Bytes1>(), Errno::EINVAL, "it is the one that runs");
    // Unless nobody can enter it.
    fs.upgrade_to(1).unwrap();
    spoil(&fs);
    assert_eq!(fs.health(), Health::Quarantined);
    fs.upgrade_to(1).unwrap();
    fs.remount("on=").unwrap();
    serves(&fs, &file);
    end(&fs, file);
}

#[test]
fn an_object_that_is_none() {
    let (fs, file) = mounted("");
    let error = fs.upgrade_object(std::path::Path::new("/proc/self/exe")).unwrap_err();
    assert!(error.reason.contains("/"), "{error}");
    assert_eq!(fs.upgrade_to(9).unwrap_err().errno, Errno::ENOENT);
    serves(&fs, &file);
    end(&fs, file);
}

/// `statfs` that takes three seconds, on a thread of its own.
fn slow_call<'s>(scope: &'s thread::Scope<'s, '_>, fs: &'s Harness) -> thread::ScopedJoinHandle<'s, ()> {
    fs.remount("on=statfs,kind=slow").unwrap();
    let call = scope.spawn(|| assert!(fs.statfs().is_ok()));
    thread::sleep(Duration::from_millis(100));
    call
}

#[test]
fn a_call_that_does_not_leave_is_named_and_two_upgrades_do_not_mix() {
    let (fs, file) = mounted("");
    fs.set_upgrade_timeout(Duration::from_millis(500));
    thread::scope(|scope| {
        let call = slow_call(scope, &fs);
        let first = scope.spawn(|| fs.upgrade::<Bytes2>());
        thread::sleep(Duration::from_millis(100));
        let second = fs.upgrade::<Bytes2>().unwrap_err();
        assert_eq!((second.errno, second.reason.as_str()), (Errno::EBUSY, "another swap of this mount is going on"));
        // Those at the gate wait, and none of them fails.
        let began = Instant::now();
        assert_eq!(fs.read_file("/d/f").unwrap(), b"before");
        assert!(began.elapsed() < Duration::from_secs(2));
        let error = first.join().unwrap().unwrap_err();
        assert_eq!(error.errno, Errno::ETIMEDOUT);
        // And nobody who waited at the gate.
        assert_eq!(error.reason, "waited 500ms for statfs and gave up");
        call.join().unwrap();
    });
    assert_eq!(fs.version(), 1);
    fs.remount("on=").unwrap();
    fs.upgrade::<Bytes2>().unwrap();
    serves(&fs, &file);
    end(&fs, file);
}

#[test]
fn a_mount_that_goes_away_during_an_upgrade() {
    let (fs, file) = mounted("");
    file.close().unwrap();
    fs.set_upgrade_timeout(Duration::from_millis(300));
    thread::scope(|scope| {
        let call = slow_call(scope, &fs);
        let upgrade = scope.spawn(|| fs.upgrade::<Bytes2>());
        thread::sleep(Duration::from_millis(50));
        let unmount = scope.spawn(|| fs.unmount());
        assert_eq!(upgrade.join().unwrap().unwrap_err().errno, Errno::ETIMEDOUT);
        call.join().unwrap();
        unmount.join().unwrap().unwrap();
    });
    assert_eq!(fs.upgrade::<Bytes2>().unwrap_err().errno, Errno::ENODEV);
}

// ---- health ----

/// A panic with a lock of the instance held, and the call that meets it.
fn spoil(fs: &Harness) {
    fs.remount("on=mkdir,kind=lock").unwrap();
    assert_eq!(fs.mkdir("/x", 0o755), Err(Errno::EIO));
    assert_eq!(fs.mkdir("/x", 0o755), Err(Errno::EIO));
}

#[test]
fn a_panic_restarts_from_the_state() {
    let (fs, file) = mounted("");
    fs.upgrade::<Bytes2>().unwrap();
    spoil(&fs);
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok);
    assert_eq!((fs.restarts(), fs.generation()), (1, 3));
    fs.remount("on=").unwrap();
    serves(&fs, &file);
    fs.mkdir("/x", 0o755).unwrap();
    end(&fs, file);
}

#[test]
fn a_panic_quarantines_and_an_upgrade_heals() {
    let (fs, file) = mounted("");
    spoil(&fs);
    assert_eq!(fs.health(), Health::Quarantined);
    assert_eq!(fs.stat("/d").map(drop), Err(Errno::EIO));
    assert_eq!(fs.write_file("/y", b"y"), Err(Errno::EIO));
    fs.upgrade::<Bytes2>().unwrap();
    assert_eq!(fs.health(), Health::Ok);
    fs.remount("on=").unwrap();
    serves(&fs, &file);
    end(&fs, file);
}

#[test]
fn looking_at_the_state_spoils_it_and_it_is_restarted() {
    let fs = Harness::mount::<Bytes2>("").unwrap();
    fs.remount("on=save,kind=lock").unwrap();
    assert_eq!(fs.state().unwrap_err().errno, Errno::EIO);
    assert_eq!(fs.health(), Health::Ok);
    // Meets the lock that the first one left.
    assert_eq!(fs.state().unwrap_err().errno, Errno::EIO);
    assert_eq!(fs.wait_for_restart(Duration::from_secs(20)), Health::Ok, "{}", fs.last_swap());
    assert_eq!(fs.restarts(), 1);
    assert!(fs.stat("/").unwrap().is_dir());
    fs.unmount().unwrap();
}

#[test]
fn an_abandoned_instance_is_left_alone_and_mounted_again() {
    let device = devfs::device();
    let fs = Harness::mount::<DevFs>(&format!("device={device}")).unwrap();
    fs.write_file("/f", b"on the device").unwrap();
    fs.sync().unwrap();
    let file = fs.open("/f", flags::READ_WRITE).unwrap();
    fs.poison();
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok);
    assert_eq!(file.read_at(0, 100).unwrap(), b"on the device");
    fs.drop_caches().unwrap();
    assert_eq!(fs.read_file("/f").unwrap(), b"on the device");
    assert_eq!(with_device(device, |device| (device.mounts, device.restarts)), (1, 1));
    fs.write_file("/f", b"and written").unwrap();
    end(&fs, file);
}

#[test]
fn resident_data_have_nothing_to_be_restarted_from() {
    let fs = Harness::mount::<Mem2>("").unwrap();
    fs.write_file("/f", b"x").unwrap();
    fs.poison();
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Quarantined);
    assert!(fs.last_swap().contains("resident data have no device"), "{}", fs.last_swap());
    assert_eq!(fs.upgrade::<Mem2>().unwrap_err().errno, Errno::EIO);
    assert_eq!(fs.stat("/f").map(drop), Err(Errno::EIO));
    fs.unmount().unwrap();
}

#[test]
fn restarts_are_bounded() {
    let (fs, file) = mounted("");
    fs.upgrade::<Bytes2>().unwrap();
    for restart in 1..=5 {
        spoil(&fs);
        assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok, "restart {restart}");
        assert_eq!(fs.restarts(), restart);
    }
    spoil(&fs);
    assert_eq!(fs.health(), Health::Quarantined);
    assert!(fs.log().iter().any(|line| line.contains("too many restarts within a minute")), "{:#?}", fs.log());
    // By hand it can.
    fs.restart().unwrap();
    fs.remount("on=").unwrap();
    serves(&fs, &file);
    end(&fs, file);
}

#[test]
fn a_poisoned_inode_alone_answers_eio_until_it_is_loaded_afresh() {
    let (fs, file) = mounted("");
    fs.write_file("/other", b"other").unwrap();
    fs.remount("on=getattr,kind=poison").unwrap();
    assert_eq!(fs.stat("/d/f").map(drop), Err(Errno::EIO));
    fs.remount("on=").unwrap();
    assert_eq!(fs.stat("/d/f").map(drop), Err(Errno::EIO));
    assert_eq!(fs.read_file("/other").unwrap(), b"other");
    assert_eq!(fs.health(), Health::Ok);
    fs.upgrade::<Bytes2>().unwrap();
    serves(&fs, &file);
    end(&fs, file);
}

#[test]
fn a_hundred_restarts_lose_nothing() {
    let (fs, file) = mounted("");
    fs.upgrade::<Bytes2>().unwrap();
    fs.set_restart_limit(0);
    for _ in 0..100 {
        spoil(&fs);
        assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok);
    }
    fs.remount("on=").unwrap();
    assert_eq!(fs.restarts(), 100);
    serves(&fs, &file);
    end(&fs, file);
}

// ---- with traffic ----

#[test]
fn restarts_beside_files_that_come_and_go() {
    let (fs, file) = mounted("");
    fs.upgrade::<Bytes2>().unwrap();
    fs.set_restart_limit(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for task in 0..3 {
            let (fs, over) = (&fs, &over);
            scope.spawn(move || {
                let path = format!("/task{task}");
                while !over.load(Ordering::Relaxed) {
                    fs.write_file(&path, b"comes and goes").unwrap();
                    assert_eq!(fs.read_file(&path).unwrap(), b"comes and goes");
                    fs.unlink(&path).unwrap();
                }
            });
        }
        for _ in 0..100 {
            spoil(&fs);
            assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok, "{}", fs.last_swap());
        }
        over.store(true, Ordering::Relaxed);
    });
    fs.remount("on=").unwrap();
    serves(&fs, &file);
    end(&fs, file);
}

#[test]
fn a_hundred_upgrades_under_load() {
    let fs = Harness::mount::<Bytes1>("").unwrap();
    let over = AtomicBool::new(false);
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4u8)
            .map(|me| {
                let (fs, over, calls) = (&fs, &over, &calls);
                scope.spawn(move || {
                    let dir = format!("/{me}");
                    fs.mkdir(&dir, 0o755).unwrap();
                    let kept = fs.create(format!("{dir}/kept"), 0o644).unwrap();
                    let mut round = 0u64;
                    while !over.load(Ordering::Relaxed) {
                        let path = format!("{dir}/{}", round % 7);
                        let content = format!("{me} wrote this in round {round}").repeat(40);
                        fs.write_file(&path, &content).unwrap();
                        kept.write_at(&round.to_le_bytes(), round % 512 * 8).unwrap();
                        assert_eq!(fs.read_file(&path).unwrap(), content.as_bytes());
                        fs.rename(&path, format!("{path}.new")).unwrap();
                        if round.is_multiple_of(3) {
                            fs.unlink(format!("{path}.new")).unwrap();
                        }
                        fs.setxattr(&dir, "user.round", round.to_le_bytes(), 0).unwrap();
                        assert_eq!(fs.getxattr(&dir, "user.round").unwrap(), round.to_le_bytes());
                        assert_eq!(kept.read_at(round % 512 * 8, 8).unwrap(), round.to_le_bytes());
                        round += 1;
                        calls.fetch_add(8, Ordering::Relaxed);
                    }
                    kept.close().unwrap();
                })
            })
            .collect();
        for turn in 0..100 {
            let swapped = if turn % 2 == 0 { fs.upgrade::<Bytes2>() } else { fs.upgrade::<Bytes1>() };
            swapped.unwrap();
            thread::sleep(Duration::from_millis(2));
            assert!(!workers.iter().any(|worker| worker.is_finished()), "a call failed");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(calls.load(Ordering::Relaxed) > 100);
    assert!(fs.panics().is_empty() && fs.generation() == 101);
    fs.unmount().unwrap();
}
