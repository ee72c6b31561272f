// SPDX-License-Identifier: GPL-2.0 OR MIT
//! rext4 in the kernel beside rext4 and fuse2fs over FUSE, in the same guest and on disks made in the same way: a `git clone`,
//! by instructions, which do not show what it costs to wake a daemon and wait for it, and by the clock of a guest with two
//! processors, which is as noisy as the machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use super::{Figures, daemon, median, spread};
use crate::build;
use crate::project::Project;
use crate::suites::Place;
use crate::vm::RunSpec;

/// What is mounted by a daemon.
pub const SIDES: [&str; 2] = ["rext4-fuse", "fuse2fs"];
/// Whose time is taken.
pub const TIMED: [&str; 4] = ["rext4", "ext4", "rext4-fuse", "fuse2fs"];
/// The only one: others take many times as long as in the kernel.
pub const WORKLOAD: &str = "git-clone";

/// Rounds at most: of what repeats to a per mille and takes minutes, and of what is timed, one guest after the other.
const COUNTED_ROUNDS: u32 = 3;
const TIMED_ROUNDS: u32 = 4;

/// So much faster is the kernel to be.
const AIM: f64 = 7.0;

/// By side.
type All<'a> = BTreeMap<&'a str, Figures>;

/// Of so many rounds that were asked for, those of this side.
pub fn rounds(side: &str, rounds: u32) -> u32 {
    if SIDES.contains(&side) { rounds.min(COUNTED_ROUNDS) } else { rounds }
}

/// What the daemon of a side needs in the guest.
pub fn furnish<'k>(place: &Place, side: &str, spec: RunSpec<'k>) -> Result<RunSpec<'k>> {
    if side != "rext4-fuse" {
        return Ok(spec);
    }
    let rext4 = Project::open(&place.root.join("examples/rext4"))?;
    let object = build::user::shared_object(&rext4, &[])?;
    Ok(spec.file(daemon(place)?, "tool/cargo-bento").file(object, "tool/librext4.so"))
}

/// Makes a guest that counts instructions one whose clock is read.
pub fn by_the_clock(spec: &mut RunSpec<'_>, rounds: u32) {
    spec.icount = false;
    spec.smp = 2;
    spec.env.retain(|(name, _)| name != "ROUNDS" && name != "FILTER");
    for (name, value) in [("BENCH_WALL", "1"), ("FILTER", WORKLOAD), ("ROUNDS", &rounds.min(TIMED_ROUNDS).to_string())]
    {
        spec.env.push((name.to_owned(), value.to_owned()));
    }
}

/// The paragraph and the table, if there is anything to compare.
pub fn report(counted: &All<'_>, timed: &All<'_>) -> String {
    let values = |all: &All<'_>, side: &str| all.get(side).and_then(|figures| figures.get(WORKLOAD)).cloned();
    if SIDES.iter().all(|side| values(counted, side).is_none() && values(timed, side).is_none()) {
        return String::new();
    }
    let best = |values: &Vec<u64>| values.iter().min().map_or(f64::NAN, |best| *best as f64);
    let rounds = |all: &All<'_>, side: &str| values(all, side).map_or(0, |values| values.len());
    let (daemons, clock) = (rounds(counted, SIDES[0]), rounds(timed, "rext4"));
    let mut text = format!(
        "\nThe kernel beside FUSE, `{WORKLOAD}` on disks made in the same way, fuse2fs being Debian's. 10^6 instructions of \
         all processes and the kernel, as above, over FUSE of {daemons} rounds after the first; and seconds in a guest with two \
         processors, emulated on a machine with other things to do: the best of {clock} rounds after the first, the median with \
         half the spread behind it. Counting does \
         not see what waking and waiting for a daemon cost.\n\n\
         | {WORKLOAD} | rext4 | ext4 | rext4 over FUSE | fuse2fs | rext4 over FUSE / rext4 | fuse2fs / rext4 |\n\
         |---|---|---|---|---|---|---|\n"
    );
    let mut missed = Vec::new();
    for (what, all, basis) in [("instructions", counted, false), ("seconds", timed, true)] {
        let figure = |values: &Vec<u64>| if basis { best(values) } else { median(values) };
        let shown = |side: &str| match values(all, side) {
            None => "–".to_owned(),
            Some(values) if basis => {
                format!("{:.1} ({:.1} ±{:.0} %)", best(&values) / 1e9, median(&values) / 1e9, spread(&values))
            }
            Some(values) => format!("{:.1} ±{:.1} %", median(&values) / 1e6, spread(&values)),
        };
        let mut ratio = |side: &str| match (values(all, side), values(all, "rext4")) {
            (Some(daemon), Some(kernel)) => {
                let ratio = figure(&daemon) / figure(&kernel);
                if ratio < AIM {
                    missed.push(format!("{side} {ratio:.2} by {what}"));
                }
                format!("{ratio:.2}")
            }
            _ => "–".to_owned(),
        };
        let (ours, theirs) = (ratio(SIDES[0]), ratio(SIDES[1]));
        let [rext4, ext4, fuse, fuse2fs] = TIMED.map(shown);
        let _ = writeln!(text, "| {what} | {rext4} | {ext4} | {fuse} | {fuse2fs} | {ours} | {theirs} |");
    }
    let verdict = if missed.is_empty() { "reached".to_owned() } else { format!("missed by {}", missed.join(", ")) };
    let _ = writeln!(text, "\nAim: the kernel {AIM:.0} times as fast as either over FUSE: {verdict}.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(figures: [(&'static str, [u64; 2]); 3]) -> All<'static> {
        figures.map(|(side, values)| (side, Figures::from([(WORKLOAD.to_owned(), values.to_vec())]))).into()
    }

    #[test]
    fn what_misses_the_aim_is_named() {
        let counted = all([("rext4", [10, 10]), ("rext4-fuse", [30, 30]), ("fuse2fs", [70, 70])]);
        let timed = all([("rext4", [10, 20]), ("rext4-fuse", [80, 70]), ("fuse2fs", [90, 80])]);
        let text = report(&counted, &timed);
        assert!(text.ends_with("over FUSE: missed by rext4-fuse 3.00 by instructions.\n"), "{text}");
    }

    #[test]
    fn there_is_no_table_without_a_daemon() {
        assert_eq!(report(&BTreeMap::from([("rext4", Figures::new())]), &BTreeMap::new()), "");
    }
}
