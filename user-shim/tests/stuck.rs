// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Swaps and unmounts beside what is stuck or spoiled: they never wait for ever, and whatever can be healed is.

mod brittle;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bento::abi;
use bento::errno::Errno;
use bento_user_shim::{Harness, Health, MountOptions, Object};
use brittle::{BrittleFs, Wishes, wishes};

/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(60);

fn mounted() -> (Harness, Arc<Wishes>) {
    let (wishes, options) = wishes();
    let fs = Harness::mount::<BrittleFs>(&options).unwrap();
    assert!(fs.stat("/file").unwrap().is_file());
    (fs, wishes)
}

/// What `act` answers, unless it hangs.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(act()));
    receiver.recv_timeout(FOR_EVER).expect("it hangs")
}

#[test]
fn an_unmount_does_not_wait_for_a_restart_that_waits_for_it() {
    for _ in 0..20 {
        let (fs, wishes) = mounted();
        fs.chmod("/file", 0o600).unwrap();
        wishes.refuse_to_write.store(true, Ordering::Relaxed);
        wishes.break_sync.store(true, Ordering::Relaxed);
        assert_eq!(fs.sync(), Err(Errno::EIO));
        assert_eq!(fs.health(), Health::Ok);
        // Its last sync meets the lock and spoils the slot, and the file is still to be written.
        let (health, report) = in_time(move || {
            let report = fs.unmount_and_report();
            (fs.health(), report.unwrap())
        });
        assert_eq!((health, report.leaked_inodes), (Health::Quarantined, 0), "{:#?}", report.log);
    }
}

#[test]
fn a_restart_has_patience_with_a_slow_call() {
    let (fs, wishes) = mounted();
    fs.set_upgrade_timeout(Duration::from_millis(500));
    thread::scope(|scope| {
        wishes.statfs.shut();
        let call = scope.spawn(|| fs.statfs().map(drop));
        wishes.statfs.wait_for_a_caller();
        // An upgrade gives up, and says because of whom.
        let error = fs.restart().unwrap_err();
        assert_eq!((error.errno, error.reason.as_str()), (Errno::ETIMEDOUT, "waited 500ms for statfs and gave up"));
        fs.poison();
        assert_eq!(fs.health(), Health::Restarting);
        // Longer than one try.
        assert_eq!(fs.wait_for_restart(Duration::from_millis(1000)), Health::Restarting, "{}", fs.last_swap());
        wishes.statfs.open();
        assert_eq!(call.join().unwrap(), Ok(()));
    });
    assert_eq!(fs.wait_for_restart(FOR_EVER), Health::Ok, "{}", fs.last_swap());
    assert!(fs.stat("/file").unwrap().is_file());
    fs.unmount().unwrap();
}

#[test]
fn a_swap_does_not_wait_for_ever_for_the_inodes_of_the_last_one() {
    let (fs, wishes) = mounted();
    let fs = Arc::new(fs);
    wishes.load_data.shut();
    fs.restart().unwrap();
    wishes.load_data.wait_for_a_caller();
    fs.set_upgrade_timeout(Duration::from_millis(20));
    let there = Arc::clone(&fs);
    let error = in_time(move || there.restart()).unwrap_err();
    assert_eq!(error.errno, Errno::ETIMEDOUT);
    assert!(error.reason.contains("have not all followed after 200ms"), "{error}");
    wishes.load_data.open();
    assert!(fs.settle());
    fs.set_upgrade_timeout(FOR_EVER);
    fs.restart().unwrap();
    fs.unmount().unwrap();
}

/// A table of its own, changed.
fn brittlefs(version: u32, change: impl FnOnce(&mut abi::bento_ops)) -> Object {
    let mut ops = *Object::of::<BrittleFs>().ops();
    ops.version = version;
    change(&mut ops);
    Object::over(Box::leak(Box::new(ops)))
}

fn mounted_over(object: Object) -> Harness {
    let fs = Harness::over(object, MountOptions { options: &wishes().1, ..MountOptions::default() }).unwrap();
    assert!(fs.stat("/file").unwrap().is_file());
    fs
}

/// Loads inode data of another shape only.
fn other_inode_data(ops: &mut abi::bento_ops) {
    ops.inode_loads.shape = ops.inode_loads.shape.map(|shape| !shape);
}

#[test]
fn inode_data_with_no_shape_in_common_are_refused() {
    let fs = mounted_over(brittlefs(1, |_| ()));
    let error = fs.upgrade_over(brittlefs(2, other_inode_data)).unwrap_err();
    assert_eq!(error.errno, Errno::EINVAL);
    assert!(error.reason.starts_with("inode data: version 1 saves "), "{error}");
    fs.unmount().unwrap();
}

#[test]
fn inode_data_that_are_not_saved_are_loaded_again() {
    let fs = mounted_over(brittlefs(1, |ops| ops.inode_saves.count = 0));
    fs.upgrade_over(brittlefs(2, other_inode_data)).unwrap();
    assert!(fs.settle());
    assert!(fs.stat("/file").unwrap().is_file());
    fs.unmount().unwrap();
}

#[test]
fn an_abandoned_instance_has_no_shapes_that_could_stand_in_the_way() {
    let fs = mounted_over(brittlefs(1, |ops| ops.on_panic = abi::BENTO_ON_PANIC_QUARANTINE));
    fs.poison();
    assert_eq!(fs.health(), Health::Quarantined);
    fs.upgrade_over(brittlefs(2, other_inode_data)).unwrap();
    assert_eq!((fs.version(), fs.health()), (2, Health::Ok));
    assert!(fs.settle());
    assert!(fs.stat("/file").unwrap().is_file());
    fs.unmount().unwrap();
}
