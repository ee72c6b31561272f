// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A handler's signature against its row of the table.
//!
//! Types are compared by the words they are written with. Only what is surely wrong is reported: a word the vocabulary
//! knows, in the wrong place. A word it does not know may be an alias, and rustc, who can see through it, has the say.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{FnArg, GenericArgument, ImplItemFn, Pat, PathArguments, ReturnType, Safety, Signature, Type, TypePath};

use super::super::errors::Errors;
use super::super::handlers::{HANDLERS, Row};

/// Words that are no part of any signature, and so wrong wherever one of the vocabulary's is expected.
const FOREIGN: &[&str] = &[
    "u8",
    "u16",
    "u64",
    "u128",
    "usize",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "isize",
    "f32",
    "f64",
    "bool",
    "char",
    "str",
    "String",
    "Vec",
    "Box",
    "Arc",
    "Rc",
    "Option",
    "OsStr",
    "OsString",
    "Path",
    "PathBuf",
    "CStr",
    "NameBuf",
    "Timestamp",
    "Errno",
    "Credentials",
];

/// How an author's type compares to the table's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fit {
    Wrong,
    /// For rustc to say.
    Unknown,
    Same,
}

/// Reports what is wrong; whether anything was.
pub fn misfits(row: &Row, function: &ImplItemFn, me: &Type, errors: &mut Errors) -> bool {
    let table: Signature = syn::parse_str(row.signature).expect("the table holds signatures");
    let written = &function.sig;
    let mut wrong = Vec::new();
    if let Some(token) = &written.asyncness {
        wrong.push((
            token.to_token_stream(),
            format!("`{}` is not `async`: the task that called waits in the handler, and may sleep there", row.name),
        ));
    }
    receiver(row, &table, written, &mut wrong);
    arguments(row, &table, written, me, &mut wrong);
    returned(row, &table, written, me, &mut wrong);
    for (place, message) in &wrong {
        errors.at(place, format!("{message}\nexpected: {}", row.signature));
    }
    // `safety` has reported that one.
    !wrong.is_empty() || matches!(written.safety, Safety::Unsafe(_))
}

/// Where, and what.
type Wrong = Vec<(TokenStream, String)>;

fn receiver(row: &Row, table: &Signature, written: &Signature, wrong: &mut Wrong) {
    let name = row.name;
    match (table.receiver(), written.receiver()) {
        (Some(_), None) => {
            wrong.push((
                written.ident.to_token_stream(),
                format!("`{name}` is called on an instance and takes `&self`"),
            ));
        }
        (Some(_), Some(given)) if show(given) != "&self" && show(given) != "self: &Self" => {
            let message = format!(
                "`{name}` takes `&self`, not `{}`: all tasks share the instance, and what changes is behind a lock of `bento::sync`",
                show(given)
            );
            wrong.push((given.to_token_stream(), message));
        }
        (None, Some(given)) => {
            wrong.push((given.to_token_stream(), format!("`{name}` makes the instance: there is no `self` yet")));
        }
        _ => {}
    }
}

/// The arguments after `self`, with their names.
fn typed(signature: &Signature) -> Vec<(&Pat, &Type)> {
    signature
        .inputs
        .iter()
        .filter_map(|argument| match argument {
            FnArg::Typed(argument) => Some((&*argument.pat, &*argument.ty)),
            FnArg::Receiver(_) => None,
        })
        .collect()
}

