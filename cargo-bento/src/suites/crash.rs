// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a crash leaves. A guest works on a disk whose writes and flushes are recorded; from the record the disk is made again
//! as it may have been at each flush: with all that earlier flushes made certain, and any part of what came after. e2fsck
//! replays the journal, finds nothing to complain about, and what was durable is there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::guest::{self, setting};
use super::{Place, Stage, Tally};
use crate::fetch;
use crate::ui;
use crate::vm::{self, Disk};

/// MiB of the file system, and of the disk, which has room for marks behind it.
const SIZE: u64 = 48;
const DISK: u64 = 56;
/// Steps of the guest's program; each makes something durable.
const STEPS: u32 = 80;
/// Commits of git, and transactions of each of SQLite's journals.
const COMMITS: u32 = 4;
const TRANSACTIONS: u32 = 4;
const SEED: u64 = 1;
/// Crashes at each flush: nothing, everything, and so many times any part of what was written since the last one.
const PARTS: u64 = 2;

pub fn crash(place: &Place, stage: &Stage) -> Result<Tally> {
    nothing_lost(place, stage, "crash")
}

/// The same for programs that know how to keep what they are given: git, and SQLite.
pub fn work(place: &Place, stage: &Stage) -> Result<Tally> {
    nothing_lost(place, stage, "crash-work")
}

fn nothing_lost(place: &Place, stage: &Stage, script: &str) -> Result<Tally> {
    let (mut tally, bad) = replay(place, stage, script)?;
    report(
        &mut tally,
        bad.is_empty(),
        &format!("no state lost anything{}", bad.first().map_or(String::new(), |one| format!(": {one}"))),
    );
    for one in bad.iter().skip(1).take(20) {
        println!("# {one}");
    }
    Ok(tally)
}

/// A file system without a journal: the same judge must find it wanting.
pub fn control(place: &Place, stage: &Stage) -> Result<Tally> {
    let (mut tally, bad) = replay(place, stage, "crash")?;
    report(&mut tally, !bad.is_empty(), &format!("{} states are found damaged", bad.len()));
    Ok(tally)
}

fn report(tally: &mut Tally, good: bool, what: &str) {
    println!("{} {what}", if good { "ok" } else { "not ok" });
    tally.add(if good { Tally::ONE } else { Tally { passed: 0, failed: 1 } });
}

fn replay(place: &Place, stage: &Stage, script: &str) -> Result<(Tally, Vec<String>)> {
    let dir = place.out.join("suites/crash").join(stage.name);
    fs::create_dir_all(&dir).with_context(|| format!("{} cannot be created", dir.display()))?;
    let log = dir.join("log");
    let kernel = fetch::kernel(stage.kernel)?;
    let mut spec = guest::without_disk(place, stage, &kernel, script)?;
    let settings = [("STEPS", STEPS), ("COMMITS", COMMITS), ("TRANSACTIONS", TRANSACTIONS)];
    let settings = settings.map(|(name, value)| (name, u64::from(value)));
    for (name, value) in settings.into_iter().chain([("SIZE", SIZE), ("SEED", SEED)]) {
        setting(&mut spec, name, &value.to_string());
    }
    spec.disks.push(Disk::Recorded(DISK, log.clone()));
    let outcome = vm::boot(&spec)?;
    fs::write(place.logs.join(format!("{}.kernel.log", stage.name)), &outcome.log)?;
    let mut tally = Tally::of_lines(&outcome.stdout);
    if outcome.verdict(&spec)? != 0 && tally.failed == 0 {
        tally.failed += 1;
    }
    let oracle = Oracle::parse(&outcome.stdout);
    let record = Record::read(&log)?;
    let judge = Judge { dir: dir.clone(), oracle };
    let bad = judge.all(&record)?;
    fs::remove_file(&log)?;
    Ok((tally, bad))
}

/// The disk's writes in order.
struct Record {
    log: File,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Of 512 bytes.
    sector: u64,
    count: u64,
    flags: u64,
    /// Of the data, in the log.
    at: u64,
}

