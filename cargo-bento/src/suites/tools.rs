// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the suites run: two crates' test programs at pinned versions, our own C programs, and a git repository of some
//! thousand files. The first two kinds are built here and run in every guest, whose C library is this system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Place;
use crate::fetch::{self, cache};
use crate::{project, ui};

/// Test suites from the crate registry.
const CRATES: [(&str, &str); 2] = [("pjdfstest", "0.2.2"), ("fsx", "0.3.2")];

/// The folder with every program of the suites.
pub fn programs(place: &Place) -> Result<PathBuf> {
    let bin = place.out.join("suites/bin");
    fs::create_dir_all(&bin).with_context(|| format!("{} cannot be created", bin.display()))?;
    for (name, version) in CRATES {
        let installed = installed(name, version)?;
        let to = bin.join(name);
        if !same_size(&installed, &to) {
            replace(&installed, &to)?;
        }
    }
    own_programs(&place.root.join("tests/suites/c"), &bin)?;
    let (judge, differ) = (judge(place, "differ")?, bin.join("differ"));
    if fs::read(&judge)? != fs::read(&differ).unwrap_or_default() {
        replace(&judge, &differ)?;
    }
    Ok(bin)
}

/// Our own C programs only: enough for the demo and the benchmarks.
pub fn own(place: &Place) -> Result<PathBuf> {
    let bin = place.out.join("suites/own");
    fs::create_dir_all(&bin).with_context(|| format!("{} cannot be created", bin.display()))?;
    own_programs(&place.root.join("tests/suites/c"), &bin)?;
    Ok(bin)
}

/// The small program for machines that run file systems.
pub fn bentoctl(place: &Place) -> Result<PathBuf> {
    built(place, "bentoctl", &["-p", "cargo-bento"])
}

/// A program of the judges (`tests/judges`).
pub fn judge(place: &Place, name: &str) -> Result<PathBuf> {
    built(place, name, &["-p", "bento-judges", "--no-default-features"])
}

/// A program of this workspace, built beside this one.
fn built(place: &Place, name: &str, package: &[&str]) -> Result<PathBuf> {
    let mut cargo = project::cargo();
    cargo.current_dir(&place.root).args(["build", "--quiet"]).args(package).args(["--bin", name]);
    ui::run(&mut cargo, &format!("{name} cannot be built"))?;
    Ok(place.out.with_file_name("debug").join(name))
}

/// A registry crate's program, installed once into the cache.
fn installed(name: &str, version: &str) -> Result<PathBuf> {
    let root = cache::once(&format!("tools/{name}-{version}"), |tmp| {
        let step = ui::step(format!("build {name} {version}"));
        let mut cargo = project::cargo();
        cargo.args(["install", "--locked", "--quiet", "--version", version, name, "--root"]).arg(tmp);
        cargo.arg("--target-dir").arg(cache::with_suffix(tmp, "-target"));
        ui::run(&mut cargo, &format!("{name} {version} cannot be built: is the crate registry reachable?"))?;
        cache::remove(&cache::with_suffix(tmp, "-target"))?;
        step.done("");
        Ok(())
    })?;
    Ok(root.join("bin").join(name))
}

/// Compiles each C program that is older than its sources.
fn own_programs(sources: &Path, bin: &Path) -> Result<()> {
    let mut programs = Vec::new();
    let mut newest_header = std::time::UNIX_EPOCH;
    for entry in fs::read_dir(sources).with_context(|| format!("{} cannot be read", sources.display()))? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("c") => programs.push(path),
            Some("h") => newest_header = newest_header.max(fs::metadata(&path)?.modified()?),
            _ => {}
        }
    }
    programs.sort();
    for source in programs {
        let name = source.file_stem().context("a C program without a name")?;
        let program = bin.join(name);
        let needed = fs::metadata(&source)?.modified()?.max(newest_header);
        if fs::metadata(&program).is_ok_and(|meta| meta.modified().is_ok_and(|made| made > needed)) {
            continue;
        }
        // Made aside: another stage may be looking.
        let aside = cache::with_suffix(&program, &format!(".{}", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-result"]);
        cc.args(["-static", "-pthread", "-o"]).arg(&aside).arg(&source);
        ui::run(&mut cc, &format!("{} cannot be compiled", source.display()))?;
        fs::rename(&aside, &program)?;
    }
    Ok(())
}

/// A bare git repository of the standard library's source and the kernel's headers, and the number of its files.
pub fn repository() -> Result<(PathBuf, u32)> {
    let sysroot = ui::run(
        Command::new("rustc").args(["--print", "sysroot"]),
        "rustc cannot be asked for its folder: install Rust with rustup",
    )?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    if !library.exists() {
        bail!("the standard library's source is missing: run `cargo bento setup`");
    }
    let version = ui::run(Command::new("rustc").arg("--version"), "rustc does not start")?;
    let version = version.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    let kernel = fetch::kernel("6.12")?;
    // Debian keeps what all flavours share in a folder of its own beside the headers proper.
    let headers = format!("{}-common/include/linux", kernel.headers_dir.to_string_lossy().trim_end_matches("-amd64"));
    let dir = cache::once(&format!("tools/repository-{version}-{}", kernel.release), |tmp| {
        let step = ui::step("make a git repository of the standard library's source and the kernel's headers");
        let script = r#"
            set -e
            mkdir -p "$2" "$2-work"
            cp -r "$1"/. "$2-work"
            cp -r "$3" "$2-work/linux"
            cd "$2-work"
            find . -name .gitignore -delete
            find . -name .git -prune -exec rm -rf {} +
            git init -q -b main .
            git config user.name Bento
            git config user.email bento@localhost
            git add -A
            git commit -q -m 'The standard library and the kernel headers'
            git ls-files | wc -l > "$2/files"
            git clone -q --bare . "$2/repository.git"
            cd /
            rm -rf "$2-work"
        "#;
        ui::run(
            Command::new("sh").args(["-c", script, "repository"]).arg(&library).arg(tmp).arg(&headers),
            "the git repository cannot be made: is git installed?",
        )?;
        step.done("");
        Ok(())
    })?;
    let files =
        fs::read_to_string(dir.join("files"))?.trim().parse().context("the repository in the cache is damaged")?;
    Ok((dir, files))
}

fn same_size(one: &Path, other: &Path) -> bool {
    let size = |path: &Path| fs::metadata(path).map(|meta| meta.len()).ok();
    size(one).is_some() && size(one) == size(other)
}

fn replace(from: &Path, to: &Path) -> Result<()> {
    let aside = cache::with_suffix(to, &format!(".{}", std::process::id()));
    fs::copy(from, &aside).with_context(|| format!("{} cannot be copied", from.display()))?;
    fs::rename(&aside, to).with_context(|| format!("{} cannot be written", to.display()))
}
