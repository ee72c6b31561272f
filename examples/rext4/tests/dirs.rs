// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Directories of all shapes, judged by e2fsck and read by debugfs.

mod image;

use std::collections::{BTreeMap, BTreeSet};

use bento::errno::Errno;
use bento_user_shim::Harness;
use image::{Image, Random};

const EXCHANGE: u32 = 2;
const NOREPLACE: u32 = 1;
const WHITEOUT: u32 = 4;

fn name(n: usize) -> String {
    format!("{n:x}-{}", "name".repeat(n % 13))
}

fn names(harness: &Harness, path: &str) -> BTreeSet<String> {
    let all = harness.names_in(path).unwrap();
    let set: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(all.len(), set.len(), "a name twice in {path}");
    set
}

/// `count` names in one directory, looked up, listed, and most of them taken away again.
fn large(image: &Image, count: usize) {
    let harness = image.mount();
    harness.mkdir("/big", 0o755).unwrap();
    for n in 0..count {
        harness.mknod(format!("/big/{}", name(n)), 0o010644, (0, 0)).unwrap_or_else(|e| panic!("{n}: {e:?}"));
    }
    assert_eq!(names(&harness, "/big"), (0..count).map(name).collect());
    harness.drop_caches().unwrap();
    for n in (0..count).step_by(97) {
        assert!(harness.lstat(format!("/big/{}", name(n))).is_ok(), "{n}");
        assert_eq!(harness.lstat(format!("/big/{}x", name(n))).unwrap_err(), Errno::ENOENT);
    }
    harness.unmount().unwrap();
    drop(harness);
    image.check();

    let harness = image.mount();
    assert_eq!(names(&harness, "/big"), (0..count).map(name).collect());
    let mut random = Random::new(count as u64);
    let mut order: Vec<usize> = (0..count).collect();
    for n in (1..count).rev() {
        order.swap(n, random.below(n + 1));
    }
    let (gone, left) = order.split_at(count * 9 / 10);
    for n in gone {
        harness.unlink(format!("/big/{}", name(*n))).unwrap();
    }
    assert_eq!(names(&harness, "/big"), left.iter().map(|n| name(*n)).collect());
    assert_eq!(harness.rmdir("/big").unwrap_err(), Errno::ENOTEMPTY);
    for n in 0..count / 10 {
        harness.mknod(format!("/big/again{n}"), 0o010644, (0, 0)).unwrap();
    }
    harness.unmount().unwrap();
    drop(harness);
    image.check();
    let harness = image.mount();
    for entry in harness.read_dir("/big").unwrap() {
        harness.unlink([&b"/big/"[..], &entry.name].concat()).unwrap();
    }
    harness.rmdir("/big").unwrap();
    harness.unmount().unwrap();
    drop(harness);
    image.check();
}

#[test]
#[ignore = "takes minutes without optimisation"]
fn a_hundred_thousand_names() {
    let image = Image::new("dirs-100k", 256, "-t ext4 -b 4096 -N 110000");
    large(&image, 100_000);
}

#[test]
fn ten_thousand_names() {
    let image = Image::new("dirs-10k", 64, "-t ext4 -b 4096 -N 11000");
    large(&image, 10_000);
}

#[test]
fn deep_indexes_of_small_blocks() {
    let image = Image::new("dirs-deep", 64, "-t ext4 -b 1024 -N 14000");
    large(&image, 12_000);
}

#[test]
fn without_checksums_without_extents() {
    let image = Image::new("dirs-ext3", 64, "-t ext3 -b 1024 -N 6000");
    large(&image, 5_000);
}

#[test]
fn without_an_index() {
    let image = Image::new("dirs-linear", 64, "-t ext4 -O ^dir_index -b 1024 -N 4000");
    large(&image, 3_000);
}

#[test]
fn ext2_without_file_types() {
    let image = Image::new("dirs-ext2", 64, "-t ext2 -O ^filetype -b 1024 -N 3000");
    large(&image, 2_000);
}

