// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many tasks at once, some calls panicking: nothing hangs, nothing leaks, bytes are whole.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bento::errno::Errno;
use bento::fs::FileSystem;
use bento_user_shim::{Harness, flags};
use bytesfs::BytesFs;
use memfs::MemFs;

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn path(random: &mut Random) -> String {
    let dir = ["", "/a", "/b"][random.below(3) as usize];
    format!("{dir}/{}", ["x", "y", "z", "a", "b"][random.below(5) as usize])
}

/// One random call; what it said.
fn step(fs: &Harness, random: &mut Random) -> Result<(), Errno> {
    let (one, two) = (path(random), path(random));
    match random.below(14) {
        0 => fs.mkdir(&one, 0o755),
        1 => fs.rmdir(&one),
        2 | 3 => {
            let file = fs.open_with(&one, flags::READ_WRITE | flags::CREATE, 0o644)?;
            file.write_at(&[random.below(256) as u8; 5000], random.below(20_000)).map(drop)
        }
        4 => fs.open(&one, flags::READ_ONLY)?.read_at(0, 30_000).map(drop),
        5 => fs.unlink(&one),
        6 | 7 => fs.rename(&one, &two),
        8 => fs.rename_with(&one, &two, 2),
        9 => fs.link(&one, &two),
        10 => {
            fs.read_dir(one.rsplit_once('/').map_or("/", |(dir, _)| if dir.is_empty() { "/" } else { dir })).map(drop)
        }
        11 => fs.truncate(&one, random.below(30_000)),
        12 => fs.drop_caches().map(drop),
        _ => fs.stat(&one).map(drop),
    }
}

/// Runs `tasks` tasks of `steps` calls each; how many said `EIO`.
fn storm<F: FileSystem>(options: &str, tasks: u64, steps: u64) -> (u64, usize) {
    let fs = Harness::mount::<F>("").unwrap();
    if !options.is_empty() {
        fs.remount(options).unwrap();
    }
    let spoiled = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..tasks)
            .map(|seed| {
                let (fs, spoiled) = (&fs, &spoiled);
                scope.spawn(move || {
                    let mut random = Random(seed);
                    for _ in 0..steps {
                        match step(fs, &mut random) {
                            Err(Errno::EIO) => drop(spoiled.fetch_add(1, Ordering::Relaxed)),
                            Err(Errno::EUCLEAN) => panic!("{:?}", fs.log().last()),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        // Somebody opens and closes the gate all the while.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if fs.close_gate(std::time::Duration::from_millis(5)).is_ok() {
                    fs.open_gate();
                }
                std::thread::yield_now();
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let panics = fs.panics().len();
    if panics > 0 {
        fs.remount("on=,kind=error").unwrap();
    }
    let report = fs.unmount_and_report().unwrap();
    report.assert_clean();
    (spoiled.into_inner(), panics)
}

#[test]
fn memfs_under_four_tasks() {
    assert_eq!(storm::<MemFs>("size=256k", 4, 5000), (0, 0));
}

#[test]
fn bytesfs_under_four_tasks() {
    assert_eq!(storm::<BytesFs>("", 4, 3000), (0, 0));
}

#[test]
fn one_call_in_nine_panics() {
    let (spoiled, panics) = storm::<BytesFs>("on=all,kind=index,every=9", 4, 3000);
    assert!(spoiled > 500 && panics as u64 >= spoiled, "{spoiled} calls spoiled by {panics} panics");
}
