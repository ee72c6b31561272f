// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `impl State`: the shape, `save` and `load`, and the way from version to version. The rules that speak of older versions
//! are the compiler's to check: constants that do not evaluate, at the author's token.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{GenericParam, Generics, parse_quote};

use super::super::check::{Chain, Content, Crossing, Role, Versioned, Way, show};
use super::super::model::{Members, StateContent, StateField, StateType, Style};

mod rules;

/// All that a type needs to cross.
pub fn state(ty: &StateType, crossing: &Crossing) -> TokenStream {
    let StateType { ident, cfgs, .. } = ty;
    let wrong = matches!(crossing.content, Content::Wrong);
    let generics = if wrong { ty.generics.clone() } else { bounded(&ty.generics) };
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let Body { shape, save, load, more } = body(ty, crossing);
    let (from, out) = (local("from"), local("out"));
    let version = frozen(ty, crossing.version.as_ref());
    // Rules name no parameters, so that they are checked even when nothing uses the type.
    let rules = ty.generics.params.is_empty().then(|| rules::rules(ty, crossing));
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #impl_generics ::bento::state::State for #ident #type_generics #where_clause {
            const SHAPE: &'static ::bento::state::Shape = &#shape;
            #more

            fn save(&self, #out: &mut ::bento::state::Saver<'_>) -> ::bento::errno::Result<()> {
                #save
            }

            fn load(#from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
                #load
            }
        }

        #version
        #rules
    }
}

/// A name of this macro's own, which no field's can be.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

fn bounded(generics: &Generics) -> Generics {
    let mut generics = generics.clone();
    for param in &mut generics.params {
        if let GenericParam::Type(param) = param {
            param.bounds.push(parse_quote!(::bento::state::State));
        }
    }
    generics
}

struct Body {
    shape: TokenStream,
    save: TokenStream,
    load: TokenStream,
    more: TokenStream,
}

