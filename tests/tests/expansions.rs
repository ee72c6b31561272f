// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the macros write is reviewed like code: the expansion of each example is kept in `tests/expected`, formatted, and
//! `tests/tests/expected_*.rs` compile it again under `forbid(unsafe_code)`. `BLESS=1` writes it.

use std::path::Path;

use syn::visit_mut::VisitMut;

#[path = "../../bento-macros/src"]
#[allow(dead_code)]
mod macros {
    mod check;
    mod errors;
    mod expand;
    mod handlers;
    mod model;
    mod parse;
    mod pipeline;
    pub mod source;
}

/// The expansion of `source`, a `lib.rs` relative to this crate, is `expected/NAME.rs`.
fn compare(name: &str, source: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut file = macros::source::expand(&here.join(source)).unwrap();
    // What is included into a crate has no inner attributes.
    file.attrs.clear();
    NoInnerAttributes.visit_file_mut(&mut file);
    let made = format!(
        "// SPDX-License-Identifier: GPL-2.0 OR MIT\n// The expansion of {}, by tests/tests/expansions.rs; do not edit.\n\n{}",
        source.trim_start_matches("../"),
        aired(&prettyplease::unparse(&file))
    );
    let path = here.join("expected").join(name).with_extension("rs");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (made, kept)) in made.lines().zip(kept.lines()).enumerate() {
        assert_eq!(made, kept, "{}:{}: {STALE}", path.display(), number + 1);
    }
    assert_eq!(made.lines().count(), kept.lines().count(), "{}: {STALE}", path.display());
}

/// With empty lines between items, as people write them.
fn aired(text: &str) -> String {
    let mut aired = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        aired.push_str(line);
        aired.push('\n');
        let Some(next) = lines.peek() else { break };
        let (word, next) = (line.trim_start(), next.trim_start());
        let ends = ["}", "};", ");"].contains(&word)
            || word.starts_with("use ") && !next.starts_with("use ")
            || word.ends_with(';') && ["#[", "impl ", "fn "].iter().any(|item| next.starts_with(item));
        let begins = ["#[", "///", "pub ", "fn ", "const ", "impl ", "struct ", "enum ", "mod ", "static ", "type "];
        if ends && begins.iter().any(|begin| next.starts_with(begin)) {
            aired.push('\n');
        }
    }
    aired
}

const STALE: &str = "the expansion has changed: read `BLESS=1 cargo test -p bento-tests --test expansions` as a diff";

struct NoInnerAttributes;

impl VisitMut for NoInnerAttributes {
    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        module.attrs.retain(|attr| matches!(attr.style, syn::AttrStyle::Outer));
        syn::visit_mut::visit_item_mod_mut(self, module);
    }
}

#[test]
fn hellofs() {
    compare("hellofs", "../examples/hellofs/src/lib.rs");
}

#[test]
fn memfs() {
    compare("memfs", "../examples/memfs/src/lib.rs");
}

#[test]
fn a_handler_under_cfg() {
    compare("cfgfs", "expected/cfgfs.in.rs");
}
