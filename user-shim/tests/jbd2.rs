// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The journal on the device is jbd2's: what we leave there, e2fsck recovers; what debugfs leaves there, we recover; and
//! both come to the same bytes.

#[path = "journal/mod.rs"]
mod countfs;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bento_user_shim::{Harness, Image, SimDisk};
use countfs::{BLOCK, COUNTERS, CountFs, Kind, counters, head, zero_counters};

/// Blocks of the file whose bytes everybody recovers.
const FILE: u64 = 64;

struct Ext4 {
    dir: PathBuf,
    /// The file's blocks.
    blocks: Vec<u64>,
    runs: Vec<(u64, u64)>,
}

fn run(program: &str, args: &[&str], input: &str) -> (i32, String) {
    use std::io::Write as _;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} (of e2fsprogs): {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Ext4 {
    /// An image with one file, and our counters in it.
    fn new(name: &str, features: &str, kind: Kind) -> Ext4 {
        let dir = std::env::temp_dir().join(format!("bento-jbd2-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut ext4 = Ext4 { dir, blocks: Vec::new(), runs: Vec::new() };
        let image = ext4.path("image");
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let args = ["-q", "-F", "-t", "ext4", "-b", "1024", "-J", "size=1", "-O", features, image.to_str().unwrap()];
        let (code, said) = run("mke2fs", &args, "");
        assert_eq!(code, 0, "{said}");
        let bytes: Vec<u8> = (0..FILE * BLOCK).map(|n| (n * 31 % 251) as u8 | 1).collect();
        std::fs::write(ext4.path("bytes"), bytes).unwrap();
        ext4.debugfs("image", &format!("write {} counters\n", ext4.path("bytes").display()));
        let listed = ext4.debugfs("image", "blocks counters\n");
        ext4.blocks = listed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert_eq!(ext4.blocks.len() as u64, FILE, "{listed}");
        let extents = ext4.debugfs("image", "dump_extents <8>\n");
        for line in extents.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())) {
            let numbers: Vec<u64> =
                line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
            let [level, depth, .., physical, _, count] = numbers[..] else { panic!("{extents}") };
            if level == depth {
                ext4.runs.push((physical, count));
            }
        }
        let mut bytes = ext4.read("image");
        head(&mut bytes, ext4.blocks[0], kind, &ext4.runs);
        zero_counters(&mut bytes, ext4.blocks[0]);
        ext4.write("image", &bytes);
        ext4
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn debugfs(&self, image: &str, commands: &str) -> String {
        run("debugfs", &["-w", "-f", "-", self.path(image).to_str().unwrap()], commands).1
    }

    /// e2fsck recovers these bytes and finds nothing else to mend.
    fn e2fsck(&self, bytes: &[u8]) -> Vec<u8> {
        self.write("judged", bytes);
        let path = self.path("judged");
        let path = path.to_str().unwrap();
        let (code, said) = run("e2fsck", &["-fy", path], "");
        assert!(code <= 1 && said.contains("recovering journal"), "{code}: {said}");
        let (code, said) = run("e2fsck", &["-fn", path], "");
        assert_eq!(code, 0, "{said}");
        self.read("judged")
    }

    /// We do.
    fn mount(&self, bytes: &[u8]) -> (Vec<u8>, Vec<String>) {
        let disk = Image::new(bytes.to_vec());
        let fs = Harness::mount_disk::<CountFs>(disk.clone(), "").unwrap();
        let log = fs.log();
        fs.unmount().unwrap();
        (disk.bytes(), log)
    }

    fn file(&self, image: &[u8]) -> Vec<u8> {
        let block = |number: &u64| image[(number * BLOCK) as usize..((number + 1) * BLOCK) as usize].to_vec();
        self.blocks.iter().flat_map(block).collect()
    }
}

fn set(fs: &Harness, what: &str, value: u64) {
    fs.setxattr("/0", format!("user.{what}"), value.to_string(), 0).unwrap();
}

const KINDS: [(&str, &str, Kind); 4] = [
    ("plain", "^64bit,^metadata_csum", Kind { wide: false, checksums: false }),
    ("wide", "64bit,^metadata_csum", Kind { wide: true, checksums: false }),
    ("summed", "^64bit,metadata_csum", Kind { wide: false, checksums: true }),
    ("both", "64bit,metadata_csum", Kind { wide: true, checksums: true }),
];

#[test]
fn what_we_leave_behind_e2fsck_recovers() {
    for (name, features, kind) in KINDS {
        let ext4 = Ext4::new(&format!("ours-{name}"), features, kind);
        ext4.debugfs("image", "feature needs_recovery\n");
        let disk = SimDisk::new(ext4.read("image"));
        let fs = Harness::mount_disk::<CountFs>(disk.clone(), "").unwrap();
        for counter in 0..COUNTERS {
            fs.stat(format!("/{counter}")).unwrap();
        }
        let spare = &ext4.blocks[COUNTERS as usize..];
        let mut images = Vec::new();
        // More than goes into the log at once: it has gone round, and been checkpointed, before the end.
        for round in 1..=260u64 {
            set(&fs, "all", 1);
            set(&fs, "magic", spare[round as usize % 9]);
            set(&fs, "fresh", spare[10 + round as usize % 7]);
            if round % 3 == 0 {
                set(&fs, "free", spare[10 + round as usize % 7]);
            }
            fs.sync().unwrap();
            if [1, 2, 3, 10, 77, 150, 259, 260].contains(&round) {
                images.push((round, disk.bytes()));
            }
        }
        fs.crash();
        for (round, bytes) in images {
            let log = {
                ext4.write("log", &bytes);
                ext4.debugfs("log", "logdump -a\n")
            };
            assert!(!log.contains("checksum"), "{log}");
            let judged = ext4.e2fsck(&bytes);
            let (ours, log) = ext4.mount(&bytes);
            assert!(log.iter().any(|line| line.contains("transactions replayed")), "{log:?}");
            assert_eq!(counters(&ours).unwrap(), [round; COUNTERS as usize], "{name}");
            assert!(ext4.file(&ours) == ext4.file(&judged), "{name}: another file in round {round}");
        }
    }
}

#[test]
fn what_debugfs_leaves_behind_we_recover() {
    for (name, features, kind) in KINDS {
        // Without checksums of its own, e2fsck takes those of a journal for wrong as soon as it revokes.
        let versions: &[&str] = if kind.checksums { &["-c -v 2", "-c -v 3"] } else { &[""] };
        for version in versions {
            let ext4 = Ext4::new(&format!("theirs-{name}-{}", version.replace(' ', "")), features, kind);
            let block = |n: usize| ext4.blocks[n];
            let mut script = format!("jo {version}\n");
            let write = |script: &mut String, n: u64, blocks: &[u64], options: &str| {
                let mut bytes = vec![n as u8; blocks.len() * BLOCK as usize];
                // Like a block of the journal's own.
                bytes[..8].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2]);
                let path = ext4.path(&format!("part-{n}"));
                std::fs::write(&path, bytes).unwrap();
                let list: Vec<String> = blocks.iter().map(u64::to_string).collect();
                writeln!(script, "jw -b {} {options} {}", list.join(","), path.display()).unwrap();
            };
            let many: Vec<u64> = ext4.blocks[8..64].to_vec();
            write(&mut script, 2, &many, "");
            write(&mut script, 3, &[block(20), block(21), block(22)], "");
            writeln!(script, "jw -r {},{}", block(20), block(30)).unwrap();
            write(&mut script, 4, &[block(23)], "");
            write(&mut script, 5, &[block(30)], "");
            for n in 10..16 {
                write(&mut script, n, &many[3..], "");
            }
            writeln!(script, "jw -r {}", block(42)).unwrap();
            write(&mut script, 16, &[block(40), block(41)], "");
            write(&mut script, 17, &[block(43)], "-c");
            script.push_str("jc\n");
            ext4.debugfs("image", &script);
            let bytes = ext4.read("image");
            let before = ext4.file(&bytes);
            let judged = ext4.e2fsck(&bytes);
            let (ours, log) = ext4.mount(&bytes);
            assert!(log.iter().any(|line| line.contains("13 transactions replayed")), "{log:?}");
            assert!(ext4.file(&ours) != before);
            assert!(ext4.file(&ours) == ext4.file(&judged), "{name} {version}: another file");
            // And it is empty now, as they see it.
            ext4.write("empty", &ours);
            let superblock = ext4.debugfs("empty", "logdump -S\n");
            let start = superblock.lines().find(|line| line.starts_with("Journal start:"));
            assert!(start.is_some_and(|line| line.ends_with(" 0")), "{superblock}");
        }
    }
}