#[test]
fn other_hashes() {
    for hash in ["legacy", "tea", "half_md4"] {
        for signed in [false, true] {
            let image = Image::new(&format!("dirs-{hash}-{signed}"), 32, "-t ext4 -b 1024 -N 3000");
            let flags = if signed { 1 } else { 2 };
            image.debugfs(&format!("set_super_value def_hash_version {hash}\nset_super_value flags {flags}\n"));
            image.check();
            let harness = image.mount();
            harness.mkdir("/d", 0o755).unwrap();
            let name =
                |n: usize| [&b"/d/"[..], &[0xff, 0x80 | (n % 64) as u8, 0xe4], format!("{n}").as_bytes()].concat();
            for n in 0..2000 {
                harness.mknod(name(n), 0o010600, (0, 0)).unwrap();
            }
            assert_eq!(harness.read_dir("/d").unwrap().len(), 2000);
            harness.unmount().unwrap();
            drop(harness);
            image.check();
            let dump = image.debugfs("htree_dump /d\n");
            assert!(dump.contains("Hash Version:"), "{dump}");
        }
    }
}

/// debugfs goes through the index as well, with hashes of its own.
#[test]
fn debugfs_reads_our_index() {
    let image = Image::new("dirs-dump", 32, "-t ext4 -b 1024 -N 3000");
    let harness = image.mount();
    harness.mkdir("/d", 0o755).unwrap();
    for n in 0..2000 {
        harness.mknod(format!("/d/{}", name(n)), 0o010600, (0, 0)).unwrap();
    }
    harness.unmount().unwrap();
    drop(harness);
    image.check();
    let dump = image.debugfs("htree_dump /d\n");
    for n in 0..2000 {
        let name = name(n);
        assert!(dump.contains(&name), "{name} is not in the index");
    }
    let listed = image.debugfs("ls -p /d\n");
    assert_eq!(listed.lines().filter(|line| line.starts_with('/')).count(), 2002);
}

#[test]
fn what_mke2fs_put_there() {
    let from = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dirs-from-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&from);
    std::fs::create_dir_all(from.join("sub/many")).unwrap();
    for n in 0..1500 {
        std::fs::write(from.join(format!("sub/many/{}", name(n))), b"").unwrap();
    }
    std::os::unix::fs::symlink("short", from.join("fast")).unwrap();
    std::os::unix::fs::symlink("long/".repeat(50), from.join("slow")).unwrap();
    let image = Image::new("dirs-d", 32, &format!("-t ext4 -b 1024 -N 3000 -d {}", from.display()));
    std::fs::remove_dir_all(&from).unwrap();
    let harness = image.mount();
    assert_eq!(names(&harness, "/sub/many"), (0..1500).map(name).collect());
    assert_eq!(harness.readlink("/fast").unwrap(), b"short");
    assert_eq!(harness.readlink("/slow").unwrap(), "long/".repeat(50).as_bytes());
    for n in 0..1500 {
        assert!(harness.lstat(format!("/sub/many/{}", name(n))).is_ok());
    }
    for n in 1500..3000 {
        if n % 2 == 0 {
            harness.unlink(format!("/sub/many/{}", name(n - 1500))).unwrap();
        } else {
            harness.mknod(format!("/sub/many/{}", name(n)), 0o010600, (0, 0)).unwrap();
        }
    }
    harness.unmount().unwrap();
    drop(harness);
    image.check();
}

#[test]
fn links_and_nodes() {
    let image = Image::new("dirs-kinds", 32, "-t ext4 -b 1024");
    let harness = image.mount();
    for (path, mode, rdev) in [
        ("/chr", 0o020600, (1, 3)),
        ("/blk", 0o060600, (259, 70000)),
        ("/fifo", 0o010600, (0, 0)),
        ("/sock", 0o140600, (0, 0)),
    ] {
        harness.mknod(path, mode, rdev).unwrap();
    }
    for len in [1, 59, 60, 61, 500, 1023] {
        harness.symlink("t".repeat(len), format!("/link{len}")).unwrap();
    }
    assert_eq!(harness.symlink("t".repeat(1024), "/too-long").unwrap_err(), Errno::ENAMETOOLONG);
    harness.write_file("/file", b"").unwrap();
    harness.link("/file", "/hard").unwrap();
    assert_eq!(harness.stat("/hard").unwrap().nlink, 2);
    harness.unmount().unwrap();
    drop(harness);
    image.check();

    let harness = image.mount();
    assert_eq!(harness.lstat("/chr").unwrap().rdev, (1, 3));
    assert_eq!(harness.lstat("/blk").unwrap().rdev, (259, 70000));
    for len in [1, 59, 60, 61, 500, 1023] {
        assert_eq!(harness.readlink(format!("/link{len}")).unwrap().len(), len);
    }
    assert_eq!(harness.stat("/file").unwrap().nlink, 2);
    harness.unlink("/file").unwrap();
    assert_eq!(harness.stat("/hard").unwrap().nlink, 1);
    for len in [1, 59, 60, 61, 500, 1023] {
        harness.unlink(format!("/link{len}")).unwrap();
    }
    let file = harness.tmpfile("/", 0o600).unwrap();
    file.link("/named").unwrap();
    drop(file);
    drop(harness.tmpfile("/", 0o600).unwrap());
    harness.unmount().unwrap();
    drop(harness);
    image.check();
}

