// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The harness as a target: memfs in process does what this machine's file system does.

use std::path::Path;

use bento_judges::ace::{Oracle, all_of_one, run};
use bento_judges::harness::InProcess;
use bento_judges::mounted::Mounted;
use bento_judges::ops::{Can, Generator, What};
use bento_judges::tree::{Answer, Target};
use bento_user_shim::Harness;
use memfs::MemFs;

#[test]
fn sequences_run_in_process() {
    for sequence in all_of_one().into_iter().step_by(7) {
        let mount = Harness::mount::<MemFs>("").unwrap();
        let mut target = InProcess::new(&mount);
        run(&sequence, &mut target, |_| ()).unwrap_or_else(|error| panic!("{sequence:?}: {error}"));
        Oracle::new(&sequence).judge(sequence.ops.len() as u64, &mut target).unwrap();
    }
}

#[test]
fn memfs_does_what_a_directory_here_does() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("harness");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    // SAFETY: sets and asks for numbers.
    let root = unsafe { (libc::umask(0), libc::geteuid()).1 } == 0;
    let can = Can { root, fallocate: false, xattr: false, tmpfile: false, whiteout: false };
    let mount = Harness::mount::<MemFs>("size=1g").unwrap();
    let (mut one, mut two) = (InProcess::new(&mount), Mounted::new(&dir, 0));
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    let mut generator = Generator::new(seed, can);
    for number in 0..2000 {
        let op = generator.make();
        // The harness looks at a name's length earlier than a kernel does.
        let long = matches!(&op.what, What::Rename { to, .. } | What::Link { to, .. } if to.0.ends_with(&[b'y'; 256]));
        // Devices and pipes are opened by a kernel only; other users and times are compared in a guest.
        if long || op.uid != 0 || matches!(op.what, What::Mknod { .. } | What::Utimens { .. }) {
            continue;
        }
        let (mine, theirs) = (one.apply(&op), two.apply(&op));
        let same = match (&mine, &theirs) {
            (Ok(Answer::Node(mine)), Ok(Answer::Node(theirs))) => mine.mode == theirs.mode && mine.size == theirs.size,
            _ => mine == theirs,
        };
        assert!(same, "seed {seed}, {number}: {op:?}: {mine:?} here, {theirs:?} there");
        generator.learn(&op, &mine);
    }
    let (one, two) = (one.look().unwrap(), two.look().unwrap());
    assert_eq!(one.0.keys().collect::<Vec<_>>(), two.0.keys().collect::<Vec<_>>());
    assert!(one.0.iter().all(|(name, node)| node.contents == two.0[name].contents && node.nlink == two.0[name].nlink));
}
