// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The macros of `bento`; authors get them from there, in the version that fits.
//!
//! Each runs through the stages parse → model → check → expand, one file each. They add to what an author wrote and
//! change nothing of it: a name and version on the struct, presence bits beside the impl, and errors in the words of file
//! systems. What rustc says well is left to rustc.

use proc_macro::TokenStream;

mod check;
mod errors;
mod expand;
// `group` and `doc` are for the book.
#[allow(dead_code)]
mod handlers;
mod model;
mod parse;
mod pipeline;
#[cfg(test)]
mod tests;

/// Makes a struct a file system, and its handlers known.
///
/// On the struct it says the name that `mount -t` takes, the version of the code, and how file data is kept:
///
/// ```ignore
/// #[bento_fs(name = "memfs", version = 1, data = "resident")]
/// pub struct MemFs { … }
/// ```
///
/// | key | value |
/// |---|---|
/// | `name` | a lower-case letter, then lower-case letters, digits and `_`; at most 32 bytes |
/// | `version` | a whole number from 1 |
/// | `data` | `"bytes"` (`read` and `write` handlers behind the page cache; if left out) or `"resident"` (the page cache is all there is) |
///
/// On the impl it takes no arguments. It finds out which handlers were written, so that the others are absent from the
/// VFS's tables; `type Inode` may be left out and is `()` then.
///
/// ```ignore
/// #[bento_fs]
/// impl FileSystem for MemFs { … }
/// ```
#[proc_macro_attribute]
pub fn bento_fs(arguments: TokenStream, item: TokenStream) -> TokenStream {
    pipeline::bento_fs(arguments.into(), item.into()).into()
}

/// Makes a struct the mount options of a file system: one option for each field.
///
/// ```ignore
/// #[derive(MountOptions)]
/// struct Options {
///     #[option(default = Size(16 << 20))]
///     size: Size,             // -o size=64k
///     mode: Option<Octal>,    // -o mode=755
///     #[option(name = "no-atime")]
///     no_atime: bool,         // -o no-atime
/// }
/// ```
///
/// Without `default` an option that is not given is its type's `Default`; without `name` it is called like its field.
#[proc_macro_derive(MountOptions, attributes(option))]
pub fn mount_options(item: TokenStream) -> TokenStream {
    pipeline::mount_options(item.into()).into()
}
