// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Faults on request: `-o on=OPERATION|all,kind=KIND,every=N,errno=N`, and `remount` to change them.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bento::fs::Op;
use bento::prelude::*;

#[derive(MountOptions)]
pub struct FaultOptions {
    /// The handler that fails, or `all`: every one but mount, reconfigure and unmount.
    #[option(default = Vec::new())]
    on: Vec<u8>,
    /// `error`, `panic`, `index`, `alloc`, `drop`, `recursion`, `lock` or `hold`.
    #[option(default = b"error".to_vec())]
    kind: Vec<u8>,
    /// One call in so many.
    #[option(default = 1)]
    every: u32,
    /// What `kind=error` returns.
    #[option(default = 5)]
    errno: u32,
}

const KINDS: [&[u8]; 8] = [b"error", b"panic", b"index", b"alloc", b"drop", b"recursion", b"lock", b"hold"];

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
        let excluded = 1 << Op::mount as u64 | 1 << Op::reconfigure as u64 | 1 << Op::unmount as u64;
        let operations = match options.on.as_slice() {
            b"" => 0,
            b"all" => !excluded,
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
            _ => {}
        }
        Ok(())
    }
}

/// Turns of an empty loop: some tens of milliseconds, a second under emulation.
const WHILE: u64 = 60_000_000;

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
