// SPDX-License-Identifier: GPL-2.0 OR MIT
//! gdb on user-mode Linux: waits until the guest has loaded its modules, then attaches with their symbols at the
//! addresses where they lie, so that a breakpoint in a handler stops there with the author's lines shown.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::RunSpec;
use super::stage::RunDir;
use crate::ui;

/// What gdb is to do.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// gdb commands after attaching, for instance `hbreak memfs::…` and `continue`.
    pub commands: Vec<String>,
    /// End after them instead of prompting.
    pub batch: bool,
}

/// UML lives on these signals; gdb must not stop for them.
const SIGNALS: &str = "SIGSEGV SIGUSR1 SIGALRM SIGIO SIGCHLD SIGVTALRM SIGWINCH";

/// Attaches to the guest `child`, runs the session, and lets the guest go on when gdb has ended.
pub fn attach(session: &Session, spec: &RunSpec, run: &RunDir, child: &mut Child) -> Result<()> {
    let sections = run.join("out/sections");
    let started = Instant::now();
    while !sections.exists() {
        if child.try_wait()?.is_some() || started.elapsed() > Duration::from_secs(300) {
            bail!("the guest did not load its modules, so there is nothing to debug: run it without --gdb first");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let script = run.join("gdb");
    let text = fs::read_to_string(&sections).with_context(|| format!("{} cannot be read", sections.display()))?;
    fs::write(&script, commands(session, spec, run, child.id(), &text))?;
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx"]);
    if session.batch {
        gdb.arg("-batch").stdin(Stdio::null());
    }
    gdb.arg("-x").arg(&script);
    ui::say(format!("  .. gdb: process {}, symbols of {} module(s)", child.id(), spec.modules.len()));
    gdb.status().context("gdb cannot be started: run `sudo apt-get install gdb`")?;
    // Whether or not gdb came as far as this itself.
    fs::write(run.join("out/go"), "")?;
    Ok(())
}

fn commands(session: &Session, spec: &RunSpec, run: &RunDir, pid: u32, sections: &str) -> String {
    let mut text = String::from(
        "set pagination off\nset confirm off\nset breakpoint pending on\nset print thread-events off\nset print inferior-events off\n",
    );
    text += &format!("file {}\n", spec.kernel.vmlinuz.display());
    text += &format!("handle {SIGNALS} nostop noprint pass\nattach {pid}\n");
    for module in &spec.modules {
        let Some(name) = module.path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if let Some(line) = add_symbols(&module.path, &name.replace('-', "_"), sections) {
            text += &line;
        }
    }
    // The command starts as soon as gdb lets the guest run.
    text += &format!("shell touch {}\n", run.join("out/go").display());
    for command in &session.commands {
        text += command;
        text.push('\n');
    }
    text
}

/// The `add-symbol-file` line of one module.
fn add_symbols(path: &Path, name: &str, sections: &str) -> Option<String> {
    let mut line = None;
    let mut rest = String::new();
    for entry in sections.lines() {
        let mut words = entry.split_whitespace();
        let (Some(module), Some(section), Some(address)) = (words.next(), words.next(), words.next()) else { continue };
        if module != name {
            continue;
        }
        match section {
            ".text" => line = Some(format!("add-symbol-file {} {address}", path.display())),
            ".data" | ".bss" | ".rodata" | ".init.text" => rest += &format!(" -s {section} {address}"),
            _ => {}
        }
    }
    Some(line? + &rest + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_go_where_the_guest_says_the_sections_lie() {
        let sections = "bento .text 0x1\nmemfs_v1 .bss 0x30\nmemfs_v1 .text 0x20\nmemfs_v1 .note 0x5\n";
        let line = add_symbols(Path::new("/m/memfs_v1.ko"), "memfs_v1", sections).unwrap();
        assert_eq!(line, "add-symbol-file /m/memfs_v1.ko 0x20 -s .bss 0x30\n");
        assert_eq!(add_symbols(Path::new("x.ko"), "x", sections), None);
    }
}
