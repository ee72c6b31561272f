// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What one version saves, as source of its own: the types that cross, what tells one version's from the next
//! (`impl Migrate`, `impl Downgrade`), and the functions these call, flat in one module.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result, anyhow, bail};
use quote::{ToTokens, format_ident, quote};
use syn::punctuated::Punctuated;
use syn::visit_mut::VisitMut;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, Meta, Token, Type, Visibility, parse_quote};

use super::rewrite::{Rewriter, words};
use super::source::{Crate, Meaning, Place, name};
use crate::macros::source::{attrs, take_attribute, take_derive};

/// The traits whose impls belong to a type's state. Others are what handlers need.
const KEPT: &[&str] = &[
    "State",
    "Migrate",
    "Downgrade",
    "Default",
    "Clone",
    "Copy",
    "PartialEq",
    "Eq",
    "PartialOrd",
    "Ord",
    "Hash",
    "Deref",
    "DerefMut",
    "Borrow",
    "From",
];

/// A method that takes one of these is a handler's.
const OF_HANDLERS: &[&str] = &["Inode", "Context", "NewInode", "MountContext", "Rename", "Created"];

pub struct Frozen {
    pub items: Vec<Item>,
    pub uses: BTreeSet<Vec<String>>,
    pub globs: BTreeSet<Vec<String>>,
}

/// The state of the file system whose struct carries `#[bento_fs]` with this name.
pub fn frozen(source: &Crate, fs: &str) -> Result<Frozen> {
    let declared = source.items().find_map(|(at, item)| {
        let mut item = item.clone();
        let arguments = matches!(item, Item::Struct(_)).then(|| take_attribute(&mut item)).flatten()?;
        let metas = metas(arguments)?;
        let named = metas.iter().any(|meta| {
            matches!(meta, Meta::NameValue(pair) if pair.path.is_ident("name")
            && pair.value.to_token_stream().to_string() == format!("{fs:?}"))
        });
        named.then_some((at, metas))
    });
    let (at, metas) = declared.with_context(|| format!("no struct carries #[bento_fs(name = {fs:?}, …)]"))?;
    let mut freezer = Freezer::new(source);
    freezer.want(at)?;
    freezer.fs = Some((at, metas));
    freezer.inode(at)?;
    freezer.run()?;
    // What crosses without being mentioned, say behind a type of another crate.
    for (at, item) in source.items() {
        if take_derive(&mut item.clone(), "State") {
            freezer.want(at)?;
        }
    }
    freezer.run()?;
    Ok(freezer.finish())
}

fn metas(arguments: proc_macro2::TokenStream) -> Option<Vec<Meta>> {
    let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
    syn::parse::Parser::parse2(parser, arguments).ok().map(|list| list.into_iter().collect())
}

