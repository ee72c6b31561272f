// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The stages over FUSE. They run in user-mode Linux, where the daemon may be root, `/dev/fuse` is there for sure and a
//! mount that hangs goes away with the guest. The daemon is this program, its file systems the shared objects.

use std::time::Duration;

use anyhow::{Context, Result};

use super::guest::{projects, run, setting};
use super::{Place, Stage, Tally, tools};
use crate::vm::{Disk, RunSpec};
use crate::{build, fetch};

/// `script` and its arguments, with the objects of the file systems beside it: `objects/memfs.so`, `objects/memfs_v2.so`…
pub(super) fn spec<'k>(place: &Place, stage: &Stage, kernel: &'k fetch::Kernel, script: &str) -> Result<RunSpec<'k>> {
    let (file, arguments) = script.split_once(' ').unwrap_or((script, ""));
    let mut spec = RunSpec::new(kernel, &[&format!("bash /bento/suites/{file}.sh {arguments}")]);
    // A file system, which may be followed by options for the mke2fs that makes its disk.
    let (fs, mkfs) = stage.fs.split_once(' ').unwrap_or((stage.fs, ""));
    let names: &[&str] = match fs {
        "" => &["memfs", "memfs_v2", "bytesfs", "bytesfs_v2", "hellofs"],
        fs => &[fs],
    };
    for project in projects(&place.root, names)? {
        let object = build::user::shared_object(&project, &[])?;
        spec = spec.file(object, &format!("objects/{}.so", project.package));
    }
    let program = std::env::current_exe().context("this program does not know its own path")?;
    spec = spec.file(place.root.join("tests/suites"), "suites").file(tools::programs(place)?, "bin");
    spec = spec.file(program, "cargo-bento");
    setting(&mut spec, "FS", if fs.is_empty() { "memfs" } else { fs });
    setting(&mut spec, "MKFS", mkfs);
    if !fs.is_empty() {
        spec.disks.push(Disk::Scratch(600));
    }
    spec.mem = 1024;
    spec.timeout = Duration::from_secs(60 * stage.minutes - 30);
    Ok(spec)
}

pub fn fuse(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel("uml")?;
    run(place, stage, &spec(place, stage, &kernel, "fuse daemon")?)
}

pub fn disk(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel("uml")?;
    run(place, stage, &spec(place, stage, &kernel, "fuse-disk")?)
}

pub fn pjdfstest(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel("uml")?;
    run(place, stage, &spec(place, stage, &kernel, "fuse pjdfstest")?)
}

pub fn fsx(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel("uml")?;
    let mut spec = spec(place, stage, &kernel, "fuse fsx")?;
    setting(&mut spec, "OPERATIONS", if stage.fs.is_empty() { "100000" } else { "50000" });
    setting(&mut spec, "SEEDS", "1 2 3 4 5");
    run(place, stage, &spec)
}