fn arguments(row: &Row, table: &Signature, written: &Signature, me: &Type, wrong: &mut Wrong) {
    let (expected, given) = (typed(table), typed(written));
    let mut before = 0;
    for (e, g) in align(&expected, &given, me) {
        match (e, g) {
            (Some(e), Some(g)) => {
                before = g + 1;
                let (name, ty) = expected[e];
                if compare(ty, given[g].1, me) == Fit::Wrong {
                    wrong.push((
                        given[g].1.to_token_stream(),
                        format!(
                            "this argument of `{}` is `{}: {}`, not `{}`",
                            row.name,
                            show(name),
                            show(ty),
                            show(given[g].1)
                        ),
                    ));
                }
            }
            (Some(e), None) => {
                let (name, ty) = expected[e];
                // Before the argument that took its place, or where the list ends.
                let place = match given.get(before) {
                    Some((pattern, _)) => pattern.to_token_stream(),
                    None => Ident::new("end", written.paren_token.span.close()).to_token_stream(),
                };
                wrong.push((place, format!("`{}` lacks `{}: {}` here", row.name, show(name), show(ty))));
            }
            (None, Some(g)) => {
                before = g + 1;
                wrong.push((given[g].0.to_token_stream(), format!("`{}` has no such argument", row.name)));
            }
            (None, None) => {}
        }
    }
}

/// Which argument stands for which of the table's: in order when their number is right, else so that most fit.
fn align(expected: &[(&Pat, &Type)], given: &[(&Pat, &Type)], me: &Type) -> Vec<(Option<usize>, Option<usize>)> {
    if expected.len() == given.len() {
        return (0..given.len()).map(|i| (Some(i), Some(i))).collect();
    }
    let gain = |e: usize, g: usize| match compare(expected[e].1, given[g].1, me) {
        Fit::Wrong => None,
        // Several arguments can have one type: the same name settles it.
        Fit::Unknown => Some(2),
        Fit::Same if show(expected[e].0) == show(given[g].0).trim_start_matches('_') => Some(4),
        Fit::Same => Some(3),
    };
    // best[e][g]: the most that the arguments from e and g on can gain.
    let mut best = vec![vec![0; given.len() + 1]; expected.len() + 1];
    for e in (0..expected.len()).rev() {
        for g in (0..given.len()).rev() {
            let pair = gain(e, g).map_or(0, |gain| gain + best[e + 1][g + 1]);
            best[e][g] = pair.max(best[e + 1][g]).max(best[e][g + 1]);
        }
    }
    let (mut e, mut g, mut pairs) = (0, 0, Vec::new());
    while e < expected.len() && g < given.len() {
        if gain(e, g).is_some_and(|gain| best[e][g] == gain + best[e + 1][g + 1]) {
            pairs.push((Some(e), Some(g)));
            (e, g) = (e + 1, g + 1);
        } else if best[e][g] == best[e + 1][g] {
            pairs.push((Some(e), None));
            e += 1;
        } else {
            pairs.push((None, Some(g)));
            g += 1;
        }
    }
    pairs.extend((e..expected.len()).map(|e| (Some(e), None)));
    pairs.extend((g..given.len()).map(|g| (None, Some(g))));
    pairs
}

fn returned(row: &Row, table: &Signature, written: &Signature, me: &Type, wrong: &mut Wrong) {
    let message = match (&table.output, &written.output) {
        (ReturnType::Default, ReturnType::Default) => return,
        (ReturnType::Default, ReturnType::Type(_, given)) => {
            if matches!(&**given, Type::Tuple(tuple) if tuple.elems.is_empty()) {
                return;
            }
            (given.to_token_stream(), format!("`{}` returns nothing: there is nobody to tell", row.name))
        }
        (ReturnType::Type(_, expected), ReturnType::Default) => {
            (written.ident.to_token_stream(), format!("`{}` returns `{}`", row.name, show(expected)))
        }
        (ReturnType::Type(_, expected), ReturnType::Type(_, given)) => {
            if compare(expected, given, me) != Fit::Wrong {
                return;
            }
            (given.to_token_stream(), format!("`{}` returns `{}`, not `{}`", row.name, show(expected), show(given)))
        }
    };
    wrong.push(message);
}

