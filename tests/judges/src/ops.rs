// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Operations on names and files, and random sequences of them.

use std::fmt;

use crate::random::Random;
use crate::tree::Answer;

/// Below the root of the file system; components between slashes.
pub type Path = Vec<u8>;

/// `RENAME_*`.
pub const NOREPLACE: u32 = 1;
pub const EXCHANGE: u32 = 2;
pub const WHITEOUT: u32 = 4;

/// `FALLOC_FL_*`.
pub const KEEP_SIZE: u32 = 1;
pub const PUNCH_HOLE: u32 = 2;
pub const COLLAPSE_RANGE: u32 = 8;
pub const ZERO_RANGE: u32 = 16;
pub const INSERT_RANGE: u32 = 32;

/// How many files can be held open.
pub const SLOTS: usize = 4;

/// Times that no clock of a test run shows, in seconds: before the epoch, at the edges of 32 and 34 bits.
pub const TIMES: &[i64] =
    &[-0x8000_0000, -1, 0, 1, 86_400, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x3_7fff_ffff];

/// One operation, and the user who does it (0, or one without rights).
#[derive(Clone, PartialEq, Eq)]
pub struct Op {
    pub uid: u32,
    pub what: What,
}

/// A file: by its name, or held open.
#[derive(Clone, PartialEq, Eq)]
pub enum At {
    Path(Path),
    Slot(usize),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    Create {
        path: Name,
        mode: u32,
        exclusive: bool,
    },
    Mkdir {
        path: Name,
        mode: u32,
    },
    Symlink {
        path: Name,
        target: Name,
    },
    Mknod {
        path: Name,
        mode: u32,
        rdev: (u32, u32),
    },
    Link {
        from: Name,
        to: Name,
    },
    Rename {
        from: Name,
        to: Name,
        flags: u32,
    },
    Unlink {
        path: Name,
    },
    Rmdir {
        path: Name,
    },
    Write {
        file: At,
        offset: u64,
        len: u64,
        seed: u64,
    },
    Append {
        path: Name,
        len: u64,
        seed: u64,
    },
    Read {
        file: At,
        offset: u64,
        len: u64,
    },
    Truncate {
        file: At,
        size: u64,
    },
    Fallocate {
        file: At,
        mode: u32,
        offset: u64,
        len: u64,
    },
    Fsync {
        file: At,
        data: bool,
    },
    Sync,
    Setxattr {
        path: Name,
        name: &'static str,
        len: u64,
        seed: u64,
        flags: i32,
    },
    Getxattr {
        path: Name,
        name: &'static str,
    },
    Removexattr {
        path: Name,
        name: &'static str,
    },
    Chmod {
        path: Name,
        mode: u32,
    },
    Chown {
        path: Name,
        uid: u32,
        gid: u32,
    },
    Utimens {
        path: Name,
        atime: (i64, u32),
        mtime: (i64, u32),
    },
    Stat {
        path: Name,
    },
    List {
        path: Name,
    },
    Open {
        slot: usize,
        path: Name,
    },
    /// A file without a name.
    Tmpfile {
        slot: usize,
        path: Name,
        mode: u32,
    },
    LinkHeld {
        slot: usize,
        to: Name,
    },
    Close {
        slot: usize,
    },
}

/// A path that is printed as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub Path);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 300 {
            return write!(f, "\"{}…\" ({} bytes)", self.0[..60].escape_ascii(), self.0.len());
        }
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Path(path) => Name(path.clone()).fmt(f),
            At::Slot(slot) => write!(f, "slot {slot}"),
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.uid != 0 {
            write!(f, "as {}: ", self.uid)?;
        }
        self.what.fmt(f)
    }
}

/// What the file systems that are compared can do.
#[derive(Clone, Copy, Debug)]
pub struct Can {
    pub tmpfile: bool,
    pub whiteout: bool,
    /// `mknod` of devices, other users, trusted xattrs: the caller is root.
    pub root: bool,
    pub xattr: bool,
    pub fallocate: bool,
}

impl Default for Can {
    fn default() -> Can {
        Can { tmpfile: true, whiteout: true, root: true, xattr: true, fallocate: true }
    }
}

/// Makes operations, most of them on names that are there.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    files: Vec<Path>,
    dirs: Vec<Path>,
    can: Can,
}

impl Generator {
    pub fn new(seed: u64, can: Can) -> Generator {
        Generator { random: Random::new(seed), files: Vec::new(), dirs: Vec::new(), can }
    }

    /// A name as applications use it, and now and then one as only testers do.
    fn component(&mut self) -> Path {
        match self.random.below(40) {
            0 => vec![b'x'; 255],
            1 => vec![b'y'; 256],
            2 => b"\xff\xfe \n".to_vec(),
            3 => b".hidden".to_vec(),
            4 => format!("long-name-that-makes-entries-of-another-length-{}", self.random.below(30)).into_bytes(),
            _ => format!("n{}", self.random.below(24)).into_bytes(),
        }
    }

