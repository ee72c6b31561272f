// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The operations: what is there before, and what is done.

use bento::errno::Result;
use bento_judges::tree::Tree;
use bento_user_shim::{File, Harness, Times, flags};

type Files = Vec<File>;

pub struct Case {
    pub name: &'static str,
    /// Once; afterwards the image is at rest.
    pub setup: fn(&Harness),
    /// Before each attempt, without faults.
    pub prepare: fn(&Harness) -> Files,
    pub operation: fn(&Harness, Files) -> Result<()>,
    /// It is several transactions, or writes data: some may have happened when it fails.
    pub steps: bool,
    /// Is what is there then a part of it?
    pub partly: fn(&Tree) -> bool,
}

const fn case(name: &'static str, setup: fn(&Harness), operation: fn(&Harness, Files) -> Result<()>) -> Case {
    Case { name, setup, prepare: |_| Vec::new(), operation, steps: false, partly: |_| false }
}

impl Case {
    const fn prepare(mut self, prepare: fn(&Harness) -> Files) -> Case {
        self.prepare = prepare;
        self
    }

    const fn steps(mut self) -> Case {
        self.steps = true;
        self
    }

    const fn partly(mut self, partly: fn(&Tree) -> bool) -> Case {
        self.partly = partly;
        self.steps()
    }
}

/// So long that a block has few of them.
fn long(n: usize) -> String {
    format!("/d/{n:03}{}", "n".repeat(200))
}

fn make_long(fs: &Harness, n: usize) {
    fs.mknod(long(n), 0o600, (0, 0)).unwrap();
}

/// Makes files in /d until one more would make the directory grow in the way that is asked for: the how-manieth growth it
/// is, and by how many blocks. /next says what that one is called.
fn until_growth(fs: &Harness, wanted: fn(usize, u64) -> bool) {
    let block = u64::from(fs.statfs().unwrap().block_size);
    let size = || fs.stat("/d").unwrap().size / block;
    fs.mkdir("/d", 0o755).unwrap();
    let (mut before, mut growths) = (size(), 0);
    for n in 0..900 {
        make_long(fs, n);
        let by = size() - before;
        before += by;
        growths += usize::from(by > 0);
        if by > 0 && wanted(growths, by) {
            // A name that is gone leaves the directory as large as it was: it is made again, without the last one.
            (0..=n).for_each(|n| fs.unlink(long(n)).unwrap());
            fs.rmdir("/d").unwrap();
            fs.mkdir("/d", 0o755).unwrap();
            (0..n).for_each(|n| make_long(fs, n));
            return fs.symlink(long(n), "/next").unwrap();
        }
    }
    panic!("no directory ever grows like that");
}

fn first_growth(fs: &Harness) {
    until_growth(fs, |_, _| true);
}

fn make_next(fs: &Harness, _: Files) -> Result<()> {
    fs.mknod(fs.readlink("/next")?, 0o600, (0, 0))
}

/// A file of `pieces` pieces that touch nowhere.
fn pieces(fs: &Harness, pieces: u64) {
    let block = u64::from(fs.statfs().unwrap().block_size);
    let file = fs.create("/f", 0o644).unwrap();
    for n in 0..pieces {
        file.write_all_at(b"piece", n * 4 * block).unwrap();
    }
    file.fsync().unwrap();
}

fn open(fs: &Harness, path: &str) -> Files {
    vec![fs.open(path, flags::READ_WRITE).unwrap()]
}

/// Data in a hole of /f, and then at their place.
fn fill(fs: &Harness, files: Files) -> Result<()> {
    let block = u64::from(fs.statfs()?.block_size);
    files[0].write_all_at(&[7; 100], block * 6)?;
    files[0].fsync()
}

fn is_as_long(tree: &Tree) -> bool {
    tree.get(b"f").is_some_and(|f| f.size == 30_000)
}

fn nothing(_: &Harness) {}

fn file(fs: &Harness) {
    fs.write_file("/f", vec![5; 30_000]).unwrap();
    fs.chown("/f", Some(5), Some(6)).unwrap();
}

