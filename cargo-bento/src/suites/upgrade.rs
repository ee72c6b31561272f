// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The stages that replace a running file system: what survives, what is refused, and storms of it. The same script in
//! stock kernels, in user-mode Linux and over FUSE; how often each act is repeated is what the place can do in minutes.

use anyhow::Result;

use super::guest::{self, Modules, limited, setting};
use super::{Place, Stage, Tally, tools, user};
use crate::fetch::{self, Arch};
use crate::vm::{Disk, RunSpec};

/// Parts of `tests/suites/upgrade.sh`.
const ONCE: &str = "survive refuse mend modules tool";
const OLDER: &str = "survive modules";
const STORM: &str = "storm faulty restarts";
const FUSE: &str = "survive refuse mend tool storm faulty restarts";

const MODULES: [&str; 4] = ["memfs", "memfs_v2", "bytesfs", "bytesfs_v2"];

/// How many times: swaps of each storm, with so many milliseconds of rest; restarts.
struct Times(u32, u32, u32);

pub fn once(place: &Place, stage: &Stage) -> Result<Tally> {
    in_kernel(place, stage, ONCE, Times(0, 0, 0))
}

/// What depends on the kernel's version.
pub fn once_older(place: &Place, stage: &Stage) -> Result<Tally> {
    in_kernel(place, stage, OLDER, Times(0, 0, 0))
}

/// The full counts.
pub fn storm(place: &Place, stage: &Stage) -> Result<Tally> {
    in_kernel(place, stage, STORM, Times(1000, 30, 1000))
}

/// Under detectors everything is slow.
pub fn storm_few(place: &Place, stage: &Stage) -> Result<Tally> {
    in_kernel(place, stage, STORM, Times(100, 100, 100))
}

fn in_kernel(place: &Place, stage: &Stage, parts: &str, times: Times) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = limited(guest::spec(place, &kernel, &MODULES, "upgrade")?, stage);
    // An instance that was abandoned is leaked on purpose (SAFETY.md C2), and kmemleak cannot know.
    spec.kmemleak = false;
    // Emulated processors and instrumented kernels sweep slowly.
    if kernel.name != "uml" {
        setting(&mut spec, "SMALL", "1");
    }
    // Slim user-mode Linux has one processor and no preemption at all.
    setting(&mut spec, "SLOW", if kernel.name == "uml" { "" } else { "1" });
    // User-mode Linux is built without CONFIG_FTRACE, and so without tracepoints.
    setting(&mut spec, "TRACE", if kernel.arch == Arch::Um { "" } else { "1" });
    setting(&mut spec, "WHERE", "kernel");
    guest::run(place, stage, &tuned(place, spec, parts, times)?)
}

pub fn over_fuse(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel("uml")?;
    let mut spec = user::spec(place, stage, &kernel, "upgrade")?;
    setting(&mut spec, "WHERE", "fuse");
    setting(&mut spec, "SLOW", "1");
    guest::run(place, stage, &tuned(place, spec, FUSE, Times(100, 100, 100))?)
}

/// Handlers that panic in the middle of what they do.
const PANICS: &str = "all create mkdir symlink link unlink rmdir rename setattr setxattr lookup iterate evict_inode";
const FEW_PANICS: &str = "all create unlink rename setxattr";

/// rext4 on a disk; emulated and instrumented kernels are slow.
pub fn disk(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let modules = Modules { names: &["rext4", "rext4_v2"], features: &["faults"] };
    let mut spec = limited(guest::spec_with(place, &kernel, &modules, "upgrade-disk")?, stage);
    spec.disks.push(Disk::Scratch(600));
    // An instance that was abandoned is leaked on purpose (SAFETY.md C2), and kmemleak cannot know.
    spec.kmemleak = false;
    setting(&mut spec, "MKFS", "-J size=8");
    let (times, panics, turns) = match stage.kernel {
        "uml" => (Times(300, 30, 60), PANICS, "20"),
        _ => (Times(24, 100, 10), FEW_PANICS, "6"),
    };
    setting(&mut spec, "OPS", panics);
    setting(&mut spec, "TURNS", turns);
    guest::run(place, stage, &tuned(place, spec, "survive storm panics writeback restarts", times)?)
}

fn tuned<'k>(place: &Place, mut spec: RunSpec<'k>, parts: &str, times: Times) -> Result<RunSpec<'k>> {
    let (repository, _) = tools::repository()?;
    spec = spec.file(repository.join("repository.git"), "repository.git");
    spec = spec.file(tools::bentoctl(place)?, "tool/bentoctl");
    setting(&mut spec, "PARTS", parts);
    setting(&mut spec, "SWAPS", &times.0.to_string());
    setting(&mut spec, "REST", &times.1.to_string());
    setting(&mut spec, "RESTARTS", &times.2.to_string());
    Ok(spec)
}
