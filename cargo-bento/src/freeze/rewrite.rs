// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Kept code in its new place: paths of the crate become those of one flat module, and what they lead to is noted.

use std::collections::{BTreeMap, BTreeSet};

use quote::{ToTokens, format_ident};
use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, ItemImpl, Meta, Path, Token, parse_quote};

use super::source::{Crate, Meaning, Place, name};

pub fn words(path: &Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// Makes paths of the crate paths of one flat module, and notes what they lead to.
pub struct Rewriter<'a> {
    pub source: &'a Crate,
    pub module: usize,
    pub skipped: &'a BTreeMap<String, BTreeSet<String>>,
    pub met: Vec<Place>,
    pub uses: BTreeSet<Vec<String>>,
    pub functions: BTreeSet<(String, String)>,
    pub methods: BTreeSet<String>,
    /// The type whose impl this is.
    pub me: Option<String>,
}

impl Rewriter<'_> {
    /// The names in a macro's arguments, which are no syntax tree.
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.tokens(group.stream()),
                proc_macro2::TokenTree::Ident(ident) => {
                    let mut path: Path = ident.into();
                    self.visit_path_mut(&mut path);
                }
                _ => {}
            }
        }
    }
}

impl VisitMut for Rewriter<'_> {
    fn visit_path_mut(&mut self, path: &mut Path) {
        visit_mut::visit_path_mut(self, path);
        if path.leading_colon.is_some() {
            return;
        }
        let said = words(path);
        match self.source.meaning(self.module, &said) {
            Meaning::History { below, .. } => {
                let arguments = path.segments.last().map(|last| last.arguments.clone()).unwrap_or_default();
                let below = below.iter().map(|word| format_ident!("{word}"));
                *path = parse_quote!(super #(::#below)*);
                if let Some(last) = path.segments.last_mut() {
                    last.arguments = arguments;
                }
            }
            Meaning::Item { at, segments } => {
                let Some(name) = name(self.source.item(at)) else { return };
                self.met.push(at);
                if let Some(function) = said.get(segments) {
                    self.functions.insert((name.clone(), function.clone()));
                }
                path.segments = std::mem::take(&mut path.segments).into_iter().skip(segments - 1).collect();
                if let Some(first) = path.segments.first_mut() {
                    first.ident = format_ident!("{name}");
                }
            }
            Meaning::Imported(mut import) => {
                // Called otherwise here than there.
                if import.last() != said.first() {
                    import.extend(["as".to_owned(), said[0].clone()]);
                }
                self.uses.insert(import);
            }
            Meaning::Unknown => {
                if let ([first, function, ..], Some(me)) = (&said[..], &self.me)
                    && first == "Self"
                {
                    self.functions.insert((me.clone(), function.clone()));
                }
            }
        }
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        let name = item.self_ty.to_token_stream().to_string();
        self.me = name.rsplit(' ').next().map(str::to_owned);
        visit_mut::visit_item_impl_mut(self, item);
        self.me = None;
    }

    fn visit_expr_struct_mut(&mut self, item: &mut syn::ExprStruct) {
        let last = item.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let owner = if last == "Self" { self.me.clone().unwrap_or_default() } else { last };
        // `super::v1::Node { … }` is another type of the same name.
        let is_old = matches!(self.source.meaning(self.module, &words(&item.path)), Meaning::History { .. });
        if let Some(skipped) = self.skipped.get(&owner).filter(|_| !is_old) {
            let fields = std::mem::take(&mut item.fields).into_iter();
            let there = fields.filter(|field| !skipped.contains(&field.member.to_token_stream().to_string()));
            item.fields = there.collect();
        }
        visit_mut::visit_expr_struct_mut(self, item);
    }

    fn visit_expr_method_call_mut(&mut self, item: &mut syn::ExprMethodCall) {
        self.methods.insert(item.method.to_string());
        visit_mut::visit_expr_method_call_mut(self, item);
    }

    fn visit_macro_mut(&mut self, item: &mut syn::Macro) {
        self.tokens(item.tokens.clone());
        visit_mut::visit_macro_mut(self, item);
    }

    fn visit_attribute_mut(&mut self, attr: &mut Attribute) {
        let Meta::List(list) = &mut attr.meta else { return };
        if !list.path.is_ident("state") {
            return;
        }
        let parser = Punctuated::<syn::Expr, Token![,]>::parse_terminated;
        if let Ok(mut words) = syn::parse::Parser::parse2(parser, list.tokens.clone()) {
            for word in &mut words {
                // `default = …`: what is left of it is no path.
                if let syn::Expr::Assign(assign) = word {
                    self.visit_expr_mut(&mut assign.right);
                }
            }
            list.tokens = words.to_token_stream();
        }
    }
}
