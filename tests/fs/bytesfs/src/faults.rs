// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Faults on request: `-o on=OPERATION|all,kind=KIND,every=N,errno=N`, and `remount` to change them.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bento::fs::Op;
use bento::prelude::*;
use bento::state::{Loader, Saver, Shape};

#[derive(MountOptions)]
pub struct FaultOptions {
    /// The handler that fails, or `all`: every one but mount, reconfigure and unmount. Also `save` and `load`, of a swap.
    #[option(default = Vec::new())]
    on: Vec<u8>,
    /// `error`, `panic`, `index`, `alloc`, `capacity`, `drop`, `recursion`, `lock`, `hold`; of `statfs` `slow` (three seconds);
    /// of `getattr` `poison` (with a lock of the inode held); `wait`: for a lock, which `statfs` keeps for three seconds.
    #[option(default = b"error".to_vec())]
    kind: Vec<u8>,
    /// One call in so many.
    #[option(default = 1)]
    every: u32,
    /// What `kind=error` returns.
    #[option(default = 5)]
    errno: u32,
}

const KINDS: [&[u8]; 12] = [
    b"error",
    b"panic",
    b"index",
    b"alloc",
    b"capacity",
    b"drop",
    b"recursion",
    b"lock",
    b"hold",
    b"slow",
    b"poison",
    b"wait",
];

#[derive(Default)]
pub struct Faults {
    /// Bit *n*: operation *n* fails.
    operations: AtomicU64,
    kind: AtomicU32,
    every: AtomicU32,
    errno: AtomicU32,
    calls: AtomicU64,
    victim: Mutex<u32>,
}

impl Faults {
    /// Takes new options; `EINVAL` for a word that names nothing.
    pub fn set(&self, options: &FaultOptions) -> Result<()> {
        let bits = |list: &[Op]| list.iter().fold(0, |bits, op| bits | 1 << *op as u64);
        let operations = match options.on.as_slice() {
            b"" => 0,
            b"all" => bits(Op::HANDLERS) & !bits(&[Op::mount, Op::reconfigure, Op::unmount]),
            name => {
                let op = Op::ALL.iter().find(|op| op.name().as_bytes() == name).ok_or(Errno::EINVAL)?;
                1 << *op as u64
            }
        };
        let kind = KINDS.iter().position(|kind| *kind == options.kind).ok_or(Errno::EINVAL)?;
        self.kind.store(kind as u32, Ordering::Relaxed);
        self.every.store(options.every.max(1), Ordering::Relaxed);
        self.errno.store(options.errno, Ordering::Relaxed);
        self.operations.store(operations, Ordering::Relaxed);
        Ok(())
    }

    /// The same faults, for another version.
    pub fn copy(&self) -> Faults {
        Faults {
            operations: AtomicU64::new(self.operations.load(Ordering::Relaxed)),
            kind: AtomicU32::new(self.kind.load(Ordering::Relaxed)),
            every: AtomicU32::new(self.every.load(Ordering::Relaxed)),
            errno: AtomicU32::new(self.errno.load(Ordering::Relaxed)),
            // What fails once is not asked the same again.
            calls: AtomicU64::new(self.calls.fetch_add(1, Ordering::Relaxed)),
            victim: Mutex::default(),
        }
    }

    /// The first line of every handler.
    #[inline]
    pub fn at(&self, op: Op) -> Result<()> {
        match self.operations.load(Ordering::Relaxed) & (1 << op as u64) {
            0 => Ok(()),
            _ => self.strike(),
        }
    }

    #[cold]
    fn strike(&self) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if !call.is_multiple_of(u64::from(self.every.load(Ordering::Relaxed))) {
            return Ok(());
        }
        match KINDS[self.kind.load(Ordering::Relaxed) as usize] {
            b"error" => return Err(Errno::new(self.errno.load(Ordering::Relaxed) as i32)),
            b"panic" => panic!("asked to panic"),
            b"index" => drop(first_of_three(&[1, 2, 3], call as usize)),
            b"alloc" => drop(core::hint::black_box(Vec::<u8>::with_capacity(1 << 45))),
            b"capacity" => drop(core::hint::black_box(Vec::<u64>::with_capacity(usize::MAX - call as usize))),
            b"drop" => {
                let _second = PanicsWhenDropped;
                panic!("the first panic");
            }
            b"recursion" => drop(recurse(call)),
            b"lock" => {
                let mut victim = self.victim.lock();
                *victim += 1;
                panic!("with a lock held");
            }
            b"hold" => {
                // Abandoned with a lock held, once others had time to wait for it.
                let _held = self.victim.lock();
                (0..WHILE).for_each(|turn| _ = core::hint::black_box(turn));
                let _second = PanicsWhenDropped;
                panic!("the first panic");
            }
            b"wait" => drop(self.victim.lock()),
            _ => {}
        }
        Ok(())
    }
}

/// Turns of an empty loop: some tens of milliseconds, a second under emulation.
const WHILE: u64 = 60_000_000;

impl Faults {
    fn is(&self, op: Op, kind: &[u8]) -> bool {
        self.operations.load(Ordering::Relaxed) & (1 << op as u64) != 0
            && KINDS[self.kind.load(Ordering::Relaxed) as usize] == kind
    }

    /// A panic that spoils one inode.
    pub fn poison(&self, victim: &Mutex<u32>) {
        if self.is(Op::getattr, b"poison") {
            let _held = victim.lock();
            panic!("with a lock of the inode held");
        }
    }

    /// Stays inside the gate for three seconds, with `wait` holding what others wait for. At each allocation the kernel may let others run.
    pub fn slow(&self, now: impl Fn() -> Timestamp) {
        let held = self.is(Op::statfs, b"wait").then(|| self.victim.lock());
        if held.is_none() && !self.is(Op::statfs, b"slow") {
            return;
        }
        let end = now().sec + 4;
        while now().sec < end {
            drop(core::hint::black_box(Box::new([0u8; 64])));
        }
    }
}

/// The options cross, and with them the faults of a swap. The lock does not: a poisoned one is whole again.
impl State for Faults {
    const SHAPE: &'static Shape = <(u64, (u32, u32, u32), u64)>::SHAPE;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        self.at(Op::save)?;
        let Faults { operations, kind, every, errno, calls, victim: _ } = self.copy();
        let words = (kind.into_inner(), every.into_inner(), errno.into_inner());
        (operations.into_inner(), words, calls.into_inner()).save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let (operations, (kind, every, errno), calls) = State::load(from)?;
        let faults = Faults {
            operations: AtomicU64::new(operations),
            kind: AtomicU32::new(kind),
            every: AtomicU32::new(every),
            errno: AtomicU32::new(errno),
            calls: AtomicU64::new(calls),
            victim: Mutex::default(),
        };
        faults.at(Op::load)?;
        Ok(faults)
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a panic inside a destructor");
    }
}

#[inline(never)]
fn first_of_three(values: &[u32], call: usize) -> u32 {
    let boxed = Box::new(call); // to be freed on the way
    second_of_three(values, *boxed) + 1
}

#[inline(never)]
fn second_of_three(values: &[u32], call: usize) -> u32 {
    let copy = values.to_vec();
    third_of_three(&copy, call) + 1
}

#[inline(never)]
fn third_of_three(values: &[u32], call: usize) -> u32 {
    values[values.len() + call]
}

#[inline(never)]
#[allow(unconditional_recursion)] // what it is for
fn recurse(depth: u64) -> u64 {
    let here = [depth; 16];
    core::hint::black_box(&here);
    recurse(depth + 1) + here[depth as usize % 16]
}