const MAGIC: u64 = 0x6a_7366_7773_6872;
const SECTOR: u64 = 512;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

impl Record {
    fn read(path: &Path) -> Result<Record> {
        let log = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let word = |at: u64| -> Result<u64> {
            let mut bytes = [0; 8];
            log.read_exact_at(&mut bytes, at).context("the record of the disk's writes is cut short")?;
            Ok(u64::from_le_bytes(bytes))
        };
        if word(0)? != MAGIC || word(24)? & 0xffff_ffff != SECTOR {
            bail!("{} is no record of a disk's writes", path.display());
        }
        let mut entries = Vec::new();
        let mut at = SECTOR;
        for _ in 0..word(16)? {
            let entry = Entry { sector: word(at)?, count: word(at + 8)?, flags: word(at + 16)?, at: at + SECTOR };
            at += SECTOR + if entry.flags & DISCARD == 0 { entry.count * SECTOR } else { 0 };
            entries.push(entry);
        }
        Ok(Record { log, entries })
    }

    fn apply(&self, entry: &Entry, disk: &File) -> Result<()> {
        let mut data = vec![0; (entry.count * SECTOR) as usize];
        if entry.flags & DISCARD == 0 {
            self.log.read_exact_at(&mut data, entry.at)?;
        }
        disk.write_all_at(&data, entry.sector * SECTOR)?;
        Ok(())
    }

    /// The number of the mark that an entry writes, if it is one.
    fn mark(&self, entry: &Entry) -> Result<Option<u64>> {
        let base = SIZE << 20;
        let at = entry.sector * SECTOR;
        if at <= base || entry.count != 1 {
            return Ok(None);
        }
        let mut text = [0; 32];
        self.log.read_exact_at(&mut text, entry.at)?;
        let text = String::from_utf8_lossy(&text);
        let number = text.strip_prefix("bento mark ").and_then(|rest| rest.split('\0').next()?.parse().ok());
        Ok(number.filter(|number| base + SECTOR * number == at))
    }
}

/// What a path is or is becoming.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Gone,
    Dir,
    File {
        version: u64,
        len: usize,
    },
    Log(usize),
    /// Nobody has promised anything.
    Any,
    /// A git repository with this commit.
    Commit(String),
    /// A database with the rows 1, 2, 3… of a table, at least so many.
    Rows(usize),
}

impl What {
    fn parse(words: &[&str]) -> Option<What> {
        Some(match words {
            ["gone"] => What::Gone,
            ["dir"] => What::Dir,
            ["file", version, len] => What::File { version: version.parse().ok()?, len: len.parse().ok()? },
            ["log", records] => What::Log(records.parse().ok()?),
            ["any"] => What::Any,
            ["commit", hash] => What::Commit((*hash).to_owned()),
            ["rows", count] => What::Rows(count.parse().ok()?),
            _ => return None,
        })
    }

    /// Why what lies at `path` of the copy is not this; `name` is what its contents follow from.
    fn differs(&self, path: &Path, name: &str) -> Option<String> {
        match self {
            What::Gone => path.symlink_metadata().is_ok().then(|| "is still there".to_owned()),
            What::Dir => (!path.is_dir()).then(|| "is no directory".to_owned()),
            What::File { version, len } => match fs::read(path) {
                Ok(data) if data == contents(name, *version, *len) => None,
                Ok(data) => Some(format!("has {} other bytes than version {version} of {len} bytes", data.len())),
                Err(error) => Some(format!("{error}, instead of version {version}")),
            },
            What::Log(records) => match fs::read(path) {
                Ok(data) => {
                    let wrong =
                        |(index, record): (usize, &[u8])| record != format!("record {:024}\n", index + 1).as_bytes();
                    let whole = data.chunks(32).enumerate().take(*records).any(wrong) || data.len() < records * 32;
                    whole.then(|| format!("has {} bytes and not {records} right records", data.len()))
                }
                Err(error) => Some(format!("{error}, instead of {records} records")),
            },
            What::Any => None,
            What::Commit(hash) => commit_missing(path, hash),
            What::Rows(count) => rows_missing(path, *count),
        }
    }
}