#[test]
fn renames_of_all_kinds() {
    for options in ["-t ext4 -b 1024", "-t ext2 -b 1024", "-t ext4 -b 4096"] {
        let image = Image::new("dirs-rename", 32, options);
        let harness = image.mount();
        for dir in ["/a", "/b", "/a/sub", "/a/empty", "/b/full"] {
            harness.mkdir(dir, 0o755).unwrap();
        }
        for file in ["/a/one", "/b/two", "/b/full/x", "/a/sub/deep"] {
            harness.write_file(file, b"").unwrap();
        }
        let links = |path: &str| harness.stat(path).unwrap().nlink;
        assert_eq!((links("/a"), links("/b")), (4, 3));
        // Over a file, elsewhere.
        harness.rename("/a/one", "/b/two").unwrap();
        assert_eq!(harness.lstat("/a/one").unwrap_err(), Errno::ENOENT);
        // A directory elsewhere.
        harness.rename("/a/sub", "/b/sub").unwrap();
        assert_eq!((links("/a"), links("/b")), (3, 4));
        assert!(harness.lstat("/b/sub/deep").is_ok());
        // Over directories.
        assert_eq!(harness.rename("/a/empty", "/b/full").unwrap_err(), Errno::ENOTEMPTY);
        harness.rename("/b/full", "/a/empty").unwrap();
        assert!(harness.lstat("/a/empty/x").is_ok());
        assert_eq!((links("/a"), links("/b")), (3, 3));
        assert_eq!(harness.rename_with("/a/empty", "/b/sub", NOREPLACE).unwrap_err(), Errno::EEXIST);
        // Swapped: a directory and a file, two directories.
        harness.rename_with("/a/empty", "/b/two", EXCHANGE).unwrap();
        assert_eq!((links("/a"), links("/b")), (2, 4));
        assert!(harness.lstat("/b/two/x").is_ok());
        harness.rename_with("/b/two", "/b/sub", EXCHANGE).unwrap();
        assert!(harness.lstat("/b/sub/x").is_ok() && harness.lstat("/b/two/deep").is_ok());
        harness.mkdir("/a/dir", 0o755).unwrap();
        harness.rename_with("/a/dir", "/b/sub", EXCHANGE).unwrap();
        assert!(harness.lstat("/a/dir/x").is_ok());
        // A whiteout stays behind.
        harness.rename_with("/a/empty", "/b/moved", WHITEOUT).unwrap();
        let whiteout = harness.lstat("/a/empty").unwrap();
        assert_eq!((whiteout.mode & 0o170000, whiteout.rdev), (0o020000, (0, 0)));
        // Within one directory, over one another.
        harness.write_file("/b/p", b"").unwrap();
        harness.write_file("/b/q", b"").unwrap();
        harness.rename("/b/p", "/b/q").unwrap();
        harness.rename("/b/q", "/b/r").unwrap();
        harness.unmount().unwrap();
        drop(harness);
        image.check();
        let harness = image.mount();
        assert_eq!(names(&harness, "/b"), ["moved", "r", "sub", "two"].map(String::from).into());
        assert_eq!(names(&harness, "/a"), ["dir", "empty"].map(String::from).into());
        harness.unmount().unwrap();
    }
}

