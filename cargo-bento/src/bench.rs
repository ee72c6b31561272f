// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento bench`: memfs beside tmpfs, and memfs over FUSE, in the same kernel and the same run. One CPU, QEMU
//! counting instructions (a nanosecond of CPU time is an instruction), one file system per boot, the first round
//! discarded, medians with their spread. What counting cannot see is measured in time, natively (`native`).

mod disk;
mod fuse;
mod layers;
mod native;
mod over_fuse;
mod profile;
mod report;
mod upgrade;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cli::BenchArgs;
use crate::fetch::Kernel;
use crate::project::Project;
use crate::suites::{Place, guest, tools};
use crate::vm::{self, Disk, Output, RunSpec};
use crate::{build, fetch, project, setup, ui};

/// What is measured.
const SIDES: [&str; 5] = ["memfs-fuse", "ext4", "memfs", "tmpfs", "hellofs"];

/// The guests, the longest first: a side, and groups of workloads (of bench.sh) if not all of them.
const GUESTS: [(&str, &str); 6] = [
    ("memfs-fuse", "meta,fstat,calls,io,untar"),
    ("memfs-fuse", "git-clone"),
    ("ext4", ""),
    ("memfs", ""),
    ("tmpfs", ""),
    ("hellofs", ""),
];

/// What is no side: the budget, and what is measured in time.
const LAYERS: &str = "layers";
const NATIVE: &str = "native";

const FILES: u64 = 10_000;
const CALLS: u64 = 50_000;
const MIB: u64 = 32;

/// CPU time in nanoseconds of each round, the first left out; by workload.
type Figures = BTreeMap<String, Vec<u64>>;
/// By side.
type All = BTreeMap<&'static str, Figures>;

pub fn run(args: &BenchArgs) -> Result<u8> {
    if args.filter.as_deref() == Some("upgrade") {
        return upgrade::run(args);
    }
    if args.rounds < 2 {
        bail!("--rounds {}: the first round is discarded, so at least 2 are needed", args.rounds);
    }
    if args.filter.as_deref() == Some("disk") {
        return disk::run(args);
    }
    if args.filter.as_deref() == Some("fuse") {
        return fuse::run(args);
    }
    let known = |side: &str| SIDES.contains(&side) || [LAYERS, NATIVE].contains(&side);
    if let Some(side) = args.side.iter().find(|side| !known(side)) {
        bail!("--side {side} is not one of {}, {LAYERS}, {NATIVE}", SIDES.join(", "));
    }
    let wanted = |side: &str| args.side.is_empty() || args.side.iter().any(|one| one == side);
    let whole = args.side.is_empty() && args.filter.is_none();
    if args.write_book && !whole {
        bail!("--write-book writes the whole page: give it without --side and without a filter");
    }
    let place = Place::find(&std::env::current_dir()?)?;
    setup::packages()?;
    let guests: Vec<_> = GUESTS.into_iter().filter(|(side, _)| wanted(side)).collect();
    let all = measure(&place, &guests, args)?;
    let mut text = report::workloads(&all, args.rounds - 1);
    text += &report::empty_call(&all);
    if wanted(NATIVE) {
        let step = ui::step("time a call and a git clone natively");
        text += &native::call(&place)?;
        text += "\n";
        // Not every machine lets a user mount.
        text += &native::clone(&place, report::ratio(&all, "git-clone", "memfs-fuse", "memfs"))
            .unwrap_or_else(|error| format!("The native git clone was left out: {error:#}.\n"));
        step.done("");
    }
    if wanted(LAYERS) {
        let step = ui::step("count the instructions of each layer");
        text += "\n";
        text += &layers::render(&layers::measure(&place)?, &all);
        step.done("");
    }
    println!("{text}");
    if args.write_book {
        write_page(&place, "book/src/budget.md", &report::book(&text))?;
    }
    Ok(0)
}

