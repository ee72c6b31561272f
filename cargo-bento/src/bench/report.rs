// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The figures in Markdown, as they are printed and as they go into the book, with what was aimed at beside them.

use std::fmt::Write as _;

use super::{All, CALLS, FILES, Figures, MIB, median, spread};

/// In the table's order. `call-*` are for the budget.
const METADATA: [&str; 5] = ["create", "stat", "rename", "unlink", "fstat"];
const TREES: [&str; 3] = ["git-clone", "untar", "rm-rf"];
const DATA: [&str; 8] = [
    "write-4k",
    "read-4k",
    "write-4k-random",
    "read-4k-random",
    "write-128k",
    "read-128k",
    "write-128k-random",
    "read-128k-random",
];

/// What memfs may cost beside tmpfs, and its FUSE build beside it on a git clone.
const AIM: f64 = 1.3;
const AIM_FUSE: f64 = 5.0;

/// The median of a workload on one side.
pub fn of(all: &All, name: &str, side: &str) -> Option<f64> {
    all.get(side)?.get(name).map(|values| median(values))
}

/// How much more it costs on one side than on another.
pub fn ratio(all: &All, name: &str, over: &str, under: &str) -> Option<f64> {
    Some(of(all, name, over)? / of(all, name, under)?)
}

/// The table of all workloads, and what of the aims was reached.
pub fn workloads(all: &All, rounds: u32) -> String {
    let mut text = String::new();
    if all.keys().all(|side| *side == "hellofs") {
        return text;
    }
    let _ = writeln!(
        text,
        "Linux 6.12 in QEMU, one CPU, instructions counted, one file system per boot; the first round discarded, median of \
         {rounds} more, ± is half the spread. 10^6 instructions: {FILES} files; {CALLS} `fstat`; a local clone of a \
         repository, the same tree from a tar file and its removal; {MIB} MiB in blocks of that size, a write with its \
         `fsync`.\n"
    );
    let _ = writeln!(text, "| workload | memfs | tmpfs | memfs / tmpfs | memfs over FUSE | FUSE / memfs | ext4 |");
    let _ = writeln!(text, "|---|---|---|---|---|---|---|");
    let empty = Figures::new();
    for name in METADATA.into_iter().chain(TREES).chain(DATA) {
        let values = |side: &str| all.get(side).unwrap_or(&empty).get(name);
        if all.keys().all(|side| values(side).is_none()) {
            continue;
        }
        let shown = |side: &str| match values(side) {
            Some(values) => format!("{:.1} ±{:.1} %", median(values) / 1e6, spread(values)),
            None => "–".to_owned(),
        };
        let against =
            |over: &str, under: &str| ratio(all, name, over, under).map_or("–".to_owned(), |n| format!("{n:.2}"));
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            shown("memfs"),
            shown("tmpfs"),
            against("memfs", "tmpfs"),
            shown("memfs-fuse"),
            against("memfs-fuse", "memfs"),
            shown("ext4"),
        );
    }
    text += "\n";
    let known = METADATA.iter().filter_map(|name| Some((name, ratio(all, name, "memfs", "tmpfs")?)));
    let known: Vec<_> = known.collect();
    if !known.is_empty() {
        let over = known.iter().filter(|(_, ratio)| *ratio > AIM);
        let over: Vec<String> = over.map(|(name, ratio)| format!("{name} {ratio:.2}")).collect();
        let _ = match over.is_empty() {
            true => writeln!(text, "Aim: at most {AIM} times tmpfs on each metadata workload. Reached."),
            false => {
                writeln!(text, "Aim: at most {AIM} times tmpfs on each metadata workload. Missed: {}.", over.join(", "))
            }
        };
    }
    if let Some(ratio) = ratio(all, "git-clone", "memfs-fuse", "memfs") {
        let _ = writeln!(
            text,
            "Aim: a git clone in the kernel at least {AIM_FUSE} times as fast as over FUSE. {ratio:.2} by instructions{}; \
             counting sees no wake-ups, so the clock's ratio below is the one that is felt.",
            if ratio < AIM_FUSE { ", missed" } else { "" }
        );
    }
    text + "\n"
}

/// What an empty handler costs: the difference to a file system without one.
pub fn empty_call(all: &All) -> String {
    let per_call = |side| of(all, "fstat", side).map(|value| value / CALLS as f64);
    let (Some(with), Some(without)) = (per_call("memfs"), per_call("hellofs")) else { return String::new() };
    format!(
        "One empty call: {:.0} instructions. That is one `fstat` on memfs, whose `getattr` handler is empty ({with:.0}), less \
         one on hellofs, which has none and so makes no call ({without:.0}): gate, trampoline, thunk and contain, and the \
         copies of the attributes in and out.\n",
        with - without
    )
}

/// The page of the book.
pub fn book(text: &str) -> String {
    format!(
        "# What a call costs\n\n<!-- Written by `cargo bento bench --write-book`; do not edit. -->\n\n\
         `cargo bento bench` makes these figures again. Counting instructions repeats to a per cent and sees neither cache \
         misses nor contention; wake-ups between an application and a FUSE daemon cost more than it shows. What is measured \
         in time says so.\n\n{text}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(memfs: u64) -> All {
        let side = |value: u64| Figures::from([("stat".to_owned(), vec![value, value + 2, value + 1])]);
        All::from([("memfs", side(memfs)), ("tmpfs", side(99))])
    }

    #[test]
    fn what_misses_the_aim_is_named() {
        assert!(workloads(&all(119), 3).contains("Reached"));
        assert!(workloads(&all(149), 3).contains("Missed: stat 1.50"));
    }

    #[test]
    fn a_workload_without_figures_has_no_row() {
        let text = workloads(&all(119), 3);
        assert!(text.contains("| stat | 0.0 ±0.8 % |") && !text.contains("| create |"), "{text}");
    }
}
