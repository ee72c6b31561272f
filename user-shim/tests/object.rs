// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The harsher rows of containment, over a loaded object: the kernel's panic handler, unwinder and stack check in this
//! process.

mod every;
mod objects;

use std::path::PathBuf;

use bento::errno::Errno;
use bento::fs::Op;
use bento_user_shim::{Harness, Outcome, Panic};

fn mount(options: &str) -> Harness {
    Harness::load(&objects::object("bytesfs", 1), options).unwrap()
}

/// The one panic of this mount, which names a line of the author's: its handler, and what the log says.
fn only_panic(fs: &Harness) -> (&'static str, String) {
    let panics = fs.panics();
    assert_eq!(panics.len(), 1, "{panics:?}");
    assert!(placed(&panics[0]), "{panics:?}");
    (panics[0].handler, panics[0].to_string())
}

/// Does it name a line of the author's crate, the way cargo names its files?
fn placed(panic: &Panic) -> bool {
    panic.location.as_ref().is_some_and(|(file, line, _)| file.starts_with("tests/fs/bytesfs/src/") && *line > 0)
}

/// What a line of the author's source says.
fn source(panic: &Panic) -> String {
    let (file, line, _) = panic.location.as_ref().unwrap();
    let text = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap();
    text.lines().nth(*line as usize - 1).unwrap().trim().to_owned()
}

#[test]
fn a_loaded_object_is_a_file_system() {
    let fs = mount("");
    fs.mkdir("/d", 0o755).unwrap();
    let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    fs.write_file("/d/f", &bytes).unwrap();
    fs.drop_caches().unwrap();
    assert!(fs.read_file("/d/f").unwrap() == bytes);
    assert!(fs.allocations() > 0);
    fs.unmount().unwrap();
}

#[test]
fn a_panic_unwinds_and_the_mount_goes_on() {
    for (kind, text) in [("panic", "panicked at"), ("index", "out of bounds")] {
        let fs = mount(&format!("on=mkdir,kind={kind}"));
        assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
        assert_eq!(fs.last_outcome().unwrap().1, Outcome::Unwound);
        let (handler, panic) = only_panic(&fs);
        assert!(handler == "mkdir" && panic.contains(text) && panic.contains(".rs:"), "{panic}");
        fs.write_file("/f", "alive").unwrap();
        fs.unmount().unwrap();
    }
}

#[test]
fn a_failed_allocation_is_enomem() {
    let fs = mount("on=mkdir,kind=alloc");
    let before = fs.allocations();
    fs.fail_allocation(0);
    assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::ENOMEM));
    fs.fail_no_allocation();
    assert_eq!(fs.allocations(), before);
    assert_eq!(only_panic(&fs).0, "mkdir");
    fs.unmount().unwrap();
}

#[test]
fn each_fault_in_each_handler_names_the_authors_line() {
    for (kind, line) in [
        ("panic", "panic!(\"asked to panic\")"),
        ("index", "values[values.len() + call]"),
        ("alloc", "with_capacity(1 << 45)"),
        ("capacity", "with_capacity(usize::MAX"),
        ("lock", "panic!(\"with a lock held\")"),
        ("drop", "panic!(\"a panic inside a destructor\")"),
        ("recursion", "recurse(depth + 1)"),
    ] {
        for op in every::handlers() {
            if matches!(op, Op::mount | Op::unmount | Op::reconfigure | Op::load_inode) {
                continue; // bytesfs keeps those for making faults, and the root is loaded at mount
            }
            let fs = mount(&format!("on={},kind={kind}", op.name()));
            let said = every::operation(&fs);
            let panics = fs.panics();
            assert!(!panics.is_empty(), "{kind}: nothing called {}: {said:?}", op.name());
            assert!(panics.iter().all(placed), "{kind} in {}: {panics:?}", op.name());
            // A lock that was poisoned reports where it is taken again.
            let told = panics.iter().any(|panic| panic.handler == op.name() && source(panic).contains(line));
            assert!(told, "{kind} in {}: {panics:?}", op.name());
            // A call that meets a poisoned lock of the instance quarantines; not every operation comes twice.
            let spoiled = matches!(kind, "drop" | "recursion") || kind == "lock" && fs.is_poisoned();
            assert_eq!(fs.is_poisoned(), spoiled, "{kind} in {}", op.name());
            fs.unmount().unwrap();
        }
    }
}

#[test]
fn runaway_recursion_poisons() {
    let fs = mount("on=mkdir,kind=recursion");
    fs.write_file("/f", "x").unwrap();
    assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
    assert_eq!(fs.last_outcome().unwrap().1, Outcome::Abandoned);
    assert!(fs.is_poisoned());
    assert_eq!(fs.stat("/f").err(), Some(Errno::EIO));
    assert_eq!(only_panic(&fs).0, "mkdir");
    fs.unmount().unwrap();
}

#[test]
fn a_panic_in_drop_while_unwinding_poisons() {
    let fs = mount("on=mkdir,kind=drop");
    assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
    assert_eq!(fs.last_outcome().unwrap().1, Outcome::Abandoned);
    assert!(fs.is_poisoned());
    assert!(fs.panics().iter().all(|panic| panic.handler == "mkdir" && placed(panic)), "{:?}", fs.panics());
    fs.unmount().unwrap();
}

#[test]
fn a_task_that_waits_for_an_abandoned_lock_gets_eio() {
    let fs = mount("on=mkdir,kind=hold");
    let (first, second) = (fs.as_user(0, 0), fs.as_user(0, 0));
    let one = std::thread::spawn(move || first.mkdir("/a", 0o755));
    let two = std::thread::spawn(move || second.mkdir("/b", 0o755));
    assert_eq!((one.join().unwrap(), two.join().unwrap()), (Err(Errno::EIO), Err(Errno::EIO)));
    assert!(fs.is_poisoned());
    fs.unmount().unwrap();
}

#[test]
fn each_allocation_that_can_fail_fails_once() {
    let mut refused = 0;
    for n in 0..1000 {
        let fs = mount("");
        fs.fail_allocation(n);
        let said = every::operation(&fs);
        fs.fail_no_allocation();
        assert!(!fs.is_poisoned(), "allocation {n}: {:?}", fs.panics());
        // A lock that was held for writing when the allocation failed stays poisoned, and says so.
        let panics = fs.panics();
        let other = panics.iter().find(|panic| panic.errno != Errno::ENOMEM && !panic.message.contains("poisoned"));
        assert!(other.is_none(), "allocation {n}: {panics:?}");
        assert!(panics.iter().all(placed), "allocation {n}: {panics:?}");
        if fs.failed_allocations() == 0 {
            fs.unmount().unwrap();
            break;
        }
        refused += 1;
        assert!(said.iter().any(|(_, errno)| *errno == Some(Errno::ENOMEM)), "allocation {n}: {said:?}");
        fs.write_file("/after", "alive").unwrap();
        fs.unmount().unwrap();
    }
    assert!(refused > 0);
}
