// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mounts and their attributes, by the same names whether the kernel or a daemon answers.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

const SYSFS: &str = "/sys/fs/bento";

/// Who answers for a mount.
#[derive(Clone)]
pub enum Door {
    /// `/sys/fs/bento/<fs>/<maj:min>`
    Kernel(PathBuf),
    /// A daemon's socket.
    Daemon(PathBuf),
}

#[derive(Clone)]
pub struct Mount {
    pub door: Door,
    pub fs: String,
    pub mountpoint: String,
    device: String,
}

impl Mount {
    pub fn get(&self, name: &str) -> Result<String> {
        match &self.door {
            Door::Kernel(folder) => {
                let path = folder.join(name);
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                Ok(text.trim_end().to_owned())
            }
            Door::Daemon(socket) => ask(socket, &format!("GET {name}")),
        }
    }

    /// For attributes that only one kind of mount has.
    pub fn try_get(&self, name: &str) -> Option<String> {
        self.get(name).ok()
    }

    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        match &self.door {
            Door::Kernel(folder) => fs::write(folder.join(name), value).map_err(|error| match error.raw_os_error() {
                Some(libc::ENOENT) if name == "upgrade" => anyhow!("version {value} is not loaded"),
                Some(libc::EBUSY) => anyhow!("another swap of this mount is going on"),
                Some(libc::EACCES | libc::EPERM) => anyhow!("{name}: only root may"),
                _ => anyhow!("{name}: {error}"),
            }),
            Door::Daemon(socket) => ask(socket, &format!("SET {name} {value}")).map(drop),
        }
    }

    /// The last snapshot.
    pub fn state_bytes(&self) -> Result<Vec<u8>> {
        match &self.door {
            Door::Kernel(folder) => Ok(fs::read(folder.join("state_bytes"))?),
            Door::Daemon(_) => {
                let text = self.get("state_bytes")?;
                let digits: Option<Vec<u8>> = text
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                    .collect();
                digits.context("the daemon's answer is not hexadecimal")
            }
        }
    }

    pub fn version(&self) -> Result<u32> {
        self.get("version")?.parse().context("version")
    }

    /// Number and module or object of each version that can be asked for.
    pub fn versions(&self) -> Result<Vec<(u32, String)>> {
        let text = match &self.door {
            Door::Kernel(folder) => fs::read_to_string(folder.with_file_name("versions"))?,
            Door::Daemon(_) => self.get("versions")?.replace('\t', "\n"),
        };
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let mut versions: Vec<(u32, String)> =
            lines.filter_map(|(number, place)| Some((number.parse().ok()?, place.to_owned()))).collect();
        versions.sort();
        Ok(versions)
    }

    pub fn is_kernel(&self) -> bool {
        matches!(self.door, Door::Kernel(_))
    }

    /// In words: `kernel`, or the daemon's process.
    pub fn server(&self) -> String {
        match &self.door {
            Door::Kernel(_) => "kernel".to_owned(),
            Door::Daemon(socket) => {
                let name = socket.file_name().unwrap_or_default().to_string_lossy();
                format!("process {}", name.split('.').next().unwrap_or("?"))
            }
        }
    }
}

/// One request, one answer.
fn ask(socket: &Path, request: &str) -> Result<String> {
    let place = || socket.display().to_string();
    let mut stream = UnixStream::connect(socket).with_context(place)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    writeln!(stream, "{request}").with_context(place)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).with_context(place)?;
    let answer = answer.trim_end_matches('\n');
    match answer.split_once(' ').unwrap_or((answer, "")) {
        ("OK", text) => Ok(text.to_owned()),
        ("ERR", reason) => Err(anyhow!("{reason}")),
        _ => bail!("{}: no answer to `{request}`", place()),
    }
}

/// Every mount there is.
pub fn all() -> Vec<Mount> {
    let places = Mountinfo::read();
    let mut mounts = Vec::new();
    for fs in entries(Path::new(SYSFS)) {
        for folder in entries(&fs) {
            let device = name_of(&folder);
            if folder.is_dir() && device.contains(':') {
                let mountpoint = places.by_device.get(&device).cloned().unwrap_or_else(|| "(nowhere)".to_owned());
                mounts.push(Mount { fs: name_of(&fs), mountpoint, device, door: Door::Kernel(folder) });
            }
        }
    }
    for socket in sockets() {
        let asked = |name: &str| ask(&socket, &format!("GET {name}")).ok();
        let (Some(fs), Some(mountpoint)) = (asked("fs"), asked("mountpoint")) else { continue };
        let device = places.by_place.get(&mountpoint).cloned().unwrap_or_default();
        mounts.push(Mount { fs, mountpoint, device, door: Door::Daemon(socket.clone()) });
    }
    mounts.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
    mounts
}

/// Daemons' sockets: this user's, the system's and, for root, everybody's.
fn sockets() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/run/bento")];
    folders.extend(env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("bento")));
    folders.extend(entries(Path::new("/run/user")).into_iter().map(|dir| dir.join("bento")));
    folders.sort();
    folders.dedup();
    let mut sockets: Vec<PathBuf> = folders.iter().flat_map(|folder| entries(folder)).collect();
    sockets.retain(|path| path.extension().is_some_and(|end| end == "sock"));
    sockets
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `/proc/self/mountinfo`, both ways.
#[derive(Default)]
struct Mountinfo {
    by_device: HashMap<String, String>,
    by_place: HashMap<String, String>,
}

impl Mountinfo {
    fn read() -> Mountinfo {
        let mut info = Mountinfo::default();
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            if let [_, _, device, _, place, ..] = fields.as_slice() {
                let place = unescape(place);
                info.by_device.entry((*device).to_owned()).or_insert_with(|| place.clone());
                // The last mount on a place is the one that is seen.
                info.by_place.insert(place, (*device).to_owned());
            }
        }
        info
    }
}

/// `\040` and its kin.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// All mounts, or those of a target.
pub fn chosen(target: Option<&str>) -> Result<Vec<Mount>> {
    target.map_or_else(|| Ok(all()), named)
}

/// The mounts that a target names; at least one.
pub fn named(target: &str) -> Result<Vec<Mount>> {
    let mounts = all();
    let by_name: Vec<Mount> = mounts.iter().filter(|mount| mount.fs == target).cloned().collect();
    if !target.contains('/') && !by_name.is_empty() {
        return Ok(by_name);
    }
    let path = Path::new(target);
    let full = path.canonicalize().map_or_else(|_| target.to_owned(), |path| path.display().to_string());
    if let Some(mount) = mounts.iter().find(|mount| mount.mountpoint == full) {
        return Ok(vec![mount.clone()]);
    }
    let status = match path.metadata() {
        Ok(status) => status,
        Err(_) if !target.contains('/') => bail!("{target}: no such file system is mounted, and it is no path"),
        Err(error) => bail!("{target}: {error}"),
    };
    let device = format!("{}:{}", libc::major(status.dev()), libc::minor(status.dev()));
    match mounts.iter().find(|mount| mount.device == device) {
        Some(mount) => Ok(vec![mount.clone()]),
        None => bail!(
            "{target}: not on a bento mount that answers; mounted are {}",
            match mounts.as_slice() {
                [] => "none".to_owned(),
                mounts => mounts.iter().map(|mount| mount.mountpoint.clone()).collect::<Vec<_>>().join(", "),
            }
        ),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn mount_points_may_hold_blanks() {
        assert_eq!(super::unescape(r"/mnt/a\040b\134c"), r"/mnt/a b\c");
        assert_eq!(super::unescape(r"/mnt/\9"), r"/mnt/\9");
    }
}
