// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What can be asked of a mount and set: the attributes of `/sys/fs/bento/<fs>/<maj:min>` by the same names, for the
//! daemon's socket. What sysfs shows in several lines is one here, with tabs between them.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bento::errno::Errno;

use crate::object::Object;
use crate::superblock::Super;
use crate::swap::SwapError;

/// The longest time the gate is closed on demand.
const PAUSE_MS: u64 = 10_000;

impl Super {
    /// `None`: there is no such attribute.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let (swaps, pause) = self.swaps.figures();
        let number = |value: &AtomicU64| value.load(Ordering::Relaxed).to_string();
        Some(match name {
            "fs" => self.name().to_owned(),
            "version" => self.current().version().to_string(),
            "versions" => {
                let lines: Vec<String> =
                    self.swaps.versions().iter().map(|(number, place)| format!("{number} {place}")).collect();
                lines.join("\t")
            }
            "generation" => self.slot.generation().to_string(),
            "health" => self.slot.health().name().to_owned(),
            "panics" => self.panic_count().to_string(),
            "restarts" => number(&self.swaps.restart_count),
            "restart_limit" => self.swaps.restart_limit.load(Ordering::Relaxed).to_string(),
            "bad_values" => number(&self.bad_values),
            "source" => self.source().to_owned(),
            "options" => self.options(),
            "gate" => if self.slot.is_closed() { "closed" } else { "open" }.to_owned(),
            "timeout_ms" => number(&self.swaps.timeout_ms),
            "pause_ns" => pause.as_nanos().to_string(),
            "swaps" => swaps.to_string(),
            "last_swap" => self.swaps.last_swap(),
            "sweep_left" => self.sweep_left().to_string(),
            "state_bytes" => self.swaps.kept_state().iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
            "layout" => self.layout().replace('\n', "\t"),
            _ => return None,
        })
    }

    /// Sets an attribute; acts are done when this returns.
    pub fn set_attribute(self: &Arc<Self>, name: &str, value: &str) -> Result<(), String> {
        let number = |least: u64, most: u64| match value.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!("{name}: {value:?} is no number from {least} to {most}")),
        };
        let done = |result: Result<(), SwapError>| result.map_err(|error| error.to_string());
        match name {
            "upgrade" => match value.parse() {
                Ok(version) => done(self.upgrade_to(version).map(drop)),
                Err(_) => done(self.upgrade_file(Path::new(value))),
            },
            "restart" => {
                number(1, 1)?;
                done(self.restart().map(drop))
            }
            "state" => {
                number(1, 1)?;
                done(self.snapshot().map(|state| self.swaps.keep_state(state)))
            }
            "timeout_ms" => {
                self.swaps.timeout_ms.store(number(1, 60_000)?, Ordering::Relaxed);
                Ok(())
            }
            "restart_limit" => {
                let limit = u32::try_from(number(0, i32::MAX as u64)?).unwrap_or(u32::MAX);
                self.swaps.restart_limit.store(limit, Ordering::Relaxed);
                Ok(())
            }
            "options" => self.reconfigure(value, self.is_read_only()).map_err(|errno| match self.take_last_error() {
                Some(reason) => format!("{reason} ({errno})"),
                None => errno.to_string(),
            }),
            "gate" => done(self.pause(Duration::from_millis(number(0, PAUSE_MS)?))),
            _ if self.attribute(name).is_some() => Err(format!("{name} is for reading")),
            _ => Err(format!("there is no {name}")),
        }
    }

    /// To the version in that object.
    pub fn upgrade_file(self: &Arc<Self>, path: &Path) -> Result<(), SwapError> {
        match Object::load(path) {
            Ok(object) => self.upgrade(object).map(drop),
            Err(error) => {
                let refused = SwapError { errno: Errno::ENODEV, reason: error.to_string() };
                self.not_loaded(refused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Harness, Health};

    #[test]
    fn a_restart_waits_for_a_pause_to_end() {
        let fs = Harness::mount::<bytesfs_v2::BytesFs>("").unwrap();
        std::thread::scope(|scope| {
            let pause = scope.spawn(|| fs.sb().set_attribute("gate", "300"));
            while fs.sb().attribute("gate").as_deref() == Some("open") {
                assert!(!pause.is_finished());
                std::thread::yield_now();
            }
            fs.poison();
            assert_eq!(fs.wait_for_restart(Duration::from_secs(60)), Health::Ok, "{}", fs.last_swap());
            assert_eq!(pause.join().unwrap(), Ok(()));
        });
        fs.unmount().unwrap();
        assert_eq!(fs.sb().set_attribute("gate", "0"), Err("it is being unmounted (no such device)".to_owned()));
    }
}
