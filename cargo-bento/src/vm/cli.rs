// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento vm`: from the author's words to a [`RunSpec`].

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Module, RunSpec, gdb};
use crate::cli::VmArgs;
use crate::project::Project;
use crate::{build, fetch, setup, ui};

/// Builds the crates' modules for the kernel, boots it with them loaded, gives a shell or runs the command.
pub fn run(args: &VmArgs) -> Result<u8> {
    setup::packages()?;
    let kernel = fetch::kernel(&args.kernel)?;
    let mut crates = args.crates.clone();
    if crates.is_empty() {
        crates.push(PathBuf::from("."));
    }
    let projects = crates.iter().map(|dir| Project::open(dir)).collect::<Result<Vec<_>>>()?;
    let built = build::modules(&projects, &kernel, &[])?;
    let words: Vec<&str> = args.command.iter().map(String::as_str).collect();
    let mut spec = RunSpec::new(&kernel, &words);
    spec.mem = args.mem;
    // Whoever sits before it decides how long it may take.
    spec.timeout = Duration::MAX;
    spec.modules = std::iter::once(built.bento)
        .chain(built.file_systems)
        .map(|path| Module { path, parameters: String::new() })
        .collect();
    if args.gdb {
        if words.is_empty() {
            bail!(
                "gdb takes this terminal, so say what the guest shall run meanwhile: `cargo bento vm --kernel uml --gdb -- CMD`"
            );
        }
        spec.gdb = Some(gdb::Session::default());
        ui::say("Set breakpoints with `hbreak lib.rs:LINE`, then `continue`: CMD starts, and a handler stops there.");
    }
    super::prepare(&kernel)?;
    ui::say(format!("  .. boot Linux {}", kernel.release));
    super::execute(&spec)
}
