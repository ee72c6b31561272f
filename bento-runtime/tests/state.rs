// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What crosses comes back as it was: every kind of value, over versions and back, and from bytes that are not what they
//! should be comes an error, never a panic.
#![cfg(feature = "std")]
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI16, AtomicU64, Ordering};
use std::time::Duration;

use bento::prelude::*;
use bento::state::{from_slice, to_vec, to_vec_as};

type Boxed = (Box<[u8]>, Box<str>, Box<u64>, Box<[Kind]>);

#[derive(State)]
struct Everything {
    #[state(9)]
    numbers: (u8, u16, u32, u64, i8, i16),
    #[state(1)]
    more: (i32, i64, usize, isize, bool, char),
    #[state(2)]
    atomics: (AtomicU64, AtomicBool, AtomicI16),
    #[state(3)]
    text: String,
    #[state(4)]
    bytes: Vec<u8>,
    #[state(5)]
    boxed: Boxed,
    #[state(6)]
    option: Option<Option<u32>>,
    #[state(7)]
    map: RwLock<BTreeMap<NameBuf, Vec<Kind>>>,
    #[state(8)]
    sets: Mutex<(BTreeSet<u64>, VecDeque<Ino>)>,
    #[state(10)]
    arrays: ([u8; 16], [u32; 3], [Kind; 2]),
    #[state(1000)]
    words: (Attr, Timestamp, FileType, Duration),
    #[state(4294967295)]
    unit: (),
    #[state(skip)]
    cache: u64,
    #[state(skip, default = 7)]
    limit: u64,
}

#[derive(State)]
enum Kind {
    #[state(2)]
    Directory {
        #[state(1)]
        parent: Ino,
        #[state(skip)]
        open: u32,
        #[state(2)]
        from: Option<Box<u64>>,
    },
    #[state(1)]
    Link(#[state(7)] NameBuf, #[state(skip)] u8, #[state(3)] u64),
    #[state(3)]
    Other,
}

#[derive(State)]
struct Pair<A, B>(#[state(1)] A, #[state(2)] B);

#[derive(State)]
struct Nothing;

/// Numbers with all lengths, from one seed.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> (self.0 % 64)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.number() as usize) % end
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.below(20) {
            0 => 1000,
            len => len,
        };
        (0..len).map(|_| self.number() as u8).collect()
    }

    fn name(&mut self) -> NameBuf {
        Name::new(&self.bytes()).to_owned()
    }

    fn ino(&mut self) -> Ino {
        Ino::new(self.number()).unwrap_or(Ino::ROOT)
    }

    fn kind(&mut self) -> Kind {
        match self.below(4) {
            0 => Kind::Directory { parent: self.ino(), open: 3, from: None },
            1 => Kind::Directory { parent: self.ino(), open: 0, from: Some(Box::new(self.number())) },
            2 => Kind::Link(self.name(), 9, self.number()),
            _ => Kind::Other,
        }
    }

    fn kinds(&mut self) -> Vec<Kind> {
        (0..self.below(4)).map(|_| self.kind()).collect()
    }

    fn everything(&mut self) -> Everything {
        let n = self.number();
        let time = Timestamp { sec: n as i64, nsec: n as u32 };
        Everything {
            numbers: (n as u8, n as u16, n as u32, n, n as i8, n as i16),
            more: (n as i32, n as i64, n as usize, n as isize, n & 1 == 1, char::from(n as u8)),
            atomics: (AtomicU64::new(n), AtomicBool::new(n & 2 == 2), AtomicI16::new(n as i16)),
            text: String::from_utf8_lossy(&self.bytes()).into_owned(),
            bytes: self.bytes(),
            boxed: (self.bytes().into(), "name".into(), Box::new(n), self.kinds().into()),
            option: [None, Some(None), Some(Some(n as u32))][self.below(3)],
            map: RwLock::new((0..self.below(5)).map(|_| (self.name(), self.kinds())).collect()),
            sets: Mutex::new(((0..self.below(9) as u64).collect(), (0..self.below(9)).map(|_| self.ino()).collect())),
            arrays: ([n as u8; 16], [n as u32; 3], [self.kind(), self.kind()]),
            words: (Attr::file(0o640, n).at(time), time, FileType::Socket, Duration::new(n, 999_999_999)),
            unit: (),
            cache: n,
            limit: n,
        }
    }
}

