// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stage 4: what the compiler sees. All paths are absolute, nothing is `unsafe`, and it reads as if written by hand.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::visit_mut::{self, VisitMut};
use syn::{Path, PathArguments, Signature, parse_quote};

use super::check::{Checked, Condition, Declared, MountOption, Needed, Rule};
use super::handlers::Row;
use super::model::{Declaration, HandlerBlock, cfgs};
use super::parse::OptionsInput;
use super::parse::state::without_words;

mod state;

pub use state::state;

/// The struct as it was, its name, version and data, and how it crosses upgrades.
pub fn declaration(declaration: &Declaration, declared: &Declared) -> TokenStream {
    let item = without_words(declaration.item.clone());
    let (ident, cfgs) = (&item.ident, cfgs(&item.attrs));
    let (impl_generics, type_generics, where_clause) = item.generics.split_for_impl();
    let Declared { name, version, data, needed, on_panic, crossing } = declared;
    let data = Ident::new(data, Span::call_site());
    let on_panic = on_panic.map(|on_panic| {
        let on_panic = Ident::new(on_panic, Span::call_site());
        quote!(const ON_PANIC: ::bento::fs::OnPanic = ::bento::fs::OnPanic::#on_panic;)
    });
    // Where the word stands that asks for it.
    let needed = needed.as_ref().map(|Needed { row, place, message }| {
        let op = Ident::new(row.name, Span::call_site());
        quote_spanned! {*place=>
            #(#cfgs)*
            const _: () = ::core::assert!(
                <#ident as ::bento::fs::Handlers>::HANDLERS.has(::bento::fs::Op::#op),
                #message
            );
        }
    });
    let state = state(&declaration.state, crossing);
    quote! {
        #item

        #(#cfgs)*
        #[automatically_derived]
        impl #impl_generics ::bento::fs::Declared for #ident #type_generics #where_clause {
            const NAME: &'static str = #name;
            const VERSION: u32 = #version;
            const DATA: ::bento::fs::DataMode = ::bento::fs::DataMode::#data;
            #on_panic
        }

        #needed

        #state
    }
}

/// The impl as it was, the set of its handlers, and the rules that are the compiler's to check.
pub fn handlers(block: &HandlerBlock, checked: &Checked) -> TokenStream {
    let me = &block.item.self_ty;
    let cfgs = cfgs(&block.item.attrs);
    let (impl_generics, _, where_clause) = block.item.generics.split_for_impl();
    let item = file_system(block, checked);
    let set = presence(block, checked);
    let apart = set_apart(block, checked);
    // Rules name no parameters, so that they are checked even when nothing uses the file system.
    let rules =
        checked.rules.iter().filter(|_| block.item.generics.params.is_empty()).map(|rule| expand_rule(rule, block));
    quote! {
        #item

        #(#cfgs)*
        #[automatically_derived]
        impl #impl_generics ::bento::fs::Handlers for #me #where_clause {
            const HANDLERS: ::bento::fs::HandlerSet = #set;
        }

        #(#rules)*
        #apart
    }
}

fn file_system(block: &HandlerBlock, checked: &Checked) -> TokenStream {
    let mut item = block.item.clone();
    let mut at = 0;
    item.items.retain(|_| {
        at += 1;
        !checked.set_apart.contains(&(at - 1))
    });
    if !block.has_inode {
        item.items.insert(
            0,
            parse_quote!(
                type Inode = ();
            ),
        );
    }
    item.items.extend(checked.stand_ins.iter().map(|row| stand_in(row)));
    item.into_token_stream()
}

