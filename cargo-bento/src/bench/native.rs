// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What counting instructions cannot see, measured in time on the machine itself: an empty call in user-mode Linux, which
//! runs a kernel's code natively, and a git clone over FUSE beside tmpfs. Machines are shared, so the sides take turns and
//! the best round counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{daemon, median, spread};
use crate::project::Project;
use crate::suites::{Place, guest, tools};
use crate::vm::{self, Output, RunSpec};
use crate::{build, fetch, ui};

/// Counted rounds; there is one more before them.
const ROUNDS: usize = 7;
/// In a run, which must be shorter than the time between two interruptions, and runs in a round.
const CALLS: u64 = 1000;
const RUNS: u64 = 1000;

/// Nanoseconds of each round, by side.
type Times = BTreeMap<String, Vec<u64>>;

fn best(times: &Times, side: &str) -> f64 {
    times.get(side).and_then(|values| values.iter().min()).map_or(f64::NAN, |value| *value as f64)
}

/// One getattr inside a kernel in user mode; the difference between an empty handler and none is the call.
pub fn call(place: &Place) -> Result<String> {
    let kernel = fetch::kernel("uml")?;
    let dir = place.out.join("bench/call");
    fs::create_dir_all(&dir)?;
    for file in ["call.c", "Kbuild"] {
        let from = place.root.join("tests/suites/call").join(file);
        fs::copy(&from, dir.join(file)).with_context(|| format!("{} cannot be read", from.display()))?;
    }
    let mut make = Command::new("make");
    make.arg("-C").arg(&kernel.headers_dir).arg(format!("ARCH={}", kernel.make_arch()));
    make.arg(format!("M={}", dir.display())).arg("modules");
    ui::run(&mut make, "the module that times a call does not build")?;
    let built = build::modules(&guest::projects(&place.root, &["memfs", "hellofs"])?, &kernel, &[])?;
    let mut spec = RunSpec::new(&kernel, &["bash /bento/suites/call.sh"]).module(built.bento);
    for module in built.file_systems {
        spec = spec.module(module);
    }
    spec = spec.file(place.root.join("tests/suites"), "suites").file(dir.join("call.ko"), "call.ko");
    spec.env.push(("CALLS".to_owned(), CALLS.to_string()));
    spec.env.push(("RUNS".to_owned(), RUNS.to_string()));
    spec.env.push(("ROUNDS".to_owned(), (ROUNDS + 1).to_string()));
    spec.output = Output::Keep;
    let outcome = vm::boot(&spec)?;
    if outcome.verdict(&spec)? != 0 {
        bail!("the timing of a call failed: {}{}", outcome.stdout, outcome.stderr);
    }
    let times = times(&outcome.stdout);
    let each = |side: &str| best(&times, side) / CALLS as f64;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "In time: {:.0} ns. Measured natively, by `vfs_getattr` in a row inside user-mode Linux, which has none of the \
         mitigations a stock kernel's code is compiled with: memfs {:.0} ns, hellofs {:.0} ns, tmpfs {:.0} ns, each the \
         best of {ROUNDS} rounds in turns, a round the shortest of {RUNS} runs of {CALLS} calls (medians of the rounds \
         {:.0}, {:.0}, {:.0} ns).",
        each("memfs") - each("hellofs"),
        each("memfs"),
        each("hellofs"),
        each("tmpfs"),
        middle(&times, "memfs") / CALLS as f64,
        middle(&times, "hellofs") / CALLS as f64,
        middle(&times, "tmpfs") / CALLS as f64,
    );
    Ok(text)
}

fn middle(times: &Times, side: &str) -> f64 {
    times.get(side).map_or(f64::NAN, |values| median(values))
}

/// Lines "ns SIDE NANOSECONDS"; the first of each side is left out.
fn times(output: &str) -> Times {
    let mut times = Times::new();
    for line in output.lines() {
        if let ["ns", side, value] = line.split_whitespace().collect::<Vec<_>>()[..] {
            times.entry(side.to_owned()).or_default().extend(value.parse::<u64>());
        }
    }
    for values in times.values_mut() {
        values.remove(0);
    }
    times
}