fn load<T: State>(bytes: &[u8]) -> Result<T> {
    from_slice(bytes, T::SHAPE.hash())
}

/// How often: Miri is slow.
const ROUNDS: u64 = if cfg!(miri) { 2 } else { 300 };

#[test]
fn every_kind_of_value_comes_back() {
    for seed in 1..=ROUNDS {
        let value = Random(seed * 0x9e37_79b9).everything();
        let bytes = to_vec(&value).unwrap();
        let back: Everything = load(&bytes).unwrap();
        // Locks and atomics have no equality; bytes have.
        assert_eq!(to_vec(&back).unwrap(), bytes, "seed {seed}");
        assert_eq!((back.numbers, back.more), (value.numbers, value.more));
        assert_eq!(back.atomics.0.load(Ordering::Relaxed), value.atomics.0.load(Ordering::Relaxed));
        assert_eq!((&back.text, &back.bytes, back.option), (&value.text, &value.bytes, value.option));
        assert_eq!((&back.words, back.arrays.0), (&value.words, value.arrays.0));
        assert_eq!((back.cache, back.limit), (0, 7), "these are made anew");
        for kind in back.arrays.2 {
            assert!(
                matches!(kind, Kind::Directory { open: 0, .. } | Kind::Link(_, 0, _) | Kind::Other),
                "so are these"
            );
        }
    }
    let pair: Pair<u8, Option<Nothing>> = load(&to_vec(&Pair(7u8, Some(Nothing))).unwrap()).unwrap();
    assert!(pair.0 == 7 && pair.1.is_some());
}

