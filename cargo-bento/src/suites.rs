// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento test --all`: everything CI runs. Each stage is a process of its own with its own log and time limit;
//! as many run side by side as the machine has processors for. The last line counts the checks that really ran.

mod crash;
pub mod guest;
mod host;
mod plan;
mod schedule;
pub mod tools;
mod upgrade;
mod user;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::TestArgs;
use crate::ui;

pub use plan::Stage;

/// Checks of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u32,
    pub failed: u32,
}

impl Tally {
    /// One check that held.
    pub const ONE: Tally = Tally { passed: 1, failed: 0 };

    /// Counts "ok …" and "not ok …" lines.
    pub fn of_lines(text: &str) -> Tally {
        let count = |word: &str| text.lines().filter(|line| line.starts_with(word)).count() as u32;
        Tally { passed: count("ok "), failed: count("not ok ") }
    }

    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// The line that carries a stage's count out of its log.
    fn line(self) -> String {
        format!("tally: {} passed, {} failed", self.passed, self.failed)
    }

    fn parse(log: &str) -> Option<Tally> {
        let line = log.lines().rev().find_map(|line| line.strip_prefix("tally: "))?;
        let (passed, failed) = line.split_once(" passed, ")?;
        Some(Tally { passed: passed.parse().ok()?, failed: failed.strip_suffix(" failed")?.parse().ok()? })
    }
}

/// Where a stage finds and leaves things.
#[derive(Debug, Clone)]
pub struct Place {
    /// The repository.
    pub root: PathBuf,
    /// `<target>/bento`.
    pub out: PathBuf,
    /// One log per stage.
    pub logs: PathBuf,
}

impl Place {
    /// Finds the repository above `dir`.
    pub fn find(dir: &Path) -> Result<Place> {
        let dir = dir.canonicalize().with_context(|| format!("{} is not there", dir.display()))?;
        let root = dir.ancestors().find(|dir| dir.join("tests/suites/lib.sh").exists()).with_context(|| {
            format!(
                "{} lies in no checkout of bento, and the suites are its own: run `cargo bento test` without --all \
                 for a crate's tests",
                dir.display()
            )
        })?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => root.join(target),
            None => root.join("target"),
        };
        let out = target.join("bento");
        let logs = out.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("{} cannot be created", logs.display()))?;
        Ok(Place { root: root.to_owned(), out, logs })
    }
}

/// `cargo bento test --all`, or some of its stages.
pub fn run_all(args: &TestArgs) -> Result<u8> {
    let plan = plan::stages();
    if args.list {
        for stage in &plan {
            println!("{:24} {}", stage.name, stage.what);
        }
        return Ok(0);
    }
    let place = Place::find(&args.target.path)?;
    if let Some(name) = &args.stage {
        return run_here(&place, &plan, name);
    }
    let chosen = choose(&plan, &args.only)?;
    let tally = schedule::run(&place, &plan, &chosen)?;
    ui::say(format!("{} passed, {} failed", tally.passed, tally.failed));
    Ok(u8::from(tally.failed > 0))
}

/// Runs one stage in this process: what the scheduler starts.
fn run_here(place: &Place, plan: &[Stage], name: &str) -> Result<u8> {
    let stage = plan.iter().find(|stage| stage.name == name).with_context(|| unknown(name))?;
    let tally = match (stage.run)(place, stage) {
        Ok(tally) => tally,
        Err(error) => {
            ui::report(&error);
            Tally { passed: 0, failed: 1 }
        }
    };
    println!("{}", tally.line());
    Ok(u8::from(tally.failed > 0))
}

/// The stages whose name is, or begins with, one of `only`; all of them when nothing was chosen.
fn choose(plan: &[Stage], only: &[String]) -> Result<Vec<usize>> {
    if only.is_empty() {
        return Ok((0..plan.len()).collect());
    }
    let mut chosen = Vec::new();
    for name in only {
        let exact = plan.iter().position(|stage| stage.name == *name);
        let found: Vec<usize> = match exact {
            Some(index) => vec![index],
            None => (0..plan.len()).filter(|&index| plan[index].name.starts_with(name.as_str())).collect(),
        };
        if found.is_empty() {
            bail!(unknown(name));
        }
        chosen.extend(found);
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

fn unknown(name: &str) -> String {
    format!("there is no stage {name}: `cargo bento test --all --list` names them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_survives_the_log() {
        let tally = Tally { passed: 12, failed: 3 };
        assert_eq!(Tally::parse(&format!("noise\n{}\n", tally.line())), Some(tally));
        assert_eq!(Tally::parse("tally: many passed, 0 failed"), None);
    }

    #[test]
    fn only_lines_of_checks_count() {
        let text = "ok one\nnot ok two\n# ok three\nokay\n";
        assert_eq!(Tally::of_lines(text), Tally { passed: 1, failed: 1 });
    }

    #[test]
    fn every_need_is_a_stage_that_comes_before() {
        let plan = plan::stages();
        for (index, stage) in plan.iter().enumerate() {
            for need in stage.needs {
                assert!(plan[..index].iter().any(|earlier| earlier.name == *need), "{} needs {need}", stage.name);
            }
            assert_eq!(plan.iter().filter(|other| other.name == stage.name).count(), 1, "{} twice", stage.name);
        }
    }

    #[test]
    fn a_prefix_chooses_a_family() {
        let plan = plan::stages();
        assert!(choose(&plan, &["smoke".to_owned()]).unwrap().len() > 2);
        assert_eq!(choose(&plan, &["smoke-uml".to_owned()]).unwrap().len(), 1);
        assert!(choose(&plan, &["nonsense".to_owned()]).is_err());
    }
}