/// `me` is what `Self` stands for.
fn compare(expected: &Type, given: &Type, me: &Type) -> Fit {
    match (plain(expected), plain(given)) {
        // `Self::Inode` may be written as the type it is.
        (Type::Path(expected), _) if expected.path.segments.len() > 1 => Fit::Unknown,
        (Type::Reference(expected), Type::Reference(given)) => {
            if expected.mutability.is_some() != given.mutability.is_some() {
                return Fit::Wrong;
            }
            compare(&expected.elem, &given.elem, me)
        }
        (_, Type::Reference(_)) => Fit::Wrong,
        (Type::Slice(expected), Type::Slice(given)) => compare(&expected.elem, &given.elem, me),
        (Type::Tuple(expected), Type::Tuple(given)) => {
            if expected.elems.len() != given.elems.len() {
                return Fit::Wrong;
            }
            let fits = expected.elems.iter().zip(&given.elems).map(|(expected, given)| compare(expected, given, me));
            fits.min().unwrap_or(Fit::Same)
        }
        (Type::Path(expected), Type::Path(given)) => compare_paths(expected, given, me),
        // A path where the table has a reference, slice or tuple, or the other way round.
        (_, Type::Path(given)) if !is_known(given) => Fit::Unknown,
        (_, Type::Path(_) | Type::Slice(_) | Type::Tuple(_) | Type::Array(_)) => Fit::Wrong,
        _ => Fit::Unknown,
    }
}

fn compare_paths(expected: &TypePath, given: &TypePath, me: &Type) -> Fit {
    if given.qself.is_some() {
        return Fit::Unknown;
    }
    let (Some(e), Some(g)) = (expected.path.segments.last(), given.path.segments.last()) else {
        return Fit::Unknown;
    };
    let is_me = |ident: &syn::Ident| match me {
        Type::Path(me) => me.path.segments.last().is_some_and(|segment| segment.ident == *ident),
        _ => false,
    };
    if e.ident == "Self" && is_me(&g.ident) {
        return Fit::Same;
    }
    if given.path.segments.first().is_some_and(|first| first.ident == "Self") && given.path.segments.len() > 1 {
        return Fit::Unknown;
    }
    if e.ident != g.ident {
        return if is_known(given) { Fit::Wrong } else { Fit::Unknown };
    }
    // `Result<T, Errno>` is `Result<T>`: what the author adds is rustc's to judge, what is missing is ours.
    let (expected, given) = (types(&e.arguments), types(&g.arguments));
    if expected.len() > given.len() {
        return Fit::Wrong;
    }
    expected.iter().zip(given).map(|(expected, given)| compare(expected, given, me)).min().unwrap_or(Fit::Same)
}

/// Whether a path is a word that means what it says: the vocabulary's, or the standard library's.
fn is_known(path: &TypePath) -> bool {
    let Some(ident) = path.path.segments.last().map(|segment| segment.ident.to_string()) else { return false };
    let is_word_of = |row: &Row| row.signature.split(|c: char| !c.is_alphanumeric()).any(|word| word == ident);
    FOREIGN.contains(&ident.as_str())
        || ident.starts_with(char::is_uppercase) && HANDLERS.iter().any(is_word_of)
        || ident == "u32"
}

fn types(arguments: &PathArguments) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return Vec::new() };
    arguments
        .args
        .iter()
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
        .collect()
}

/// Without the parentheses and invisible groups around it.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Paren(ty) => plain(&ty.elem),
        Type::Group(ty) => plain(&ty.elem),
        ty => ty,
    }
}

/// Tokens of a signature as people write them.
pub fn show(tokens: impl ToTokens) -> String {
    let mut text = String::new();
    push(tokens.to_token_stream(), &mut text);
    text
}

fn push(tokens: TokenStream, text: &mut String) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let delimiters = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                text.push_str(delimiters.0);
                push(group.stream(), text);
                text.push_str(delimiters.1);
            }
            TokenTree::Punct(punct) => {
                text.push(punct.as_char());
                if ",;:".contains(punct.as_char()) && punct.spacing() == proc_macro2::Spacing::Alone {
                    text.push(' ');
                }
            }
            word => {
                // Two words in a row, as in `&mut Stat` or `&'a Name`.
                if text.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    text.push(' ');
                }
                text.push_str(&word.to_string());
            }
        }
    }
    // `::` ends in a colon that stands alone.
    while let Some(at) = text.find(":: ") {
        text.remove(at + 2);
    }
}
