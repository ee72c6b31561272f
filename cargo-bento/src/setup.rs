// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Everything the other commands need on the machine: Debian packages, the standard library's source, the kernels and
//! the guest. Each of them also fetches what it misses itself; `cargo bento setup` does all of it beforehand.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cli::SetupArgs;
use crate::{fetch, ui, vm};

/// Debian packages, each with what it is for; an error names both.
const PACKAGES: [(&str, &str); 22] = [
    ("acl", "the POSIX ACL tests"),
    ("attr", "the extended attribute tests"),
    ("bc", "building user-mode Linux"),
    ("binutils", "linking the Rust half of a module"),
    ("bison", "building user-mode Linux"),
    ("build-essential", "building modules"),
    ("busybox-static", "the guest's first program"),
    ("cpio", "building user-mode Linux"),
    ("debootstrap", "the guest's root image"),
    ("dwarves", "modules with type information"),
    ("e2fsprogs", "disk images"),
    ("flex", "building user-mode Linux"),
    ("fuse3", "mounting over FUSE"),
    ("gdb", "debugging file systems"),
    ("git", "the tests that clone"),
    ("kmod", "module dependencies"),
    ("libelf-dev", "the kernel's build tools"),
    ("libssl-dev", "the kernel's build tools"),
    ("qemu-system-x86", "virtual machines"),
    ("sqlite3", "judging databases after a crash"),
    ("xz-utils", "unpacking kernels"),
    ("zstd", "unpacking kernels"),
];

/// `cargo bento setup`.
pub fn run(args: &SetupArgs) -> Result<u8> {
    packages()?;
    rust_src()?;
    let kernels: Vec<&str> = match args.kernel.as_slice() {
        [] => vec!["6.12", "6.1", "uml"],
        chosen => chosen.iter().map(String::as_str).collect(),
    };
    for name in kernels {
        let kernel = fetch::kernel(name)?;
        vm::prepare(&kernel)?;
        ui::say(format!("  ok kernel {name}: {}", kernel.release));
    }
    ui::say(format!("Everything is in {}.", fetch::cache::dir()?.display()));
    Ok(0)
}

/// Installs the Debian packages that are missing; nothing is asked of apt when none is.
pub fn packages() -> Result<()> {
    install(&PACKAGES)
}

/// Installs those of `packages` that are missing.
pub fn install(packages: &[(&'static str, &'static str)]) -> Result<()> {
    let missing = missing_packages(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let advice = format!("Debian packages are missing: run `sudo apt-get install {}`", names.join(" "));
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("{advice} (this is no Debian system: install their like)");
    }
    let step = ui::step(format!("install {} Debian packages: {}", names.len(), names.join(" ")));
    // Another apt may hold the lock, for instance on a machine's first boot.
    let wait = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"];
    let install = || {
        let mut apt = as_root("apt-get");
        apt.args(wait).args(["install", "-y", "-q", "--no-install-recommends"]).args(&names);
        apt
    };
    if ui::run(&mut install(), &advice).is_err() {
        // The package lists are absent or too old for the mirror: refresh them once.
        update_lists()?;
        ui::run(&mut install(), &advice)?;
    }
    step.done("");
    Ok(())
}

/// `apt-get update`, patient with another apt that holds the lists (the timeout option does not cover that lock).
fn update_lists() -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        let updated = ui::run(
            as_root("apt-get").args(["-o", "Acquire::Retries=3", "update", "-q"]),
            "apt-get update failed: check the network and /etc/apt",
        );
        match updated {
            Err(error) if tries < 30 && format!("{error:#}").contains("Could not get lock") => {
                std::thread::sleep(Duration::from_secs(10));
            }
            other => return other.map(drop),
        }
    }
}

fn missing_packages(packages: &[(&'static str, &'static str)]) -> Result<Vec<(&'static str, &'static str)>> {
    // dpkg-query fails when it knows one of the names not at all, which here is just one more that is missing.
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(packages.iter().map(|(name, _)| name))
        .output()
        .context("dpkg-query cannot be started: cargo bento needs a Debian system")?;
    let installed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(packages
        .iter()
        .copied()
        .filter(|(name, _)| !installed.lines().any(|line| line == format!("{name} installed")))
        .collect())
}

/// The source of `core` and `alloc`, which modules compile for themselves.
pub fn rust_src() -> Result<PathBuf> {
    let sysroot = ui::run(
        Command::new("rustc").args(["--print", "sysroot"]),
        "rustc cannot be asked for its folder: install Rust with rustup",
    )?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    if library.join("core/src/lib.rs").exists() {
        return Ok(library);
    }
    let step = ui::step("fetch the standard library's source (rust-src)");
    ui::run(
        Command::new("rustup").args(["component", "add", "rust-src"]),
        "the component rust-src is missing: run `rustup component add rust-src` for the toolchain in use",
    )?;
    step.done("");
    Ok(library)
}

/// `program`, through sudo unless we are root already.
pub fn as_root(program: &str) -> Command {
    let mut command = Command::new(if is_root() { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]);
    command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").arg(program);
    command
}

/// Whether this process acts as root.
pub fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|meta| meta.uid() == 0)
}
