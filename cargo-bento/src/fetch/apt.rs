// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Debian packages without installing them: a private apt list per suite, so that nothing on the machine changes and
//! no root is needed. Where Debian's mirror lies is read from the machine's own apt sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cache;
use crate::ui;

/// Keyring that Debian's own package `debian-archive-keyring` installs.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The suites that one of our lists covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12 with its security updates.
    Bookworm,
    /// Newer kernels for Debian 12.
    BookwormBackports,
}

/// A private, up-to-date apt list.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Suite::Bookworm => "bookworm",
            Suite::BookwormBackports => "bookworm-backports",
        }
    }
}

impl Archive {
    /// Refreshes the list of `suite`.
    pub fn open(suite: Suite) -> Result<Archive> {
        let dir = cache::dir()?.join("apt").join(suite.name());
        let _lock = cache::lock(&format!("apt-{}", suite.name()))?;
        let mirrors = mirrors()?;
        let signed = if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let mut list = format!("deb {signed}{} {} main\n", mirrors.archive, suite.name());
        if suite == Suite::Bookworm
            && let Some(security) = &mirrors.security
        {
            list += &format!("deb {signed}{security} bookworm-security main\n");
        }
        make_state(&dir)?;
        fs::write(dir.join("sources.list"), list)?;
        let archive = Archive { dir };
        let step = ui::step(format!("package list of {}", suite.name()));
        ui::run(
            archive.apt("apt-get").arg("update"),
            "Debian's package list cannot be read: check the network and /etc/apt, then try again",
        )?;
        step.done("");
        Ok(archive)
    }

    /// Packages whose whole name matches the regular expression `pattern`.
    pub fn search(&self, pattern: &str) -> Result<Vec<String>> {
        let found = ui::run(
            self.apt("apt-cache").args(["search", "--names-only", pattern]),
            "apt-cache cannot search the package list: remove `apt` in the cache folder and try again",
        )?;
        Ok(found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// One field of the newest version of `package`, e.g. `Depends`.
    pub fn field(&self, package: &str, field: &str) -> Result<String> {
        let shown = ui::run(
            self.apt("apt-cache").args(["show", "--no-all-versions", package]),
            &format!("Debian has no package {package} now: try again after `apt-get update`"),
        )?;
        let start = format!("{field}: ");
        shown
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .map(str::to_owned)
            .with_context(|| format!("the package {package} has no field {field}"))
    }

    /// Downloads `packages` into `dir` and returns the files.
    pub fn download(&self, packages: &[String], dir: &Path, what: &str) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(dir).with_context(|| format!("{} cannot be created", dir.display()))?;
        let uris = ui::run(
            self.apt("apt-get").args(["download", "--print-uris"]).args(packages),
            "the packages cannot be found in Debian's list: try again after `apt-get update`",
        )?;
        let files: Vec<(PathBuf, u64)> = uris
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace().skip(1);
                Some((dir.join(words.next()?), words.next()?.parse().ok()?))
            })
            .collect();
        if files.len() != packages.len() {
            bail!("apt-get names {} files for the {} packages of {what}: {uris}", files.len(), packages.len());
        }
        let total: u64 = files.iter().map(|(_, size)| size).sum();
        let step = ui::bytes(format!("download {what} ({} MB)", total / 1_000_000), total);
        let mut child = self
            .apt("apt-get")
            .arg("download")
            .args(packages)
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("apt-get cannot be started: cargo bento needs a Debian system")?;
        while child.try_wait()?.is_none() {
            step.at(files.iter().filter_map(|(path, _)| fs::metadata(path).ok()).map(|meta| meta.len()).sum());
            std::thread::sleep(Duration::from_millis(100));
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{what} cannot be downloaded: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        step.done("");
        Ok(files.into_iter().map(|(path, _)| path).collect())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = private_apt(program, &self.dir);
        let list = format!("Dir::Etc::sourcelist={}", self.dir.join("sources.list").display());
        command.args(["-o", &list, "-o", "Dir::Etc::sourceparts=/dev/null"]);
        command
    }
}

/// Unpacks a package's files into `root`.
pub fn unpack(package: &Path, root: &Path) -> Result<()> {
    ui::run(
        Command::new("dpkg").arg("-x").arg(package).arg(root),
        &format!("{} cannot be unpacked: is the disk full?", package.display()),
    )?;
    Ok(())
}

/// Where this machine finds Debian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    pub archive: String,
    pub security: Option<String>,
}

/// Reads the machine's apt sources. Without any package list yet (a fresh machine), a private one is fetched first:
/// only the lists say which source is Debian's and which another vendor's.
pub fn mirrors() -> Result<Mirrors> {
    if let Some(mirrors) = pick(&targets(Command::new("apt-get"))?) {
        return Ok(mirrors);
    }
    let dir = cache::dir()?.join("apt/system");
    make_state(&dir)?;
    ui::run(
        private_apt("apt-get", &dir).arg("update"),
        "the machine's package lists cannot be read: check the network and /etc/apt, then try again",
    )?;
    pick(&targets(private_apt("apt-get", &dir))?)
        .context("no Debian mirror in /etc/apt: add Debian 12 (bookworm) to the machine's apt sources")
}

fn targets(mut command: Command) -> Result<String> {
    ui::run(
        command.args(["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"]),
        "apt-get cannot list its sources: cargo bento needs a Debian system",
    )
}

fn pick(targets: &str) -> Option<Mirrors> {
    let with_label = |label: &str| {
        targets.lines().find_map(|line| {
            let mut fields = line.splitn(3, '|');
            (fields.next() == Some("Debian") && fields.next() == Some(label))
                .then(|| fields.next().map(str::to_owned))?
        })
    };
    Some(Mirrors { archive: with_label("Debian")?, security: with_label("Debian-Security") })
}

fn make_state(dir: &Path) -> Result<()> {
    for sub in ["lists/partial", "archives/partial"] {
        let path = dir.join(sub);
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be created", path.display()))?;
    }
    Ok(())
}

/// apt with its state under `dir`; the machine's preferences do not apply, and as root it keeps its rights so that
/// it can write to a cache folder under root's home.
fn private_apt(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for option in [
        format!("Dir::State::lists={}", dir.join("lists").display()),
        format!("Dir::Cache={}", dir.display()),
        "Dir::Etc::preferences=/dev/null".to_owned(),
        "Dir::Etc::preferencesparts=/dev/null".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled=false".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled=false".to_owned(),
        "Acquire::Retries=3".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    command.env("LC_ALL", "C");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_vendors_source_is_not_taken_for_debians() {
        let targets = "Docker|Docker CE|http://a/\nDebian|Debian-Security|http://s/\nDebian|Debian|http://d/\n";
        assert_eq!(pick(targets), Some(Mirrors { archive: "http://d/".into(), security: Some("http://s/".into()) }));
        assert_eq!(pick("Docker|Debian|http://a/"), None);
    }
}
