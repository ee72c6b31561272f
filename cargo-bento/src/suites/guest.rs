// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The stages that run in a kernel: the same scripts (`tests/suites`) in stock kernels and in user-mode Linux. A check
//! is a line of the script; a fault in the kernel's log fails the stage whatever the script says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Place, Stage, Tally, tools};
use crate::fetch::{self, Arch, Kernel};
use crate::project::Project;
use crate::vm::{self, Disk, RunSpec};
use crate::{build, ui};

/// The crates behind the file systems of the suites.
pub const CRATES: [(&str, &str); 10] = [
    ("memfs", "examples/memfs"),
    ("memfs_v2", "examples/memfs_v2"),
    ("hellofs", "examples/hellofs"),
    ("bytesfs", "tests/fs/bytesfs"),
    ("bytesfs_v2", "tests/fs/bytesfs_v2"),
    ("hostilefs", "tests/fs/hostilefs"),
    ("journalfs", "tests/fs/journalfs"),
    ("rext4", "examples/rext4"),
    ("rext4_v2", "examples/rext4_v2"),
    ("extentfs", "tests/fs/extentfs"),
];

pub fn projects(root: &Path, names: &[&str]) -> Result<Vec<Project>> {
    CRATES.iter().filter(|(name, _)| names.contains(name)).map(|(_, dir)| Project::open(&root.join(dir))).collect()
}

/// A run of one of the scripts with the modules of `names` loaded.
pub(super) fn spec<'k>(place: &Place, kernel: &'k Kernel, names: &[&str], script: &str) -> Result<RunSpec<'k>> {
    spec_with(place, kernel, &Modules { names, features: &[] }, script)
}

/// Modules, and which of the runtime's test hooks they have.
pub(super) struct Modules<'a> {
    pub names: &'a [&'a str],
    pub features: &'a [&'a str],
}

pub(super) fn spec_with<'k>(
    place: &Place,
    kernel: &'k Kernel,
    modules: &Modules<'_>,
    script: &str,
) -> Result<RunSpec<'k>> {
    let mut spec = RunSpec::new(kernel, &[&format!("bash /bento/suites/{script}.sh")]);
    if !modules.names.is_empty() {
        let features: Vec<String> = modules.features.iter().map(|&feature| feature.to_owned()).collect();
        let built = build::modules(&projects(&place.root, modules.names)?, kernel, &features)?;
        spec = spec.module(built.bento);
        for module in built.file_systems {
            spec = spec.module(module);
        }
    }
    spec = spec.file(place.root.join("tests/suites"), "suites").file(tools::programs(place)?, "bin");
    spec.mem = match kernel.arch {
        Arch::Um => 768,
        Arch::X86 => 2048,
    };
    Ok(spec)
}

/// Runs it and counts; the kernel's log is kept beside the stage's.
pub fn run(place: &Place, stage: &Stage, spec: &RunSpec) -> Result<Tally> {
    let outcome = vm::boot(spec)?;
    fs::write(place.logs.join(format!("{}.kernel.log", stage.name)), &outcome.log)?;
    let mut tally = Tally::of_lines(&outcome.stdout);
    match outcome.verdict(spec) {
        Ok(0) if tally.failed == 0 => {}
        Ok(_) if tally.failed > 0 => {}
        Ok(code) => {
            println!("not ok the script ended with {code}");
            tally.failed += 1;
        }
        Err(error) => {
            ui::report(&error);
            println!("not ok {error}");
            tally.failed += 1;
        }
    }
    Ok(tally)
}

pub(super) fn limited<'k>(mut spec: RunSpec<'k>, stage: &Stage) -> RunSpec<'k> {
    // The stage's own limit ends everything; the guest's comes first, so that there is a log to read.
    spec.timeout = Duration::from_secs(60 * stage.minutes - 30);
    spec
}

pub(super) fn setting(spec: &mut RunSpec, name: &str, value: &str) {
    spec.env.push((name.to_owned(), value.to_owned()));
}

pub fn smoke(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = limited(spec(place, &kernel, &["memfs", "hellofs", "bytesfs"], "smoke")?, stage);
    if let Some(other) = other_kernels_module(place, stage.kernel)? {
        spec = spec.file(other, "other.ko");
    }
    run(place, stage, &spec)
}