/// Everything is built first, then the guests run side by side: counting instructions does not mind company.
fn measure(place: &Place, guests: &[(&'static str, &str)], args: &BenchArgs) -> Result<All> {
    let kernel = fetch::kernel("6.12")?;
    let mut open = Vec::new();
    for (side, part) in guests {
        open.push((*side, *part, spec(place, &kernel, side, part, args)?));
    }
    vm::prepare(&kernel)?;
    open.reverse();
    let all = Mutex::new(All::new());
    side_by_side(open, |(side, part, spec)| {
        let step = ui::step(format!("measure {side} {part}"));
        lock(&all).entry(side).or_default().extend(figures(&boot(side, &spec)?));
        step.done("");
        Ok(())
    })?;
    Ok(all.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// Runs guests, the last one first, until one fails.
fn side_by_side<T: Send>(guests: Vec<T>, run: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    // One more than there are CPUs, because one may be waiting for the disk.
    let at_a_time = thread::available_parallelism().map_or(2, |cpus| cpus.get() + 1);
    let (open, failed) = (Mutex::new(guests), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                let next = || lock(&open).pop();
                while let Some(guest) = next() {
                    if let Err(error) = run(guest) {
                        lock(&open).clear();
                        lock(&failed).get_or_insert(error);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).map_or(Ok(()), Err)
}

/// A page of the book.
fn write_page(place: &Place, file: &str, text: &str) -> Result<()> {
    let path = place.root.join(file);
    fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    ui::say(format!("written to {}", path.display()));
    Ok(())
}

/// Instructions are counted, and nothing but the figures is of interest.
fn counting(spec: &mut RunSpec<'_>) {
    spec.icount = true;
    // While the guest waits for this machine's disk its clock leaps ahead, which looks like hours.
    spec.cmdline.push("sysctl.kernel.hung_task_timeout_secs=0".to_owned());
    spec.output = Output::Keep;
    // Instructions do not mind how long they take: on a busy machine, and with a million names, it is hours.
    spec.timeout = Duration::from_secs(12 * 3600);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn spec<'k>(place: &Place, kernel: &'k Kernel, side: &str, part: &str, args: &BenchArgs) -> Result<RunSpec<'k>> {
    let (repository, _) = tools::repository()?;
    let mut spec = RunSpec::new(kernel, &["bash /bento/suites/bench.sh"]);
    if side == "memfs" || side == "hellofs" {
        let built = build::modules(&guest::projects(&place.root, &[side])?, kernel, &[])?;
        spec = spec.module(built.bento);
        for module in built.file_systems {
            spec = spec.module(module);
        }
    }
    if side == "memfs-fuse" {
        spec = spec.file(daemon(place)?, "tool/cargo-bento");
        let memfs = Project::open(&place.root.join("examples/memfs"))?;
        spec = spec.file(build::user::shared_object(&memfs, &[])?, "tool/libmemfs.so");
    }
    if side == "ext4" {
        spec.disks.push(Disk::Scratch(1024));
    }
    spec = spec.file(place.root.join("tests/suites"), "suites").file(tools::own(place)?, "bin");
    spec = spec.file(repository.join("repository.git"), "repository.git");
    for (name, value) in [("SIDE", side.to_owned()), ("ROUNDS", args.rounds.to_string())]
        .into_iter()
        .chain([("FILES", FILES.to_string()), ("CALLS", CALLS.to_string()), ("MIB", MIB.to_string())])
        .chain([("FILTER", args.filter.clone().unwrap_or_default()), ("PART", part.to_owned())])
    {
        spec.env.push((name.to_owned(), value));
    }
    counting(&mut spec);
    Ok(spec)
}

/// What the guest printed.
fn boot(side: &str, spec: &RunSpec) -> Result<String> {
    let outcome = vm::boot(spec)?;
    match outcome.verdict(spec)? {
        0 => Ok(outcome.stdout),
        code => bail!("the benchmark on {side} ended with {code}: {}\n{}", outcome.stdout, outcome.stderr),
    }
}

/// The optimised tool, which is the FUSE daemon.
fn daemon(place: &Place) -> Result<PathBuf> {
    let mut cargo = project::cargo();
    cargo.current_dir(&place.root).args(["build", "--release", "--quiet", "-p", "cargo-bento"]);
    cargo.arg("--target-dir").arg(place.out.join("bench"));
    ui::run(&mut cargo, "the FUSE daemon cannot be built")?;
    Ok(place.out.join("bench/release/cargo-bento"))
}

fn figures(output: &str) -> Figures {
    let mut figures = Figures::new();
    let mut round = 0;
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["round", number] => round = number.parse().unwrap_or(0),
            ["bench", name, value] if round > 1 => {
                figures.entry(name.to_owned()).or_default().extend(value.parse::<u64>());
            }
            _ => {}
        }
    }
    figures
}

fn median(values: &[u64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2] as f64,
        n => (sorted[n / 2 - 1] + sorted[n / 2]) as f64 / 2.0,
    }
}

/// Half the distance from the least to the greatest, in per cent of the median.
fn spread(values: &[u64]) -> f64 {
    let (least, greatest) = (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0));
    (greatest - least) as f64 / 2.0 / median(values) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_round_is_discarded() {
        let output = "round 1\nbench stat 900\nround 2\nbench stat 100\nnoise\nround 3\nbench stat 300\n";
        assert_eq!(figures(output), BTreeMap::from([("stat".to_owned(), vec![100, 300])]));
    }

    #[test]
    fn median_and_spread() {
        assert_eq!(median(&[3, 1, 2]), 2.0);
        assert_eq!(median(&[1, 3]), 2.0);
        assert_eq!(spread(&[90, 100, 110]), 10.0);
    }
}
