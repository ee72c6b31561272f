// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Running a command in a kernel: a stock one in QEMU or user-mode Linux, from the same description ([`RunSpec`]) and
//! with the same guest. The command's output streams out, its exit code comes back, the kernel's log is read for faults.

mod bzimage;
mod channel;
mod cli;
pub mod gdb;
mod guest;
mod initramfs;
mod log;
mod qemu;
mod stage;
pub mod uml;
mod uml_run;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::fetch::{Arch, Kernel, cache};
use crate::ui;

pub use cli::run;

/// What to run and where.
#[derive(Debug, Clone)]
pub struct RunSpec<'a> {
    pub kernel: &'a Kernel,
    /// Loaded in this order before the command; each after the stock modules it needs.
    pub modules: Vec<Module>,
    /// Files and folders of the host, each with its name below `/bento` in the guest (read-only there).
    pub payload: Vec<(PathBuf, String)>,
    /// One word: a shell line. Several: an exact argument list. None: an interactive shell on this terminal.
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    /// CPUs; user-mode Linux has one whatever this says.
    pub smp: u32,
    /// Memory in MiB.
    pub mem: u32,
    /// After this the guest is killed and the run has failed.
    pub timeout: Duration,
    /// QEMU counts instructions instead of following the clock: one CPU, figures that repeat to a per mille.
    pub icount: bool,
    /// Further disks; the guest finds their devices in `$BENTO_DISK0`, `$BENTO_DISK1`, …
    pub disks: Vec<Disk>,
    /// The guest's `/results` is unpacked into this folder of the host at the end.
    pub results: Option<PathBuf>,
    /// Texts that excuse a line of the kernel log from being a fault.
    pub allow: Vec<String>,
    /// Further words for the kernel's command line.
    pub cmdline: Vec<String>,
    /// Further words for QEMU.
    pub qemu: Vec<String>,
    pub output: Output,
    /// Ask kmemleak at the end (costs six seconds; only debug kernels have it).
    pub kmemleak: bool,
    pub gdb: Option<gdb::Session>,
}

/// A kernel module to load.
#[derive(Debug, Clone)]
pub struct Module {
    pub path: PathBuf,
    /// `name=value` words for insmod.
    pub parameters: String,
}

/// A data disk.
#[derive(Debug, Clone)]
pub enum Disk {
    /// Empty, of this many MiB, gone after the run.
    Scratch(u64),
    /// The same, and every write and flush goes to this file as well, in the format of dm-log-writes (QEMU only).
    Recorded(u64, PathBuf),
}

/// Where the command's output goes; it is kept in the outcome in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Live to this process's standard output and error.
    Stream,
    /// Nowhere else.
    Keep,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The command ended with this exit code (128 + n for signal n, as in a shell).
    Exited(u8),
    /// The guest stopped before the command did: a panic, or the command powered it off.
    Died,
    /// Killed at the time limit.
    TimedOut,
}

/// What a run leaves behind.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub end: End,
    pub stdout: String,
    pub stderr: String,
    /// The kernel's log from the first line on.
    pub log: String,
    /// Lines of the log that report a fault and were not allowed.
    pub faults: Vec<String>,
}