/// What is there all the time is listed once, whatever comes and goes meanwhile.
#[test]
fn listing_a_directory_that_changes() {
    for options in ["-t ext4 -b 1024", "-t ext4 -b 1024 -O ^dir_index"] {
        let image = Image::new("dirs-changing", 64, &format!("{options} -N 20000"));
        let harness = image.mount();
        let mut random = Random::new(7);
        for start in [3, 20, 500] {
            let root = format!("/d{start}");
            harness.mkdir(&root, 0o755).unwrap();
            let dir = harness.lookup_in(&harness.root().unwrap(), root.trim_start_matches('/')).unwrap();
            for n in 0..start {
                harness.mknod(format!("{root}/stays{n}"), 0o010600, (0, 0)).unwrap();
                harness.mknod(format!("{root}/goes{n}"), 0o010600, (0, 0)).unwrap();
            }
            let (mut pos, mut seen, mut made) = (0, Vec::new(), 0);
            loop {
                let entries = harness.iterate_in(&dir, pos).unwrap();
                // As if the caller's buffer had been small.
                let take = 1 + random.below(20);
                let Some((_, next)) = entries.iter().take(take).next_back() else { break };
                pos = *next;
                seen.extend(entries.iter().take(take).map(|(entry, _)| entry.name.clone()));
                for _ in 0..random.below(8) {
                    let _ = harness.unlink(format!("{root}/goes{}", random.below(start)));
                    if made < 3000 {
                        made += 1;
                        harness.mknod(format!("{root}/comes{made}"), 0o010600, (0, 0)).unwrap();
                    }
                }
            }
            let mut stays: Vec<_> = seen.iter().filter(|name| name.starts_with(b"stays")).collect();
            let all = stays.len();
            stays.sort();
            stays.dedup();
            assert_eq!((all, stays.len()), (start, start), "{options}");
        }
        harness.unmount().unwrap();
        drop(harness);
        image.check();
    }
}

/// Beyond 65,000 links a directory says 1.
#[test]
#[ignore = "takes minutes without optimisation"]
fn more_directories_than_links() {
    let image = Image::new("dirs-nlink", 512, "-t ext4 -b 1024 -N 70000");
    let harness = image.mount();
    harness.mkdir("/d", 0o755).unwrap();
    for n in 0..65_100 {
        harness.mkdir(format!("/d/{n}"), 0o755).unwrap_or_else(|e| panic!("{n}: {e:?}"));
    }
    assert_eq!(harness.stat("/d").unwrap().nlink, 1);
    harness.unmount().unwrap();
    drop(harness);
    image.check();

    let image = Image::new("dirs-nlink-old", 512, "-t ext4 -O ^dir_nlink -b 1024 -N 70000");
    let harness = image.mount();
    harness.mkdir("/d", 0o755).unwrap();
    let refused = (0..65_100).find(|n| harness.mkdir(format!("/d/{n}"), 0o755).is_err());
    assert_eq!(refused, Some(64_998));
    assert_eq!(harness.mkdir("/d/more", 0o755).unwrap_err(), Errno::EMLINK);
    harness.unmount().unwrap();
    drop(harness);
    image.check();
}

/// The same with a count that was put there: e2fsck would not agree with it.
#[test]
fn the_last_links() {
    for (options, unlimited) in [("-t ext4 -b 1024", true), ("-t ext4 -O ^dir_nlink -b 1024", false)] {
        let image = Image::new("dirs-last", 16, options);
        let harness = image.mount();
        harness.mkdir("/d", 0o755).unwrap();
        for n in 0..100 {
            harness.mknod(format!("/d/{n}"), 0o010600, (0, 0)).unwrap();
        }
        harness.write_file("/f", b"").unwrap();
        harness.unmount().unwrap();
        drop(harness);
        image.debugfs("sif /d links_count 64999\nsif /f links_count 64999\n");
        let harness = image.mount();
        let links = |path: &str| harness.stat(path).unwrap().nlink;
        harness.link("/f", "/g").unwrap();
        assert_eq!(harness.link("/f", "/h"), Err(Errno::EMLINK));
        assert_eq!(links("/f"), 65_000);
        harness.mkdir("/d/last", 0o755).unwrap();
        assert_eq!(links("/d"), 65_000);
        assert_eq!(harness.mkdir("/d/more", 0o755).err(), (!unlimited).then_some(Errno::EMLINK));
        assert_eq!(links("/d"), if unlimited { 1 } else { 65_000 });
        if unlimited {
            harness.rmdir("/d/more").unwrap();
            assert_eq!(links("/d"), 1);
        }
        harness.unmount().unwrap();
    }
}