/// Why the repository is not sound, or does not lead to a commit.
fn commit_missing(repository: &Path, hash: &str) -> Option<String> {
    // Named, or git would take a damaged one for none and go on in the folders above.
    let git = |words: &[&str]| run(Command::new("git").arg("--git-dir").arg(repository.join(".git")).args(words));
    for words in [&["fsck", "--full", "--strict"][..], &["merge-base", "--is-ancestor", hash, "HEAD"]] {
        match git(words) {
            Ok((0, _)) => {}
            Ok((code, said)) => return Some(format!("git {} gave {code}: {said}", words.join(" "))),
            Err(error) => return Some(format!("{error:#}")),
        }
    }
    None
}

/// Why the database is not sound, or what it lacks.
fn rows_missing(database: &Path, count: usize) -> Option<String> {
    let query = "PRAGMA integrity_check; SELECT count(*), ifnull(max(n), 0) FROM t;";
    let (code, said) = match run(Command::new("sqlite3").arg(database).arg(query)) {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{error:#}")),
    };
    let rows = said.strip_prefix("ok\n").and_then(|rest| rest.trim().split_once('|'));
    match rows.and_then(|(rows, last)| Some((rows.parse::<usize>().ok()?, last.parse::<usize>().ok()?))) {
        Some((rows, last)) if rows == last && rows >= count => None,
        _ => Some(format!("sqlite3 gave {code} and {said:?}, where {count} rows were committed")),
    }
}

/// As `durable.c` makes them.
fn contents(path: &str, version: u64, len: usize) -> Vec<u8> {
    let start = path
        .bytes()
        .fold(1_469_598_103_934_665_603_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211));
    let mut hash = start ^ version << 32;
    (0..len)
        .map(|_| {
            hash ^= hash << 13;
            hash ^= hash >> 7;
            hash ^= hash << 17;
            (hash >> 24) as u8
        })
        .collect()
}

/// What the guest said of each path, in order: whether it is certain from there on, after which mark, and what.
#[derive(Debug, Default)]
struct Oracle(BTreeMap<String, Vec<(bool, u64, What)>>);

impl Oracle {
    fn parse(output: &str) -> Oracle {
        let mut oracle = Oracle::default();
        for line in output.lines() {
            if let [kind @ ("try" | "mark"), number, path, what @ ..] = &line.split_whitespace().collect::<Vec<_>>()[..]
                && let (Ok(number), Some(what)) = (number.parse(), What::parse(what))
            {
                oracle.0.entry((*path).to_owned()).or_default().push((*kind == "mark", number, what));
            }
        }
        oracle
    }

    /// What `path` may be when `mark` was the last one to be written: what was certain then, or what it was becoming.
    fn allowed(&self, path: &str, mark: u64) -> Vec<&What> {
        let mut allowed = vec![&What::Gone];
        for (certain, _, what) in self.0.get(path).into_iter().flatten().filter(|(_, number, _)| *number <= mark) {
            if *certain {
                allowed.clear();
            }
            allowed.push(what);
        }
        allowed
    }
}

struct Judge {
    dir: PathBuf,
    oracle: Oracle,
}

