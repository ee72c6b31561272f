// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The author's crate by modules: which item a path in one of them means.

use std::collections::HashMap;

use syn::{File, Item, ItemUse, UseTree};

/// Frozen versions live in this module of the crate; they are no part of the current one.
pub const HISTORY: &str = "history";

/// Of an item: its module, and which it is there.
pub type Place = (usize, usize);

#[derive(Debug, Default)]
pub struct Module {
    /// Below the crate's root.
    pub path: Vec<String>,
    /// What its `use` items call by a name.
    pub uses: HashMap<String, Vec<String>>,
    /// `use PATH::*`.
    pub globs: Vec<Vec<String>>,
    pub children: Vec<String>,
    pub items: Vec<Item>,
}

#[derive(Debug)]
pub struct Crate {
    pub modules: Vec<Module>,
    /// By their paths: (module, item).
    named: HashMap<Vec<String>, Place>,
}

/// What a path begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// An item of the crate, named by so many segments.
    Item {
        at: Place,
        segments: usize,
    },
    /// A frozen version: the path below `history`.
    History {
        below: Vec<String>,
        segments: usize,
    },
    /// Another crate's, imported under the first segment's name.
    Imported(Vec<String>),
    Unknown,
}

impl Crate {
    pub fn new(file: File) -> Crate {
        let mut modules = Vec::new();
        collect(Vec::new(), file.items, &mut modules);
        let mut named = HashMap::new();
        for (module, content) in modules.iter().enumerate() {
            for (at, item) in content.items.iter().enumerate() {
                if let Some(name) = name(item) {
                    let mut path = content.path.clone();
                    path.push(name);
                    named.insert(path, (module, at));
                }
            }
        }
        Crate { modules, named }
    }

    pub fn item(&self, at: Place) -> &Item {
        &self.modules[at.0].items[at.1]
    }

    /// Every item with its place, in the order of the source.
    pub fn items(&self) -> impl Iterator<Item = (Place, &Item)> {
        let modules = self.modules.iter().enumerate();
        modules
            .flat_map(|(module, content)| content.items.iter().enumerate().map(move |(at, item)| ((module, at), item)))
    }

    /// What `path` means in `module`.
    pub fn meaning(&self, module: usize, path: &[String]) -> Meaning {
        for segments in 1..=path.len() {
            let Some(absolute) = self.absolute(module, &path[..segments], 8) else { continue };
            if absolute.first().is_some_and(|first| first == HISTORY) && segments == path.len() {
                return Meaning::History { below: absolute[1..].to_vec(), segments };
            }
            if let Some(at) = self.find(&absolute, 8) {
                return Meaning::Item { at, segments };
            }
        }
        match path.first().and_then(|first| self.modules[module].uses.get(first)) {
            Some(import) if self.absolute(module, &path[..1], 8).is_none() => Meaning::Imported(import.clone()),
            _ => Meaning::Unknown,
        }
    }

    /// The path from the crate's root, if it is the crate's. `left` bounds the chain of imports.
    fn absolute(&self, module: usize, path: &[String], left: u32) -> Option<Vec<String>> {
        let here = &self.modules[module];
        let (first, rest) = path.split_first()?;
        let below = |base: &[String], rest: &[String]| Some([base, rest].concat());
        match first.as_str() {
            "crate" => below(&[], rest),
            "self" => below(&here.path, rest),
            "super" => {
                let parent = here.path.split_last()?.1;
                let at = self.modules.iter().position(|module| module.path == parent)?;
                match rest.first().map(String::as_str) {
                    Some("super") => self.absolute(at, rest, left),
                    _ => below(parent, rest),
                }
            }
            _ => {
                if let Some(import) = here.uses.get(first)
                    && left > 0
                    && import != path
                {
                    let import = self.absolute(module, import, left - 1)?;
                    return below(&import, rest);
                }
                let own = here.children.contains(first)
                    || self.named.contains_key(&below(&here.path, std::slice::from_ref(first))?);
                if own { below(&here.path, path) } else { None }
            }
        }
    }

    /// The item at an absolute path, through re-exports.
    fn find(&self, path: &[String], left: u32) -> Option<Place> {
        if let Some(at) = self.named.get(path) {
            return Some(*at);
        }
        let (last, parent) = path.split_last()?;
        let module = self.modules.iter().position(|module| module.path == parent)?;
        let import = self.modules[module].uses.get(last)?;
        let next = self.absolute(module, import, left)?;
        if left == 0 || next == path { None } else { self.find(&next, left - 1) }
    }
}

fn collect(path: Vec<String>, items: Vec<Item>, modules: &mut Vec<Module>) {
    let mut module = Module { path: path.clone(), ..Module::default() };
    let mut inner = Vec::new();
    for item in items {
        match item {
            Item::Use(item) => imports(&item, &mut module),
            Item::Mod(item) => {
                let name = item.ident.to_string();
                module.children.push(name.clone());
                if name != HISTORY || !path.is_empty() {
                    inner.push((name, item.content.map(|(_, items)| items).unwrap_or_default()));
                }
            }
            item => module.items.push(item),
        }
    }
    modules.push(module);
    for (name, items) in inner {
        let mut path = path.clone();
        path.push(name);
        collect(path, items, modules);
    }
}

fn imports(item: &ItemUse, module: &mut Module) {
    fn walk(tree: &UseTree, mut path: Vec<String>, module: &mut Module) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                walk(&tree.tree, path, module);
            }
            UseTree::Name(tree) if tree.ident == "self" => {
                if let Some(last) = path.last().cloned() {
                    module.uses.insert(last, path);
                }
            }
            UseTree::Name(tree) => {
                path.push(tree.ident.to_string());
                module.uses.insert(tree.ident.to_string(), path);
            }
            UseTree::Rename(tree) => {
                path.push(tree.ident.to_string());
                module.uses.insert(tree.rename.to_string(), path);
            }
            UseTree::Glob(_) => module.globs.push(path),
            UseTree::Group(tree) => tree.items.iter().for_each(|tree| walk(tree, path.clone(), module)),
        }
    }
    walk(&item.tree, Vec::new(), module);
}

/// Of what can be named by a path.
pub fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
