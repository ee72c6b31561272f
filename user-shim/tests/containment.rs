// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A panic in any handler, in process: an errno for that caller, one line with file and line, and the mount goes on.

mod every;

use bento::errno::Errno;
use bento::fs::Op;
use bento_user_shim::{Harness, Outcome, Panic};
use bytesfs::BytesFs;

#[test]
fn a_panic_in_any_handler_ends_that_call_only() {
    for (op, kind) in every::handlers().flat_map(|op| [(op, "panic"), (op, "index"), (op, "lock")]) {
        if matches!(op, Op::mount | Op::unmount | Op::reconfigure) {
            continue; // bytesfs keeps those for making faults
        }
        // The root is loaded at mount; a panic there is a mount that fails.
        if *op == Op::load_inode {
            let error = Harness::mount::<BytesFs>(&format!("on=load_inode,kind={kind}")).unwrap_err();
            assert_eq!(error.errno, Errno::EIO);
            continue;
        }
        let fs = Harness::mount::<BytesFs>(&format!("on={},kind={kind}", op.name())).unwrap();
        let said = every::operation(&fs);
        let panics = fs.panics();
        assert!(!panics.is_empty(), "nothing called {}: {said:?}", op.name());
        assert!(panics.iter().all(|panic| panic.handler == op.name()), "{panics:?}");
        let placed =
            |panic: &Panic| panic.location.as_ref().is_some_and(|at| at.0.contains("bytesfs/src/") && at.1 > 0);
        assert!(panics.iter().all(placed), "{panics:?}");
        // A handler that meets the poisoned lock again asks for a restart, and bytesfs version 1 wants none.
        if kind == "lock" && fs.is_poisoned() {
            drop(fs);
            continue;
        }
        assert!(!fs.is_poisoned());
        // Without the fault, all is well again.
        if *op != Op::forget_inode {
            fs.remount("on=,kind=error").unwrap();
            fs.write_file("/after", "alive").unwrap();
            assert_eq!(fs.read_file("/after").unwrap(), b"alive");
        }
        let report = fs.unmount_and_report().unwrap();
        assert_eq!(report.leaked_inodes, 0, "{}", op.name());
        assert_eq!(report.leaked_allocations, 0, "{} leaked {} bytes", op.name(), report.leaked_bytes);
    }
}

#[test]
fn errors_of_any_handler_reach_the_caller_or_the_log() {
    for op in every::handlers() {
        if matches!(op, Op::mount | Op::unmount | Op::reconfigure | Op::load_inode) {
            continue;
        }
        let fs = Harness::mount::<BytesFs>(&format!("on={},kind=error,errno=122", op.name())).unwrap();
        let said = every::operation(&fs);
        // What returns nothing, or is a hint of the shim's own making, has nobody to tell.
        if !matches!(op, Op::release | Op::forget_inode | Op::evict_inode) {
            assert!(said.iter().any(|(_, errno)| *errno == Some(Errno::EDQUOT)), "{}: {said:?}", op.name());
        }
        assert!(fs.panics().is_empty());
        fs.unmount().unwrap();
    }
}

#[test]
fn without_faults_every_operation_works() {
    let fs = Harness::mount::<BytesFs>("").unwrap();
    let said = every::operation(&fs);
    let failed: Vec<_> = said.iter().filter(|(_, errno)| errno.is_some()).collect();
    assert!(failed.iter().all(|(name, _)| ["access", "ioctl", "unlink the rest"].contains(name)), "{failed:?}");
    assert_eq!(fs.last_outcome().unwrap().1, Outcome::Returned);
    fs.unmount().unwrap();
}

#[test]
fn a_write_error_is_told_by_fsync_once() {
    let fs = Harness::mount::<BytesFs>("on=write,kind=error,errno=28").unwrap();
    let file = fs.create("/f", 0o644).unwrap();
    assert_eq!(file.write_at(b"lost", 0), Ok(4));
    assert_eq!(file.fsync(), Err(Errno::ENOSPC));
    assert_eq!(file.fsync(), Ok(()));
    assert_eq!(file.write_at(b"lost", 0), Ok(4));
    assert_eq!(file.close(), Err(Errno::ENOSPC));
    fs.remount("on=,kind=error").unwrap();
    fs.unmount().unwrap();
}

#[test]
fn what_was_written_survives_the_caches() {
    let fs = Harness::mount::<BytesFs>("").unwrap();
    let bytes: Vec<u8> = (0..2_000_000u32).map(|n| (n % 241) as u8).collect();
    fs.write_file("/f", &bytes).unwrap();
    fs.mkdir("/d", 0o750).unwrap();
    fs.chmod("/f", 0o640).unwrap();
    assert!(fs.drop_caches().unwrap() >= 2);
    assert_eq!(fs.cached_inodes(), 1);
    assert!(fs.read_file("/f").unwrap() == bytes);
    assert_eq!((fs.stat("/f").unwrap().permissions(), fs.stat("/d").unwrap().nlink), (0o640, 2));
    fs.truncate("/f", 100).unwrap();
    fs.truncate("/f", 5000).unwrap();
    fs.drop_caches().unwrap();
    let tail = fs.read_file("/f").unwrap();
    assert!(tail[..100] == bytes[..100] && tail[100..].iter().all(|byte| *byte == 0));
    fs.unmount().unwrap();
}
