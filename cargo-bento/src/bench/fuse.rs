// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento bench fuse`: rext4 as a daemon beside fuse2fs, natively: both serve images that were made in the same way, on
//! the same disk, and take turns at each workload. Machines are shared, so the best round of each side counts. All of it is
//! measured twice: as the machine is, and with daemon and workload on one processor, where nobody is woken across.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{daemon, median, spread, write_page};
use crate::cli::BenchArgs;
use crate::project::Project;
use crate::suites::{Place, tools};
use crate::{build, setup, ui};

/// Ours and the rival.
const SIDES: [&str; 2] = ["rext4", "fuse2fs"];
/// The same on one processor.
const ALONE: [&str; 2] = ["rext4-1", "fuse2fs-1"];

/// In order: a workload of fuse-bench.sh, the group it is asked for with, since it needs what the ones before it left, and whether
/// nothing is to be cached before it.
const WORKLOADS: [(&str, &str, bool); 11] = [
    ("meta", "meta", false),
    ("meta2", "meta", false),
    ("git-clone", "git", false),
    ("git-status", "git", true),
    ("rm-clone", "git", false),
    ("untar", "untar", false),
    ("grep-cold", "untar", true),
    ("rm-rf", "untar", true),
    ("mail", "mail", false),
    ("sqlite", "sqlite", false),
    ("data", "data", false),
];

const FILES: u64 = 5_000;
const MESSAGES: u64 = 300;
const MIB: u64 = 32;

/// So much faster than fuse2fs is the aim, in these.
const AIM: f64 = 3.0;
const AIMED: [&str; 10] =
    ["git-clone", "untar", "create", "create-2", "stat", "stat-2", "rename", "rename-2", "unlink", "unlink-2"];

/// Counted rounds of a page in the book.
const LEAST: u32 = 5;
const FILE: &str = "book/src/fuse-figures.md";

/// Nanoseconds of each round but the first, by side and what was measured; in the order of the workloads.
#[derive(Default)]
struct Times {
    names: Vec<String>,
    values: BTreeMap<(&'static str, String), Vec<u64>>,
}

impl Times {
    fn note(&mut self, side: &'static str, output: &str, counted: bool) {
        for line in output.lines() {
            if let ["bench", name, value] = line.split_whitespace().collect::<Vec<_>>()[..]
                && let Ok(value) = value.parse()
            {
                if !self.names.iter().any(|known| known == name) {
                    self.names.push(name.to_owned());
                }
                if counted {
                    self.values.entry((side, name.to_owned())).or_default().push(value);
                }
            }
        }
    }

    fn of(&self, side: &'static str, name: &str) -> Option<&Vec<u64>> {
        self.values.get(&(side, name.to_owned()))
    }

    fn best(&self, side: &'static str, name: &str) -> Option<f64> {
        self.of(side, name)?.iter().min().map(|best| *best as f64)
    }

    /// How much longer the second side takes, each at its best.
    fn ratio(&self, [ours, theirs]: [&'static str; 2], name: &str) -> Option<f64> {
        Some(self.best(theirs, name)? / self.best(ours, name)?)
    }
}

/// One side: an image and the daemon that serves it. Ended when dropped.
struct Side {
    name: &'static str,
    /// The daemon, without the place to mount on.
    command: Vec<PathBuf>,
    /// What daemon and workload are started by.
    prefix: Vec<OsString>,
    image: PathBuf,
    dir: PathBuf,
    daemon: Option<Child>,
}

impl Side {
    fn new(name: &'static str, place: &Place) -> Result<Side> {
        let base = place.out.join("bench/fuse");
        let (image, dir) = (base.join(format!("{name}.img")), base.join(name));
        fs::create_dir_all(&dir).with_context(|| format!("{} cannot be created", dir.display()))?;
        let _ = fs::remove_file(&image);
        let made = File::create(&image).and_then(|file| file.set_len(2 << 30));
        made.with_context(|| format!("{} cannot be written", image.display()))?;
        let mut mkfs = Command::new("mkfs.ext4");
        // Tables in full at once: neither side is to do it later.
        mkfs.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&image);
        ui::run(&mut mkfs, "the image cannot be made")?;
        let rext4 = name.starts_with(SIDES[0]);
        let command = match rext4 {
            true => {
                let rext4 = Project::open(&place.root.join("examples/rext4"))?;
                let object = build::user::shared_object(&rext4, &[])?;
                vec![daemon(place)?, "mount".into(), object, image.clone()]
            }
            false => vec![SIDES[1].into(), "-f".into(), image.clone()],
        };
        let prefix = match ALONE.contains(&name) {
            true => vec!["taskset".into(), "--cpu-list".into(), first_cpu()?.into()],
            false => vec!["env".into()],
        };
        let mut side = Side { name, command, prefix, image, dir, daemon: None };
        side.mount()?;
        Ok(side)
    }

