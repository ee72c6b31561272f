// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The macros applied to a whole crate's source: its modules in one file, as the compiler sees them. No part of the
//! proc-macro; the tool and the tests take this file in by its path.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, File, Item, ItemMod, Meta, Token, punctuated::Punctuated};

use super::pipeline;

/// The crate whose `lib.rs` is `root`, without its tests.
pub fn expand(root: &Path) -> Result<File, String> {
    let mut file = parse(root)?;
    let dir = root.parent().unwrap_or(Path::new(""));
    file.items = items(file.items, dir)?;
    Ok(file)
}

fn parse(path: &Path) -> Result<File, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// `dir` is where the modules among `items` have their files.
fn items(items: Vec<Item>, dir: &Path) -> Result<Vec<Item>, String> {
    let mut expanded = Vec::new();
    for item in items {
        match item {
            item if is_test(attrs(&item)) => {}
            Item::Mod(item) => expanded.push(Item::Mod(module(item, dir)?)),
            mut item => {
                let derived = take_derive(&mut item);
                match take_attribute(&mut item) {
                    Some(arguments) => {
                        expanded.extend(made(pipeline::bento_fs(arguments, item.into_token_stream()))?);
                    }
                    None => expanded.push(item),
                }
                if let Some(input) = derived {
                    expanded.extend(made(pipeline::mount_options(input))?);
                }
            }
        }
    }
    Ok(expanded)
}

fn made(tokens: TokenStream) -> Result<Vec<Item>, String> {
    syn::parse2::<File>(tokens).map(|file| file.items).map_err(|error| error.to_string())
}

fn module(mut module: ItemMod, dir: &Path) -> Result<ItemMod, String> {
    let inner = dir.join(module.ident.to_string());
    let content = match module.content.take() {
        Some((_, content)) => items(content, &inner)?,
        None => {
            let file = parse(&file_of(&module, dir, &inner))?;
            module.attrs.extend(file.attrs);
            items(file.items, &inner)?
        }
    };
    module.semi = None;
    module.content = Some((Default::default(), content));
    Ok(module)
}

fn file_of(module: &ItemMod, dir: &Path, inner: &Path) -> PathBuf {
    let beside = dir.join(format!("{}.rs", module.ident));
    if beside.exists() { beside } else { inner.join("mod.rs") }
}

fn attrs(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("cfg") && attr.to_token_stream().to_string() == "# [cfg (test)]")
}

/// Removes `#[bento_fs]`; its arguments.
fn take_attribute(item: &mut Item) -> Option<TokenStream> {
    let attrs = match item {
        Item::Struct(item) => &mut item.attrs,
        Item::Impl(item) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        _ => return None,
    };
    let ours = |attr: &Attribute| attr.path().segments.last().is_some_and(|last| last.ident == "bento_fs");
    let at = attrs.iter().position(ours)?;
    Some(match attrs.remove(at).meta {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    })
}

/// Removes `MountOptions` from the derives; what the derive sees. Its helper attributes go too, as they would.
fn take_derive(item: &mut Item) -> Option<TokenStream> {
    let Item::Struct(structure) = item else { return None };
    let mut found = false;
    structure.attrs.retain_mut(|attr| {
        let Meta::List(list) = &mut attr.meta else { return true };
        if !list.path.is_ident("derive") {
            return true;
        }
        let parser = Punctuated::<syn::Path, Token![,]>::parse_terminated;
        let Ok(derives) = syn::parse::Parser::parse2(parser, list.tokens.clone()) else { return true };
        let ours = |path: &syn::Path| path.segments.last().is_some_and(|last| last.ident == "MountOptions");
        let others: Punctuated<_, Token![,]> = derives.iter().filter(|path| !ours(path)).collect();
        found |= others.len() < derives.len();
        list.tokens = others.to_token_stream();
        !others.is_empty()
    });
    if !found {
        return None;
    }
    let input = structure.to_token_stream();
    NoOptionAttributes.visit_item_struct_mut(structure);
    Some(input)
}

struct NoOptionAttributes;

impl VisitMut for NoOptionAttributes {
    fn visit_field_mut(&mut self, field: &mut syn::Field) {
        field.attrs.retain(|attr| !attr.path().is_ident("option"));
        visit_mut::visit_field_mut(self, field);
    }
}
