// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The words of the command line and where each goes. `--help` is the manual, so every option says its unit and default.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{build, check, expand, freeze, mount, new, project};

#[derive(Debug, Parser)]
#[command(name = "cargo bento", bin_name = "cargo bento", version, about, max_term_width = 110)]
#[command(after_help = "\
A first file system, from nothing to a running kernel:
  cargo bento new hellofs && cd hellofs
  cargo bento test                      in process, no root needed
  cargo bento mount . /tmp/mnt          as a FUSE daemon
  cargo bento vm --kernel uml           in a kernel that is one process, up in a second
  cargo bento vm --kernel 6.12          in a stock Debian kernel under QEMU

Kernels: 6.12 and 6.1 are Debian's stock kernels, uml is 6.12 as one process, uml-debug the same with KASAN and lockdep.
What is missing is fetched once into $BENTO_CACHE (else $XDG_CACHE_HOME/bento, else ~/.cache/bento).")]
pub struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a crate with a small working file system and its test
    New(NewArgs),
    /// Type-check the crate, then its expansion again under forbid(unsafe_code)
    Check(CrateArgs),
    /// Build the kernel modules (or another variant), checked and ready for insmod
    Build(BuildArgs),
    /// Run the crate's tests in process (or, in this repository, every suite)
    Test(TestArgs),
    /// Mount the crate as a FUSE daemon; the same object that the kernel would run
    Mount(MountArgs),
    /// Boot a kernel with the modules loaded: a shell, or one command and its exit code
    Vm(VmArgs),
    /// Show what the macros generate for this crate, formatted
    Expand(CrateArgs),
    /// Keep what this version saves as src/history/vN.rs, for the versions after it
    Freeze(FreezeArgs),
    /// Measure: memfs in the kernel against tmpfs and against its own FUSE build
    Bench(BenchArgs),
    /// Show memfs live in a real kernel: mounts, writes, reads back, survives a panic
    Demo(DemoArgs),
    /// Fetch and check everything the other commands need
    Setup(SetupArgs),
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the crate and of the file system: a letter, then letters, digits or '_' (at most 31)
    pub name: String,
    /// Folder to create [default: ./NAME]
    #[arg(long)]
    pub path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CrateArgs {
    /// The crate's folder
    #[arg(default_value = ".", value_name = "CRATE")]
    pub path: PathBuf,
}

#[derive(Debug, Args)]
pub struct FreezeArgs {
    #[command(flatten)]
    pub target: CrateArgs,
    /// The crate that gets the file, when the next version is a crate of its own
    #[arg(long, value_name = "CRATE")]
    pub into: Option<PathBuf>,
    /// Overwrite a file that says something else
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub target: CrateArgs,
    /// Kernel to build for: 6.12, 6.1, uml, uml-debug, a full release, or a headers folder (may be given several times)
    /// [default: 6.12]
    #[arg(long, value_name = "V")]
    pub kernel: Vec<String>,
    /// Stop at the checked object of this variant instead of going on to a kernel module
    #[arg(long, value_enum)]
    pub variant: Vec<Variant>,
    /// Compile the runtime's own test hooks in (seeded faults, counters)
    #[arg(long, hide = true)]
    pub features: Vec<String>,
}

/// The object variants (one Rust compilation each).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// Every stock x86-64 kernel: one object for all of them
    X86,
    /// User-mode Linux
    Uml,
    /// User-mode Linux, instrumented for KASAN
    UmlKasan,
    /// A shared object for `cargo bento mount` and the harsher tests
    User,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    pub target: CrateArgs,
    /// Every suite of this repository: unit, UI, Miri, FUSE, UML and both VMs (what CI runs)
    #[arg(long)]
    pub all: bool,
    /// With --all: only this stage, or those whose name begins so (may be given several times)
    #[arg(long, value_name = "STAGE", requires = "all")]
    pub only: Vec<String>,
    /// With --all: name the stages instead of running them
    #[arg(long, requires = "all")]
    pub list: bool,
    /// Run one stage in this process (how --all runs each)
    #[arg(long, hide = true, requires = "all")]
    pub stage: Option<String>,
    /// Arguments for `cargo test`
    #[arg(last = true)]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
