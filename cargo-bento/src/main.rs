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
mod freeze;
mod mount;
mod new;
mod project;
mod setup;
mod suites;
mod ui;
mod vm;

/// The macros' stages as a library, for `expand` and `check`.
#[path = "../../bento-macros/src"]
#[allow(dead_code)]
mod macros {
    mod check;
    mod errors;
    mod expand;
    mod handlers;
    mod model;
    mod parse;
    mod pipeline;
    pub mod source;
}

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
