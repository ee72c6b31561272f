// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `#[bento_fs(name = "…", version = …, …)]` and the struct below it.

use proc_macro2::Span;
use quote::{ToTokens, quote};
use syn::{Expr, ExprLit, Lit, LitInt, Meta};

use super::super::errors::{Errors, did_you_mean};
use super::super::handlers::{self, EXTENTS_NEED, Row};
use super::super::model::Declaration;
use super::super::parse::{Key, Keys, word};
use super::chain::{Chain, Versioned, chain_of_keys, literal, predecessor};
use super::state::{Content, Crossing, content};

/// The longest name of a file system, in bytes.
const NAME_MAX: usize = 32;

/// The words `data` takes, and what they are called in `DataMode`.
const DATA: &[(&str, &str)] = &[("bytes", "Bytes"), ("extents", "Extents"), ("resident", "Resident")];

/// The words `on_panic` takes, and what they are called in `OnPanic`.
const ON_PANIC: &[(&str, &str)] = &[("restart", "Restart"), ("quarantine", "Quarantine")];

/// The keys that there are.
const KEYS: &[&str] = &["name", "version", "data", "on_panic", "extends", "migrates", "downgrades"];

/// What the struct is declared as; where it was wrong, something that expands.
#[derive(Debug)]
pub struct Declared {
    pub name: String,
    pub version: LitInt,
    /// A variant of `DataMode`.
    pub data: &'static str,
    /// The handler that `data` asks for, which only the compiler knows to be there or not.
    pub needed: Option<Needed>,
    /// A variant of `OnPanic`, if the author chose.
    pub on_panic: Option<&'static str>,
    pub crossing: Crossing,
}

#[derive(Debug)]
pub struct Needed {
    pub row: &'static Row,
    pub place: Span,
    pub message: String,
}

pub fn declaration(declaration: &Declaration, errors: &mut Errors) -> Declared {
    let generics = &declaration.item.generics;
    if !generics.params.is_empty() {
        errors.at(
            &generics.params,
            "a file system has no generic parameters: it is one table of functions with one name and one version",
        );
    }
    for word in declaration.state.words.iter().flatten() {
        errors.at(word, "what a file system's struct takes over is said in `#[bento_fs(…)]`: `extends = …` goes there");
    }
    let fields = if generics.params.is_empty() { content(&declaration.state, errors) } else { Content::Wrong };
    let Some(keys) = &declaration.keys else {
        let crossing = Crossing { content: Content::Wrong, chain: Chain::default(), version: None };
        return Declared {
            name: String::new(),
            version: literal(1),
            data: DATA[0].1,
            needed: None,
            on_panic: None,
            crossing,
        };
    };
    unknown(keys, errors);
    let example = example(&declaration.item.ident.to_string());
    let missing = match (keys.name.is_empty(), keys.version.is_empty()) {
        (true, true) => {
            Some(format!("a file system has a name and a version: `#[bento_fs(name = \"{example}\", version = 1)]`"))
        }
        (true, false) => Some(format!("the file system's name is missing: add `name = \"{example}\"`, for `mount -t`")),
        (false, true) => Some("the file system's version is missing: add `version = 1`".to_owned()),
        (false, false) => None,
    };
    if let Some(missing) = missing {
        if declaration.arguments.is_empty() {
            errors.at_span(Span::call_site(), missing);
        } else {
            errors.at(&declaration.arguments, missing);
        }
    }
    let name = once("name", &keys.name, errors).and_then(|key| name(key, &example, errors)).unwrap_or_default();
    let version = once("version", &keys.version, errors).and_then(|key| version(key, errors));
    let chain = chain_of_keys(keys, errors);
    if let Some(version) = &version {
        predecessor(version, &chain, errors);
    }
    let version = version.unwrap_or_else(|| literal(1));
    let me = &declaration.item.ident;
    let versioned = Versioned {
        name: quote!(#name),
        version: quote!(#version),
        inode: quote!(<#me as ::bento::fs::FileSystem>::Inode),
        frozen: false,
    };
    Declared {
        data: once("data", &keys.data, errors).and_then(|key| data(key, errors)).unwrap_or(DATA[0].1),
        needed: needed(keys).filter(|_| generics.params.is_empty()),
        on_panic: once("on_panic", &keys.on_panic, errors).and_then(|key| on_panic(key, errors)),
        crossing: Crossing { content: fields, chain, version: Some(versioned) },
        name,
        version,
    }
}

/// The first `key`; the others are reported.
pub fn once<'a>(name: &str, keys: &'a [Key], errors: &mut Errors) -> Option<&'a Key> {
    for again in keys.iter().skip(1) {
        errors.at(&again.0, format!("`{name}` is given twice"));
    }
    keys.first()
}

fn unknown(keys: &Keys, errors: &mut Errors) {
    for stray in &keys.unknown.0 {
        let word = word(stray);
        errors.at(
            stray,
            match &word {
                Some(word) => format!(
                    "`#[bento_fs]` knows no `{word}`{}\nit takes `name`, `version`, `data`, `on_panic`, `extends`, \
                     `migrates` and `downgrades`",
                    did_you_mean(word, KEYS.iter().copied())
                ),
                None => "`#[bento_fs]` takes `name = \"…\"`, `version = …` and what may follow them".to_owned(),
            },
        );
    }
}

/// A name that fits the struct: `MemFs` is `memfs`.
fn example(ident: &str) -> String {
    let lower: String = ident.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if is_name(&lower) { lower } else { "myfs".to_owned() }
}

pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn name(key: &Key, example: &str, errors: &mut Errors) -> Option<String> {
    let Some(literal) = string(key) else {
        errors.at(place(key), format!("`name` is a string: `name = \"{example}\"`"));
        return None;
    };
    let name = literal.value();
    let wrong = if name.is_empty() {
        "a file system's name is not empty".to_owned()
    } else if name.len() > NAME_MAX {
        format!("a file system's name has at most {NAME_MAX} bytes, this one has {}", name.len())
    } else if !is_name(&name) {
        format!("`{name}` is no file system's name: a letter from a to z, then letters from a to z, digits and `_`")
    } else {
        return Some(name);
    };
    errors.at(literal, wrong);
    None
}

fn version(key: &Key, errors: &mut Errors) -> Option<LitInt> {
    let version = match key.value() {
        Some(Expr::Lit(ExprLit { lit: Lit::Int(literal), .. })) if literal.suffix().is_empty() => {
            Some(literal.clone()).filter(|literal| literal.base10_parse::<u32>().is_ok_and(|version| version > 0))
        }
        _ => None,
    };
    if version.is_none() {
        errors.at(place(key), "`version` is a whole number from 1 to 4294967295: `version = 1`");
    }
    version
}

fn data(key: &Key, errors: &mut Errors) -> Option<&'static str> {
    let words = "`\"bytes\"` (handlers `read` and `write`), `\"extents\"` (on a device, where `map_extents` says) or \
                 `\"resident\"` (nothing behind the page cache)";
    let Some(literal) = string(key) else {
        errors.at(place(key), format!("`data` is a string: {words}"));
        return None;
    };
    let word = literal.value();
    let found = data_mode(&word);
    if found.is_none() {
        let near = did_you_mean(&word, DATA.iter().map(|(known, _)| *known));
        errors.at(literal, format!("file data is not kept as `{word}`{near}\n`data` is {words}"));
    }
    found
}

