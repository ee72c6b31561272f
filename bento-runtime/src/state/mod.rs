// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What crosses from one version of a file system to the next, and how: the author's fields, by tag, as CBOR.
//!
//! `#[derive(State)]` and `#[bento_fs]` write the impls. A type has a [`Shape`], a constant tree of tags and types; its
//! [hash](Shape::hash) is what two versions compare before anything is saved ([`crate::slot`]). Bytes are read by whoever
//! loads that shape: the same type, one that `extends` it, or one that `migrates` from it.

mod chain;
mod collections;
mod layout;
mod primitives;
mod shape;
mod wire;

pub use chain::{downgrade, extend, inode_follows, inode_goes_back, migrate, skips_migration, skips_older};
pub(crate) use layout::Layout;
pub use shape::{
    Field, Shape, Shapes, Variant, additive, field_default_missing, field_shape_changed, kind_changed, same_text,
    tag_lost, tag_reused,
};
pub use wire::{Loader, Saver, from_slice, to_vec, to_vec_as};

use crate::errno::Result;
use crate::fs::FileSystem;

/// What can cross an upgrade.
///
/// Locks and atomics cross as what they hold; so do the collections of `alloc`, numbers, strings, options and tuples.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross an upgrade",
    label = "this type does not cross an upgrade",
    note = "write `#[derive(State)]` above a type of your own; a field that the next version makes anew is `#[state(skip)]`"
)]
pub trait State: Sized {
    /// Tags and types, all the way down.
    const SHAPE: &'static Shape;

    /// The shapes this type loads, its own first; empty when it does not cross but is loaded again (`#[state(reload)]`).
    const LOADS: Shapes = Shapes::of(Self::SHAPE);

    /// The shapes it can be saved as, its own first.
    const SAVES: Shapes = Shapes::of(Self::SHAPE);

    /// Appends the value. `EBUSY` when a lock is held, or is poisoned and no field with a default: `save` never waits.
    fn save(&self, out: &mut Saver<'_>) -> Result<()>;

    /// Reads a value of this very shape.
    fn load(from: &mut Loader<'_>) -> Result<Self>;

    /// Reads a value that was saved as `shape`, one of [`State::LOADS`].
    fn load_as(shape: u64, from: &mut Loader<'_>) -> Result<Self> {
        if shape == Self::SHAPE.hash() { Self::load(from) } else { Err(from.refuse_shape(shape, &Self::LOADS)) }
    }

    /// Appends the value as `shape`, one of [`State::SAVES`].
    fn save_as(&self, shape: u64, out: &mut Saver<'_>) -> Result<()> {
        if shape == Self::SHAPE.hash() { self.save(out) } else { Err(out.refuse_shape(shape, &Self::SAVES)) }
    }

    /// Is it a lock that a panic has poisoned? As a field with a default it is saved as that ([`Saver::field_or`]). What
    /// holds many values is not looked through for it: the gate is closed meanwhile.
    #[doc(hidden)]
    fn poisoned(&self) -> bool {
        false
    }

    #[doc(hidden)]
    fn save_slice(values: &[Self], out: &mut Saver<'_>) -> Result<()> {
        out.array(values.len())?;
        values.iter().try_for_each(|value| value.save(out))
    }

    #[doc(hidden)]
    fn load_vec(from: &mut Loader<'_>) -> Result<alloc::vec::Vec<Self>> {
        let len = from.array()?;
        let mut values = alloc::vec::Vec::new();
        for _ in 0..len {
            values.try_reserve(1)?;
            values.push(Self::load(from)?);
        }
        Ok(values)
    }

    #[doc(hidden)]
    const SLICE_SHAPE: &'static Shape = &Shape::List(Self::SHAPE);
}

/// How a value of an older version becomes one of this version: for `migrates = …`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` migrates from `{Old}`, but nothing says how",
    label = "`impl Migrate<{Old}> for {Self}` is missing",
    note = "write `impl Migrate<{Old}> for {Self} {{ fn migrate(old: {Old}) -> Result<Self> {{ … }} }}`, or `extends` if fields were only added"
)]
pub trait Migrate<Old>: Sized {
    /// An error refuses the upgrade (of the instance), or is tried again (of an inode's data); `old` came from a copy.
    fn migrate(old: Old) -> Result<Self>;
}

/// How a value of this version becomes one of an older version: for `downgrades = …`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` downgrades to `{Old}`, but nothing says how",
    label = "`impl Downgrade<{Old}> for {Self}` is missing",
    note = "write `impl Downgrade<{Old}> for {Self} {{ fn downgrade(&self) -> Result<{Old}> {{ … }} }}`"
)]
pub trait Downgrade<Old>: Sized {
    /// An error refuses the downgrade. `&self` is borrowed: take locks with `try_lock` and `try_read` only.
    fn downgrade(&self) -> Result<Old>;
}

/// A file system's struct of some version, current or frozen: what `extends`, `migrates` and `downgrades` name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no version of a file system",
    note = "name the frozen struct, as `cargo bento freeze` wrote it: `extends = history::v1::MyFs`"
)]
pub trait Version: State {
    /// The file system's.
    const NAME: &'static str;
    const VERSION: u32;
    /// Its per-inode data.
    type Inode: State;
}

impl<F: FileSystem> Version for F {
    const NAME: &'static str = F::NAME;
    const VERSION: u32 = F::VERSION;
    type Inode = F::Inode;
}
