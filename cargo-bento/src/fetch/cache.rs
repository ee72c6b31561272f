// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The cache folder: everything fetched or built once lands here under its final name in one rename, made by one
//! process at a time. A folder that exists is complete; whatever carries `.tmp` may be deleted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// `$BENTO_CACHE`, else `$XDG_CACHE_HOME/bento`, else `~/.cache/bento`.
pub fn dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("BENTO_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("bento")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/bento")))
        .context("no cache folder: set BENTO_CACHE or HOME")?;
    if !dir.is_absolute() {
        bail!("the cache folder {} is not an absolute path: change BENTO_CACHE", dir.display());
    }
    fs::create_dir_all(&dir)
        .with_context(|| format!("{} cannot be created: set BENTO_CACHE to a folder you may write", dir.display()))?;
    Ok(dir)
}

/// The cached `name` (a relative path), made by `make` in a folder or file beside it when it is not there yet.
pub fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = dir()?.join(name);
    if path.exists() {
        return Ok(path);
    }
    let _lock = lock(name)?;
    if path.exists() {
        return Ok(path);
    }
    let tmp = with_suffix(&path, ".tmp");
    remove(&tmp)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("{} cannot be created", parent.display()))?;
    }
    make(&tmp)?;
    fs::rename(&tmp, &path).with_context(|| format!("{} cannot be moved to {}", tmp.display(), path.display()))?;
    Ok(path)
}

/// Holds the lock of `name` until dropped; waits for another process that makes the same thing.
pub fn lock(name: &str) -> Result<File> {
    let locks = dir()?.join("locks");
    fs::create_dir_all(&locks).with_context(|| format!("{} cannot be created", locks.display()))?;
    let path = locks.join(name.replace('/', "-"));
    let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    if file.try_lock().is_err() {
        crate::ui::say(format!("  .. waiting for another cargo bento that makes {name}"));
        file.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
    }
    Ok(file)
}

/// Removes a file or a tree, whichever it is; nothing there is fine.
pub fn remove(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    result.with_context(|| format!("{} cannot be removed", path.display()))
}

/// `path` with `suffix` after its whole name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
