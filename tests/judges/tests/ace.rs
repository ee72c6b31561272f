// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The judge of crashes, judged: its model does what a file system does, and what is lost or made up is found.

use std::path::Path;

use bento_judges::ace::{Oracle, Perfect, Sequence, all_of_one, run, setup, some_of_two};
use bento_judges::mounted::Mounted;
use bento_judges::ops::{At, Name, Op, What};
use bento_judges::tree::Target;

fn sequences() -> Vec<Sequence> {
    let mut all = all_of_one();
    all.extend(some_of_two(1, 60));
    all
}

#[test]
fn sequences_are_many_and_repeatable() {
    assert!(all_of_one().len() > 150, "{}", all_of_one().len());
    assert_eq!(some_of_two(5, 40), some_of_two(5, 40));
    assert_ne!(some_of_two(5, 40), some_of_two(6, 40));
    let durable = |op: &Op| matches!(op.what, What::Sync | What::Fsync { .. });
    assert!(sequences().iter().all(|sequence| sequence.ops.last().is_some_and(durable)));
}

#[test]
fn the_model_does_what_a_file_system_does() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ace");
    let _ = std::fs::remove_dir_all(&root);
    // SAFETY: sets a number.
    unsafe { libc::umask(0) };
    for (number, mut sequence) in sequences().into_iter().enumerate() {
        // What is durable is not asked for here, and takes its time.
        sequence.ops.retain(|op| !matches!(op.what, What::Sync | What::Fsync { .. }));
        let dir = root.join(number.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let mut target = Mounted::new(&dir, 0);
        let mut marks = Vec::new();
        run(&sequence, &mut target, |mark| marks.push(mark)).unwrap_or_else(|error| panic!("{sequence:?}: {error}"));
        assert_eq!(marks, (0..=sequence.ops.len() as u64).collect::<Vec<_>>());
        let done = sequence.ops.len() as u64;
        Oracle::new(&sequence).judge(done, &mut target).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

/// What is there after `done` operations, if nothing is lost.
fn after(sequence: &Sequence, done: usize) -> Perfect {
    let mut perfect = Perfect::default();
    setup().iter().chain(&sequence.ops[..done]).for_each(|op| drop(perfect.apply(op).unwrap()));
    perfect
}

#[test]
fn each_moment_since_something_was_durable_is_fine_and_no_other() {
    let (mut fine, mut lost) = (0, 0);
    for sequence in sequences() {
        let oracle = Oracle::new(&sequence);
        let durable = |op: &Op| matches!(op.what, What::Sync | What::Fsync { .. });
        for done in 0..=sequence.ops.len() {
            let surely = sequence.ops[..done].iter().rposition(durable).map_or(0, |at| at + 1);
            let first = oracle.first(done as u64) as usize;
            for moment in 0..=sequence.ops.len() {
                let mut found = after(&sequence, moment);
                let verdict = oracle.judge(done as u64, &mut found);
                if (surely..=done + 1).contains(&moment) {
                    verdict.unwrap_or_else(|error| panic!("{moment}: {error}"));
                    fine += 1;
                } else if moment < first && found.look() != after(&sequence, first).look() {
                    lost += usize::from(verdict.is_err());
                    // An fsync of something else says nothing of a file's contents.
                    let whole = surely == first && matches!(sequence.ops[first - 1].what, What::Sync);
                    assert!(verdict.is_err() || !whole, "{sequence:?}: {moment} after {done}");
                }
            }
        }
    }
    assert!(fine > 800 && lost > 150, "{fine}, {lost}");
}

#[test]
fn bytes_that_nobody_wrote_are_found() {
    let write = |len, seed| What::Write { file: At::Path(b"foo".to_vec()), offset: 0, len, seed };
    let op = |what| Op { uid: 0, what };
    let sequence = Sequence { ops: vec![op(write(9000, 8)), op(What::Sync)] };
    let oracle = Oracle::new(&sequence);
    // Half of it is written when the machine stops: a page of one, a page of the other.
    let mut half = after(&sequence, 0);
    half.apply(&op(write(4096, 8))).unwrap();
    oracle.judge(0, &mut half).unwrap();
    // Something that was there before in the block.
    half.apply(&op(write(4096, 99))).unwrap();
    assert!(oracle.judge(0, &mut half).unwrap_err().contains("which nobody wrote there"));
    // And a name that is not there at all.
    let mut gone = after(&sequence, 2);
    gone.apply(&op(What::Unlink { path: Name(b"A/foo".to_vec()) })).unwrap();
    assert!(oracle.judge(2, &mut gone).unwrap_err().contains("is on the first only"));
}
