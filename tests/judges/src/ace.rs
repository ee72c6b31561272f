// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Short sequences of operations with points where something is made durable, as in CrashMonkey's ACE, and what must be
//! there when the machine stops somewhere in between.
//!
//! Metadata change in order: after a crash the names, kinds, links, targets and xattrs are those of one moment. That is not
//! before the last `sync`, nor before the last change of anything that was fsynced since, and not after the operation that
//! was under way. Contents are those of the last fsync of that file or of something after it, byte by byte, and never what
//! nobody wrote.

use std::collections::BTreeMap;
use std::fmt;

use crate::ops::{At, EXCHANGE, KEEP_SIZE, NOREPLACE, Name, Op, PUNCH_HOLE, Path, What, ZERO_RANGE};
use crate::random::Random;
use crate::tree::{Answer, Bytes, Node, Sum, Target, Time, Tree};

/// What is done before (and synced), and what is done then.
#[derive(Clone, PartialEq, Eq)]
pub struct Sequence {
    pub ops: Vec<Op>,
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops: Vec<_> = self.ops.iter().map(|op| format!("{op:?}")).collect();
        f.write_str(&ops.join("; "))
    }
}

fn name(path: &str) -> Name {
    Name(path.as_bytes().to_vec())
}

fn at(path: &str) -> At {
    At::Path(path.as_bytes().to_vec())
}

fn op(what: What) -> Op {
    Op { uid: 0, what }
}

/// What every sequence begins with; a `sync` follows.
pub fn setup() -> Vec<Op> {
    let mkdir = |path| What::Mkdir { path: name(path), mode: 0o755 };
    let create = |path| What::Create { path: name(path), mode: 0o644, exclusive: true };
    let ops = [
        mkdir("A"),
        mkdir("B"),
        mkdir("A/C"),
        create("foo"),
        What::Write { file: at("foo"), offset: 0, len: 9000, seed: 1 },
        create("A/foo"),
        What::Write { file: at("A/foo"), offset: 0, len: 6000, seed: 2 },
        What::Setxattr { path: name("A/foo"), name: "user.a", len: 40, seed: 3, flags: 0 },
        What::Symlink { path: name("B/link"), target: name("../foo") },
        What::Sync,
    ];
    ops.map(op).to_vec()
}

/// Everything that can be one step.
fn steps() -> Vec<What> {
    let mut steps = Vec::new();
    for path in ["bar", "A/bar"] {
        steps.push(What::Create { path: name(path), mode: 0o600, exclusive: true });
        steps.push(What::Link { from: name("foo"), to: name(path) });
        steps.push(What::Symlink { path: name(path), target: name("foo") });
    }
    steps.push(What::Symlink { path: name("bar"), target: Name(vec![b't'; 300]) });
    steps.push(What::Mknod { path: name("bar"), mode: 0o10644, rdev: (0, 0) });
    steps.push(What::Link { from: name("A/foo"), to: name("A/bar") });
    steps.extend(["D", "A/D"].map(|path| What::Mkdir { path: name(path), mode: 0o700 }));
    steps.extend(["foo", "A/foo", "B/link"].map(|path| What::Unlink { path: name(path) }));
    steps.push(What::Rmdir { path: name("A/C") });
    for (from, to, flags) in [
        ("foo", "bar", 0),
        ("foo", "A/bar", 0),
        ("foo", "A/foo", 0),
        ("A/foo", "foo", 0),
        ("A/foo", "A/bar", NOREPLACE),
        ("A", "D", 0),
        ("A/C", "B/C", 0),
        ("A", "B/A", 0),
        ("foo", "A/foo", EXCHANGE),
        ("A/C", "foo", EXCHANGE),
    ] {
        steps.push(What::Rename { from: name(from), to: name(to), flags });
    }
    for file in ["foo", "A/foo"] {
        for (offset, len) in [(9000, 4096), (0, 4096), (3000, 5000), (32768, 4096), (0, 40000)] {
            steps.push(What::Write { file: at(file), offset, len, seed: offset ^ len });
        }
        steps.extend([0, 2500, 20000].map(|size| What::Truncate { file: at(file), size }));
        for (mode, offset, len) in [
            (0, 4096, 30000),
            (KEEP_SIZE, 8192, 30000),
            (PUNCH_HOLE | KEEP_SIZE, 4096, 4096),
            (PUNCH_HOLE | KEEP_SIZE, 1000, 5000),
            (ZERO_RANGE, 2048, 9000),
        ] {
            steps.push(What::Fallocate { file: at(file), mode, offset, len });
        }
        for len in [50, 700] {
            steps.push(What::Setxattr { path: name(file), name: "user.a", len, seed: len, flags: 0 });
        }
        steps.push(What::Removexattr { path: name(file), name: "user.a" });
        steps.push(What::Chmod { path: name(file), mode: 0o640 });
    }
    steps
}

