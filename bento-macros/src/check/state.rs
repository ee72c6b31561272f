// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What crosses an upgrade: each field says so or says that it does not, and no tag stands twice.

use std::collections::HashMap;

use quote::ToTokens;
use syn::{Expr, LitInt, Type};

use super::super::errors::{Errors, did_you_mean};
use super::super::model::{Members, StateContent, StateField, StateType};
use super::super::parse::state::Word;
use super::chain::{Chain, Versioned, chain_of_words};

/// What is known of a type when all is well.
#[derive(Debug)]
pub struct Crossing {
    pub content: Content,
    pub chain: Chain,
    /// The struct of a file system.
    pub version: Option<Versioned>,
}

/// In the order of the type's own fields and variants.
#[derive(Debug)]
pub enum Content {
    /// It was wrong, and is reported.
    Wrong,
    /// `#[state(reload)]`.
    Reload,
    Struct(Vec<Role>),
    Enum(Vec<(LitInt, Vec<Role>)>),
}

/// What becomes of a field.
#[derive(Debug)]
pub enum Role {
    Crosses {
        tag: LitInt,
        default: Option<Expr>,
    },
    /// The next version makes it anew, by `Default` if nothing is said.
    Skipped(Option<Expr>),
}

impl Role {
    pub fn tag(&self) -> Option<u32> {
        match self {
            Role::Crosses { tag, .. } => tag.base10_parse().ok(),
            Role::Skipped(_) => None,
        }
    }
}

/// A type under `#[derive(State)]`.
pub fn state(ty: &StateType, errors: &mut Errors) -> Crossing {
    let words = ty.words.as_deref().unwrap_or_default();
    let (chain, version) = chain_of_words(words, errors);
    let reload = words.iter().find(|word| matches!(word, Word::Bare(name) if name == "reload"));
    let content = match reload {
        Some(reload) => {
            if chain.before.is_some() || chain.downgrades.is_some() || version.is_some() {
                errors.at(reload, "what `load_inode` makes again has no versions: leave out `reload` or the rest");
            }
            Content::Reload
        }
        None => content(ty, errors),
    };
    let content = if ty.words.is_none() { Content::Wrong } else { content };
    Crossing { content, chain, version }
}

/// The fields of a type, and its variants.
pub fn content(ty: &StateType, errors: &mut Errors) -> Content {
    let checked = match &ty.content {
        StateContent::Struct(members) => roles(members, errors).map(Content::Struct),
        StateContent::Enum(variants) if variants.is_empty() => {
            errors.at(&ty.ident, "an enum without variants has no values: nothing of it can cross an upgrade");
            None
        }
        StateContent::Enum(variants) => {
            let mut taken = Taken::default();
            let mut all = Some(Vec::new());
            for variant in variants {
                if let Some(cfg) = variant.cfgs.first() {
                    errors.at(cfg, CFG);
                }
                let tag = match (variant.words.as_deref(), &variant.cfgs[..]) {
                    (Some([Word::Tag(tag)]), []) => taken.take(tag, &variant.ident.to_string(), errors),
                    (Some([]), _) => {
                        errors.at(
                            &variant.ident,
                            format!(
                                "the variant `{}` has no tag: write `#[state(…)]` with a number above it",
                                variant.ident
                            ),
                        );
                        None
                    }
                    (Some(words), []) => {
                        if let Some(word) = words.iter().find(|word| !matches!(word, Word::Tag(_))) {
                            errors.at(word, "a variant has a tag and nothing else: `#[state(1)]`");
                        } else {
                            errors.at(&words[1], "a variant has one tag");
                        }
                        None
                    }
                    _ => None,
                };
                let roles = roles(&variant.members, errors);
                all = match (all, tag, roles) {
                    (Some(mut all), Some(tag), Some(roles)) => {
                        all.push((tag, roles));
                        Some(all)
                    }
                    _ => None,
                };
            }
            all.map(Content::Enum)
        }
    };
    checked.unwrap_or(Content::Wrong)
}

