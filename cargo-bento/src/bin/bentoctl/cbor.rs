// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Saved state for people: CBOR diagnostic notation (RFC 8949, section 8), indented, names as comments.

use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};

/// What `save` writes around the author's value.
pub struct Saved {
    pub name: String,
    pub version: u64,
    pub shape: u64,
    pub state: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Tag(u64, Box<Value>),
    Simple(u8),
    Float(f64),
    /// A tag of the author's and its name; CBOR has only the tag.
    Named(u64, String),
}

impl Saved {
    pub fn parse(bytes: &[u8]) -> Result<Saved> {
        let mut rest = bytes;
        let value = Value::parse(&mut rest, 0)?;
        let Value::Array(parts) = value else { bail!("the state is no array") };
        match <[Value; 5]>::try_from(parts) {
            Ok([Value::Text(magic), Value::Text(name), Value::Unsigned(version), Value::Unsigned(shape), state])
                if magic == "bento" =>
            {
                Ok(Saved { name, version, shape, state })
            }
            _ => bail!("these bytes are not a file system's saved state"),
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8]> {
    let len = usize::try_from(len).ok().filter(|len| *len <= rest.len()).context("the state ends too early")?;
    let (taken, left) = rest.split_at(len);
    *rest = left;
    Ok(taken)
}

impl Value {
    pub const NULL: Value = Value::Simple(22);

    fn parse(rest: &mut &[u8], depth: u32) -> Result<Value> {
        if depth > 200 {
            bail!("the state is nested too deeply");
        }
        let first = take(rest, 1)?[0];
        let (major, minor) = (first >> 5, first & 31);
        let argument = match minor {
            0..24 => u64::from(minor),
            24..28 => take(rest, 1 << (minor - 24))?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
            _ => bail!("lengths are known in saved state, {first:#04x} is none"),
        };
        let mut many = |count: u64| (0..count).map(|_| Value::parse(rest, depth + 1)).collect::<Result<Vec<Value>>>();
        Ok(match major {
            0 => Value::Unsigned(argument),
            1 => Value::Negative(argument),
            2 => Value::Bytes(take(rest, argument)?.to_vec()),
            3 => Value::Text(String::from_utf8_lossy(take(rest, argument)?).into_owned()),
            4 => Value::Array(many(argument)?),
            5 => {
                let mut pairs = Vec::new();
                for _ in 0..argument {
                    pairs.push((Value::parse(rest, depth + 1)?, Value::parse(rest, depth + 1)?));
                }
                Value::Map(pairs)
            }
            6 => Value::Tag(argument, Box::new(Value::parse(rest, depth + 1)?)),
            _ => match minor {
                26 => Value::Float(f32::from_bits(argument as u32).into()),
                27 => Value::Float(f64::from_bits(argument)),
                _ => Value::Simple(argument as u8),
            },
        })
    }

    fn is_short(&self) -> bool {
        match self {
            Value::Array(values) => values.len() <= 8 && values.iter().all(Value::is_plain),
            Value::Map(pairs) => {
                pairs.len() <= 2 && pairs.iter().all(|(key, value)| key.is_plain() && value.is_plain())
            }
            Value::Tag(_, value) => value.is_short(),
            _ => true,
        }
    }

    fn is_plain(&self) -> bool {
        !matches!(self, Value::Array(_) | Value::Map(_) | Value::Tag(..))
    }

    pub fn diagnostic(&self, indent: usize) -> String {
        let list = |open: char, items: Vec<String>, close: char| {
            if self.is_short() {
                return format!("{open}{}{close}", items.join(", "));
            }
            let margin = "  ".repeat(indent + 1);
            let lines: Vec<String> = items.iter().map(|item| format!("{margin}{item}")).collect();
            format!("{open}\n{}\n{}{close}", lines.join(",\n"), "  ".repeat(indent))
        };
        match self {
            Value::Unsigned(number) => number.to_string(),
            Value::Named(tag, name) => format!("{tag} /{name}/"),
            Value::Negative(number) => format!("-{}", u128::from(*number) + 1),
            Value::Bytes(bytes) if !bytes.is_empty() && bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) => {
                format!("'{}'", String::from_utf8_lossy(bytes).replace('\\', "\\\\").replace('\'', "\\'"))
            }
            Value::Bytes(bytes) => {
                format!("h'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
            Value::Text(text) => json!(text).to_string(),
            Value::Array(values) => list('[', values.iter().map(|value| value.diagnostic(indent + 1)).collect(), ']'),
            Value::Map(pairs) => {
                let pair = |(key, value): &(Value, Value)| {
                    format!("{}: {}", key.diagnostic(indent + 1), value.diagnostic(indent + 1))
                };
                list('{', pairs.iter().map(pair).collect(), '}')
            }
            Value::Tag(tag, value) => format!("{tag}({})", value.diagnostic(indent)),
            Value::Simple(20) => "false".to_owned(),
            Value::Simple(21) => "true".to_owned(),
            Value::Simple(22) => "null".to_owned(),
            Value::Simple(23) => "undefined".to_owned(),
            Value::Simple(number) => format!("simple({number})"),
            Value::Float(number) => format!("{number:?}"),
        }
    }

    /// Maps become objects whose keys are names or else diagnostic notation, a named variant an object of that one name;
    /// bytes are hexadecimal text.
    pub fn json(&self) -> Json {
        match self {
            Value::Unsigned(number) => json!(number),
            Value::Negative(number) => i64::try_from(*number).map_or(Json::Null, |number| json!(-1 - number)),
            Value::Bytes(bytes) => json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            Value::Text(text) => json!(text),
            Value::Named(_, name) => json!(name),
            Value::Array(values) if let [Value::Named(_, name), value] = &values[..] => json!({ name: value.json() }),
            Value::Array(values) => Json::Array(values.iter().map(Value::json).collect()),
            Value::Map(pairs) => {
                let pair = |(key, value): &(Value, Value)| match key {
                    Value::Text(text) | Value::Named(_, text) => (text.clone(), value.json()),
                    key => (key.diagnostic(0), value.json()),
                };
                Json::Object(pairs.iter().map(pair).collect())
            }
            Value::Tag(_, value) => value.json(),
            Value::Simple(20) => json!(false),
            Value::Simple(21) => json!(true),
            Value::Simple(_) => Json::Null,
            Value::Float(number) => json!(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_state_is_readable() {
        // ["bento", "memfs", 1, 16, {1: 70000, 2: h'00ff', 3: 'name', 4: [true, null, -3]}]
        let bytes = b"\x85\x65bento\x65memfs\x01\x10\xa4\x01\x1a\x00\x01\x11\x70\x02\x42\x00\xff\x03\x44name\x04\x83\xf5\xf6\x22";
        let saved = Saved::parse(bytes).unwrap();
        assert_eq!((saved.name.as_str(), saved.version, saved.shape), ("memfs", 1, 16));
        assert_eq!(saved.state.diagnostic(0), "{\n  1: 70000,\n  2: h'00ff',\n  3: 'name',\n  4: [true, null, -3]\n}");
        assert_eq!(saved.state.json()["4"][2], json!(-3));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        assert!(Saved::parse(b"\x85\x65ben").is_err());
        assert!(Saved::parse(b"\x9f").is_err());
        assert!(Saved::parse(&[0x81; 1000]).is_err());
    }
}