/// What a step is about: names that may be made durable after it.
fn subjects(what: &What) -> Vec<Path> {
    let (one, two) = match what {
        What::Create { path, .. }
        | What::Mkdir { path, .. }
        | What::Symlink { path, .. }
        | What::Mknod { path, .. }
        | What::Unlink { path }
        | What::Rmdir { path }
        | What::Setxattr { path, .. }
        | What::Removexattr { path, .. }
        | What::Chmod { path, .. } => (path.0.clone(), None),
        What::Link { from, to } | What::Rename { from, to, .. } => (to.0.clone(), Some(from.0.clone())),
        What::Write { file: At::Path(path), .. }
        | What::Truncate { file: At::Path(path), .. }
        | What::Fallocate { file: At::Path(path), .. } => (path.clone(), None),
        _ => return Vec::new(),
    };
    let mut all = vec![parent(&one), one];
    if let Some(two) = two {
        all.extend([parent(&two), two]);
    }
    all.dedup();
    all
}

/// Names of the inodes that a step changes: an fsync of one of these makes the step durable.
fn touches(what: &What) -> Vec<Path> {
    match what {
        What::Link { from, to } => vec![parent(&to.0), from.0.clone()],
        What::Rename { from, to, .. } => vec![parent(&from.0), parent(&to.0), from.0.clone(), to.0.clone()],
        What::Write { .. }
        | What::Truncate { .. }
        | What::Fallocate { .. }
        | What::Setxattr { .. }
        | What::Removexattr { .. }
        | What::Chmod { .. } => subjects(what).split_off(1),
        _ => subjects(what),
    }
}

fn parent(path: &Path) -> Path {
    path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)].to_vec()
}

/// `what`, then each way to make its outcome durable that works.
fn endings(state: &State, what: &What) -> Vec<Option<What>> {
    let mut endings = vec![None, Some(What::Sync)];
    for path in subjects(what) {
        let Some(inode) = state.inode(&path) else { continue };
        match inode.kind {
            Kind::File => {
                endings.extend([false, true].map(|data| Some(What::Fsync { file: At::Path(path.clone()), data })))
            }
            Kind::Dir => endings.push(Some(What::Fsync { file: At::Path(path.clone()), data: false })),
            _ => {}
        }
    }
    endings
}

/// All sequences of one step that end with something durable.
pub fn all_of_one() -> Vec<Sequence> {
    let mut all = Vec::new();
    for what in steps() {
        let mut state = State::after_setup();
        if state.apply(&op(what.clone())).is_ok() {
            let endings = endings(&state, &what).into_iter().flatten();
            all.extend(endings.map(|end| Sequence { ops: vec![op(what.clone()), op(end)] }));
        }
    }
    all
}

/// `count` sequences of two steps: after the first, something or nothing is made durable, after the second something.
pub fn some_of_two(seed: u64, count: usize) -> Vec<Sequence> {
    let (mut random, steps, mut found) = (Random::new(seed), steps(), Vec::new());
    while found.len() < count {
        let (mut state, mut ops) = (State::after_setup(), Vec::new());
        for last in [false, true] {
            let what = random.pick(&steps).clone();
            let step = op(what.clone());
            if state.apply(&step).is_err() {
                break;
            }
            ops.push(step);
            let endings = endings(&state, &what);
            if let Some(end) = random.pick(&endings[usize::from(last)..]) {
                ops.push(op(end.clone()));
            }
            if last {
                found.push(Sequence { ops: std::mem::take(&mut ops) });
            }
        }
    }
    found
}