fn refused(bytes: Vec<u8>) -> String {
    let disk = Image::new(bytes);
    let error = Harness::mount_disk::<CountFs>(disk, "").expect_err("it was mounted");
    error.to_string()
}

#[test]
fn damaged_journals_are_refused_by_name() {
    let ext4 = Ext4::new("damaged", "64bit,metadata_csum", Kind { wide: true, checksums: true });
    let data = ext4.path("data");
    std::fs::write(&data, vec![9; 4 * BLOCK as usize]).unwrap();
    let list: Vec<String> = ext4.blocks[8..12].iter().map(u64::to_string).collect();
    let one = format!("jw -b {} {}\n", list.join(","), data.display());
    ext4.debugfs("image", &format!("jo -c -v 3\n{one}{one}jc\n"));
    let bytes = ext4.read("image");
    let at = |block: u64| ((ext4.runs[0].0 + block) * BLOCK) as usize;
    let spoilt = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let (_, log) = ext4.mount(&bytes);
    assert!(log.iter().any(|line| line.contains("2 transactions replayed")), "{log:?}");
    // Superblock: magic, block size, checksum; then descriptor, data and commit block of the first transaction.
    assert!(refused(spoilt(at(0))).contains("no superblock"));
    assert!(refused(spoilt(at(0) + 0x30)).contains("checksum of its superblock"));
    assert!(refused(spoilt(at(1) + 13)).contains("transaction 1, committed in block 6 of it, is damaged"));
    assert!(refused(spoilt(at(6) + 60)).contains("transaction 1, committed in block 6 of it, is damaged"));
    // That block is in the second transaction as well.
    let (_, log) = ext4.mount(&spoilt(at(3)));
    assert!(log.iter().any(|line| line.contains("2 transactions replayed")), "{log:?}");
    assert!(refused(spoilt(at(9))).contains("in transaction 2 is wrong"));
    // The last commit block, torn: nobody was promised that transaction.
    let (_, log) = ext4.mount(&spoilt(at(12) + 60));
    assert!(log.iter().any(|line| line.contains("1 transactions replayed")), "{log:?}");
    // Nothing can be recovered where nothing can be written.
    let error = Harness::mount_disk::<CountFs>(Image::new(bytes.clone()).read_only(), "").unwrap_err();
    assert!(error.to_string().contains("needs recovery"), "{error}");
    // Fast commits may be there.
    let mut fast = bytes.clone();
    fast[at(0) + 0x2b] |= 0x20;
    let sum = {
        let mut superblock = fast[at(0)..at(0) + 1024].to_vec();
        superblock[0xfc..0x100].fill(0);
        bento::fs::crc32c(!0, &superblock)
    };
    fast[at(0) + 0xfc..at(0) + 0x100].copy_from_slice(&sum.to_be_bytes());
    assert!(refused(fast).contains("fast commits"));
    assert!(Path::new(&data).exists());
}
