// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento freeze`: what this version saves, as source for the versions after it: `src/history/vN.rs`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use syn::Item;

use crate::cli::FreezeArgs;
use crate::project::Project;
use crate::{expand, macros, ui};

mod frozen;
mod rewrite;
mod source;

use source::{Crate, HISTORY};

/// `cargo bento freeze`.
pub fn run(args: &FreezeArgs) -> Result<u8> {
    let project = Project::open(&args.target.path)?;
    let text = text(&project.root, &project.fs.name, project.fs.version)?;
    let root = match &args.into {
        Some(dir) => dir.join("src/lib.rs"),
        None => project.root.clone(),
    };
    let dir = root.parent().unwrap_or(Path::new("")).join(HISTORY);
    let path = dir.join(format!("v{}.rs", project.fs.version));
    write(&path, &text, args.force)?;
    ui::say(format!("{} {} is frozen in {}", project.fs.name, project.fs.version, path.display()));
    declare(&root, &dir, project.fs.version)?;
    ui::say(format!(
        "the next version: `version = {}, extends = {HISTORY}::v{}::{}`",
        project.fs.version + 1,
        project.fs.version,
        project.fs.type_path.rsplit("::").next().unwrap_or_default()
    ));
    Ok(0)
}

/// Not over a file that says something else.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    if let Ok(kept) = fs::read_to_string(path)
        && kept != text
        && !force
    {
        bail!(
            "{} is there already and says something else: a version that ran somewhere is never changed. If this one never \
             did, --force; else its state has changed since: count the version up",
            path.display()
        );
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be created", dir.display()))?;
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// `pub mod vN;` in the module that holds the versions.
fn declare(root: &Path, dir: &Path, version: u32) -> Result<()> {
    let file = fs::read_to_string(root).ok().and_then(|text| syn::parse_file(&text).ok());
    let module = file.iter().flat_map(|file| &file.items).find_map(|item| match item {
        Item::Mod(item) if item.ident == HISTORY => Some(item),
        _ => None,
    });
    let line = format!("pub mod v{version};");
    if let Some((_, items)) = module.and_then(|module| module.content.as_ref()) {
        let there = items.iter().any(|item| matches!(item, Item::Mod(item) if item.ident == format!("v{version}")));
        if !there {
            ui::say(format!("write `{line}` into `mod {HISTORY}` of {}", root.display()));
        }
        return Ok(());
    }
    let beside = dir.with_extension("rs");
    let path = if beside.is_file() { beside } else { dir.join("mod.rs") };
    let kept = fs::read_to_string(&path).unwrap_or_else(|_| {
        format!("{}//! What older versions saved, as `cargo bento freeze` wrote it.\n\n", license(root))
    });
    if !kept.lines().any(|known| known.trim() == line) {
        fs::write(&path, format!("{kept}{line}\n")).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if module.is_none() {
        ui::say(format!("write `mod {HISTORY};` into {}", root.display()));
    }
    Ok(())
}

/// The author's licence line, if the crate's first file has one.
fn license(root: &Path) -> String {
    let text = fs::read_to_string(root).unwrap_or_default();
    let line = text.lines().next().filter(|line| line.starts_with("// SPDX-License-Identifier:"));
    line.map(|line| format!("{line}\n")).unwrap_or_default()
}

/// The frozen module of the crate whose `lib.rs` is `root`.
fn text(root: &Path, fs: &str, version: u32) -> Result<String> {
    let file = macros::source::whole(root).map_err(frozen::unreadable)?;
    let frozen = frozen::frozen(&Crate::new(file), fs)?;
    let mut text = format!(
        "{}//! What {fs} version {version} saves, as `cargo bento freeze` wrote it. It is never changed: state of that version\n\
         //! is read by it.\n\n",
        license(root)
    );
    let (ours, others): (Vec<_>, Vec<_>) =
        frozen.uses.iter().partition(|path| ["core", "alloc", "std"].contains(&path[0].as_str()));
    let globs: Vec<_> = frozen.globs.iter().map(|path| format!("use {}::*;\n", path.join("::"))).collect();
    // More methods may be there than are called: their names decide, not their types.
    if frozen.items.iter().any(|item| matches!(item, Item::Impl(item) if item.trait_.is_none())) {
        text.push_str("#![allow(dead_code)]\n\n");
    }
    for uses in [imports(&ours), globs.concat() + &imports(&others)] {
        if !uses.is_empty() {
            text.push_str(&uses);
            text.push('\n');
        }
    }
    let file = syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items: frozen.items };
    text.push_str(&expand::formatted(&file));
    Ok(rustfmt(&text, root).unwrap_or(text))
}

/// `use a::b::{C, D};`, one for each parent.
fn imports(paths: &[&Vec<String>]) -> String {
    let mut parents: Vec<(String, Vec<String>)> = Vec::new();
    for path in paths {
        let (end, last) = match &path[..] {
            [.., name, word, other] if word == "as" => (path.len() - 3, format!("{name} as {other}")),
            _ => (path.len() - 1, path[path.len() - 1].clone()),
        };
        let parent = path[..end].join("::");
        match parents.iter_mut().find(|(known, _)| *known == parent) {
            Some((_, names)) => names.push(last),
            None => parents.push((parent, vec![last])),
        }
    }
    let lines = parents.iter().map(|(parent, names)| match &names[..] {
        [one] => format!("use {parent}::{one};\n"),
        several => format!("use {parent}::{{{}}};\n", several.join(", ")),
    });
    lines.collect()
}

/// As `cargo fmt` would leave it in that crate; `None` where there is no rustfmt.
fn rustfmt(text: &str, root: &Path) -> Option<String> {
    let dir: PathBuf = root.parent()?.canonicalize().ok()?;
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    let formatted = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !formatted.is_empty()).then_some(formatted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
    }

    #[test]
    fn memfs_is_frozen_as_its_second_version_keeps_it() {
        let made = text(&example("memfs/src/lib.rs"), "memfs", 1).unwrap();
        let path = example("memfs_v2/src/history/v1.rs");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &made).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(made, kept, "{}: `cargo bento freeze examples/memfs --into examples/memfs_v2`", path.display());
    }

    #[test]
    fn the_second_version_keeps_what_its_downgrade_needs() {
        let text = text(&example("memfs_v2/src/lib.rs"), "memfs", 2).unwrap();
        let has = |part: &str| assert!(text.contains(part), "{part}: {text}");
        has("impl Downgrade<super::v1::MemFs> for MemFs");
        has("extends = super::v1::MemFs");
        has("fn kind(kind: &Kind) -> Result<super::v1::Kind>");
        syn::parse_file(&text).unwrap();
    }

    /// A crate in a folder of its own.
    fn scratch(name: &str, lib: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bento-freeze-{}-{name}", std::process::id()));
        fs::create_dir_all(dir.join("src")).unwrap();
        fs::write(dir.join("src/lib.rs"), lib).unwrap();
        dir
    }

    const LIB: &str = r#"// SPDX-License-Identifier: MIT
        use bento::prelude::*;
        use core::sync::atomic::AtomicU64 as Counter;

        mod shared {
            #[derive(bento::State)]
            #[state(reload)]
            pub struct Cached { pub data: Vec<u8> }

            pub const LEN: usize = 3;
        }
        mod history { pub mod v1 { pub struct Fs; } }

        #[bento_fs(name = "fs", version = 2, migrates = history::v1::Fs)]
        pub struct Fs {
            /// Counts.
            #[state(1)]
            counter: Counter,
            #[state(2)]
            sizes: [u64; shared::LEN],
            #[state(skip)]
            cache: Vec<u8>,
        }

        impl Migrate<history::v1::Fs> for Fs {
            fn migrate(_: history::v1::Fs) -> Result<Self> {
                Ok(Fs { counter: Counter::new(first()), sizes: Fs::sizes(), cache: Vec::new() })
            }
        }

        fn first() -> u64 { 7 }
        fn unused() {}

        impl Fs {
            fn sizes() -> [u64; shared::LEN] { [0; shared::LEN] }
            fn make(&self, dir: &Inode<Self>) {}
        }

        #[bento_fs]
        impl FileSystem for Fs { type Inode = shared::Cached; }
    "#;

    #[test]
    fn paths_skipped_fields_and_functions_follow() {
        let dir = scratch("paths", LIB);
        let text = text(&dir.join("src/lib.rs"), "fs", 2).unwrap();
        let has = |part: &str| assert!(text.contains(part), "{part}: {text}");
        has("// SPDX-License-Identifier: MIT\n");
        has("use core::sync::atomic::AtomicU64 as Counter;");
        has("#[state(fs = \"fs\", version = 2, inode = Cached, migrates = super::v1::Fs)]");
        has("    /// Counts.\n    #[state(1)]\n    pub counter: Counter,");
        has("pub sizes: [u64; LEN],");
        has("impl Migrate<super::v1::Fs> for Fs");
        has("counter: Counter::new(first()),\n            sizes: Fs::sizes(),\n");
        has("fn first() -> u64");
        has("#[state(reload)]\npub struct Cached;");
        for gone in ["cache", "unused", "fn make"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn two_types_of_one_name_are_refused() {
        let twice = "mod a { #[derive(State)] pub struct X; } mod b { #[derive(State)] pub struct X; }
            #[bento_fs(name = \"fs\", version = 1)] struct Fs; impl FileSystem for Fs {}";
        let dir = scratch("twice", twice);
        let error = text(&dir.join("src/lib.rs"), "fs", 1).unwrap_err().to_string();
        assert!(error.contains("called X (in crate::a and crate::b)"), "{error}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_was_frozen_stays_and_is_declared_once() {
        let dir = scratch("declare", "");
        let (root, history) = (dir.join("src/lib.rs"), dir.join("src/history"));
        write(&history.join("v1.rs"), "one", false).unwrap();
        write(&history.join("v1.rs"), "one", false).unwrap();
        let error = write(&history.join("v1.rs"), "two", false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        write(&history.join("v1.rs"), "two", true).unwrap();
        for version in [1, 2, 1] {
            declare(&root, &history, version).unwrap();
        }
        let declared = fs::read_to_string(history.join("mod.rs")).unwrap();
        assert!(declared.ends_with("\n\npub mod v1;\npub mod v2;\n"), "{declared}");
        fs::remove_dir_all(dir).unwrap();
    }
}
