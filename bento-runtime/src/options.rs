// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mount options: the text after `-o` becomes a struct of the author's own, checked and typed.
//!
//! `#[derive(MountOptions)]` describes the struct; [`parse`] takes the text apart; what is wrong is said in one sentence
//! that names the option. Nothing here trusts the text: it comes from whoever may mount.

use core::fmt;
use core::result::Result;

use alloc::vec;
use alloc::vec::Vec;

/// A struct that mount options fill. Written by `#[derive(MountOptions)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which mount options there are",
    label = "not a struct of mount options",
    note = "write `#[derive(MountOptions)]` above `struct {Self}`"
)]
pub trait MountOptions: Sized {
    /// Every option's name, in the order of the fields; then the words that turn one off.
    const NAMES: &'static [&'static str];

    /// The values of a mount without options.
    fn defaults() -> Self;

    /// Sets the option `name`; `value` is what follows `=`.
    fn set(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), OptionError>;
}

/// A type that an option's value can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of mount option",
    label = "no mount option has this type",
    note = "types of options: `bool` (a bare word), `u32`, `u64`, `Size` (64k, 16m, 1g), `Octal`, `Vec<u8>`, and `Option` of these",
    note = "a type of one's own implements `bento::options::OptionValue`"
)]
pub trait OptionValue: Sized {
    /// `value` is what follows `=`; `None` for a bare word.
    fn from_option(value: Option<&[u8]>) -> Result<Self, OptionError>;
}

/// What is wrong with one option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptionError {
    /// There is none of that name.
    Unknown,
    /// The option takes a value and has none; the text says which: "a size such as 64k, 16m or 1g".
    Missing(&'static str),
    /// The value is not what the option takes; the text as for `Missing`.
    Invalid(&'static str),
    /// A bare word with a value.
    Unwanted,
}

/// Options that cannot be taken. Its `Display` is a sentence for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    name: Vec<u8>,
    value: Vec<u8>,
    known: &'static [&'static str],
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Option(OptionError),
    Twice,
}