pub struct MountArgs {
    /// The crate's folder, or a built shared object
    #[arg(value_name = "CRATE")]
    pub target: PathBuf,
    /// Source and mount point, or only the mount point for file systems without a device
    #[arg(value_name = "[SOURCE] MOUNTPOINT", num_args = 1..=2, required = true)]
    pub places: Vec<PathBuf>,
    /// Mount options, as for mount(8)
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub options: Vec<String>,
    /// Run under gdb, stopped before the mount
    #[arg(long)]
    pub gdb: bool,
}

#[derive(Debug, Args)]
pub struct VmArgs {
    /// Crates whose modules are loaded [default: the crate in this folder]
    #[arg(long = "crate", value_name = "CRATE")]
    pub crates: Vec<PathBuf>,
    /// Kernel to boot: 6.12, 6.1, uml or uml-debug
    #[arg(long, value_name = "V", default_value = "6.12")]
    pub kernel: String,
    /// Attach gdb with the modules' symbols loaded (uml stops at breakpoints in handlers)
    #[arg(long)]
    pub gdb: bool,
    /// Memory of the guest in MiB
    #[arg(long, default_value_t = 512)]
    pub mem: u32,
    /// Command to run in the guest instead of a shell; its exit code is returned
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Only groups of workloads whose name contains one of these words (create,fstat,calls,read,untar,git-clone); `upgrade`,
    /// `disk` and `fuse` (rext4 beside fuse2fs) are benchmarks of their own
    pub filter: Option<String>,
    /// With `disk`: only groups of workloads whose name contains one of these words
    /// (create,git,untar,make,mail,sqlite,direct,scale,pieces); with `fuse` of these: meta,git,untar,mail,sqlite,data
    #[arg(long)]
    pub workloads: Option<String>,
    /// Rounds of each workload; the first is discarded
    #[arg(long, default_value_t = 4)]
    pub rounds: u32,
    /// With `disk`: names in the large directory of the group `scale`
    #[arg(long, default_value_t = 100_000)]
    pub names: u64,
    /// Only these sides: memfs, tmpfs, memfs-fuse, ext4, hellofs, layers, native; with `disk` rext4, ext4, xfs,
    /// rext4-fuse, fuse2fs (may be given several times)
    #[arg(long)]
    pub side: Vec<String>,
    /// With `disk`: also show the functions in which this workload (as the table names it) spends its instructions
    #[arg(long, value_name = "WORKLOAD")]
    pub profile: Option<String>,
    /// Write the figures into their page of the book
    #[arg(long)]
    pub write_book: bool,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Kernel to boot: 6.12, 6.1 or uml
    #[arg(long, default_value = "6.12")]
    pub kernel: String,
}

#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Kernels to fetch [default: 6.12, 6.1 and uml]
    #[arg(long, value_name = "V")]
    pub kernel: Vec<String>,
}

/// Reads the command line; `cargo-bento bento build` (how cargo calls a subcommand) equals `cargo-bento build`.
pub fn parse() -> Cli {
    let mut args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|word| word == "bento") {
        args.remove(1);
    }
    Cli::parse_from(args)
}

/// Runs the command; `Ok` carries the exit code of what it ran.
pub fn dispatch(cli: Cli) -> Result<u8> {
    match cli.command {
        Verb::New(args) => new::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Build(args) => build::run(&args),
        Verb::Test(args) if args.all => crate::suites::run_all(&args),
        Verb::Test(args) => project::test(&args),
        Verb::Mount(args) => mount::run(&args),
        Verb::Vm(args) => crate::vm::run(&args),
        Verb::Expand(args) => expand::run(&args),
        Verb::Freeze(args) => freeze::run(&args),
        Verb::Bench(args) => crate::bench::run(&args),
        Verb::Demo(args) => crate::demo::run(&args),
        Verb::Setup(args) => crate::setup::run(&args),
    }
}
