// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The initramfs of a QEMU guest: a static busybox and the few modules that stand between a stock kernel and its root
//! disk. Written as cpio (newc) by hand, so that it needs no root and no device nodes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::fetch::{Kernel, cache};

const INIT: &str = include_str!("guest/qemu-init.sh");

/// Modules the guest cannot start without; a kernel that has one built in simply lists none of that name.
/// `crc32c` is asked for by name at run time, which dependency lists do not show.
const WANTED: [&str; 6] = ["virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "crc32c_intel", "ext4"];

/// The initramfs of `kernel`, cached.
pub fn image(kernel: &Kernel) -> Result<PathBuf> {
    let busybox = "/bin/busybox";
    let program = fs::read(busybox)
        .with_context(|| format!("{busybox} is missing: run `sudo apt-get install busybox-static`"))?;
    let mut hash = Sha256::new();
    hash.update(INIT);
    hash.update(WANTED.join(" "));
    hash.update(&program);
    let key: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    cache::once(&format!("guest/initramfs-{}-{key}", kernel.release), |tmp| {
        let modules = kernel.modules_dir.as_ref().context("this kernel has no modules folder")?;
        let index = Index::read(modules)?;
        let mut cpio = Cpio::default();
        for dir in ["bin", "dev", "modules", "proc", "root"] {
            cpio.dir(dir);
        }
        cpio.file("bin/busybox", 0o755, &program);
        cpio.file("init", 0o755, INIT.as_bytes());
        let mut order = String::new();
        for module in index.closure(&WANTED)? {
            let name = plain_name(&module);
            cpio.file(&format!("modules/{name}"), 0o644, &contents(&modules.join(&module))?);
            order += &format!("{name}\n");
        }
        cpio.file("modules/order", 0o644, order.as_bytes());
        let mut file = fs::File::create(tmp).with_context(|| format!("{} cannot be written", tmp.display()))?;
        file.write_all(&cpio.finish())?;
        Ok(())
    })
}

/// A kernel's modules as `depmod` wrote them down.
#[derive(Debug)]
struct Index {
    /// Path of each module to the paths it needs, in the order of `modules.dep`.
    needs: BTreeMap<String, Vec<String>>,
    by_name: BTreeMap<String, String>,
}

impl Index {
    fn read(modules: &Path) -> Result<Index> {
        let path = modules.join("modules.dep");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{} is missing: remove this kernel from the cache and try again", path.display())
        })?;
        Ok(Index::parse(&text))
    }

    fn parse(text: &str) -> Index {
        let mut index = Index { needs: BTreeMap::new(), by_name: BTreeMap::new() };
        for (module, needs) in text.lines().filter_map(|line| line.split_once(':')) {
            let name = plain_name(module).trim_end_matches(".ko").replace('-', "_");
            index.by_name.insert(name, module.to_owned());
            index.needs.insert(module.to_owned(), needs.split_whitespace().map(str::to_owned).collect());
        }
        index
    }

    /// The wanted modules and all they need, in an order in which each loads. `modules.dep` lists a module's
    /// dependencies nearest first, so that loading them backwards works.
    fn closure(&self, wanted: &[&str]) -> Result<Vec<String>> {
        let mut order = Vec::new();
        for module in wanted.iter().filter_map(|name| self.by_name.get(*name)) {
            for one in self.needs[module].iter().rev().chain([module]) {
                if !order.contains(one) {
                    order.push(one.clone());
                }
            }
        }
        if order.is_empty() && self.by_name.is_empty() {
            bail!("the kernel's modules.dep lists no module: remove this kernel from the cache and try again");
        }
        Ok(order)
    }
}

/// File name of a module without the ending of its compression.
fn plain_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split_once(".ko").map_or(name, |(stem, _)| &name[..stem.len() + 3])
}

/// A module's bytes; Debian compresses them since 6.12.
fn contents(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("{} cannot be read", path.display())),
    };
    let output = Command::new(tool)
        .arg("-dc")
        .arg(path)
        .output()
        .with_context(|| format!("{tool} cannot be started: run `sudo apt-get install {tool}`"))?;
    if !output.status.success() {
        bail!("{} cannot be unpacked: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// A cpio archive in the form that the kernel unpacks (newc).
#[derive(Debug, Default)]
struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    fn dir(&mut self, name: &str) {
        self.entry(name, 0o040755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entry(name, 0o100000 | mode, data);
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.inode += 1;
        let links = if mode & 0o040000 != 0 { 2 } else { 1 };
        let fields = [self.inode, mode, 0, 0, links, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui;

    #[test]
    fn a_module_comes_after_all_it_needs() {
        let index = Index::parse(
            "kernel/a/one.ko.xz: kernel/b/two.ko.xz kernel/c/three-x.ko.xz\nkernel/c/three-x.ko.xz:\nkernel/b/two.ko.xz: kernel/c/three-x.ko.xz\n",
        );
        let order = index.closure(&["three_x", "one", "built_in"]).unwrap();
        assert_eq!(order, ["kernel/c/three-x.ko.xz", "kernel/b/two.ko.xz", "kernel/a/one.ko.xz"]);
        assert_eq!(plain_name(&order[0]), "three-x.ko");
    }

    #[test]
    fn cpio_can_be_read_by_cpio() {
        let mut cpio = Cpio::default();
        cpio.dir("d");
        cpio.file("d/f", 0o755, b"hello");
        let path = std::env::temp_dir().join(format!("bento-cpio-{}", std::process::id()));
        fs::write(&path, cpio.finish()).unwrap();
        let listed = ui::run(Command::new("cpio").args(["-itv", "-F"]).arg(&path), "cpio failed").unwrap();
        fs::remove_file(&path).unwrap();
        assert!(
            listed.lines().any(|line| line.starts_with("-rwxr-xr-x") && line.contains(" 5 ") && line.ends_with("d/f")),
            "{listed}"
        );
    }
}