/// Does the setup and the sequence; `mark` is told how many of its operations are done, for the disk to remember.
///
/// # Errors
/// The operation that failed, and how.
pub fn run(sequence: &Sequence, target: &mut dyn Target, mut mark: impl FnMut(u64)) -> Result<(), String> {
    let failed = |op: &Op, errno: i32| format!("{op:?}: {}", std::io::Error::from_raw_os_error(errno));
    for op in &setup() {
        target.apply(op).map_err(|errno| failed(op, errno))?;
    }
    mark(0);
    for (done, op) in (1..).zip(&sequence.ops) {
        let answer = target.apply(op).map_err(|errno| failed(op, errno))?;
        if let (What::Write { len, .. }, Answer::Count(count)) = (&op.what, &answer)
            && len != count
        {
            return Err(format!("{op:?}: {count} bytes only"));
        }
        mark(done);
    }
    Ok(())
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    File,
    Dir,
    Symlink(Name),
    Other(u32),
}

#[derive(Clone, Debug)]
struct Inode {
    kind: Kind,
    mode: u32,
    bytes: Vec<u8>,
    xattrs: BTreeMap<Name, Bytes>,
}

/// The file system of one moment.
#[derive(Clone, Debug)]
struct State {
    names: BTreeMap<Path, usize>,
    inodes: Vec<Inode>,
}

impl State {
    fn after_setup() -> State {
        let mut state = State { names: BTreeMap::new(), inodes: Vec::new() };
        state.make(b"", Kind::Dir, 0o755);
        for op in setup() {
            let result = state.apply(&op);
            debug_assert!(result.is_ok(), "{op:?}");
        }
        state
    }

    fn make(&mut self, path: &[u8], kind: Kind, mode: u32) {
        self.names.insert(path.to_vec(), self.inodes.len());
        self.inodes.push(Inode { kind, mode, bytes: Vec::new(), xattrs: BTreeMap::new() });
    }

    fn inode(&self, path: &[u8]) -> Option<&Inode> {
        self.names.get(path).map(|ino| &self.inodes[*ino])
    }

    fn file(&mut self, at: &At) -> Result<&mut Inode, i32> {
        let At::Path(path) = at else { return Err(libc::EBADF) };
        let ino = *self.names.get(path).ok_or(libc::ENOENT)?;
        match self.inodes[ino].kind {
            Kind::File => Ok(&mut self.inodes[ino]),
            _ => Err(libc::EINVAL),
        }
    }

    /// `path` is free, and its directory there.
    fn free(&self, path: &Path) -> Result<(), i32> {
        if self.names.contains_key(path) {
            return Err(libc::EEXIST);
        }
        let parent = &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        match self.inode(parent) {
            Some(Inode { kind: Kind::Dir, .. }) => Ok(()),
            _ => Err(libc::ENOENT),
        }
    }