#[test]
fn bytes_that_are_not_what_they_should_be_are_refused_and_never_panic() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..ROUNDS {
        let good = to_vec(&random.everything()).unwrap();
        for end in (0..good.len()).step_by(1 + good.len() / 40) {
            assert!(load::<Everything>(&good[..end]).is_err(), "{end} of {} bytes", good.len());
        }
        for _ in 0..if cfg!(miri) { 5 } else { 100 } {
            let mut bad = good.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bad.len());
                match random.below(3) {
                    0 => bad[at] = random.number() as u8,
                    // Lengths that promise more than there is.
                    1 => bad.splice(at..at + 1, [bad[at] | 0x1f, 0xff, 0xff, 0xff, 0xff]).for_each(drop),
                    _ => drop(bad.remove(at)),
                }
            }
            match load::<Everything>(&bad) {
                Ok(_) => taken += 1,
                Err(errno) => {
                    assert!([Errno::EUCLEAN, Errno::ENOMEM].contains(&errno), "{errno:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > taken, "{refused} refused, {taken} taken");
}

#[test]
fn a_field_that_is_missing_or_unknown() {
    #[derive(State)]
    struct Small(#[state(1)] u64);
    #[derive(State)]
    struct Large {
        #[state(1)]
        number: u64,
        #[state(2)]
        list: Vec<Kind>,
        #[state(3)]
        more: Vec<u8>,
    }
    let bytes = to_vec(&Large { number: 5, list: Random(3).kinds(), more: vec![1, 2] }).unwrap();
    assert_eq!(load::<Small>(&bytes).unwrap().0, 5);
    assert_eq!(load::<Large>(&to_vec(&Small(5)).unwrap()).err(), Some(Errno::EUCLEAN));
    // A variant that nobody knows, and the number 0 for an inode.
    assert_eq!(load::<Kind>(&[0x82, 0x04, 0xa0]).err(), Some(Errno::EUCLEAN));
    assert!(matches!(load::<Kind>(&[0x82, 0x03, 0xa0]), Ok(Kind::Other)));
    assert_eq!(load::<Ino>(&[0]).err(), Some(Errno::EUCLEAN));
    assert_eq!(load::<u8>(&[0x19, 0x01, 0x00]).err(), Some(Errno::EUCLEAN));
}

#[test]
fn a_lock_that_is_held_is_not_waited_for() {
    let lock = Mutex::new(7u64);
    let held = lock.lock();
    assert_eq!(to_vec(&lock).err(), Some(Errno::EBUSY));
    drop(held);
    assert_eq!(to_vec(&lock).unwrap(), [7]);
    let lock = RwLock::new(7u64);
    let _readers_do_not_matter = lock.read();
    assert_eq!(to_vec(&lock).unwrap(), [7]);
}

/// Three versions: 2 adds to 1, 3 is made from 2, and the way back.
mod versions {
    use bento::prelude::*;

    pub mod v1 {
        use bento::prelude::*;

        #[derive(State)]
        #[state(fs = "fs", version = 1, inode = Node)]
        pub struct Fs {
            #[state(1)]
            pub next: u64,
            #[state(2)]
            pub label: Vec<u8>,
        }

        #[derive(State)]
        pub struct Node {
            #[state(1)]
            pub kind: Kind,
        }

        #[derive(State)]
        pub enum Kind {
            #[state(1)]
            File {
                #[state(1)]
                size: u32,
            },
        }
    }

    pub mod v2 {
        use super::v1;
        use bento::prelude::*;

        #[derive(State)]
        #[state(fs = "fs", version = 2, inode = Node, extends = v1::Fs, downgrades = v1::Fs)]
        pub struct Fs {
            #[state(1)]
            pub next: u64,
            #[state(2)]
            pub label: Vec<u8>,
            #[state(3, default = 16)]
            pub limit: u32,
        }

        impl Downgrade<v1::Fs> for Fs {
            fn downgrade(&self) -> Result<v1::Fs> {
                Ok(v1::Fs { next: self.next, label: self.label.clone() })
            }
        }

        /// The new field is further down.
        #[derive(State)]
        #[state(extends = v1::Node, downgrades = v1::Node)]
        pub struct Node {
            #[state(1)]
            pub kind: Kind,
        }

        impl Downgrade<v1::Node> for Node {
            fn downgrade(&self) -> Result<v1::Node> {
                match self.kind {
                    Kind::File { size, .. } => Ok(v1::Node { kind: v1::Kind::File { size } }),
                    Kind::Link(_) => Err(Errno::EOPNOTSUPP),
                }
            }
        }

        #[derive(State)]
        #[state(extends = v1::Kind)]
        pub enum Kind {
            #[state(1)]
            File {
                #[state(1)]
                size: u32,
                #[state(2, default = Vec::new())]
                extents: Vec<u64>,
            },
            #[state(2)]
            Link(#[state(1)] Vec<u8>),
        }
    }

    #[derive(State)]
    #[state(fs = "fs", version = 3, inode = Node, migrates = v2::Fs, downgrades = v2::Fs)]
    pub struct Fs {
        #[state(4)]
        pub next: [u32; 2],
        #[state(2)]
        pub label: Vec<u8>,
        #[state(3)]
        pub limit: u32,
    }

    impl Migrate<v2::Fs> for Fs {
        fn migrate(old: v2::Fs) -> Result<Self> {
            if old.limit == 0 {
                return Err(Errno::EINVAL);
            }
            Ok(Fs { next: [(old.next >> 32) as u32, old.next as u32], label: old.label, limit: old.limit })
        }
    }

    impl Downgrade<v2::Fs> for Fs {
        fn downgrade(&self) -> Result<v2::Fs> {
            let next = u64::from(self.next[0]) << 32 | u64::from(self.next[1]);
            Ok(v2::Fs { next, label: self.label.clone(), limit: self.limit })
        }
    }

    #[derive(State)]
    #[state(migrates = v2::Node, downgrades = v2::Node)]
    pub struct Node {
        #[state(2)]
        pub size: u64,
    }

    impl Downgrade<v2::Node> for Node {
        fn downgrade(&self) -> Result<v2::Node> {
            let size = u32::try_from(self.size).map_err(|_| Errno::EFBIG)?;
            Ok(v2::Node { kind: v2::Kind::File { size, extents: Vec::new() } })
        }
    }

    impl Migrate<v2::Node> for Node {
        fn migrate(old: v2::Node) -> Result<Self> {
            match old.kind {
                v2::Kind::File { size, .. } => Ok(Node { size: size.into() }),
                v2::Kind::Link(target) => Ok(Node { size: target.len() as u64 }),
            }
        }
    }
}

use versions::{Fs, Node, v1, v2};

#[test]
fn the_third_version_loads_the_first_through_the_second() {
    let hashes = [Fs::SHAPE.hash(), v2::Fs::SHAPE.hash(), v1::Fs::SHAPE.hash()];
    assert_eq!(Fs::LOADS.as_slice(), hashes);
    assert_eq!(Fs::SAVES.as_slice(), hashes);

    let first = v1::Fs { next: 0x1_0000_0002, label: b"label".to_vec() };
    let bytes = to_vec(&first).unwrap();
    let second: v2::Fs = from_slice(&bytes, hashes[2]).unwrap();
    assert_eq!((second.next, second.limit), (first.next, 16));
    let third: Fs = from_slice(&bytes, hashes[2]).unwrap();
    assert_eq!((third.next, &third.label[..], third.limit), ([1, 2], &b"label"[..], 16));
    let third: Fs = from_slice(&to_vec(&second).unwrap(), hashes[1]).unwrap();
    assert_eq!(third.next, [1, 2]);

    let node: Node =
        from_slice(&to_vec(&v1::Node { kind: v1::Kind::File { size: 9 } }).unwrap(), v1::Node::SHAPE.hash()).unwrap();
    assert_eq!(node.size, 9);
    let node: Node =
        from_slice(&to_vec(&v2::Node { kind: v2::Kind::Link(vec![1]) }).unwrap(), v2::Node::SHAPE.hash()).unwrap();
    assert_eq!(node.size, 1);
}

#[test]
fn the_third_version_goes_back_to_the_first() {
    let third = Fs { next: [1, 2], label: b"label".to_vec(), limit: 3 };
    let first: v1::Fs = load(&to_vec_as(&third, v1::Fs::SHAPE.hash()).unwrap()).unwrap();
    assert_eq!((first.next, &first.label[..]), (0x1_0000_0002, &b"label"[..]));
    let second: v2::Fs = load(&to_vec_as(&third, v2::Fs::SHAPE.hash()).unwrap()).unwrap();
    assert_eq!((second.next, second.limit), (0x1_0000_0002, 3));
    assert_eq!(to_vec_as(&third, 12).err(), Some(Errno::EINVAL));

    let shape = v1::Node::SHAPE.hash();
    let v1::Node { kind: v1::Kind::File { size } } = load(&to_vec_as(&Node { size: 8 }, shape).unwrap()).unwrap();
    assert_eq!(size, 8);
    assert_eq!(to_vec_as(&Node { size: 1 << 40 }, shape).err(), Some(Errno::EFBIG));
    let link = v2::Node { kind: v2::Kind::Link(vec![1]) };
    assert_eq!(to_vec_as(&link, shape).err(), Some(Errno::EOPNOTSUPP));
}

#[test]
fn a_migration_that_refuses_and_a_shape_that_nobody_knows() {
    let zero = to_vec(&v2::Fs { next: 1, label: Vec::new(), limit: 0 }).unwrap();
    assert_eq!(from_slice::<Fs>(&zero, v2::Fs::SHAPE.hash()).err(), Some(Errno::EINVAL));
    assert_eq!(from_slice::<Fs>(&zero, 12).err(), Some(Errno::EUCLEAN));
    let mut random = Random(77);
    let good = to_vec(&v1::Fs { next: 1, label: vec![7; 40] }).unwrap();
    for _ in 0..ROUNDS {
        let mut bad = good.clone();
        let at = random.below(bad.len());
        bad[at] = random.number() as u8;
        let _ = from_slice::<Fs>(&bad, v1::Fs::SHAPE.hash());
    }
}
