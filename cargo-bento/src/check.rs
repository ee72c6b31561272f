// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento check`: cargo's own check of the crate, on stable, and then its expansion compiled again as source under
//! `forbid(unsafe_code)`. The lint in the author's crate does not see what a macro emits with spans of its own; in the
//! second pass there are no macros of ours left (SAFETY.md B3).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::build::files::write_if_changed;
use crate::cli::CrateArgs;
use crate::project::{self, Project};
use crate::{expand, ui};

/// `cargo bento check`.
pub fn run(args: &CrateArgs) -> Result<u8> {
    let manifest = args.path.join("Cargo.toml");
    let code = ui::pass_through(project::cargo().arg("check").arg("--manifest-path").arg(&manifest))?;
    if code != 0 {
        return Ok(code);
    }
    let project = Project::open(&args.path)?;
    let step = ui::step(format!("compile the expansion of {} under forbid(unsafe_code)", project.package));
    let dir = project.out.join("expanded").join(&project.fs.name);
    write_if_changed(&dir.join("src/lib.rs"), forbidding(&project.root)?.as_bytes())?;
    write_if_changed(&dir.join("Cargo.toml"), manifest_of(&project)?.as_bytes())?;
    if let Ok(lock) = fs::read(project.workspace.join("Cargo.lock"))
        && !dir.join("Cargo.lock").exists()
    {
        write_if_changed(&dir.join("Cargo.lock"), &lock)?;
    }
    ui::run(
        project::cargo()
            .current_dir(&dir)
            .args(["check", "--quiet"])
            .arg("--target-dir")
            // The author's: what `cargo check` has just compiled serves twice.
            .arg(project.out.parent().unwrap_or(&project.out))
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR"),
        &format!(
            "the expansion of {} does not compile under forbid(unsafe_code): see the lines below",
            project.package
        ),
    )?;
    step.done("");
    Ok(0)
}

/// The expansion, with the lint even if the author's crate does without.
fn forbidding(root: &Path) -> Result<String> {
    let mut file = expand::expansion(root)?;
    file.attrs.retain(|attr| !attr.path().is_ident("doc"));
    file.attrs.push(syn::parse_quote!(#![forbid(unsafe_code)]));
    Ok(format!("// Written by `cargo bento check`; see `cargo bento expand`.\n{}", expand::formatted(&file)))
}

/// A workspace of its own with the author's dependencies.
fn manifest_of(project: &Project) -> Result<String> {
    let metadata = MetadataCommand::new().manifest_path(project.dir.join("Cargo.toml")).no_deps().exec()?;
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == project.package)
        .with_context(|| format!("cargo does not know {} any more", project.package))?;
    let mut manifest = format!(
        "# Written by `cargo bento check`.\n[package]\nname = {:?}\nversion = \"{}\"\nedition = \"{}\"\npublish = false\n\n\
         [workspace]\n\n[lints.rust]\nunexpected_cfgs = \"allow\"\n\n",
        project.package,
        package.version,
        package.edition.as_str(),
    );
    manifest.push_str(&features(package));
    manifest.push_str("[dependencies]\n");
    for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
        let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
        let mut keys = vec![format!("package = {:?}", dependency.name)];
        match (&dependency.path, dependency.source.as_ref().map(|source| source.repr.as_str())) {
            (Some(path), _) => keys.push(format!("path = {:?}", path.as_str())),
            (None, Some(git)) if git.starts_with("git+") => keys.push(format!("git = {:?}", git_url(git)?)),
            _ => keys.push(format!("version = \"{}\"", dependency.req)),
        }
        if !dependency.features.is_empty() {
            keys.push(format!("features = {:?}", dependency.features));
        }
        if !dependency.uses_default_features {
            keys.push("default-features = false".to_owned());
        }
        if dependency.optional {
            keys.push("optional = true".to_owned());
        }
        manifest.push_str(&format!("{name} = {{ {} }}\n", keys.join(", ")));
    }
    Ok(manifest)
}

fn features(package: &Package) -> String {
    if package.features.is_empty() {
        return String::new();
    }
    let mut text = "[features]\n".to_owned();
    for (name, implied) in &package.features {
        text.push_str(&format!("{name:?} = {implied:?}\n"));
    }
    text.push('\n');
    text
}

fn git_url(source: &str) -> Result<&str> {
    let url = source.strip_prefix("git+").and_then(|rest| rest.split(['?', '#']).next());
    url.ok_or_else(|| anyhow!("{source} is no git dependency that cargo writes"))
}
