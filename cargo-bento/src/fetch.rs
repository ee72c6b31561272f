// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Kernels: which ones there are, and how each comes into the cache. Debian's own packages, unpacked but never
//! installed: 6.1 from Debian 12, 6.12 from its backports, and 6.12's source for user-mode Linux.

pub mod apt;
pub mod cache;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ui;
use apt::{Archive, Suite};

/// What a kernel is compiled for; modules of one do not load in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// A stock Debian kernel, booted in QEMU.
    X86,
    /// User-mode Linux: the kernel is one process (`make ARCH=um`).
    Um,
}

/// A kernel in the cache, ready to build modules for and to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What the author calls it: `6.12`, `6.1`, `uml`, `uml-debug`.
    pub name: String,
    pub arch: Arch,
    /// `uname -r`.
    pub release: String,
    /// The folder for `make -C`.
    pub headers_dir: PathBuf,
    /// What boots: a bzImage, or the UML program.
    pub vmlinuz: PathBuf,
    /// `lib/modules/<release>`; absent where everything needed is built in.
    pub modules_dir: Option<PathBuf>,
    /// Built with KASAN, lockdep and the other detectors.
    pub debug: bool,
}

impl Kernel {
    /// `ARCH=` for the kernel's own Makefile.
    pub fn make_arch(&self) -> &'static str {
        match self.arch {
            Arch::X86 => "x86",
            Arch::Um => "um",
        }
    }
}

/// The kernels that `kernel` knows.
pub const KERNELS: [&str; 4] = ["6.12", "6.1", "uml", "uml-debug"];

/// Finds `version` in the cache, or fetches (`6.12`, `6.1`) or builds (`uml`, `uml-debug`) it.
pub fn kernel(version: &str) -> Result<Kernel> {
    match version {
        "6.12" => debian(version, Suite::BookwormBackports, r"^linux-headers-6\.12\.[^-]*-amd64$"),
        "6.1" => debian(version, Suite::Bookworm, r"^linux-headers-6\.1\.[0-9]*-[0-9]*-amd64$"),
        "uml" => crate::vm::uml::kernel(false),
        "uml-debug" => crate::vm::uml::kernel(true),
        _ => bail!("there is no kernel {version} here: choose one of {}", KERNELS.join(", ")),
    }
}

/// Unpacked source of Debian's 6.12 with its patches, without the drivers and documents that no UML build reads.
pub fn source() -> Result<PathBuf> {
    cache::once("kernels/source-6.12", |tmp| {
        let archive = Archive::open(Suite::BookwormBackports)?;
        let downloads = cache::with_suffix(tmp, "-download");
        cache::remove(&downloads)?;
        let package = "linux-source-6.12".to_owned();
        let version = archive.field(&package, "Version")?;
        let files = archive.download(&[package], &downloads, &format!("source of Linux {version}"))?;
        let step = ui::step("unpack the kernel source");
        apt::unpack(&files[0], &downloads)?;
        fs::create_dir_all(tmp)?;
        let tar = downloads.join("usr/src/linux-source-6.12.tar.xz");
        let mut unpack = Command::new("tar");
        unpack.arg("xJf").arg(&tar).arg("-C").arg(tmp).args(["--strip-components=1", "--wildcards"]);
        for unread in UNREAD {
            unpack.arg(format!("--exclude={unread}"));
        }
        ui::run(&mut unpack, "the kernel source cannot be unpacked: is the disk full?")?;
        fs::write(tmp.join("debian-version"), version)?;
        cache::remove(&downloads)?;
        step.done("");
        Ok(())
    })
}

/// Half of the kernel's source by size, and none of it is compiled for UML. Kconfig files stay: every build reads all.
const UNREAD: [&str; 7] = [
    "*/drivers/gpu/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/sound/*.[ch]",
    "*/arch/*/boot/dts/*",
    "*/Documentation/*.rst",
    "*/Documentation/*.yaml",
    "*/tools/testing/*",
];

