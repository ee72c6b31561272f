// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The last step on the kernel's side: `bento.ko` from the shim's C, and one module per file system from its checked
//! object and the shim's glue, both with the kernel's own build system. Any warning of compiler, objtool or modpost
//! fails the build: in a kernel each has meant a crash somewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::files::{copy_if_changed, hash_bytes, write_if_changed};
use crate::fetch::{Arch, Kernel};
use crate::project::FileSystem;
use crate::ui;

/// A built module and the symbols it exports.
#[derive(Debug, Clone)]
pub struct Module {
    pub ko: PathBuf,
    pub symvers: PathBuf,
}

/// Lines that say "warning" and mean nothing for a module.
const HARMLESS: [&str; 2] = [
    // The running compiler's patch level differs from the kernel's; objtool still checks what came out.
    "the compiler differs from the one used to build the kernel",
    "Clock skew detected",
];

/// Builds `bento.ko` for `kernel` below `out`.
pub fn bento(shim: &Path, include: &Path, kernel: &Kernel, out: &Path) -> Result<Module> {
    let dir = out.join("bento");
    fs::create_dir_all(&dir)?;
    let mut inputs = Vec::new();
    for entry in fs::read_dir(shim).with_context(|| format!("{} cannot be read", shim.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            continue;
        };
        let source = matches!(path.extension().and_then(|e| e.to_str()), Some("c" | "h" | "S" | "lds"));
        // The glue is compiled into each file system's module, not here.
        if (source && name != GLUE) || name == "Kbuild" {
            copy_if_changed(&path, &dir.join(&name))?;
            inputs.push(path);
        }
    }
    if !dir.join("Kbuild").exists() {
        bail!("{} has no Kbuild: the kernel shim is incomplete, check out the repository again", shim.display());
    }
    forget_removed(&dir, &inputs)?;
    let header = include.join(ABI_HEADER);
    copy_if_changed(&header, &dir.join(ABI_HEADER))?;
    inputs.push(header);
    inputs.sort();
    make(&dir, "bento", kernel, &inputs, None)
}

/// Builds `<fs>_v<version>.ko` from the checked object.
pub fn file_system(
    fs: &FileSystem,
    object: &Path,
    bento: &Module,
    sources: Sources,
    kernel: &Kernel,
    out: &Path,
) -> Result<Module> {
    let module = fs.module();
    let dir = out.join(&module);
    let glue = sources.shim.join(GLUE);
    let mut inputs = vec![object.to_owned(), glue.clone(), bento.symvers.clone(), sources.include.join(ABI_HEADER)];
    copy_if_changed(object, &dir.join("rust.prelinked"))?;
    copy_if_changed(&glue, &dir.join(GLUE))?;
    copy_if_changed(&sources.include.join(ABI_HEADER), &dir.join(ABI_HEADER))?;
    for entry in fs::read_dir(sources.shim)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "h")
            && let Some(name) = path.file_name()
        {
            copy_if_changed(&path, &dir.join(name))?;
            inputs.push(path);
        }
    }
    inputs.sort();
    if kernel.arch == Arch::Um {
        write_if_changed(&dir.join("memory.c"), include_bytes!("uml_memory.c"))?;
    }
    write_if_changed(&dir.join("Kbuild"), kbuild(fs, kernel.arch).as_bytes())?;
    make(&dir, &module, kernel, &inputs, Some(&bento.symvers))
}

/// Where the C half lies.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    pub shim: &'a Path,
    pub include: &'a Path,
}

const GLUE: &str = "fsmod.c";
const ABI_HEADER: &str = "bento_abi.h";

/// `rust.o` is a copy, because objtool writes into it; `.o_shipped` would leave modpost without its `.cmd` file.
/// Landing pads are entered through the unwinder only, so objtool cannot see how they are reached.
fn kbuild(fs: &FileSystem, arch: Arch) -> String {
    format!(
        "# SPDX-License-Identifier: GPL-2.0\n\
         # Written by `cargo bento build`.\n\
         obj-m := {module}.o\n\
         {module}-y := fsmod.o rust.o{memory}\n\
         ccflags-y := -I$(src) -DBENTO_FS_NAME={name} -DBENTO_FS_VERSION={version}\n\
         objtool-args-y += --no-unreachable\n\
         \n\
         quiet_cmd_bento_object = COPY    $@\n\
         \x20     cmd_bento_object = cp $< $@ $(cmd_objtool)\n\
         \n\
         $(obj)/rust.o: $(obj)/rust.prelinked FORCE\n\
         \t$(call if_changed,bento_object)\n\
         targets += rust.o\n",
        module = fs.module(),
        name = fs.name,
        version = fs.version,
        memory = if arch == Arch::Um { " memory.o" } else { "" },
    )
}