/// What is where: a directory's path, and what its names stand for.
#[derive(Default)]
struct Model {
    /// Path to kind; directories have kind `d`.
    tree: BTreeMap<String, char>,
}

impl Model {
    fn dirs(&self) -> Vec<String> {
        let dirs = self.tree.iter().filter(|(_, kind)| **kind == 'd').map(|(path, _)| path.clone());
        std::iter::once(String::new()).chain(dirs).collect()
    }

    fn is_empty(&self, dir: &str) -> bool {
        !self.tree.keys().any(|path| path.starts_with(&format!("{dir}/")))
    }

    fn moved(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let paths: Vec<String> =
            self.tree.keys().filter(|path| *path == from || path.starts_with(&below)).cloned().collect();
        for path in paths {
            let kind = self.tree.remove(&path).unwrap();
            self.tree.insert(format!("{to}{}", &path[from.len()..]), kind);
        }
    }
}

fn walk(harness: &Harness, dir: &str, found: &mut BTreeMap<String, char>) {
    for entry in harness.read_dir(if dir.is_empty() { "/" } else { dir }).unwrap() {
        let path = format!("{dir}/{}", String::from_utf8(entry.name).unwrap());
        if path == "/lost+found" {
            continue;
        }
        let stat = harness.lstat(&path).unwrap();
        let kind = match stat.mode & 0o170000 {
            0o040000 => 'd',
            0o120000 => 'l',
            0o100000 => 'f',
            _ => 'o',
        };
        found.insert(path.clone(), kind);
        if kind == 'd' {
            walk(harness, &path, found);
        }
    }
}

#[test]
fn random_names_against_a_model() {
    let kinds =
        ["-t ext4 -b 1024", "-t ext4 -b 4096", "-t ext3 -b 1024", "-t ext4 -b 2048 -O ^dir_index,^metadata_csum"];
    for (seed, options) in kinds.into_iter().enumerate() {
        let image = Image::new("dirs-model", 64, &format!("{options} -N 8000"));
        let mut random = Random::new(seed as u64 + 1);
        let mut model = Model::default();
        for round in 0..4 {
            let harness = image.mount();
            for _ in 0..800 {
                step(&harness, &mut model, &mut random);
            }
            let mut found = BTreeMap::new();
            walk(&harness, "", &mut found);
            assert_eq!(found, model.tree, "{options}, round {round}");
            harness.unmount().unwrap();
            drop(harness);
            image.check();
        }
    }
}

