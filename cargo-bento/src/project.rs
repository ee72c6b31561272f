// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the tool needs to know about an author's crate before it builds anything: where it lies, which type is the
//! file system, its name and version, and which `bento` it depends on (its sources and the kernel shim beside it).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use cargo_metadata::{MetadataCommand, Package};
use syn::{Item, ItemStruct};

use crate::cli::TestArgs;
use crate::ui;

/// An author's crate.
#[derive(Debug, Clone)]
pub struct Project {
    /// Folder of the crate's Cargo.toml.
    pub dir: PathBuf,
    /// Package name (Cargo.toml) and library name (Rust).
    pub package: String,
    pub lib: String,
    /// `src/lib.rs`, or what Cargo.toml names instead.
    pub root: PathBuf,
    /// The author's workspace: its Cargo.lock decides versions, its target folder takes our output.
    pub workspace: PathBuf,
    /// `<target>/bento`: everything the tool generates.
    pub out: PathBuf,
    /// Folder of the `bento-runtime` that the author's Cargo.lock names.
    pub bento: PathBuf,
    pub fs: FileSystem,
}

/// The `#[bento_fs(name = …, version = …)]` struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Path of the type below the crate root.
    pub type_path: String,
    pub name: String,
    pub version: u32,
}

impl FileSystem {
    /// Module name: it carries the version, so two versions can be loaded side by side (S1).
    pub fn module(&self) -> String {
        format!("{}_v{}", self.name, self.version)
    }
}

impl Project {
    /// Reads the crate in `dir`.
    pub fn open(dir: &Path) -> Result<Project> {
        let manifest = dir.join("Cargo.toml");
        if !manifest.is_file() {
            bail!(
                "{} has no Cargo.toml: give the folder of a file system crate, or make one with `cargo bento new NAME`",
                dir.display()
            );
        }
        let manifest = manifest.canonicalize()?;
        let metadata = MetadataCommand::new()
            .manifest_path(&manifest)
            .exec()
            .with_context(|| format!("{}: cargo cannot read this crate; `cargo check` shows why", dir.display()))?;
        let package =
            metadata.packages.iter().find(|package| package.manifest_path.as_std_path() == manifest).with_context(
                || format!("{} is a workspace without a package: name one of its crates", dir.display()),
            )?;
        let lib = package
            .targets
            .iter()
            .find(|target| target.is_lib())
            .with_context(|| format!("{} has no library: a file system crate is one (src/lib.rs)", package.name))?;
        let bento = metadata
            .packages
            .iter()
            .find(|package| package.name.as_str() == "bento-runtime")
            .with_context(|| format!("{} does not depend on bento: run `cargo add bento-runtime`", package.name))?;
        let fs = file_system(package, lib.src_path.as_std_path())?;
        Ok(Project {
            dir: parent(&manifest),
            package: package.name.to_string(),
            lib: lib.name.clone(),
            root: lib.src_path.clone().into_std_path_buf(),
            workspace: metadata.workspace_root.clone().into_std_path_buf(),
            out: metadata.target_directory.as_std_path().join("bento"),
            bento: parent(bento.manifest_path.as_std_path()),
            fs,
        })
    }

    /// Folder of the kernel shim's C sources, which travel beside the runtime.
    pub fn kmod_shim(&self) -> Result<PathBuf> {
        self.beside("kmod-shim")
    }

    /// Folder of the user-space shim.
    pub fn user_shim(&self) -> Result<PathBuf> {
        self.beside("user-shim")
    }

    fn beside(&self, name: &str) -> Result<PathBuf> {
        let dir = parent(&self.bento).join(name);
        if !dir.is_dir() {
            bail!("{} is missing: depend on bento from a checkout of its repository (path or git)", dir.display());
        }
        Ok(dir)
    }
}

/// `cargo bento test` without `--all`: the crate's own tests, which mount it in process.
pub fn test(args: &TestArgs) -> Result<u8> {
    let mut cargo = cargo();
    cargo.arg("test").arg("--manifest-path").arg(args.target.path.join("Cargo.toml"));
    if !args.args.is_empty() {
        cargo.arg("--").args(&args.args);
    }
    ui::pass_through(&mut cargo)
}

