// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento bench disk`: rext4 beside the kernel's own ext4, and xfs for information, in the same kernel and the same
//! run. Each has a disk of its own that was made in the same way; instructions are counted as in the other benchmark, and
//! what the disk was asked for stands beside them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use anyhow::{Result, bail};

use super::{Figures, boot, counting, figures, lock, median, over_fuse, profile, side_by_side, spread, write_page};
use crate::cli::BenchArgs;
use crate::fetch::Kernel;
use crate::suites::{Place, guest, tools};
use crate::vm::{self, Disk, RunSpec};
use crate::{build, fetch, setup, ui};

const SIDES: [&str; 3] = ["rext4", "ext4", "xfs"];

const FILES: u64 = 10_000;
const MESSAGES: u64 = 1_000;
const MIB: u64 = 32;

/// What a workload may cost beside ext4, and all of them in the geometric mean.
const AIM: f64 = 1.10;
const AIM_MEAN: f64 = 1.0;

const FILE: &str = "book/src/disk-figures.md";
/// A page of its own, for it may take hours: what becomes of very many names.
const SCALE: &str = "scale";
const SCALE_FILE: &str = "book/src/scale-figures.md";

/// Requests of the disk in one round: reads, KiB read, writes, KiB written, flushes.
type Requests = BTreeMap<String, [u64; 5]>;

#[derive(Debug, Default)]
struct Side {
    figures: Figures,
    requests: Requests,
    /// By "memory NAME" (KiB that the kernel holds) and "pieces NAME".
    others: BTreeMap<String, i64>,
    output: String,
}

pub fn run(args: &BenchArgs) -> Result<u8> {
    let known: Vec<_> = SIDES.into_iter().chain(over_fuse::SIDES).collect();
    if let Some(side) = args.side.iter().find(|side| !known.contains(&side.as_str())) {
        bail!("--side {side} is not one of {}", known.join(", "));
    }
    let scale = args.workloads.as_deref() == Some(SCALE);
    if args.write_book && !scale && !(args.side.is_empty() && args.workloads.is_none()) {
        bail!(
            "--write-book writes a whole page: give it with `--workloads {SCALE}`, or without --side and without --workloads"
        );
    }
    if args.write_book && args.profile.is_some() {
        bail!("--profile measures one workload and --write-book writes a whole page: give one of them");
    }
    let place = Place::find(&std::env::current_dir()?)?;
    setup::packages()?;
    let kernel = fetch::kernel("6.12")?;
    let wanted = |side: &str| args.side.is_empty() || args.side.iter().any(|one| one == side);
    let clones =
        args.workloads.as_ref().is_none_or(|words| words.split(',').any(|word| over_fuse::WORKLOAD.contains(word)))
            && args.profile.as_ref().is_none_or(|workload| workload == over_fuse::WORKLOAD);
    // What takes longest first: the last one is taken first.
    let sides = SIDES.into_iter().chain(over_fuse::SIDES.into_iter().filter(|_| clones));
    let sides: Vec<_> = sides.filter(|side| wanted(side)).collect();
    if sides.is_empty() {
        bail!("nothing is left to measure: over FUSE there is only {}", over_fuse::WORKLOAD);
    }
    let plugin = args.profile.as_ref().map(|_| profile::plugin(&place)).transpose()?;
    let mut open = Vec::new();
    for side in &sides {
        let mut spec = spec(&place, &kernel, side, args)?;
        if let Some(plugin) = &plugin {
            profile::furnish(&place, side, plugin, &mut spec)?;
        }
        open.push((*side, spec));
    }
    let mut clocks = Vec::new();
    // A profile is of what is counted.
    if plugin.is_none() && over_fuse::SIDES.iter().any(|side| sides.contains(side)) {
        for side in over_fuse::TIMED.into_iter().filter(|side| sides.contains(side)) {
            let mut spec = spec(&place, &kernel, side, args)?;
            over_fuse::by_the_clock(&mut spec, args.rounds);
            clocks.push((side, spec));
        }
    }
    vm::prepare(&kernel)?;
    let all = Mutex::new(BTreeMap::new());
    side_by_side(open, |(name, spec)| {
        let step = ui::step(format!("measure {name}"));
        let output = boot(name, &spec)?;
        let (figures, requests, others) = (figures(&output), requests(&output), others(&output));
        lock(&all).insert(name, Side { figures, requests, others, output });
        step.done("");
        Ok(())
    })?;
    let all = all.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut timed = BTreeMap::new();
    // Nothing beside them, for once.
    for (side, spec) in clocks {
        let step = ui::step(format!("time {side}"));
        timed.insert(side, figures(&boot(side, &spec)?));
        step.done("");
    }
    let counted = all.iter().map(|(side, measured)| (*side, measured.figures.clone())).collect();
    let mut text = report(&all, args.rounds - 1, args.names, scale);
    if plugin.is_none() {
        text += &over_fuse::report(&counted, &timed);
    }
    println!("{text}");
    if let Some(workload) = &args.profile {
        let read = |(side, measured): (&&'static str, &Side)| {
            Ok((*side, profile::read(&place, side, workload, &measured.output)?))
        };
        println!("{}", profile::report(workload, &all.iter().map(read).collect::<Result<_>>()?));
    }
    if args.write_book {
        let (file, page) = match scale {
            true => (SCALE_FILE, book("rext4 beside ext4: a large disk, and many names", &scale_command(args), &text)),
            false => (FILE, book("rext4 beside ext4", "cargo bento bench disk", &text)),
        };
        write_page(&place, file, &page)?;
    }
    Ok(0)
}