    fn below<'a>(&self, path: &'a [u8]) -> impl Fn(&Path) -> bool + 'a {
        move |name| name.len() > path.len() && name.starts_with(path) && name[path.len()] == b'/'
    }

    /// Names of `path` and below it, taken out.
    fn take(&mut self, path: &Path) -> Vec<(Path, usize)> {
        let below = self.below(path);
        let names: Vec<_> = self.names.keys().filter(|name| *name == path || below(name)).cloned().collect();
        names
            .into_iter()
            .filter_map(|name| {
                let ino = self.names.remove(&name)?;
                Some((name[path.len()..].to_vec(), ino))
            })
            .collect()
    }

    fn apply(&mut self, op: &Op) -> Result<(), i32> {
        match &op.what {
            What::Create { path, mode, .. } => {
                self.free(&path.0)?;
                self.make(&path.0, Kind::File, *mode);
            }
            What::Mkdir { path, mode } => {
                self.free(&path.0)?;
                self.make(&path.0, Kind::Dir, *mode);
            }
            What::Symlink { path, target } => {
                self.free(&path.0)?;
                self.make(&path.0, Kind::Symlink(target.clone()), 0o777);
            }
            What::Mknod { path, mode, .. } => {
                self.free(&path.0)?;
                self.make(&path.0, Kind::Other(mode & libc::S_IFMT), mode & 0o7777);
            }
            What::Link { from, to } => {
                let ino = *self.names.get(&from.0).ok_or(libc::ENOENT)?;
                if self.inodes[ino].kind == Kind::Dir {
                    return Err(libc::EPERM);
                }
                self.free(&to.0)?;
                self.names.insert(to.0.clone(), ino);
            }
            What::Unlink { path } => match self.inode(&path.0) {
                None => return Err(libc::ENOENT),
                Some(Inode { kind: Kind::Dir, .. }) => return Err(libc::EISDIR),
                Some(_) => drop(self.names.remove(&path.0)),
            },
            What::Rmdir { path } => match self.inode(&path.0) {
                Some(Inode { kind: Kind::Dir, .. }) if !self.names.keys().any(self.below(&path.0)) => {
                    self.names.remove(&path.0);
                }
                _ => return Err(libc::ENOTEMPTY),
            },
            What::Rename { from, to, flags } => self.rename(&from.0, &to.0, *flags)?,
            What::Write { file, offset, len, seed } => {
                let mut bytes = vec![0; *len as usize];
                Random::fill(*seed, &mut bytes);
                let (inode, start, end) = (self.file(file)?, *offset as usize, (offset + len) as usize);
                inode.bytes.resize(inode.bytes.len().max(end), 0);
                inode.bytes[start..end].copy_from_slice(&bytes);
            }
            What::Truncate { file, size } => self.file(file)?.bytes.resize(*size as usize, 0),
            What::Fallocate { file, mode, offset, len } => {
                let (inode, start, end) = (self.file(file)?, *offset as usize, (offset + len) as usize);
                if mode & KEEP_SIZE == 0 {
                    inode.bytes.resize(inode.bytes.len().max(end), 0);
                }
                if mode & (PUNCH_HOLE | ZERO_RANGE) != 0 {
                    let size = inode.bytes.len();
                    inode.bytes[start.min(size)..end.min(size)].fill(0);
                }
            }
            What::Setxattr { path, name, len, seed, .. } => {
                let ino = *self.names.get(&path.0).ok_or(libc::ENOENT)?;
                if !matches!(self.inodes[ino].kind, Kind::File | Kind::Dir) {
                    return Err(libc::EPERM);
                }
                let mut value = vec![0; *len as usize];
                Random::fill(*seed, &mut value);
                self.inodes[ino].xattrs.insert(Name(name.as_bytes().to_vec()), Bytes(value));
            }
            What::Removexattr { path, name } => {
                let ino = *self.names.get(&path.0).ok_or(libc::ENOENT)?;
                let removed = self.inodes[ino].xattrs.remove(&Name(name.as_bytes().to_vec()));
                removed.map(drop).ok_or(libc::ENODATA)?;
            }
            What::Chmod { path, mode } => {
                let ino = *self.names.get(&path.0).ok_or(libc::ENOENT)?;
                if matches!(self.inodes[ino].kind, Kind::Symlink(_)) {
                    return Err(libc::EINVAL); // of what it leads to
                }
                self.inodes[ino].mode = *mode;
            }
            What::Fsync { file: At::Path(path), .. } => drop(self.names.get(path).ok_or(libc::ENOENT)?),
            What::Sync => {}
            _ => return Err(libc::ENOSYS),
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path, flags: u32) -> Result<(), i32> {
        let source = self.names.get(from).copied().ok_or(libc::ENOENT)?;
        let target = self.names.get(to).copied();
        if self.below(from)(to) || self.below(to)(from) {
            return Err(libc::EINVAL);
        }
        match target {
            None if flags == EXCHANGE => return Err(libc::ENOENT),
            None => self.free(to)?,
            Some(_) if flags == NOREPLACE => return Err(libc::EEXIST),
            Some(target) if flags == 0 => {
                let dir = |ino: usize| self.inodes[ino].kind == Kind::Dir;
                if dir(source) || dir(target) || source == target {
                    return Err(libc::EISDIR); // more cases than it is worth
                }
            }
            Some(_) => {}
        }
        let (one, two) = (self.take(from), self.take(to));
        let put = |names: &mut BTreeMap<Path, usize>, at: &Path, moved: Vec<(Path, usize)>| {
            names.extend(moved.into_iter().map(|(rest, ino)| ([at.as_slice(), &rest].concat(), ino)));
        };
        put(&mut self.names, to, one);
        if flags == EXCHANGE {
            put(&mut self.names, from, two);
        }
        Ok(())
    }

    fn tree(&self) -> Tree {
        let (mut tree, mut links) = (Tree::default(), BTreeMap::<usize, Vec<Name>>::new());
        for (path, ino) in &self.names {
            let inode = &self.inodes[*ino];
            let children = || {
                self.names.keys().filter(|name| {
                    let rest = if path.is_empty() {
                        Some(name.as_slice())
                    } else {
                        name.strip_prefix(path.as_slice()).and_then(|rest| rest.strip_prefix(b"/"))
                    };
                    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'))
                })
            };
            let (kind, nlink, size) = match &inode.kind {
                Kind::File => (libc::S_IFREG, 0, inode.bytes.len()),
                Kind::Dir => {
                    let dirs = children().filter(|name| self.inode(name).is_some_and(|i| i.kind == Kind::Dir)).count();
                    (libc::S_IFDIR, 2 + dirs as u64, 0)
                }
                Kind::Symlink(target) => (libc::S_IFLNK, 0, target.0.len()),
                Kind::Other(kind) => (*kind, 0, 0),
            };
            let nlink = match nlink {
                0 => self.names.values().filter(|other| *other == ino).count() as u64,
                nlink => nlink,
            };
            if nlink > 1 && inode.kind != Kind::Dir {
                links.entry(*ino).or_default().push(Name(path.clone()));
            }
            let mut sum = Sum::default();
            sum.add(0, &inode.bytes);
            let node = Node {
                mode: kind | inode.mode,
                nlink,
                uid: 0,
                gid: 0,
                size: size as u64,
                rdev: (0, 0),
                atime: None,
                mtime: Time::Recent,
                ctime: Time::Recent,
                first: None,
                target: match &inode.kind {
                    Kind::Symlink(target) => Some(target.clone()),
                    _ => None,
                },
                xattrs: inode.xattrs.clone(),
                contents: (inode.kind == Kind::File).then(|| sum.value()),
            };
            tree.0.insert(Name(path.clone()), node);
        }
        tree.link(links.into_values());
        tree
    }
}

