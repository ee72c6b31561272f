// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Calls end where they ask the shim for a block or for room in a transaction, for tests in a kernel.
//!
//! Setting the extended attribute [`ATTRIBUTE`] of any file arms the version that serves the mount. Its value is
//! `op=NAME|all,uid=N,every=N,kind=panic|abandon|error` in any order: of the calls of that handler, made by that user, one of
//! so many such places is struck. Without `every` none is.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::abi;
use crate::errno::{Errno, Result};
use crate::fs::Op;
use crate::host;

pub(crate) const ATTRIBUTE: &[u8] = b"trusted.bento.fault";

const PANIC: u32 = 0;
const ABANDON: u32 = 1;
const ERROR: u32 = 2;
const KINDS: [&[u8]; 3] = [b"panic", b"abandon", b"error"];
const _: () = assert!(Op::ALL.len() <= 64);
/// No user has this number.
const ANYONE: u32 = u32::MAX;

/// Bit *n*: of calls of operation *n*.
static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static USER: AtomicU32 = AtomicU32::new(ANYONE);
static EVERY: AtomicU32 = AtomicU32::new(0);
static KIND: AtomicU32 = AtomicU32::new(PANIC);
/// Such places that calls came to.
static PASSED: AtomicU64 = AtomicU64::new(0);

fn number(text: &[u8]) -> Result<u32> {
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Errno::EINVAL)
}

fn operations(name: &[u8]) -> Result<u64> {
    if name == b"all" {
        return Ok(u64::MAX);
    }
    let op = Op::HANDLERS.iter().find(|op| op.name().as_bytes() == name).ok_or(Errno::EINVAL)?;
    Ok(1 << *op as u64)
}

/// Takes a new order; `EINVAL` for a word that means nothing.
pub(crate) fn arm(order: &[u8]) -> Result<()> {
    let (mut ops, mut user, mut every, mut kind) = (0, ANYONE, 0, PANIC);
    for word in order.split(|byte| *byte == b',').filter(|word| !word.is_empty()) {
        let at = word.iter().position(|byte| *byte == b'=').ok_or(Errno::EINVAL)?;
        let value = &word[at + 1..];
        match &word[..at] {
            b"op" => ops = operations(value)?,
            b"uid" => user = number(value)?,
            b"every" => every = number(value)?,
            b"kind" => kind = KINDS.iter().position(|kind| *kind == value).ok_or(Errno::EINVAL)? as u32,
            _ => return Err(Errno::EINVAL),
        }
    }
    EVERY.store(0, Ordering::SeqCst);
    OPERATIONS.store(ops, Ordering::SeqCst);
    USER.store(user, Ordering::SeqCst);
    KIND.store(kind, Ordering::SeqCst);
    EVERY.store(every, Ordering::SeqCst);
    Ok(())
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("as asked, once more");
    }
}

/// A place where a call can be struck.
pub(super) fn access(call: *mut abi::bento_call) -> Result<()> {
    let every = EVERY.load(Ordering::Relaxed);
    // SAFETY: SAFETY.md C1: `op` is set before the call and constant; one that unwinds is not struck again.
    let (op, unwinding) = unsafe { ((*call).op, (*call).unwinding != 0) };
    if every == 0 || unwinding || OPERATIONS.load(Ordering::Relaxed) & (1 << op) == 0 {
        return Ok(());
    }
    let user = USER.load(Ordering::Relaxed);
    if user != ANYONE && host::cred(call).uid != user {
        return Ok(());
    }
    let place = PASSED.fetch_add(1, Ordering::Relaxed);
    if !place.is_multiple_of(every.into()) {
        return Ok(());
    }
    match KIND.load(Ordering::Relaxed) {
        ERROR => Err(Errno::EIO),
        ABANDON => {
            let _second = PanicsWhenDropped;
            panic!("as asked, at place {place}");
        }
        _ => panic!("as asked, at place {place}"),
    }
}
