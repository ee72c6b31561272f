// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The one crate with linker-visible names (SAFETY.md B3): generated in a workspace of its own, with the author's lock
//! file and the author's `bento`, and compiled to a static library. `RUSTC_BOOTSTRAP` is set here and nowhere else.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};

use super::files::write_if_changed;
use crate::cli::Variant;
use crate::project::{self, Project};
use crate::{setup, ui};

/// Compiles the entry crate of `project` for `variant`; returns the static library.
pub fn compile(project: &Project, variant: Variant, features: &[String]) -> Result<PathBuf> {
    let library = setup::rust_src()?;
    let dir = project.out.join("entry").join(variant.name()).join(name(project, features));
    write_if_changed(&dir.join("Cargo.toml"), manifest(project, features).as_bytes())?;
    write_if_changed(&dir.join("lib.rs"), source(project).as_bytes())?;
    lock(project, &dir)?;

    let target = project.out.join("cargo").join(variant.name());
    let mut cargo = project::cargo();
    cargo
        .current_dir(&dir)
        .args(["build", "--release", "-Zbuild-std=core,alloc", "--target", "x86_64-unknown-none"])
        .arg("--target-dir")
        .arg(&target)
        .args(["--color", if std::io::stderr().is_terminal() { "always" } else { "never" }])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", [variant.rustflags(), short_paths(project, &library)].concat().join("\x1f"))
        .env("CARGO_PROFILE_RELEASE_DEBUG", variant.debuginfo().to_string())
        // The author's own choices are for the host; these flags make the object loadable.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let step = ui::step(format!("compile {} ({})", project.package, variant.name()));
    let mut child = cargo.spawn().context("cargo cannot be started: is it in PATH?")?;
    let mut printed = String::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr);
        let mut line = String::new();
        while read_line(&mut lines, &mut line)? {
            if let Some(what) = plain(&line).trim().strip_prefix("Compiling ") {
                step.now(what.split(" (").next().unwrap_or(what));
            } else {
                printed.push_str(&line);
            }
            line.clear();
        }
    }
    if !child.wait()?.success() {
        drop(step);
        return Err(anyhow::anyhow!("{printed}").context(format!(
            "{} does not compile for {}",
            project.package,
            variant.name()
        )));
    }
    let library = target.join("x86_64-unknown-none/release").join(format!("lib{}.a", crate_name(project, features)));
    step.done("");
    Ok(library)
}

/// What a panic calls its file: as cargo would print it, relative to the author's workspace. The debugger and the
/// compiler's own messages keep the whole path.
fn short_paths(project: &Project, library: &Path) -> Vec<String> {
    // The last that fits counts, and toolchain and runtime may lie in the workspace.
    let library = format!("--remap-path-prefix={}=/rustc/library", library.display());
    let bento = format!("--remap-path-prefix={}=bento-runtime", project.bento.display());
    let workspace = format!("--remap-path-prefix={}=", project.workspace.display());
    vec!["--remap-path-scope=macro".to_owned(), workspace, bento, library]
}

/// Without the terminal's colours.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\x1b') {
        text.push_str(before);
        rest = escape.split_once('m').map_or("", |(_, after)| after);
    }
    text + rest
}

fn read_line(from: &mut BufReader<impl Read>, line: &mut String) -> Result<bool> {
    let mut bytes = Vec::new();
    let read = from.read_until(b'\n', &mut bytes)?;
    line.push_str(&String::from_utf8_lossy(&bytes));
    Ok(read > 0)
}

/// The module's name, and what else was compiled in: that is another object.
pub fn name(project: &Project, features: &[String]) -> String {
    [vec![project.fs.module()], features.to_vec()].concat().join("-")
}

fn crate_name(project: &Project, features: &[String]) -> String {
    format!("{}_entry", name(project, features).replace('-', "_"))
}

fn source(project: &Project) -> String {
    format!(
        "//! Written by `cargo bento build`; the linker-visible names of {name}.\n#![no_std]\n\nbento::entry!({lib}::{path});\n",
        name = project.fs.name,
        lib = project.lib,
        path = project.fs.type_path,
    )
}

fn manifest(project: &Project, features: &[String]) -> String {
    let more: String = features.iter().map(|feature| format!(", {feature:?}")).collect();
    format!(
        "# Written by `cargo bento build`.\n\
         [package]\nname = \"{entry}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [lib]\npath = \"lib.rs\"\ncrate-type = [\"staticlib\"]\n\n\
         [dependencies]\n\
         {package} = {{ path = {dir:?} }}\n\
         bento = {{ package = \"bento-runtime\", path = {bento:?}, features = [\"freestanding\"{more}] }}\n\n\
         [profile.release]\npanic = \"unwind\"\nlto = \"fat\"\ncodegen-units = 1\noverflow-checks = true\n\n\
         # Its arithmetic wraps on purpose and has no panic to report with.\n\
         [profile.release.package.compiler_builtins]\noverflow-checks = false\n\n\
         [workspace]\n",
        entry = crate_name(project, features),
        package = project.package,
        dir = project.dir,
        bento = project.bento,
    )
}

/// The author's Cargo.lock decides every version. Cargo then adds the entry crate to our copy, so it is renewed only
/// when the author's own changed.
fn lock(project: &Project, dir: &Path) -> Result<()> {
    let author = project.workspace.join("Cargo.lock");
    let Ok(theirs) = fs::read(&author) else {
        return Ok(());
    };
    let seen = dir.join("Cargo.lock.author");
    if fs::read(&seen).is_ok_and(|seen| seen == theirs) && dir.join("Cargo.lock").exists() {
        return Ok(());
    }
    fs::write(dir.join("Cargo.lock"), &theirs)?;
    fs::write(seen, &theirs)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn colours_do_not_hide_what_cargo_says() {
        assert_eq!(plain("\u{1b}[1m\u{1b}[92m   Compiling\u{1b}[0m core v0.0.0\n"), "   Compiling core v0.0.0\n");
    }
}