    /// A name that is most likely free, in some directory.
    fn fresh(&mut self) -> Path {
        let parents = if self.random.once_in(30) { &self.files } else { &self.dirs };
        let mut path = Vec::new();
        if !parents.is_empty() && !self.random.once_in(4) {
            path.clone_from(self.random.pick(parents));
        }
        if path.iter().filter(|byte| **byte == b'/').count() > 4 {
            path.clear();
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(self.component());
        path
    }

    /// A name that is most likely taken, by a file or a directory.
    fn taken(&mut self, dir: bool) -> Path {
        let from = if dir { &self.dirs } else { &self.files };
        if from.is_empty() || self.random.once_in(15) {
            return self.fresh();
        }
        self.random.pick(from).clone()
    }

    fn path(&mut self) -> Path {
        let dir = self.random.once_in(4);
        self.taken(dir)
    }

    fn file(&mut self) -> Name {
        let dir = self.random.once_in(20);
        Name(self.taken(dir))
    }

    fn dir(&mut self) -> Name {
        let dir = !self.random.once_in(20);
        Name(self.taken(dir))
    }

    fn name(&mut self) -> Name {
        Name(self.path())
    }

    fn new_name(&mut self) -> Name {
        let path = if self.random.once_in(5) { self.path() } else { self.fresh() };
        Name(path)
    }

    fn at(&mut self) -> At {
        match self.random.below(4) {
            0 => At::Slot(self.random.below(SLOTS as u64) as usize),
            _ => At::Path(self.file().0),
        }
    }

    fn offset(&mut self) -> u64 {
        let random = &mut self.random;
        let offset = match random.below(20) {
            0 => random.below(32 << 20),
            1..=5 => random.below(2 << 20),
            _ => random.below(64 << 10),
        };
        if random.once_in(2) { offset & !4095 } else { offset }
    }

    fn len(&mut self) -> u64 {
        let random = &mut self.random;
        let len = match random.below(8) {
            0 => random.below(256 << 10),
            1..=3 => random.below(20 << 10),
            _ => random.below(300),
        };
        if random.once_in(3) { len & !4095 } else { len }
    }

    fn slot(&mut self) -> usize {
        self.random.below(SLOTS as u64) as usize
    }

    fn mode(&mut self) -> u32 {
        *self.random.pick(&[0o644, 0o600, 0o755, 0o777, 0o000, 0o4755, 0o2755, 0o1777, 0o444])
    }

    /// The next one.
    pub fn make(&mut self) -> Op {
        let uid = if self.can.root && self.random.once_in(8) { 1000 } else { 0 };
        Op { uid, what: self.what() }
    }

    fn what(&mut self) -> What {
        const XATTRS: &[&str] = &["user.a", "user.b", "user.a-longer-name-than-that", "trusted.t", "security.s"];
        let pick = |random: &mut Random| *random.pick(XATTRS);
        loop {
            let kind = self.random.below(100);
            return match kind {
                0..12 => What::Create { path: self.new_name(), mode: self.mode(), exclusive: self.random.once_in(2) },
                12..19 => What::Mkdir { path: self.new_name(), mode: self.mode() | 0o700 },
                19..22 => {
                    let len = *self.random.pick(&[1, 10, 59, 60, 61, 255, 1000, 4095]);
                    let target = if self.random.once_in(2) { self.path() } else { vec![b't'; len] };
                    What::Symlink { path: self.new_name(), target: Name(target) }
                }
                22..24 => {
                    let kinds: &[u32] = if self.can.root { &[0o10000, 0o140000, 0o20000, 0o60000] } else { &[0o10000] };
                    let rdev = *self.random.pick(&[(1, 3), (255, 255), (256, 256), (4095, 1_048_575)]);
                    What::Mknod { path: self.new_name(), mode: self.random.pick(kinds) | 0o644, rdev }
                }
                24..28 => What::Link { from: self.file(), to: self.new_name() },
                28..38 => {
                    let flags: &[u32] = match self.can.whiteout && self.can.root {
                        true => &[0, 0, 0, 0, 0, NOREPLACE, EXCHANGE, EXCHANGE, WHITEOUT, NOREPLACE | EXCHANGE],
                        false => &[0, 0, 0, 0, 0, NOREPLACE, EXCHANGE, EXCHANGE],
                    };
                    What::Rename { from: self.name(), to: self.new_name(), flags: *self.random.pick(flags) }
                }
                38..43 => What::Unlink { path: self.file() },
                43..46 => What::Rmdir { path: self.dir() },
                46..56 => {
                    What::Write { file: self.at(), offset: self.offset(), len: self.len(), seed: self.random.word() }
                }
                56..59 => What::Append { path: self.file(), len: self.len(), seed: self.random.word() },
                59..64 => What::Read { file: self.at(), offset: self.offset(), len: self.len() },
                64..68 => What::Truncate { file: self.at(), size: self.offset() },
                68..74 if self.can.fallocate => {
                    const MODES: &[u32] = &[
                        0,
                        KEEP_SIZE,
                        PUNCH_HOLE | KEEP_SIZE,
                        ZERO_RANGE,
                        ZERO_RANGE | KEEP_SIZE,
                        COLLAPSE_RANGE,
                        INSERT_RANGE,
                        PUNCH_HOLE,
                    ];
                    let (mode, offset, len) = (*self.random.pick(MODES), self.offset() % (4 << 20), self.len());
                    What::Fallocate { file: self.at(), mode, offset, len }
                }
                74..77 => What::Fsync { file: self.at(), data: self.random.once_in(2) },
                77 if self.random.once_in(8) => What::Sync,
                78..82 if self.can.xattr => {
                    let len = *self.random.pick(&[0, 1, 20, 64, 200, 900, 900, 3000, 5000]);
                    let (name, flags) = (pick(&mut self.random), *self.random.pick(&[0, 0, 0, 1, 2]));
                    What::Setxattr { path: self.name(), name, len, seed: self.random.word(), flags }
                }
                82 if self.can.xattr => What::Getxattr { path: self.name(), name: pick(&mut self.random) },
                83 if self.can.xattr => What::Removexattr { path: self.name(), name: pick(&mut self.random) },
                84..87 => What::Chmod { path: self.name(), mode: self.mode() },
                87..89 if self.can.root => {
                    let id = |random: &mut Random| *random.pick(&[0, 1000, 1001, 70_000, u32::MAX]);
                    What::Chown { path: self.name(), uid: id(&mut self.random), gid: id(&mut self.random) }
                }
                89..91 => {
                    let time = |random: &mut Random| (*random.pick(TIMES), random.below(1_000_000_000) as u32);
                    What::Utimens { path: self.name(), atime: time(&mut self.random), mtime: time(&mut self.random) }
                }
                91..93 => What::Stat { path: self.name() },
                93..95 => What::List { path: self.dir() },
                95..97 => What::Open { slot: self.slot(), path: self.file() },
                97 if self.can.tmpfile => What::Tmpfile { slot: self.slot(), path: self.dir(), mode: self.mode() },
                98 if self.can.tmpfile => What::LinkHeld { slot: self.slot(), to: self.new_name() },
                99 => What::Close { slot: self.slot() },
                _ => continue,
            };
        }
    }

    /// What came of it: names that are there are asked for more often.
    pub fn learn(&mut self, op: &Op, answer: &Result<Answer, i32>) {
        match (&op.what, answer) {
            (What::Mkdir { path, .. }, Ok(_)) => self.remember(&path.0, true),
            (
                What::Create { path, .. }
                | What::Symlink { path, .. }
                | What::Mknod { path, .. }
                | What::Link { to: path, .. }
                | What::LinkHeld { to: path, .. },
                Ok(_),
            ) => self.remember(&path.0, false),
            (What::Rename { from, to, flags }, Ok(_)) => {
                let (one, two) = (self.dirs.contains(&from.0), self.dirs.contains(&to.0));
                self.forget(&from.0);
                self.forget(&to.0);
                self.remember(&to.0, one);
                if flags & (EXCHANGE | WHITEOUT) != 0 {
                    self.remember(&from.0, two);
                }
            }
            (What::Unlink { path } | What::Rmdir { path }, Ok(_)) => self.forget(&path.0),
            (
                What::Unlink { path }
                | What::Rmdir { path }
                | What::Stat { path }
                | What::List { path }
                | What::Chmod { path, .. }
                | What::Open { path, .. }
                | What::Append { path, .. }
                | What::Link { from: path, .. }
                | What::Rename { from: path, .. },
                Err(libc::ENOENT | libc::ENOTDIR),
            ) => self.forget(&path.0),
            _ => {}
        }
    }

    fn remember(&mut self, path: &Path, dir: bool) {
        let (list, most) = if dir { (&mut self.dirs, 60) } else { (&mut self.files, 300) };
        if !list.contains(path) {
            list.push(path.clone());
        }
        // They stay where they are, but nobody comes by any more.
        if list.len() > most {
            let at = self.random.below(most as u64) as usize;
            list.swap_remove(at);
        }
    }

    fn forget(&mut self, path: &Path) {
        self.files.retain(|known| known != path);
        self.dirs.retain(|known| known != path);
    }
}
