// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kernel inside a bzImage. Under emulation the kernel's own decompressor takes seconds at every boot; QEMU starts
//! the bare ELF file just as well (by its PVH entry), so it is unpacked once. The kernel is the same to the byte.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::fetch::{Kernel, cache};

// Offsets in the boot header: Documentation/arch/x86/boot.rst.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// What QEMU is to boot for `kernel`: the bare kernel, or the bzImage where that cannot be had.
pub fn bootable(kernel: &Kernel) -> Result<PathBuf> {
    let bare = cache::once(&format!("guest/vmlinux-{}", kernel.release), |tmp| {
        let image =
            fs::read(&kernel.vmlinuz).with_context(|| format!("{} cannot be read", kernel.vmlinuz.display()))?;
        fs::write(tmp, unpack(&image)?).with_context(|| format!("{} cannot be written", tmp.display()))
    });
    Ok(bare.unwrap_or_else(|_| kernel.vmlinuz.clone()))
}

/// The ELF file in `image`.
fn unpack(image: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the boot header is cut off")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    let sectors = *image.get(SETUP_SECTORS).context("the boot header is cut off")? as usize;
    let start = (sectors.max(1) + 1) * 512 + word(PAYLOAD_OFFSET)?;
    // The build appends the unpacked length to the compressed data.
    let end = start + word(PAYLOAD_LENGTH)?.checked_sub(4).context("the payload is empty")?;
    let length = word(end)?;
    let packed = image.get(start..end).context("the payload is cut off")?;
    let tool = match packed {
        [0xfd, b'7', b'z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        _ => bail!("the payload's compression is not known"),
    };
    let elf = filter(tool, packed.to_vec())?;
    ensure!(elf.len() == length && elf.starts_with(b"\x7fELF"), "the payload is no ELF file");
    Ok(elf)
}

fn filter(tool: &str, input: Vec<u8>) -> Result<Vec<u8>> {
    let mut child = Command::new(tool)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{tool} cannot be started"))?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    // A thread, because the tool writes before it has read everything.
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    let written = writer.join().is_ok_and(|result| result.is_ok());
    ensure!(written && output.status.success(), "{tool} cannot unpack the payload");
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_kernel_is_refused() {
        assert!(unpack(b"MZ").is_err());
        assert!(unpack(&[0; 4096]).is_err());
    }
}
