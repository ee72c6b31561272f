// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The judge of two file systems, judged: two directories of one file system are the same, and a difference is found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn differ(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_differ")).args(arguments).output().unwrap()
}

/// Two empty directories.
fn dirs(name: &str) -> [PathBuf; 2] {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&root);
    ["one", "two"].map(|dir| {
        let dir = root.join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    })
}

#[test]
fn one_file_system_agrees_with_itself_and_a_difference_is_found() {
    let [one, two] = dirs("differ");
    let paths = [one.to_str().unwrap(), two.to_str().unwrap()];
    let run = |seed: &str| differ(&[paths[0], paths[1], "--seed", seed, "--count", "1500"]);
    let output = run("7");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.lines().last().unwrap().starts_with("ok differ: seed 7: 1500"), "{text}");

    // A second run does the same, which is there already.
    assert_eq!(run("7").status.code(), Some(2));
    assert!(differ(&["compare", paths[0], paths[1]]).status.success());
    std::fs::write(one.join("differ-7/extra"), "x").unwrap();
    let output = differ(&["compare", paths[0], paths[1]]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("not ok \"differ-7/extra\" is on the first only"), "{text}");
    std::fs::write(two.join("differ-7/extra"), "y").unwrap();
    let output = differ(&["compare", paths[0], paths[1]]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("\"differ-7/extra\": contents"), "{text}");
}

#[test]
fn bad_arguments_are_said() {
    for (arguments, says) in [
        (&["one"][..], "two directories are compared"),
        (&["one", "two", "--without", "names"], "there is no `names` to do without"),
        (&["one", "two", "--seed", "x"], "x is no number"),
        (&["/no/such/dir", "/no/such/dir"], "cannot be made"),
    ] {
        let output = differ(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{arguments:?}");
    }
}
