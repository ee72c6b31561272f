// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The road from an author's crate to something that runs: entry crate → one checked object → kernel module or shared
//! object. Each step is a file; this one puts them in order.

#[cfg(test)]
mod agrees;
mod checks;
mod elf;
mod entry;
pub mod files;
mod flow;
mod kbuild;
mod places;
mod prelink;
mod recursion;
#[cfg(test)]
mod seeded;
pub mod source;
mod unwind;
pub mod user;
mod variant;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::files::Lock;
use crate::cli::{BuildArgs, Variant};
use crate::fetch::{self, Arch, Kernel};
use crate::project::Project;

pub use prelink::Finished;

/// `cargo bento build`.
pub fn run(args: &BuildArgs) -> Result<u8> {
    let project = Project::open(&args.target.path)?;
    for variant in &args.variant {
        let path = match variant {
            Variant::User => user::shared_object(&project, &args.features)?,
            _ => object(&project, *variant, &args.features)?.object,
        };
        println!("{}", path.display());
    }
    let mut kernels = args.kernel.clone();
    if kernels.is_empty() && args.variant.is_empty() {
        kernels.push("6.12".to_owned());
    }
    for version in &kernels {
        let kernel = installed(version)?.map_or_else(|| fetch::kernel(version), Ok)?;
        let built = modules(std::slice::from_ref(&project), &kernel, &args.features)?;
        println!("{}", built.bento.display());
        for ko in &built.file_systems {
            println!("{}", ko.display());
        }
    }
    Ok(0)
}

/// A kernel that this machine brings itself: its headers' folder, or the release of one in /lib/modules.
fn installed(version: &str) -> Result<Option<Kernel>> {
    let headers = match Path::new(version) {
        folder if folder.is_dir() => folder.to_owned(),
        _ => Path::new("/lib/modules").join(version).join("build"),
    };
    if !headers.is_dir() {
        return Ok(None);
    }
    let read = |file: &str| {
        let path = headers.join(file);
        fs::read_to_string(&path).with_context(|| {
            format!("{} is missing: is {} a kernel's headers folder, as in linux-headers-*?", path.display(), version)
        })
    };
    let config = read(".config")?;
    let has = |option: &str| config.lines().any(|line| line == format!("{option}=y"));
    if !has("CONFIG_X86_64") || !has("CONFIG_MODULES") {
        bail!("{version}: only x86-64 kernels with loadable modules are supported");
    }
    let release = read("include/config/kernel.release")?.trim().to_owned();
    Ok(Some(Kernel {
        name: release.clone(),
        arch: if has("CONFIG_UML") { Arch::Um } else { Arch::X86 },
        debug: has("CONFIG_KASAN"),
        release,
        headers_dir: headers.canonicalize()?,
        vmlinuz: PathBuf::new(),
        modules_dir: None,
    }))
}

/// The modules of one kernel, in the order they load.
#[derive(Debug, Clone)]
pub struct Modules {
    pub bento: PathBuf,
    pub file_systems: Vec<PathBuf>,
}

/// Builds `bento.ko` and one module per project for `kernel`. All projects must use the same `bento`.
pub fn modules(projects: &[Project], kernel: &Kernel, features: &[String]) -> Result<Modules> {
    let Some(first) = projects.first() else { bail!("no file system crate was named: give --crate PATH") };
    let shim = first.kmod_shim()?;
    let include = first.bento.join("include");
    let variant = Variant::of(kernel);
    let _lock = lock(first, variant)?;
    let out = first.out.join(&kernel.name);
    let bento = kbuild::bento(&shim, &include, kernel, &out)?;
    let mut file_systems = Vec::new();
    for project in projects {
        if project.bento != first.bento {
            bail!(
                "{} and {} use two different copies of bento ({} and {}): build them one at a time",
                first.package,
                project.package,
                first.bento.display(),
                project.bento.display()
            );
        }
        let finished = make_object(project, variant, features)?;
        let sources = kbuild::Sources { shim: &shim, include: &include };
        let out = [&kernel.name].into_iter().chain(features).fold(project.out.clone(), |out, part| out.join(part));
        file_systems.push(kbuild::file_system(&project.fs, &finished.object, &bento, sources, kernel, &out)?.ko);
    }
    Ok(Modules { bento: bento.ko, file_systems })
}

/// The checked object of one variant: the same file, byte for byte, goes into the modules of every kernel it fits.
pub fn object(project: &Project, variant: Variant, features: &[String]) -> Result<Finished> {
    let _lock = lock(project, variant)?;
    make_object(project, variant, features)
}

/// Builds of different variants share no file.
fn lock(project: &Project, variant: Variant) -> Result<Lock> {
    Lock::take(&project.out.join("cargo").join(variant.name()))
}

fn make_object(project: &Project, variant: Variant, features: &[String]) -> Result<Finished> {
    let library = entry::compile(project, variant, features)?;
    let out = project.out.join("objects").join(variant.name()).join(entry::name(project, features));
    let author = places::Author { workspace: project.workspace.clone(), bento: project.bento.clone() };
    prelink::prelink(&library, &out, variant, &project.fs.name, &author)
}
