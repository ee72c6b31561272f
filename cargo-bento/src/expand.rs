// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo bento expand`: the author's crate as the macros leave it, formatted. The macros' own stages run here on the
//! source, so what is shown is source again: the same tokens, no compiler internals, and it can be compiled once more.

use std::path::Path;

use anyhow::{Result, anyhow};
use syn::Item;

use crate::cli::CrateArgs;
use crate::macros;
use crate::project::Project;

/// `cargo bento expand`.
pub fn run(args: &CrateArgs) -> Result<u8> {
    let project = Project::open(&args.path)?;
    print!("{}", formatted(&expansion(&project.root)?));
    Ok(0)
}

/// The crate whose `lib.rs` is `root`, modules and all, in one file.
pub fn expansion(root: &Path) -> Result<syn::File> {
    let fault = || anyhow!("{} cannot be expanded: `cargo check` shows why", root.display());
    let file = macros::source::expand(root).map_err(|reason| anyhow!(reason).context(fault()))?;
    Ok(file)
}

/// With an empty line around everything that takes several.
pub fn formatted(file: &syn::File) -> String {
    let mut out = String::new();
    let header = syn::File { shebang: None, frontmatter: None, attrs: file.attrs.clone(), items: Vec::new() };
    out.push_str(&prettyplease::unparse(&header));
    let mut before: Option<&Item> = None;
    for item in &file.items {
        let alone = syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items: vec![item.clone()] };
        let text = prettyplease::unparse(&alone);
        let together =
            matches!((before, item), (Some(Item::Use(_)), Item::Use(_)) | (Some(Item::Const(_)), Item::Const(_)));
        let line = together && text.lines().count() == 1;
        if !out.is_empty() && !line {
            out.push('\n');
        }
        out.push_str(&airy(&text));
        before = Some(item);
    }
    out
}

/// Puts an empty line between the members of an impl or a module: after a line that closes one, before the next.
fn airy(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some(next) = lines.peek() else { break };
        let depth = |line: &str| line.len() - line.trim_start().len();
        let member = ["#[", "///", "fn ", "pub ", "impl ", "const ", "type ", "struct ", "mod ", "enum "];
        if line.trim() == "}"
            && depth(line) == depth(next)
            && depth(line) <= 4
            && member.iter().any(|start| next.trim_start().starts_with(start))
        {
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellofs_expands_to_readable_source() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hellofs/src/lib.rs");
        let text = formatted(&expansion(&root).unwrap());
        assert!(!text.contains("#[bento_fs"), "an attribute was left: {text}");
        assert!(text.contains("impl FileSystem for HelloFs"));
        assert!(!text.contains("unsafe {"));
        syn::parse_file(&text).unwrap();
    }

    #[test]
    fn members_are_apart_and_uses_together() {
        let file: syn::File = syn::parse_quote! {
            use a::b;
            use c::d;
            impl X {
                fn f() { g(); }
                fn h() {}
            }
        };
        let text = formatted(&file);
        assert_eq!(text, "use a::b;\nuse c::d;\n\nimpl X {\n    fn f() {\n        g();\n    }\n\n    fn h() {}\n}\n");
    }
}
