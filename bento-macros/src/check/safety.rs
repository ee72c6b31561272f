// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system is safe Rust. `forbid(unsafe_code)` in the author's crate says the same, if it is there; this looks into
//! the arguments of macros as well.

use proc_macro2::{Span, TokenStream, TokenTree};

use super::super::errors::Errors;

/// Reports every `unsafe` in `tokens`, and the assembly that needs none.
pub fn safety(tokens: TokenStream, errors: &mut Errors) {
    for (span, what) in unsafety(tokens) {
        errors.at_span(
            span,
            format!(
                "{what} in a file system: handlers are safe Rust\n\
                 what needs it belongs in a crate of its own, behind a safe interface"
            ),
        );
    }
}

fn unsafety(tokens: TokenStream) -> Vec<(Span, &'static str)> {
    let mut found = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => found.extend(unsafety(group.stream())),
            TokenTree::Ident(ident) if ident == "unsafe" => found.push((ident.span(), "`unsafe`")),
            TokenTree::Ident(ident) if ident == "global_asm" || ident == "naked_asm" => {
                if matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == '!') {
                    found.push((ident.span(), "assembly"));
                }
            }
            _ => {}
        }
    }
    found
}
