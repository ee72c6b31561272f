// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The harsher rows of containment, over a loaded object: the kernel's panic handler, unwinder and stack check in this
//! process. `BENTO_USER_OBJECTS` names a folder with the objects; without it `cargo bento build` makes them.

mod every;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use bento::errno::Errno;
use bento_user_shim::{Harness, Outcome};

/// The shared object of `tests/fs/bytesfs`.
fn bytesfs() -> &'static PathBuf {
    static OBJECT: OnceLock<PathBuf> = OnceLock::new();
    OBJECT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("BENTO_USER_OBJECTS") {
            return PathBuf::from(folder).join("libbytesfs_v1.so");
        }
        let krate = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fs/bytesfs");
        let built = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "cargo-bento", "--", "build", "--variant", "user"])
            .arg(krate)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        PathBuf::from(String::from_utf8_lossy(&built.stdout).lines().last().unwrap())
    })
}

fn mount(options: &str) -> Harness {
    Harness::load(bytesfs(), options).unwrap()
}

/// The one panic of this mount: its handler and its place.
fn only_panic(fs: &Harness) -> (&'static str, String) {
    let panics = fs.panics();
    assert_eq!(panics.len(), 1, "{panics:?}");
    (panics[0].handler, panics[0].to_string())
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
    fs.unmount().unwrap();
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
    assert!(fs.panics().iter().all(|panic| panic.handler == "mkdir"), "{:?}", fs.panics());
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
