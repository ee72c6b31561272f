// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The `user` variant (SAFETY.md B2): the same checked object as a shared object, with the kernel's own panic handler,
//! unwinder and stack check, loaded by the FUSE daemon and the harsher tests. Debug information stays in.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::files::{hash_bytes, write_if_changed};
use super::prelink::{MAIN, UNWIND};
use crate::cli::Variant;
use crate::project::Project;
use crate::ui;

/// Builds `<target>/bento/user/lib<fs>_v<version>.so`.
pub fn shared_object(project: &Project, features: &[String]) -> Result<PathBuf> {
    let _lock = super::lock(project, Variant::User)?;
    let finished = super::make_object(project, Variant::User, features)?;
    let out = features.iter().fold(project.out.join("user"), |out, part| out.join(part));
    fs::create_dir_all(&out)?;
    let library = out.join(format!("lib{}.so", project.fs.module()));
    let script = out.join("exports.map");
    // `bento_user_check` is the stack check's: see user-shim/src/user_object.S.
    let exports = format!("{{ global: {MAIN}; {}; {}; bento_user_check; local: *; }};\n", UNWIND[0], UNWIND[1]);
    write_if_changed(&script, exports.as_bytes())?;

    let assembly = assembly(project)?;
    let mut key = format!("{}\n{exports}", finished.hash);
    for path in &assembly {
        key.push_str(&hash_bytes(&fs::read(path)?));
    }
    let stamp = out.join(format!("{}.stamp", project.fs.module()));
    if fs::read_to_string(&stamp).is_ok_and(|seen| seen == key) && library.exists() {
        return Ok(library);
    }
    let step = ui::step(format!("link {}", library.display()));
    ui::run(
        Command::new("cc")
            .args(["-shared", "-nostdlib", "-g", "-Wl,--no-undefined", "-Wl,-Bsymbolic", "-Wl,-z,noexecstack"])
            .arg(format!("-Wl,--version-script={}", script.display()))
            .arg("-o")
            .arg(&library)
            .arg(&finished.object)
            .args(&assembly)
            // memcpy and its kin.
            .arg("-lc"),
        "the shared object cannot be linked",
    )?;
    fs::write(&stamp, key)?;
    step.done("");
    Ok(library)
}

/// The trampoline's user-space half: what the object calls by name and the host's table does not hold.
fn assembly(project: &Project) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let dir = project.user_shim()?.join("src");
    for folder in [project.user_shim()?, dir] {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "S") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
