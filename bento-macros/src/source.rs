// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The macros applied to a whole crate's source: its modules in one file, as the compiler sees them. No part of the
//! proc-macro; the tool and the tests take this file in by its path.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit_mut::VisitMut;
use syn::{Attribute, Expr, ExprLit, File, Item, ItemMod, Lit, Meta, Token, punctuated::Punctuated};

use super::pipeline;

/// The crate whose `lib.rs` is `root`, without its tests.
pub fn expand(root: &Path) -> Result<File, String> {
    let mut file = whole(root)?;
    file.items = expanded(file.items)?;
    Ok(file)
}

/// The same as it was written.
pub fn whole(root: &Path) -> Result<File, String> {
    let mut file = parse(root)?;
    let dir = parent(root);
    file.items = items(file.items, dir, dir)?;
    Ok(file)
}

fn parse(path: &Path) -> Result<File, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// `dir` is where the modules among `items` have their files, `beside` where a `#[path]` begins.
fn items(items: Vec<Item>, dir: &Path, beside: &Path) -> Result<Vec<Item>, String> {
    let items = items.into_iter().filter(|item| !is_test(attrs(item)));
    let items = items.map(|item| match item {
        Item::Mod(item) => module(item, dir, beside).map(Item::Mod),
        item => Ok(item),
    });
    items.collect()
}

fn module(mut module: ItemMod, dir: &Path, beside: &Path) -> Result<ItemMod, String> {
    let inner = dir.join(module.ident.to_string());
    let content = match (module.content.take(), path(&module)) {
        (Some((_, content)), _) => items(content, &inner, &inner)?,
        (None, said) => {
            let path = match &said {
                Some(said) => beside.join(said),
                None => file_of(&module, dir, &inner),
            };
            let file = parse(&path)?;
            module.attrs.retain(|attr| !attr.path().is_ident("path"));
            module.attrs.extend(file.attrs);
            let dir = if said.is_some() { parent(&path) } else { &inner };
            items(file.items, dir, parent(&path))?
        }
    };
    module.semi = None;
    module.content = Some((Default::default(), content));
    Ok(module)
}

/// `#[path = "…"]`.
fn path(module: &ItemMod) -> Option<String> {
    module.attrs.iter().find_map(|attr| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

fn file_of(module: &ItemMod, dir: &Path, inner: &Path) -> PathBuf {
    let beside = dir.join(format!("{}.rs", module.ident));
    if beside.exists() { beside } else { inner.join("mod.rs") }
}

fn expanded(items: Vec<Item>) -> Result<Vec<Item>, String> {
    let mut all = Vec::new();
    for mut item in items {
        if let Item::Mod(module) = &mut item
            && let Some((_, content)) = &mut module.content
        {
            *content = expanded(std::mem::take(content))?;
        }
        let options = take_derive(&mut item, "MountOptions").then(|| item.to_token_stream());
        let state = take_derive(&mut item, "State").then(|| item.to_token_stream());
        // The helper attributes go, as they would.
        if options.is_some() {
            Without("option").visit_item_mut(&mut item);
        }
        if state.is_some() {
            Without("state").visit_item_mut(&mut item);
        }
        match take_attribute(&mut item) {
            Some(arguments) => all.extend(made(pipeline::bento_fs(arguments, item.into_token_stream()))?),
            None => all.push(item),
        }
        if let Some(input) = options {
            all.extend(made(pipeline::mount_options(input))?);
        }
        if let Some(input) = state {
            all.extend(made(pipeline::state(input))?);
        }
    }
    Ok(all)
}

fn made(tokens: TokenStream) -> Result<Vec<Item>, String> {
    syn::parse2::<File>(tokens).map(|file| file.items).map_err(|error| error.to_string())
}

pub fn attrs(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("cfg") && attr.to_token_stream().to_string() == "# [cfg (test)]")
}

/// Removes `#[bento_fs]`; its arguments.
pub fn take_attribute(item: &mut Item) -> Option<TokenStream> {
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

/// Removes `name` from the derives; whether it was there.
pub fn take_derive(item: &mut Item, name: &str) -> bool {
    let attrs = match item {
        Item::Struct(item) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        _ => return false,
    };
    let mut found = false;
    attrs.retain_mut(|attr| {
        let Meta::List(list) = &mut attr.meta else { return true };
        if !list.path.is_ident("derive") {
            return true;
        }
        let parser = Punctuated::<syn::Path, Token![,]>::parse_terminated;
        let Ok(derives) = syn::parse::Parser::parse2(parser, list.tokens.clone()) else { return true };
        let ours = |path: &syn::Path| path.segments.last().is_some_and(|last| last.ident == name);
        let others: Punctuated<_, Token![,]> = derives.iter().filter(|path| !ours(path)).collect();
        found |= others.len() < derives.len();
        list.tokens = others.to_token_stream();
        !others.is_empty()
    });
    found
}

/// Removes a helper attribute wherever it stands.
struct Without(&'static str);

impl VisitMut for Without {
    fn visit_attributes_mut(&mut self, attrs: &mut Vec<Attribute>) {
        attrs.retain(|attr| !attr.path().is_ident(self.0));
    }

    fn visit_item_mod_mut(&mut self, _: &mut ItemMod) {}
}
