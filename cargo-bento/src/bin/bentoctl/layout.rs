// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Names for the tags in saved state, from a mount's `layout`: the text that bento-runtime/src/state/layout.rs makes.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use crate::cbor::Value;

/// A type, as far as it tells what its parts are called.
#[derive(Debug, Clone, PartialEq)]
pub enum Layout {
    /// Numbers, texts, bytes.
    Plain,
    /// All of one type: a list or an array.
    List(Box<Layout>),
    Map(Box<Layout>, Box<Layout>),
    Option(Box<Layout>),
    Tuple(Vec<Layout>),
    Struct(Fields),
    Enum(HashMap<u64, (String, Fields)>),
}

/// Names and types by tag.
type Fields = HashMap<u64, (String, Layout)>;

impl Layout {
    /// The instance's, from the whole text.
    pub fn of_instance(text: &str) -> Result<Layout> {
        let line = text.split(['\n', '\t']).find_map(|line| line.strip_prefix("instance "));
        let mut rest = line.context("no line for the instance")?;
        let layout = parse(&mut rest)?;
        ensure!(rest.is_empty(), "{rest:?} is left over");
        Ok(layout)
    }

    /// The same value with a name beside each tag; what does not fit stays as it is.
    pub fn name(&self, value: Value) -> Value {
        match (self, value) {
            (Layout::List(of), Value::Array(values)) => {
                Value::Array(values.into_iter().map(|value| of.name(value)).collect())
            }
            (Layout::Tuple(parts), Value::Array(values)) if parts.len() == values.len() => {
                Value::Array(parts.iter().zip(values).map(|(part, value)| part.name(value)).collect())
            }
            (Layout::Map(key, of), Value::Map(pairs)) => {
                Value::Map(pairs.into_iter().map(|(at, value)| (key.name(at), of.name(value))).collect())
            }
            (Layout::Option(of), value) if value != Value::NULL => of.name(value),
            (Layout::Struct(fields), value) => name_fields(fields, value),
            (Layout::Enum(variants), Value::Array(parts)) => match <[Value; 2]>::try_from(parts) {
                Ok([Value::Unsigned(tag), value]) => match variants.get(&tag) {
                    Some((name, fields)) => {
                        Value::Array(vec![Value::Named(tag, name.clone()), name_fields(fields, value)])
                    }
                    None => Value::Array(vec![Value::Unsigned(tag), value]),
                },
                Ok(parts) => Value::Array(parts.into()),
                Err(parts) => Value::Array(parts),
            },
            (_, value) => value,
        }
    }
}

fn name_fields(fields: &Fields, value: Value) -> Value {
    let Value::Map(pairs) = value else { return value };
    let named = |(tag, value)| match tag {
        Value::Unsigned(tag) => match fields.get(&tag) {
            Some((name, layout)) => (Value::Named(tag, name.clone()), layout.name(value)),
            None => (Value::Unsigned(tag), value),
        },
        tag => (tag, value),
    };
    Value::Map(pairs.into_iter().map(named).collect())
}

/// Takes `text` off the front, if it is there.
fn ate(rest: &mut &str, text: &str) -> bool {
    let after = rest.strip_prefix(text);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

fn eat(rest: &mut &str, text: &str) -> Result<()> {
    ensure!(ate(rest, text), "{text:?} expected before {rest:?}");
    Ok(())
}

fn word<'a>(rest: &mut &'a str) -> Result<&'a str> {
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    ensure!(end > 0, "a word expected before {rest:?}");
    let (word, after) = rest.split_at(end);
    *rest = after;
    Ok(word)
}

/// Items up to `close`, a comma between them.
fn items<T>(rest: &mut &str, close: &str, mut item: impl FnMut(&mut &str) -> Result<T>) -> Result<Vec<T>> {
    let mut items = Vec::new();
    while !ate(rest, close) {
        if !items.is_empty() {
            eat(rest, ", ")?;
        }
        items.push(item(rest)?);
    }
    Ok(items)
}

fn fields(rest: &mut &str) -> Result<Fields> {
    if ate(rest, "{}") {
        return Ok(Fields::new());
    }
    eat(rest, "{ ")?;
    let field = |rest: &mut &str| {
        let tag = word(rest)?.parse()?;
        eat(rest, " ")?;
        let name = word(rest)?.to_owned();
        eat(rest, ": ")?;
        Ok((tag, (name, parse(rest)?)))
    };
    Ok(items(rest, " }", field)?.into_iter().collect())
}

fn variant(rest: &mut &str) -> Result<(u64, (String, Fields))> {
    let tag = word(rest)?.parse()?;
    eat(rest, " ")?;
    let name = word(rest)?.to_owned();
    let fields = if rest.starts_with(" {") {
        eat(rest, " ")?;
        fields(rest)?
    } else {
        Fields::new()
    };
    Ok((tag, (name, fields)))
}

fn parse(rest: &mut &str) -> Result<Layout> {
    let mut layout = if ate(rest, "(") {
        Layout::Tuple(items(rest, ")", parse)?)
    } else if ate(rest, "[") {
        let of = parse(rest)?;
        if ate(rest, "; ") {
            word(rest)?;
        }
        eat(rest, "]")?;
        Layout::List(Box::new(of))
    } else if ate(rest, "{") {
        let key = parse(rest)?;
        eat(rest, ": ")?;
        let of = parse(rest)?;
        eat(rest, "}")?;
        Layout::Map(Box::new(key), Box::new(of))
    } else if ate(rest, "enum ") {
        word(rest)?;
        eat(rest, " { ")?;
        Layout::Enum(items(rest, " }", variant)?.into_iter().collect())
    } else if ate(rest, "reload ") {
        word(rest)?;
        Layout::Plain
    } else {
        word(rest)?;
        if rest.starts_with(" {") {
            eat(rest, " ")?;
            Layout::Struct(fields(rest)?)
        } else {
            Layout::Plain
        }
    };
    while ate(rest, "?") {
        layout = Layout::Option(Box::new(layout));
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_get_their_names() {
        let text = "instance Fs { 1 next: u64, 2 kinds: [enum Kind { 1 Link { 1 to: bytes }, 2 Other }], \
                    3 by: {u64: (u8, Attr { 1 mode: u16 }?)} }\ninode ()\n";
        let layout = Layout::of_instance(text).unwrap();
        let map = |pairs: &[(u64, Value)]| {
            Value::Map(pairs.iter().map(|(tag, value)| (Value::Unsigned(*tag), value.clone())).collect())
        };
        let link = Value::Array(vec![Value::Unsigned(1), map(&[(1, Value::Bytes(b"a".to_vec()))])]);
        let attr = Value::Array(vec![Value::Unsigned(7), map(&[(1, Value::Unsigned(9))])]);
        let value =
            map(&[(1, Value::Unsigned(70)), (2, Value::Array(vec![link])), (3, map(&[(1, attr)])), (4, Value::NULL)]);
        assert_eq!(
            layout.name(value).json(),
            serde_json::json!({ "next": 70, "kinds": [{ "Link": { "to": "61" } }], "by": { "1": [7, { "mode": 9 }] }, "4": null })
        );
    }

    #[test]
    fn what_was_cut_off_has_no_names() {
        assert!(Layout::of_instance("instance Fs { 1 next: u6").is_err());
        assert!(Layout::of_instance("inode ()").is_err());
    }
}
