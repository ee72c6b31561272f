// SPDX-License-Identifier: GPL-2.0 OR MIT
//! cargo bento test --all.

use anyhow::{Result, bail};

use crate::cli::TestArgs;

pub fn run_all(_args: &TestArgs) -> Result<u8> {
    bail!("this command is not built yet")
}