/// A memfs mounted by the daemon; ended and removed when dropped.
struct Mounted {
    daemon: Child,
    dir: PathBuf,
}

impl Mounted {
    fn new(place: &Place) -> Result<Mounted> {
        let dir = std::env::temp_dir().join(format!("bento-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("{} cannot be created", dir.display()))?;
        let memfs = Project::open(&place.root.join("examples/memfs"))?;
        let library = build::user::shared_object(&memfs, &[])?;
        let mut command = Command::new(daemon(place)?);
        command.arg("mount").arg(library).arg(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut mounted = Mounted { daemon: command.spawn().context("the FUSE daemon cannot be started")?, dir };
        for _ in 0..200 {
            let mounts = fs::read_to_string("/proc/mounts")?;
            if mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*mounted.dir.to_string_lossy())) {
                return Ok(mounted);
            }
            if let Some(status) = mounted.daemon.try_wait()? {
                bail!("the FUSE daemon ended at once ({status}): is /dev/fuse there?");
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("the FUSE daemon does not mount {}", mounted.dir.display())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-u").arg(&self.dir).status();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir(&self.dir);
    }
}

/// `git clone` over FUSE and on this machine's tmpfs, in turns; the paragraph about it. `counted` is the ratio that
/// counting instructions gave.
pub fn clone(place: &Place, counted: Option<f64>) -> Result<String> {
    const SHARED: &str = "/dev/shm";
    let mounts = fs::read_to_string("/proc/mounts")?;
    if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(SHARED) && line.split(' ').nth(2) == Some("tmpfs")) {
        bail!("{SHARED} is no tmpfs here, so there is nothing to compare with");
    }
    let (repository, files) = tools::repository()?;
    let repository = repository.join("repository.git");
    let tmpfs = Path::new(SHARED).join(format!("bento-bench-{}", std::process::id()));
    fs::create_dir_all(&tmpfs)?;
    let mounted = Mounted::new(place)?;
    let mut times = Times::new();
    for round in 0..=ROUNDS {
        for (side, dir) in [("tmpfs", &tmpfs), ("memfs-fuse", &mounted.dir)] {
            let to = dir.join("clone");
            let since = Instant::now();
            ui::run(
                Command::new("git").args(["clone", "-q", "--no-hardlinks"]).arg(&repository).arg(&to),
                "git clone failed",
            )?;
            let took = since.elapsed();
            fs::remove_dir_all(&to).with_context(|| format!("{} cannot be removed", to.display()))?;
            if round > 0 {
                times.entry(side.to_owned()).or_default().push(took.as_nanos() as u64);
            }
        }
    }
    fs::remove_dir(&tmpfs)?;
    let shown = |side: &str| {
        let values = times.get(side).cloned().unwrap_or_default();
        format!("{:.2} s (median {:.2} s ±{:.0} %)", best(&times, side) / 1e9, median(&values) / 1e9, spread(&values))
    };
    let ratio = best(&times, "memfs-fuse") / best(&times, "tmpfs");
    let mut text = format!(
        "`git clone` of {files} files over FUSE against the kernel, both ways of measuring: {} by instructions; {ratio:.2} by \
         the clock, natively, memfs over FUSE {} against tmpfs {}, best of {ROUNDS} rounds in turns.",
        counted.map_or("–".to_owned(), |counted| format!("{counted:.2}")),
        shown("memfs-fuse"),
        shown("tmpfs"),
    );
    text += " The clock compares with tmpfs because no module of ours is loaded into the machine's own kernel.\n";
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_side_is_left_out_and_the_best_counts() {
        let times = times("ns memfs 900\nns tmpfs 5\nns memfs 200\nns tmpfs 7\nns memfs 100\n");
        assert_eq!(times["memfs"], [200, 100]);
        assert_eq!(best(&times, "memfs"), 100.0);
        assert_eq!(best(&times, "tmpfs"), 7.0);
    }
}