fn spec<'k>(place: &Place, kernel: &'k Kernel, side: &str, args: &BenchArgs) -> Result<RunSpec<'k>> {
    let (repository, _) = tools::repository()?;
    let mut spec = RunSpec::new(kernel, &["bash /bento/suites/disk-bench.sh"]);
    if side == "rext4" {
        let built = build::modules(&guest::projects(&place.root, &[side])?, kernel, &[])?;
        spec = spec.module(built.bento);
        for module in built.file_systems {
            spec = spec.module(module);
        }
    }
    spec = over_fuse::furnish(place, side, spec)?;
    spec.disks.push(Disk::Scratch(2048));
    spec.disks.push(Disk::Scratch(1 << 20));
    spec = spec.file(place.root.join("tests/suites"), "suites").file(tools::own(place)?, "bin");
    spec = spec.file(repository.join("repository.git"), "repository.git");
    let filter = match over_fuse::SIDES.contains(&side) {
        true => over_fuse::WORKLOAD.to_owned(),
        false => args.workloads.clone().unwrap_or_default(),
    };
    for (name, value) in [
        ("SIDE", side.to_owned()),
        ("ROUNDS", over_fuse::rounds(side, args.rounds).to_string()),
        ("FILES", FILES.to_string()),
        ("MESSAGES", MESSAGES.to_string()),
        ("MIB", MIB.to_string()),
        ("NAMES", args.names.to_string()),
        ("FILTER", filter),
    ] {
        spec.env.push((name.to_owned(), value));
    }
    counting(&mut spec);
    Ok(spec)
}

/// Of the last round.
fn requests(output: &str) -> Requests {
    let mut requests = Requests::new();
    for line in output.lines() {
        if let ["io", name, rest @ ..] = &line.split_whitespace().collect::<Vec<_>>()[..]
            && let Ok(counts) = rest.iter().filter_map(|count| count.parse().ok()).collect::<Vec<u64>>().try_into()
        {
            requests.insert((*name).to_owned(), counts);
        }
    }
    requests
}

/// Of the last round.
fn others(output: &str) -> BTreeMap<String, i64> {
    let mut others = BTreeMap::new();
    for line in output.lines() {
        if let [kind @ ("memory" | "pieces"), name, value] = line.split_whitespace().collect::<Vec<_>>()[..]
            && let Ok(value) = value.parse()
        {
            others.insert(format!("{kind} {name}"), value);
        }
    }
    others
}

