// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The gate and the swap of `src/slot.rs`, that very file, under loom: every interleaving of a few threads (with at most
//! `LOOM_MAX_PREEMPTIONS` preemptions, 2 unless set), and the reorderings that the orderings allow.

#![cfg(not(miri))]

/// What `slot.rs` is built from, as loom has it.
mod sync {
    pub use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
}
#[allow(dead_code)]
#[path = "../src/slot.rs"]
mod slot;

use std::ffi::c_void;
use std::ptr;

use bento::errno::{Errno, Result};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use slot::{Health, Migration, Open, Slot};

/// A number that loom watches: it complains when one thread uses it while another writes.
struct Watched(loom::cell::UnsafeCell<u32>);

impl Watched {
    fn new(value: u32) -> Watched {
        Watched(loom::cell::UnsafeCell::new(value))
    }

    fn get(&self) -> u32 {
        // SAFETY: loom ends the test when it is not.
        self.0.with(|value| unsafe { *value })
    }

    fn set(&self, new: u32) {
        // SAFETY: loom ends the test when it is not.
        self.0.with_mut(|value| unsafe { *value = new });
    }
}

/// Stands for an instance: loom complains when it is used by one thread while another writes or drops it.
struct Instance {
    generation: Watched,
}

/// A slot with what it owns: the instances of both generations.
struct World {
    slot: Slot<u32>,
    instances: [Instance; 2],
    /// Time is up for the closer.
    expired: AtomicBool,
}

static VERSIONS: [u32; 2] = [10, 20];

impl World {
    fn new() -> Arc<World> {
        let instance = |generation| Instance { generation: Watched::new(generation) };
        let world = Arc::new(World {
            slot: Slot::new(&raw const VERSIONS[0]),
            instances: [instance(1), instance(0)],
            expired: AtomicBool::new(false),
        });
        world.slot.set_instance(world.instance(0));
        world
    }

    fn instance(&self, number: usize) -> *mut c_void {
        ptr::from_ref(&self.instances[number]).cast_mut().cast()
    }

    /// A call: what it sees is all of one generation, and nobody changes it meanwhile.
    fn call(&self) -> Result<u32> {
        let reader = self.slot.enter()?;
        Ok(self.look(&reader))
    }

    fn look(&self, reader: &slot::Reader<'_, u32>) -> u32 {
        let generation = reader.generation();
        // SAFETY: the test's own instances and versions, which live as long as the world.
        let (made, version) = unsafe {
            let instance = &*reader.instance().cast::<Instance>();
            thread::yield_now();
            (instance.generation.get(), *reader.version())
        };
        assert_eq!(made, generation, "the instance is of another generation");
        assert_eq!(version, VERSIONS[generation as usize - 1], "the version is of another generation");
        generation
    }

    /// A close that waits until `expired`.
    fn close(&self) -> Result<()> {
        self.slot.close_while(|wait, guard| match self.expired.load(Ordering::Acquire) {
            true => None,
            false => Some(wait.wait(guard).unwrap()),
        })
    }

    /// Steps 2 to 6 of a swap; the old instance is taken apart at once, which only the gate makes right.
    fn swap(&self) -> Result<()> {
        self.close()?;
        self.instances[0].generation.set(0);
        self.instances[1].generation.set(2);
        self.slot.replace(self.instance(1), &raw const VERSIONS[1]);
        self.slot.open(Open::New);
        Ok(())
    }
}

// SAFETY: the cells are checked by loom; that is the test.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(test);
}

#[test]
fn a_reader_sees_one_generation() {
    model(|| {
        let world = World::new();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    world.call().unwrap();
                })
            })
            .collect();
        world.swap().unwrap();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(world.call(), Ok(2));
    });
}

#[test]
fn a_caller_at_the_gate_is_never_forgotten() {
    model(|| {
        let world = World::new();
        let there = Arc::clone(&world);
        // Two calls: the second may meet the gate closing, closed or open again.
        let caller = thread::spawn(move || (there.call().unwrap(), there.call().unwrap()));
        world.swap().unwrap();
        let (first, second) = caller.join().unwrap();
        assert!(first <= second);
    });
}

#[test]
fn a_closer_that_times_out_leaves_everything_as_it_was() {
    model(|| {
        let world = World::new();
        let there = Arc::clone(&world);
        let caller = thread::spawn(move || there.call().unwrap());
        let there = Arc::clone(&world);
        let clock = thread::spawn(move || {
            there.expired.store(true, Ordering::Release);
            // What the end of a timed wait does: the closer looks again.
            there.slot.nudge();
        });
        let swapped = world.swap();
        assert!(matches!(swapped, Ok(()) | Err(Errno::ETIMEDOUT)));
        caller.join().unwrap();
        clock.join().unwrap();
        assert!(!world.slot.is_closed());
        assert_eq!(world.call(), Ok(if swapped.is_ok() { 2 } else { 1 }));
    });
}