fn body(ty: &StateType, crossing: &Crossing) -> Body {
    let ident = &ty.ident;
    let name = ident.unraw().to_string();
    let (from, out) = (local("from"), local("out"));
    match (&crossing.content, &ty.content) {
        (Content::Struct(roles), StateContent::Struct(members)) => {
            let fields = Fields::new(members, roles);
            let (shape, count) = (fields.shape(), fields.count());
            let save = fields.save(|field| {
                let member = &field.member;
                quote_spanned!(field.ty.span()=> &self.#member)
            });
            let load = fields.load(quote!(#ident));
            Body {
                shape: quote!(::bento::state::Shape::Struct(#name, &[#shape])),
                save: quote! {
                    #out.map(#count)?;
                    #save
                    ::core::result::Result::Ok(())
                },
                load: quote! {
                    #(#load)*
                },
                more: chain(&crossing.chain),
            }
        }
        (Content::Enum(tags), StateContent::Enum(variants)) => {
            let both = || variants.iter().zip(tags);
            let mut by_tag: Vec<_> = both().collect();
            by_tag.sort_by_key(|(_, (tag, _))| tag.base10_parse::<u32>().ok());
            let shape = by_tag.into_iter().map(|(variant, (tag, roles))| {
                let (name, fields) = (variant.ident.unraw().to_string(), Fields::new(&variant.members, roles).shape());
                quote!(::bento::state::Variant::new(#tag, #name, &[#fields]))
            });
            let save = both().map(|(variant, (tag, roles))| {
                let fields = Fields::new(&variant.members, roles);
                let (pattern, count) = (fields.pattern(&variant.ident), fields.count());
                let save = fields.save(|field| field.local.to_token_stream());
                quote! {
                    #pattern => {
                        #out.variant(#tag, #count)?;
                        #save
                    }
                }
            });
            let load = both().map(|(variant, (tag, roles))| {
                let variant_ident = &variant.ident;
                let mut load = Fields::new(&variant.members, roles).load(quote!(Self::#variant_ident));
                let value = load.pop();
                quote! {
                    #tag => {
                        #(#load)*
                        #value
                    }
                }
            });
            Body {
                shape: quote!(::bento::state::Shape::Enum(#name, &[#(#shape),*])),
                save: quote! {
                    match self {
                        #(#save)*
                    }
                    ::core::result::Result::Ok(())
                },
                load: quote! {
                    match #from.variant()? {
                        #(#load)*
                        tag => ::core::result::Result::Err(#from.unknown(#name, tag)),
                    }
                },
                more: chain(&crossing.chain),
            }
        }
        (Content::Reload, _) => Body {
            shape: quote!(::bento::state::Shape::Reload(#name)),
            save: quote!(::core::result::Result::Err(#out.refuse_reload(#name))),
            load: quote!(::core::result::Result::Err(#from.refuse_reload(#name))),
            more: quote! {
                const LOADS: ::bento::state::Shapes = ::bento::state::Shapes::NONE;
                const SAVES: ::bento::state::Shapes = ::bento::state::Shapes::NONE;
            },
        },
        // Reported; this keeps the compiler from adding that the type does not cross.
        _ => Body {
            shape: quote!(::bento::state::Shape::Unit),
            save: quote!(::core::unreachable!()),
            load: quote!(::core::unreachable!()),
            more: TokenStream::new(),
        },
    }
}

/// The members of a struct or variant, with what becomes of each.
struct Fields<'a> {
    members: &'a Members,
    roles: &'a [Role],
}

impl<'a> Fields<'a> {
    fn new(members: &'a Members, roles: &'a [Role]) -> Self {
        Fields { members, roles }
    }

    fn all(&self) -> impl Iterator<Item = (&'a StateField, &'a Role)> {
        self.members.fields.iter().zip(self.roles)
    }

    /// Those that cross, in the order of their tags.
    fn crossing(&self) -> Vec<(&'a StateField, u32, &'a Role)> {
        let mut fields: Vec<_> =
            self.all().filter_map(|(field, role)| role.tag().map(|tag| (field, tag, role))).collect();
        fields.sort_by_key(|(_, tag, _)| *tag);
        fields
    }

    fn count(&self) -> Literal {
        Literal::usize_unsuffixed(self.crossing().len())
    }

    fn shape(&self) -> TokenStream {
        let fields = self.crossing().into_iter().map(|(field, tag, role)| {
            let (name, ty, tag) = (&field.name, &field.ty, Literal::u32_unsuffixed(tag));
            let or_default = matches!(role, Role::Crosses { default: Some(_), .. }).then(|| quote!(.or_default()));
            // At the type: that is where the compiler says that it does not cross.
            quote_spanned!(ty.span()=> ::bento::state::Field::of::<#ty>(#tag, #name) #or_default)
        });
        quote!(#(#fields),*)
    }

    fn save(&self, value: impl Fn(&StateField) -> TokenStream) -> TokenStream {
        let out = local("out");
        let fields = self.crossing().into_iter().map(|(field, tag, role)| {
            let (value, name, tag) = (value(field), &field.name, Literal::u32_unsuffixed(tag));
            match role {
                Role::Crosses { default: Some(default), .. } => {
                    // Not at the type, where clippy would take the closure for the author's.
                    let default = quote!(|| #default);
                    quote_spanned!(field.ty.span()=> #out.field_or(#tag, #name, #value, #default)?;)
                }
                _ => quote_spanned!(field.ty.span()=> #out.field(#tag, #value)?;),
            }
        });
        quote!(#(#fields)*)
    }

    /// The statements that load the fields, and last the value made of them.
    fn load(&self, name: TokenStream) -> Vec<TokenStream> {
        let from = local("from");
        let (tag, crossing) = (local("tag"), self.crossing());
        let mut statements: Vec<_> = crossing
            .iter()
            .map(|(field, ..)| {
                let local = &field.local;
                quote!(let mut #local = ::core::option::Option::None;)
            })
            .collect();
        statements.push(if crossing.is_empty() {
            quote!(#from.fields(|_, _| ::core::result::Result::Ok(false))?;)
        } else {
            let arms = crossing.iter().map(|(field, number, _)| {
                let (local, number) = (&field.local, Literal::u32_unsuffixed(*number));
                quote_spanned!(field.ty.span()=> #number => #from.field(&mut #local),)
            });
            quote! {
                #from.fields(|#tag, #from| match #tag {
                    #(#arms)*
                    _ => ::core::result::Result::Ok(false),
                })?;
            }
        });
        let fields = self.all().map(|(field, role)| {
            let value = value(field, role);
            match self.members.style {
                Style::Named => {
                    let member = &field.member;
                    quote!(#member: #value)
                }
                _ => value,
            }
        });
        statements.push(match self.members.style {
            Style::Named => quote!(::core::result::Result::Ok(#name { #(#fields),* })),
            Style::Tuple => quote!(::core::result::Result::Ok(#name(#(#fields),*))),
            Style::Unit => quote!(::core::result::Result::Ok(#name)),
        });
        statements
    }

    fn pattern(&self, variant: &Ident) -> TokenStream {
        let fields = self.all().map(|(field, role)| match (self.members.style, role) {
            (Style::Named, Role::Skipped(_)) => {
                let member = &field.member;
                quote!(#member: _)
            }
            (_, Role::Skipped(_)) => quote!(_),
            (Style::Named, _) if field.member != field.local.clone().into() => {
                let (member, local) = (&field.member, &field.local);
                quote!(#member: #local)
            }
            _ => field.local.to_token_stream(),
        });
        match self.members.style {
            Style::Named => quote!(Self::#variant { #(#fields),* }),
            Style::Tuple => quote!(Self::#variant(#(#fields),*)),
            Style::Unit => quote!(Self::#variant),
        }
    }
}

/// What a field of a loaded value is.
fn value(field: &StateField, role: &Role) -> TokenStream {
    let from = local("from");
    let (local, name, ty) = (&field.local, &field.name, &field.ty);
    match role {
        Role::Crosses { default: Some(default), .. } => quote!(#local.unwrap_or_else(|| #default)),
        Role::Crosses { tag, default: None } => quote!(#local.ok_or_else(|| #from.missing(#tag, #name))?),
        Role::Skipped(Some(value)) => value.to_token_stream(),
        // At the type, which may have no default.
        Role::Skipped(None) => quote_spanned!(ty.span()=> <#ty as ::core::default::Default>::default()),
    }
}

/// What the type takes over, and what it can go back to.
fn chain(chain: &Chain) -> TokenStream {
    let (from, out) = (local("from"), local("out"));
    let loads = chain.before.as_ref().map(|before| {
        let (old, way) = (
            &before.old,
            match before.way {
                Way::Extends => quote!(extend),
                Way::Migrates => quote!(migrate),
            },
        );
        // At the older type: that is where the compiler says that `impl Migrate` is missing.
        let load = quote_spanned!(old.span()=> ::bento::state::#way::<Self, #old>);
        let shapes = quote! {
            const LOADS: ::bento::state::Shapes =
                ::bento::state::Shapes::of(Self::SHAPE).and(<#old as ::bento::state::State>::LOADS);
        };
        let function = quote! {
            fn load_as(shape: u64, #from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
                #load(shape, #from)
            }
        };
        (shapes, function)
    });
    let saves = chain.downgrades.as_ref().map(|old| {
        let save = quote_spanned!(old.span()=> ::bento::state::downgrade::<Self, #old>);
        let shapes = quote! {
            const SAVES: ::bento::state::Shapes =
                ::bento::state::Shapes::of(Self::SHAPE).and(<#old as ::bento::state::State>::SAVES);
        };
        let function = quote! {
            fn save_as(&self, shape: u64, #out: &mut ::bento::state::Saver<'_>) -> ::bento::errno::Result<()> {
                #save(self, shape, #out)
            }
        };
        (shapes, function)
    });
    let (shapes, functions): (Vec<_>, Vec<_>) = loads.into_iter().chain(saves).unzip();
    quote!(#(#shapes)* #(#functions)*)
}

/// `Version` for a struct that has no `impl FileSystem` to say it.
fn frozen(ty: &StateType, version: Option<&Versioned>) -> Option<TokenStream> {
    let Versioned { name, version, inode, .. } = version.filter(|version| version.frozen)?;
    let StateType { ident, cfgs, .. } = ty;
    Some(quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl ::bento::state::Version for #ident {
            const NAME: &'static str = #name;
            const VERSION: u32 = #version;
            type Inode = #inode;
        }
    })
}

/// A type's path for a message.
fn shown(tokens: &impl ToTokens) -> String {
    show(tokens)
}
