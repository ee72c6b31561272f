// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento mount`: the author's crate as a FUSE daemon. The object is the kernel's, built as a shared object, with
//! the kernel's panic handler, unwinder and stack check (SAFETY.md B2); this program is the daemon.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use bento_user_shim::{Object, fuse};

use crate::build;
use crate::cli::MountArgs;
use crate::project::Project;
use crate::ui;

/// `cargo bento mount`; returns when the mount is gone.
pub fn run(args: &MountArgs) -> Result<u8> {
    let (source, mountpoint) = match args.places.as_slice() {
        [mountpoint] => ("none".to_owned(), mountpoint),
        [source, mountpoint] => (source.to_string_lossy().into_owned(), mountpoint),
        _ => bail!("give a mount point, or a source and a mount point"),
    };
    match mountpoint.metadata() {
        Err(error) if error.kind() == ErrorKind::NotConnected => {
            bail!("{0} is a mount whose daemon is gone: run `fusermount3 -u {0}`", mountpoint.display())
        }
        Ok(found) if found.is_dir() => {}
        _ => bail!("{0} is no folder to mount on: run `mkdir -p {0}`", mountpoint.display()),
    }
    if !Path::new("/dev/fuse").exists() {
        bail!("/dev/fuse is missing: run `sudo modprobe fuse`, or start the container with access to it");
    }
    let object = object(&args.target)?;
    let options = args.options.join(",");
    if args.gdb {
        return under_gdb(&object, &source, mountpoint, &options);
    }
    let place = mountpoint.display();
    ui::say(format!("{place}: mounted until Ctrl-C or `fusermount3 -u {place}`"));
    // Loaded before `serve`, so that a debugger that stops there knows the handlers.
    Object::load(&object).map_err(|error| anyhow!("{error}"))?;
    serve(&object, &source, mountpoint, &options)?;
    Ok(0)
}

/// Where `--gdb` stops.
#[inline(never)]
fn serve(object: &Path, source: &str, mountpoint: &Path, options: &str) -> Result<()> {
    fuse::run(object, source, mountpoint, options, &fuse::Options::default()).map_err(|error| anyhow!("{error}"))
}

/// A shared object as it is, or the one built from a crate.
fn object(target: &Path) -> Result<PathBuf> {
    if target.is_file() {
        return Ok(target.to_owned());
    }
    build::user::shared_object(&Project::open(target)?, &[])
}

/// The daemon in gdb, stopped when the object is loaded and its functions are known, before anything is mounted.
fn under_gdb(object: &Path, source: &str, mountpoint: &Path, options: &str) -> Result<u8> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-ex", "set breakpoint pending on", "-ex", "break cargo_bento::mount::serve", "-ex", "run"]);
    gdb.arg("--args").arg(env::current_exe().context("this program has no path")?);
    gdb.arg("mount").arg(object).arg(source).arg(mountpoint);
    if !options.is_empty() {
        gdb.arg("-o").arg(options);
    }
    let line = "src/lib.rs:LINE";
    ui::say(format!("gdb stops before the mount: set a breakpoint in a handler (`break {line}`), then `continue`"));
    ui::pass_through(&mut gdb)
}
