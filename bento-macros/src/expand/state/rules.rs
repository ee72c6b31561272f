// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The rules between one version and the next, as constants: only the compiler knows both.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use super::super::super::check::{Content, Crossing, Role, Versioned, Way};
use super::super::super::model::{Members, StateContent, StateType};
use super::shown;

pub fn rules(ty: &StateType, crossing: &Crossing) -> TokenStream {
    if matches!(crossing.content, Content::Wrong | Content::Reload) {
        return TokenStream::new();
    }
    let mut rules = Rules { cfgs: &ty.cfgs, tokens: TokenStream::new() };
    let me = &ty.ident;
    if let Some(before) = &crossing.chain.before {
        let old = &before.old;
        match before.way {
            Way::Extends => extends(ty, crossing, old, &mut rules),
            Way::Migrates => {
                let message = format!(
                    "`{}` has the shape of `{me}`, so its bytes would be taken for this version's and never migrated: give \
                     what has changed a new tag",
                    shown(old)
                );
                rules.check(
                    old.span(),
                    quote!(!::bento::state::skips_migration(
                        <#me as ::bento::state::State>::SHAPE,
                        <#old as ::bento::state::State>::LOADS
                    )),
                    &message,
                );
            }
        }
        if let Some(version) = &crossing.version {
            newer(version, old, &mut rules);
            let inode = &version.inode;
            rules.check(
                old.span(),
                quote!(::bento::state::inode_follows(
                    <<#old as ::bento::state::Version>::Inode as ::bento::state::State>::SHAPE,
                    <#inode as ::bento::state::State>::LOADS
                )),
                &format!(
                    "the per-inode data of `{}` cannot become this version's: its type needs `#[state(extends = …)]`, \
                     `#[state(migrates = …)]` or, if `load_inode` can make it again, `#[state(reload)]`",
                    shown(old)
                ),
            );
        }
    }
    if let (Some(old), Some(version)) = (&crossing.chain.downgrades, &crossing.version) {
        let before = crossing.chain.before.as_ref();
        if before.is_none_or(|before| shown(&before.old) != shown(old)) {
            newer(version, old, &mut rules);
        }
        let inode = &version.inode;
        rules.check(
            old.span(),
            quote!(::bento::state::inode_goes_back(
                <<#old as ::bento::state::Version>::Inode as ::bento::state::State>::LOADS,
                <#inode as ::bento::state::State>::SAVES
            )),
            &format!(
                "this version's per-inode data cannot become that of `{}`: its type needs `#[state(downgrades = …)]`",
                shown(old)
            ),
        );
    }
    rules.tokens
}

struct Rules<'a> {
    cfgs: &'a [syn::Attribute],
    tokens: TokenStream,
}

impl Rules<'_> {
    fn check(&mut self, place: Span, holds: TokenStream, message: &str) {
        let cfgs = self.cfgs;
        self.tokens.extend(quote_spanned! {place=>
            #(#cfgs)*
            const _: () = ::core::assert!(#holds, #message);
        });
    }
}

/// `old` is an older version of the same file system.
fn newer(version: &Versioned, old: &Type, rules: &mut Rules<'_>) {
    let (name, number) = (&version.name, &version.version);
    let (text, old_text) = (number.to_string(), shown(old));
    rules.check(
        old.span(),
        quote!(::bento::state::same_text(<#old as ::bento::state::Version>::NAME, #name)),
        &format!("`{old_text}` is a version of another file system"),
    );
    rules.check(
        number.span(),
        quote!(<#old as ::bento::state::Version>::VERSION < #number),
        &format!("version {text} is not newer than `{old_text}`: versions grow"),
    );
}

/// By tag: nothing has gone or changed, and what is new has a default.
fn extends(ty: &StateType, crossing: &Crossing, old: &Type, rules: &mut Rules<'_>) {
    let me = &ty.ident;
    let (old_shape, new_shape) =
        (quote!(<#old as ::bento::state::State>::SHAPE), quote!(<#me as ::bento::state::State>::SHAPE));
    let old_text = shown(old);
    rules.check(
        old.span(),
        quote!(!::bento::state::kind_changed(#old_shape, #new_shape)),
        &format!("`{me}` cannot extend `{old_text}`: both are structs, or both are enums"),
    );
    rules.check(
        old.span(),
        quote!(!::bento::state::tag_lost(#old_shape, #new_shape)),
        &format!(
            "something that `{old_text}` has is gone: `extends` keeps every tag; leave the field, or write `migrates` and \
             an `impl Migrate`"
        ),
    );
    rules.check(
        old.span(),
        quote!(!::bento::state::skips_older(#new_shape, #old_shape, <#old as ::bento::state::State>::LOADS)),
        &format!(
            "a version before `{old_text}` has the shape of `{me}`, so its bytes would be taken for this version's and never \
             migrated: a tag that went is never used again"
        ),
    );
    match (&ty.content, &crossing.content) {
        (StateContent::Struct(members), Content::Struct(roles)) => {
            fields(members, roles, &quote!(#old_shape.fields()), &old_text, rules);
        }
        (StateContent::Enum(variants), Content::Enum(tags)) => {
            for (variant, (tag, roles)) in variants.iter().zip(tags) {
                fields(&variant.members, roles, &quote!(#old_shape.variant(#tag)), &old_text, rules);
            }
        }
        _ => {}
    }
}

fn fields(members: &Members, roles: &[Role], old: &TokenStream, old_text: &str, rules: &mut Rules<'_>) {
    for (field, role) in members.fields.iter().zip(roles) {
        let Role::Crosses { tag, default } = role else { continue };
        let (name, ty) = (&field.name, &field.ty);
        let number = Literal::u32_unsuffixed(role.tag().unwrap_or_default());
        let shape = quote!(<#ty as ::bento::state::State>::SHAPE);
        rules.check(
            ty.span(),
            quote!(!::bento::state::field_shape_changed(#old, #number, #name, #shape)),
            &format!(
                "the type of `{name}` (tag {tag}) is not what it was in `{old_text}`: give the new type a new tag and a \
                 default, or write `migrates` and an `impl Migrate`"
            ),
        );
        rules.check(
            tag.span(),
            quote!(!::bento::state::tag_reused(#old, #number, #name, #shape)),
            &format!("tag {tag} was another field in `{old_text}`: a tag is never given away twice"),
        );
        if default.is_none() {
            rules.check(
                field.place().span(),
                quote!(!::bento::state::field_default_missing(#old, #number)),
                &format!(
                    "`{name}` is new since `{old_text}`: write `#[state({tag}, default = …)]`, for state that does not have it"
                ),
            );
        }
    }
}
