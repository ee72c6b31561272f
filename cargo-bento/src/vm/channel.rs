// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The host's end of a guest's channels: copies output to where the caller wants it while it arrives, and waits for
//! the end of a guest without letting it live past its time.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{End, Output};

/// Copies `from` until its end.
pub fn pump(mut from: impl Read + Send + 'static, output: Output, to_stderr: bool) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..count]);
            if output == Output::Stream {
                // A reader of ours that has gone (`| head`) does not stop the guest.
                let _ = if to_stderr {
                    std::io::stderr().write_all(&buffer[..count])
                } else {
                    let mut stdout = std::io::stdout().lock();
                    stdout.write_all(&buffer[..count]).and_then(|()| stdout.flush())
                };
            }
        }
        kept
    })
}

/// What a pump has copied, as text.
pub fn collect(pump: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&pump.join().unwrap_or_default()).into_owned()
}

/// Waits until `exit_code` knows the command's exit code, the guest ends, or its time is over; the guest is gone after.
pub fn wait(child: &mut Child, limit: Duration, mut exit_code: impl FnMut() -> Option<u8>) -> Result<End> {
    let started = Instant::now();
    let end = loop {
        if let Some(code) = exit_code() {
            break End::Exited(code);
        }
        if child.try_wait().context("the guest cannot be waited for")?.is_some() {
            // The code may have come with the guest's last breath.
            break exit_code().map_or(End::Died, End::Exited);
        }
        if started.elapsed() > limit {
            break End::TimedOut;
        }
        thread::sleep(Duration::from_millis(10));
    };
    kill(child);
    Ok(end)
}

/// Ends the guest and every process it started (user-mode Linux has one per address space).
pub fn kill(child: &mut Child) {
    let mut family = descendants(child.id());
    // User-mode Linux leads a process group. One that it is just starting is in no list yet, would stay behind stopped, and
    // would hold our pipes open for ever.
    sigkill(&[format!("-{}", child.id())]);
    let _ = child.kill();
    let _ = child.wait();
    family.retain(|pid| Path::new(&format!("/proc/{pid}")).exists());
    if !family.is_empty() {
        sigkill(&family.iter().map(u32::to_string).collect::<Vec<_>>());
    }
}

fn sigkill(processes: &[String]) {
    let _ = Command::new("kill").args(["-KILL", "--"]).args(processes).stderr(Stdio::null()).status();
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                found.push(child);
                parents.push(child);
            }
        }
    }
    found
}

/// The exit code in a line of the control channel.
pub fn parse_exit(text: &str) -> Option<u8> {
    let line = text.lines().find_map(|line| line.strip_prefix("exit "))?;
    text.contains('\n').then(|| line.trim().parse().ok())?
}

/// Unpacks a tar archive into `dir`.
pub fn untar(archive: &[u8], dir: &Path) -> io::Result<()> {
    let mut tar = Command::new("tar").arg("x").arg("-C").arg(dir).stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = tar.stdin.take() {
        stdin.write_all(archive)?;
    }
    if tar.wait()?.success() { Ok(()) } else { Err(io::Error::other("tar cannot unpack what the guest sent")) }
}

/// `program`, told to end if we are killed (user-mode Linux then ends its helpers, which SIGKILL would leave), without core
/// files: a guest that panics aborts.
pub fn guest_command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "prlimit", "--core=0", "--"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_leaves_behind_in_its_group_ends_with_it() {
        // The inner shell ends at once, so that the outer one is no ancestor of the sleep that it started.
        let mut guest = Command::new("setsid");
        guest.args(["sh", "-c", "sh -c 'sleep 1000 & kill -STOP $!'; echo ready; exec sleep 1000"]);
        let mut child = guest.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut ready = [0; 6];
        out.read_exact(&mut ready).unwrap();
        kill(&mut child);
        assert_eq!(collect(pump(out, Output::Keep, false)), "");
    }
}
