// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stage 2: syntax sorted into the words of file systems. Nothing is changed or judged here, and nothing changes it later.

use proc_macro2::TokenStream;
use syn::{Attribute, ImplItem, ImplItemFn, ItemImpl, ItemStruct, parse_quote};

use super::handlers::{self, Row};
use super::parse::Keys;

mod state;

pub use state::{Members, StateContent, StateField, StateType, Style};

/// `#[bento_fs(…)]` on a struct.
#[derive(Debug)]
pub struct Declaration {
    pub arguments: TokenStream,
    pub item: ItemStruct,
    pub state: StateType,
    /// `None` when they could not be read.
    pub keys: Option<Keys>,
}

/// `#[bento_fs]` on an impl.
#[derive(Debug)]
pub struct HandlerBlock {
    pub item: ItemImpl,
    /// In the author's order; one name stands here twice when `cfg` chooses between two.
    pub handlers: Vec<Handler>,
    /// Functions that are no handlers, as indices into the items.
    pub strangers: Vec<usize>,
    /// Whether the author wrote `type Inode`.
    pub has_inode: bool,
    /// Handlers in an `impl` of no trait: `item` has it added.
    pub is_inherent: bool,
}

/// A handler as the author wrote it.
#[derive(Debug)]
pub struct Handler {
    pub row: &'static Row,
    /// Its index in the items of the impl.
    pub at: usize,
    /// Its `#[cfg(…)]`.
    pub cfgs: Vec<Attribute>,
}

impl HandlerBlock {
    pub fn new(mut item: ItemImpl) -> Self {
        let (mut handlers, mut strangers, mut has_inode) = (Vec::new(), Vec::new(), false);
        for (at, inner) in item.items.iter().enumerate() {
            match inner {
                ImplItem::Fn(function) => match handlers::find(&function.sig.ident.to_string()) {
                    Some(row) => handlers.push(Handler { row, at, cfgs: cfgs(&function.attrs) }),
                    None => strangers.push(at),
                },
                ImplItem::Type(inner) => has_inode |= inner.ident == "Inode",
                _ => {}
            }
        }
        let is_inherent = item.trait_.is_none();
        if is_inherent && !handlers.is_empty() {
            item.trait_ = Some((parse_quote!(::bento::fs::FileSystem), Default::default()));
        }
        HandlerBlock { item, handlers, strangers, has_inode, is_inherent }
    }

    pub fn function(&self, at: usize) -> &ImplItemFn {
        match &self.item.items[at] {
            ImplItem::Fn(function) => function,
            _ => unreachable!("item {at} is a function"),
        }
    }

    /// The handlers called `name`, if any.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Handler> {
        self.handlers.iter().filter(move |handler| handler.row.name == name)
    }
}

/// The `#[cfg(…)]` among `attrs`.
pub fn cfgs(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).cloned().collect()
}
