// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a swap or an unmount may have to wait for, and that it never waits for ever.

mod brittle;

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bento::errno::Errno;
use bento_user_shim::{Harness, Health};
use brittle::{BrittleFs, Wishes, wishes};

/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(60);

fn mounted() -> (Harness, std::sync::Arc<Wishes>) {
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
