// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A whole file system as a value: every name with what it leads to. Two of them are equal or differ in lines.

use std::collections::BTreeMap;
use std::fmt;

use crate::ops::{Name, Op, Path};

/// Who can do operations and show what is there.
pub trait Target {
    fn apply(&mut self, op: &Op) -> Result<Answer, i32>;
    /// All below the root.
    fn look(&mut self) -> Result<Tree, String>;
}

/// What an operation gave, as far as two file systems must agree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Done,
    /// Bytes moved.
    Count(u64),
    Bytes(Bytes),
    Node(Box<Node>),
    Names(Vec<Name>),
}

/// Contents, shown by their length and a sum.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sum {:016x}", self.0.len(), sum(0, &self.0))
    }
}

/// FNV-1a, from `start`.
pub fn sum(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start ^ 0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// A time: one that was set, or some moment of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    Recent,
    Set(i64, u32),
}

/// What a name leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    /// Of a directory: 0, since how large one is is its own affair.
    pub size: u64,
    pub rdev: (u32, u32),
    pub atime: Option<Time>,
    pub mtime: Time,
    pub ctime: Time,
    /// The first name of this inode: another one of a hard link.
    pub first: Option<Name>,
    pub target: Option<Name>,
    pub xattrs: BTreeMap<Name, Bytes>,
    /// Sum over the pages that are not all zero: holes and zeroes are the same.
    pub contents: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree(pub BTreeMap<Name, Node>);

impl Tree {
    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.0.get(&Name(path.to_vec()))
    }

    /// Names of each inode that has several: the first in the alphabet stands for it.
    pub fn link(&mut self, groups: impl Iterator<Item = Vec<Name>>) {
        for names in groups {
            let first = names.iter().min().cloned();
            for name in names {
                if let Some(node) = self.0.get_mut(&name) {
                    node.first.clone_from(&first);
                }
            }
        }
    }

    /// What is different, a line each, at most `most` of them.
    pub fn differences(&self, other: &Tree, most: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for name in self.0.keys().chain(other.0.keys().filter(|name| !self.0.contains_key(name))) {
            match (self.0.get(name), other.0.get(name)) {
                (Some(one), Some(two)) if one == two => continue,
                (Some(one), Some(two)) => lines.push(format!("{name:?}: {}", fields(one, two))),
                (Some(_), None) => lines.push(format!("{name:?} is on the first only")),
                _ => lines.push(format!("{name:?} is on the second only")),
            }
            if lines.len() >= most {
                break;
            }
        }
        lines
    }
}

fn fields(one: &Node, two: &Node) -> String {
    let mut parts = Vec::new();
    let mut field = |name: &str, same: bool, values: String| {
        if !same {
            parts.push(format!("{name} {values}"));
        }
    };
    field("mode", one.mode == two.mode, format!("{:o}, {:o}", one.mode, two.mode));
    field("nlink", one.nlink == two.nlink, format!("{}, {}", one.nlink, two.nlink));
    field("uid", one.uid == two.uid, format!("{}, {}", one.uid, two.uid));
    field("gid", one.gid == two.gid, format!("{}, {}", one.gid, two.gid));
    field("size", one.size == two.size, format!("{}, {}", one.size, two.size));
    field("rdev", one.rdev == two.rdev, format!("{:?}, {:?}", one.rdev, two.rdev));
    field("atime", one.atime == two.atime, format!("{:?}, {:?}", one.atime, two.atime));
    field("mtime", one.mtime == two.mtime, format!("{:?}, {:?}", one.mtime, two.mtime));
    field("ctime", one.ctime == two.ctime, format!("{:?}, {:?}", one.ctime, two.ctime));
    field("first name", one.first == two.first, format!("{:?}, {:?}", one.first, two.first));
    field("target", one.target == two.target, format!("{:?}, {:?}", one.target, two.target));
    field("xattrs", one.xattrs == two.xattrs, format!("{:?}, {:?}", one.xattrs, two.xattrs));
    field("contents", one.contents == two.contents, format!("{:?}, {:?}", one.contents, two.contents));
    parts.join("; ")
}

/// The path of `name` in `dir`.
pub fn join(dir: &[u8], name: &[u8]) -> Path {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// The sum of contents that come in order, in pieces, holes left out.
#[derive(Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// `bytes` at `offset`, which is a multiple of 4096.
    pub fn add(&mut self, offset: u64, bytes: &[u8]) {
        for (page, bytes) in (offset / 4096..).zip(bytes.chunks(4096)) {
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                self.0 = sum(self.0 ^ page, &bytes[..=last]);
            }
        }
    }

    pub fn value(self) -> u64 {
        self.0
    }
}