fn report(all: &BTreeMap<&str, Side>, rounds: u32, names: u64, scale: bool) -> String {
    let others = match scale {
        true => String::new(),
        false => format!(
            "{FILES} files, by one task and by two; a local clone of a repository, the same tree from a tar file, searched with \
             cold caches, removed; {MESSAGES} messages, each made durable; {MIB} MiB in blocks of that size, a write with its \
             `fsync`, direct 4 KiB an eighth of that; "
        ),
    };
    let mut text = format!(
        "Linux 6.12 in QEMU, one CPU, instructions counted, one file system per boot on a disk of its own, made with the same \
         options; the first round discarded, median of {rounds} more, ± is half the spread. 10^6 instructions: {others}\
         on a device of 1 TiB its mount, a directory of {names} names, and a file of \
         1 TiB with a block at 4,096 places. ext4 and rext4 are mounted with `commit=300`: the guest's clock leaps while it waits, \
         and commits every 5 seconds would fall upon workloads by chance. I/O is that of the last round: writes (MiB), flushes.\n\n\
         | workload | rext4 | ext4 | rext4 / ext4 | xfs | I/O rext4 | I/O ext4 |\n|---|---|---|---|---|---|---|\n"
    );
    let empty = Side::default();
    let side = |name: &str| all.get(name).unwrap_or(&empty);
    let (rext4, ext4, xfs) = (side("rext4"), side("ext4"), side("xfs"));
    let shown = |side: &Side, name: &str| {
        side.figures
            .get(name)
            .map_or("–".to_owned(), |values| format!("{:.1} ±{:.1} %", median(values) / 1e6, spread(values)))
    };
    let asked = |side: &Side, name: &str| {
        side.requests.get(name).map_or("–".to_owned(), |[_, _, writes, kib, flushes]| {
            format!("{writes} ({:.1}), {flushes}", *kib as f64 / 1024.0)
        })
    };
    let names: std::collections::BTreeSet<_> =
        [rext4, ext4, xfs].into_iter().flat_map(|side| side.figures.keys()).collect();
    let mut ratios = Vec::new();
    for name in names {
        let ratio = match (rext4.figures.get(name), ext4.figures.get(name)) {
            (Some(ours), Some(theirs)) => Some(median(ours) / median(theirs)),
            _ => None,
        };
        ratios.extend(ratio.map(|ratio| (name, ratio)));
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            shown(rext4, name),
            shown(ext4, name),
            ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            shown(xfs, name),
            asked(rext4, name),
            asked(ext4, name),
        );
    }
    let names: std::collections::BTreeSet<_> = all.values().flat_map(|side| side.others.keys()).collect();
    if !names.is_empty() {
        text += "\nMemory: what the kernel cannot give back, in KiB, after caches were dropped. Pieces: of a clone and a large file \
                 that are written at the end to the disk all of it has used, and of what is free there.\n\n\
                 | | rext4 | ext4 | xfs |\n|---|---|---|---|\n";
    }
    for name in names {
        let shown = |side: &Side| side.others.get(name).map_or("–".to_owned(), i64::to_string);
        let _ = writeln!(text, "| {name} | {} | {} | {} |", shown(rext4), shown(ext4), shown(xfs));
    }
    if ratios.is_empty() {
        return text;
    }
    let mean = (ratios.iter().map(|(_, ratio)| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let over: Vec<_> =
        ratios.iter().filter(|(_, ratio)| *ratio > AIM).map(|(name, ratio)| format!("{name} {ratio:.2}")).collect();
    let _ = writeln!(
        text,
        "\nGeometric mean {mean:.3}; aim {AIM_MEAN:.2}: {}. Aim for each workload, {AIM:.2}: {}.",
        if mean <= AIM_MEAN { "reached" } else { "missed" },
        if over.is_empty() { "reached".to_owned() } else { format!("missed by {}", over.join(", ")) }
    );
    text
}

fn book(title: &str, command: &str, text: &str) -> String {
    format!(
        "# {title}\n\n<!-- Written by `{command} --write-book`; do not edit. -->\n\n`{command}` makes these figures again.\n\n{text}"
    )
}

fn scale_command(args: &BenchArgs) -> String {
    let sides: String = args.side.iter().map(|side| format!(" --side {side}")).collect();
    let (names, rounds) = (args.names, args.rounds);
    format!("cargo bento bench disk --workloads {SCALE} --names {names} --rounds {rounds}{sides}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_last_round() {
        let output = "io mail 1 2 3 4 5\nbench mail 7\nio mail 10 20 30 40 50\nio short 1 2\n";
        assert_eq!(requests(output), Requests::from([("mail".to_owned(), [10, 20, 30, 40, 50])]));
    }

    #[test]
    fn memory_and_pieces() {
        let output = "memory names 12\npieces files 3\nmemory names -4\nmemory short\n";
        let expected = BTreeMap::from([("memory names".to_owned(), -4), ("pieces files".to_owned(), 3)]);
        assert_eq!(others(output), expected);
    }

    #[test]
    fn ratios_and_their_mean() {
        let side = |value| Side { figures: BTreeMap::from([("mail".to_owned(), vec![value])]), ..Side::default() };
        let all = BTreeMap::from([("rext4", side(120_000_000)), ("ext4", side(100_000_000))]);
        let text = report(&all, 1, 1000, false);
        assert!(text.contains("| mail | 120.0 ±0.0 % | 100.0 ±0.0 % | 1.20 |"), "{text}");
        assert!(text.contains("missed by mail 1.20"), "{text}");
    }
}