#[test]
fn of_two_closers_one_is_told_to_go() {
    model(|| {
        let world = World::new();
        let there = Arc::clone(&world);
        let alone = Arc::new(Watched::new(0));
        let mine = Arc::clone(&alone);
        let close = |world: &World, alone: &Watched| match world.slot.close_while(|_, _| None) {
            Ok(()) => {
                alone.set(alone.get() + 1);
                world.slot.open(Open::Before);
                true
            }
            Err(errno) => {
                assert_eq!(errno, Errno::EBUSY);
                false
            }
        };
        let other = thread::spawn(move || close(&there, &mine));
        let first = close(&world, &alone);
        let second = other.join().unwrap();
        assert!(first || second);
        assert!(!world.slot.is_closed());
    });
}

#[test]
fn a_call_that_is_abandoned_while_the_gate_closes() {
    model(|| {
        let world = World::new();
        let there = Arc::clone(&world);
        let caller = thread::spawn(move || {
            if let Ok(reader) = there.slot.enter() {
                there.look(&reader);
                if reader.generation() == 1 {
                    there.slot.spoil(false, true);
                }
            }
        });
        let there = Arc::clone(&world);
        let other = thread::spawn(move || there.call());
        world.close().unwrap();
        // Spoilt before the gate was closed, or not at all: nobody is inside who could.
        let abandoned = world.slot.is_abandoned();
        world.slot.open(Open::Before);
        caller.join().unwrap();
        let answer = other.join().unwrap();
        assert!(matches!(answer, Ok(1) | Err(Errno::EIO)));
        assert!(!abandoned || world.slot.health() == Health::Quarantined);
        assert_eq!(world.call(), Err(Errno::EIO));
        // A swap heals it.
        world.swap().unwrap();
        assert_eq!((world.call(), world.slot.health(), world.slot.is_abandoned()), (Ok(2), Health::Ok, false));
    });
}

#[test]
fn callers_wait_for_a_restart_and_get_the_new_instance() {
    model(|| {
        let world = World::new();
        assert_eq!(world.slot.spoil(true, false), Some(Health::Restarting));
        let there = Arc::clone(&world);
        let caller = thread::spawn(move || there.call());
        world.swap().unwrap();
        assert_eq!(caller.join().unwrap(), Ok(2));
    });
}

#[test]
fn a_restart_that_fails_lets_its_waiters_go() {
    model(|| {
        let world = World::new();
        world.slot.spoil(true, true);
        let there = Arc::clone(&world);
        let caller = thread::spawn(move || there.call());
        world.close().unwrap();
        world.slot.open(Open::Quarantine);
        assert_eq!(caller.join().unwrap(), Err(Errno::EIO));
    });
}

#[test]
fn nobody_waits_for_a_restart_at_the_end_of_a_mount() {
    model(|| {
        let world = World::new();
        let there = Arc::clone(&world);
        // Its restart never comes: whoever unmounts has the turn.
        let spoiler = thread::spawn(move || there.slot.spoil(true, false));
        let there = Arc::clone(&world);
        let caller = thread::spawn(move || there.call());
        world.slot.no_more_restarts();
        assert!(matches!(caller.join().unwrap(), Ok(1) | Err(Errno::EIO)));
        assert!(spoiler.join().unwrap().is_some());
        assert_eq!((world.call(), world.slot.health()), (Err(Errno::EIO), Health::Quarantined));
    });
}

/// The data of one inode, as `Inode` and `Super::resolve` have them.
struct Data {
    migration: Migration,
    generation: AtomicU32,
    value: Watched,
    brought: AtomicU32,
}

#[test]
fn two_calls_bring_the_data_of_an_inode_once() {
    model(|| {
        let data = Arc::new(Data {
            migration: Migration::new(),
            generation: AtomicU32::new(1),
            value: Watched::new(100),
            brought: AtomicU32::new(0),
        });
        let use_it = |data: &Data| {
            let current = || data.generation.load(Ordering::Acquire) == 2;
            if !current() {
                let brought = data.migration.once(current, |_| {
                    data.value.set(data.value.get() + 100);
                    data.brought.fetch_add(1, Ordering::Relaxed);
                    data.generation.store(2, Ordering::Release);
                    Ok(())
                });
                brought.unwrap();
            }
            assert_eq!(data.value.get(), 200);
        };
        let there = Arc::clone(&data);
        let other = thread::spawn(move || use_it(&there));
        use_it(&data);
        other.join().unwrap();
        assert_eq!(data.brought.load(Ordering::Relaxed), 1);
    });
}