/// The cargo that started us, so that a `+toolchain` choice holds all the way down.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Finds the file system type: `[package.metadata.bento] fs = "Type"` first, else the one attributed struct in the crate.
fn file_system(package: &Package, root: &Path) -> Result<FileSystem> {
    let wanted = package.metadata.get("bento").and_then(|bento| bento.get("fs")).and_then(|fs| fs.as_str());
    let mut found = scan(root)?;
    if found.is_empty() || wanted.is_some() {
        for file in sources(&parent(root), root)? {
            found.extend(scan(&file)?);
        }
    }
    if let Some(wanted) = wanted {
        let last = wanted.rsplit("::").next().unwrap_or(wanted);
        let mut fs = found.into_iter().find(|fs| fs.type_path == last).with_context(|| {
            format!(
                "{}: [package.metadata.bento] names {wanted}, but no struct {last} carries #[bento_fs(…)]",
                package.name
            )
        })?;
        fs.type_path = wanted.to_owned();
        return Ok(fs);
    }
    match found.as_slice() {
        [fs] => Ok(fs.clone()),
        [] => bail!(
            "{}: no struct carries #[bento_fs(name = \"…\", version = 1)]: put it on the file system's struct",
            package.name
        ),
        several => bail!(
            "{}: several structs carry #[bento_fs(…)] ({}): choose one with `fs = \"{}\"` under [package.metadata.bento]",
            package.name,
            several.iter().map(|fs| fs.type_path.as_str()).collect::<Vec<_>>().join(", "),
            several[0].type_path
        ),
    }
}

/// Every source file below `dir` but `root`; frozen history is no candidate for the current version.
fn sources(dir: &Path, root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "history" && name != "bin") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") && path != root {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn scan(file: &Path) -> Result<Vec<FileSystem>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    if !text.contains("bento_fs") {
        return Ok(Vec::new());
    }
    // A file that does not parse is rustc's to explain: `cargo bento build` runs it next.
    let Ok(parsed) = syn::parse_file(&text) else {
        return Ok(Vec::new());
    };
    parsed
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Struct(item) => attributed(item).transpose(),
            _ => None,
        })
        .map(|fs| fs.with_context(|| format!("{}: #[bento_fs] cannot be read", file.display())))
        .collect()
}

fn attributed(item: &ItemStruct) -> Result<Option<FileSystem>> {
    let Some(attr) =
        item.attrs.iter().find(|attr| attr.path().segments.last().is_some_and(|last| last.ident == "bento_fs"))
    else {
        return Ok(None);
    };
    let mut name = None;
    let mut version = None;
    attr.parse_nested_meta(|meta| {
        if meta.path.is_ident("name") {
            name = Some(meta.value()?.parse::<syn::LitStr>()?.value());
        } else if meta.path.is_ident("version") {
            version = Some(meta.value()?.parse::<syn::LitInt>()?.base10_parse()?);
        } else if meta.input.peek(syn::Token![=]) {
            meta.value()?.parse::<syn::Expr>()?;
        } else if meta.input.peek(syn::token::Paren) {
            let inner;
            syn::parenthesized!(inner in meta.input);
            inner.parse::<proc_macro2::TokenStream>()?;
        }
        Ok(())
    })?;
    Ok(Some(FileSystem {
        type_path: item.ident.to_string(),
        name: name.ok_or_else(|| anyhow!("{}: add name = \"…\"", item.ident))?,
        version: version.ok_or_else(|| anyhow!("{}: add version = 1", item.ident))?,
    }))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_gives_name_and_version_whatever_else_it_holds() {
        let item: ItemStruct = syn::parse_quote! {
            #[bento::bento_fs(name = "memfs", data = "resident", version = 2, extends = history::v1::MemFs)]
            pub struct MemFs { next: u64 }
        };
        let fs = attributed(&item).unwrap().unwrap();
        assert_eq!(fs, FileSystem { type_path: "MemFs".into(), name: "memfs".into(), version: 2 });
        assert_eq!(fs.module(), "memfs_v2");
    }

    #[test]
    fn a_missing_version_is_named() {
        let item: ItemStruct = syn::parse_quote! { #[bento_fs(name = "x")] pub struct X; };
        assert!(attributed(&item).unwrap_err().to_string().contains("version"));
    }
}
