// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Files that are touched only when they differ, so that make and cargo have nothing to do when nothing changed.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::ui;

/// Keeps other runs of the tool out of the folder `out` until it is dropped: two builds of one crate would meet in the
/// same files.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its Drop")] File);

impl Lock {
    pub fn take(out: &Path) -> Result<Lock> {
        fs::create_dir_all(out).with_context(|| format!("{} cannot be created", out.display()))?;
        let path = out.join(".lock");
        let file = File::create(&path).with_context(|| format!("{} cannot be created", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let step = ui::step("wait for another build in the same folder");
                file.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
                step.done("");
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
        Ok(Lock(file))
    }
}

/// Writes `content` unless the file already holds it; makes the folders above it.
pub fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("{} cannot be created", parent.display()))?;
    }
    fs::write(path, content).with_context(|| format!("{} cannot be written: is the disk full?", path.display()))?;
    Ok(true)
}

/// Copies a file unless its content is there already.
pub fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    let content = fs::read(from).with_context(|| format!("{} cannot be read", from.display()))?;
    write_if_changed(to, &content)
}

/// SHA-256 of a file, in hex.
pub fn hash(path: &Path) -> Result<String> {
    let content = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(hash_bytes(&content))
}

pub fn hash_bytes(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
