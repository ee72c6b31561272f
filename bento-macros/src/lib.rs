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
/// pub struct MemFs {
///     #[state(1)]
///     next_ino: AtomicU64,
/// }
/// ```
///
/// | key | value |
/// |---|---|
/// | `name` | a lower-case letter, then lower-case letters, digits and `_`; at most 32 bytes |
/// | `version` | a whole number from 1 |
/// | `data` | `"bytes"` (`read` and `write` handlers behind the page cache; if left out), `"extents"` (on a device, where `map_extents` says) or `"resident"` (the page cache is all there is) |
/// | `on_panic` | `"quarantine"` (every call gets `EIO` from then on; if left out) or `"restart"` (a new instance takes its place) |
/// | `extends` | the struct of the version before, when fields were only added: `history::v1::MemFs`; `()` when there was none |
/// | `migrates` | the same, when an `impl Migrate` makes this version of it |
/// | `downgrades` | an older version that this one can go back to, by an `impl Downgrade` |
///
/// Each field says whether it crosses upgrades, as under [`derive(State)`](macro@State).
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

/// Makes a struct or enum cross upgrades: see `bento::state`, and the book's chapter on state.
///
/// ```ignore
/// #[derive(State)]
/// #[state(extends = history::v1::Limits)]     // or migrates, downgrades; reload for what load_inode makes again
/// struct Limits {
///     #[state(1)]                             // crosses, under tag 1
///     bytes: u64,
///     #[state(2, default = u64::MAX)]         // for state that does not have it, or a lock that a panic poisoned
///     inodes: u64,
///     #[state(skip)]                          // made anew, by Default
///     warned: AtomicBool,
/// }
/// ```
///
/// The variants of an enum have tags as well.
#[proc_macro_derive(State, attributes(state))]
pub fn state(item: TokenStream) -> TokenStream {
    pipeline::state(item.into()).into()
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
/// `off = "nobarrier"` is the bare word that turns an option off again, which takes its type from `false`; whichever is typed
/// last counts. Without `default` an option that is not given is its type's `Default`; without `name` it is called like its field.
#[proc_macro_derive(MountOptions, attributes(option))]
pub fn mount_options(item: TokenStream) -> TokenStream {
    pipeline::mount_options(item.into()).into()
}
