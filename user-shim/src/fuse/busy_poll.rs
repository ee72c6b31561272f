// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Busy polling: whoever has answered a request looks for the next one for a moment before it sleeps for it. Most callers ask
//! again as soon as they have their answer, and to wake a thread on another processor costs more than a request.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Somewhat more than a program needs between two requests.
const PATIENCE: Duration = Duration::from_micros(100);

/// The connection to the kernel, to be looked at.
#[derive(Debug, Default)]
pub struct BusyPoll {
    connection: OnceLock<OwnedFd>,
}

impl BusyPoll {
    pub fn connect(&self, connection: BorrowedFd<'_>) -> std::io::Result<()> {
        let _ = self.connection.set(connection.try_clone_to_owned()?);
        Ok(())
    }

    /// To be held while a request is answered, and dropped last: no lock may be held while one waits.
    pub fn after(&self) -> After<'_> {
        After { connection: self.connection.get() }
    }
}

pub struct After<'a> {
    connection: Option<&'a OwnedFd>,
}

impl Drop for After<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection else { return };
        let mut poll = libc::pollfd { fd: connection.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut since = None;
        loop {
            // SAFETY: one descriptor, and it is ours; a timeout of 0 does not wait.
            if unsafe { libc::poll(&mut poll, 1, 0) } != 0 {
                return;
            }
            if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return;
            }
            // The caller may want this very processor.
            std::thread::yield_now();
        }
    }
}
