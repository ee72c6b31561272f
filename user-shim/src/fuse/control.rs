// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The daemon's socket, `$XDG_RUNTIME_DIR/bento/<pid>.sock` or `/run/bento/<pid>.sock`: one request a connection, `GET name`
//! or `SET name value`, answered by `OK text` or `ERR reason`. `bentoctl` is the client.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::superblock::Super;

/// Longest request: a path and a word or two.
const REQUEST: u64 = 8192;

/// Folders that daemons put their sockets in.
pub fn folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("bento"),
        None => PathBuf::from("/run/bento"),
    }
}

/// The listening socket; dropped, it is gone.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    /// The listener, to be shut down.
    door: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Only this user may talk to it.
    pub fn listen(sb: &Arc<Super>, mountpoint: &Path) -> io::Result<Control> {
        let folder = folder();
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = free_name(&folder);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let door = UnixStream::from(OwnedFd::from(listener.try_clone()?));
        let (sb, mountpoint) = (Arc::downgrade(sb), mountpoint.to_owned());
        let thread = std::thread::Builder::new().name("bento-control".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                let stream = match stream {
                    Ok(stream) => stream,
                    // EINVAL: it has been shut down.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                    // No descriptor, no memory: there may be in a moment.
                    Err(_) => {
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    }
                };
                let (sb, mountpoint) = (Weak::clone(&sb), mountpoint.clone());
                // An upgrade takes its time, and others want to ask meanwhile.
                let _ = std::thread::Builder::new()
                    .name("bento-request".to_owned())
                    .spawn(move || drop(serve(stream, &sb, &mountpoint)));
            }
        })?;
        Ok(Control { path, door, thread: Some(thread) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Not by its name: whoever cleans the folder may have taken that away.
        let woken = self.door.shutdown(Shutdown::Both).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// `<pid>.sock`, or with a number for another mount of the same program. No number is given twice: mounts that begin and
/// end at once must not take each other's. What a dead program left is in nobody's way.
fn free_name(folder: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    loop {
        let path = folder.join(match NEXT.fetch_add(1, Ordering::Relaxed) {
            0 => format!("{pid}.sock"),
            number => format!("{pid}.{number}.sock"),
        });
        // Somebody answers: a program that has our number in another namespace.
        if UnixStream::connect(&path).is_err() {
            let _ = fs::remove_file(&path);
            return path;
        }
    }
}

fn serve(mut stream: UnixStream, sb: &Weak<Super>, mountpoint: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut line = String::new();
    BufReader::new(&stream).take(REQUEST).read_line(&mut line)?;
    let line = line.trim_end_matches('\n');
    let answer = match sb.upgrade() {
        None => Err("it is being unmounted".to_owned()),
        Some(sb) => answer(line, &sb, mountpoint),
    };
    let (word, text) = match &answer {
        Ok(text) => ("OK", text),
        Err(text) => ("ERR", text),
    };
    writeln!(stream, "{word} {}", text.replace('\n', " "))
}

fn answer(line: &str, sb: &Arc<Super>, mountpoint: &Path) -> Result<String, String> {
    match line.splitn(3, ' ').collect::<Vec<_>>().as_slice() {
        ["GET", "mountpoint"] => Ok(mountpoint.display().to_string()),
        ["GET", name] => sb.attribute(name).ok_or_else(|| format!("there is no {name}")),
        ["SET", name, value] => sb.set_attribute(name, value.trim_end()).map(|()| String::new()),
        _ => Err("say `GET name` or `SET name value`".to_owned()),
    }
}
