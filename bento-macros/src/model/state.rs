// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A type that crosses upgrades: its fields, and what `#[state(…)]` says of each.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident};
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Fields, Generics, ItemStruct, Member, Type};

use super::super::errors::Errors;
use super::super::parse::state::{Word, words};
use super::cfgs;

#[derive(Debug)]
pub struct StateType {
    pub ident: Ident,
    pub generics: Generics,
    pub cfgs: Vec<Attribute>,
    /// Those on the type itself; `None` when they could not be read.
    pub words: Option<Vec<Word>>,
    pub content: StateContent,
}

#[derive(Debug)]
pub enum StateContent {
    Struct(Members),
    Enum(Vec<StateVariant>),
}

#[derive(Debug)]
pub struct StateVariant {
    pub ident: Ident,
    pub cfgs: Vec<Attribute>,
    pub words: Option<Vec<Word>>,
    pub members: Members,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Named,
    Tuple,
    Unit,
}

#[derive(Debug)]
pub struct Members {
    pub style: Style,
    pub fields: Vec<StateField>,
}

#[derive(Debug)]
pub struct StateField {
    /// `root`, or `0`.
    pub member: Member,
    /// The same for people.
    pub name: String,
    /// What a variable with its value is called.
    pub local: Ident,
    pub ty: Type,
    pub cfgs: Vec<Attribute>,
    pub words: Option<Vec<Word>>,
}

impl StateField {
    /// Where to point at the field.
    pub fn place(&self) -> TokenStream {
        match &self.member {
            Member::Named(ident) => ident.to_token_stream(),
            Member::Unnamed(_) => self.ty.to_token_stream(),
        }
    }
}

impl StateType {
    pub fn of_struct(item: &ItemStruct, errors: &mut Errors) -> StateType {
        StateType {
            ident: item.ident.clone(),
            generics: item.generics.clone(),
            cfgs: cfgs(&item.attrs),
            words: words(&item.attrs, errors),
            content: StateContent::Struct(Members::new(&item.fields, errors)),
        }
    }

    pub fn of_derive(item: &DeriveInput, errors: &mut Errors) -> StateType {
        let content = match &item.data {
            Data::Struct(data) => StateContent::Struct(Members::new(&data.fields, errors)),
            Data::Enum(data) => StateContent::Enum(
                data.variants
                    .iter()
                    .map(|variant| StateVariant {
                        ident: variant.ident.clone(),
                        cfgs: cfgs(&variant.attrs),
                        words: words(&variant.attrs, errors),
                        members: Members::new(&variant.fields, errors),
                    })
                    .collect(),
            ),
            Data::Union(_) => unreachable!("refused when it was read"),
        };
        StateType {
            ident: item.ident.clone(),
            generics: item.generics.clone(),
            cfgs: cfgs(&item.attrs),
            words: words(&item.attrs, errors),
            content,
        }
    }
}

/// What the generated functions call their arguments: a field of that name gets another variable.
const OURS: &[&str] = &["from", "out", "tag", "shape"];

impl Members {
    fn new(fields: &Fields, errors: &mut Errors) -> Members {
        let style = match fields {
            Fields::Named(_) => Style::Named,
            Fields::Unnamed(_) => Style::Tuple,
            Fields::Unit => Style::Unit,
        };
        let fields = fields.iter().enumerate().map(|(at, field)| StateField {
            member: field.ident.clone().map_or_else(|| Member::from(at), Member::from),
            name: field.ident.as_ref().map_or_else(|| at.to_string(), |ident| ident.unraw().to_string()),
            local: match &field.ident {
                Some(ident) if OURS.iter().any(|ours| ident == ours) => format_ident!("field_{ident}"),
                Some(ident) => ident.clone(),
                None => format_ident!("field_{at}"),
            },
            ty: field.ty.clone(),
            cfgs: cfgs(&field.attrs),
            words: words(&field.attrs, errors),
        });
        Members { style, fields: fields.collect() }
    }
}
