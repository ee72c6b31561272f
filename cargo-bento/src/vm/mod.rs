// SPDX-License-Identifier: GPL-2.0 OR MIT
//! cargo bento vm.

pub mod uml;

use anyhow::{Result, bail};

use crate::cli::VmArgs;

pub fn run(_args: &VmArgs) -> Result<u8> {
    bail!("this command is not built yet")
}