/// The options in `text`, which is `name` or `name=value` between commas; the others keep their defaults.
pub fn parse<T: MountOptions>(text: &[u8]) -> Result<T, ParseError> {
    let mut options = T::defaults();
    let mut given = vec![false; T::NAMES.len()];
    for piece in text.split(|byte| *byte == b',').filter(|piece| !piece.is_empty()) {
        let (name, value) = match piece.iter().position(|byte| *byte == b'=') {
            Some(at) => (&piece[..at], Some(&piece[at + 1..])),
            None => (piece, None),
        };
        let wrong =
            |what| ParseError { name: name.into(), value: value.unwrap_or_default().into(), known: T::NAMES, what };
        let Some(index) = T::NAMES.iter().position(|known| known.as_bytes() == name) else {
            return Err(wrong(What::Option(OptionError::Unknown)));
        };
        if core::mem::replace(&mut given[index], true) {
            return Err(wrong(What::Twice));
        }
        options.set(T::NAMES[index], value).map_err(|error| wrong(What::Option(error)))?;
    }
    Ok(options)
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.escape_ascii();
        match self.what {
            What::Twice => write!(f, "option {name} given twice"),
            What::Option(OptionError::Missing(wanted)) => write!(f, "option {name} needs a value: {wanted}"),
            What::Option(OptionError::Invalid(wanted)) => {
                write!(f, "option {name}: \"{}\" is not {wanted}", self.value.escape_ascii())
            }
            What::Option(OptionError::Unwanted) => {
                write!(f, "option {name} takes no value, but was given \"{}\"", self.value.escape_ascii())
            }
            What::Option(OptionError::Unknown) => {
                write!(f, "unknown option \"{name}\"")?;
                if let Some(near) = nearest(&self.name, self.known) {
                    write!(f, "; did you mean \"{near}\"?")?;
                } else {
                    f.write_str(";")?;
                }
                if self.known.is_empty() {
                    return f.write_str(" this file system has no options");
                }
                f.write_str(" known: ")?;
                for (i, known) in self.known.iter().enumerate() {
                    write!(f, "{}{known}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for ParseError {}

/// The known name that `name` was probably meant to be.
fn nearest(name: &[u8], known: &[&'static str]) -> Option<&'static str> {
    // A name that long is no slip of the finger, and the text may be a page.
    if name.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|known| (distance(name, known.as_bytes()), *known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Levenshtein's distance, row by row.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

// ---- the types of values ----

/// A number of bytes: digits and at most one of `k`, `m`, `g`, `t`, which are powers of 1024.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Size(pub u64);

/// A number in octal, as modes are written: `mode=755`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Octal(pub u32);

/// `text` as a number; signs, blanks and the empty text are none.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        sum.checked_mul(radix.into())?.checked_add(digit.into())
    })
}

/// A value that must be there, through `convert`.
fn value<T>(
    value: Option<&[u8]>,
    wanted: &'static str,
    convert: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, OptionError> {
    let text = value.ok_or(OptionError::Missing(wanted))?;
    convert(text).ok_or(OptionError::Invalid(wanted))
}

impl OptionValue for bool {
    fn from_option(value: Option<&[u8]>) -> Result<Self, OptionError> {
        match value {
            None => Ok(true),
            Some(_) => Err(OptionError::Unwanted),
        }
    }
}

impl OptionValue for u32 {
    fn from_option(text: Option<&[u8]>) -> Result<Self, OptionError> {
        value(text, "a number from 0 to 4294967295", |text| number(text, 10)?.try_into().ok())
    }
}

impl OptionValue for u64 {
    fn from_option(text: Option<&[u8]>) -> Result<Self, OptionError> {
        value(text, "a number from 0 to 18446744073709551615", |text| number(text, 10))
    }
}

impl OptionValue for Size {
    fn from_option(text: Option<&[u8]>) -> Result<Self, OptionError> {
        value(text, "a size such as 64k, 16m or 1g", |text| {
            let (digits, shift) = match text.split_last()? {
                (b'k' | b'K', digits) => (digits, 10),
                (b'm' | b'M', digits) => (digits, 20),
                (b'g' | b'G', digits) => (digits, 30),
                (b't' | b'T', digits) => (digits, 40),
                _ => (text, 0),
            };
            number(digits, 10)?.checked_mul(1 << shift).map(Size)
        })
    }
}

impl OptionValue for Octal {
    fn from_option(text: Option<&[u8]>) -> Result<Self, OptionError> {
        value(text, "an octal number such as 755", |text| number(text, 8)?.try_into().ok().map(Octal))
    }
}

impl OptionValue for Vec<u8> {
    fn from_option(text: Option<&[u8]>) -> Result<Self, OptionError> {
        value(text, "some text", |text| Some(text.into()))
    }
}

impl<T: OptionValue> OptionValue for Option<T> {
    fn from_option(value: Option<&[u8]>) -> Result<Self, OptionError> {
        T::from_option(value).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[derive(PartialEq, Debug)]
    struct Options {
        size: Size,
        mode: Octal,
        uid: Option<u32>,
        quota: u64,
        quiet: bool,
        label: Vec<u8>,
    }

    // By hand what the derive writes: this crate is what its output is compiled against.
    impl MountOptions for Options {
        const NAMES: &'static [&'static str] = &["size", "mode", "uid", "quota", "quiet", "label"];

        fn defaults() -> Self {
            Options { size: Size(0), mode: Octal(0o755), uid: None, quota: 7, quiet: false, label: Vec::new() }
        }

        fn set(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), OptionError> {
            match name {
                "size" => self.size = OptionValue::from_option(value)?,
                "mode" => self.mode = OptionValue::from_option(value)?,
                "uid" => self.uid = OptionValue::from_option(value)?,
                "quota" => self.quota = OptionValue::from_option(value)?,
                "quiet" => self.quiet = OptionValue::from_option(value)?,
                "label" => self.label = OptionValue::from_option(value)?,
                _ => return Err(OptionError::Unknown),
            }
            Ok(())
        }
    }

    fn complaint(text: &[u8]) -> alloc::string::String {
        parse::<Options>(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_given_keeps_its_default() {
        assert_eq!(parse::<Options>(b"").unwrap(), Options::defaults());
        let options = parse::<Options>(b",uid=12,,quiet,").unwrap();
        assert_eq!(options, Options { uid: Some(12), quiet: true, ..Options::defaults() });
    }

    #[test]
    fn every_type_of_value() {
        let options = parse::<Options>(b"size=64k,mode=1777,uid=0,quota=18446744073709551615,label=a=\xff b").unwrap();
        assert_eq!(options.size, Size(64 << 10));
        assert_eq!(options.mode, Octal(0o1777));
        assert_eq!(options.uid, Some(0));
        assert_eq!(options.quota, u64::MAX);
        assert_eq!(options.label, b"a=\xff b");
        for (text, bytes) in [("1", 1), ("0", 0), ("3m", 3 << 20), ("2G", 2 << 30), ("1t", 1 << 40)] {
            assert_eq!(Size::from_option(Some(text.as_bytes())), Ok(Size(bytes)));
        }
    }

    #[test]
    fn a_mistake_is_said_in_a_sentence() {
        assert_eq!(
            complaint(b"sise=1"),
            "unknown option \"sise\"; did you mean \"size\"? known: size, mode, uid, quota, quiet, label"
        );
        assert_eq!(complaint(b"x\xff"), "unknown option \"x\\xff\"; known: size, mode, uid, quota, quiet, label");
        assert_eq!(complaint(b"size=12q"), "option size: \"12q\" is not a size such as 64k, 16m or 1g");
        assert_eq!(complaint(b"size=99999999t"), "option size: \"99999999t\" is not a size such as 64k, 16m or 1g");
        assert_eq!(complaint(b"size"), "option size needs a value: a size such as 64k, 16m or 1g");
        assert_eq!(complaint(b"size="), "option size: \"\" is not a size such as 64k, 16m or 1g");
        assert_eq!(complaint(b"mode=7,mode=7"), "option mode given twice");
        assert_eq!(complaint(b"mode=8"), "option mode: \"8\" is not an octal number such as 755");
        assert_eq!(complaint(b"uid=-1"), "option uid: \"-1\" is not a number from 0 to 4294967295");
        assert_eq!(complaint(b"uid=4294967296"), "option uid: \"4294967296\" is not a number from 0 to 4294967295");
        assert_eq!(complaint(b"quiet=1"), "option quiet takes no value, but was given \"1\"");
        assert_eq!(complaint(b"=5"), "unknown option \"\"; known: size, mode, uid, quota, quiet, label");
    }

    #[test]
    fn a_file_system_without_options_says_so() {
        #[derive(Debug)]
        struct None;
        impl MountOptions for None {
            const NAMES: &'static [&'static str] = &[];
            fn defaults() -> Self {
                None
            }
            fn set(&mut self, _: &str, _: Option<&[u8]>) -> Result<(), OptionError> {
                Err(OptionError::Unknown)
            }
        }
        assert_eq!(
            parse::<None>(b"size=1").unwrap_err().to_string(),
            "unknown option \"size\"; this file system has no options"
        );
    }

    #[test]
    fn garbage_never_panics_and_is_always_explained() {
        let words: [&[u8]; 16] = [
            b"size",
            b"mode",
            b"uid",
            b"quiet",
            b"label",
            b"=",
            b",",
            b"==",
            b"k",
            b"9999999999999999999999",
            b"\0",
            b"\xff\xfe",
            b"-",
            b"7",
            b"t",
            b"sizesizesizesizesizesizesizesizesizesizesizesizesizesizesizesizesize",
        ];
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move || {
            // xorshift64: the same garbage every time.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let (mut taken, mut refused) = (0, 0);
        let texts = if cfg!(miri) { 100 } else { 20_000 };
        for _ in 0..texts {
            let mut text = Vec::new();
            for _ in 0..next() % 6 {
                match next() % 24 {
                    raw @ 16.. => text.extend_from_slice(&next().to_le_bytes()[..(raw - 15) as usize]),
                    word => text.extend_from_slice(words[word as usize]),
                }
            }
            match parse::<Options>(&text) {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused += 1;
                    let sentence = error.to_string();
                    assert!(sentence.contains("option") && sentence.is_ascii(), "{sentence}");
                }
            }
        }
        assert!(
            taken > texts / 200 && refused > texts / 200,
            "the garbage is one-sided: {taken} taken, {refused} refused"
        );
    }
}