impl<'a> RunSpec<'a> {
    /// `command` in `kernel` with two CPUs, 2 GiB (user-mode Linux: 512 MiB), ten minutes, output streamed.
    pub fn new(kernel: &'a Kernel, command: &[&str]) -> RunSpec<'a> {
        RunSpec {
            kernel,
            modules: Vec::new(),
            payload: Vec::new(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: Vec::new(),
            smp: 2,
            mem: if kernel.arch == Arch::Um { 512 } else { 2048 },
            timeout: Duration::from_secs(600),
            icount: false,
            disks: Vec::new(),
            results: None,
            allow: Vec::new(),
            cmdline: Vec::new(),
            qemu: Vec::new(),
            output: Output::Stream,
            kmemleak: kernel.debug,
            gdb: None,
        }
    }

    /// Adds a module without parameters.
    pub fn module(mut self, path: impl Into<PathBuf>) -> Self {
        self.modules.push(Module { path: path.into(), parameters: String::new() });
        self
    }

    /// Adds a file or folder as `/bento/<name>`.
    pub fn file(mut self, path: impl Into<PathBuf>, name: &str) -> Self {
        self.payload.push((path.into(), name.to_owned()));
        self
    }
}

/// Makes everything that a run with `kernel` needs and that is cached: images, initramfs.
pub fn prepare(kernel: &Kernel) -> Result<()> {
    guest::root_image()?;
    if kernel.arch == Arch::X86 {
        guest::modules_image(kernel)?;
        initramfs::image(kernel)?;
        bzimage::bootable(kernel)?;
    }
    Ok(())
}

/// Runs `spec` and returns the command's exit code; a dead guest, a time-out or a fault in the kernel's log is an error.
pub fn execute(spec: &RunSpec) -> Result<u8> {
    let outcome = boot(spec)?;
    outcome.verdict(spec)
}

/// Runs `spec` and tells how it went, whatever that was; an error means that it could not be run at all.
pub fn boot(spec: &RunSpec) -> Result<Outcome> {
    if spec.gdb.is_some() && spec.kernel.arch != Arch::Um {
        bail!("gdb attaches to user-mode Linux only: add --kernel uml");
    }
    prepare(spec.kernel)?;
    match spec.kernel.arch {
        Arch::X86 => {
            let outcome = qemu::boot(spec)?;
            if !outcome.failed_by_itself() {
                return Ok(outcome);
            }
            // Software emulation of several processors patches code under their feet now and then.
            let kept = outcome.keep_log();
            ui::say(format!(
                "the emulated kernel failed before anything of Bento was in it: it is booted once more{kept}"
            ));
            qemu::boot(spec)
        }
        Arch::Um => uml_run::boot(spec),
    }
}

impl Outcome {
    /// Did the kernel fail while it booted, with no module of ours in it and nothing of the command's output?
    fn failed_by_itself(&self) -> bool {
        !self.faults.is_empty() && self.stdout.is_empty() && !self.log.contains("bento")
    }

    /// The exit code, or the error that says what the guest died of.
    pub fn verdict(&self, spec: &RunSpec) -> Result<u8> {
        let kernel = &spec.kernel.name;
        if let Some(fault) = self.faults.first() {
            let kept = self.keep_log();
            return Err(anyhow!("{}", log::excerpt(&self.log, fault, 60)).context(format!(
                "the kernel {kernel} reported {} fault(s), the first: {fault}{kept}",
                self.faults.len()
            )));
        }
        let tail = || anyhow!("its last words:\n{}\n{}", log::tail(&self.log, 30), log::tail(&self.stderr, 5));
        match self.end {
            End::Exited(code) => Ok(code),
            End::Died => {
                let kept = self.keep_log();
                Err(tail().context(format!("the guest ({kernel}) stopped before its command ended{kept}")))
            }
            End::TimedOut => {
                let kept = self.keep_log();
                let limit = spec.timeout.as_secs();
                Err(tail().context(format!("the guest ({kernel}) was killed after its time limit of {limit} s{kept}")))
            }
        }
    }

    fn keep_log(&self) -> String {
        let Ok(dir) = cache::dir() else { return String::new() };
        let path = dir.join(format!("kernel-log-{}", std::process::id()));
        match fs::write(&path, &self.log) {
            Ok(()) => format!(" (whole log: {})", path.display()),
            Err(_) => String::new(),
        }
    }
}

/// The guest's name of extra disk `index`.
fn disk_name(arch: Arch, index: usize) -> String {
    // The first disks are the root image and, under QEMU, the payload and the stock modules.
    let (stem, first) = match arch {
        Arch::X86 => ("vd", b'd'),
        Arch::Um => ("ubd", b'b'),
    };
    format!("/dev/{stem}{}", char::from(first + index as u8))
}
