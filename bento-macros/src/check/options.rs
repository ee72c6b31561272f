// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `#[derive(MountOptions)]`: names that can be typed after `-o`, each once.

use std::collections::HashSet;

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::{Expr, ExprLit, Lit, Type};

use super::super::errors::{Errors, did_you_mean};
use super::super::parse::{Key, OptionField, OptionsInput, word};
use super::declaration::{once, place, string};

/// One option.
#[derive(Debug)]
pub struct MountOption<'a> {
    pub field: &'a Ident,
    pub ty: &'a Type,
    pub name: String,
    /// The bare word that turns it off.
    pub off: Option<String>,
    pub default: Option<&'a Expr>,
}

pub fn options<'a>(input: &'a OptionsInput, errors: &mut Errors) -> Vec<MountOption<'a>> {
    let mut taken = HashSet::new();
    let mut options = Vec::new();
    for field in &input.fields {
        let Some(ident) = &field.ident else { continue };
        unknown(field, errors);
        let key = once("name", &field.name, errors);
        let name = key.and_then(|key| typed("name", key, errors)).unwrap_or_else(|| ident.unraw().to_string());
        let off_key = once("off", &field.off, errors);
        let off = off_key.and_then(|key| typed("off", key, errors));
        for (word, key) in [(Some(&name), key), (off.as_ref(), off_key)] {
            if let Some(word) = word
                && !taken.insert(word.clone())
            {
                let message = format!("two options are called `{word}`");
                match key {
                    Some(key) => errors.at(place(key), message),
                    None => errors.at(ident, message),
                }
            }
        }
        let stays = off_key.is_none();
        let default = once("default", &field.default, errors).and_then(|key| default(key, &field.ty, stays, errors));
        options.push(MountOption { field: ident, ty: &field.ty, name, off, default });
    }
    options
}

fn unknown(field: &OptionField, errors: &mut Errors) {
    for stray in &field.unknown.0 {
        let word = word(stray).unwrap_or_default();
        let near = did_you_mean(&word, ["name", "default", "off"]);
        errors.at(
            stray,
            format!("`#[option]` knows no `{word}`{near}\nit takes `default = …`, `name = \"…\"` and `off = \"…\"`"),
        );
    }
}

/// A word for after `-o`.
fn typed(what: &str, key: &Key, errors: &mut Errors) -> Option<String> {
    let Some(literal) = string(key) else {
        errors.at(place(key), format!("`{what}` is a string: `{what} = \"size\"`"));
        return None;
    };
    let name = literal.value();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_graphic() && !",=\"\\".contains(c)) {
        errors.at(literal, format!("`{name}` cannot be typed after `-o`: no blanks, `,`, `=`, quotes or `\\`"));
        return None;
    }
    Some(name)
}

/// `stays`: no word turns it off.
fn default<'a>(key: &'a Key, ty: &Type, stays: bool, errors: &mut Errors) -> Option<&'a Expr> {
    let Some(value) = key.value() else {
        errors.at(&key.0, "`default` needs a value: `default = Size(16 << 20)`");
        return None;
    };
    let is_bool = matches!(ty, Type::Path(ty) if ty.path.is_ident("bool"));
    if is_bool && stays && matches!(value, Expr::Lit(ExprLit { lit: Lit::Bool(literal), .. }) if literal.value) {
        errors.at(value, "a bare word turns an option on: nothing could turn this one off");
    }
    Some(value)
}