/// A stock kernel: image, headers, common headers and kbuild tools of one release under one root.
fn debian(name: &str, suite: Suite, pattern: &str) -> Result<Kernel> {
    let root = cache::once(&format!("kernels/{name}"), |tmp| {
        let archive = Archive::open(suite)?;
        let headers = newest(archive.search(pattern)?).with_context(|| {
            format!("Debian has no kernel {name} now: its package list holds no name like {pattern}")
        })?;
        let release = headers.trim_start_matches("linux-headers-").to_owned();
        let mut packages = vec![headers.clone(), format!("linux-image-{release}")];
        packages.extend(needed_headers(&archive.field(&headers, "Depends")?));
        let downloads = cache::with_suffix(tmp, "-download");
        cache::remove(&downloads)?;
        let files = archive.download(&packages, &downloads, &format!("Linux {release}"))?;
        let step = ui::step(format!("unpack Linux {release}"));
        fs::create_dir_all(tmp)?;
        for file in &files {
            apt::unpack(file, tmp)?;
        }
        relocate_headers(tmp, &release)?;
        ui::run(
            Command::new("/sbin/depmod").arg("-b").arg(tmp).arg(&release),
            "depmod failed: run `sudo apt-get install kmod`",
        )?;
        fs::write(tmp.join("release"), &release)?;
        cache::remove(&downloads)?;
        step.done("");
        Ok(())
    })?;
    let release = fs::read_to_string(root.join("release"))
        .with_context(|| format!("{} is damaged: remove that folder and try again", root.display()))?;
    Ok(Kernel {
        name: name.to_owned(),
        arch: Arch::X86,
        headers_dir: root.join(format!("usr/src/linux-headers-{release}")),
        vmlinuz: root.join(format!("boot/vmlinuz-{release}")),
        modules_dir: Some(root.join(format!("lib/modules/{release}"))),
        release,
        debug: false,
    })
}

/// The common headers and kbuild tools among a headers package's dependencies.
fn needed_headers(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter_map(|one| one.split_whitespace().next())
        .filter(|name| name.starts_with("linux-kbuild-") || name.ends_with("-common"))
        .map(str::to_owned)
        .collect()
}

/// Debian's headers name their common half by its installed path in one Makefile line.
fn relocate_headers(root: &Path, release: &str) -> Result<()> {
    let makefile = root.join(format!("usr/src/linux-headers-{release}/Makefile"));
    let text = fs::read_to_string(&makefile)
        .with_context(|| format!("the headers package has no {}: report this kernel release", makefile.display()))?;
    let here = "$(dir $(abspath $(lastword $(MAKEFILE_LIST))))../";
    let moved = text.replace("/usr/src/", here);
    if moved == text {
        bail!("{} does not name /usr/src: Debian changed its headers; report this kernel release", makefile.display());
    }
    fs::write(&makefile, moved).with_context(|| format!("{} cannot be written", makefile.display()))
}

/// The highest version among names like `linux-headers-6.1.0-56-amd64`.
fn newest(names: Vec<String>) -> Option<String> {
    names.into_iter().max_by_key(|name| {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok()).collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number_not_by_text() {
        let names = [
            "linux-headers-6.12.9+deb12-amd64",
            "linux-headers-6.12.95+deb12-amd64",
            "linux-headers-6.12.90+deb12.1-amd64",
        ];
        assert_eq!(newest(names.map(str::to_owned).to_vec()).unwrap(), names[1]);
    }

    #[test]
    fn headers_need_their_common_half_and_kbuild_but_no_compiler() {
        let depends = "linux-base (>= 4.12~), linux-headers-6.12.95+deb12-common (= 1), linux-image-6.12.95+deb12-amd64 (= 1) | \
                       linux-image-6.12.95+deb12-amd64-unsigned (= 1), linux-kbuild-6.12.95+deb12, gcc-12";
        assert_eq!(needed_headers(depends), ["linux-headers-6.12.95+deb12-common", "linux-kbuild-6.12.95+deb12"]);
    }
}
