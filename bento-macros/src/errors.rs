// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The collector every check reports into, so that an author sees all mistakes at once.

use std::fmt::Display;
use std::thread;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// What was found so far. Dropping it unread is a bug of this crate and panics: no error can get lost.
#[derive(Debug)]
pub struct Errors(Option<Vec<syn::Error>>);

impl Errors {
    pub fn new() -> Self {
        Errors(Some(Vec::new()))
    }

    /// At all of `tokens`.
    pub fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// At one token; `Span::call_site()` is the attribute itself.
    pub fn at_span(&mut self, span: Span, message: impl Display) {
        self.push(syn::Error::new(span, message));
    }

    pub fn push(&mut self, error: syn::Error) {
        self.0.as_mut().expect("open until read").push(error);
    }

    /// One `compile_error!` each.
    pub fn into_tokens(mut self) -> TokenStream {
        let errors = self.0.take().expect("open until read");
        errors.iter().map(syn::Error::to_compile_error).collect()
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        assert!(self.0.is_none() || thread::panicking(), "errors were collected and never reported");
    }
}

/// `; did you mean `x`?` for the word in `known` that `word` was probably meant to be, else nothing.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}

/// The word in `known` within a few slips of `word`.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
