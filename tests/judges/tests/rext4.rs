// SPDX-License-Identifier: GPL-2.0 OR MIT
//! rext4 before the judges, in process: the same operations as a directory here, crashes at every boundary of its writes,
//! and images that were damaged. `JUDGES=N` does N times as much, `SEED` begins elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bento_judges::ace::{Oracle, Sequence, all_of_one, run, some_of_two};
use bento_judges::corpus::{self, KINDS};
use bento_judges::harness::{InProcess, survive};
use bento_judges::mounted::Mounted;
use bento_judges::ops::{At, Can, Generator, Op, TIMES, What};
use bento_judges::tree::{Answer, Target};
use bento_user_shim::{Harness, Image, SimDisk};
use rext4::Rext4;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

fn place(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rext4-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A fresh file system where no block that is free is zero: who shows one shows what was not his.
fn fresh(dir: &Path, megabytes: usize, options: &[&str]) -> Vec<u8> {
    let path = dir.join("image");
    fs::write(&path, vec![0xa6; megabytes << 20]).unwrap();
    let mut mke2fs = tool("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=1"]).args(options);
    let output = mke2fs.arg(&path).output().expect("mke2fs starts: install e2fsprogs");
    assert!(output.status.success(), "{output:?}");
    fs::read(&path).unwrap()
}

