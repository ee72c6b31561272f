// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system in this process: on a disk that crashes, or one that is damaged.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bento::errno::{Errno, Result};
use bento::fs::Timestamp;
use bento_user_shim::{Caller, File, Harness, Task, Times, flags};

use crate::image::{Image, Mutant};
use crate::ops::{
    At, COLLAPSE_RANGE, Can, EXCHANGE, Generator, INSERT_RANGE, KEEP_SIZE, Name, Op, PUNCH_HOLE, SLOTS, What,
    ZERO_RANGE,
};
use crate::random::Random;
use crate::tree::{Answer, Bytes, Node, Sum, Target, Time, Tree, join};

/// A mount of the harness.
#[derive(Debug)]
pub struct InProcess<'a> {
    harness: &'a Harness,
    slots: [Option<File>; SLOTS],
    since: i64,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64)
}

/// From the root.
fn full(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

impl<'a> InProcess<'a> {
    pub fn new(harness: &'a Harness) -> InProcess<'a> {
        InProcess { harness, slots: [const { None }; SLOTS], since: now() - 60 }
    }

    fn task(&self, uid: u32) -> Task {
        let caller = if uid == 0 { Caller::ROOT } else { Caller::user(uid, uid) };
        self.harness.with(caller.umask(0))
    }

    fn slot(&self, slot: usize) -> Result<&File> {
        self.slots[slot].as_ref().ok_or(Errno::new(libc::EBADF))
    }

    fn with<T>(&self, task: &Task, at: &At, open: u32, work: impl FnOnce(&File) -> Result<T>) -> Result<T> {
        match at {
            At::Path(path) => {
                let file = task.open(full(path), open)?;
                let result = work(&file)?;
                file.close()?;
                Ok(result)
            }
            At::Slot(slot) => work(self.slot(*slot)?),
        }
    }

    fn do_it(&mut self, op: &Op) -> Result<Answer> {
        let task = self.task(op.uid);
        match &op.what {
            What::Create { path, mode, exclusive } => {
                let exclusive = if *exclusive { flags::EXCLUSIVE } else { 0 };
                task.open_with(full(&path.0), flags::READ_WRITE | flags::CREATE | exclusive, *mode)?.close()?;
            }
            What::Mkdir { path, mode } => task.mkdir(full(&path.0), *mode)?,
            What::Symlink { path, target } => task.symlink(&target.0, full(&path.0))?,
            What::Mknod { path, mode, rdev } => {
                let device = [libc::S_IFCHR, libc::S_IFBLK].contains(&(mode & libc::S_IFMT));
                task.mknod(full(&path.0), *mode, if device { *rdev } else { (0, 0) })?;
            }
            What::Link { from, to } => task.link(full(&from.0), full(&to.0))?,
            What::Rename { from, to, flags } => task.rename_with(full(&from.0), full(&to.0), *flags)?,
            What::Unlink { path } => task.unlink(full(&path.0))?,
            What::Rmdir { path } => task.rmdir(full(&path.0))?,
            What::Write { file, offset, len, seed } => {
                let mut bytes = vec![0; *len as usize];
                Random::fill(*seed, &mut bytes);
                let done = self.with(&task, file, flags::WRITE_ONLY, |file| file.write_at(&bytes, *offset))?;
                return Ok(Answer::Count(done as u64));
            }
            What::Append { path, len, seed } => {
                let mut bytes = vec![0; *len as usize];
                Random::fill(*seed, &mut bytes);
                let (at, open) = (At::Path(path.0.clone()), flags::WRITE_ONLY | flags::APPEND);
                let done = self.with(&task, &at, open, |file| file.write(&bytes))?;
                return Ok(Answer::Count(done as u64));
            }
            What::Read { file, offset, len } => {
                let read = |file: &File| file.read_at(*offset, *len as usize);
                return self.with(&task, file, flags::READ_ONLY, read).map(|bytes| Answer::Bytes(Bytes(bytes)));
            }
            What::Truncate { file: At::Path(path), size } => task.truncate(full(path), *size)?,
            What::Truncate { file: At::Slot(slot), size } => self.slot(*slot)?.truncate(*size)?,
            What::Fallocate { file, mode, offset, len } => {
                self.with(&task, file, flags::READ_WRITE, |file| file.fallocate(*mode as i32, *offset, *len))?;
            }
            What::Fsync { file, data } => {
                self.with(&task, file, flags::READ_ONLY, |file| if *data { file.fdatasync() } else { file.fsync() })?
            }
            What::Sync => self.harness.sync()?,
            What::Setxattr { path, name, len, seed, flags } => {
                let mut value = vec![0; *len as usize];
                Random::fill(*seed, &mut value);
                task.setxattr(full(&path.0), name, value, *flags as u32)?;
            }
            What::Getxattr { path, name } => {
                return task.getxattr(full(&path.0), name).map(|value| Answer::Bytes(Bytes(value)));
            }
            What::Removexattr { path, name } => task.removexattr(full(&path.0), name)?,
            What::Chmod { path, mode } => task.chmod(full(&path.0), *mode)?,
            What::Chown { path, uid, gid } => {
                let some = |id: u32| (id != u32::MAX).then_some(id);
                task.lchown(full(&path.0), some(*uid), some(*gid))?;
            }
            What::Utimens { path, atime, mtime } => {
                let time = |(sec, nsec): (i64, u32)| Some(Timestamp { sec, nsec });
                task.set_times(full(&path.0), Times { atime: time(*atime), mtime: time(*mtime) })?;
            }
            What::Stat { path } => return Ok(Answer::Node(Box::new(self.node(&task, &path.0)?.0))),
            What::List { path } => {
                let mut names: Vec<_> =
                    task.read_dir(full(&path.0))?.into_iter().map(|entry| Name(entry.name)).collect();
                names.retain(|name| name.0 != b"." && name.0 != b"..");
                names.sort();
                return Ok(Answer::Names(names));
            }
            What::Open { slot, path } => {
                self.slots[*slot] = None;
                self.slots[*slot] = Some(task.open(full(&path.0), flags::READ_WRITE)?);
            }
            What::Tmpfile { slot, path, mode } => {
                self.slots[*slot] = None;
                self.slots[*slot] = Some(task.tmpfile(full(&path.0), *mode)?);
            }
            What::LinkHeld { slot, to } => self.slot(*slot)?.link(full(&to.0))?,
            What::Close { slot } => self.slots[*slot] = None,
        }
        Ok(Answer::Done)
    }

    /// Attributes and xattrs, of what a symbolic link leads to never; and the inode number.
    fn node(&self, task: &Task, path: &[u8]) -> Result<(Node, u64)> {
        let stat = task.lstat(full(path))?;
        let time = |time: Timestamp| {
            let recent = (self.since..=now() + 2).contains(&time.sec);
            if recent { Time::Recent } else { Time::Set(time.sec, time.nsec) }
        };
        let mut node = Node {
            mode: stat.mode,
            nlink: stat.nlink.into(),
            uid: stat.uid,
            gid: stat.gid,
            size: if stat.is_dir() { 0 } else { stat.size },
            rdev: stat.rdev,
            atime: None,
            mtime: time(stat.mtime),
            ctime: time(stat.ctime),
            first: None,
            target: None,
            xattrs: Default::default(),
            contents: None,
        };
        if stat.is_symlink() {
            node.target = Some(Name(task.readlink(full(path))?));
        } else {
            let names = match task.listxattr(full(path)) {
                Err(Errno::EOPNOTSUPP) => Vec::new(),
                names => names?,
            };
            for name in names {
                let value = task.getxattr(full(path), &name)?;
                node.xattrs.insert(Name(name), Bytes(value));
            }
        }
        Ok((node, stat.ino))
    }
}

impl Target for InProcess<'_> {
    fn apply(&mut self, op: &Op) -> std::result::Result<Answer, i32> {
        self.do_it(op).map_err(Errno::get)
    }

    fn look(&mut self) -> std::result::Result<Tree, String> {
        let task = self.task(0);
        let failed = |what: &str, path: &[u8], errno: Errno| format!("{what} {:?}: {errno}", Name(path.to_vec()));
        let (mut tree, mut links, mut dirs) = (Tree::default(), HashMap::<u64, Vec<Name>>::new(), vec![Vec::new()]);
        let (root, _) = self.node(&task, b"").map_err(|errno| failed("stat", b"", errno))?;
        tree.0.insert(Name(Vec::new()), root);
        while let Some(dir) = dirs.pop() {
            let entries = task.read_dir(full(&dir)).map_err(|errno| failed("list", &dir, errno))?;
            for entry in entries.into_iter().filter(|entry| entry.name != b"." && entry.name != b"..") {
                let path = join(&dir, &entry.name);
                let (mut node, ino) = self.node(&task, &path).map_err(|errno| failed("stat", &path, errno))?;
                match node.mode & libc::S_IFMT {
                    libc::S_IFDIR => dirs.push(path.clone()),
                    libc::S_IFREG => {
                        let contents = contents(&task, &path, node.size);
                        node.contents = Some(contents.map_err(|errno| failed("read", &path, errno))?);
                    }
                    _ => {}
                }
                if node.nlink > 1 && node.mode & libc::S_IFMT != libc::S_IFDIR {
                    links.entry(ino).or_default().push(Name(path.clone()));
                }
                if tree.0.insert(Name(path.clone()), node).is_some() {
                    return Err(format!("{:?} is listed twice", Name(path)));
                }
            }
        }
        tree.link(links.into_values());
        Ok(tree)
    }
}

fn contents(task: &Task, path: &[u8], size: u64) -> Result<u64> {
    let (file, mut at, mut sum) = (task.open(full(path), flags::READ_ONLY)?, 0, Sum::default());
    while at < size {
        if size > 1 << 20 {
            match file.seek_data(at) {
                Ok(data) => at = data & !4095,
                Err(Errno::ENXIO) => break,
                Err(_) => {}
            }
        }
        let bytes = file.read_at(at, 1 << 18)?;
        if bytes.is_empty() {
            break;
        }
        sum.add(at, &bytes);
        at += bytes.len() as u64;
    }
    Ok(sum.value())
}

/// Names that are looked at.
const NAMES: u64 = 700;

/// Looks at everything and changes some of it; errors are as good as success.
pub fn use_it(mount: &Harness, seed: u64) {
    let mut target = InProcess::new(mount);
    let mut found = walk(&mut target, seed);
    let mut random = Random::new(seed);
    for step in 0..120 {
        if found.is_empty() {
            break;
        }
        let path = found[random.below(found.len() as u64) as usize].clone();
        let what = change(&mut random, path, &mut found, step);
        let _ = target.apply(&Op { uid: 0, what });
    }
    let mut generator = Generator::new(seed, Can { tmpfile: false, whiteout: false, ..Can::default() });
    for _ in 0..150 {
        let op = generator.make();
        let answer = target.apply(&op);
        generator.learn(&op, &answer);
    }
    let _ = mount.sync();
}

/// Lists, and reads a bit of every file. Returns the names found, the root first.
fn walk(target: &mut InProcess<'_>, seed: u64) -> Vec<Vec<u8>> {
    let (mut dirs, mut found, mut seen) = (vec![Vec::new()], vec![Vec::new()], 0);
    while let Some(dir) = dirs.pop() {
        let list = What::List { path: Name(dir.clone()) };
        let Ok(Answer::Names(names)) = target.apply(&Op { uid: 0, what: list }) else { continue };
        // Of a large directory not everything.
        for name in names.iter().step_by(1 + names.len() / 64) {
            let path = join(&dir, &name.0);
            seen += 1;
            if seen > NAMES || path.len() > 4000 {
                return found;
            }
            found.push(path.clone());
            match target.apply(&Op { uid: 0, what: What::Stat { path: Name(path.clone()) } }) {
                Ok(Answer::Node(node)) if node.mode & libc::S_IFMT == libc::S_IFDIR => dirs.push(path),
                Ok(Answer::Node(node)) => {
                    let mut random = Random::new(seed ^ seen);
                    for offset in [0, random.below(node.size), node.size.saturating_sub(5000)] {
                        let read = What::Read { file: At::Path(path.clone()), offset, len: 10_000 };
                        let _ = target.apply(&Op { uid: 0, what: read });
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Something to do to a file, or in a directory, that is there already.
fn change(random: &mut Random, path: Vec<u8>, found: &mut Vec<Vec<u8>>, step: u64) -> What {
    let (seed, new) = (random.word(), join(&path, format!("new-{step}").as_bytes()));
    let (file, near) = (At::Path(path.clone()), 400 * 1024);
    match random.below(14) {
        0 => What::Write { file, offset: random.below(near), len: 1 + random.below(20_000), seed },
        1 => What::Append { path: Name(path), len: 5000, seed },
        2 => What::Truncate { file, size: random.below(near) },
        3 => What::Truncate { file, size: 0 },
        4 => What::Fallocate {
            file,
            mode: [0, KEEP_SIZE | PUNCH_HOLE, ZERO_RANGE, COLLAPSE_RANGE, INSERT_RANGE][random.below(5) as usize],
            offset: random.below(near) & !4095,
            len: (4096 + random.below(50_000)) & !4095,
        },
        5 => What::Setxattr { path: Name(path), name: "user.new", len: random.below(600), seed, flags: 0 },
        6 => What::Removexattr { path: Name(path), name: "user.small" },
        7 => What::Unlink { path: Name(path) },
        8 => What::Rmdir { path: Name(path) },
        9 => {
            let to = found[random.below(found.len() as u64) as usize].clone();
            What::Rename { from: Name(path), to: Name(to), flags: [0, EXCHANGE][random.below(2) as usize] }
        }
        10 => What::Chmod { path: Name(path), mode: 0o700 },
        11 => {
            found.push(new.clone());
            What::Mkdir { path: Name(new), mode: 0o755 }
        }
        12 => What::Link { from: Name(path), to: Name(format!("link-{step}").into_bytes()) },
        _ => {
            found.push(new.clone());
            What::Create { path: Name(new), mode: 0o644, exclusive: false }
        }
    }
}

/// Mounts an image that was damaged, and uses it as `seed` says: whatever it says, nothing panics and nothing leaks.
/// Was it mounted?
///
/// # Panics
/// When something did.
pub fn survive<F: bento::fs::FileSystem>(image: &Image, mutant: &Mutant, seed: u64) -> bool {
    let mut bytes = image.bytes().to_vec();
    mutant.apply(&mut bytes);
    let what = &mutant.what;
    let mount = match Harness::mount_disk::<F>(bento_user_shim::Image::new(bytes), "") {
        Ok(mount) => mount,
        Err(error) => {
            assert!(error.errno != Errno::EIO, "{what:?}: {error:?}");
            return false;
        }
    };
    use_it(&mount, seed);
    let report = mount.unmount_and_report().unwrap_or_else(|errno| panic!("{what:?}: not unmounted: {errno}"));
    assert!(report.panics.is_empty() && !report.poisoned, "{what:?}: {:?}", report.panics);
    assert_eq!((report.leaked_inodes, report.leaked_allocations), (0, 0), "{what:?}");
    true
}