    fn is_mounted(&self) -> Result<bool> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*self.dir.to_string_lossy())))
    }

    /// A program on the processors of this side.
    fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let mut program = Command::new(&self.prefix[0]);
        program.args(&self.prefix[1..]).arg(name);
        program
    }

    fn mount(&mut self) -> Result<()> {
        let mut command = self.program(&self.command[0]);
        command.args(&self.command[1..]).arg(&self.dir).stdin(Stdio::null()).stdout(Stdio::null());
        let daemon = command.stderr(Stdio::null()).spawn();
        let daemon = self.daemon.insert(daemon.with_context(|| format!("{} cannot be started", self.name))?);
        let daemon_id = daemon.id();
        for _ in 0..500 {
            if self.is_mounted()? {
                return Ok(());
            }
            if let Some(status) = self.daemon.as_mut().map_or(Ok(None), Child::try_wait)? {
                bail!("{} ended at once ({status}): is /dev/fuse there?", self.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("{} (process {daemon_id}) does not mount {}", self.name, self.dir.display())
    }

    fn unmount(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        ui::run(Command::new("umount").arg(&self.dir), &format!("{} cannot be unmounted", self.dir.display()))?;
        let status = daemon.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Neither the kernel, the daemon nor the machine's own cache knows anything of it afterwards.
    fn cool(&mut self) -> Result<()> {
        self.unmount()?;
        File::open(&self.image)?.sync_all()?;
        let mut input = OsString::from("if=");
        input.push(&self.image);
        let mut dd = Command::new("dd");
        dd.arg(input).args(["of=/dev/null", "iflag=nocache", "count=0"]);
        ui::run(&mut dd, "the image cannot be taken out of the machine's cache")?;
        self.mount()
    }

    fn check(&mut self) -> Result<()> {
        self.unmount()?;
        let what = format!("e2fsck complains of what {} left", self.name);
        ui::run(Command::new("e2fsck").arg("-fn").arg(&self.image), &what).map(drop)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
            let _ = daemon.wait();
        }
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.dir);
    }
}

/// The first processor that this program may use.
fn first_cpu() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split([',', '-']).next());
    first.map(str::to_owned).context("/proc/self/status does not say which processors there are")
}

pub fn run(args: &BenchArgs) -> Result<u8> {
    if !args.side.is_empty() {
        bail!("the sides of `bench fuse` take turns: give it without --side");
    }
    if args.write_book && (args.workloads.is_some() || args.rounds <= LEAST) {
        bail!("--write-book writes the whole page: give it without --workloads, and with --rounds {}", LEAST + 1);
    }
    let place = Place::find(&std::env::current_dir()?)?;
    setup::packages()?;
    setup::install(&[("fuse2fs", "rext4's rival over FUSE"), ("sqlite3", "one of the workloads")])?;
    let (repository, files) = tools::repository()?;
    let repository = repository.join("repository.git");
    let programs = tools::own(&place)?;
    let tree = programs.with_file_name("tree.tar");
    let mut archive = Command::new("git");
    archive.arg("-C").arg(&repository).args(["archive", "-o"]).arg(&tree).arg("HEAD");
    ui::run(&mut archive, "the tree that is unpacked cannot be made")?;
    let workload = |name: &str, side: &Side| {
        let mut script = side.program("bash");
        script.arg(place.root.join("tests/suites/fuse-bench.sh")).arg(name).arg(&side.dir);
        script.env("BIN", &programs).env("REPOSITORY", &repository).env("TREE", &tree);
        script.env("FILES", FILES.to_string()).env("MESSAGES", MESSAGES.to_string()).env("MIB", MIB.to_string());
        ui::run(&mut script, &format!("the workload {name} failed"))
    };
    let wanted = |group: &str| match &args.workloads {
        Some(words) => words.split(',').any(|word| group.contains(word)),
        None => true,
    };
    let mut sides = Vec::new();
    for name in SIDES.into_iter().chain(ALONE) {
        sides.push(Side::new(name, &place)?);
    }
    let mut times = Times::default();
    for round in 0..args.rounds {
        let step = ui::step(format!("round {} of {}", round + 1, args.rounds));
        for (name, _, cold) in WORKLOADS.into_iter().filter(|(_, group, _)| wanted(group)) {
            for side in &mut sides {
                if cold {
                    side.cool()?;
                }
                times.note(side.name, &workload(name, side)?, round > 0);
            }
        }
        step.done("");
    }
    for side in &mut sides {
        side.check()?;
    }
    let text = report(&times, args.rounds - 1, files);
    println!("{text}");
    if args.write_book {
        write_page(&place, FILE, &book(&text))?;
    }
    Ok(0)
}

