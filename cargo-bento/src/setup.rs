// SPDX-License-Identifier: GPL-2.0 OR MIT
//! cargo bento setup.

use anyhow::{Result, bail};

use crate::cli::SetupArgs;

pub fn run(_args: &SetupArgs) -> Result<u8> {
    bail!("this command is not built yet")
}
