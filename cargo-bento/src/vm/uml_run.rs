// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A guest in user-mode Linux: the kernel is a process, its console three file descriptors. The payload is a folder of
//! the host seen through hostfs, the root disk the same image as QEMU's under a copy-on-write file.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::stage::{self, RunDir};
use super::{Disk, Outcome, RunSpec, channel, gdb, guest, log};
use crate::fetch::cache;
use crate::ui;

/// Boots, runs and ends one guest.
pub fn boot(spec: &RunSpec) -> Result<Outcome> {
    let run = RunDir::new()?;
    let payload = stage::payload(spec, &run)?;
    let interactive = spec.command.is_empty();
    let mut linux = command(spec, &run, &payload)?;
    // Descriptor 1 is the command's standard output, 2 the kernel's log. There is no fourth one to be had without
    // unsafe code, so the command's standard error takes 0, whose reading nobody would miss.
    let (err_reader, err_writer) = io::pipe().context("no pipe")?;
    let console = fs::File::create(run.join("console.log"))?;
    if interactive {
        linux.stdin(Stdio::inherit()).stdout(Stdio::inherit());
    } else {
        linux.stdin(Stdio::from(err_writer)).stdout(Stdio::piped());
    }
    linux.stderr(console);
    let mut child =
        linux.spawn().context("user-mode Linux cannot be started: remove it from the cache and try again")?;
    // The command keeps the pipe's writing end open, which would hide the end of the guest from the reader.
    drop(linux);
    let out = child.stdout.take().map(|out| channel::pump(out, spec.output, false));
    let err = (!interactive).then(|| channel::pump(err_reader, spec.output, true));
    if let Some(session) = &spec.gdb {
        gdb::attach(session, spec, &run, &mut child)?;
    }
    let limit = if interactive || spec.gdb.is_some() { Duration::MAX } else { spec.timeout };
    let control = run.join("out/ctl");
    let end = channel::wait(&mut child, limit, || channel::parse_exit(&fs::read_to_string(&control).ok()?))?;
    let results = run.join("out/results");
    if let Some(dir) = &spec.results
        && results.exists()
    {
        fs::create_dir_all(dir).with_context(|| format!("{} cannot be created", dir.display()))?;
        channel::untar(&fs::read(&results)?, dir).context("the guest's results are damaged")?;
    }
    let log = String::from_utf8_lossy(&fs::read(run.join("console.log"))?).into_owned();
    Ok(Outcome {
        end,
        stdout: out.map(channel::collect).unwrap_or_default(),
        stderr: err.map(channel::collect).unwrap_or_default(),
        faults: log::faults(&log, &spec.allow),
        log,
    })
}

fn command(spec: &RunSpec, run: &RunDir, payload: &Path) -> Result<Command> {
    let mut linux = channel::guest_command(&spec.kernel.vmlinuz.to_string_lossy());
    let out = run.join("out");
    let mut arg = |text: String| {
        linux.arg(text);
    };
    arg(format!("mem={}M", spec.mem));
    arg(format!("uml_dir={}", run.join("uml").display()));
    arg("umid=guest".to_owned());
    arg(format!("ubd0={},{}", run.join("root.cow").display(), guest::root_image()?.display()));
    for (index, disk) in spec.disks.iter().enumerate() {
        let Disk::Scratch(mib) = disk else { bail!("user-mode Linux records no disk's writes") };
        let image = run.join(&format!("disk{index}"));
        fs::File::create(&image)?.set_len(mib << 20)?;
        arg(format!("ubd{}={}", index + 1, image.display()));
    }
    for word in ["root=/dev/ubda", "rootfstype=ext4", "rw", "init=/sbin/bento-init", "quiet", "loglevel=4", "con=null"]
    {
        arg(word.to_owned());
    }
    if spec.command.is_empty() {
        arg("con0=fd:0,fd:1".to_owned());
    } else {
        arg("con0=null,fd:1".to_owned());
        arg("con1=null,fd:0".to_owned());
    }
    arg("ssl=null".to_owned());
    // Once it is up, the kernel logs to a terminal; not to the first one, which is the command's output.
    arg("con2=null,fd:2".to_owned());
    arg("console=tty2".to_owned());
    if spec.kernel.debug {
        arg("kasan_multi_shot".to_owned());
    }
    arg(format!("bento.payload={}", payload.display()));
    arg(format!("bento.out={}", out.display()));
    for word in &spec.cmdline {
        arg(word.clone());
    }
    if !shared_memory_suffices(spec.mem) {
        linux.env("TMPDIR", &run.path);
    }
    linux.current_dir(cache::dir()?);
    Ok(linux)
}

/// UML's memory is a file in /dev/shm, which containers make small, and mapped executable, which some forbid. Where that
/// does not do, a file on disk is slower but works.
fn shared_memory_suffices(mib: u32) -> bool {
    let mut df = Command::new("df");
    df.args(["--output=avail", "-BM", "/dev/shm"]);
    let free = ui::run(&mut df, "df failed").ok().and_then(|text| {
        let figure = text.lines().nth(1)?.trim().trim_end_matches('M').parse::<u32>().ok()?;
        Some(figure > mib)
    });
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let noexec = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some("/dev/shm")
            && fields.nth(1).is_some_and(|options| options.split(',').any(|one| one == "noexec"))
    });
    free.unwrap_or(false) && !noexec
}
