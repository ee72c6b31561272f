// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Upgrade, downgrade, restart: asked for, waited for, reported.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::mounts::Mount;
use crate::table::{self, row};

/// The longest time to wait for what was asked for: the gate's timeout, and saving and loading.
const PATIENCE: Duration = Duration::from_secs(120);

pub enum Act {
    Up(Option<String>),
    Down(Option<String>),
    Restart,
}

/// `last_swap`, taken apart.
#[derive(Debug, Default, PartialEq)]
pub struct Last {
    pub seq: u64,
    pub ok: bool,
    pub what: String,
    pub from: u64,
    pub to: u64,
    pub figures: Vec<(String, u64)>,
    pub reason: String,
}

impl Last {
    pub fn parse(line: &str) -> Option<Last> {
        let (head, reason) = line.split_once(": ").unwrap_or((line, ""));
        let mut words = head.split_whitespace();
        let seq = words.next()?.parse().ok()?;
        let ok = match words.next()? {
            "none" => return Some(Last { seq, what: "none".to_owned(), ..Last::default() }),
            word => word == "ok",
        };
        let what = words.next()?.to_owned();
        let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let figures = words.filter_map(|word| word.split_once('='));
        let figures = figures.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect();
        Some(Last { seq, ok, what, from, to, figures, reason: reason.to_owned() })
    }

    pub fn of(mount: &Mount) -> Result<Last> {
        let line = mount.get("last_swap")?;
        Last::parse(&line).ok_or_else(|| anyhow!("{}: last_swap says {line:?}", mount.mountpoint))
    }

    pub fn figure(&self, name: &str) -> u64 {
        self.figures.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }

    pub fn json(&self) -> Value {
        if self.what == "none" {
            return Value::Null;
        }
        let mut value = json!({
            "seq": self.seq, "ok": self.ok, "what": self.what, "from": self.from, "to": self.to, "reason": self.reason,
        });
        for (name, figure) in &self.figures {
            value[name] = json!(figure);
        }
        value
    }
}

/// Does it to each mount, one after another; false when one refused.
pub fn swap(mounts: &[Mount], act: Act, json: bool) -> Result<bool> {
    let mut rows = vec![row(["MOUNT", "FS", "VERSION", "PAUSE", "DRAIN", "SAVE", "LOAD", "STATE", "INODES"])];
    let mut values = Vec::new();
    let mut good = true;
    for mount in mounts {
        let done = one(mount, &act);
        good &= done.as_ref().is_ok_and(|last| last.ok);
        if json {
            values.push(match &done {
                Ok(last) => json!({"mountpoint": mount.mountpoint, "fs": mount.fs, "swap": last.json()}),
                Err(error) => json!({"mountpoint": mount.mountpoint, "fs": mount.fs, "error": format!("{error:#}")}),
            });
            continue;
        }
        match done {
            Ok(last) if last.ok => {
                let time = |name: &str| table::time(last.figure(name));
                rows.push(vec![
                    mount.mountpoint.clone(),
                    mount.fs.clone(),
                    if last.what == "restart" {
                        format!("{} restarted", last.to)
                    } else {
                        format!("{} -> {}", last.from, last.to)
                    },
                    time("pause_ns"),
                    time("drain_ns"),
                    time("save_ns"),
                    time("load_ns"),
                    format!("{} bytes", last.figure("bytes")),
                    last.figure("inodes").to_string(),
                ]);
            }
            Ok(last) => {
                let stays = format!("version {} stays", last.from);
                eprintln!("bentoctl: {}: {} failed, {stays}: {}", mount.mountpoint, last.what, last.reason);
            }
            Err(error) => eprintln!("bentoctl: {}: {error:#}", mount.mountpoint),
        }
    }
    if json {
        println!("{:#}", Value::Array(values));
    } else if rows.len() > 1 {
        table::print(&rows);
    }
    Ok(good)
}

fn one(mount: &Mount, act: &Act) -> Result<Last> {
    let before = Last::of(mount)?.seq;
    let asked = match act {
        Act::Restart => mount.set("restart", "1"),
        Act::Up(to) => mount.set("upgrade", &destination(mount, to.as_deref(), true)?),
        Act::Down(to) => mount.set("upgrade", &destination(mount, to.as_deref(), false)?),
    };
    let began = Instant::now();
    loop {
        let last = Last::of(mount)?;
        if last.seq > before {
            return Ok(last);
        }
        // Nothing came of it.
        if let Err(error) = asked {
            return Err(error);
        }
        if began.elapsed() > PATIENCE {
            bail!("no end of it after {PATIENCE:?}; see `dmesg`");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A version's number, or an object that the daemon loads itself.
fn destination(mount: &Mount, to: Option<&str>, up: bool) -> Result<String> {
    let Some(to) = to else {
        let now = mount.version()?;
        let versions = mount.versions()?;
        let mut numbers = versions.iter().map(|(number, _)| *number);
        let found = if up { numbers.rfind(|number| *number > now) } else { numbers.rfind(|number| *number < now) };
        let (way, what) = if up { ("later", "upgrade") } else { ("earlier", "downgrade") };
        return match found {
            Some(number) => Ok(number.to_string()),
            None => bail!("version {now} runs and no {way} one is loaded: say which, `bentoctl {what} TARGET FILE`"),
        };
    };
    if to.parse::<u32>().is_ok() {
        return Ok(to.to_owned());
    }
    let path = Path::new(to).canonicalize().with_context(|| to.to_owned())?;
    let is_module = path.extension().is_some_and(|end| end == "ko");
    match (mount.is_kernel(), is_module) {
        (true, true) => Ok(insert(mount, &path)?.to_string()),
        (true, false) => bail!("{to}: a mount of the kernel takes modules (.ko)"),
        (false, true) => {
            bail!("{to}: a mount of a daemon takes objects (.so), as `cargo bento build --variant user` makes")
        }
        (false, false) => Ok(path.display().to_string()),
    }
}

/// Loads a module, unless it is there; the version it brings.
fn insert(mount: &Mount, path: &Path) -> Result<u32> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    // SAFETY: an open file, an empty string, no flags.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    let error = std::io::Error::last_os_error();
    if result != 0 && error.raw_os_error() != Some(libc::EEXIST) {
        bail!("{}: the kernel does not take it: {error}; see `dmesg`", path.display());
    }
    let module = path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
    let versions = mount.versions()?;
    let found = versions.iter().find(|(_, name)| *name == module);
    found.map(|(number, _)| *number).ok_or_else(|| anyhow!("{} is no version of {}", path.display(), mount.fs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_swap_is_taken_apart() {
        let last = Last::parse("7 ok upgrade 1 2 pause_ns=85000 drain_ns=3000 inodes=12").unwrap();
        assert_eq!((last.seq, last.ok, last.from, last.to), (7, true, 1, 2));
        assert_eq!((last.figure("pause_ns"), last.figure("inodes"), last.figure("nothing")), (85000, 12, 0));
        let last = Last::parse("8 failed upgrade 1 2 pause_ns=0 inodes=0: waited 1s for statfs: gave up").unwrap();
        assert!(!last.ok && last.reason == "waited 1s for statfs: gave up");
        assert_eq!(Last::parse("0 none").unwrap().seq, 0);
    }
}