/// Runs make unless nothing it reads has changed since it last succeeded.
fn make(dir: &Path, module: &str, kernel: &Kernel, inputs: &[PathBuf], extra: Option<&Path>) -> Result<Module> {
    let built = Module { ko: dir.join(format!("{module}.ko")), symvers: dir.join("Module.symvers") };
    let stamp = dir.join("built.stamp");
    let mut key = format!("{} {}\n", kernel.release, kernel.headers_dir.display());
    for path in inputs.iter().chain([&dir.join("Kbuild")]) {
        let content = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        key.push_str(&format!("{} {}\n", path.display(), hash_bytes(&content)));
    }
    if fs::read_to_string(&stamp).is_ok_and(|seen| seen == key) && built.ko.exists() && built.symvers.exists() {
        return Ok(built);
    }
    let _ = fs::remove_file(&stamp);
    // kbuild does not notice that only the versions of bento.ko's symbols have changed.
    let _ = fs::remove_file(&built.symvers);
    let _ = fs::remove_file(dir.join(format!("{module}.mod.c")));
    let _ = fs::remove_file(&built.ko);
    let step = ui::step(format!("build {module}.ko for {}", kernel.release));
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(&kernel.headers_dir)
        .arg(format!("M={}", dir.canonicalize()?.display()))
        .arg(format!("ARCH={}", kernel.make_arch()))
        .arg(format!("-j{}", std::thread::available_parallelism().map_or(1, |n| n.get())))
        .arg("modules")
        // A make or cargo that started us must not speak to this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("KBUILD_OUTPUT")
        .env("LC_ALL", "C");
    if let Some(symvers) = extra {
        make.arg(format!("KBUILD_EXTRA_SYMBOLS={}", symvers.display()));
    }
    // Type information for BPF: pahole cannot follow Rust's debug information, and C's needs pahole.
    if extra.is_some() || Command::new("pahole").arg("--version").output().is_err() {
        make.arg("CONFIG_DEBUG_INFO_BTF_MODULES=");
    }
    let output = make.output().context("make cannot be started: run `sudo apt-get install make gcc`")?;
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(anyhow::anyhow!("{}\n{printed}", ui::show(&make))
            .context(format!("{module}.ko does not build for {}: the lines below say why", kernel.release)));
    }
    if let Some(line) = warnings(&printed).next() {
        return Err(anyhow::anyhow!("{printed}").context(format!(
            "{module}.ko builds for {} with a warning, which is an error here: {line}",
            kernel.release
        )));
    }
    fs::write(&stamp, key)?;
    step.done("");
    Ok(built)
}

fn warnings(printed: &str) -> impl Iterator<Item = &str> {
    printed
        .lines()
        .filter(|line| line.to_ascii_lowercase().contains("warning"))
        .filter(|line| !HARMLESS.iter().any(|harmless| line.contains(harmless)))
}

/// Drops copies of shim sources that are gone, so that a stale one is never built.
fn forget_removed(dir: &Path, inputs: &[PathBuf]) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let ours = matches!(path.extension().and_then(|e| e.to_str()), Some("c" | "h" | "S"));
        let generated =
            path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".mod.c") || name == ABI_HEADER);
        if ours && !generated && !inputs.iter().any(|input| input.file_name() == path.file_name()) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_warning_counts_but_the_harmless_ones() {
        let printed = "warning: the compiler differs from the one used to build the kernel\n\
                       x.o: warning: objtool: f+0x1: unreachable instruction\n\
                       WARNING: modpost: missing MODULE_LICENSE()\n\
                       CC [M] y.o\n";
        assert_eq!(warnings(printed).count(), 2);
    }

    #[test]
    fn the_module_name_carries_the_version() {
        let fs = FileSystem { type_path: "MemFs".into(), name: "memfs".into(), version: 3 };
        assert!(kbuild(&fs, Arch::X86).contains("obj-m := memfs_v3.o\nmemfs_v3-y := fsmod.o rust.o\n"));
    }
}
