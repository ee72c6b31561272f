// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Inodes whose attributes changed without a handler, by written bytes and read ones: they are stored when they have
//! waited long enough, when somebody asks, and when they leave the cache. (`data = "extents"`)

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bento::abi;
use bento::errno::Result;

use crate::inode::held;
use crate::slot::Health;
use crate::superblock::Super;

/// How long an inode may wait, and how often somebody looks.
const PATIENCE: Duration = Duration::from_secs(5);
const ROUND: Duration = Duration::from_secs(1);

/// The inodes that wait, the oldest first.
#[derive(Default)]
pub struct Dirty {
    list: Mutex<VecDeque<(Instant, u64)>>,
    over: Mutex<bool>,
    ring: Condvar,
}

impl Dirty {
    pub fn push(&self, ino: u64) {
        held(&self.list).push_back((Instant::now(), ino));
    }

    /// Those that have waited for so long.
    fn take(&self, patience: Duration) -> Vec<u64> {
        let mut list = held(&self.list);
        let old = list.iter().take_while(|(since, _)| since.elapsed() >= patience).count();
        list.drain(..old).map(|(_, ino)| ino).collect()
    }

    /// Whoever writes in the background ends.
    pub fn end(&self) {
        *held(&self.over) = true;
        self.ring.notify_all();
    }

    /// Waits a round; false when it is over.
    fn round(&self) -> bool {
        let over = held(&self.over);
        let waited = self.ring.wait_timeout_while(over, ROUND, |over| !*over);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Super {
    /// Stores the inodes that have waited for so long. The first error; the inodes it is about wait on.
    pub fn write_inodes(&self, patience: Duration, wait: bool) -> Result<()> {
        let mut first = Ok(());
        for ino in self.dirty.take(patience) {
            // Who is not cached any more has been written when it left.
            let Some(inode) = self.table.get(ino) else { continue };
            inode.unlist();
            if inode.nlink() > 0 {
                first = first.and(inode.write_back(wait));
            }
        }
        first
    }

    /// Does so every few seconds, on a thread of its own, until the mount ends.
    pub fn write_in_background(&self) {
        let (me, dirty) = (self.me.clone(), Arc::clone(&self.dirty));
        let begun = std::thread::Builder::new().name("bento-flush".to_owned()).spawn(move || {
            let mut told = false;
            while dirty.round() {
                let Some(sb) = me.upgrade() else { return };
                if sb.slot.health() == Health::Quarantined {
                    continue;
                }
                match sb.write_inodes(PATIENCE, false) {
                    Err(errno) if !told => {
                        told = true;
                        sb.log(abi::BENTO_LOG_ERR, format_args!("attributes could not be written: {errno}"));
                    }
                    Err(_) => {}
                    Ok(()) => told = false,
                }
            }
        });
        match begun {
            Ok(flusher) => *held(&self.flusher) = Some(flusher),
            Err(error) => self.log(abi::BENTO_LOG_ERR, format_args!("bento-flush: no thread: {error}")),
        }
    }
}
