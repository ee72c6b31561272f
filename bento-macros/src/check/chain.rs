// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From version to version: `extends`, `migrates`, `downgrades`, and what makes a struct a version of a file system.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Expr, ExprLit, Lit, LitInt, Type};

use super::super::errors::{Errors, did_you_mean};
use super::super::parse::state::Word;
use super::super::parse::{Key, Keys};
use super::declaration::{is_name, once, place};

/// What a type takes over, and from which.
#[derive(Debug, Default)]
pub struct Chain {
    pub before: Option<Before>,
    pub downgrades: Option<Type>,
    /// `extends = ()`, or a predecessor: something was said.
    pub said: bool,
}

#[derive(Debug)]
pub struct Before {
    pub way: Way,
    pub old: Type,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Extends,
    Migrates,
}

/// The version of a file system that a struct is.
#[derive(Debug)]
pub struct Versioned {
    pub name: TokenStream,
    pub version: TokenStream,
    /// The type of its per-inode data.
    pub inode: TokenStream,
    /// Whether the struct is a frozen one: it has no `impl FileSystem`.
    pub frozen: bool,
}

fn chain(extends: Option<Type>, migrates: Option<Type>, downgrades: Option<Type>, errors: &mut Errors) -> Chain {
    let said = extends.is_some() || migrates.is_some();
    if let (Some(_), Some(migrates)) = (&extends, &migrates) {
        errors.at(
            migrates,
            "a version either `extends` the one before it (fields were added) or `migrates` from it (`impl Migrate`)",
        );
    }
    let before = match (extends, migrates) {
        (Some(old), _) => Some(Before { way: Way::Extends, old }),
        (None, Some(old)) => Some(Before { way: Way::Migrates, old }),
        (None, None) => None,
    };
    // `()`: nothing came before.
    Chain { before: before.filter(|before| !is_nothing(&before.old)), downgrades, said }
}

fn is_nothing(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// The words on a type under `#[derive(State)]`.
pub fn chain_of_words(words: &[Word], errors: &mut Errors) -> (Chain, Option<Versioned>) {
    let (mut extends, mut migrates, mut downgrades, mut inode) = (None, None, None, None);
    let (mut fs, mut version) = (None, None);
    for word in words {
        let again = match word {
            Word::Type(name, ty) if name == "extends" => extends.replace(ty).is_some(),
            Word::Type(name, ty) if name == "migrates" => migrates.replace(ty).is_some(),
            Word::Type(name, ty) if name == "downgrades" => downgrades.replace(ty).is_some(),
            Word::Type(name, ty) if name == "inode" => inode.replace(ty).is_some(),
            Word::Value(name, value) if name == "fs" => fs.replace(value).is_some(),
            Word::Value(name, value) if name == "version" => version.replace(value).is_some(),
            Word::Bare(name) if name == "reload" => false,
            other => {
                stray(other, errors);
                false
            }
        };
        if again {
            errors.at(word, "this is said twice");
        }
    }
    let chain = chain(extends.cloned(), migrates.cloned(), downgrades.cloned(), errors);
    let versioned = match (fs, version) {
        (None, None) => {
            if let Some(inode) = inode {
                errors.at(inode, "`inode` goes with a file system's struct: `fs = \"…\", version = …, inode = …`");
            }
            None
        }
        (Some(fs), Some(version)) => versioned(fs, version, inode, &chain, errors),
        (Some(one), None) | (None, Some(one)) => {
            errors.at(one, "a version of a file system has both: `fs = \"…\", version = …`");
            None
        }
    };
    (chain, versioned)
}

fn stray(word: &Word, errors: &mut Errors) {
    let known = ["extends", "migrates", "downgrades", "reload", "fs", "version", "inode"];
    let Some(said) = word.name() else {
        errors.at(word, "a tag belongs to a field or a variant, not to the type");
        return;
    };
    let said = said.to_string();
    if said == "skip" || said == "default" {
        errors.at(word, format!("`{said}` is said of a field, not of the type"));
    } else if known.contains(&said.as_str()) && said != "reload" {
        errors.at(word, format!("`{said}` needs a value: `{said} = …`"));
    } else {
        let near = did_you_mean(&said, known);
        errors.at(
            word,
            format!(
                "`#[state]` knows no `{said}` here{near}\nit takes `extends`, `migrates`, `downgrades` and `reload`"
            ),
        );
    }
}

fn versioned(fs: &Expr, version: &Expr, inode: Option<&Type>, chain: &Chain, errors: &mut Errors) -> Option<Versioned> {
    let name = match fs {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) if is_name(&literal.value()) => literal,
        other => {
            errors.at(other, "`fs` is the file system's name: `fs = \"memfs\"`");
            return None;
        }
    };
    let number = match version {
        Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) if literal.base10_parse::<u32>().is_ok() => literal,
        other => {
            errors.at(other, "`version` is a whole number from 1 to 4294967295: `version = 1`");
            return None;
        }
    };
    predecessor(number, chain, errors);
    Some(Versioned {
        name: name.to_token_stream(),
        version: number.to_token_stream(),
        inode: inode.map_or_else(|| quote!(()), ToTokens::to_token_stream),
        frozen: true,
    })
}

/// From version 2 on, something is said of the state of the version before.
pub fn predecessor(version: &LitInt, chain: &Chain, errors: &mut Errors) {
    let number = version.base10_parse::<u32>().unwrap_or(1);
    if number > 1 && !chain.said {
        errors.at(
            version,
            format!(
                "version {number} says nothing of the state of the version before it\n\
                 write `extends = history::v{0}::…` if fields were only added, or `migrates = history::v{0}::…` with an \
                 `impl Migrate`; `cargo bento freeze` writes `history::v{0}` from that version's source\n\
                 if no version came before this one: `extends = ()`",
                number - 1
            ),
        );
    }
}

/// The keys of `#[bento_fs(…)]`.
pub fn chain_of_keys(keys: &Keys, errors: &mut Errors) -> Chain {
    let mut take = |name: &str, keys: &[Key]| {
        let key = once(name, keys, errors)?;
        match key.value() {
            Some(value @ (Expr::Path(_) | Expr::Tuple(_))) => syn::parse2(value.to_token_stream()).ok(),
            _ => None,
        }
        .or_else(|| {
            let message = format!("`{name}` is a struct of an older version: `{name} = history::v1::…`");
            errors.at(place(key), message);
            None
        })
    };
    let (extends, migrates, downgrades) =
        (take("extends", &keys.extends), take("migrates", &keys.migrates), take("downgrades", &keys.downgrades));
    chain(extends, migrates, downgrades, errors)
}

/// A number where a literal is wanted, if the author's could not be read.
pub fn literal(number: u32) -> LitInt {
    LitInt::new(&number.to_string(), Span::call_site())
}
