// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento bench`: memfs beside tmpfs, and memfs over FUSE, in the same kernel and the same run. One CPU, QEMU
//! counting instructions (a nanosecond of CPU time is an instruction), one file system per boot, the first round
//! discarded, medians with their spread. It sees no cache misses and no contention, and is kind to FUSE for that.

mod layers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cli::BenchArgs;
use crate::project::Project;
use crate::suites::{Place, guest, tools};
use crate::vm::{self, Disk, Output, RunSpec};
use crate::{build, fetch, project, setup, ui};

/// What is measured, each in a boot of its own.
const SIDES: [&str; 5] = ["memfs", "tmpfs", "memfs-fuse", "ext4", "hellofs"];

/// The budget, which is no side.
const LAYERS: &str = "layers";

const FILES: u64 = 10_000;
const CALLS: u64 = 200_000;
const MIB: u64 = 32;

/// CPU time in nanoseconds of each round, the first left out; by workload.
type Figures = BTreeMap<String, Vec<u64>>;

pub fn run(args: &BenchArgs) -> Result<u8> {
    if args.rounds < 2 {
        bail!("--rounds {}: the first round is discarded, so at least 2 are needed", args.rounds);
    }
    if let Some(side) = args.side.iter().find(|side| *side != LAYERS && !SIDES.contains(&side.as_str())) {
        bail!("--side {side} is not one of {}, {LAYERS}", SIDES.join(", "));
    }
    let wanted = |side: &str| args.side.is_empty() || args.side.iter().any(|one| one == side);
    let place = Place::find(&std::env::current_dir()?)?;
    setup::packages()?;
    let mut all = BTreeMap::new();
    for side in SIDES.into_iter().filter(|side| wanted(side)) {
        let step = ui::step(format!("measure {side}"));
        all.insert(side, measure(&place, side, args)?);
        step.done("");
    }
    let mut report = report(&all, args.rounds - 1);
    if wanted(LAYERS) {
        let step = ui::step("count the instructions of each layer");
        report += "\n";
        report += &layers::table(&place)?;
        step.done("");
    }
    println!("{report}");
    if args.write_book {
        let path = place.root.join("book/src/budget.md");
        fs::write(&path, book(&report)).with_context(|| format!("{} cannot be written", path.display()))?;
        ui::say(format!("written to {}", path.display()));
    }
    Ok(0)
}

fn measure(place: &Place, side: &str, args: &BenchArgs) -> Result<Figures> {
    let kernel = fetch::kernel("6.12")?;
    let (repository, _) = tools::repository()?;
    let mut spec = RunSpec::new(&kernel, &["bash /bento/suites/bench.sh"]);
    if side == "memfs" || side == "hellofs" {
        let built = build::modules(&guest::projects(&place.root, &[side])?, &kernel, &[])?;
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
        .chain([("FILTER", args.filter.clone().unwrap_or_default())])
    {
        spec.env.push((name.to_owned(), value));
    }
    spec.icount = true;
    spec.output = Output::Keep;
    spec.timeout = Duration::from_secs(3600);
    let outcome = vm::boot(&spec)?;
    match outcome.verdict(&spec)? {
        0 => Ok(figures(&outcome.stdout)),
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

fn report(all: &BTreeMap<&str, Figures>, rounds: u32) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Linux 6.12 in QEMU, one CPU, instructions counted; {rounds} round(s), median; 10^6 instructions, ± is half the \
         spread.\n"
    );
    let _ = writeln!(text, "| workload | memfs | tmpfs | memfs / tmpfs | memfs over FUSE | FUSE / memfs | ext4 |");
    let _ = writeln!(text, "|---|---|---|---|---|---|---|");
    let empty = Figures::new();
    let memfs = all.get("memfs").unwrap_or(&empty);
    for (name, values) in memfs {
        let of = |side: &str| all.get(side).and_then(|figures| figures.get(name));
        let shown = |values: Option<&Vec<u64>>| match values {
            Some(values) => format!("{:.1} ±{:.1} %", median(values) / 1e6, spread(values)),
            None => "–".to_owned(),
        };
        let ratio = |over: Option<&Vec<u64>>, under: Option<&Vec<u64>>| match (over, under) {
            (Some(over), Some(under)) => format!("{:.2}", median(over) / median(under)),
            _ => "–".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            shown(Some(values)),
            shown(of("tmpfs")),
            ratio(Some(values), of("tmpfs")),
            shown(of("memfs-fuse")),
            ratio(of("memfs-fuse"), Some(values)),
            shown(of("ext4")),
        );
    }
    let per_call = |side: &str| all.get(side)?.get("fstat").map(|values| median(values) / CALLS as f64);
    if let (Some(with), Some(without)) = (per_call("memfs"), per_call("hellofs")) {
        let _ = writeln!(
            text,
            "\nOne `fstat`: {with:.0} instructions on memfs, whose `getattr` handler is empty; {without:.0} on hellofs, \
             which has none and so makes no call. Gate, trampoline, thunk and contain, and the copies of the attributes in \
             and out: {:.0}.",
            with - without
        );
    }
    text
}

fn book(report: &str) -> String {
    format!(
        "# What a call costs\n\n<!-- Written by `cargo bento bench --write-book`; do not edit. -->\n\n\
         `cargo bento bench` makes this table again. It counts instructions, so it repeats to a per cent and sees neither \
         cache misses nor contention; wake-ups between an application and a FUSE daemon cost more than it shows.\n\n{report}"
    )
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
