// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `#[bento_fs] impl FileSystem for …`: which functions are handlers, and which of them can stand together.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Ident, ImplItem, Meta};

use super::super::errors::{Errors, nearest};
use super::super::handlers::{self, EXTENTS_NEED, HANDLERS, Row};
use super::super::model::{Handler, HandlerBlock};
use super::declaration::data_mode;
use super::{safety, signature};

/// What expansion needs to know.
#[derive(Debug, Default)]
pub struct Checked {
    /// Functions that the trait has no place for, as indices into the items: they move to an impl of their own, where
    /// their bodies are still compiled and completed.
    pub set_apart: BTreeSet<usize>,
    /// Handlers that a file system cannot be without to stand in for, since what was meant to be them is set apart and already reported.
    pub stand_ins: Vec<&'static Row>,
    /// What only the compiler can tell: see [`Rule`].
    pub rules: Vec<Rule>,
}

/// A condition that must hold where it is reported.
#[derive(Debug)]
pub struct Rule {
    /// The handler that is wrong if it does not hold.
    pub place: Ident,
    pub cfgs: Vec<Attribute>,
    pub condition: Condition,
    pub message: String,
}

#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// The struct's `data` is not this variant of `DataMode`.
    Not(&'static str),
    /// This handler is there, under whatever `cfg` it has.
    Has(&'static Row),
    /// The struct does not say `data = "resident"`, or per-inode data crosses upgrades.
    NotReloaded,
}

/// `None` when this is not the impl of a file system at all.
pub fn handlers(arguments: &TokenStream, block: &HandlerBlock, errors: &mut Errors) -> Option<Checked> {
    if !arguments.is_empty() {
        errors
            .at(arguments, "`#[bento_fs]` takes no arguments on the impl: name, version and data stand on the struct");
    }
    is_file_system(block, errors)?;
    let generics = &block.item.generics;
    if !generics.params.is_empty() || generics.where_clause.is_some() {
        let params = &generics.params;
        errors.at(
            if params.is_empty() { generics.where_clause.to_token_stream() } else { quote!(#params) },
            "a file system has no generic parameters: it is one table of functions with one name and one version",
        );
    }
    safety::safety(block.item.to_token_stream(), errors);
    let mut checked = Checked::default();
    hidden(block, errors);
    for handler in &block.handlers {
        if signature::misfits(handler.row, block.function(handler.at), &block.item.self_ty, errors) {
            checked.set_apart.insert(handler.at);
            checked.stand_in(handler.row);
        }
        company(block, handler, &mut checked, errors);
    }
    strangers(block, &mut checked, errors);
    inode(block, &mut checked);
    Some(checked)
}

impl Checked {
    fn stand_in(&mut self, row: &'static Row) {
        let needed = row.mandatory || row.name == EXTENTS_NEED.0;
        if needed && !self.stand_ins.iter().any(|known| known.name == row.name) {
            self.stand_ins.push(row);
        }
    }
}

fn is_file_system(block: &HandlerBlock, errors: &mut Errors) -> Option<()> {
    let me = &block.item.self_ty;
    let wanted = format!("`impl FileSystem for {}`", signature::show(me));
    if block.is_inherent {
        errors.at(me, format!("the handlers of a file system are an impl of its trait: {wanted}"));
    }
    let (path, _) = block.item.trait_.as_ref()?;
    if path.segments.last().is_some_and(|last| last.ident == "FileSystem") {
        return Some(());
    }
    errors.at(path, format!("`#[bento_fs]` goes on {wanted}, and on no other trait's impl"));
    None
}

/// Nothing lies behind resident data, so its inodes cannot be loaded again.
fn inode(block: &HandlerBlock, checked: &mut Checked) {
    let inode = block.item.items.iter().find_map(|item| match item {
        ImplItem::Type(item) if item.ident == "Inode" => Some(item),
        _ => None,
    });
    let Some(inode) = inode else { return };
    let first = inode.ty.to_token_stream().into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) => Some(ident),
        _ => None,
    });
    if let Some(place) = first {
        checked.rules.push(Rule {
            place,
            cfgs: super::super::model::cfgs(&inode.attrs),
            condition: Condition::NotReloaded,
            message:
                "with `data = \"resident\"` nothing lies behind per-inode data, so `load_inode` cannot make it again: \
                      give its type tags instead of `#[state(reload)]`"
                    .to_owned(),
        });
    }
}

/// Handlers nobody here can see.
fn hidden(block: &HandlerBlock, errors: &mut Errors) {
    for item in &block.item.items {
        match item {
            ImplItem::Macro(item) => errors.at(
                &item.mac.path,
                "`#[bento_fs]` cannot see the handlers that a macro makes, so nothing would call them: write them out",
            ),
            ImplItem::Fn(function) => {
                for attr in function.attrs.iter().filter(|attr| attr.path().is_ident("cfg_attr")) {
                    let Meta::List(list) = &attr.meta else { continue };
                    let words = list.tokens.clone().into_iter().map(|token| token.to_string());
                    if words.into_iter().any(|word| word == "cfg") {
                        errors.at(attr, "a handler is there or not by `#[cfg(…)]`, written as such");
                    }
                }
            }
            _ => {}
        }
    }
}

/// Handlers that `handler` cannot be without, and kinds of file systems it cannot be in.
fn company(block: &HandlerBlock, handler: &Handler, checked: &mut Checked, errors: &mut Errors) {
    let name = handler.row.name;
    let place = &block.function(handler.at).sig.ident;
    for (needed, why) in handler.row.needs {
        let message = format!("`{name}` needs `{needed}` beside it: {why}");
        let mut there = block.named(needed).peekable();
        if there.peek().is_none() {
            errors.at(place, message);
        } else if there.all(|needed| !needed.cfgs.is_empty()) {
            let needed = handlers::find(needed).expect("needs name rows");
            checked.rules.push(Rule {
                place: place.clone(),
                cfgs: handler.cfgs.clone(),
                condition: Condition::Has(needed),
                message,
            });
        }
    }
    for (word, why) in handler.row.not {
        checked.rules.push(Rule {
            place: place.clone(),
            cfgs: handler.cfgs.clone(),
            condition: Condition::Not(data_mode(word).expect("rows name words of `data`")),
            message: format!("a file system with `data = \"{word}\"` has no `{name}`: {why}"),
        });
    }
}

fn strangers(block: &HandlerBlock, checked: &mut Checked, errors: &mut Errors) {
    for &at in &block.strangers {
        checked.set_apart.insert(at);
        let ident = &block.function(at).sig.ident;
        let name = ident.to_string();
        let meant = meant(&name);
        let free = |row: &&Row| block.named(row.name).next().is_none();
        let message = match meant.filter(|(row, _)| free(row)) {
            Some((row, true)) => format!("there is no handler `{name}`: here it is called `{}`", row.name),
            Some((row, false)) => format!("there is no handler `{name}`; did you mean `{}`?", row.name),
            None => format!(
                "there is no handler `{name}`\na function of one's own goes into an impl of one's own: `impl {} {{ … }}`",
                signature::show(&block.item.self_ty)
            ),
        };
        if let Some((row, _)) = meant.filter(|(row, _)| free(row)) {
            checked.stand_in(row);
        }
        errors.at(ident, message);
    }
}

/// The handler that `name` means, and whether it is the word others have for it.
fn meant(name: &str) -> Option<(&'static Row, bool)> {
    if let Some(row) = HANDLERS.iter().find(|row| row.also.contains(&name)) {
        return Some((row, true));
    }
    let near = nearest(name, HANDLERS.iter().map(|row| row.name))?;
    handlers::find(near).map(|row| (row, false))
}