fn two_dirs(fs: &Harness) {
    file(fs);
    fs.mkdir_all("/a/b").unwrap();
    fs.mkdir("/c", 0o755).unwrap();
    fs.write_file("/a/b/g", "g").unwrap();
    fs.write_file("/c/h", vec![3; 5000]).unwrap();
    fs.mkdir("/c/empty", 0o755).unwrap();
}

const NOBODY: u32 = u32::MAX;

/// An ACL of these entries: tag, permissions and whose.
fn entries(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// One with a named user.
fn acl(permissions: u16) -> Vec<u8> {
    entries(&[(1, 6, NOBODY), (2, permissions, 77), (4, 4, NOBODY), (0x10, 7, NOBODY), (0x20, 4, NOBODY)])
}

/// One that no inode has room for.
fn many() -> Vec<u8> {
    let mut all = vec![(1, 7, NOBODY)];
    all.extend((1..60).map(|id| (2, 5, id)));
    all.extend([(4, 1, NOBODY), (0x10, 5, NOBODY), (0x20, 1, NOBODY)]);
    entries(&all)
}

fn attributes(fs: &Harness) {
    file(fs);
    fs.setxattr("/f", "user.small", "value", 0).unwrap();
    fs.setxattr("/f", "user.large", [8; 500], 0).unwrap();
}

fn cold(fs: &Harness) -> Files {
    fs.drop_caches().unwrap();
    Vec::new()
}

fn fallocate(files: &Files, mode: i32, offset: u64, len: u64) -> Result<()> {
    files[0].fallocate(mode, offset, len)
}

const KEEP_SIZE: i32 = 1;
const PUNCH: i32 = 3;
const COLLAPSE: i32 = 8;
const ZERO: i32 = 16;
const INSERT: i32 = 32;

pub fn cases() -> Vec<Case> {
    let f = |fs: &Harness| open(fs, "/f");
    vec![
        // ---- names ----
        case("create", nothing, |fs, _| fs.create("/new", 0o640).map(drop)),
        case(
            "create and what is inherited",
            |fs| {
                fs.mkdir("/d", 0o2775).unwrap();
                fs.setxattr("/d", "system.posix_acl_default", acl(7), 0).unwrap();
            },
            |fs, _| fs.mkdir("/d/new", 0o777),
        ),
        case("mkdir", nothing, |fs, _| fs.mkdir("/new", 0o755)),
        case("mknod", nothing, |fs, _| fs.mknod("/new", libc::S_IFCHR | 0o600, (5, 300))),
        case("symlink, short", nothing, |fs, _| fs.symlink("to", "/new")),
        case("symlink, long", nothing, |fs, _| fs.symlink("t".repeat(300), "/new")),
        case("link", file, |fs, _| fs.link("/f", "/new")),
        case("tmpfile", nothing, |fs, _| fs.tmpfile("/", 0o600).map(drop)).steps(),
        case("tmpfile that gets a name", nothing, |_, files| files[0].link("/new"))
            .prepare(|fs| vec![fs.tmpfile("/", 0o600).unwrap()])
            .steps(),
        case(
            "unlink, another name stays",
            |fs| {
                file(fs);
                fs.link("/f", "/g").unwrap();
            },
            |fs, _| fs.unlink("/f"),
        ),
        case("unlink, and eviction", |fs| pieces(fs, 9), |fs, _| fs.unlink("/f")).steps(),
        case("unlink while open", file, |fs, _| fs.unlink("/f")).prepare(f).steps(),
        case("close after unlink", file, |fs, files| {
            fs.unlink("/f")?;
            drop(files);
            Ok(())
        })
        .prepare(f)
        .steps(),
        case("eviction with attributes in a block", attributes, |fs, _| fs.unlink("/f")).steps(),
        case("rmdir", |fs| fs.mkdir("/d", 0o755).unwrap(), |fs, _| fs.rmdir("/d")).steps(),
        case("rename in a directory", file, |fs, _| fs.rename("/f", "/new")),
        case(
            "rename to a shorter name",
            |fs| fs.write_file(long(1).replace("/d", ""), "x").unwrap(),
            |fs, _| fs.rename(long(1).replace("/d", ""), "/s"),
        ),
        case("rename to another directory", two_dirs, |fs, _| fs.rename("/f", "/a/b/new")),
        case("rename over a file", two_dirs, |fs, _| fs.rename("/f", "/c/h")).steps(),
        case("rename of a directory", two_dirs, |fs, _| fs.rename("/a/b", "/c/new")),
        case("rename over a directory", two_dirs, |fs, _| fs.rename("/a/b", "/c/empty")).steps(),
        case("exchange", two_dirs, |fs, _| fs.rename_with("/f", "/c/h", 2)),
        case("exchange of directories", two_dirs, |fs, _| fs.rename_with("/a/b", "/c", 2)),
        case("exchange of a directory and a file", two_dirs, |fs, _| fs.rename_with("/a/b", "/c/h", 2)),
        case("whiteout", two_dirs, |fs, _| fs.rename_with("/f", "/c/new", 4)),
        // ---- directories that grow ----
        case("a directory becomes a tree", first_growth, make_next),
        case("a leaf is split", |fs| until_growth(fs, |growths, _| growths == 2), make_next),
        case("lookup in a tree", first_growth, |fs, _| fs.stat(long(2)).map(drop)).prepare(cold),
        case("iterate in a tree", first_growth, |fs, _| fs.read_dir("/d").map(drop)).prepare(cold),
        case(
            "unlink in a tree",
            |fs| {
                fs.mkdir("/d", 0o755).unwrap();
                (0..20).for_each(|n| make_long(fs, n));
            },
            |fs, _| fs.unlink(long(7)),
        )
        .steps(),
        case(
            "mkdir where a leaf is split",
            |fs| until_growth(fs, |growths, _| growths == 2),
            |fs, _| fs.mkdir(fs.readlink("/next")?, 0o700),
        ),
        // ---- attributes ----
        case("chmod", file, |fs, _| fs.chmod("/f", 0o4711)),
        case(
            "chmod with an ACL",
            |fs| {
                file(fs);
                fs.setxattr("/f", "system.posix_acl_access", acl(6), 0).unwrap();
            },
            |fs, _| fs.chmod("/f", 0o600),
        ),
        case("chown", file, |fs, _| fs.chown("/f", Some(100_000), Some(70_000))),
        case("times", file, |fs, _| fs.set_times("/f", Times { atime: None, mtime: Some(Default::default()) })),
        case("flags", file, |fs, _| fs.set_fileattr("/f", 0x40 | fs.fileattr("/f")?.0, 0)),
        case("stat, cold", two_dirs, |fs, _| fs.stat("/a/b/g").map(drop)).prepare(cold),
        case("readlink, cold", |fs| fs.symlink("t".repeat(300), "/l").unwrap(), |fs, _| fs.readlink("/l").map(drop))
            .prepare(cold),
        case("xattr in the inode", file, |fs, _| fs.setxattr("/f", "user.a", "1", 0)),
        case("xattr in a block", file, |fs, _| fs.setxattr("/f", "user.a", [1; 600], 0)),
        case("xattr replaced, same length", attributes, |fs, _| fs.setxattr("/f", "user.large", [9; 500], 2)),
        case("xattr replaced, longer", attributes, |fs, _| fs.setxattr("/f", "user.small", [9; 300], 2)),
        case("xattr removed", attributes, |fs, _| fs.removexattr("/f", "user.small")),
        case("last xattr of a block removed", attributes, |fs, _| fs.removexattr("/f", "user.large")),
        case("xattr read, cold", attributes, |fs, _| fs.getxattr("/f", "user.large").map(drop)).prepare(cold),
        case("xattrs listed, cold", attributes, |fs, _| fs.listxattr("/f").map(drop)).prepare(cold),
        case("ACL set, and the mode", file, |fs, _| fs.setxattr("/f", "system.posix_acl_access", acl(5), 0)),
        case("ACL in a block, and the mode", file, |fs, _| fs.setxattr("/f", "system.posix_acl_access", many(), 0)),
        case(
            "ACL that says no more than the mode",
            |fs| {
                file(fs);
                fs.setxattr("/f", "system.posix_acl_access", acl(5), 0).unwrap();
            },
            |fs, _| {
                fs.setxattr(
                    "/f",
                    "system.posix_acl_access",
                    entries(&[(1, 7, NOBODY), (4, 1, NOBODY), (0x20, 0, NOBODY)]),
                    0,
                )
            },
        ),
        case("default ACL", two_dirs, |fs, _| fs.setxattr("/a", "system.posix_acl_default", acl(5), 0)),
        case(
            "ACL removed",
            |fs| {
                file(fs);
                fs.setxattr("/f", "system.posix_acl_access", acl(5), 0).unwrap();
            },
            |fs, _| fs.removexattr("/f", "system.posix_acl_access"),
        ),
        // ---- data ----
        case(
            "write to a new file",
            |fs| fs.mknod("/f", 0o600, (0, 0)).unwrap(),
            |_, files| {
                files[0].write_all_at(&[6; 9000], 100)?;
                files[0].fsync()
            },
        )
        .prepare(f)
        .steps(),
        case("fsync into a hole", |fs| pieces(fs, 2), fill).prepare(f).steps(),
        case("a tree of extents begins", |fs| pieces(fs, 4), fill).prepare(f).steps(),
        case("a node of the tree of extents is full", |fs| pieces(fs, 4 * 84), fill).prepare(f).steps(),
        case("a tree of extents of three levels", |fs| pieces(fs, 4 * 84 + 84), fill).prepare(f).steps(),
        case("fsync after a change of attributes", file, |fs, files| {
            fs.chmod("/f", 0o600)?;
            files[0].fsync()
        })
        .prepare(f)
        .steps(),
        case("read, cold", |fs| pieces(fs, 9), |fs, _| fs.read_file("/f").map(drop)).prepare(cold),
        case("where data are, cold", |fs| pieces(fs, 9), |_, files| files[0].extents().map(drop)).prepare(|fs| {
            cold(fs);
            open(fs, "/f")
        }),
        case("truncate, shorter", |fs| pieces(fs, 9), |fs, _| fs.truncate("/f", 1500)).steps(),
        case("truncate to nothing", |fs| pieces(fs, 9), |fs, _| fs.truncate("/f", 0)).steps(),
        case("truncate, longer", file, |fs, _| fs.truncate("/f", 100_000)),
        case("fallocate", file, |_, files| fallocate(&files, 0, 20_000, 90_000)).prepare(f).steps(),
        case("fallocate beyond the end", file, |_, files| fallocate(&files, KEEP_SIZE, 40_000, 50_000))
            .prepare(f)
            .steps(),
        case("punch", |fs| pieces(fs, 9), |_, files| fallocate(&files, PUNCH, 100, 40_000)).prepare(f).steps(),
        case("zero", file, |_, files| fallocate(&files, ZERO, 5000, 20_000))
            .prepare(f)
            // The ends, inside blocks, are data that are written first.
            .partly(is_as_long),
        case("collapse", file, |_, files| fallocate(&files, COLLAPSE, 4096, 8192))
            .prepare(f)
            // The range is freed before what follows it is moved, as in ext4.
            .partly(is_as_long),
        case("insert", file, |_, files| fallocate(&files, INSERT, 4096, 8192))
            .prepare(f)
            // There is room for it before anything is moved, as in ext4.
            .partly(|tree| tree.get(b"f").is_some_and(|f| f.size == 38_192)),
        // ---- the whole ----
        case("sync", file, |fs, _| {
            fs.chmod("/f", 0o600)?;
            fs.write_file("/f", [4; 9000])?;
            fs.sync()
        })
        .partly(|tree| tree.get(b"f").is_some_and(|f| f.mode & 0o7777 == 0o600)),
        case("statfs", nothing, |fs, _| fs.statfs().map(drop)),
        case("remount, read-only and back", file, |fs, _| {
            fs.remount_read_only(true)?;
            fs.remount_read_only(false)
        })
        .steps(),
    ]
}
