// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Does the same random operations in two directories and wants the same answers, names, attributes and contents.
//!
//!     differ DIR1 DIR2 [--seed N] [--count N] [--look N] [--without tmpfile,whiteout,root,xattr,fallocate]
//!     differ compare DIR1 DIR2        what is there already, after a remount
//!
//! One line per result, "ok …" or "not ok …"; ends with 0 or 1, or 2 when it could not work at all.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use bento_judges::mounted::Mounted;
use bento_judges::ops::{Can, Generator, What};
use bento_judges::tree::Target;

/// Differences that are shown before it ends.
const SHOWN: usize = 10;
/// Operations between two looks at everything, if `--look` says nothing else.
const BETWEEN: u64 = 500;

struct Arguments {
    dirs: [PathBuf; 2],
    seed: u64,
    count: u64,
    look: u64,
    can: Can,
    only_compare: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut words = std::env::args().skip(1).peekable();
    let only_compare = words.next_if(|word| word == "compare").is_some();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    // SAFETY: asks for a number.
    let root = unsafe { libc::geteuid() } == 0;
    let (mut dirs, mut seed, mut count, mut look) = (Vec::new(), now, 10_000, BETWEEN);
    let mut can = Can { root, ..Can::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
        match word.as_str() {
            "--seed" => seed = number(value()?)?,
            "--count" => count = number(value()?)?,
            "--look" => look = number(value()?)?.max(1),
            "--without" => {
                for word in value()?.split(',').filter(|word| !word.is_empty()) {
                    match word {
                        "tmpfile" => can.tmpfile = false,
                        "whiteout" => can.whiteout = false,
                        "root" => can.root = false,
                        "xattr" => can.xattr = false,
                        "fallocate" => can.fallocate = false,
                        _ => return Err(format!("there is no `{word}` to do without")),
                    }
                }
            }
            _ if word.starts_with('-') => return Err(format!("there is no {word}")),
            _ => dirs.push(PathBuf::from(word)),
        }
    }
    let dirs = <[PathBuf; 2]>::try_from(dirs).map_err(|_| "two directories are compared".to_owned())?;
    Ok(Arguments { dirs, seed, count, look, can, only_compare })
}

/// Everything in both, compared; the number of names, or what is different.
fn look(targets: &mut [Mounted; 2]) -> Result<usize, Vec<String>> {
    let [one, two] = targets;
    let one = one.look().map_err(|error| vec![error])?;
    let two = two.look().map_err(|error| vec![error])?;
    let lines = one.differences(&two, SHOWN);
    if lines.is_empty() { Ok(one.0.len()) } else { Err(lines) }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let Arguments { dirs, seed, count, look: between, can, only_compare } = arguments;
    if *only_compare {
        let targets = dirs.each_ref().map(|dir| Mounted::new(dir, 24 * 3600));
        return Ok(report(look(&mut { targets }), "compared"));
    }
    println!("differ: seed {seed}, {count} operations in {} and {}", dirs[0].display(), dirs[1].display());
    // SAFETY: sets a number.
    unsafe { libc::umask(0) };
    let place = |dir: &Path| {
        let place = dir.join(format!("differ-{seed}"));
        std::fs::create_dir(&place).map_err(|error| format!("{} cannot be made: {error}", place.display()))?;
        Ok::<_, String>(Mounted::new(&place, 0))
    };
    let mut targets = [place(&dirs[0])?, place(&dirs[1])?];
    let mut generator = Generator::new(*seed, *can);
    let (mut worked, mut different, mut latest) = (0_u64, 0, VecDeque::new());
    for number in 1..=*count {
        let op = generator.make();
        let answers = targets.each_mut().map(|target| target.apply(&op));
        // Some versions of ext4 take note of the time before they refuse.
        if let (What::Fallocate { file, .. }, [Err(_), Err(_)]) = (&op.what, &answers) {
            targets.iter().for_each(|target| target.forget_change(file));
        }
        latest.push_back(format!("{number}: {op:?}"));
        if latest.len() > 12 {
            latest.pop_front();
        }
        if answers[0] != answers[1] {
            different += 1;
            let answers = answers.each_ref().map(|answer| match answer {
                Ok(answer) => format!("{answer:?}"),
                Err(errno) => std::io::Error::from_raw_os_error(*errno).to_string(),
            });
            println!("not ok {number}: {op:?}: {}; {}", answers[0], answers[1]);
        }
        worked += u64::from(answers[0].is_ok());
        generator.learn(&op, &answers[0]);
        let mut trees = Ok(0);
        if number % between == 0 || number == *count {
            trees = look(&mut targets);
        }
        if let Err(lines) = &trees {
            different += lines.len();
            lines.iter().for_each(|line| println!("not ok after {number}: {line}"));
        }
        if different >= SHOWN || trees.is_err() {
            println!("the last operations were:");
            latest.iter().for_each(|line| println!("  {line}"));
            println!("not ok differ: seed {seed}: {different} differences in {number} operations");
            return Ok(false);
        }
    }
    let what = format!("seed {seed}: {count} operations, {worked} of them succeeded");
    let same = report(look(&mut targets), &what);
    if different > 0 {
        println!("not ok differ: {what}: {different} answers differ");
    }
    Ok(same && different == 0)
}

fn report(found: Result<usize, Vec<String>>, what: &str) -> bool {
    match found {
        Ok(names) => println!("ok differ: {what}; {names} names are the same"),
        Err(lines) => {
            lines.iter().for_each(|line| println!("not ok {line}"));
            println!("not ok differ: {what}: the trees differ");
            return false;
        }
    }
    true
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("differ: {error}");
            ExitCode::from(2)
        }
    }
}
