// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The table of handlers in `bento-macros` is the trait, is `enum bento_op`, and is the book's page about handlers.
//! `BLESS=1` writes the page.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Expr, Item, Lit, Meta, TraitItem};

#[path = "../../bento-macros/src/handlers.rs"]
mod handlers;

use handlers::{EXTENTS_NEED, HANDLERS};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A function of `trait FileSystem`.
struct Method {
    name: String,
    signature: String,
    doc: String,
    mandatory: bool,
}

fn methods() -> Vec<Method> {
    let file = syn::parse_file(&read("bento-runtime/src/fs/mod.rs")).unwrap();
    let file_system = file.items.into_iter().find_map(|item| match item {
        Item::Trait(item) if item.ident == "FileSystem" => Some(item),
        _ => None,
    });
    let items = file_system.expect("fs/mod.rs has trait FileSystem").items;
    let methods = items.into_iter().filter_map(|item| match item {
        TraitItem::Fn(method) => Some(Method {
            name: method.sig.ident.to_string(),
            signature: method.sig.to_token_stream().to_string(),
            doc: doc(&method.attrs),
            mandatory: method.default.is_none(),
        }),
        _ => None,
    });
    methods.collect()
}

/// On one line, and without the brackets of rustdoc's links.
fn doc(attrs: &[syn::Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

#[test]
fn the_table_is_the_trait() {
    let methods = methods();
    for method in &methods {
        let row = handlers::find(&method.name)
            .unwrap_or_else(|| panic!("`{}` has no row in bento-macros/src/handlers.rs", method.name));
        let signature: syn::Signature = syn::parse_str(row.signature).unwrap();
        assert_eq!(signature.to_token_stream().to_string(), without_last_comma(&method.signature), "{}", row.name);
        assert_eq!(row.mandatory, method.mandatory, "{}", row.name);
        assert_eq!(row.doc, method.doc, "what bento-macros/src/handlers.rs says about `{}`", row.name);
    }
    assert_eq!(HANDLERS.len(), methods.len(), "a row of a handler that the trait does not have");
}

/// A signature over several lines ends in one.
fn without_last_comma(signature: &str) -> String {
    signature.replace(" ,) ->", ") ->").replace(" , ) ->", ") ->")
}

#[test]
fn the_rows_are_in_the_order_of_the_header() {
    let header = read("bento-runtime/include/bento_abi.h");
    let list = header.split("#define BENTO_FOR_EACH_HANDLER(X)").nth(1).expect("bento_abi.h lists the handlers");
    let list = list.split("#define BENTO_FOR_EACH_STATE_OP(X)").next().unwrap();
    let ops: Vec<_> = list.split("X(").skip(1).map(|op| op.split(')').next().unwrap()).collect();
    assert_eq!(HANDLERS.iter().map(|row| row.name).collect::<Vec<_>>(), ops);
    let of_runtime: Vec<_> = bento::fs::Op::HANDLERS.iter().map(|op| op.name()).collect();
    assert_eq!(of_runtime, ops, "`enum Op` of bento-runtime");
}

#[test]
fn rows_speak_of_rows() {
    for row in HANDLERS {
        for (needed, _) in row.needs {
            assert!(handlers::find(needed).is_some(), "`{}` needs `{needed}`, which is no handler", row.name);
        }
        for (word, _) in row.not {
            assert!(["bytes", "extents", "resident"].contains(word), "`{}`: no `data` is {word}", row.name);
        }
        for other in row.also {
            assert!(handlers::find(other).is_none(), "`{other}` is a handler and not another word for `{}`", row.name);
            let meanings = HANDLERS.iter().filter(|row| row.also.contains(other)).count();
            assert_eq!(meanings, 1, "`{other}` means one handler");
        }
    }
}

/// The book's page.
fn reference() -> String {
    let mut page = String::from(
        "# Handlers\n\n\
         <!-- Made from bento-macros/src/handlers.rs by tests/tests/handlers.rs; do not edit. -->\n\n\
         A file system writes the handlers it has. The marked ones are mandatory; one that is left out is absent from the \
         VFS's tables, and means there what a NULL pointer means to the VFS.\n",
    );
    let mut groups: Vec<&str> = Vec::new();
    for row in HANDLERS {
        if !groups.contains(&row.group) {
            groups.push(row.group);
        }
    }
    for group in groups {
        let (first, rest) = group.split_at(1);
        write!(page, "\n## {}{rest}\n", first.to_uppercase()).unwrap();
        for row in HANDLERS.iter().filter(|row| row.group == group) {
            let mark = if row.mandatory { " (mandatory)" } else { "" };
            write!(page, "\n### `{}`{mark}\n\n```rust,ignore\n{}\n```\n\n{}\n", row.name, row.signature, row.doc)
                .unwrap();
            for (needed, why) in row.needs {
                write!(page, "\nNeeds `{needed}`: {why}.\n").unwrap();
            }
            if row.name == EXTENTS_NEED.0 {
                write!(page, "\nMandatory with `data = \"extents\"`: {}.\n", EXTENTS_NEED.1).unwrap();
            }
            // Two words for one reason are one sentence.
            let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
            for (word, why) in row.not {
                let word = format!("`data = \"{word}\"`");
                match reasons.iter_mut().find(|(known, _)| known == why) {
                    Some((_, words)) => words.push(word),
                    None => reasons.push((why, vec![word])),
                }
            }
            for (why, words) in reasons {
                write!(page, "\nNot with {}: {why}.\n", words.join(" or ")).unwrap();
            }
            if !row.also.is_empty() {
                let words: Vec<_> = row.also.iter().map(|word| format!("`{word}`")).collect();
                write!(page, "\nElsewhere called {}.\n", words.join(", ")).unwrap();
            }
        }
    }
    page
}

#[test]
fn the_book_has_the_table() {
    let (path, made) = (root().join("book/src/handlers.md"), reference());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "book/src/handlers.md is stale: run `BLESS=1 cargo test -p bento-tests --test handlers`");
}