fn report(times: &Times, rounds: u32, files: u32) -> String {
    let mut text = format!(
        "Measured in time on the machine itself, both sides in turns, {rounds} counted rounds: the best one, and the median \
         with half the spread, in milliseconds; at the right the best ones with daemon and workload on one processor, so that what it costs \
         this machine to wake a program on another one is left out. {FILES} files by one task and by two; a local clone of a \
         repository of {files} files and its objects, `git status` after a fresh mount, its removal; the same tree from a tar \
         file, searched and removed after a fresh mount; {MESSAGES} messages, each made durable; SQLite; {MIB} MiB in blocks \
         of that size, a write with its `fsync`, direct 4 KiB an eighth of that.\n\n\
         | workload | rext4 | median | fuse2fs | median | fuse2fs / rext4 | one processor: rext4 | fuse2fs | fuse2fs / rext4 |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    let best = |side, name: &str| times.best(side, name).map_or("–".to_owned(), |best| format!("{:.1}", best / 1e6));
    let middle = |side, name: &str| {
        times
            .of(side, name)
            .map_or("–".to_owned(), |values| format!("{:.1} ±{:.0} %", median(values) / 1e6, spread(values)))
    };
    let ratio = |sides, name: &str| times.ratio(sides, name).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
    for name in &times.names {
        let _ = write!(text, "| {name} |");
        for side in SIDES {
            let _ = write!(text, " {} | {} |", best(side, name), middle(side, name));
        }
        let _ = write!(text, " {} |", ratio(SIDES, name));
        let _ = writeln!(text, " {} | {} | {} |", best(ALONE[0], name), best(ALONE[1], name), ratio(ALONE, name));
    }
    let aimed: Vec<_> = AIMED.into_iter().filter(|name| times.ratio(SIDES, name).is_some()).collect();
    if !aimed.is_empty() {
        let verdict = |sides| {
            let below = aimed.iter().filter_map(|name| Some((name, times.ratio(sides, name)?)));
            let below: Vec<_> =
                below.filter(|(_, ratio)| *ratio < AIM).map(|(name, ratio)| format!("{name} {ratio:.2}")).collect();
            if below.is_empty() { "reached".to_owned() } else { format!("missed by {}", below.join(", ")) }
        };
        let names = aimed.join(", ");
        let (machine, alone) = (verdict(SIDES), verdict(ALONE));
        let _ = writeln!(text, "\nAim: {AIM:.0} times as fast in {names}: {machine}. On one processor: {alone}.");
    }
    text
}

fn book(text: &str) -> String {
    format!(
        "# rext4 over FUSE beside fuse2fs\n\n<!-- Written by `cargo bento bench fuse --write-book`; do not edit. -->\n\n\
         `cargo bento bench fuse` makes these figures again. fuse2fs is Debian's, of e2fsprogs: it replays a journal and does \
         not write one, so what it leaves after a crash wants an `e2fsck`.\n\n{text}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rext4: &str, fuse2fs: &str) -> Times {
        let mut times = Times::default();
        for (side, output) in SIDES.into_iter().chain(ALONE).zip([rext4, fuse2fs, rext4, rext4]) {
            times.note(side, "bench untar 1\n", false);
            times.note(side, output, true);
        }
        times
    }

    #[test]
    fn the_best_rounds_are_compared_and_the_first_does_not_count() {
        let times = times("bench untar 200\nbench untar 100\n", "bench untar 400\nnoise\nbench untar 900\n");
        assert_eq!(times.ratio(SIDES, "untar"), Some(4.0));
        let text = report(&times, 2, 1);
        assert!(text.contains("as fast in untar: reached. On one processor: missed by untar 1.00."), "{text}");
    }

    #[test]
    fn what_misses_the_aim_is_named() {
        let text = report(&times("bench untar 200\nbench mail 5\n", "bench untar 500\nbench mail 5\n"), 1, 1);
        assert!(text.contains("missed by untar 2.50."), "{text}");
        assert!(text.contains("| mail | 0.0 | 0.0 ±0 % | 0.0 | 0.0 ±0 % | 1.00 | 0.0 | 0.0 | 1.00 |"), "{text}");
    }

    #[test]
    fn there_is_a_processor() {
        assert!(first_cpu().unwrap().parse::<usize>().is_ok());
    }
}
