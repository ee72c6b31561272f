// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stage 1: tokens become syntax. What is not Rust, or not the kind of item a macro goes on, ends here with one error.

use darling::ast::NestedMeta;
use darling::{FromField, FromMeta};
use proc_macro2::TokenStream;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Expr, Fields, Item, ItemImpl, ItemStruct, Meta, Result};

use super::errors::Errors;

pub mod state;

/// What stands under `#[bento_fs]`.
#[derive(Debug)]
pub enum Subject {
    Struct(ItemStruct),
    Impl(ItemImpl),
}

pub fn subject(item: TokenStream) -> Result<Subject> {
    let other = match syn::parse2(item)? {
        Item::Struct(item) => return Ok(Subject::Struct(item)),
        Item::Impl(item) => return Ok(Subject::Impl(item)),
        Item::Enum(item) => ("an enum", item.enum_token.span),
        Item::Union(item) => ("a union", item.union_token.span),
        Item::Trait(item) => ("a trait", item.trait_token.span),
        Item::Fn(item) => ("a function", item.sig.fn_token.span),
        other => ("this item", other.span()),
    };
    let message = format!(
        "`#[bento_fs]` does not go on {}: a file system is a struct, and `impl FileSystem for` that struct",
        other.0
    );
    Err(Error::new(other.1, message))
}

/// One `key = value` between the parentheses.
#[derive(Clone, Debug)]
pub struct Key(pub Meta);

impl FromMeta for Key {
    fn from_meta(meta: &Meta) -> darling::Result<Self> {
        Ok(Key(meta.clone()))
    }
}

impl Key {
    /// What is right of the `=`.
    pub fn value(&self) -> Option<&Expr> {
        match &self.0 {
            Meta::NameValue(pair) => Some(&pair.value),
            _ => None,
        }
    }
}

/// The keys of `#[bento_fs(…)]`, each as often as it was written.
#[derive(Debug, Default, FromMeta)]
pub struct Keys {
    #[darling(multiple)]
    pub name: Vec<Key>,
    #[darling(multiple)]
    pub version: Vec<Key>,
    #[darling(multiple)]
    pub data: Vec<Key>,
    #[darling(multiple)]
    pub on_panic: Vec<Key>,
    #[darling(multiple)]
    pub extends: Vec<Key>,
    #[darling(multiple)]
    pub migrates: Vec<Key>,
    #[darling(multiple)]
    pub downgrades: Vec<Key>,
    #[darling(flatten)]
    pub unknown: Rest,
}

/// The keys nobody asked for.
#[derive(Debug, Default)]
pub struct Rest(pub Vec<NestedMeta>);

impl FromMeta for Rest {
    fn from_list(items: &[NestedMeta]) -> darling::Result<Self> {
        Ok(Rest(items.to_vec()))
    }
}

/// The key of `stray`, if it has one.
pub fn word(stray: &NestedMeta) -> Option<String> {
    match stray {
        NestedMeta::Meta(meta) => meta.path().get_ident().map(ToString::to_string),
        NestedMeta::NameValueInvalidExpr(pair) => pair.path.get_ident().map(ToString::to_string),
        NestedMeta::Lit(_) => None,
    }
}

/// An argument list that cannot be read counts as one without keys, its error reported.
pub fn keys(arguments: TokenStream, errors: &mut Errors) -> Option<Keys> {
    let list = NestedMeta::parse_meta_list(arguments).and_then(|list| Ok(Keys::from_list(&list)?));
    list.map_err(|error| errors.push(error)).ok()
}

/// A struct under `#[derive(MountOptions)]` and its fields.
#[derive(Debug)]
pub struct OptionsInput {
    pub item: DeriveInput,
    pub fields: Vec<OptionField>,
}

/// A field and its `#[option(…)]`.
#[derive(Debug, FromField)]
#[darling(attributes(option))]
pub struct OptionField {
    pub ident: Option<syn::Ident>,
    pub ty: syn::Type,
    #[darling(multiple)]
    pub name: Vec<Key>,
    #[darling(multiple)]
    pub default: Vec<Key>,
    #[darling(multiple)]
    pub off: Vec<Key>,
    #[darling(flatten)]
    pub unknown: Rest,
}

pub fn options(item: TokenStream, errors: &mut Errors) -> Result<OptionsInput> {
    let item: DeriveInput = syn::parse2(item)?;
    let Data::Struct(data) = &item.data else {
        return Err(Error::new(item.ident.span(), "mount options are a struct: one field for each option"));
    };
    let fields = match &data.fields {
        Fields::Named(fields) => fields.named.iter().collect(),
        Fields::Unit => Vec::new(),
        Fields::Unnamed(fields) => {
            return Err(Error::new_spanned(fields, "an option needs a name: write the fields as `{ size: Size, … }`"));
        }
    };
    let fields = fields
        .into_iter()
        .filter_map(|field| OptionField::from_field(field).map_err(|error| errors.push(error.into())).ok())
        .collect();
    Ok(OptionsInput { item, fields })
}
