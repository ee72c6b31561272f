// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What stands in `#[state(…)]`: a tag, words, and words with a value.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Data, DeriveInput, Error, Expr, ItemStruct, LitInt, Meta, Result, Token, Type};

use super::super::errors::Errors;

/// One of the things between the parentheses.
#[derive(Clone, Debug)]
pub enum Word {
    Tag(LitInt),
    /// `skip`, `reload`.
    Bare(Ident),
    /// `default = …`, `fs = …`, `version = …`.
    Value(Ident, Expr),
    /// `extends = …`, `migrates = …`, `downgrades = …`, `inode = …`.
    Type(Ident, Type),
}

/// Whose value is a type.
const TYPED: &[&str] = &["extends", "migrates", "downgrades", "inode"];

impl Word {
    pub fn name(&self) -> Option<&Ident> {
        match self {
            Word::Tag(_) => None,
            Word::Bare(name) | Word::Value(name, _) | Word::Type(name, _) => Some(name),
        }
    }
}

impl Parse for Word {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(syn::Lit) {
            return input.parse().map(Word::Tag);
        }
        let name: Ident = input.parse()?;
        if !input.peek(Token![=]) {
            return Ok(Word::Bare(name));
        }
        input.parse::<Token![=]>()?;
        if TYPED.iter().any(|typed| name == typed) {
            let ty = input.parse()?;
            return Ok(Word::Type(name, ty));
        }
        let value = input.parse()?;
        Ok(Word::Value(name, value))
    }
}

impl ToTokens for Word {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Word::Tag(tag) => tag.to_tokens(tokens),
            Word::Bare(name) => name.to_tokens(tokens),
            Word::Value(name, value) => {
                name.to_tokens(tokens);
                value.to_tokens(tokens);
            }
            Word::Type(name, ty) => {
                name.to_tokens(tokens);
                ty.to_tokens(tokens);
            }
        }
    }
}

/// Everything said in the `#[state(…)]` of one place; `None` when it cannot be read, which is reported.
pub fn words(attrs: &[Attribute], errors: &mut Errors) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    for attr in attrs.iter().filter(|attr| is_ours(attr)) {
        let list = match &attr.meta {
            Meta::List(list) => list.parse_args_with(Punctuated::<Word, Token![,]>::parse_terminated),
            other => Err(Error::new_spanned(other, "`#[state]` says nothing: write `#[state(1)]` or `#[state(skip)]`")),
        };
        match list {
            Ok(list) => words.extend(list),
            Err(error) => {
                errors.push(error);
                return None;
            }
        }
    }
    Some(words)
}

pub fn is_ours(attr: &Attribute) -> bool {
    attr.path().is_ident("state")
}

/// The struct without what only the macro reads.
pub fn without_words(mut item: ItemStruct) -> ItemStruct {
    item.attrs.retain(|attr| !is_ours(attr));
    item.fields.iter_mut().for_each(|field| field.attrs.retain(|attr| !is_ours(attr)));
    item
}

/// What stands under `#[derive(State)]`.
pub fn derived(item: TokenStream) -> Result<DeriveInput> {
    let item: DeriveInput = syn::parse2(item)?;
    match &item.data {
        Data::Union(data) => {
            Err(Error::new(data.union_token.span, "a union does not cross: nothing says what is in it"))
        }
        _ => Ok(item),
    }
}