impl Judge {
    /// What is wrong with which state.
    fn all(&self, record: &Record) -> Result<Vec<String>> {
        let certain = self.dir.join("certain");
        let disk = File::options().read(true).write(true).create(true).truncate(true).open(&certain)?;
        disk.set_len(DISK << 20)?;
        let (mut pending, mut bad): (Vec<Entry>, Vec<String>) = Default::default();
        let (mut mark, mut states, mut random) = (0, 0, SEED.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for (index, entry) in record.entries.iter().enumerate() {
            if let Some(number) = record.mark(entry)? {
                mark = number;
                continue;
            }
            if entry.flags & FLUSH != 0 {
                // Before the first mark mke2fs is at work.
                for part in (0..PARTS + 2).filter(|_| mark > 0 && !pending.is_empty()) {
                    let state = self.dir.join("state");
                    sparse_copy(&certain, &state)?;
                    let copy = File::options().write(true).open(&state)?;
                    for one in &pending {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        if part == 1 || (part > 1 && random >> 33 & 1 == 1) {
                            record.apply(one, &copy)?;
                        }
                    }
                    states += 1;
                    if let Some(why) = self.damage(&state, mark)? {
                        bad.push(format!("write {index}, after mark {mark}, part {part}: {why}"));
                    }
                }
                for one in pending.drain(..) {
                    record.apply(&one, &disk)?;
                }
            }
            if entry.count > 0 {
                if entry.flags & FUA != 0 { record.apply(entry, &disk)? } else { pending.push(*entry) }
            }
        }
        println!("# {} writes, {mark} marks, {states} states judged, {} bad", record.entries.len(), bad.len());
        if states == 0 {
            bail!("no state was judged: the record has {} entries, and {mark} marks", record.entries.len());
        }
        Ok(bad)
    }

    /// What is wrong with a disk after a crash, if anything.
    fn damage(&self, state: &Path, mark: u64) -> Result<Option<String>> {
        run(Command::new("truncate").arg("-s").arg(format!("{SIZE}M")).arg(state))?;
        run(Command::new("e2fsck").args(["-E", "journal_only", "-fy"]).arg(state))?;
        let (code, said) = run(Command::new("e2fsck").arg("-fn").arg(state))?;
        if code != 0 {
            let first: Vec<&str> =
                said.lines().filter(|line| !line.starts_with("Pass") && !line.starts_with("e2fsck")).collect();
            return Ok(Some(format!("e2fsck: {}", first.iter().take(3).copied().collect::<Vec<_>>().join(" | "))));
        }
        let copy = self.dir.join("copy");
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir_all(&copy)?;
        run(Command::new("debugfs").arg("-R").arg(format!("rdump / {}", copy.display())).arg(state))?;
        for path in self.oracle.0.keys() {
            let allowed = self.oracle.allowed(path, mark);
            let wrong: Vec<String> = allowed.iter().map_while(|what| what.differs(&copy.join(path), path)).collect();
            if wrong.len() == allowed.len() {
                return Ok(Some(format!("{path} {}", wrong.join("; "))));
            }
        }
        Ok(None)
    }
}

fn sparse_copy(from: &Path, to: &Path) -> Result<()> {
    ui::run(Command::new("cp").args(["--sparse=always"]).arg(from).arg(to), "a disk's state cannot be copied")?;
    Ok(())
}

/// Its exit code and what it said.
fn run(command: &mut Command) -> Result<(i32, String)> {
    let output = command.output().with_context(|| format!("{command:?} cannot be started: is it installed?"))?;
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain_replaces_what_was() {
        let oracle = Oracle::parse("try 0 a file 1 10\nmark 1 a file 1 10\ntry 4 a gone\nmark 5 a gone\nnoise\n");
        let first = What::File { version: 1, len: 10 };
        assert_eq!(oracle.allowed("a", 0), [&What::Gone, &first]);
        assert_eq!(oracle.allowed("a", 1), [&first]);
        assert_eq!(oracle.allowed("a", 4), [&first, &What::Gone]);
        assert_eq!(oracle.allowed("a", 9), [&What::Gone]);
    }

    #[test]
    fn nothing_is_promised_of_a_program_before_its_first_mark() {
        let oracle = Oracle::parse("try 0 r any\nmark 1 r commit 12ab\ntry 1 d any\nmark 2 d rows 3\n");
        assert_eq!(oracle.allowed("r", 0), [&What::Gone, &What::Any]);
        assert_eq!(oracle.allowed("r", 2), [&What::Commit("12ab".to_owned())]);
        assert_eq!(oracle.allowed("d", 2), [&What::Rows(3)]);
        let missing = rows_missing(Path::new("/nowhere/database"), 3);
        assert!(missing.is_some_and(|why| why.contains("3 rows")));
    }
}
