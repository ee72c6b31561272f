// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento demo`: a file system in safe Rust, live in a real kernel, in a few minutes and from nothing.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::cli::DemoArgs;
use crate::suites::guest;
use crate::suites::{Place, tools};
use crate::vm::{self, RunSpec};
use crate::{build, fetch, setup, ui};

/// The file system that is shown, its next version, and the one that panics beside it.
const SHOWN: [&str; 3] = ["memfs", "memfs_v2", "bytesfs"];

pub fn run(args: &DemoArgs) -> Result<u8> {
    let place = Place::find(&std::env::current_dir()?)?;
    setup::packages()?;
    let kernel = fetch::kernel(&args.kernel)?;
    let built = build::modules(&guest::projects(&place.root, &SHOWN)?, &kernel, &[])?;
    let mut spec = RunSpec::new(&kernel, &["bash /bento/suites/demo.sh"]);
    spec = spec.module(&built.bento);
    for module in &built.file_systems {
        spec = spec.module(module);
    }
    spec = spec.file(place.root.join("tests/suites"), "suites").file(tools::own(&place)?, "bin");
    spec = spec.file(tools::bentoctl(&place)?, "tool/bentoctl");
    let (repository, files) = tools::repository()?;
    spec = spec.file(repository.join("repository.git"), "repository.git");
    spec.env.push(("FILES".to_owned(), files.to_string()));
    spec.timeout = Duration::from_secs(480);
    ui::say(format!("boot Linux {} with bento.ko, memfs in two versions, and bytesfs", kernel.release));
    match vm::execute(&spec)? {
        0 => {
            ui::say(
                "memfs ran in a stock kernel, was replaced under a git clone, survived a panic next door, and left nothing behind.",
            );
            ui::say("Next: write your own with `cargo bento new NAME`, or read book/src/SUMMARY.md.");
            Ok(0)
        }
        code => bail!("a step of the demonstration failed (exit code {code}): its last lines above say which"),
    }
}
