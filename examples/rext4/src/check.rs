// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Blocks are looked at once for as long as they stay cached: that what they say can be, and that their checksum is right.

use bento::prelude::*;

/// Looks at a block that was just read from the device: `wrong` says what is, and `bad` tells. Whoever found it right a
/// moment before us may be changing it while we look, so nothing is wrong but what nobody has found right. Was it us who
/// looked?
pub fn once<W>(
    device: Device<'_>,
    block: &Block<'_>,
    wrong: impl FnOnce() -> Result<Option<W>>,
    bad: impl FnOnce(W) -> Errno,
) -> Result<bool> {
    if block.is_checked() {
        return Ok(false);
    }
    match wrong()? {
        None => block.set_checked(),
        Some(_) if device.read(block.number())?.is_checked() => return Ok(false),
        Some(what) => return Err(bad(what)),
    }
    Ok(true)
}
