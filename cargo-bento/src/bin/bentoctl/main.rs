// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `bentoctl`: which version each mount runs, and another one for it. It talks to `/sys/fs/bento` and to the sockets of
//! `cargo bento mount` alike.

mod acts;
mod cbor;
mod layout;
mod mounts;
mod provenance;
mod show;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Versions of mounted bento file systems: look at them, replace them while they run.
#[derive(Parser)]
#[command(name = "bentoctl", version)]
struct Cli {
    /// One JSON value instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// TARGET is a mount point, a path below one, or the name of a file system: all its mounts.
#[derive(Subcommand)]
enum Command {
    /// What is mounted, and how it fares.
    Status { target: Option<String> },
    /// The versions that are loaded.
    Versions { target: Option<String> },
    /// Replaces the running version; files stay open.
    Upgrade {
        target: String,
        /// A version that is loaded, a module (.ko) or, for `cargo bento mount`, an object (.so); the newest loaded one.
        to: Option<String>,
    },
    /// Goes back to an earlier version, if its successor says how.
    Downgrade {
        target: String,
        /// The version before the running one.
        to: Option<String>,
    },
    /// A new instance of the running version, from its state.
    Restart { target: String },
    /// The state that an upgrade would hand over, readable.
    State { target: String },
    /// Which processes made and wrote a file, and from which others (memfs version 2).
    Provenance { path: PathBuf },
}

fn main() -> ExitCode {
    let Cli { json, command } = Cli::parse();
    match run(json, command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bentoctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(json: bool, command: Command) -> Result<bool> {
    match command {
        Command::Status { target } => show::status(&mounts::chosen(target.as_deref())?, json),
        Command::Versions { target } => show::versions(&mounts::chosen(target.as_deref())?, json),
        Command::Upgrade { target, to } => acts::swap(&mounts::named(&target)?, acts::Act::Up(to), json),
        Command::Downgrade { target, to } => acts::swap(&mounts::named(&target)?, acts::Act::Down(to), json),
        Command::Restart { target } => acts::swap(&mounts::named(&target)?, acts::Act::Restart, json),
        Command::State { target } => show::state(&mounts::named(&target)?, json),
        Command::Provenance { path } => provenance::print(&path, json),
    }
}
