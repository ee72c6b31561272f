// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Shared objects for tests. `BENTO_USER_OBJECTS` names a folder with them; without it `cargo bento build` makes them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// The shared object of a crate below `tests/fs` or `examples`.
pub fn object(krate: &str, version: u32) -> PathBuf {
    // Two builds at once would wait for each other's lock; and one is enough.
    static BUILT: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap();
    if let Some((_, path)) = built.iter().find(|(known, _)| known == krate) {
        return path.clone();
    }
    let path = match std::env::var_os("BENTO_USER_OBJECTS") {
        Some(folder) => {
            let name = krate.trim_end_matches(&format!("_v{version}"));
            PathBuf::from(folder).join(format!("lib{name}_v{version}.so"))
        }
        None => build(krate),
    };
    built.push((krate.to_owned(), path.clone()));
    path
}

fn build(krate: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = [root.join("tests/fs").join(krate), root.join("examples").join(krate)];
    let krate = places.iter().find(|place| place.is_dir()).expect("a crate of ours");
    let built = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "cargo-bento", "--", "build", "--variant", "user"])
        .arg(krate)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    PathBuf::from(String::from_utf8_lossy(&built.stdout).lines().last().unwrap())
}