fn step(harness: &Harness, model: &mut Model, random: &mut Random) {
    let dirs = model.dirs();
    let dir = dirs[random.below(dirs.len())].clone();
    let fresh = |random: &mut Random| {
        let len = if random.below(4) == 0 { random.below(230) } else { 3 };
        format!("{}{}", random.below(4000), "n".repeat(len))
    };
    let any = |model: &Model, random: &mut Random| model.tree.keys().nth(random.below(model.tree.len())).cloned();
    match random.below(100) {
        0..45 => {
            let path = format!("{dir}/{}", fresh(random));
            let there = model.tree.contains_key(&path);
            let kind = ['f', 'f', 'd', 'l', 'o'][random.below(5)];
            let done = match kind {
                'f' if there => return,
                'f' => harness.create(&path, 0o644).map(drop),
                'd' => harness.mkdir(&path, 0o755),
                'l' => harness.symlink("x".repeat(1 + random.below(200)), &path),
                _ => harness.mknod(&path, 0o010644, (0, 0)),
            };
            assert_eq!(done.err(), there.then_some(Errno::EEXIST), "{path}");
            if !there {
                model.tree.insert(path, kind);
            }
        }
        45..65 => {
            let Some(path) = any(model, random) else { return };
            if model.tree[&path] == 'd' {
                let empty = model.is_empty(&path);
                assert_eq!(harness.rmdir(&path).err(), (!empty).then_some(Errno::ENOTEMPTY), "{path}");
                if !empty {
                    return;
                }
            } else {
                harness.unlink(&path).unwrap_or_else(|e| panic!("{path}: {e:?}"));
            }
            model.tree.remove(&path);
        }
        65..72 => {
            let Some(path) = any(model, random) else { return };
            let to = format!("{dir}/{}", fresh(random));
            if model.tree[&path] == 'f' && !model.tree.contains_key(&to) {
                harness.link(&path, &to).unwrap();
                model.tree.insert(to, 'f');
            }
        }
        _ => {
            let Some(from) = any(model, random) else { return };
            let to =
                if random.below(2) == 0 { any(model, random).unwrap() } else { format!("{dir}/{}", fresh(random)) };
            let (kind, target) = (model.tree[&from], model.tree.get(&to).copied());
            if from == to || to.starts_with(&format!("{from}/")) || from.starts_with(&format!("{to}/")) {
                return;
            }
            let same = target.is_some() && harness.lstat(&from).unwrap().ino == harness.lstat(&to).unwrap().ino;
            if random.below(4) == 0 && target.is_some() {
                harness.rename_with(&from, &to, EXCHANGE).unwrap_or_else(|e| panic!("{from} {to}: {e:?}"));
                if !same {
                    model.moved(&from, "/\0");
                    model.moved(&to, &from);
                    model.moved("/\0", &to);
                }
                return;
            }
            let whiteout = random.below(8) == 0;
            let expected = match (kind, target) {
                (_, None) => None,
                ('d', Some('d')) => (!model.is_empty(&to)).then_some(Errno::ENOTEMPTY),
                ('d', Some(_)) => Some(Errno::ENOTDIR),
                (_, Some('d')) => Some(Errno::EISDIR),
                _ => None,
            };
            let done = harness.rename_with(&from, &to, if whiteout { WHITEOUT } else { 0 });
            assert_eq!(done.err(), expected, "{from} {to}");
            if expected.is_none() && !same {
                model.tree.remove(&to);
                model.moved(&from, &to);
                if whiteout {
                    model.tree.insert(from, 'o');
                }
            }
        }
    }
}

/// A byte of the block that a directory's root is.
fn damage_root(image: &Image, dir: &str, at: usize, value: u8) {
    let said = image.debugfs(&format!("bmap {dir} 0\n"));
    let block: u64 = said.lines().find_map(|line| line.trim().parse().ok()).unwrap_or_else(|| panic!("{said}"));
    let mut bytes = std::fs::read(image.path()).unwrap();
    bytes[block as usize * 1024 + at] = value;
    std::fs::write(image.path(), bytes).unwrap();
}

#[test]
fn an_index_that_makes_no_sense_is_done_without() {
    // The version of the hash; levels; the limit of entries.
    for (at, value) in [(0x1c, 77), (0x1e, 9), (0x20, 1)] {
        let image = Image::new(&format!("dirs-bad-{at}"), 32, "-t ext4 -b 1024 -N 3000 -O ^metadata_csum");
        let fs = image.mount();
        fs.mkdir("/d", 0o755).unwrap();
        let name = |n: usize| format!("/d/a-name-that-takes-some-room-{n}");
        for n in 0..300 {
            fs.write_file(name(n), [1]).unwrap();
        }
        fs.unmount().unwrap();
        damage_root(&image, "/d", at, value);
        let fs = image.mount();
        assert_eq!(fs.names_in("/d").unwrap().len(), 300);
        for n in 0..300 {
            assert!(fs.exists(name(n)), "{n}");
        }
        assert!(!fs.exists("/d/none"));
        assert!(fs.log().iter().any(|line| line.contains("directory") && line.contains("e2fsck -D")), "{:?}", fs.log());
        fs.unlink(name(7)).unwrap();
        assert_eq!(fs.names_in("/d").unwrap().len(), 299);
        // Whoever adds a name makes it a directory without an index.
        for n in 300..400 {
            fs.write_file(name(n), [1]).unwrap();
        }
        fs.rename(name(8), name(7)).unwrap();
        assert_eq!(fs.names_in("/d").unwrap().len(), 399);
        fs.unmount().unwrap();
        image.check();
        let fs = image.mount();
        assert_eq!(fs.names_in("/d").unwrap().len(), 399);
        assert_eq!(fs.fileattr("/d").unwrap().0 & 0x1000, 0);
        fs.unmount().unwrap();
        image.check();
    }
}
