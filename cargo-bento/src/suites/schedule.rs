// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Runs the chosen stages: each as a child of this program that writes to its own log, started when what it needs has
//! passed and processors are free, ended when its time is over.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Place, Stage, Tally};
use crate::ui;

/// A sign of life after so long without a stage that ended.
const HEARTBEAT: Duration = Duration::from_secs(60);

struct Running {
    index: usize,
    child: Child,
    started: Instant,
    log: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Passed,
    Failed,
    /// Not chosen: what it would have made is there, or its user will make it.
    Absent,
}

/// Runs the stages `chosen` of `plan` and returns the sum of their checks.
pub fn run(place: &Place, plan: &[Stage], chosen: &[usize]) -> Result<Tally> {
    // A stage may rebuild the tool; the copy stays what it is.
    let program = place.out.join("logs/.cargo-bento");
    let _ = fs::remove_file(&program);
    fs::copy(std::env::current_exe().context("this program does not know its own path")?, &program)
        .with_context(|| format!("{} cannot be written", program.display()))?;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut states: Vec<State> =
        (0..plan.len()).map(|index| if chosen.contains(&index) { State::Waiting } else { State::Absent }).collect();
    let mut running: Vec<Running> = Vec::new();
    let mut sum = Tally::default();
    let mut ended = 0;
    let mut last_sign = Instant::now();
    let started = Instant::now();
    ui::say(format!("{} stages on {processors} processors; logs: {}", chosen.len(), place.logs.display()));
    loop {
        for &index in chosen {
            if states[index] != State::Waiting {
                continue;
            }
            let stage = &plan[index];
            match needs(plan, &states, stage) {
                Need::Broken(need) => {
                    states[index] = State::Failed;
                    ended += 1;
                    sum.failed += 1;
                    say(ended, chosen.len(), stage, &format!("NOT RUN: it needs {need}, which failed"));
                }
                Need::Pending => {}
                Need::Met => {
                    let busy: usize = running.iter().map(|one| plan[one.index].cores.min(processors)).sum();
                    if busy + stage.cores.min(processors) <= processors {
                        running.push(start(place, &program, index, stage)?);
                        states[index] = State::Running;
                    } else if stage.cores > 1 {
                        // What fills the machine is not overtaken for ever by small stages.
                        break;
                    }
                }
            }
        }
        if running.is_empty() && !chosen.iter().any(|&index| states[index] == State::Waiting) {
            break;
        }
        thread::sleep(Duration::from_millis(100));
        let mut still = Vec::new();
        for mut one in running {
            let stage = &plan[one.index];
            let limit = Duration::from_secs(60 * stage.minutes);
            let status = one.child.try_wait().context("a stage cannot be waited for")?;
            if status.is_none() && one.started.elapsed() < limit {
                still.push(one);
                continue;
            }
            let (tally, note) = judge(&mut one, status.is_none().then_some(limit));
            ended += 1;
            last_sign = Instant::now();
            sum.add(tally);
            states[one.index] = if tally.failed == 0 { State::Passed } else { State::Failed };
            let seconds = one.started.elapsed().as_secs();
            let verdict = match tally {
                Tally { passed: 0, failed: 0 } => "SKIPPED",
                Tally { failed: 0, .. } => "ok",
                _ => "FAILED",
            };
            let counts = format!("{} passed, {} failed", tally.passed, tally.failed);
            say(ended, chosen.len(), stage, &format!("{verdict}: {counts} ({seconds} s){note}"));
        }
        running = still;
        if last_sign.elapsed() > HEARTBEAT {
            last_sign = Instant::now();
            let names: Vec<String> = running
                .iter()
                .map(|one| format!("{} ({} s)", plan[one.index].name, one.started.elapsed().as_secs()))
                .collect();
            ui::say(format!("  .. {} min, running: {}", started.elapsed().as_secs() / 60, names.join(", ")));
        }
    }
    ui::say(format!("{} stages in {} s", chosen.len(), started.elapsed().as_secs()));
    Ok(sum)
}

enum Need {
    Met,
    Pending,
    Broken(&'static str),
}

fn needs(plan: &[Stage], states: &[State], stage: &Stage) -> Need {
    let mut all = Need::Met;
    for need in stage.needs {
        let state = plan.iter().position(|other| other.name == *need).map(|index| states[index]);
        match state {
            Some(State::Failed) => return Need::Broken(need),
            Some(State::Waiting | State::Running) => all = Need::Pending,
            _ => {}
        }
    }
    all
}

fn start(place: &Place, program: &PathBuf, index: usize, stage: &Stage) -> Result<Running> {
    let log = place.logs.join(format!("{}.log", stage.name));
    let out = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
    let mut command = Command::new(program);
    command.args(["test", "--all", "--stage", stage.name]).arg(&place.root);
    command.current_dir(&place.root).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    // A group of its own, so that the time limit ends everything the stage started.
    command.process_group(0);
    let child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
    if stage.minutes > 10 || !ui::is_terminal() {
        ui::say(format!("  .. {}: {}", stage.name, stage.what));
    }
    Ok(Running { index, child, started: Instant::now(), log })
}

/// The checks of a stage that has ended or must end now, and what to say about it.
fn judge(one: &mut Running, over: Option<Duration>) -> (Tally, String) {
    if over.is_some() {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", one.child.id())]).status();
        let _ = one.child.wait();
    }
    let log = String::from_utf8_lossy(&fs::read(&one.log).unwrap_or_default()).into_owned();
    let mut tally = Tally::parse(&log).unwrap_or(Tally { passed: 0, failed: 1 });
    let mut note = String::new();
    if tally == Tally::default() {
        note = log
            .lines()
            .find(|line| line.starts_with("# skipped"))
            .map(|line| format!("\n      {line}"))
            .unwrap_or_default();
    }
    if let Some(limit) = over {
        tally = Tally::of_lines(&log);
        tally.failed += 1;
        note += &format!("\n      ended after its limit of {} min", limit.as_secs() / 60);
    }
    if tally.failed > 0 {
        let first: Vec<&str> = log
            .lines()
            .filter(|line| line.starts_with("not ok ") || line.starts_with("error") || line.starts_with("  because"))
            .take(6)
            .collect();
        for line in first {
            let short: String = line.chars().take(300).collect();
            note += &format!("\n      {short}");
        }
        note += &format!("\n      log: {}", one.log.display());
    }
    (tally, note)
}

fn say(ended: usize, all: usize, stage: &Stage, text: &str) {
    ui::say(format!("[{ended:2}/{all}] {:22} {text}", stage.name));
}
