// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `bentoctl provenance`: the attribute `user.provenance`, as version 2 of memfs and of rext4 write it, in a table.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::table::{self, row};

const ATTRIBUTE: &std::ffi::CStr = c"user.provenance";
/// Names looked at, to tell which files numbers mean.
const NAMES: usize = 200_000;

/// One line: `SECONDS.NANOS EVENT pid=N comm=NAME uid=N [name=NAME] [from=INO,…[,+N]]`.
#[derive(Debug, Default, PartialEq)]
struct Event {
    when: String,
    what: String,
    words: HashMap<String, String>,
}

impl Event {
    fn parse(line: &str) -> Option<Event> {
        let mut words = line.split_whitespace();
        let (when, what) = (words.next()?.to_owned(), words.next()?.to_owned());
        let pairs = words.filter_map(|word| word.split_once('='));
        Some(Event { when, what, words: pairs.map(|(name, value)| (name.to_owned(), unescape(value))).collect() })
    }

    fn word(&self, name: &str) -> &str {
        self.words.get(name).map_or("", String::as_str)
    }

    /// Inode numbers, and how many more there were.
    fn from(&self) -> (Vec<u64>, u64) {
        let (mut numbers, mut more) = (Vec::new(), 0);
        for word in self.word("from").split(',') {
            match word.strip_prefix('+') {
                Some(rest) => more = rest.parse().unwrap_or(0),
                None => numbers.extend(word.parse::<u64>().ok()),
            }
        }
        (numbers, more)
    }
}

/// `\x20` and its kin; what is not printable stays as it is.
fn unescape(word: &str) -> String {
    let mut parts = word.split("\\x");
    let mut text = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte >= b' ' && byte != 0x7f => {
                text.push(byte);
                text.extend_from_slice(&part.as_bytes()[2..]);
            }
            _ => text.extend_from_slice(format!("\\x{part}").as_bytes()),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

pub fn print(path: &Path, json: bool) -> Result<bool> {
    let text = attribute(path)?;
    let events: Vec<Event> = text.lines().filter_map(Event::parse).collect();
    let names = names(path, &events);
    let source = |ino: u64| names.get(&ino).map_or_else(|| format!("inode {ino}"), |path| path.display().to_string());
    if json {
        let values = events.iter().map(|event| {
            let (from, more) = event.from();
            json!({
                "time": event.when, "event": event.what, "pid": event.word("pid").parse::<u64>().ok(),
                "comm": event.word("comm"), "uid": event.word("uid").parse::<u64>().ok(),
                "name": event.words.get("name"),
                "from": from.iter().map(|ino| json!({"ino": ino, "path": names.get(ino)})).collect::<Vec<_>>(),
                "more_sources": more,
            })
        });
        println!("{:#}", Value::Array(values.collect()));
        return Ok(true);
    }
    let mut rows = vec![row(["WHEN", "EVENT", "PID", "PROGRAM", "UID", "NAME", "HAD READ"])];
    for event in &events {
        let (from, more) = event.from();
        let mut sources: Vec<String> = from.iter().map(|ino| source(*ino)).collect();
        if more > 0 {
            sources.push(format!("and {more} more"));
        }
        let word = |name: &str| event.word(name).to_owned();
        rows.push(vec![
            local_time(&event.when),
            event.what.clone(),
            word("pid"),
            word("comm"),
            word("uid"),
            word("name"),
            sources.join(", "),
        ]);
    }
    match events.is_empty() {
        true => println!("{}: nothing is known of it", path.display()),
        false => table::print(&rows),
    }
    Ok(true)
}

fn attribute(path: &Path) -> Result<String> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut value = vec![0u8; 65536];
    // SAFETY: two NUL-terminated strings, and a buffer with its length.
    let len = unsafe { libc::lgetxattr(name.as_ptr(), ATTRIBUTE.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let Ok(len) = usize::try_from(len) else {
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENODATA) => bail!("{}: nothing is known of it: it has not been touched since", path.display()),
            Some(libc::EOPNOTSUPP) => bail!("{}: its file system does not tell where files come from", path.display()),
            _ => return Err(error).with_context(|| path.display().to_string()),
        }
    };
    value.truncate(len);
    Ok(String::from_utf8_lossy(&value).into_owned())
}

/// The paths of the inodes that events name, as far as they have some on this mount; looked for only if there are any.
fn names(path: &Path, events: &[Event]) -> HashMap<u64, PathBuf> {
    let mut wanted: Vec<u64> = events.iter().flat_map(|event| event.from().0).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = HashMap::new();
    let Some((root, device)) = mount_root(path).filter(|_| !wanted.is_empty()) else { return found };
    let mut folders = vec![root];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > NAMES || found.len() == wanted.len() {
                return found;
            }
            let Ok(status) = entry.metadata() else { continue };
            if status.dev() != device {
                continue;
            }
            if wanted.binary_search(&status.ino()).is_ok() {
                found.insert(status.ino(), entry.path());
            }
            if status.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// The folder above which another mount begins.
fn mount_root(path: &Path) -> Option<(PathBuf, u64)> {
    let path = path.canonicalize().ok()?;
    let device = path.symlink_metadata().ok()?.dev();
    let on_it = |path: &&Path| path.symlink_metadata().is_ok_and(|status| status.dev() == device);
    let root = path.ancestors().take_while(on_it).last()?;
    Some((root.to_owned(), device))
}

/// Seconds since the epoch as a clock shows them here.
fn local_time(when: &str) -> String {
    let (seconds, nanoseconds) = when.split_once('.').unwrap_or((when, "0"));
    let Ok(seconds) = seconds.parse::<libc::time_t>() else { return when.to_owned() };
    // SAFETY: both are ours; all-zero is a valid `tm`.
    let time = unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&seconds, &mut time).is_null() {
            return when.to_owned();
        }
        time
    };
    let milliseconds = format!("{nanoseconds:0>9}");
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{}",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec,
        &milliseconds[..3]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_taken_apart() {
        let event = Event::parse(r"1700000000.000000042 write pid=7 comm=g\x20it uid=0 from=12,13,+4").unwrap();
        assert_eq!((event.what.as_str(), event.word("comm"), event.word("name")), ("write", "g it", ""));
        assert_eq!(event.from(), (vec![12, 13], 4));
        assert_eq!(unescape(r"a\x0ab"), r"a\x0ab");
        assert!(Event::parse("").is_none());
    }
}
