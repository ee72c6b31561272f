// SPDX-License-Identifier: GPL-2.0 OR MIT
//! cargo bento demo.

use anyhow::{Result, bail};

use crate::cli::DemoArgs;

pub fn run(_args: &DemoArgs) -> Result<u8> {
    bail!("this command is not built yet")
}
