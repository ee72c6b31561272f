// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One access of this thread fails, or panics, chosen by its number: so each access of each handler can be made to fail in
//! turn.

use core::cell::Cell;

use crate::errno::{Errno, Result};

/// What becomes of the access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is refused, and nothing has happened.
    Fails(Errno),
    /// The handler panics there.
    Panics,
}

std::thread_local! {
    static ARMED: Cell<Option<(u64, Fault)>> = const { Cell::new(None) };
}

/// After `n` more accesses of this thread one meets `fault`, once.
pub fn arm(n: u64, fault: Fault) {
    ARMED.set(Some((n, fault)));
}

/// Has it happened? It will not any more.
pub fn disarm() -> bool {
    ARMED.take().is_none()
}

#[inline]
pub(super) fn access() -> Result<()> {
    let Some((left, fault)) = ARMED.get() else { return Ok(()) };
    if let Some(less) = left.checked_sub(1) {
        ARMED.set(Some((less, fault)));
        return Ok(());
    }
    ARMED.set(None);
    match fault {
        Fault::Fails(errno) => Err(errno),
        Fault::Panics => panic!("a fault that a test asked for"),
    }
}