struct Freezer<'a> {
    source: &'a Crate,
    wanted: VecDeque<Place>,
    seen: BTreeSet<Place>,
    names: BTreeMap<String, Place>,
    fs: Option<(Place, Vec<Meta>)>,
    inode: Option<Type>,
    /// In the order in which they were found.
    made: Vec<(Place, Item)>,
    /// Impls of what was made, by the type's name.
    impls: Vec<(String, Item)>,
    impls_seen: BTreeSet<Place>,
    /// Functions of inherent impls that kept code calls: (type, function).
    functions: BTreeSet<(String, String)>,
    functions_made: BTreeSet<(String, String)>,
    /// Methods that kept code calls, on whatever type.
    methods: BTreeSet<String>,
    uses: BTreeSet<Vec<String>>,
    globs: BTreeSet<Vec<String>>,
    skipped: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Freezer<'a> {
    fn new(source: &'a Crate) -> Self {
        Freezer {
            source,
            wanted: VecDeque::new(),
            seen: BTreeSet::new(),
            names: BTreeMap::new(),
            fs: None,
            inode: None,
            made: Vec::new(),
            impls: Vec::new(),
            impls_seen: BTreeSet::new(),
            functions: BTreeSet::new(),
            functions_made: BTreeSet::new(),
            methods: BTreeSet::new(),
            uses: BTreeSet::new(),
            globs: BTreeSet::new(),
            skipped: BTreeMap::new(),
        }
    }

    fn want(&mut self, at: Place) -> Result<()> {
        if !self.seen.insert(at) {
            return Ok(());
        }
        let name = name(self.source.item(at)).unwrap_or_default();
        if let Some(other) = self.names.insert(name.clone(), at) {
            let path = |at: Place| self.source.modules[at.0].path.join("::");
            bail!(
                "two of the types that cross are called {name} (in crate::{} and crate::{}): rename one, for a version is \
                 frozen into one module",
                path(other),
                path(at)
            );
        }
        self.wanted.push_back(at);
        Ok(())
    }

    /// `type Inode` of the file system, from its `impl FileSystem`.
    fn inode(&mut self, fs: Place) -> Result<()> {
        let found = self.source.items().find_map(|((module, _), item)| {
            let Item::Impl(item) = item else { return None };
            let (path, _) = item.trait_.as_ref()?;
            let is_file_system = path.segments.last().is_some_and(|last| last.ident == "FileSystem");
            (is_file_system && self.type_of(module, &item.self_ty) == Some(fs)).then_some((module, item))
        });
        let (module, item) = found.context("the file system has no `impl FileSystem`")?;
        let inode = item.items.iter().find_map(|item| match item {
            ImplItem::Type(item) if item.ident == "Inode" => Some(item.ty.clone()),
            _ => None,
        });
        if let Some(mut inode) = inode {
            self.rewrite(module, |rewriter| rewriter.visit_type_mut(&mut inode))?;
            self.inode = Some(inode);
        }
        Ok(())
    }

    fn type_of(&self, module: usize, ty: &Type) -> Option<Place> {
        let Type::Path(ty) = ty else { return None };
        match self.source.meaning(module, &words(&ty.path)) {
            Meaning::Item { at, segments } if segments == ty.path.segments.len() => Some(at),
            _ => None,
        }
    }

    /// Until nothing more is needed.
    fn run(&mut self) -> Result<()> {
        loop {
            if let Some(at) = self.wanted.pop_front() {
                let item = self.item(at)?;
                self.made.push((at, item));
                self.traits(at)?;
            } else if !self.called()? {
                return Ok(());
            }
        }
    }

    fn item(&mut self, at: Place) -> Result<Item> {
        let mut item = self.source.item(at).clone();
        let fs = self.fs.as_ref().filter(|(fs, _)| *fs == at).map(|(_, metas)| metas.clone());
        if let Some(metas) = fs {
            take_attribute(&mut item);
            let attribute = self.version(&metas);
            let Item::Struct(item) = &mut item else { bail!("a file system is a struct") };
            match item.attrs.iter_mut().find(|attr| attr.path().is_ident("derive")) {
                Some(Attribute { meta: Meta::List(list), .. }) => list.tokens.extend(quote!(, State)),
                _ => item.attrs.push(parse_quote!(#[derive(State)])),
            }
            item.attrs.push(attribute);
        }
        let is_reload = attrs(&item).iter().any(is_reload);
        match &mut item {
            Item::Struct(item) => {
                self.skip(item.ident.to_string(), &item.fields);
                open(&mut item.attrs, &mut item.vis);
                let is_tuple = matches!(item.fields, Fields::Unnamed(_));
                open_fields(&mut item.fields, true, is_reload);
                item.semi_token = (is_tuple || matches!(item.fields, Fields::Unit)).then(Default::default);
            }
            Item::Enum(item) => {
                open(&mut item.attrs, &mut item.vis);
                for variant in &mut item.variants {
                    self.skip(variant.ident.to_string(), &variant.fields);
                    clean(&mut variant.attrs);
                    open_fields(&mut variant.fields, false, false);
                }
            }
            Item::Const(item) => item.vis = Visibility::Inherited,
            Item::Type(item) => item.vis = Visibility::Inherited,
            Item::Fn(item) => item.vis = Visibility::Inherited,
            _ => {}
        }
        self.rewrite(at.0, |rewriter| rewriter.visit_item_mut(&mut item))?;
        Ok(item)
    }

    /// `#[state(fs = …, version = …, inode = …, …)]` for the file system's own struct.
    fn version(&self, metas: &[Meta]) -> Attribute {
        let (mut words, mut chain) = (Vec::new(), Vec::new());
        for meta in metas {
            let Meta::NameValue(pair) = meta else { continue };
            let value = &pair.value;
            match pair.path.get_ident().map(ToString::to_string).as_deref() {
                Some("name") => words.insert(0, quote!(fs = #value)),
                Some("version") => words.push(quote!(version = #value)),
                Some(word @ ("extends" | "migrates" | "downgrades")) => {
                    let word = format_ident!("{word}");
                    chain.push(quote!(#word = #value));
                }
                _ => {}
            }
        }
        let inode = self.inode.as_ref().filter(|inode| !matches!(inode, Type::Tuple(unit) if unit.elems.is_empty()));
        words.extend(inode.map(|inode| quote!(inode = #inode)));
        words.extend(chain);
        parse_quote!(#[state(#(#words),*)])
    }

    fn skip(&mut self, owner: String, fields: &Fields) {
        let skipped = fields.iter().filter(|field| field.attrs.iter().any(is_skip));
        let skipped = skipped.filter_map(|field| field.ident.as_ref().map(ToString::to_string));
        self.skipped.entry(owner).or_default().extend(skipped);
    }

    /// The impls of the type at `at` that are kept.
    fn traits(&mut self, at: Place) -> Result<()> {
        let source = self.source;
        if attrs(source.item(at)).iter().any(is_reload) {
            return Ok(()); // nothing is left of it
        }
        for (place, item) in source.items() {
            let Item::Impl(item) = item else { continue };
            let Some((path, _)) = &item.trait_ else { continue };
            let kept = path.segments.last().is_some_and(|last| KEPT.iter().any(|kept| last.ident == kept));
            if kept && self.type_of(place.0, &item.self_ty) == Some(at) && self.impls_seen.insert(place) {
                self.keep(place.0, item.clone())?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, module: usize, item: ItemImpl) -> Result<()> {
        let name = item.self_ty.to_token_stream().to_string();
        let mut item = Item::Impl(item);
        self.rewrite(module, |rewriter| rewriter.visit_item_mut(&mut item))?;
        let last = name.rsplit(' ').next().unwrap_or_default().to_owned();
        self.impls.push((last, item));
        Ok(())
    }

    /// Functions and methods that kept code calls and that are not there yet; whether there were any.
    fn called(&mut self) -> Result<bool> {
        let source = self.source;
        let mut found = false;
        for ((module, _), item) in source.items() {
            let Item::Impl(item) = item else { continue };
            let Some(at) =
                self.type_of(module, &item.self_ty).filter(|at| item.trait_.is_none() && self.seen.contains(at))
            else {
                continue;
            };
            let ty = name(source.item(at)).unwrap_or_default();
            for inner in &item.items {
                let ImplItem::Fn(function) = inner else { continue };
                let key = (ty.clone(), function.sig.ident.to_string());
                let by_path = self.functions.contains(&key);
                let by_name =
                    self.methods.contains(&key.1) && function.sig.receiver().is_some() && !is_handlers(function);
                if (by_path || by_name) && self.functions_made.insert(key) {
                    let mut only = item.clone();
                    let mut function = function.clone();
                    function.vis = Visibility::Inherited;
                    only.items = vec![ImplItem::Fn(function)];
                    self.keep(module, only)?;
                    found = true;
                }
            }
        }
        Ok(found)
    }

    /// Runs a rewriter in `module` and asks for what it met.
    fn rewrite(&mut self, module: usize, run: impl FnOnce(&mut Rewriter<'_>)) -> Result<()> {
        let mut rewriter = Rewriter {
            source: self.source,
            module,
            skipped: &self.skipped,
            met: Vec::new(),
            uses: BTreeSet::new(),
            functions: BTreeSet::new(),
            methods: BTreeSet::new(),
            me: None,
        };
        run(&mut rewriter);
        let Rewriter { met, uses, functions, methods, .. } = rewriter;
        self.uses.extend(uses);
        self.functions.extend(functions);
        self.methods.extend(methods);
        let globs = self.source.modules[module].globs.iter();
        let outside = globs.filter(|path| !["crate", "self", "super"].contains(&path[0].as_str()));
        self.globs.extend(outside.cloned());
        met.into_iter().try_for_each(|at| self.want(at))
    }

    /// Types with their impls after them; functions of one type in one impl.
    fn finish(mut self) -> Frozen {
        let mut items = Vec::new();
        for (_, item) in std::mem::take(&mut self.made) {
            let name = name(&item);
            items.push(item);
            let mut inherent: Option<ItemImpl> = None;
            let mut whole = Vec::new();
            for (owner, item) in &self.impls {
                if Some(owner) != name.as_ref() {
                    continue;
                }
                match item {
                    Item::Impl(item) if item.trait_.is_none() => match &mut inherent {
                        Some(all) => all.items.extend(item.items.clone()),
                        None => inherent = Some(item.clone()),
                    },
                    item => whole.push(item.clone()),
                }
            }
            items.extend(inherent.map(Item::Impl));
            items.extend(whole);
        }
        Frozen { items, uses: self.uses, globs: self.globs }
    }
}

fn is_handlers(function: &syn::ImplItemFn) -> bool {
    fn mentions(tokens: proc_macro2::TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(ident) => OF_HANDLERS.iter().any(|word| ident == word),
            proc_macro2::TokenTree::Group(group) => mentions(group.stream()),
            _ => false,
        })
    }
    mentions(function.sig.to_token_stream())
}

/// Documentation, derives, and what `State` reads; nothing else of an item's attributes concerns its state.
fn clean(attrs: &mut Vec<Attribute>) {
    attrs.retain(|attr| ["doc", "derive", "state", "cfg", "repr"].iter().any(|kept| attr.path().is_ident(kept)));
}

fn open(attrs: &mut Vec<Attribute>, vis: &mut Visibility) {
    clean(attrs);
    *vis = parse_quote!(pub);
}

/// Leaves out what is skipped (or everything, of a type that does not cross) and opens the rest.
fn open_fields(fields: &mut Fields, public: bool, nothing: bool) {
    if nothing {
        *fields = Fields::Unit;
        return;
    }
    let keep = |field: &mut syn::Field| {
        clean(&mut field.attrs);
        if public {
            field.vis = parse_quote!(pub);
        }
    };
    let list = match fields {
        Fields::Named(fields) => &mut fields.named,
        Fields::Unnamed(fields) => &mut fields.unnamed,
        Fields::Unit => return,
    };
    let kept = std::mem::take(list).into_iter().filter(|field| !field.attrs.iter().any(is_skip));
    *list = kept.collect();
    list.iter_mut().for_each(keep);
}

fn says(attr: &Attribute, word: &str) -> bool {
    let Meta::List(list) = &attr.meta else { return false };
    let first = list.tokens.clone().into_iter();
    attr.path().is_ident("state")
        && first.into_iter().any(|token| matches!(token, proc_macro2::TokenTree::Ident(ident) if ident == word))
}

fn is_skip(attr: &Attribute) -> bool {
    says(attr, "skip")
}

fn is_reload(attr: &Attribute) -> bool {
    says(attr, "reload")
}

/// An error that says which file.
pub fn unreadable(reason: String) -> anyhow::Error {
    anyhow!(reason).context("the crate cannot be read: `cargo check` shows why")
}
