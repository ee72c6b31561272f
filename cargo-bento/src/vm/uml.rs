// SPDX-License-Identifier: GPL-2.0 OR MIT
//! User-mode Linux: Debian's 6.12 source built as a program, once per configuration. The fragments in `uml/` decide
//! what is in it; a change there makes another cached tree.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::fetch::{self, Arch, Kernel, cache};
use crate::ui;

const SLIM: &str = include_str!("../../uml/slim.config");
const DEBUG: &str = include_str!("../../uml/debug.config");

/// Raised when the way of building changes in a manner that the fragments do not show.
const RECIPE: u32 = 1;

/// The UML kernel, built now if this configuration was never built.
pub fn kernel(debug: bool) -> Result<Kernel> {
    let name = if debug { "uml-debug" } else { "uml" };
    let options = options(if debug { &[SLIM, DEBUG] } else { &[SLIM] });
    let source = fetch::source()?;
    let version = fs::read_to_string(source.join("debian-version"))
        .with_context(|| format!("{} is damaged: remove that folder and try again", source.display()))?;
    let tree =
        cache::once(&format!("kernels/{name}-{}", key(&options, &version)), |tmp| build(&source, tmp, &options))?;
    let release = fs::read_to_string(tree.join("include/config/kernel.release"))
        .with_context(|| format!("{} is damaged: remove that folder and try again", tree.display()))?;
    Ok(Kernel {
        name: name.to_owned(),
        arch: Arch::Um,
        release: release.trim().to_owned(),
        vmlinuz: tree.join("linux"),
        modules_dir: Some(tree.join("modules/lib/modules").join(release.trim())),
        headers_dir: tree,
        debug,
    })
}

/// The options of all fragments; a later fragment overrides an earlier one.
fn options(fragments: &[&str]) -> BTreeMap<String, String> {
    fragments
        .iter()
        .flat_map(|fragment| fragment.lines())
        .filter(|line| line.starts_with("CONFIG_"))
        .filter_map(|line| line.split_once('='))
        .map(|(option, value)| (option.to_owned(), value.to_owned()))
        .collect()
}

fn key(options: &BTreeMap<String, String>, version: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{RECIPE} {version}\n"));
    for (option, value) in options {
        hash.update(format!("{option}={value}\n"));
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn build(source: &Path, tree: &Path, options: &BTreeMap<String, String>) -> Result<()> {
    fs::create_dir_all(tree).with_context(|| format!("{} cannot be created", tree.display()))?;
    let fragment = tree.join("fragment.config");
    fs::write(&fragment, options.iter().map(|(option, value)| format!("{option}={value}\n")).collect::<String>())?;
    let step = ui::step("configure user-mode Linux");
    ui::run(
        make(source, tree).arg("allnoconfig").env("KCONFIG_ALLCONFIG", &fragment),
        "user-mode Linux cannot be configured: run `cargo bento setup` for flex, bison and gcc",
    )?;
    let refused = refused(&fs::read_to_string(tree.join(".config"))?, options);
    if !refused.is_empty() {
        bail!("this kernel source refuses {}: correct cargo-bento/uml/*.config", refused.join(", "));
    }
    step.done("");
    compile(source, tree)?;
    ui::run(
        make(source, tree).arg("modules_install").arg("INSTALL_MOD_PATH=modules").arg("DEPMOD=/sbin/depmod"),
        "the modules of user-mode Linux cannot be installed into the cache",
    )?;
    prune(tree, true)
}

/// Options whose value in `config` is not the one asked for.
fn refused(config: &str, options: &BTreeMap<String, String>) -> Vec<String> {
    let set: BTreeMap<&str, &str> = config.lines().filter_map(|line| line.split_once('=')).collect();
    options
        .iter()
        .filter(|(option, value)| match set.get(option.as_str()) {
            Some(found) => found != value,
            None => value.as_str() != "n",
        })
        .map(|(option, value)| format!("{option}={value}"))
        .collect()
}

fn compile(source: &Path, tree: &Path) -> Result<()> {
    let step = ui::step("compile user-mode Linux, once (about ten CPU-minutes)");
    let jobs = std::thread::available_parallelism().map_or(2, |jobs| jobs.get());
    let log = tree.join("build.log");
    let errors = fs::File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
    let mut child = make(source, tree)
        .arg(format!("-j{jobs}"))
        .args(["linux", "modules"])
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .context("make cannot be started: run `sudo apt-get install make`")?;
    let mut compiled = 0;
    let mut told = Instant::now();
    for line in BufReader::new(child.stdout.take().context("make has no output")?).lines() {
        if line?.trim_start().starts_with("CC ") {
            compiled += 1;
            step.now(&format!("{compiled} files"));
        }
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            if !std::io::stderr().is_terminal() {
                ui::say(format!("  .. {compiled} files compiled"));
            }
        }
    }
    if !child.wait()?.success() {
        let printed = fs::read_to_string(&log).unwrap_or_default();
        let tail: Vec<&str> = printed.lines().rev().take(20).collect();
        bail!(
            "user-mode Linux does not compile; make printed\n{}",
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    step.done(format!("{compiled} files"));
    Ok(())
}

/// The kernel's own make, with low priority: the author goes on working meanwhile.
fn make(source: &Path, tree: &Path) -> Command {
    let mut make = Command::new("nice");
    make.args(["-n", "10", "make", "-C"]).arg(source).arg("ARCH=um").arg(format!("O={}", tree.display()));
    // Flags of a `make` or `cargo` above us are not the kernel's.
    for inherited in ["MAKEFLAGS", "MFLAGS", "CFLAGS", "LDFLAGS", "KBUILD_OUTPUT", "ARCH", "CROSS_COMPILE"] {
        make.env_remove(inherited);
    }
    make
}

/// Half a gigabyte of objects that no module build reads; the tools in `scripts` stay.
fn prune(dir: &Path, top: bool) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !(top && (name == "scripts" || name == "modules" || name == "include")) {
                prune(&path, false)?;
            }
        } else if name.starts_with(".tmp_vmlinux")
            || name == "vmlinux.o"
            || [".o", ".a"].iter().any(|end| name.ends_with(end))
        {
            fs::remove_file(&path)?;
        } else if name == "linux" && top {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_fragment_overrides_an_earlier_one() {
        let both = options(&["# c\nCONFIG_A=y\nCONFIG_B=\"x=y\"\n", "CONFIG_A=n\n"]);
        assert_eq!(both["CONFIG_A"], "n");
        assert_eq!(both["CONFIG_B"], "\"x=y\"");
    }

    #[test]
    fn an_option_that_kconfig_drops_is_named() {
        let asked = options(&["CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=y\n"]);
        assert_eq!(refused("CONFIG_A=y\n# CONFIG_B is not set\n", &asked), ["CONFIG_C=y"]);
    }
}
