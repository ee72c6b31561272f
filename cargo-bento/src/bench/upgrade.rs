// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento bench upgrade`: what replacing a running file system costs those who use it. Times are wall time, in
//! user-mode Linux, which runs at the machine's own speed, and in stock 6.12 on two emulated processors, which is some
//! twenty times slower; the gate's part of a call is counted in instructions, as in the budget.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use super::{layers, write_page};
use crate::cli::BenchArgs;
use crate::suites::{Place, guest, tools};
use crate::vm::{self, Output, RunSpec};
use crate::{build, fetch, project, setup, ui};

/// Kernels, with files cached and swaps for each run. The sweep between two swaps is what takes time.
const RUNS: [(&str, &str); 2] = [("uml", "1000:100 10000:100 100000:100"), ("6.12", "1000:100 10000:100 100000:20")];
const RESTARTS: &str = "100";

const FILE: &str = "book/src/upgrade-figures.md";

/// One line of the guest's.
#[derive(Debug, PartialEq, Eq)]
struct Figure {
    files: u64,
    name: String,
    median: u64,
    max: u64,
    count: u64,
}

impl Figure {
    fn parse(line: &str) -> Option<Figure> {
        let mut words = line.strip_prefix("figure ")?.split_whitespace();
        let (files, name) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let mut value = |key: &str| words.next()?.strip_prefix(key)?.parse().ok();
        Some(Figure { files, name, median: value("median=")?, max: value("max=")?, count: value("count=")? })
    }
}

pub fn run(args: &BenchArgs) -> Result<u8> {
    let place = Place::find(&std::env::current_dir()?)?;
    setup::packages()?;
    let mut report = String::from(
        "| | kernel | files cached | gate closed: median | maximum | longest call of a client, a call each 100 µs: \
         median | maximum | times |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut restarts = String::new();
    for (name, inodes) in RUNS {
        let step = ui::step(format!("swaps of memfs in {name}"));
        let figures = measure(&place, name, inodes)?;
        for pause in figures.iter().filter(|figure| figure.name == "pause_ns") {
            let call = figures.iter().find(|figure| figure.files == pause.files && figure.name == "call_ns");
            let call = call.context("a run without a client")?;
            writeln!(
                report,
                "| memfs 1 ⇄ 2 | {name} | {} | {} | {} | {} | {} | {} |",
                pause.files,
                ms(pause.median),
                ms(pause.max),
                ms(call.median),
                ms(call.max),
                pause.count
            )?;
        }
        let restart = figures.iter().find(|figure| figure.name == "restart_ns").context("no restarts were measured")?;
        writeln!(
            restarts,
            "- {name}: from the call that met what a panic had left, through the restart, to the end of the next call \
             that succeeds: median {}, maximum {} of {}.",
            ms(restart.median),
            ms(restart.max),
            restart.count
        )?;
        step.done("");
    }
    report += "\n";
    report += &restarts;
    let step = ui::step("count the instructions of the gate");
    report += &gate(&layers::measure(&place)?);
    step.done("");
    let step = ui::step("check memfs again after a change");
    let (median, rounds) = check(&place.root, &place.out.join("bench"))?;
    writeln!(
        report,
        "- `cargo check` of memfs after a change of its `lib.rs`, macros included: {median:.2} s, the median of {rounds}."
    )?;
    step.done("");
    println!("{report}");
    if args.write_book {
        let head =
            "# What an upgrade costs\n\n<!-- Written by `cargo bento bench upgrade --write-book`; do not edit. -->\n\n";
        write_page(&place, FILE, &format!("{head}{report}"))?;
    }
    Ok(0)
}

fn ms(ns: u64) -> String {
    format!("{:.3} ms", ns as f64 / 1e6)
}

fn measure(place: &Place, name: &str, inodes: &str) -> Result<Vec<Figure>> {
    let kernel = fetch::kernel(name)?;
    let file_systems = ["memfs", "memfs_v2", "bytesfs", "bytesfs_v2"];
    let built = build::modules(&guest::projects(&place.root, &file_systems)?, &kernel, &[])?;
    let mut spec = RunSpec::new(&kernel, &["bash /bento/suites/upgrade-bench.sh"]).module(built.bento);
    for module in built.file_systems {
        spec = spec.module(module);
    }
    spec = spec.file(place.root.join("tests/suites"), "suites").file(tools::own(place)?, "bin");
    spec.env.push(("INODES".to_owned(), inodes.to_owned()));
    spec.env.push(("RESTARTS".to_owned(), RESTARTS.to_owned()));
    spec.mem = 2048;
    spec.smp = 2;
    spec.output = Output::Keep;
    spec.timeout = Duration::from_secs(1800);
    let outcome = vm::boot(&spec)?;
    match outcome.verdict(&spec)? {
        0 => Ok(outcome.stdout.lines().filter_map(Figure::parse).collect()),
        code => bail!("the swaps in {name} ended with {code}: {}\n{}", outcome.stdout, outcome.stderr),
    }
}

/// The gate's part of a call.
fn gate(counts: &layers::Counts) -> String {
    let getattr = layers::PHASES.iter().position(|phase| *phase == "getattr").unwrap_or_default();
    let count = layers::of(counts, getattr, "gate");
    format!(
        "- The gate's part of one call (`getattr`): {count} instructions, entering and leaving; 30 and four calls into \
         RCU while it was a `percpu_ref`.\n"
    )
}

/// Seconds of `cargo check -p memfs` after its source was touched: the median, and of how many.
fn check(root: &Path, target: &Path) -> Result<(f64, usize)> {
    let source = root.join("examples/memfs/src/lib.rs");
    let once = || -> Result<u64> {
        fs::File::options().write(true).open(&source)?.set_modified(SystemTime::now())?;
        let mut cargo = project::cargo();
        cargo.current_dir(root).args(["check", "--quiet", "-p", "memfs", "--target-dir"]).arg(target);
        let start = Instant::now();
        ui::run(&mut cargo, "memfs does not check")?;
        Ok(start.elapsed().as_nanos() as u64)
    };
    once()?; // what it depends on
    let rounds = (0..7).map(|_| once()).collect::<Result<Vec<u64>>>()?;
    Ok((super::median(&rounds) / 1e9, rounds.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read() {
        let figure = Figure::parse("figure 1000 pause_ns median=12 max=34 count=100").unwrap();
        assert_eq!(figure, Figure { files: 1000, name: "pause_ns".into(), median: 12, max: 34, count: 100 });
        assert_eq!(Figure::parse("pause_ns median=12"), None);
    }

    #[test]
    fn the_gate_is_found_in_the_budget() {
        let counts = layers::Counts::from([((0, "shim"), 294 * layers::CALLS), ((0, "gate"), 26 * layers::CALLS)]);
        assert!(gate(&counts).contains("26 instructions"));
    }
}
