// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What travels into a guest: the caller's files under `/bento`, and in `/bento/.bento` the init script with its
//! parameters. Also the folder of one run on the host, removed when the run is over.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

use super::{RunSpec, guest};
use crate::fetch::{Arch, cache};
use crate::ui;

const INIT: &str = include_str!("guest/init.sh");

/// Longest path of a Unix socket, with room for the names we use.
const SOCKET_PATH: usize = 90;

/// The folder of one run.
#[derive(Debug)]
pub struct RunDir {
    pub path: PathBuf,
}

impl RunDir {
    /// Makes the folder, and removes those of runs whose process is gone.
    pub fn new() -> Result<RunDir> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut runs = cache::dir()?.join("runs");
        if runs.as_os_str().len() > SOCKET_PATH - 20 {
            runs = std::env::temp_dir().join("bento-runs");
        }
        fs::create_dir_all(&runs).with_context(|| format!("{} cannot be created", runs.display()))?;
        for entry in fs::read_dir(&runs)?.flatten() {
            let name = entry.file_name();
            let Some((pid, _)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
            if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
                cache::remove(&entry.path())?;
            }
        }
        let path = runs.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        cache::remove(&path)?;
        fs::create_dir_all(path.join("out"))?;
        if path.to_string_lossy().contains([' ', ',', ':']) {
            bail!("{} holds a blank, comma or colon, which QEMU and UML cannot take: set BENTO_CACHE", path.display());
        }
        Ok(RunDir { path })
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // A folder that cannot be removed now goes at the start of a later run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Lays out `/bento` for `spec` and returns its folder on the host.
pub fn payload(spec: &RunSpec, run: &RunDir) -> Result<PathBuf> {
    let stage = run.join("payload");
    let bento = stage.join(".bento");
    fs::create_dir_all(bento.join("ko"))?;
    for (host, name) in &spec.payload {
        let to = stage.join(name.trim_start_matches('/'));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        place(host, &to)?;
    }
    let mut modules = String::new();
    for module in &spec.modules {
        let name = module.path.file_name().and_then(|name| name.to_str()).context("a module has no file name")?;
        place(&module.path, &bento.join("ko").join(name))?;
        modules += &format!("/bento/.bento/ko/{name} {}\n", module.parameters);
    }
    write(&bento, "modules", &modules)?;
    write(&bento, "env", &environment(spec))?;
    write(&bento, "command", &command(&spec.command))?;
    write(&bento, "welcome", &welcome(spec))?;
    write(&bento, "init", INIT)?;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(bento.join("init"), fs::Permissions::from_mode(0o755))?;
    Ok(stage)
}

/// A hard link where that works, else a copy.
fn place(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        bail!("{} is not there: build it before it is sent to the guest", from.display());
    }
    let real = from.canonicalize()?;
    if real.is_file() && fs::hard_link(&real, to).is_ok() {
        return Ok(());
    }
    guest::copy(&real, to)
}

fn environment(spec: &RunSpec) -> String {
    let mut text = String::new();
    let mut set = |name: &str, value: &str| text += &format!("export {name}={}\n", quote(value));
    set("BENTO_KERNEL", &spec.kernel.name);
    for (index, _) in spec.disks.iter().enumerate() {
        set(&format!("BENTO_DISK{index}"), &super::disk_name(spec.kernel.arch, index));
    }
    if spec.kernel.arch == Arch::Um
        && let Some(modules) = spec.kernel.modules_dir.as_ref().and_then(|dir| dir.parent())
    {
        set("BENTO_MODULES", &modules.to_string_lossy());
    }
    if spec.results.is_some() {
        set("BENTO_RESULTS", "1");
    }
    if spec.kmemleak {
        set("BENTO_KMEMLEAK", "1");
    }
    if spec.gdb.is_some() {
        set("BENTO_GDB", "1");
    }
    if spec.command.is_empty() {
        set("BENTO_INTERACTIVE", "1");
        set("TERM", &std::env::var("TERM").unwrap_or_else(|_| "dumb".into()));
        set("BENTO_STTY", &terminal_size().unwrap_or_default());
    }
    for (name, value) in &spec.env {
        set(name, value);
    }
    text
}

/// A script of one line: a single word goes to the shell as it is (like ssh), several are one exact argument list.
fn command(words: &[String]) -> String {
    match words {
        [line] => format!("{line}\n"),
        words => format!("exec {}\n", words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")),
    }
}

fn welcome(spec: &RunSpec) -> String {
    let modules: Vec<_> = spec.modules.iter().filter_map(|module| module.path.file_stem()?.to_str()).collect();
    let loaded = if modules.is_empty() { "no modules".to_owned() } else { modules.join(", ") };
    format!("Linux {}, loaded: {loaded}. Nothing you change here is kept; leave with `exit`.\n", spec.kernel.release)
}

/// `rows R cols C` for the guest's stty.
fn terminal_size() -> Option<String> {
    let mut stty = std::process::Command::new("stty");
    let size = ui::run(stty.args(["size", "-F", "/dev/tty"]), "stty failed").ok()?;
    let (rows, columns) = size.trim().split_once(' ')?;
    (rows != "0").then(|| format!("rows {rows} cols {columns}"))
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_a_shell_line_and_several_are_exact_arguments() {
        assert_eq!(command(&["echo a | wc".into()]), "echo a | wc\n");
        assert_eq!(command(&["echo".into(), "it's $HOME".into()]), "exec 'echo' 'it'\\''s $HOME'\n");
    }
}
