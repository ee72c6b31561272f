// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The stages that need no kernel of ours: setting up, formatting, lints, tests in process, and building the modules.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::guest::{CRATES, projects};
use super::{Place, Stage, Tally, tools};
use crate::cli::{CrateArgs, SetupArgs, Variant};
use crate::{build, check, fetch, project, setup, ui, vm};

pub fn packages(_: &Place, _: &Stage) -> Result<Tally> {
    setup::packages()?;
    setup::rust_src()?;
    // Only this repository's own tests: regenerating the bindings reads C with clang's library.
    setup::install(&[("libclang-dev", "the test that regenerates the bindings")])?;
    for component in ["rustfmt", "clippy"] {
        let tool = if component == "clippy" { "clippy" } else { "fmt" };
        if !project::cargo().args([tool, "--version"]).output().is_ok_and(|output| output.status.success()) {
            ui::run(
                Command::new("rustup").args(["component", "add", component]),
                &format!("{component} is missing: run `rustup component add {component}`"),
            )?;
        }
    }
    Ok(Tally::ONE)
}

pub fn kernels(_: &Place, _: &Stage) -> Result<Tally> {
    setup::run(&SetupArgs { kernel: vec!["6.12".to_owned(), "6.1".to_owned()] })?;
    Ok(Tally::ONE)
}

pub fn uml(_: &Place, _: &Stage) -> Result<Tally> {
    prepared("uml")
}

pub fn uml_debug(_: &Place, _: &Stage) -> Result<Tally> {
    prepared("uml-debug")
}

fn prepared(kernel: &str) -> Result<Tally> {
    vm::prepare(&fetch::kernel(kernel)?)?;
    Ok(Tally::ONE)
}

pub fn tools(place: &Place, _: &Stage) -> Result<Tally> {
    tools::programs(place)?;
    let (_, files) = tools::repository()?;
    if files < 3000 {
        bail!("the repository to clone has only {files} files");
    }
    println!("ok programs and a repository of {files} files");
    Ok(Tally::ONE)
}

pub fn fmt(place: &Place, _: &Stage) -> Result<Tally> {
    cargo(place, &["fmt", "--all", "--check"])
}