/// The variant of `DataMode` that `word` stands for.
pub fn data_mode(word: &str) -> Option<&'static str> {
    DATA.iter().find(|(known, _)| *known == word).map(|(_, variant)| *variant)
}

/// The handler that the word under `data` asks for, where the word stands.
fn needed(keys: &Keys) -> Option<Needed> {
    let literal = keys.data.first().and_then(string).filter(|literal| literal.value() == "extents")?;
    let (name, why) = EXTENTS_NEED;
    let row = handlers::find(name)?;
    let message = format!("`data = \"extents\"` needs the handler `{name}`: {why}");
    Some(Needed { row, place: literal.span(), message })
}

fn on_panic(key: &Key, errors: &mut Errors) -> Option<&'static str> {
    let words =
        "`\"restart\"` (a new instance, from the state or by `mount`) or `\"quarantine\"` (every call gets EIO)";
    let Some(literal) = string(key) else {
        errors.at(place(key), format!("`on_panic` is a string: {words}"));
        return None;
    };
    let word = literal.value();
    let found = ON_PANIC.iter().find(|(known, _)| *known == word);
    if found.is_none() {
        let near = did_you_mean(&word, ON_PANIC.iter().map(|(known, _)| *known));
        errors.at(literal, format!("there is no `{word}` after a panic{near}\n`on_panic` is {words}"));
    }
    found.map(|(_, variant)| *variant)
}

/// The key's value if it is a string.
pub fn string(key: &Key) -> Option<&syn::LitStr> {
    match key.value() {
        Some(Expr::Lit(ExprLit { lit: Lit::Str(literal), .. })) => Some(literal),
        _ => None,
    }
}

/// Where to point when the value is wrong: at the value, or at the key that has none.
pub fn place(key: &Key) -> &dyn ToTokens {
    match &key.0 {
        Meta::NameValue(pair) => &pair.value,
        other => other,
    }
}
