// SPDX-License-Identifier: GPL-2.0 OR MIT
//! cargo bento bench.

use anyhow::{Result, bail};

use crate::cli::BenchArgs;

pub fn run(_args: &BenchArgs) -> Result<u8> {
    bail!("this command is not built yet")
}