pub fn clippy(place: &Place, _: &Stage) -> Result<Tally> {
    cargo(place, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// A cargo command that passes or fails as a whole.
fn cargo(place: &Place, words: &[&str]) -> Result<Tally> {
    let mut cargo = project::cargo();
    cargo.args(words).current_dir(&place.root);
    match ui::pass_through(&mut cargo)? {
        0 => Ok(Tally::ONE),
        code => bail!("cargo {} ended with {code}", words.join(" ")),
    }
}

pub fn unit(place: &Place, _: &Stage) -> Result<Tally> {
    let all = ["test", "--workspace", "--no-fail-fast"];
    counted(place, project::cargo().args(all).args(DISK.iter().flat_map(|name| ["--exclude", name])))
}

/// Crates whose tests are about what is on a disk.
const DISK: [&str; 2] = ["rext4", "bento-judges"];

pub fn disk(place: &Place, _: &Stage) -> Result<Tally> {
    counted(place, project::cargo().args(["test", "--no-fail-fast"]).args(DISK.iter().flat_map(|name| ["-p", name])))
}

/// A `cargo test` whose tests are counted one by one.
fn counted(place: &Place, command: &mut Command) -> Result<Tally> {
    let log = place.logs.join(format!("cargo-test-{}.out", std::process::id()));
    let file = fs::File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
    let status = command
        .current_dir(&place.root)
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("{} cannot be started", ui::show(command)))?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    fs::remove_file(&log)?;
    print!("{text}");
    let mut tally = test_results(&text);
    for line in text.lines().filter(|line| line.starts_with("test ") && line.ends_with("FAILED")) {
        println!("not ok {line}");
    }
    if !status.success() && tally.failed == 0 {
        tally.failed += 1;
    }
    if tally.passed == 0 {
        bail!("{} ran no test", ui::show(command));
    }
    Ok(tally)
}

/// Sums cargo's "test result: ok. 3 passed; 0 failed; …" lines.
fn test_results(text: &str) -> Tally {
    let mut sum = Tally::default();
    for line in text.lines().filter(|line| line.starts_with("test result: ")) {
        let number = |word: &str| -> u32 {
            let before = line.split(word).next().unwrap_or_default();
            before.split_whitespace().last().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        sum.add(Tally { passed: number(" passed;"), failed: number(" failed;") });
    }
    sum
}

/// Miri interprets the runtime's tests; it exists on nightly only, so the toolchain is fetched when rustup can.
pub fn miri(place: &Place, _: &Stage) -> Result<Tally> {
    let has = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        let step = ui::step("fetch nightly Rust with Miri");
        let mut rustup = Command::new("rustup");
        rustup.args(["toolchain", "install", "nightly", "--profile", "minimal", "-c", "miri", "-c", "rust-src"]);
        let advice = "run `rustup toolchain install nightly -c miri -c rust-src`";
        if let Err(error) = ui::run(&mut rustup, "Miri cannot be fetched") {
            // Supported is 1.95; a machine that has no way to a nightly is told, not failed.
            println!("# skipped: {error}: {advice}");
            return Ok(Tally::default());
        }
        step.done("");
    }
    let mut miri = Command::new("cargo");
    miri.args(["+nightly", "miri", "test", "-p", "bento-runtime", "--features", "std"]);
    miri.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    miri.env("CARGO_TARGET_DIR", place.out.join("miri")).env("MIRIFLAGS", "-Zmiri-disable-isolation");
    counted(place, &mut miri)
}

pub fn examples(place: &Place, _: &Stage) -> Result<Tally> {
    let mut tally = Tally::default();
    for (name, dir) in CRATES {
        let code = check::run(&CrateArgs { path: place.root.join(dir) })?;
        println!("{} cargo bento check of {name}", if code == 0 { "ok" } else { "not ok" });
        tally.add(if code == 0 { Tally::ONE } else { Tally { passed: 0, failed: 1 } });
    }
    Ok(tally)
}

/// `cargo bento new` makes a crate that passes its own check, test and build.
pub fn new(place: &Place, _: &Stage) -> Result<Tally> {
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let dir = place.out.join("suites/new");
    fetch::cache::remove(&dir)?;
    fs::create_dir_all(&dir)?;
    let krate = dir.join("firstfs");
    let mut tally = Tally::default();
    let target = dir.join("target");
    let run = |words: &[&str]| -> Result<Tally> {
        let mut command = Command::new(&program);
        command.args(words).current_dir(if krate.exists() { &krate } else { &dir }).env("CARGO_TARGET_DIR", &target);
        let code = ui::pass_through(&mut command)?;
        println!("{} cargo bento {}", if code == 0 { "ok" } else { "not ok" }, words.join(" "));
        Ok(if code == 0 { Tally::ONE } else { Tally { passed: 0, failed: 1 } })
    };
    tally.add(run(&["new", "firstfs"])?);
    tally.add(run(&["check"])?);
    tally.add(run(&["test"])?);
    tally.add(run(&["expand"])?);
    Ok(tally)
}

/// Modules for both stock kernels, from one and the same Rust object. Warnings fail the build itself.
pub fn modules_x86(place: &Place, _: &Stage) -> Result<Tally> {
    let mut tally = Tally::default();
    let all: Vec<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    let projects = projects(&place.root, &all)?;
    let hashes = || -> Result<Vec<String>> {
        projects.iter().map(|project| Ok(build::object(project, Variant::X86, &[])?.hash)).collect()
    };
    let before = hashes()?;
    for kernel in ["6.12", "6.1"] {
        let kernel = fetch::kernel(kernel)?;
        let built = build::modules(&projects, &kernel, &[])?;
        vm::prepare(&kernel)?;
        for module in std::iter::once(&built.bento).chain(&built.file_systems) {
            println!("ok {} for {}", file_name(module), kernel.release);
            tally.add(Tally::ONE);
        }
    }
    let same = before == hashes()?;
    println!("{} one Rust object serves both kernels", if same { "ok" } else { "not ok" });
    tally.add(if same { Tally::ONE } else { Tally { passed: 0, failed: 1 } });
    Ok(tally)
}

pub fn modules_uml(place: &Place, _: &Stage) -> Result<Tally> {
    modules_of(place, "uml")
}

pub fn modules_uml_debug(place: &Place, _: &Stage) -> Result<Tally> {
    modules_of(place, "uml-debug")
}

fn modules_of(place: &Place, kernel: &str) -> Result<Tally> {
    let all: Vec<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    let kernel = fetch::kernel(kernel)?;
    let built = build::modules(&projects(&place.root, &all)?, &kernel, &[])?;
    let mut tally = Tally::default();
    for module in std::iter::once(&built.bento).chain(&built.file_systems) {
        println!("ok {} for {}", file_name(module), kernel.name);
        tally.add(Tally::ONE);
    }
    Ok(tally)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Bad input to the tool, and a word that the one sentence of its answer must hold.
const MISTAKES: [(&[&str], &str); 7] = [
    (&["build", "nowhere"], "Cargo.toml"),
    (&["build", "."], "workspace"),
    (&["build", "cargo-bento"], "bento"),
    (&["build", "--kernel", "5.4", "examples/hellofs"], "6.12"),
    (&["new", "9lives"], "letter"),
    (&["test", "--all", "--only", "nonsense"], "--list"),
    (&["vm", "--kernel", "6.12", "--gdb", "--crate", "examples/hellofs", "--", "true"], "uml"),
];

pub fn explains(place: &Place, _: &Stage) -> Result<Tally> {
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let mut tally = Tally::default();
    let mut judge = |words: &[&str], word: &str, output: std::process::Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let good = !output.status.success()
            && said.lines().any(|line| line.contains("error") && line.contains(word))
            && !said.contains("panicked");
        println!(
            "{} cargo bento {} explains itself: {}",
            if good { "ok" } else { "not ok" },
            words.join(" "),
            said.trim().replace('\n', " / ")
        );
        tally.add(if good { Tally::ONE } else { Tally { passed: 0, failed: 1 } });
    };
    for (words, word) in MISTAKES {
        judge(words, word, Command::new(&program).args(words).current_dir(&place.root).output()?);
    }
    // A kernel whose headers package is missing: a folder with nothing in it.
    let empty = place.out.join("suites/no-headers");
    fs::create_dir_all(&empty)?;
    let empty = empty.to_string_lossy().into_owned();
    let words = ["build", "--kernel", empty.as_str(), "examples/hellofs"];
    judge(&words, "headers folder", Command::new(&program).args(words).current_dir(&place.root).output()?);
    Ok(tally)
}

/// The story of the README's main command, in the kernel that boots fastest.
pub fn demo(place: &Place, _: &Stage) -> Result<Tally> {
    let program = std::env::current_exe().context("this program does not know its own path")?;
    match ui::pass_through(Command::new(program).args(["demo", "--kernel", "uml"]).current_dir(&place.root))? {
        0 => Ok(Tally::ONE),
        code => bail!("cargo bento demo ended with {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_lines_are_summed() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored\nnoise\ntest result: FAILED. 10 passed; 2 failed; 0 ignored\n";
        assert_eq!(test_results(text), Tally { passed: 13, failed: 2 });
    }
}
