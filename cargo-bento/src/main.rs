// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento`: takes a file system crate from source to a module in a running kernel, a FUSE daemon or a test.
//! This file only dispatches; `cli` holds the words, `build` the road from Rust to `.ko`, `vm` and `fetch` the kernels.

mod bench;
mod build;
mod check;
mod cli;
mod demo;
mod expand;
mod fetch;
mod mount;
mod new;
mod project;
mod setup;
mod suites;
mod ui;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse();
    match cli::dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            ui::report(&error);
            ExitCode::FAILURE
        }
    }
}