/// A module that was built for another kernel.
fn other_kernels_module(place: &Place, kernel: &str) -> Result<Option<PathBuf>> {
    let other = match kernel {
        "6.12" => "6.1",
        "6.1" => "6.12",
        // Whatever is built by now.
        _ => {
            let path = place.out.join("6.12/hellofs_v1/hellofs_v1.ko");
            return Ok(path.exists().then_some(path));
        }
    };
    let built = build::modules(&projects(&place.root, &["hellofs"])?, &fetch::kernel(other)?, &[])?;
    Ok(built.file_systems.into_iter().next())
}

pub fn containment(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = limited(spec(place, &kernel, &["memfs", "bytesfs"], "containment")?, stage);
    // An abandoned instance is leaked on purpose (SAFETY.md C2), and kmemleak cannot know.
    spec.kmemleak = false;
    run(place, stage, &spec)
}

pub fn storm(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let spec = limited(spec(place, &kernel, &["memfs", "bytesfs"], "storm")?, stage);
    run(place, stage, &spec)
}

pub fn hostile(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = limited(spec(place, &kernel, &["hostilefs"], "hostile")?, stage);
    setting(&mut spec, "SEEDS", if kernel.arch == Arch::Um { "60" } else { "20" });
    run(place, stage, &spec)
}

/// Damaged images of rext4, and seconds that each has.
pub fn hostile_images(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let (every, random) = match (stage.kernel, kernel.arch) {
        ("uml", _) => ("1", "30"),
        // Detectors and emulated processors are slow.
        (_, Arch::Um) => ("3", "20"),
        _ => ("8", "5"),
    };
    let lists = place.out.join("suites").join(stage.name);
    let mut judge = std::process::Command::new(tools::judge(place, "mutants")?);
    ui::run(judge.arg(&lists).args([every, random, "1"]), "the damaged images cannot be made")?;
    let mut spec = on(place, stage, &kernel, "hostile-rext4")?.file(lists, "mutants");
    setting(&mut spec, "SECONDS_EACH", if kernel.arch == Arch::Um { "60" } else { "120" });
    run(place, stage, &spec)
}

/// A disk that is full, and then is not.
pub fn full(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    run(place, stage, &on(place, stage, &kernel, "full")?)
}

pub fn replace(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    run(place, stage, &on(place, stage, &kernel, "replace")?)
}

/// A device that is told what is free.
pub fn discard(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    run(place, stage, &on(place, stage, &kernel, "discard")?)
}

pub fn journal(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = limited(spec(place, &kernel, &["journalfs"], "journal")?, stage);
    // An abandoned instance is leaked on purpose (SAFETY.md C2), and kmemleak cannot know.
    spec.kmemleak = false;
    run(place, stage, &spec)
}

pub fn extents(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = on(place, stage, &kernel, "extents")?;
    let (seeds, operations) = match (stage.kernel, kernel.arch) {
        ("uml", _) => ("1 2", "5000"),
        (_, Arch::Um) => ("5", "1000"),
        // Emulated processors are slow.
        _ => ("6", "400"),
    };
    setting(&mut spec, "SEEDS", seeds);
    setting(&mut spec, "OPERATIONS", operations);
    run(place, stage, &spec)
}

pub fn failnth(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let spec = limited(spec(place, &kernel, &["memfs", "bytesfs"], "failnth")?, stage);
    run(place, stage, &spec)
}

/// A script that runs on any file system: the stage's, which may be followed by options for the mke2fs that makes its disk
/// (of extentfs, which has none, by mount options).
fn on<'k>(place: &Place, stage: &Stage, kernel: &'k Kernel, script: &str) -> Result<RunSpec<'k>> {
    let mut spec = without_disk(place, stage, kernel, script)?;
    if ["ext4", "rext4", "extentfs"].iter().any(|fs| stage.fs.split(' ').next() == Some(fs)) {
        spec.disks.push(Disk::Scratch(600));
    }
    Ok(spec)
}

