// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento new`: a crate with a small working file system, its test, and a dependency on this checkout, so that
//! build, test and mount work as generated.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::NewArgs;
use crate::ui;

const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("tests/mount.rs", include_str!("template/mount.rs.in")),
    (".gitignore", "/target\n"),
    (".cargo/config.toml", include_str!("template/config.toml.in")),
];

/// `cargo bento new`.
pub fn run(args: &NewArgs) -> Result<u8> {
    valid(&args.name)?;
    let dir = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if dir.exists() {
        bail!("{} is there already: choose another name, or --path", dir.display());
    }
    let Some(checkout) = checkout() else {
        bail!("the bento checkout that this tool was built from is gone: run it from a checkout");
    };
    write(&dir, &args.name, &checkout)?;
    ui::say(format!("{} is ready: `cd {}` and `cargo bento test`", args.name, dir.display()));
    Ok(0)
}

fn write(dir: &Path, name: &str, checkout: &Path) -> Result<()> {
    for (file, template) in FILES {
        let text = template
            .replace("@NAME@", name)
            .replace("@TYPE@", &type_name(name))
            .replace("@CHECKOUT@", &checkout.display().to_string());
        let path = dir.join(file);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).with_context(|| format!("{} cannot be created", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    // The versions that the checkout is tested with; cargo drops what this crate does not use.
    let lock = checkout.join("Cargo.lock");
    if lock.is_file() {
        fs::copy(&lock, dir.join("Cargo.lock")).with_context(|| format!("{} cannot be copied", lock.display()))?;
    }
    Ok(())
}

/// The name is the crate's, the file system's and the module's, so the strictest of the three rules holds.
fn valid(name: &str) -> Result<()> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let holds = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !starts || !holds || name.len() > 31 {
        bail!("{name:?} is no file system name: use a small letter, then small letters, digits or '_', at most 31");
    }
    if ["bento", "std", "core", "alloc", "test", "self", "super", "crate"].contains(&name) {
        bail!("{name:?} is taken by a crate that every file system uses: choose another name");
    }
    Ok(())
}

/// `my_fs` → `MyFs`.
fn type_name(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// The checkout around the current folder, else the one the tool was built from.
fn checkout() -> Option<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let here = env::current_dir().ok();
    let around = here.iter().flat_map(|here| here.ancestors());
    around
        .chain(built_from)
        .find(|dir| dir.join("bento-runtime/Cargo.toml").is_file())
        .and_then(|dir| dir.canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_with_the_rule() {
        for name in ["", "9fs", "My", "a-b", "bento", &"x".repeat(32)] {
            assert!(valid(name).is_err(), "{name:?} was accepted");
        }
        for name in ["hellofs", "my_fs2"] {
            valid(name).unwrap();
        }
    }

    #[test]
    fn type_names_are_camel_case() {
        assert_eq!((type_name("hellofs"), type_name("my_fs2")), ("Hellofs".into(), "MyFs2".into()));
    }

    #[test]
    fn no_placeholder_is_left() {
        for (file, template) in FILES {
            let left = template.replace("@NAME@", "").replace("@TYPE@", "").replace("@CHECKOUT@", "");
            assert!(!left.contains('@'), "{file} holds an unknown placeholder");
        }
    }
}
