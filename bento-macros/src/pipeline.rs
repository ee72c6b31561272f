// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The stages in their order. On any error the author's own tokens are part of the output, so that completion and the
//! compiler's other errors survive.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemImpl, ItemStruct};

use super::errors::Errors;
use super::parse::Subject;
use super::{check, expand, model, parse};

pub fn bento_fs(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match parse::subject(item.clone()) {
        Ok(Subject::Struct(item)) => declaration(arguments, item),
        Ok(Subject::Impl(item)) => handlers(arguments, item),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #item)
        }
    }
}

fn declaration(arguments: TokenStream, item: ItemStruct) -> TokenStream {
    let mut errors = Errors::new();
    let keys = parse::keys(arguments.clone(), &mut errors);
    let state = model::StateType::of_struct(&item, &mut errors);
    let declaration = model::Declaration { arguments, item, state, keys };
    let checked = check::declaration(&declaration, &mut errors);
    let expansion = expand::declaration(&declaration, &checked);
    let errors = errors.into_tokens();
    quote!(#errors #expansion)
}

fn handlers(arguments: TokenStream, item: ItemImpl) -> TokenStream {
    let mut errors = Errors::new();
    let block = model::HandlerBlock::new(item);
    let expansion = match check::handlers(&arguments, &block, &mut errors) {
        Some(checked) => expand::handlers(&block, &checked),
        None => {
            let item = &block.item;
            quote!(#item)
        }
    };
    let errors = errors.into_tokens();
    quote!(#errors #expansion)
}

pub fn state(item: TokenStream) -> TokenStream {
    let mut errors = Errors::new();
    let expansion = match parse::state::derived(item) {
        Ok(item) => {
            let ty = model::StateType::of_derive(&item, &mut errors);
            let crossing = check::state(&ty, &mut errors);
            expand::state(&ty, &crossing)
        }
        Err(error) => {
            errors.push(error);
            TokenStream::new()
        }
    };
    let errors = errors.into_tokens();
    quote!(#errors #expansion)
}

pub fn mount_options(item: TokenStream) -> TokenStream {
    let mut errors = Errors::new();
    let expansion = match parse::options(item, &mut errors) {
        Ok(input) => {
            let options = check::options(&input, &mut errors);
            expand::options(&input, &options)
        }
        Err(error) => {
            errors.push(error);
            TokenStream::new()
        }
    };
    let errors = errors.into_tokens();
    quote!(#errors #expansion)
}