/// The same, where the disk is the caller's affair.
pub(super) fn without_disk<'k>(place: &Place, stage: &Stage, kernel: &'k Kernel, script: &str) -> Result<RunSpec<'k>> {
    let (fs, mkfs) = stage.fs.split_once(' ').unwrap_or((stage.fs, ""));
    let modules: &[&str] = if ["ext2", "ext4"].contains(&fs) { &[] } else { &[fs] };
    let mut spec = limited(spec(place, kernel, modules, script)?, stage);
    setting(&mut spec, "FS", fs);
    setting(&mut spec, "MKFS", mkfs);
    Ok(spec)
}

pub fn data(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = on(place, stage, &kernel, "data")?;
    let without = match stage.fs {
        "memfs" => "freeze",
        // Attributes have what is left of the inode, and a block.
        "rext4" => "largevalue",
        _ => "",
    };
    setting(&mut spec, "WITHOUT", without);
    run(place, stage, &spec)
}

pub fn pjdfstest(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    run(place, stage, &on(place, stage, &kernel, "pjdfstest")?)
}

pub fn fsx(place: &Place, stage: &Stage) -> Result<Tally> {
    fsx_of(place, stage, "100000", "1 2 3 4 5")
}

/// Emulated kernels are slow: 100,000 operations run in user-mode Linux.
pub fn fsx_some(place: &Place, stage: &Stage) -> Result<Tally> {
    fsx_of(place, stage, "20000", "11 12")
}

pub fn fsx_few(place: &Place, stage: &Stage) -> Result<Tally> {
    fsx_of(place, stage, "10000", "21 22")
}

fn fsx_of(place: &Place, stage: &Stage, operations: &str, seeds: &str) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = on(place, stage, &kernel, "fsx")?;
    setting(&mut spec, "OPERATIONS", operations);
    setting(&mut spec, "SEEDS", seeds);
    run(place, stage, &spec)
}

/// Beside ext4 in the same kernel.
pub fn differential(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = without_disk(place, stage, &kernel, "differential")?;
    spec.disks.extend([Disk::Scratch(400), Disk::Scratch(400)]);
    for (name, value) in [("SEEDS", "1 2 3"), ("AFTERWARDS", "4"), ("OPERATIONS", "4000")] {
        setting(&mut spec, name, value);
    }
    run(place, stage, &spec)
}

pub fn work(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let (repository, _) = tools::repository()?;
    let mut spec = on(place, stage, &kernel, "work")?;
    spec = spec.file(repository.join("repository.git"), "repository.git");
    spec = spec.file(repository.join("files"), "repository.files");
    run(place, stage, &spec)
}

/// Bugs sown into a module of their own, one for each detector of the debug kernel, and what it must say.
const SEEDED: [(&str, &[&str]); 4] = [
    ("lock order", &["possible circular locking"]),
    ("sleeping in atomic context", &["BUG: sleeping function called"]),
    ("use after free", &["BUG: KASAN:", "use-after-free"]),
    ("leak", &["kmemleak:", "new suspected"]),
];

pub fn seeded(place: &Place, stage: &Stage) -> Result<Tally> {
    let kernel = fetch::kernel(stage.kernel)?;
    let dir = place.out.join("suites/seeded");
    fs::create_dir_all(&dir)?;
    for file in ["seeded.c", "Kbuild"] {
        let from = place.root.join("tests/suites/seeded").join(file);
        fs::copy(&from, dir.join(file)).with_context(|| format!("{} cannot be read", from.display()))?;
    }
    let mut make = std::process::Command::new("make");
    make.arg("-C").arg(&kernel.headers_dir).arg(format!("ARCH={}", kernel.make_arch()));
    make.arg(format!("M={}", dir.display())).arg("modules");
    ui::run(&mut make, "the module with seeded bugs does not build")?;
    let spec = RunSpec::new(&kernel, &["true"]).module(dir.join("seeded.ko"));
    let outcome = vm::boot(&limited(spec, stage))?;
    fs::write(place.logs.join(format!("{}.kernel.log", stage.name)), &outcome.log)?;
    let mut tally = Tally::default();
    for (bug, words) in SEEDED {
        // A report that the run's own judgement counts as a fault: what passes elsewhere is watched for.
        let found = outcome.faults.iter().any(|line| words.iter().all(|word| line.contains(word)));
        println!("{} {bug} is reported", if found { "ok" } else { "not ok" });
        tally.add(if found { Tally::ONE } else { Tally { passed: 0, failed: 1 } });
    }
    Ok(tally)
}
