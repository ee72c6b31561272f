// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the author sees while the tool works: one line per step with a spinner or bar on a terminal, plain lines
//! elsewhere (logs, CI), and an error once, first, in one sentence with what to do.

use std::io::IsTerminal;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// One step of work, shown while it runs. Dropping it without [`Step::done`] clears the line.
#[derive(Debug)]
pub struct Step {
    bar: Option<ProgressBar>,
    name: String,
    started: Instant,
}

/// Announces a step whose length is not known.
pub fn step(name: impl Into<String>) -> Step {
    let name = name.into();
    let bar = is_terminal().then(|| {
        let bar = ProgressBar::new_spinner();
        bar.set_style(spinner_style("{spinner} {msg} ({elapsed})"));
        bar.set_message(name.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    if bar.is_none() {
        eprintln!("  .. {name}");
    }
    Step { bar, name, started: Instant::now() }
}

/// Announces a step of `total` bytes, such as a download.
pub fn bytes(name: impl Into<String>, total: u64) -> Step {
    let name = name.into();
    let bar = is_terminal().then(|| {
        let bar = ProgressBar::new(total);
        bar.set_style(spinner_style("{spinner} {msg} [{bar:30}] {bytes}/{total_bytes}"));
        bar.set_message(name.clone());
        bar
    });
    if bar.is_none() {
        eprintln!("  .. {name}");
    }
    Step { bar, name, started: Instant::now() }
}

impl Step {
    /// Moves a bar made by [`bytes`] to `position`.
    pub fn at(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    /// Replaces the text of a running step, for instance with the crate that is being compiled.
    pub fn now(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.name));
        }
    }

    /// Ends the step and leaves one line behind.
    pub fn done(self, result: impl AsRef<str>) {
        let seconds = self.started.elapsed().as_secs_f32();
        let line = format!("  ok {} {} ({seconds:.1} s)", self.name, result.as_ref());
        match &self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                eprintln!("{line}");
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line of result that is not part of a step.
pub fn say(line: impl AsRef<str>) {
    eprintln!("{}", line.as_ref());
}

/// Prints an error: the sentence to act on first, its causes (a compiler's output, a command) below.
pub fn report(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {}", cause.to_string().trim_end().replace('\n', "\n    "));
    }
}

/// Runs a command to its end with its output captured; failure is `sentence` followed by what the command printed.
pub fn run(command: &mut Command, sentence: &str) -> Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| missing(command))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(anyhow::anyhow!("{shown}\n{}{}", tail(&text, 60), tail(&printed, 200)).context(sentence.to_owned()))
}

/// Runs a command whose output belongs to the author (cargo's own messages); returns its exit code.
pub fn pass_through(command: &mut Command) -> Result<u8> {
    let status = command.status().with_context(|| missing(command))?;
    match status.code() {
        Some(code) => Ok(code as u8),
        None => bail!("{} was killed by a signal", show(command)),
    }
}

/// The command line as the author would type it.
pub fn show(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

fn missing(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let package = match program.as_str() {
        "ld" | "objcopy" | "as" => "binutils",
        "cc" | "gcc" => "gcc",
        "make" => "make",
        "qemu-system-x86_64" => "qemu-system-x86",
        _ => return format!("{program} cannot be started: is it installed and in PATH?"),
    };
    format!("{program} cannot be started: run `sudo apt-get install {package}`, or `cargo bento setup`")
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let mut kept = all[all.len().saturating_sub(lines)..].join("\n");
    if !kept.is_empty() {
        kept.push('\n');
    }
    kept
}

/// Whether somebody watches; else every line has to stand for itself.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

fn spinner_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