/// Knows what a sequence does.
#[derive(Debug)]
pub struct Oracle {
    ops: Vec<Op>,
    /// After the setup, and after each operation.
    states: Vec<State>,
}

impl Oracle {
    pub fn new(sequence: &Sequence) -> Oracle {
        let mut states = vec![State::after_setup()];
        for op in &sequence.ops {
            let mut state = states[states.len() - 1].clone();
            let result = state.apply(op);
            debug_assert!(result.is_ok(), "{op:?}: sequences are made of what works");
            states.push(state);
        }
        Oracle { ops: sequence.ops.clone(), states }
    }

    /// What is there when nothing has crashed.
    pub fn end(&self) -> Tree {
        self.states[self.ops.len()].tree()
    }

    /// Is what `target` shows something that may be there when the machine stopped after `done` operations, in the middle
    /// of the next?
    ///
    /// # Errors
    /// What is missing or wrong, against each moment that it could be.
    pub fn judge(&self, done: u64, target: &mut dyn Target) -> Result<(), String> {
        let done = (done as usize).min(self.ops.len());
        let first = self.first(done as u64) as usize;
        let last = (done + 1).min(self.ops.len());
        let mut tree = target.look()?;
        tree.0.retain(|name, _| name.0 != b"lost+found");
        let mut found = BTreeMap::new();
        for (name, node) in &tree.0 {
            if node.mode & libc::S_IFMT == libc::S_IFREG {
                let read = What::Read { file: At::Path(name.0.clone()), offset: 0, len: node.size.min(1 << 20) };
                match target.apply(&op(read)) {
                    Ok(Answer::Bytes(bytes)) => drop(found.insert(name.0.clone(), bytes.0)),
                    other => return Err(format!("{name:?} cannot be read: {other:?}")),
                }
            }
        }
        let mut complaints = Vec::new();
        for moment in first..=last {
            match self.fits(moment, done, last, &tree, &found) {
                Ok(()) => return Ok(()),
                Err(complaint) => complaints.push(format!("as after operation {moment}: {complaint}")),
            }
        }
        Err(format!("stopped after {done} of {:?}\n  {}", Sequence { ops: self.ops.clone() }, complaints.join("\n  ")))
    }

    /// So many operations are durable when number `at` is done, by what that says.
    fn durable(&self, at: usize) -> usize {
        let (path, data) = match &self.ops[at].what {
            What::Sync => return at + 1,
            What::Fsync { file: At::Path(path), data } => (path, *data),
            _ => return 0,
        };
        let inode = self.states[at].names.get(path);
        let touched = |step: &usize| {
            let op = &self.ops[*step].what;
            let states = [&self.states[*step], &self.states[*step + 1]];
            // Of an fdatasync, only that the inode is there at all.
            (!data || matches!(op, What::Create { .. }))
                && touches(op).iter().any(|path| states.iter().any(|state| state.names.get(path) == inode))
        };
        (0..at).rfind(touched).map_or(0, |step| step + 1)
    }