const CFG: &str = "a field that crosses upgrades is there in every build: `cfg` would change the shape of the state \
                   from one build to the other";

/// The tags of one struct or variant.
#[derive(Default)]
struct Taken(HashMap<u32, String>);

impl Taken {
    fn take(&mut self, tag: &LitInt, name: &str, errors: &mut Errors) -> Option<LitInt> {
        let number = Some(tag).filter(|tag| tag.suffix().is_empty()).and_then(|tag| tag.base10_parse::<u32>().ok());
        let Some(number) = number else {
            errors.at(tag, "a tag is a whole number from 0 to 4294967295: `#[state(1)]`");
            return None;
        };
        if let Some(other) = self.0.insert(number, name.to_owned()) {
            errors.at(tag, format!("tag {number} is `{other}`'s already: tags are what bytes are known by"));
            return None;
        }
        Some(tag.clone())
    }
}

fn roles(members: &Members, errors: &mut Errors) -> Option<Vec<Role>> {
    let mut taken = Taken::default();
    let free = free_tag(members);
    // All of them, so that all mistakes are reported.
    let roles: Vec<_> = members.fields.iter().map(|field| role(field, free, &mut taken, errors)).collect();
    roles.into_iter().collect()
}

/// The first number after the tags that are there.
fn free_tag(members: &Members) -> u32 {
    let words = members.fields.iter().filter_map(|field| field.words.as_deref()).flatten();
    let tags = words.filter_map(|word| match word {
        Word::Tag(tag) => tag.base10_parse::<u32>().ok(),
        _ => None,
    });
    tags.max().unwrap_or(0).saturating_add(1)
}

fn role(field: &StateField, free: u32, taken: &mut Taken, errors: &mut Errors) -> Option<Role> {
    let words = field.words.as_deref()?;
    let name = &field.name;
    let (mut tag, mut skip, mut default, mut wrong) = (None, None, None, false);
    let mut report = |place: &dyn ToTokens, message: String| {
        errors.at(place, message);
        wrong = true;
    };
    for word in words {
        let again = match word {
            Word::Tag(number) => tag.replace(number).is_some(),
            Word::Bare(ident) if ident == "skip" => skip.replace(ident).is_some(),
            Word::Value(ident, value) if ident == "default" => default.replace(value).is_some(),
            Word::Bare(ident) if ident == "default" => {
                report(ident, format!("`default` needs a value: `default = {}`", example(&field.ty)));
                false
            }
            other => {
                let said = other.name().map(ToString::to_string).unwrap_or_default();
                let near = did_you_mean(&said, ["skip", "default"]);
                report(
                    other,
                    format!("`#[state]` knows no `{said}` on a field{near}\nit takes a tag, `default = …` and `skip`"),
                );
                false
            }
        };
        if again {
            report(word, format!("`{name}` says this twice"));
        }
    }
    if let Some(cfg) = field.cfgs.first() {
        report(cfg, CFG.to_owned());
    }
    if let (Some(_), Some(skip)) = (tag, skip) {
        report(skip, format!("`{name}` has a tag, and what has a tag crosses: leave out one of the two"));
    }
    if wrong {
        return None;
    }
    match (tag, skip) {
        (Some(tag), _) => taken.take(tag, name, errors).map(|tag| Role::Crosses { tag, default: default.cloned() }),
        (None, Some(_)) => Some(Role::Skipped(default.cloned())),
        (None, None) => {
            errors.at(
                field.place(),
                format!(
                    "does `{name}` cross upgrades? Say `#[state({free})]` if it does, and `#[state(skip)]` if the next \
                     version makes it anew"
                ),
            );
            None
        }
    }
}

/// A value of the type, as a hint.
fn example(ty: &Type) -> &'static str {
    match ty {
        Type::Path(path) if path.path.is_ident("u64") || path.path.is_ident("u32") => "0",
        _ => "Default::default()",
    }
}