/// What `e2fsck -fn` finds wrong.
fn e2fsck(dir: &Path, bytes: &[u8]) -> Result<(), String> {
    let path = dir.join("judged");
    fs::write(&path, bytes).unwrap();
    let output = tool("e2fsck").arg("-fn").arg(&path).output().unwrap();
    match output.status.code() {
        Some(0) => Ok(()),
        _ => Err(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

#[test]
fn does_what_a_directory_here_does() {
    // SAFETY: sets and asks for numbers.
    let root = unsafe { (libc::umask(0), libc::geteuid()).1 } == 0;
    for (nth, options) in [&["-b", "4096"][..], &["-b", "1024"]].into_iter().enumerate() {
        let seed = number("SEED", 1) + nth as u64;
        // The directory has blocks of 4 KiB, and so much room for attributes.
        let can = Can { root, whiteout: false, xattr: nth == 0, ..Can::default() };
        let dir = place(&format!("differ-{nth}"));
        let theirs = dir.join("theirs");
        fs::create_dir(&theirs).unwrap();
        let disk = Image::new(fresh(&dir, 256, options));
        let mount = Harness::mount_disk::<Rext4>(disk.clone(), "").unwrap();
        mount.chmod("/", 0o777).unwrap();
        let (mut one, mut two) = (InProcess::new(&mount), Mounted::new(&theirs, 60));
        let mut generator = Generator::new(seed, can);
        for number in 0..5000 * number("JUDGES", 1) {
            let op = generator.make();
            if is_apart(&op, &mut two) {
                continue;
            }
            let (mine, other) = (one.apply(&op), two.apply(&op));
            assert!(same(&mine, &other), "seed {seed}, {number}: {op:?}: {mine:?} here, {other:?} there");
            generator.learn(&op, &mine);
        }
        let mut tree = one.look().unwrap();
        tree.0.retain(|name, _| name.0 != b"lost+found" && !name.0.is_empty());
        let mut other = two.look().unwrap();
        other.0.retain(|name, _| !name.0.is_empty());
        assert_eq!(tree.differences(&other, 10), [""; 0], "seed {seed}");
        drop((one, two));
        mount.unmount().unwrap();
        e2fsck(&dir, &disk.bytes()).unwrap_or_else(|text| panic!("seed {seed}: {text}"));
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// What only a kernel does, or does in another order: devices are opened, names are measured late.
fn is_apart(op: &Op, here: &mut Mounted) -> bool {
    let long = |path: &[u8]| path.ends_with(&[b'y'; 256]);
    match &op.what {
        What::Mknod { .. } => true,
        // The VFS cuts times at the ends of what a file system can store.
        What::Utimens { atime, mtime, .. } if [atime.0, mtime.0].iter().any(|at| [TIMES[0], TIMES[9]].contains(at)) => {
            true
        }
        // The directory has blocks of 4 KiB.
        What::Symlink { target, .. } => target.0.len() > 1000,
        // The harness links what has no name any more; and an open file of it is who opened it.
        What::LinkHeld { .. } => true,
        What::Write { file: At::Slot(_), .. } | What::Truncate { file: At::Slot(_), .. } => op.uid != 0,
        // `fs.protected_hardlinks` is the machine's.
        What::Link { .. } if op.uid != 0 => true,
        What::Rename { from, to, .. } | What::Link { from, to } => long(&from.0) || long(&to.0),
        // The harness follows links in these, and the directory does not.
        What::Utimens { path, .. }
        | What::Setxattr { path, .. }
        | What::Getxattr { path, .. }
        | What::Removexattr { path, .. }
        | What::Chown { path, .. } => {
            let stat = here.apply(&Op { uid: 0, what: What::Stat { path: path.clone() } });
            op.uid != 0 || matches!(stat, Ok(Answer::Node(node)) if node.mode & libc::S_IFMT == libc::S_IFLNK)
        }
        _ => false,
    }
}

fn same(mine: &Result<Answer, i32>, other: &Result<Answer, i32>) -> bool {
    match (mine, other) {
        (Ok(Answer::Names(mine)), Ok(Answer::Names(other))) => {
            mine.iter().filter(|name| name.0 != b"lost+found").eq(other.iter())
        }
        // An empty path is the root, which has one directory more.
        _ => mine == other,
    }
}

/// Crashes a sequence wherever it can be, and has each state judged.
fn crash(dir: &Path, image: &[u8], sequence: &Sequence, seed: u64, samples: usize) -> usize {
    let disk = SimDisk::new(image.to_vec());
    let mount = Harness::mount_disk::<Rext4>(disk.clone(), "").unwrap();
    let mut target = InProcess::new(&mount);
    run(sequence, &mut target, |mark| if mark == 0 { disk.forget_history() } else { disk.mark(mark) })
        .unwrap_or_else(|error| panic!("{sequence:?}: {error}"));
    drop(target);
    mount.crash();
    let (oracle, mut states) = (Oracle::new(sequence), 0);
    for state in disk.crash_states(seed, samples) {
        let what = format!("{sequence:?}: {state:?}");
        let recovered = Image::new(state.image);
        let mount = Harness::mount_disk::<Rext4>(recovered.clone(), "")
            .unwrap_or_else(|error| panic!("{what}: not mounted: {error:?}"));
        let verdict = oracle.judge(state.mark, &mut InProcess::new(&mount));
        verdict.unwrap_or_else(|error| panic!("{what}: {error}"));
        mount.unmount().unwrap_or_else(|errno| panic!("{what}: not unmounted: {errno}"));
        e2fsck(dir, &recovered.bytes()).unwrap_or_else(|text| panic!("{what}: {text}"));
        states += 1;
    }
    states
}

#[test]
fn loses_nothing_in_a_crash() {
    let (dir, seed, more) = (place("crash"), number("SEED", 1), number("JUDGES", 1) as usize);
    let image = fresh(&dir, 8, &["-b", "1024", "-J", "size=1"]);
    // Each run takes others of the single steps; ten times as much is all of them.
    let mut sequences: Vec<_> = all_of_one().into_iter().skip(seed as usize % 10).step_by((10 / more).max(1)).collect();
    sequences.extend(some_of_two(seed, 6 * more));
    let states: usize = (seed..).zip(&sequences).map(|(seed, sequence)| crash(&dir, &image, sequence, seed, 2)).sum();
    println!("{} sequences, {states} states after a crash, seed {seed}", sequences.len());
    assert!(states > sequences.len() * 3);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn survives_damaged_images() {
    let (dir, seed, more) = (place("hostile"), number("SEED", 1), number("JUDGES", 1));
    let images: Vec<_> = KINDS.iter().map(|kind| kind.make(&dir).unwrap()).collect();
    for (kind, image) in KINDS.iter().zip(&images) {
        let mount = Harness::mount_disk::<Rext4>(Image::new(image.bytes().to_vec()), "").unwrap();
        let (tree, log) = (InProcess::new(&mount).look(), mount.log().join("\n"));
        assert!(tree.is_ok_and(|tree| tree.0.len() > 400) && !log.contains("inode "), "{}: {log}", kind.name);
        mount.unmount().unwrap();
    }
    let collected = corpus::collected();
    let (mut mounted, mut all) = (0, 0);
    for (nth, recipe) in collected.iter().enumerate() {
        let image = &images[recipe.kind];
        println!("{}", corpus::line(recipe));
        mounted += u32::from(survive::<Rext4>(image, &recipe.mutant(&images), nth as u64));
        all += 1;
    }
    for (kind, image) in KINDS.iter().zip(&images) {
        for seed in seed..seed + 8 * more {
            println!("{}, seed {seed}", kind.name);
            mounted += u32::from(survive::<Rext4>(image, &image.random_mutant(seed, 1 + seed as usize % 4), seed));
            all += 1;
        }
    }
    println!("{all} damaged images, {mounted} of them mounted");
    assert!(mounted > 0 && mounted < all);
    fs::remove_dir_all(&dir).unwrap();
}