/// `HandlerSet` of what was written or is stood in for, each under its own `cfg`.
fn presence(block: &HandlerBlock, checked: &Checked) -> TokenStream {
    let op = |row: &Row| Ident::new(row.name, Span::call_site());
    let (always, sometimes): (Vec<_>, Vec<_>) = block.handlers.iter().partition(|handler| handler.cfgs.is_empty());
    let stand_ins = checked.stand_ins.iter().filter(|row| block.named(row.name).next().is_none());
    let always = always.iter().map(|handler| op(handler.row)).chain(stand_ins.map(|row| op(row)));
    let always = quote!(HandlerSet::EMPTY #(.with(Op::#always))*);
    let set = if sometimes.is_empty() {
        always
    } else {
        let sometimes = sometimes.iter().map(|handler| {
            let (cfgs, op) = (&handler.cfgs, op(handler.row));
            quote! {
                #(#cfgs)*
                let set = set.with(Op::#op);
            }
        });
        quote! {
            let set = #always;
            #(#sometimes)*
            set
        }
    };
    quote! {{
        use ::bento::fs::{HandlerSet, Op};
        #set
    }}
}

/// At the handler's own name: that is where the compiler reports it.
fn expand_rule(rule: &Rule, block: &HandlerBlock) -> TokenStream {
    let Rule { place, cfgs, condition, message } = rule;
    let me = &block.item.self_ty;
    let of_block = super::model::cfgs(&block.item.attrs);
    let condition = match condition {
        Condition::Not(variant) => {
            let variant = Ident::new(variant, Span::call_site());
            quote!(!::core::matches!(<#me as ::bento::fs::Declared>::DATA, ::bento::fs::DataMode::#variant))
        }
        Condition::Has(row) => {
            let op = Ident::new(row.name, Span::call_site());
            quote!(<#me as ::bento::fs::Handlers>::HANDLERS.has(::bento::fs::Op::#op))
        }
        Condition::NotReloaded => quote! {
            !::core::matches!(<#me as ::bento::fs::Declared>::DATA, ::bento::fs::DataMode::Resident)
                || !<<#me as ::bento::fs::FileSystem>::Inode as ::bento::state::State>::LOADS.is_empty()
        },
    };
    quote_spanned! {place.span()=>
        #(#of_block)*
        #(#cfgs)*
        const _: () = ::core::assert!(#condition, #message);
    }
}

/// The functions the trait has no place for. They are reported; this keeps their bodies compiled and completed.
fn set_apart(block: &HandlerBlock, checked: &Checked) -> Option<TokenStream> {
    if checked.set_apart.is_empty() {
        return None;
    }
    let me = &block.item.self_ty;
    let cfgs = cfgs(&block.item.attrs);
    let (impl_generics, _, where_clause) = block.item.generics.split_for_impl();
    let functions = checked.set_apart.iter().map(|at| {
        let mut function = block.function(*at).clone();
        OutsideTheTrait.visit_impl_item_fn_mut(&mut function);
        function
    });
    Some(quote! {
        #(#cfgs)*
        #[doc(hidden)]
        #[allow(dead_code)]
        impl #impl_generics #me #where_clause {
            #(#functions)*
        }
    })
}

/// Makes up for the trait, so that the compiler does not report again what a check has reported.
struct OutsideTheTrait;

impl VisitMut for OutsideTheTrait {
    fn visit_type_path_mut(&mut self, path: &mut syn::TypePath) {
        let is_inode = path.qself.is_none()
            && path.path.segments.len() == 2
            && path.path.segments[0].ident == "Self"
            && path.path.segments[1].ident == "Inode";
        if is_inode {
            *path = parse_quote!(<Self as ::bento::fs::FileSystem>::Inode);
        } else if let Some(last) = path.path.segments.last_mut()
            && last.arguments.is_none()
            && ["Context", "Inode", "NewInode", "Rename"].iter().any(|word| last.ident == word)
        {
            last.arguments = PathArguments::AngleBracketed(parse_quote!(<Self>));
        }
        visit_mut::visit_type_path_mut(self, path);
    }
}

/// A handler of the right shape for one that is reported, so that the impl is not called incomplete as well.
fn stand_in(row: &Row) -> syn::ImplItem {
    let mut signature: Signature = syn::parse_str(row.signature).expect("the table holds signatures");
    Absolute.visit_signature_mut(&mut signature);
    parse_quote! {
        #[allow(unused_variables)]
        #signature {
            ::core::unreachable!()
        }
    }
}

/// The vocabulary's words by their full names, since the author may not have imported them.
struct Absolute;

impl VisitMut for Absolute {
    fn visit_path_mut(&mut self, path: &mut Path) {
        visit_mut::visit_path_mut(self, path);
        let Some(ident) = path.segments.first().map(|segment| segment.ident.clone()) else { return };
        if path.segments.len() > 1 || ident == "Self" || !ident.to_string().starts_with(char::is_uppercase) {
            return;
        }
        let arguments = std::mem::replace(&mut path.segments[0].arguments, PathArguments::None);
        *path =
            if ident == "Result" { parse_quote!(::bento::errno::Result) } else { parse_quote!(::bento::fs::#ident) };
        path.segments.last_mut().expect("just written").arguments = arguments;
    }
}

/// The trait behind `mount(2)`'s options.
pub fn options(input: &OptionsInput, options: &[MountOption]) -> TokenStream {
    let ident = &input.item.ident;
    let (impl_generics, type_generics, where_clause) = input.item.generics.split_for_impl();
    let names: Vec<_> = options.iter().map(|option| &option.name).collect();
    let fields: Vec<_> = options.iter().map(|option| option.field).collect();
    let types = options.iter().map(|option| option.ty);
    let with_off = || options.iter().filter(|option| option.off.is_some());
    let (off_names, off_fields): (Vec<_>, Vec<_>) = with_off().map(|option| (&option.off, option.field)).unzip();
    let off_types = with_off().map(|option| option.ty);
    let defaults = options.iter().map(|option| match option.default {
        Some(default) => default.to_token_stream(),
        None => quote!(::core::default::Default::default()),
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics ::bento::options::MountOptions for #ident #type_generics #where_clause {
            const NAMES: &'static [&'static str] = &[#(#names,)* #(#off_names),*];

            fn defaults() -> Self {
                #ident { #(#fields: #defaults),* }
            }

            fn set(
                &mut self,
                name: &str,
                value: ::core::option::Option<&[u8]>,
            ) -> ::core::result::Result<(), ::bento::options::OptionError> {
                match name {
                    #(#names => self.#fields = <#types as ::bento::options::OptionValue>::from_option(value)?,)*
                    #(#off_names if value.is_some() => return ::core::result::Result::Err(::bento::options::OptionError::Unwanted),)*
                    #(#off_names => self.#off_fields = <#off_types as ::core::convert::From<bool>>::from(false),)*
                    _ => return ::core::result::Result::Err(::bento::options::OptionError::Unknown),
                }
                ::core::result::Result::Ok(())
            }
        }
    }
}
