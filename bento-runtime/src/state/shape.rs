// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Shapes: what a type looks like on the wire, as constants, so that two versions are compared before either runs.

use super::State;
use crate::abi;

/// A type's tags and types. Names are for people; they are no part of the hash.
#[derive(Debug)]
pub enum Shape {
    Unit,
    Bool,
    /// Of so many bytes.
    Unsigned(u8),
    Signed(u8),
    Text,
    Bytes,
    List(&'static Shape),
    Array(usize, &'static Shape),
    Map(&'static Shape, &'static Shape),
    Option(&'static Shape),
    Tuple(&'static [&'static Shape]),
    /// Fields by tag, in the order of their tags.
    Struct(&'static str, &'static [Field]),
    Enum(&'static str, &'static [Variant]),
    /// Nothing: `load_inode` makes it again.
    Reload(&'static str),
}

/// A field that crosses.
#[derive(Debug)]
pub struct Field {
    pub tag: u32,
    pub name: &'static str,
    pub shape: &'static Shape,
    /// There is a value for bytes that have none.
    pub default: bool,
}

impl Field {
    /// A field of type `T`; what `load_inode` makes is not part of anything that crosses.
    #[track_caller]
    pub const fn of<T: State>(tag: u32, name: &'static str) -> Field {
        assert!(
            T::SHAPE.crosses(),
            "this type is `#[state(reload)]`: `load_inode` makes it again, so it crosses nowhere"
        );
        Field { tag, name, shape: T::SHAPE, default: false }
    }

    /// The same, and there is a value for bytes that have none.
    #[must_use]
    pub const fn or_default(mut self) -> Field {
        self.default = true;
        self
    }
}

/// A variant of an enum, by tag.
#[derive(Debug)]
pub struct Variant {
    pub tag: u32,
    pub name: &'static str,
    pub fields: &'static [Field],
}

impl Variant {
    pub const fn new(tag: u32, name: &'static str, fields: &'static [Field]) -> Variant {
        Variant { tag, name, fields }
    }
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over a word.
const fn mix(hash: u64, word: u64) -> u64 {
    let bytes = word.to_le_bytes();
    let (mut hash, mut at) = (hash, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x100_0000_01b3);
        at += 1;
    }
    hash
}

const fn mix_fields(hash: u64, fields: &[Field]) -> u64 {
    let (mut hash, mut at) = (mix(hash, fields.len() as u64), 0);
    while at < fields.len() {
        hash = fields[at].shape.mixed(mix(hash, fields[at].tag as u64));
        at += 1;
    }
    hash
}

impl Shape {
    /// What identifies the shape: equal for two types that write and read the same bytes.
    pub const fn hash(&self) -> u64 {
        self.mixed(OFFSET)
    }

    const fn mixed(&self, hash: u64) -> u64 {
        match self {
            Shape::Unit => mix(hash, 1),
            Shape::Bool => mix(hash, 2),
            Shape::Unsigned(bytes) => mix(mix(hash, 3), *bytes as u64),
            Shape::Signed(bytes) => mix(mix(hash, 4), *bytes as u64),
            Shape::Text => mix(hash, 5),
            Shape::Bytes => mix(hash, 6),
            Shape::List(of) => of.mixed(mix(hash, 7)),
            Shape::Array(len, of) => of.mixed(mix(mix(hash, 8), *len as u64)),
            Shape::Map(key, value) => value.mixed(key.mixed(mix(hash, 9))),
            Shape::Option(of) => of.mixed(mix(hash, 10)),
            Shape::Tuple(parts) => {
                let (mut hash, mut at) = (mix(mix(hash, 11), parts.len() as u64), 0);
                while at < parts.len() {
                    hash = parts[at].mixed(hash);
                    at += 1;
                }
                hash
            }
            Shape::Struct(_, fields) => mix_fields(mix(hash, 12), fields),
            Shape::Enum(_, variants) => {
                let (mut hash, mut at) = (mix(mix(hash, 13), variants.len() as u64), 0);
                while at < variants.len() {
                    hash = mix_fields(mix(hash, variants[at].tag as u64), variants[at].fields);
                    at += 1;
                }
                hash
            }
            Shape::Reload(_) => mix(hash, 14),
        }
    }

    /// Of a struct.
    pub const fn fields(&self) -> Option<&'static [Field]> {
        match self {
            Shape::Struct(_, fields) => Some(fields),
            _ => None,
        }
    }

    /// The fields of an enum's variant, if it has that one.
    pub const fn variant(&self, tag: u32) -> Option<&'static [Field]> {
        let Shape::Enum(_, variants) = self else { return None };
        let mut at = 0;
        while at < variants.len() {
            if variants[at].tag == tag {
                return Some(variants[at].fields);
            }
            at += 1;
        }
        None
    }

    /// Is there nothing in it that only `load_inode` makes?
    pub const fn crosses(&self) -> bool {
        match self {
            Shape::Reload(_) => false,
            Shape::List(of) | Shape::Array(_, of) | Shape::Option(of) => of.crosses(),
            Shape::Map(key, value) => key.crosses() && value.crosses(),
            Shape::Tuple(parts) => {
                let (mut at, mut all) = (0, true);
                while at < parts.len() {
                    all = all && parts[at].crosses();
                    at += 1;
                }
                all
            }
            // Their own fields were asked where they are declared.
            _ => true,
        }
    }
}

const fn find(fields: &'static [Field], tag: u32) -> Option<&'static Field> {
    let mut at = 0;
    while at < fields.len() {
        if fields[at].tag == tag {
            return Some(&fields[at]);
        }
        at += 1;
    }
    None
}

const fn additive_fields(old: &'static [Field], new: &'static [Field]) -> bool {
    let mut at = 0;
    while at < old.len() {
        match find(new, old[at].tag) {
            Some(field) if additive(old[at].shape, field.shape) => {}
            _ => return false,
        }
        at += 1;
    }
    at = 0;
    while at < new.len() {
        if !new[at].default && find(old, new[at].tag).is_none() {
            return false;
        }
        at += 1;
    }
    true
}

/// Does `new` read what `old` wrote? Fields and variants may have come, each new field with a default; none has gone or
/// become something else.
pub const fn additive(old: &'static Shape, new: &'static Shape) -> bool {
    match (old, new) {
        (Shape::Struct(_, old), Shape::Struct(_, new)) => additive_fields(old, new),
        (Shape::Enum(_, old), Shape::Enum(_, new)) => {
            let mut at = 0;
            while at < old.len() {
                let (mut same, mut found) = (0, false);
                while same < new.len() {
                    if new[same].tag == old[at].tag {
                        found = additive_fields(old[at].fields, new[same].fields);
                    }
                    same += 1;
                }
                if !found {
                    return false;
                }
                at += 1;
            }
            true
        }
        (Shape::List(old), Shape::List(new)) | (Shape::Option(old), Shape::Option(new)) => additive(old, new),
        (Shape::Array(a, old), Shape::Array(b, new)) => *a == *b && additive(old, new),
        (Shape::Map(k, v), Shape::Map(key, value)) => additive(k, key) && additive(v, value),
        (Shape::Tuple(old), Shape::Tuple(new)) => {
            let (mut at, mut all) = (0, old.len() == new.len());
            while all && at < old.len() {
                all = additive(old[at], new[at]);
                at += 1;
            }
            all
        }
        _ => old.hash() == new.hash(),
    }
}

// ---- the rules of `extends`, one function for each message; `old` are the fields of the predecessor or, for a variant
// that it did not have, none ----

/// Had `old` under this tag a type that is not read as `new`?
pub const fn field_shape_changed(
    old: Option<&'static [Field]>,
    tag: u32,
    name: &'static str,
    new: &'static Shape,
) -> bool {
    match changed(old, tag, new) {
        Some(field) => same_text(field.name, name),
        None => false,
    }
}

/// The same, and it was a field of another name: the tag has been given away twice.
pub const fn tag_reused(old: Option<&'static [Field]>, tag: u32, name: &'static str, new: &'static Shape) -> bool {
    match changed(old, tag, new) {
        Some(field) => !same_text(field.name, name),
        None => false,
    }
}

const fn changed(old: Option<&'static [Field]>, tag: u32, new: &'static Shape) -> Option<&'static Field> {
    let Some(old) = old else { return None };
    match find(old, tag) {
        Some(field) if !additive(field.shape, new) => Some(field),
        _ => None,
    }
}

/// Has `old` nothing under this tag, so that the field needs a default?
pub const fn field_default_missing(old: Option<&'static [Field]>, tag: u32) -> bool {
    match old {
        Some(old) => find(old, tag).is_none(),
        None => false,
    }
}

const fn field_lost(old: &'static [Field], new: &'static [Field]) -> bool {
    let mut at = 0;
    while at < old.len() {
        if find(new, old[at].tag).is_none() {
            return true;
        }
        at += 1;
    }
    false
}

/// Had `old` a field or a variant that `new` has no more?
pub const fn tag_lost(old: &'static Shape, new: &'static Shape) -> bool {
    match (old, new) {
        (Shape::Struct(_, old), Shape::Struct(_, new)) => field_lost(old, new),
        (Shape::Enum(_, old), Shape::Enum(..)) => {
            let mut at = 0;
            while at < old.len() {
                match new.variant(old[at].tag) {
                    Some(fields) if !field_lost(old[at].fields, fields) => {}
                    _ => return true,
                }
                at += 1;
            }
            false
        }
        _ => false,
    }
}

/// Is one a struct and the other an enum, or one of them neither?
pub const fn kind_changed(old: &'static Shape, new: &'static Shape) -> bool {
    !matches!((old, new), (Shape::Struct(..), Shape::Struct(..)) | (Shape::Enum(..), Shape::Enum(..)))
}

/// For names and such, which `==` does not compare in a constant.
pub const fn same_text(a: &str, b: &str) -> bool {
    let (a, b, mut at) = (a.as_bytes(), b.as_bytes(), 0);
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Some shapes, by hash.
#[derive(Clone, Copy, Debug)]
pub struct Shapes {
    count: usize,
    hashes: [u64; Shapes::MAX],
}

impl Shapes {
    pub const MAX: usize = abi::BENTO_SHAPES_MAX as usize;

    /// For what does not cross.
    pub const NONE: Shapes = Shapes { count: 0, hashes: [0; Self::MAX] };

    pub const fn of(shape: &'static Shape) -> Shapes {
        let mut hashes = [0; Self::MAX];
        hashes[0] = shape.hash();
        Shapes { count: 1, hashes }
    }

    /// These and those, without doubles; what does not fit is left out, the oldest first.
    #[must_use]
    pub const fn and(mut self, more: Shapes) -> Shapes {
        let mut at = 0;
        while at < more.count {
            if !self.has(more.hashes[at]) && self.count < Self::MAX {
                self.hashes[self.count] = more.hashes[at];
                self.count += 1;
            }
            at += 1;
        }
        self
    }

    pub const fn has(&self, hash: u64) -> bool {
        let mut at = 0;
        while at < self.count {
            if self.hashes[at] == hash {
                return true;
            }
            at += 1;
        }
        false
    }

    /// Is one of `others` among them?
    pub const fn meets(&self, others: Shapes) -> bool {
        let mut at = 0;
        while at < others.count {
            if self.has(others.hashes[at]) {
                return true;
            }
            at += 1;
        }
        false
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn as_slice(&self) -> &[u64] {
        &self.hashes[..self.count]
    }

    pub(crate) const fn to_abi(self) -> abi::bento_shapes {
        abi::bento_shapes { count: self.count as u32, pad: 0, shape: self.hashes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn field(tag: u32, shape: &'static Shape, default: bool) -> Field {
        Field { tag, name: "f", shape, default }
    }

    #[test]
    fn a_field_may_come_with_a_default_and_none_may_go_or_change() {
        const OLD: Shape = Shape::Struct("A", &[field(1, &Shape::Unsigned(8), false)]);
        const ADDED: Shape = Shape::Struct("A", &[field(1, &Shape::Unsigned(8), false), field(2, &Shape::Text, true)]);
        const BARE: Shape = Shape::Struct("A", &[field(1, &Shape::Unsigned(8), false), field(2, &Shape::Text, false)]);
        const CHANGED: Shape = Shape::Struct("A", &[field(1, &Shape::Unsigned(4), false)]);
        assert!(additive(&OLD, &ADDED) && additive(&OLD, &OLD));
        assert!(!additive(&OLD, &BARE) && !additive(&OLD, &CHANGED) && !additive(&ADDED, &OLD));
        let old = OLD.fields();
        assert!(field_shape_changed(old, 1, "f", &Shape::Bool) && !field_shape_changed(old, 2, "f", &Shape::Bool));
        assert!(tag_reused(old, 1, "g", &Shape::Bool) && !tag_reused(old, 1, "f", &Shape::Bool));
        assert!(field_default_missing(old, 2) && !field_default_missing(old, 1) && !field_default_missing(None, 1));
        assert!(tag_lost(&ADDED, &OLD) && !tag_lost(&OLD, &ADDED));
    }

    #[test]
    fn nested_fields_are_compared_too() {
        const OLD: Shape = Shape::List(&Shape::Struct("A", &[field(1, &Shape::Bool, false)]));
        const NEW: Shape =
            Shape::List(&Shape::Struct("A", &[field(1, &Shape::Bool, false), field(9, &Shape::Bytes, true)]));
        assert!(additive(&OLD, &NEW) && !additive(&NEW, &OLD));
        assert_ne!(OLD.hash(), NEW.hash());
    }

    #[test]
    fn shapes_keep_their_order_and_no_doubles() {
        let both = Shapes::of(&Shape::Bool).and(Shapes::of(&Shape::Text)).and(Shapes::of(&Shape::Bool));
        assert_eq!(both.as_slice(), [Shape::Bool.hash(), Shape::Text.hash()]);
        assert!(Shapes::NONE.as_slice().is_empty());
    }
}