    /// The first moment that may be there when `done` operations were.
    pub fn first(&self, done: u64) -> u64 {
        (0..(done as usize).min(self.ops.len())).map(|at| self.durable(at)).max().unwrap_or(0) as u64
    }

    fn fits(
        &self,
        moment: usize,
        done: usize,
        last: usize,
        tree: &Tree,
        found: &BTreeMap<Path, Vec<u8>>,
    ) -> Result<(), String> {
        let state = &self.states[moment];
        // Contents, and the size with them, are looked at by themselves; whose they are and when is not at stake.
        let plain = |tree: &Tree| {
            let mut tree = tree.clone();
            tree.0.remove(&Name(Vec::new()));
            for node in tree.0.values_mut() {
                if node.mode & libc::S_IFMT == libc::S_IFREG {
                    (node.size, node.contents) = (0, None);
                }
                (node.uid, node.gid, node.atime) = (0, 0, None);
                (node.mtime, node.ctime) = (Time::Recent, Time::Recent);
            }
            tree
        };
        let lines = plain(&state.tree()).differences(&plain(tree), 4);
        if !lines.is_empty() {
            return Err(format!("(expected, found) {}", lines.join("; ")));
        }
        for (path, bytes) in found {
            let ino = state.names[path];
            self.contents(ino, done, last, bytes).map_err(|wrong| format!("{:?}: {wrong}", Name(path.clone())))?;
        }
        Ok(())
    }

    /// May the inode's contents be these?
    fn contents(&self, ino: usize, done: usize, last: usize, bytes: &[u8]) -> Result<(), String> {
        let synced = |(at, op): &(usize, &Op)| match &op.what {
            What::Sync => true,
            What::Fsync { file: At::Path(path), .. } => self.states[*at].names.get(path) == Some(&ino),
            _ => false,
        };
        let from = self.ops[..done].iter().enumerate().rfind(synced).map_or(0, |(at, _)| at + 1);
        let mut versions: Vec<&[u8]> =
            self.states[from..=last].iter().filter_map(|state| Some(state.inodes.get(ino)?.bytes.as_slice())).collect();
        versions.dedup();
        if let [only] = versions[..] {
            let wrong = only.iter().zip(bytes).position(|(one, two)| one != two);
            return match wrong {
                _ if only.len() != bytes.len() => Err(format!("{} bytes instead of {}", bytes.len(), only.len())),
                Some(at) => Err(format!("byte {at} is {:#x} instead of {:#x}", bytes[at], only[at])),
                None => Ok(()),
            };
        }
        let sizes = versions.iter().map(|version| version.len());
        let (least, most) = (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0));
        if !(least..=most).contains(&bytes.len()) {
            return Err(format!("{} bytes instead of {least} to {most}", bytes.len()));
        }
        let wrong = bytes
            .iter()
            .enumerate()
            .find(|(at, byte)| versions.iter().all(|version| version.get(*at).copied().unwrap_or(0) != **byte));
        wrong.map_or(Ok(()), |(at, byte)| Err(format!("byte {at} is {byte:#x}, which nobody wrote there")))
    }
}

/// The model as a target: what a file system that loses nothing does.
#[derive(Debug)]
pub struct Perfect(State);

impl Default for Perfect {
    fn default() -> Perfect {
        let mut state = State { names: BTreeMap::new(), inodes: Vec::new() };
        state.make(b"", Kind::Dir, 0o755);
        Perfect(state)
    }
}

impl Target for Perfect {
    fn apply(&mut self, op: &Op) -> Result<Answer, i32> {
        if let What::Read { file, offset, len } = &op.what {
            let bytes = &self.0.file(file)?.bytes;
            let start = (*offset as usize).min(bytes.len());
            let end = (start + *len as usize).min(bytes.len());
            return Ok(Answer::Bytes(Bytes(bytes[start..end].to_vec())));
        }
        self.0.apply(op)?;
        match &op.what {
            What::Write { len, .. } => Ok(Answer::Count(*len)),
            _ => Ok(Answer::Done),
        }
    }

    fn look(&mut self) -> Result<Tree, String> {
        Ok(self.0.tree())
    }
}
