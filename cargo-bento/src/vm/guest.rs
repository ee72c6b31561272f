// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the guests run on: one Debian root image for every kernel, made once, and per kernel an image of its modules.
//! Guests write to throw-away overlays, so the images never change and any number of guests can share them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::fetch::{Kernel, apt, cache};
use crate::setup;
use crate::ui;

/// Programs of the guest: what the suites, the demo and the benchmarks run there.
const PACKAGES: [&str; 20] = [
    "acl",
    "attr",
    "busybox-static",
    "e2fsprogs",
    "fdisk",
    "fuse2fs",
    "fuse3",
    "gcc",
    "git",
    "kmod",
    "libc6-dev",
    "make",
    "procps",
    "psmisc",
    "python3-minimal",
    "sqlite3",
    "strace",
    "util-linux",
    "xfsprogs",
    "xz-utils",
];

/// First program of a UML guest: finds the payload on the host and goes on there, as the initramfs does under QEMU.
const UML_INIT: &str = include_str!("guest/uml-init.sh");

/// Never packed into the guest's module image: hardware that no guest has.
const DRIVERS: [&str; 9] = ["block", "char", "dax", "md", "mtd", "nvdimm", "nvme", "scsi", "virtio"];

/// Raised when the image is made differently and the lists above do not show it.
const RECIPE: u32 = 1;

/// The root image (ext4, no partition table).
pub fn root_image() -> Result<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(format!("{RECIPE} {} {UML_INIT}", PACKAGES.join(" ")));
    let key: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    cache::once(&format!("guest/root-{key}.ext4"), |tmp| {
        let mirrors = apt::mirrors()?;
        let tree = cache::with_suffix(tmp, "-tree");
        discard(&tree)?;
        let step = ui::step("guest system: debootstrap, once (about a minute)");
        let mut debootstrap = setup::as_root("debootstrap");
        debootstrap.args(["--variant=minbase", "--include", &PACKAGES.join(","), "bookworm"]);
        debootstrap.arg(&tree).arg(&mirrors.archive);
        ui::run(
            &mut debootstrap,
            "the guest system cannot be made: run `cargo bento setup`, check the network and try again",
        )?;
        step.done("");
        let step = ui::step("guest system: image");
        furnish(&tree)?;
        let mut mke2fs = setup::as_root("mke2fs");
        mke2fs.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", "bento-root", "-d"]);
        ui::run(mke2fs.arg(&tree).arg(tmp).arg("2G"), "the guest's root image cannot be made: is the disk full?")?;
        if !setup::is_root() {
            let user = std::env::var("USER").context("USER is not set: set it to your login name")?;
            ui::run(setup::as_root("chown").arg(user).arg(tmp), "the root image cannot be given to you")?;
        }
        discard(&tree)?;
        step.done("");
        Ok(())
    })
}

/// The finishing touches of the tree; a script because it may have to run with sudo.
fn furnish(tree: &Path) -> Result<()> {
    let script = r#"
        set -e
        cd "$1"
        rm -rf var/cache/apt/* var/lib/apt/lists/* usr/share/doc usr/share/man usr/share/locale usr/share/info
        mkdir -p bento results mnt lib/modules
        printf '%s' "$2" > sbin/bento-init
        chmod 755 sbin/bento-init
        echo bento > etc/hostname
        echo '127.0.0.1 localhost bento' > etc/hosts
        printf '[user]\n\tname = Bento\n\temail = bento@localhost\n[init]\n\tdefaultBranch = main\n[safe]\n\tdirectory = *\n' > root/.gitconfig
        ln -sf ../proc/self/mounts etc/mtab
    "#;
    let mut sh = setup::as_root("sh");
    sh.args(["-c", script, "furnish"]).arg(tree).arg(UML_INIT);
    ui::run(&mut sh, "the guest system cannot be furnished: is the disk full?")?;
    Ok(())
}

/// Removes a tree that debootstrap made, which may belong to root.
fn discard(tree: &Path) -> Result<()> {
    if tree.exists() {
        ui::run(
            setup::as_root("rm").args(["-rf", "--one-file-system"]).arg(tree),
            "an unfinished guest system cannot be removed",
        )?;
    }
    Ok(())
}

/// `lib/modules` of a stock kernel as an image: file systems, block layer and their helpers.
pub fn modules_image(kernel: &Kernel) -> Result<PathBuf> {
    let modules = kernel.modules_dir.as_ref().with_context(|| format!("the kernel {} has no modules", kernel.name))?;
    cache::once(&format!("guest/modules-{}.ext4", kernel.release), |tmp| {
        let step = ui::step(format!("guest modules of {}", kernel.release));
        let stage = cache::with_suffix(tmp, "-stage");
        cache::remove(&stage)?;
        let into = stage.join("lib/modules").join(&kernel.release);
        fs::create_dir_all(into.join("kernel/drivers"))?;
        for entry in fs::read_dir(modules)? {
            let path = entry?.path();
            if path.is_file() {
                copy(&path, &into)?;
            }
        }
        for entry in fs::read_dir(modules.join("kernel"))? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != "drivers" && name != "sound") {
                copy(&path, &into.join("kernel"))?;
            }
        }
        for driver in DRIVERS {
            let path = modules.join("kernel/drivers").join(driver);
            if path.exists() {
                copy(&path, &into.join("kernel/drivers"))?;
            }
        }
        ui::run(
            Command::new("/sbin/depmod").arg("-b").arg(&stage).arg(&kernel.release),
            "depmod failed: run `sudo apt-get install kmod`",
        )?;
        ext4_of(&stage.join("lib/modules"), tmp)?;
        cache::remove(&stage)?;
        step.done("");
        Ok(())
    })
}

/// An ext4 image with the contents of `dir`, just large enough.
pub fn ext4_of(dir: &Path, image: &Path) -> Result<()> {
    let (files, bytes) = measure(dir)?;
    // A block for the end of each file, an inode and a directory entry; the rest is the file system's own tables.
    let kib = bytes / 1024 + files * 5 + 2048;
    let kib = kib + kib / 16;
    let mut mke2fs = Command::new("/sbin/mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal,^resize_inode", "-m", "0"]);
    mke2fs.args(["-E", "nodiscard,root_owner=0:0", "-N"]).arg((files + 64).to_string());
    mke2fs.arg("-d").arg(dir).arg(image).arg(format!("{kib}k"));
    ui::run(&mut mke2fs, "an image for the guest cannot be made: is the disk full, is e2fsprogs installed?")?;
    Ok(())
}

fn measure(dir: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let entry = entry?;
            let meta = entry.metadata()?;
            files += 1;
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += meta.len();
            }
        }
    }
    Ok((files, bytes))
}

/// Copies a file or tree into the folder `into`, sharing its blocks where the host's file system can.
pub fn copy(from: &Path, into: &Path) -> Result<()> {
    if !from.exists() {
        bail!("{} is not there to be copied for the guest", from.display());
    }
    ui::run(
        Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(into),
        &format!("{} cannot be copied for the guest: is the disk full?", from.display()),
    )?;
    Ok(())
}
