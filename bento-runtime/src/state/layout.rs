// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Shapes in words, made at compile time: what `bentoctl state` reads saved bytes with. One line for the instance and one
//! for per-inode data, types as an author would write them, each field behind its tag:
//! `instance MemFs { 1 next_ino: u64, 2 root: Attr { 1 mode: u32, … } }`.

use super::{Field, Shape};

/// Room for the text; what is longer is cut.
const ROOM: usize = 4096;

#[derive(Debug)]
pub struct Layout {
    bytes: [u8; ROOM],
    len: usize,
}

impl Layout {
    pub const fn of(instance: &'static Shape, inode: &'static Shape) -> Layout {
        let layout = Layout { bytes: [0; ROOM], len: 0 };
        layout.text("instance ").shape(instance).text("\ninode ").shape(inode).text("\n")
    }

    pub const fn as_bytes(&self) -> &[u8] {
        self.bytes.split_at(self.len).0
    }

    const fn text(mut self, text: &str) -> Layout {
        let (text, mut at) = (text.as_bytes(), 0);
        while at < text.len() && self.len < ROOM {
            self.bytes[self.len] = text[at];
            self.len += 1;
            at += 1;
        }
        self
    }

    const fn number(mut self, number: u64) -> Layout {
        if number >= 10 {
            self = self.number(number / 10);
        }
        let digit = [b'0' + (number % 10) as u8];
        match core::str::from_utf8(&digit) {
            Ok(digit) => self.text(digit),
            Err(_) => self,
        }
    }

    const fn shape(self, shape: &'static Shape) -> Layout {
        match shape {
            Shape::Unit => self.text("()"),
            Shape::Bool => self.text("bool"),
            Shape::Unsigned(bytes) => self.text("u").number(*bytes as u64 * 8),
            Shape::Signed(bytes) => self.text("i").number(*bytes as u64 * 8),
            Shape::Text => self.text("text"),
            Shape::Bytes => self.text("bytes"),
            Shape::List(of) => self.text("[").shape(of).text("]"),
            Shape::Array(len, of) => self.text("[").shape(of).text("; ").number(*len as u64).text("]"),
            Shape::Map(key, value) => self.text("{").shape(key).text(": ").shape(value).text("}"),
            Shape::Option(of) => self.shape(of).text("?"),
            Shape::Tuple(parts) => {
                let (mut layout, mut at) = (self.text("("), 0);
                while at < parts.len() {
                    layout = if at > 0 { layout.text(", ") } else { layout }.shape(parts[at]);
                    at += 1;
                }
                layout.text(")")
            }
            Shape::Struct(name, fields) => self.text(name).text(" ").fields(fields),
            Shape::Enum(name, variants) => {
                let (mut layout, mut at) = (self.text("enum ").text(name).text(" { "), 0);
                while at < variants.len() {
                    layout = if at > 0 { layout.text(", ") } else { layout };
                    layout = layout.number(variants[at].tag as u64).text(" ").text(variants[at].name);
                    if !variants[at].fields.is_empty() {
                        layout = layout.text(" ").fields(variants[at].fields);
                    }
                    at += 1;
                }
                layout.text(" }")
            }
            Shape::Reload(name) => self.text("reload ").text(name),
        }
    }

    const fn fields(self, fields: &'static [Field]) -> Layout {
        if fields.is_empty() {
            return self.text("{}");
        }
        let (mut layout, mut at) = (self.text("{ "), 0);
        while at < fields.len() {
            layout = if at > 0 { layout.text(", ") } else { layout };
            layout = layout.number(fields[at].tag as u64).text(" ").text(fields[at].name).text(": ");
            layout = layout.shape(fields[at].shape);
            at += 1;
        }
        layout.text(" }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{State, Variant};
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    #[test]
    fn shapes_read_like_types() {
        const KIND: Shape = Shape::Enum(
            "Kind",
            &[Variant::new(1, "Link", &[Field::of::<Vec<u8>>(1, "to")]), Variant::new(2, "Other", &[])],
        );
        const INSTANCE: Shape = Shape::Struct(
            "Fs",
            &[Field::of::<BTreeMap<u64, Option<(u8, bool)>>>(1, "a"), Field::of::<[i16; 12]>(10, "b").or_default()],
        );
        const LAYOUT: Layout = Layout::of(&INSTANCE, &KIND);
        assert_eq!(
            core::str::from_utf8(LAYOUT.as_bytes()).unwrap(),
            "instance Fs { 1 a: {u64: (u8, bool)?}, 10 b: [i16; 12] }\n\
             inode enum Kind { 1 Link { 1 to: bytes }, 2 Other }\n"
        );
        assert_eq!(Layout::of(<()>::SHAPE, <()>::SHAPE).as_bytes(), b"instance ()\ninode ()\n");
    }
}
