// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Small images of each kind, and where their journal is.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A way to make a file system.
pub struct Kind {
    pub name: &'static str,
    pub block: usize,
    pub extents: bool,
    megabytes: usize,
    options: &'static [&'static str],
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Small groups, so that some have no bitmaps yet.
pub static KINDS: [Kind; 4] = [
    Kind {
        name: "ext4-1k",
        block: 1024,
        extents: true,
        megabytes: 4,
        options: &["-t", "ext4", "-b", "1024", "-g", "1024", "-J", "size=1"],
    },
    Kind {
        name: "ext4-4k",
        block: 4096,
        extents: true,
        megabytes: 12,
        options: &["-t", "ext4", "-b", "4096", "-O", "orphan_file", "-J", "size=4"],
    },
    Kind {
        name: "ext3",
        block: 1024,
        extents: false,
        megabytes: 4,
        options: &["-t", "ext3", "-b", "1024", "-J", "size=1"],
    },
    Kind {
        name: "ext2",
        block: 1024,
        extents: false,
        megabytes: 4,
        options: &["-t", "ext2", "-b", "1024", "-I", "128"],
    },
];

/// One of that kind, and a place for what e2fsprogs look at.
pub struct Made {
    pub kind: &'static Kind,
    pub bytes: Vec<u8>,
    dir: PathBuf,
    journal: BTreeSet<usize>,
}

fn tool(name: &str, arguments: &[&str], image: &Path) -> Output {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new(name).env("PATH", path).args(arguments).arg(image).output().expect("e2fsprogs are installed")
}

impl Made {
    pub fn new(kind: &'static Kind) -> Made {
        // Tests run side by side, two of them on the same kind.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let serial = MADE.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}-{serial}", kind.name));
        fs::create_dir_all(&dir).unwrap();
        let image = dir.join("image");
        // No block that is free is zero: who shows one shows what was not his.
        fs::write(&image, vec![0xa6; kind.megabytes << 20]).unwrap();
        // Names fall into the same blocks each time.
        let seed = "11111111-2222-3333-4444-555555555555";
        let hash = format!("nodiscard,lazy_itable_init=0,hash_seed={seed}");
        let mut options = vec!["-q", "-F", "-U", seed, "-E", &hash];
        options.extend(kind.options);
        let output = tool("mke2fs", &options, &image);
        assert!(output.status.success(), "{output:?}");
        let list = tool("debugfs", &["-R", "blocks <8>"], &image);
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let journal = list.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        Made { kind, bytes: fs::read(&image).unwrap(), dir, journal }
    }

    /// Nothing is wrong with it.
    pub fn e2fsck(&self, bytes: &[u8], what: &str) {
        let path = self.dir.join("judged");
        fs::write(&path, bytes).unwrap();
        let output = tool("e2fsck", &["-fn"], &path);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stdout));
    }

    /// What two images have in common that differ in nothing but their journals, and in when they were mounted.
    pub fn sum(&self, image: &[u8]) -> u64 {
        // Times and counts of mounts, and the checksum over them.
        const MOUNTED: [Range<usize>; 4] = [0x2c..0x36, 0x178..0x180, 0x274..0x276, 0x3fc..0x400];
        let mut superblock = image[1024..2048].to_vec();
        MOUNTED.into_iter().for_each(|range| superblock[range].fill(0));
        let blocks = image.chunks(self.kind.block).enumerate().filter(|(at, _)| !self.journal.contains(at));
        let mut sum = DefaultHasher::new();
        for (at, block) in blocks {
            match at * self.kind.block {
                0 if self.kind.block > 1024 => block[2048..].hash(&mut sum),
                1024 => {}
                _ => block.hash(&mut sum),
            }
        }
        superblock.hash(&mut sum);
        sum.finish()
    }

    /// The blocks that differ; what is in the journal is nobody's business.
    pub fn difference(&self, one: &[u8], two: &[u8]) -> Vec<usize> {
        let size = self.kind.block;
        let pairs = one.chunks(size).zip(two.chunks(size)).enumerate();
        pairs.filter(|(at, (one, two))| one != two && !self.journal.contains(at)).map(|(at, _)| at).collect()
    }
}
